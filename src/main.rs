//! The `airplanes` binary: arguments, tracing, one call, an exit code.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use airplanes::cli::{self, CliError, Color, Command, CommandLine, Exit, Globals, LogFormat};
use airplanes::daemon::journal::{self, Journal};
use airplanes::daemon::{self, StartError};
use airplanes::demo::{self, DemoError};
use airplanes::runner::cell;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The system's own takes a seventh of the time from a webhook to its answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|first| first == cell::ARGUMENT).is_some() {
        // One thread, no log, and as little else before it as can be: every build waits for this.
        return cell::enter(args);
    }
    let (CommandLine { globals, command }, form) = cli::parse();
    if let Err(error) = trace(&globals, &command) {
        cli::report(&error, &globals, form);
        return error.exit().into();
    }
    hush_opening();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the threads could not be started: {error}");
            return Exit::Error.into();
        }
    };
    let ended = runtime.block_on(async {
        match command {
            Command::Serve => serve(&globals).await,
            Command::Demo(args) => shown(demo::run(args.once, globals.color).await),
            Command::DemoHook(args) => shown(demo::post(&args.file).await),
            command => cli::run(command, &globals).await,
        }
    });
    // A call to a remote that hangs may linger on a thread of its own; nobody waits for it any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            cli::report(&error, &globals, form);
            error.exit().into()
        }
    }
}

/// sled panics over some damaged files; who opens the store says so in words, so the panic itself is not shown.
fn hush_opening() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(airplanes::store::OPENING) {
            usual(panic);
        }
    }));
}

/// The daemon, until SIGTERM.
async fn serve(globals: &Globals) -> Result<Exit, CliError> {
    // Builds run as the same user: they must not find the daemon's secrets in its memory or its environment.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "other processes of this user can look into the daemon's memory");
    }
    // Where the machine gives out huge pages unasked, the little that is held would lie in many of them. A kernel that
    // has none refuses, which is as good; builds get them back (`runner::cell`).
    let _ = nix::sys::prctl::set_thp_disable(true);
    match daemon::serve(&globals.config).await {
        Ok(()) => Ok(Exit::Done),
        Err(StartError::Config(faults)) => {
            eprintln!("{}", faults.render(colours(globals)).trim_end());
            Ok(Exit::Usage)
        }
        Err(StartError::Other(error)) => Err(CliError::Other { message: format!("{error:#}"), hint: None }),
    }
}

fn shown(demo: Result<(), DemoError>) -> Result<Exit, CliError> {
    demo.map(|()| Exit::Done).map_err(|error| CliError::Other { message: error.to_string(), hint: None })
}

fn colours(globals: &Globals) -> bool {
    match globals.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    }
}

/// Logs to standard error: all that happens for the daemon, only trouble for the other commands.
fn trace(globals: &Globals, command: &Command) -> Result<(), CliError> {
    if matches!(command, Command::Demo(_)) {
        // Its daemon logs into a file of the demo's own.
        return Ok(());
    }
    let default = if matches!(command, Command::Serve) { "info" } else { "warn" };
    let filter = globals.log.as_deref().filter(|text| !text.is_empty()).unwrap_or(default);
    let filter = EnvFilter::try_new(filter).map_err(|error| CliError::Usage {
        message: format!("`{filter}` says nothing about what to log: {error}"),
        hint: Some("give --log (or RUST_LOG) like info, or airplanes::git=debug,warn".to_owned()),
    })?;
    let ansi = colours(globals);
    let log = || tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi);
    match globals.log_format {
        Some(LogFormat::Json) => log().with_env_filter(filter).json().init(),
        None if journal::is_stderr() => match Journal::open() {
            Ok(journal) => tracing_subscriber::registry().with(filter).with(journal).init(),
            Err(error) => {
                log().with_env_filter(filter).init();
                tracing::warn!(%error, "the journal can't be written to; the log has no fields");
            }
        },
        None | Some(LogFormat::Text) => log().with_env_filter(filter).init(),
    }
    Ok(())
}
