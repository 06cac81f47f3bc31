//! The command line: one file per group of commands, each a thin reader of the daemon's HTTP API.
//!
//! `init`, `keys`, `host`, `check` and `update` work on files that lie here, `restore` on a state folder whose daemon is
//! stopped; `doctor` can do without a daemon; everything else asks it. `serve` and `demo` are only named here: `main`
//! runs them. Must never open the store of a daemon that runs, or print progress to standard output.

mod address;
mod apps;
mod backup;
mod check;
mod client;
mod deliveries;
mod deploy;
mod doctor;
mod error;
mod exit;
mod follow;
mod gc;
mod hook;
mod host;
mod init;
mod jobs;
mod kept;
mod keys;
mod logs;
mod notify;
mod output;
mod restore;
mod show;
mod status;
mod update;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use error::CliError;
pub use exit::Exit;
pub use output::Color;

use address::Address;
use client::Client;

/// Deploys repositories that depend on each other by commit.
#[derive(Debug, Parser)]
#[command(
    name = "airplanes",
    version,
    long_about = "Deploys repositories that depend on each other by commit.\n\n\
        Someone pushes to a library; every app whose deps.edn names it by sha is bumped, built, committed, pushed and \
        live on its hosts, in the right order, each app built once.",
    after_help = "Exit codes: 0 done, 1 error, 2 usage or config, 3 build failed, 4 rolled back, 5 partial, \
        6 refused, 7 daemon unreachable.",
    after_long_help = "Try it: `airplanes demo` needs nothing and touches nothing outside a temporary folder.\n\n\
        Exit codes: 0 done, 1 error, 2 usage or config, 3 build failed, 4 rolled back, 5 partial (some hosts run the \
        new commit and some do not), 6 refused (held, locked, ended already, not allowed), 7 daemon unreachable.\n\n\
        Environment: AIRPLANES_CONFIG, AIRPLANES_URL and AIRPLANES_TOKEN say where the daemon is and open it; \
        NO_COLOR turns colours off; RUST_LOG says what is logged."
)]
pub struct CommandLine {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the daemon's config file is if nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/airplanes/config.edn";

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// The daemon's config file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "AIRPLANES_CONFIG",
        default_value = DEFAULT_CONFIG,
        hide_env_values = true
    )]
    pub config: PathBuf,
    /// Where the daemon is, if not where its config file says.
    #[arg(long, global = true, value_name = "URL", env = "AIRPLANES_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// When to use colours.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Color,
    /// What to log to standard error: `info`, `debug`, `airplanes::git=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG", hide_env_values = true)]
    pub log: Option<String>,
    /// How to write the log; by default as text, and in the journal with fields.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        env = "AIRPLANES_LOG_FORMAT",
        hide_env_values = true
    )]
    pub log_format: Option<LogFormat>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a reading command prints.
#[derive(Debug, Clone, Copy, Args)]
pub struct Form {
    /// Print the API's JSON.
    #[arg(long, conflicts_with = "edn")]
    pub json: bool,
    /// Print the API's answer as EDN.
    #[arg(long)]
    pub edn: bool,
}

impl Form {
    /// The form to ask the API for, unless it is the one for people.
    fn accept(self) -> Option<&'static str> {
        match self {
            Self { json: true, .. } => Some("application/json"),
            Self { edn: true, .. } => Some("application/edn"),
            _ => None,
        }
    }
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Write a first config.edn and deploy.edn.
    #[command(
        long_about = "Write a first config.edn and deploy.edn, commented, from the checkouts that it is pointed at: \
        their git remotes say where they are, and their deps.edn which of them depend on which. What it guesses, it \
        says in a comment. It also makes the webhooks' secret and shows it, once, with where to paste it. Nothing that \
        is there is overwritten; needs no daemon.\n\n  airplanes init ~/src/shop ~/src/snow\n  \
        airplanes init ~/src --dry-run\n  \
        sudo airplanes init git@github.com:acme/shop.git --url https://deploy.example.com"
    )]
    Init(init::InitArgs),
    /// Make a deploy key for each repository, and say what to paste where.
    #[command(
        long_about = "Make a deploy key for each repository that is spoken to over ssh and has none, and one for the \
        hosts, in keys/ beside the config file; print each public key and where to paste it; add what is new to the \
        config file; and trust the git hosts by the host keys that they publish. What is there already is shown again \
        and never replaced. Libraries are those that :git :keys names, and those that the checkouts or urls given here \
        depend on.\n\n  airplanes keys\n  airplanes keys ~/src/shop --dry-run\n  \
        airplanes keys git@github.com:acme/snow.git"
    )]
    Keys(keys::KeysArgs),
    /// Trust a host, by the key that it shows.
    #[command(long_about = "What is done about one host. `trust` shows its key, asks, and records it.\n\n  \
        airplanes host trust web-1\n  airplanes host trust --help")]
    Host(host::HostArgs),
    /// Run the daemon.
    #[command(long_about = "Run the daemon: webhooks in, jobs out, until SIGTERM.\n\n\
        It reads the config file and deploy.edn, and reads them again when they change; a bad edit is reported and the \
        last good one stays in force.\n\n  airplanes serve --config /etc/airplanes/config.edn")]
    Serve,
    /// Bump the git dependencies of a local checkout.
    #[command(
        long_about = "Bump the git dependencies of a local checkout: each sha in deps.edn and bb.edn that is behind its \
        repository's default branch moves to that branch's head. Nothing but the digits changes, and nothing is \
        committed. What is pinned, tagged or can't be used is left alone, and why is said.\n\n  \
        airplanes update --dry-run\n  airplanes update ~/src/shop"
    )]
    Update(update::UpdateArgs),
    /// Show it all on this machine, with nothing configured.
    #[command(
        long_about = "Show it all on this machine, with nothing configured: a git host with a library and an app, \
        two ssh hosts on loopback and the daemon, in a temporary folder. A push to the library goes live before your \
        eyes.\n\n  airplanes demo          stays up to play with\n  airplanes demo --once   ends by itself, with 0 if all was seen"
    )]
    Demo(DemoArgs),
    /// What the demo's git server does after a push: post a signed webhook.
    #[command(hide = true)]
    DemoHook(DemoHookArgs),
    /// Check config.edn and deploy.edn.
    #[command(
        long_about = "Check config.edn and deploy.edn as the daemon reads them, and change nothing. Faults are shown \
        with file, line, column and a caret; then the exit code is 2.\n\n  airplanes check --config ./config.edn"
    )]
    Check,
    /// List jobs, newest first.
    #[command(long_about = "List jobs, newest first.\n\n  airplanes jobs --app shop --state failed\n  \
        airplanes jobs --state open --json")]
    Jobs(jobs::JobsArgs),
    /// Show one job: its causes, steps, hosts and bumps.
    #[command(long_about = "Show one job: its causes, steps, hosts and bumps.\n\n  airplanes job last\n  \
        airplanes job 1jq3m8x2k4a0c-000 --json")]
    Job(jobs::JobArgs),
    /// Print a job's logs.
    #[command(
        long_about = "Print a job's logs: all steps in order, or one. With -f it goes on until the job ends, and ends \
        with the job's exit code.\n\n  airplanes logs last -f\n  airplanes logs 1jq3m8x2k4a0c-000 build/test\n  \
        airplanes logs last rollout/web-1"
    )]
    Logs(logs::LogsArgs),
    /// Deploy an app as its branch stands.
    #[command(
        long_about = "Deploy an app as its branch stands, with the bumps that are due. With --watch it tells the \
        steps as they happen, and ends with the job's exit code.\n\n  airplanes deploy shop --watch"
    )]
    Deploy(deploy::DeployArgs),
    /// Cancel a job.
    #[command(
        long_about = "Cancel a job: one that waits ends at once, a build is ended, and a rollout stops after the host \
        in hand.\n\n  airplanes cancel last"
    )]
    Cancel(jobs::CancelArgs),
    /// Say what a push would set in motion.
    #[command(
        long_about = "Say what a push to a repository would set in motion: which apps, in which order, to which hosts. \
        Nothing of it happens.\n\n  airplanes plan github.com/acme/snow\n  airplanes plan shop --branch master"
    )]
    Plan(apps::PlanArgs),
    /// List the apps of deploy.edn.
    #[command(
        long_about = "List the apps of deploy.edn, with what they depend on and their last job.\n\n  airplanes apps\n  \
        airplanes apps shop --json"
    )]
    Apps(apps::AppsArgs),
    /// List webhook calls and what became of each.
    #[command(
        long_about = "List the authentic webhook calls, newest first, and what became of each: ignored and why, or its \
        event and jobs.\n\n  airplanes deliveries --limit 5"
    )]
    Deliveries(deliveries::DeliveriesArgs),
    /// Try everything that a deploy needs, and say what mends what fails.
    #[command(
        long_about = "Try everything that a deploy needs, without changing anything: the repositories (fetch, and push \
        as `git push --dry-run` asks), ssh to each host, sudo, working directories, units, the tools and git \
        dependencies of builds, disk, clock, port, public url, webhooks. Under what fails stands the command that \
        mends it. The daemon looks, as its own user; where none answers, what can be told without it is looked at as \
        you. Exit code 0 if nothing failed, else 1.\n\n\
        \u{20} airplanes doctor\n  airplanes doctor shop --json"
    )]
    Doctor(doctor::DoctorArgs),
    /// Try the ways of :notify.
    #[command(
        long_about = "Try the ways of :notify, by which the daemon tells of failures.\n\n  airplanes notify test\n  \
        airplanes notify test --dry-run"
    )]
    Notify(notify::NotifyArgs),
    /// Write all that the daemon keeps to a file, while it runs.
    #[command(
        long_about = "Write all that the daemon keeps to a file, while it runs and takes webhooks: every job with its \
        journal, the deliveries, the jobs' logs and the operator's token, as of one moment. The file appears only once \
        it is whole and checked; it is readable by you alone, since it holds the token. Mirrors and clones are made \
        again and are not in it. config.edn, deploy.edn and the keys are yours: keep them beside it.\n\n  \
        airplanes backup /backup/airplanes-$(date +%F).airplanes\n  \
        airplanes backup - --no-logs | ssh backup 'cat > airplanes.airplanes'"
    )]
    Backup(backup::BackupArgs),
    /// Put a backup back, while the daemon is stopped.
    #[command(
        long_about = "Put a backup into the state folder, while the daemon is stopped: jobs that were under way go on \
        at its next start. The file is read to its end and checked before anything is touched. Over a store that is \
        there only with --replace, which keeps that one aside.\n\n  \
        airplanes restore backup.airplanes --dry-run\n  \
        airplanes restore /var/lib/airplanes/backups/daily-20261122T131500Z.airplanes --replace\n  \
        airplanes restore backup.airplanes --state /srv/airplanes"
    )]
    Restore(restore::RestoreArgs),
    /// Test the way of webhooks.
    #[command(
        long_about = "Test the way of webhooks. `test` lets the daemon call itself as an app's forge would, and \
        shows each check that the call passes.\n\n  airplanes hook test shop\n  airplanes hook test --help"
    )]
    Hook(hook::HookArgs),
    /// Show how the daemon is.
    #[command(
        long_about = "Show how the daemon is: version, store, jobs under way, last deliveries.\n\n  airplanes status"
    )]
    Status(status::StatusArgs),
    /// Do the daily upkeep now.
    #[command(
        long_about = "Do the daily upkeep now, in the running daemon: what :keep does not keep goes (jobs, their \
        journals and logs, old events and deliveries), so does what ended jobs and killed daemons left, and mirrors are \
        maintained. Nothing that a job under way needs is touched. Ends with 1 if a part could not be done.\n\n  \
        airplanes gc --dry-run   says what would go, and lets it be\n  airplanes gc"
    )]
    Gc(gc::GcArgs),
    /// Print what makes a shell complete these commands.
    #[command(
        long_about = "Print what makes a shell complete these commands: bash, zsh, fish, elvish or powershell.\n\n  \
        airplanes completions bash | sudo tee /etc/bash_completion.d/airplanes\n  \
        airplanes completions fish > ~/.config/fish/completions/airplanes.fish"
    )]
    Completions(CompletionsArgs),
}

/// `demo`.
#[derive(Debug, Clone, Copy, Args)]
pub struct DemoArgs {
    /// End by itself, with exit code 0 only if all of it was seen.
    #[arg(long)]
    pub once: bool,
}

/// `completions`.
#[derive(Debug, Clone, Copy, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `demo-hook`.
#[derive(Debug, Clone, Args)]
pub struct DemoHookArgs {
    /// Where the webhook goes and how it is signed, as the demo wrote it.
    pub file: PathBuf,
}

/// Runs a command that is not the daemon's own.
pub async fn run(command: Command, globals: &Globals) -> Result<Exit, CliError> {
    let client = || Client::new(Address::find(globals)?);
    match command {
        Command::Init(args) => init::init(globals, args).await,
        Command::Keys(args) => keys::keys(globals, args).await,
        Command::Host(args) => host::host(globals, args).await,
        Command::Completions(args) => completions(args.shell),
        Command::Check => check::check(globals),
        Command::Update(args) => update::update(globals, args).await,
        Command::Jobs(args) => jobs::jobs(&client()?, globals, args).await,
        Command::Job(args) => jobs::job(&client()?, globals, args).await,
        Command::Logs(args) => logs::logs(&client()?, globals, args).await,
        Command::Deploy(args) => deploy::deploy(&client()?, globals, args).await,
        Command::Cancel(args) => jobs::cancel(&client()?, globals, args).await,
        Command::Plan(args) => apps::plan(&client()?, globals, args).await,
        Command::Apps(args) => apps::apps(&client()?, globals, args).await,
        Command::Deliveries(args) => deliveries::deliveries(&client()?, globals, args).await,
        Command::Hook(args) => hook::hook(&client()?, globals, args).await,
        Command::Doctor(args) => doctor::doctor(globals, args).await,
        Command::Notify(args) => notify::notify(&client()?, globals, args).await,
        Command::Backup(args) => backup::backup(&client()?, args).await,
        Command::Restore(args) => restore::restore(globals, &args),
        Command::Status(args) => status::status(&client()?, globals, args).await,
        Command::Gc(args) => gc::gc(&client()?, globals, args).await,
        Command::Serve | Command::Demo(_) | Command::DemoHook(_) => {
            Err(CliError::other("this command is not one for the daemon's API"))
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "airplanes", &mut script);
    output::print_bytes(&script)?;
    Ok(Exit::Done)
}

/// Tells the user why a command failed, on standard error.
pub fn report(error: &CliError, globals: &Globals) {
    let paint = output::Paint::stderr(globals.color);
    output::say(&format!("{} {}", paint.red("error:"), error));
    if let Some(hint) = error.hint() {
        output::say(&format!("{} {hint}", paint.cyan("hint:")));
    }
}
