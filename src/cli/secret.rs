//! `secret`: what an app's unit is given as credentials, and nobody is shown again.

use std::io::{IsTerminal, Read};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, ago, can_ask, print, print_page, say, table};
use super::{Form, Globals};
use crate::model::secret::{NewSecret, SecretList, SecretSet};
use crate::model::{AppName, CredentialName};

/// `secret`.
#[derive(Debug, Clone, Args)]
pub struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
}

/// What is done.
#[derive(Debug, Clone, Subcommand)]
pub enum SecretCommand {
    /// Set a secret: asked for at a terminal, else read from standard input.
    #[command(
        long_about = "Set a secret of an app. At a terminal it is asked for and not shown; else it is standard input to its \
        end, without the last line break. The daemon keeps it sealed, and hands it to the app's unit as a credential at the \
        next deploy: the unit finds it in $CREDENTIALS_DIRECTORY/NAME. Nobody is shown it again.\n\n  \
        airplanes secret set shop api-key\n  pass show shop/api-key | airplanes secret set shop api-key"
    )]
    Set(One),
    /// List the secrets of an app: their names, and which its unit still lacks.
    #[command(
        long_about = "List the secrets of an app: their names and when they were set, and those that its :secrets \
        name and nobody has set.\n\n  airplanes secret list shop --json"
    )]
    List(ListArgs),
    /// Remove a secret.
    #[command(long_about = "Remove a secret of an app. Its hosts let go of it at the app's next deploy.\n\n  \
        airplanes secret remove shop api-key")]
    Remove(One),
}

/// A secret of an app.
#[derive(Debug, Clone, Args)]
pub struct One {
    /// The app.
    #[arg(value_name = "APP")]
    app: String,
    /// The secret, as :secrets of its :service names it.
    #[arg(value_name = "NAME")]
    name: String,
}

/// `secret list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// The app.
    #[arg(value_name = "APP")]
    app: String,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn secret(client: &Client, globals: &Globals, args: SecretArgs) -> Result<Exit, CliError> {
    match args.command {
        SecretCommand::Set(one) => set(client, globals, one).await,
        SecretCommand::List(args) => list(client, globals, args).await,
        SecretCommand::Remove(one) => {
            let (app, name) = (AppName::new(one.app)?, CredentialName::new(one.name)?);
            let done: SecretSet = client.delete(&["apps", app.as_str(), "secrets", name.as_str()], &[]).await?;
            print(&format!("removed: {} of {}\n", done.name, done.app))?;
            Ok(Exit::Done)
        }
    }
}

async fn set(client: &Client, globals: &Globals, one: One) -> Result<Exit, CliError> {
    let (app, name) = (AppName::new(one.app)?, CredentialName::new(one.name)?);
    let value = match read(&app, &name).await? {
        Some(value) => value,
        None => return Err(CliError::Refused { message: "nothing was set".to_owned(), hint: None }),
    };
    let body = NewSecret { value: STANDARD.encode(value.as_slice()) };
    let path = ["apps", app.as_str(), "secrets", name.as_str()];
    let done: SecretSet = client.put(&path, &body).await?;
    let word = if done.replaced { "replaced" } else { "set" };
    print(&format!("{word}: {} of {}\n", done.name, done.app))?;
    let all: SecretList = client.get(&["apps", app.as_str(), "secrets"], &[]).await?;
    let used = all.secrets.iter().any(|secret| secret.name == name && secret.used);
    let dim = Paint::stderr(globals.color);
    say(&dim.dim(&match used {
        true => format!("its unit gets it with: airplanes deploy {app}"),
        false => format!("its unit gets it once :service of {app} has :secrets [\"{name}\"]"),
    }));
    Ok(Exit::Done)
}

async fn list(client: &Client, globals: &Globals, args: ListArgs) -> Result<Exit, CliError> {
    let app = AppName::new(args.app)?;
    let path = ["apps", app.as_str(), "secrets"];
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&path, &[], accept).await?)?;
        return Ok(Exit::Done);
    }
    let all: SecretList = client.get(&path, &[]).await?;
    let (paint, now) = (Paint::stdout(globals.color), Timestamp::now());
    let rows: Vec<Vec<String>> = all
        .secrets
        .iter()
        .map(|secret| {
            let set = secret.set_at.map_or(paint.yellow("not set"), |at| ago(now, at));
            let used = if secret.used { String::new() } else { paint.dim("not in :secrets") };
            vec![secret.name.to_string(), set, used]
        })
        .collect();
    if rows.is_empty() {
        say(&format!("{app} has no secrets"));
        return Ok(Exit::Done);
    }
    print(&table(paint, &["secret", "set", ""], &rows))?;
    Ok(Exit::Done)
}

/// At a terminal a line that is not shown, or none where Ctrl-C came instead; else all of standard input but its last line
/// break.
async fn read(app: &AppName, name: &CredentialName) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
    let failed = |e: std::io::Error| CliError::io("the secret can't be read", &e);
    if std::io::stdin().is_terminal() && can_ask() {
        // From here on Ctrl-C ends nothing by itself, which would leave the terminal quiet.
        let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let _quiet = Quiet::new();
        say(&format!("{name} of {app} (it is not shown):"));
        let (read, line) = oneshot::channel();
        // A thread of its own: nobody waits for one that still reads when the program ends.
        std::thread::spawn(move || {
            let mut line = Zeroizing::new(String::new());
            let _ = read.send(std::io::stdin().read_line(&mut line).map(|_| line));
        });
        return tokio::select! {
            line = line => {
                let line = line.unwrap_or_else(|gone| Err(std::io::Error::other(gone))).map_err(failed)?;
                Ok(Some(Zeroizing::new(line.trim_end_matches(['\n', '\r']).as_bytes().to_vec())))
            }
            _ = interrupts.recv() => Ok(None),
        };
    }
    let mut all = Zeroizing::new(Vec::new());
    std::io::stdin().lock().take(64 << 10).read_to_end(&mut all).map_err(failed)?;
    if all.last() == Some(&b'\n') {
        all.pop();
        if all.last() == Some(&b'\r') {
            all.pop();
        }
    }
    Ok(Some(all))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet;

impl Quiet {
    fn new() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// A terminal that can't be quieted shows what is typed, which is its owner's to see.
fn stty(what: &str) {
    let _ = Command::new("stty").arg(what).stdin(Stdio::inherit()).stderr(Stdio::null()).status();
}
