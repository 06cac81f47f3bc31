//! `host`: what is done about one host.

mod place;
pub(super) mod trust;

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
}

pub(super) async fn host(globals: &Globals, args: HostArgs) -> Result<Exit, CliError> {
    match args.command {
        HostCommand::Trust(args) => trust::trust(globals, args).await,
    }
}
