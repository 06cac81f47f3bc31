//! `host`: what is done about one host.

mod install;
mod lock;
mod login;
mod place;
mod setup;
mod status;
pub(super) mod trust;
mod unit;

pub(super) use place::Place;

use clap::{Args, Subcommand};

use super::Globals;
use super::error::CliError;
use super::exit::Exit;

/// `host`.
#[derive(Debug, Clone, Args)]
pub struct HostArgs {
    #[command(subcommand)]
    command: HostCommand,
}

/// What is done.
#[derive(Debug, Clone, Subcommand)]
pub enum HostCommand {
    /// Show a host's key, and record it once it has been confirmed.
    #[command(
        long_about = "Show the fingerprints of the keys that a host shows, ask whether they are its own, and record \
        them in the known_hosts file that :ssh (for hosts) or :git (for git hosts) names. What a large forge publishes \
        is known, and is not asked about. A host that shows another key than before is refused.\n\n\
        Compare the fingerprints with what the host says on its own console:\n\n  \
        ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n\n\
        Examples:\n\n  airplanes host trust web-1\n  airplanes host trust git.example.com:2222\n  \
        airplanes host trust web-1 --fingerprint SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8"
    )]
    Trust(trust::TrustArgs),
    /// Make a server ready: packages, a user, a key, and what sudo lets it do.
    #[command(
        long_about = "Make a server with Debian or Ubuntu ready for apps, over ssh: git and what --install names; the user \
        that :user of :ssh or of the host names (`deploy` where that is root), who may read the journal; our key for it; \
        /usr/local/sbin/airplanes-host, which installs units and sites; and a sudo rule for that program and for \
        systemctl start, stop, restart and reload. Done again it changes nothing and says `unchanged`. Another apt is \
        waited for, and no question is asked.\n\n\
        Whoever may install units can become root: that user is to be trusted as much.\n\n  \
        airplanes host setup web-1 --dry-run\n  airplanes host setup web-1 --install java,postgresql,nginx\n  \
        airplanes host setup web-1 --login ubuntu"
    )]
    Setup(setup::SetupArgs),
    /// Put an app's unit and nginx sites on its hosts.
    #[command(
        long_about = "Put an app's unit, sites and database on its hosts, as `airplanes render` prints them: shows what \
        changes, has systemd and nginx verify all of it before anything is replaced, and puts the old back if one of \
        them won't take the new. Nothing is started or restarted but nginx's sites. What is there already is `unchanged`; \
        what somebody else made is left alone (exit code 6) without --replace. A host where a rollout or a person is at work is \
        refused (6). A deploy does the same by itself.\n\n  \
        airplanes host install shop --dry-run\n  airplanes host install shop --host web-1\n  \
        airplanes host install shop --json"
    )]
    Install(install::InstallArgs),
    /// Show what a host is and has, and what each app is there.
    #[command(
        long_about = "Show what a host is and has (system, memory, disks, tools and their versions), and of each app that \
        runs there its commit and its unit. Changes nothing.\n\n  airplanes host status web-1\n  \
        airplanes host status web-1 --json"
    )]
    Status(status::StatusArgs),
    /// Start or stop a unit of a host, or show how it is.
    #[command(
        long_about = "Start, stop, reload or restart a unit of a host, have it start with the system, or show how it is \
        with its last lines (then the exit code is 1 if it is not active). Of an app's unit nothing is changed while a rollout or \
        a person is at work on its folder there: that is refused (exit code 6).\n\n  \
        airplanes host unit status web-1 shop\n  airplanes host unit restart web-1 shop"
    )]
    Unit(unit::UnitArgs),
    /// Keep rollouts off an app's folder on a host while you work there.
    #[command(
        long_about = "Keep rollouts off an app's folder on a host while you work there: of this daemon and of any other. \
        It is held as long as this runs and its connection lives; Ctrl-C lets go of it. Who is refused meanwhile is told \
        who you are, since when, and why. Ends with 6 if somebody else has it.\n\n  \
        airplanes host lock web-1 shop --reason \"looking for the leak\""
    )]
    Lock(lock::LockArgs),
}

pub(super) async fn host(globals: &Globals, args: HostArgs) -> Result<Exit, CliError> {
    match args.command {
        HostCommand::Trust(args) => trust::trust(globals, args).await,
        HostCommand::Setup(args) => setup::setup(globals, args).await,
        HostCommand::Install(args) => install::install(globals, args).await,
        HostCommand::Status(args) => status::status(globals, args).await,
        HostCommand::Unit(args) => unit::unit(globals, args).await,
        HostCommand::Lock(args) => lock::hold(globals, args).await,
    }
}
