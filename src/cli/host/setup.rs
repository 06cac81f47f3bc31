//! `host setup`: a server made ready for apps.

use std::time::Duration;

use clap::Args;

use super::login::Login;
use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Paint, columns, print, say};
use crate::host::setup::{SetUp, SetUpState, WORDS};
use crate::model::Host;
use crate::ssh;

/// How long a set-up may take: most of it is a download.
const LIMIT: Duration = Duration::from_secs(1800);
/// Who is made where the configuration logs in as root.
const USER: &str = "deploy";

/// `host setup`.
#[derive(Debug, Clone, Args)]
pub struct SetupArgs {
    /// A name of :hosts.
    #[arg(value_name = "HOST")]
    host: String,
    /// What to install.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', value_parser = WORDS)]
    install: Vec<String>,
    /// Who to log in as for this: root, or a user whom sudo lets do everything.
    #[arg(long, value_name = "USER", default_value = "root")]
    login: String,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn setup(globals: &Globals, args: SetupArgs) -> Result<Exit, CliError> {
    let login = Login::new(globals)?;
    let host = login.host(&args.host)?;
    if args.login.is_empty() || args.login.starts_with('-') {
        return Err(CliError::usage(
            "--login is no user's name",
            "it is root, unless the server has another: ubuntu, admin",
        ));
    }
    let user = if host.user == "root" { USER.to_owned() } else { host.user.clone() };
    let key = match &login.loaded.config.ssh.identity {
        Some(identity) => Some(ssh::public_key(identity).await.map_err(|error| CliError::other(error.to_string()))?),
        None => None,
    };
    let words: Vec<&str> = args.install.iter().map(String::as_str).collect();
    let as_login = Host { user: args.login.clone(), ..host.clone() };
    let (user, key) = (user.as_str(), key.as_deref());
    let done = login.on(&as_login, LIMIT, async |remote| remote.set_up(user, key, &words, args.dry_run).await).await?;
    if !args.dry_run {
        // It is ready once we get in as that user.
        let as_user = Host { user: user.to_owned(), ..host.clone() };
        login.on(&as_user, Duration::from_secs(60), async |remote| remote.facts().await).await?;
    }
    if args.json {
        let changed = done.steps.iter().any(|step| step.state != SetUpState::Unchanged);
        let json = serde_json::json!({
            "host": host.name, "system": done.system, "user": user, "changed": changed, "steps": done.steps
        });
        print(&format!("{json:#}\n"))?;
        return Ok(Exit::Done);
    }
    print(&table(&done, Paint::stdout(globals.color)))?;
    let due = done.steps.iter().filter(|step| step.state != SetUpState::Unchanged).count();
    say(&match (due, args.dry_run) {
        (0, _) => format!("{}: unchanged", host.name),
        (_, true) => format!("{}: nothing was done", host.name),
        _ => format!("{}: set up, on {}", host.name, done.system),
    });
    if key.is_none() {
        say(&format!(
            "add the public key that the daemon logs in with to ~{user}/.ssh/authorized_keys there: :ssh has no :identity"
        ));
    }
    if host.user == "root" {
        say(&format!(
            "{} is still logged in to as root; `:user \"{user}\"` in :ssh or at the host is what {user} is for",
            host.name
        ));
    }
    Ok(Exit::Done)
}

fn table(done: &SetUp, paint: Paint) -> String {
    let rows: Vec<Vec<String>> = done
        .steps
        .iter()
        .map(|step| {
            let state = match step.state {
                SetUpState::Unchanged => paint.dim("unchanged"),
                SetUpState::Done => paint.green("done"),
                SetUpState::Would => paint.yellow("would"),
            };
            vec![state, step.what.clone()]
        })
        .collect();
    columns(&rows, "")
}
