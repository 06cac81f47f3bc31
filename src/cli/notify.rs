//! `notify test`: whether people would hear of a failure.

use clap::{Args, Subcommand};

use super::Globals;
use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, say};
use crate::model::notice::TestView;

/// `notify`.
#[derive(Debug, Clone, Args)]
pub struct NotifyArgs {
    #[command(subcommand)]
    command: NotifyCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum NotifyCommand {
    /// Send a test through every way of :notify.
    #[command(
        long_about = "Send a test through every way of :notify, as the daemon would send a failure, and say what each \
        answered. It is sent once; the exit code is 1 if a way did not take it.\n\n  airplanes notify test\n  \
        airplanes notify test --dry-run   shows the messages and sends nothing"
    )]
    Test(TestArgs),
}

#[derive(Debug, Clone, Args)]
struct TestArgs {
    /// Show the messages, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the API's JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn notify(client: &Client, globals: &Globals, args: NotifyArgs) -> Result<Exit, CliError> {
    let NotifyCommand::Test(args) = args.command;
    let query: &[_] = if args.dry_run { &[("dry-run", "true".to_owned())] } else { &[] };
    let path = ["notify", "test"];
    let page = client.post_page(&path, query, "application/json").await?;
    let view: TestView = serde_json::from_str(&page).map_err(|e| CliError::other(format!("strange answer: {e}")))?;
    let exit = if view.ways.iter().any(|way| way.error.is_some()) { Exit::Error } else { Exit::Done };
    if args.json {
        print(&page)?;
        return Ok(exit);
    }
    if view.ways.is_empty() {
        say("nobody would be told: :notify is not in config.edn, or empty");
        return Ok(Exit::Done);
    }
    let paint = Paint::stdout(globals.color);
    let mut out = String::new();
    for way in &view.ways {
        match (&way.answer, &way.error) {
            (_, Some(error)) => out.push_str(&format!("{} {}: {}\n", paint.red("✘"), plain(&way.way), plain(error))),
            (Some(answer), None) => {
                out.push_str(&format!("{} {}  {}\n", paint.green("✔"), plain(&way.way), paint.dim(&plain(answer))));
            }
            (None, None) => {
                let lines: Vec<String> = way.message.lines().map(|line| format!("    {}", plain(line))).collect();
                out.push_str(&format!("{}\n{}\n", paint.bold(&plain(&way.way)), lines.join("\n")));
            }
        }
    }
    print(&out)?;
    Ok(exit)
}
