//! The command line: one file per group of commands, each a thin reader of the daemon's HTTP API.
//!
//! `init`, `keys`, `host`, `check`, `render` and `update` work on files that lie here, `restore` on a state folder whose daemon is
//! stopped; `doctor` can do without a daemon; everything else asks it. `serve` and `demo` are only named here: `main`
//! runs them. Must never open the store of a daemon that runs, or print progress to standard output.

mod address;
mod apps;
mod backup;
mod board;
mod check;
mod client;
mod command;
mod deliveries;
mod deploy;
mod doctor;
mod error;
mod exit;
mod explain;
mod follow;
mod gc;
mod graph;
mod hold;
mod hook;
mod host;
mod impact;
mod init;
mod jobs;
mod kept;
mod keys;
mod logs;
mod notify;
mod output;
mod promote;
mod provenance;
mod render;
mod repos;
mod restore;
mod rollback;
mod secret;
mod server;
mod show;
mod status;
mod sync;
mod update;

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};

pub use command::{Command, CompletionsArgs, DemoArgs, DemoHookArgs};
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
        With --json (or --edn) an error is one line too, the last of standard error: \
        {\"error\": \"…\", \"hint\": \"…\", \"exit\": N}, where there is a hint.\n\n\
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
    /// Prints a view in the form that was asked for; false if that is the one for people.
    fn print(self, view: &impl serde::Serialize) -> Result<bool, CliError> {
        if self.accept().is_none() {
            return Ok(false);
        }
        let value = serde_json::to_value(view).map_err(|e| CliError::other(e.to_string()))?;
        output::print_page(&format!("{}\n", if self.edn { crate::edn::to_edn(&value) } else { value.to_string() }))?;
        Ok(true)
    }
}

/// Runs a command that is not the daemon's own.
pub async fn run(command: Command, globals: &Globals) -> Result<Exit, CliError> {
    let client = || Client::new(Address::find(globals)?);
    match command {
        Command::Init(args) => init::init(globals, args).await,
        Command::Keys(args) => keys::keys(globals, args).await,
        Command::Host(args) => host::host(globals, args).await,
        Command::Server(args) => server::server(&client()?, globals, args).await,
        Command::Completions(args) => completions(args.shell),
        Command::Check => check::check(globals),
        Command::Render(args) => render::render(globals, args),
        Command::Update(args) => update::update(globals, args).await,
        Command::Jobs(args) => jobs::jobs(&client()?, globals, args).await,
        Command::Job(args) => jobs::job(&client()?, globals, args).await,
        Command::Logs(args) => logs::logs(&client()?, globals, args).await,
        Command::Deploy(args) => deploy::deploy(&client()?, globals, args).await,
        Command::Promote(args) => promote::promote(&client()?, globals, args).await,
        Command::Rollback(args) => rollback::rollback(&client()?, globals, args).await,
        Command::Cancel(args) => jobs::cancel(&client()?, globals, args).await,
        Command::Graph(args) => graph::graph(&client()?, globals, args).await,
        Command::Explain(args) => explain::explain(&client()?, globals, args).await,
        Command::Plan(args) => apps::plan(&client()?, globals, args).await,
        Command::Impact(args) => impact::impact(&client()?, globals, args).await,
        Command::Apps(args) => apps::apps(&client()?, globals, args).await,
        Command::Hold(args) => hold::hold(&client()?, globals, args).await,
        Command::Secret(args) => secret::secret(&client()?, globals, args).await,
        Command::Where(args) => provenance::runs(&client()?, globals, args).await,
        Command::Missing(args) => provenance::missing(&client()?, globals, args).await,
        Command::Drift(args) => provenance::drift(&client()?, globals, args).await,
        Command::Repos(args) => repos::repos(&client()?, globals, args).await,
        Command::Sync(args) => sync::sync(&client()?, globals, args).await,
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

/// What was typed, and the form in which answers and errors are wanted. What can't be understood ends the process, with
/// 2, and so does `--help`, with 0.
pub fn parse() -> (CommandLine, Form) {
    let typed = || std::env::args_os().skip(1).take_while(|arg| arg != "--");
    let usage = |error: clap::Error| -> ! {
        let json = typed().any(|arg| arg == "--json");
        let form = Form { json, edn: !json && typed().any(|arg| arg == "--edn") };
        if error.use_stderr() && form.accept().is_some() {
            let text = error.render().to_string();
            let message = text.trim().strip_prefix("error: ").unwrap_or(&text).to_owned();
            tell(&CliError::Usage { message, hint: None }, form);
            std::process::exit(Exit::Usage as i32);
        }
        error.exit()
    };
    let matches = CommandLine::command().try_get_matches().unwrap_or_else(|error| usage(error));
    let mut deepest = &matches;
    while let Some((_, below)) = deepest.subcommand() {
        deepest = below;
    }
    let is_set = |name| matches!(deepest.try_get_one::<bool>(name), Ok(Some(true)));
    let form = Form { json: is_set("json"), edn: is_set("edn") };
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| usage(error));
    (line, form)
}

/// Tells the user why a command failed, on standard error; a program is told by one line, the last.
pub fn report(error: &CliError, globals: &Globals, form: Form) {
    if form.accept().is_some() {
        return tell(error, form);
    }
    let paint = output::Paint::stderr(globals.color);
    output::say(&format!("{} {}", paint.red("error:"), error));
    if let Some(hint) = error.hint() {
        output::say(&format!("{} {hint}", paint.cyan("hint:")));
    }
}

/// `{"error": …, "hint": …, "exit": N}`.
fn tell(error: &CliError, form: Form) {
    let mut told = serde_json::json!({ "error": error.to_string(), "exit": error.exit() as u8 });
    if let Some(hint) = error.hint() {
        told["hint"] = hint.into();
    }
    eprintln!("{}", if form.edn { crate::edn::to_edn(&told) } else { told.to_string() });
}
