//! `host install`: an app's unit and sites, put on its hosts.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::login::Login;
use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Paint, print, say};
use crate::cli::render::{find_app, no_host};
use crate::cli::update::diff;
use crate::host::install::{Foreign, Item, Kind, Standing, Standings, Wanted};
use crate::model::{App, Host, HostName};

/// How long it may take on one host: certbot is the longest.
const LIMIT: Duration = Duration::from_secs(300);
/// The state of a host where somebody else is at work.
const LOCKED: &str = "locked";

/// `host install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// The app.
    #[arg(value_name = "APP")]
    app: String,
    /// One of its hosts; by default all, in turn.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Replace what somebody else made, too; a unit stays beside as NAME.service.before-airplanes.
    #[arg(long)]
    replace: bool,
    /// Print what changed as JSON.
    #[arg(long)]
    json: bool,
}

/// What became of one host.
#[derive(Debug, Serialize)]
struct OnHost {
    host: HostName,
    state: &'static str,
    items: Vec<ItemView>,
    /// What an install that was cut off has left to do.
    left: Vec<&'static str>,
    /// Whether what runs there was started before; a deploy restarts it.
    restart_due: bool,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct ItemView {
    kind: &'static str,
    standing: &'static str,
    name: String,
}

pub(super) async fn install(globals: &Globals, args: InstallArgs) -> Result<Exit, CliError> {
    let login = Login::new(globals)?;
    let app = find_app(&login.loaded, &args.app)?;
    let hosts: Vec<&Host> = match &args.host {
        Some(name) => app.hosts.iter().filter(|host| host.name.as_str() == name).collect(),
        None => app.hosts.iter().collect(),
    };
    if hosts.is_empty() {
        return Err(no_host(app, args.host.as_deref()));
    }
    let mut all = Vec::new();
    for host in hosts {
        let done = one(&login, app, host, &args, globals).await?;
        if let Some(error) = &done.error {
            say(&format!("{} {error}", Paint::stderr(globals.color).red("error:")));
        }
        all.push(done);
    }
    if args.json {
        let json = serde_json::json!({ "app": app.name, "hosts": all });
        print(&format!("{json:#}\n"))?;
    }
    let left = all.iter().flat_map(|host| &host.items).any(|item| item.standing == Standing::Foreign.as_str());
    let failed = all.iter().any(|host| host.error.is_some() && host.state != LOCKED);
    let locked = all.iter().any(|host| host.state == LOCKED);
    Ok(match (failed, left || locked) {
        (true, _) => Exit::Error,
        (_, true) => Exit::Refused,
        _ => Exit::Done,
    })
}

async fn one(login: &Login, app: &App, host: &Host, args: &InstallArgs, globals: &Globals) -> Result<OnHost, CliError> {
    let foreign = if args.replace { Foreign::Replace } else { Foreign::Keep };
    let wanted = Wanted::of(app, host, &login.loaded.config.templates, None, foreign)
        .map_err(|error| CliError::other(error.to_string()))?
        .ok_or_else(|| {
            let hint = "give its :service an :exec-start, or the app an :nginx; config.example.edn shows both";
            CliError::usage(format!("there is nothing of {} to install", app.name), hint)
        })?;
    let of = |state, standings: &Standings, error| OnHost {
        host: host.name.clone(),
        state,
        items: standings.items.iter().map(view).collect(),
        left: standings.left.iter().map(|left| left.as_str()).collect(),
        restart_due: standings.stale,
        error,
    };
    let alone = match args.dry_run {
        true => Ok(None),
        false => login.lock(app, host, format!("airplanes host install {}", app.name)).await,
    };
    let _alone = match alone {
        Ok(lock) => lock,
        Err(error) => {
            let state = if matches!(error, CliError::Refused { .. }) { LOCKED } else { "failed" };
            return Ok(of(state, &Standings::default(), Some(error.to_string())));
        }
    };
    let seen = match login.on(host, LIMIT, async |remote| remote.look_at(&wanted).await).await {
        Ok(seen) => seen,
        Err(error) => return Ok(of("failed", &Standings::default(), Some(error.to_string()))),
    };
    if !args.json {
        show(&seen, globals)?;
    }
    for item in &seen.items {
        tell(app, host, item);
    }
    for left in &seen.left {
        say(&format!("{}: {}", host.name, left.words()));
    }
    let due = seen.is_due();
    if !due || args.dry_run {
        let (state, said) = match due {
            true => ("would-change", "nothing was changed"),
            false => ("unchanged", "unchanged"),
        };
        say(&format!("{}: {said}", host.name));
        return Ok(of(state, &seen, None));
    }
    match login.on(host, LIMIT, async |remote| remote.install(&wanted).await).await {
        Ok(done) => {
            say(&format!("{}: {}", host.name, Paint::stderr(globals.color).green("installed")));
            if done.stale {
                say(&format!(
                    "{}: what runs was started before; a deploy restarts it, or airplanes host unit restart {} {}",
                    host.name, host.name, wanted.unit
                ));
            }
            // How they stood, which says what was done.
            Ok(of("changed", &Standings { stale: done.stale, ..seen }, None))
        }
        Err(error) => Ok(of("failed", &seen, Some(error.to_string()))),
    }
}

fn view(item: &Item) -> ItemView {
    ItemView { kind: item.kind.as_str(), standing: item.standing.as_str(), name: item.name.clone() }
}

/// The differences of files.
fn show(seen: &Standings, globals: &Globals) -> Result<(), CliError> {
    let paint = Paint::stdout(globals.color);
    for item in seen.items.iter().filter(|item| item.standing != Standing::Same) {
        if let Some(wanted) = &item.wanted {
            let now = item.now.as_deref().unwrap_or_default();
            print(&diff(paint, item.name.trim_start_matches('/'), now, wanted))?;
        }
    }
    Ok(())
}

/// What is no file, and what is not for us to change.
fn tell(app: &App, host: &Host, item: &Item) {
    let at = &host.name;
    match (item.kind, item.standing) {
        (_, Standing::Foreign) => say(&format!(
            "{at}: {} was not made by airplanes and is left alone; with --replace it is replaced",
            item.name
        )),
        (Kind::Secret, Standing::Absent) => say(&format!(
            "{at}: the secret {} is not there yet; the next deploy brings it (airplanes secret set {} {})",
            item.name, app.name, item.name
        )),
        (Kind::User | Kind::Postgres | Kind::Certificate | Kind::Upstream, Standing::New) => {
            say(&format!("{at}: {} {}", item.kind.as_str(), item.name));
        }
        _ => {}
    }
}
