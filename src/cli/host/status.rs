//! `host status`: what a host is and has, and what each app is there.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::login::Login;
use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Paint, columns, print, span, table};
use crate::host::setup::HostStatus;
use crate::host::{HostState, unit_of};
use crate::model::{AppName, Sha};

const LIMIT: Duration = Duration::from_secs(60);

/// `host status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// A name of :hosts.
    #[arg(value_name = "HOST")]
    host: String,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// An app on the host.
#[derive(Debug, Serialize)]
struct AppThere {
    app: AppName,
    folder: String,
    sha: Option<Sha>,
    marker: Option<String>,
    unit: Option<String>,
    state: Option<String>,
    restarts: Option<u32>,
    error: Option<String>,
}

pub(super) async fn status(globals: &Globals, args: StatusArgs) -> Result<Exit, CliError> {
    let login = Login::new(globals)?;
    let host = login.host(&args.host)?;
    let status = login.on(&host, LIMIT, async |remote| remote.status().await).await?;
    let mut apps = Vec::new();
    for app in login.loaded.apps.values() {
        let Some(host) = app.hosts.iter().find(|other| other.name == host.name) else { continue };
        let Some(folder) = app.folder_on(host) else { continue };
        let seen = login.on(host, LIMIT, async |remote| remote.observe_app(app, &folder).await).await;
        let (seen, unit) = match seen {
            Ok(seen) => (Ok(seen.state), seen.unit),
            Err(error) => (Err(error), unit_of(app)),
        };
        apps.push(there(app.name.clone(), folder.clone(), unit.map(String::from), seen));
    }
    if args.json {
        let json = serde_json::json!({ "host": host.name, "status": status, "apps": apps });
        print(&format!("{json:#}\n"))?;
        return Ok(Exit::Done);
    }
    let paint = Paint::stdout(globals.color);
    print(&machine(host.name.as_str(), &status, paint))?;
    if !apps.is_empty() {
        let rows: Vec<Vec<String>> = apps.iter().map(|app| row(app, paint)).collect();
        print(&format!("\n{}", table(paint, &["app", "sha", "unit", "state", "folder"], &rows)))?;
    }
    Ok(Exit::Done)
}

fn there(app: AppName, folder: String, unit: Option<String>, seen: Result<HostState, CliError>) -> AppThere {
    let (seen, error) = match seen {
        Ok(seen) => (Some(seen), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let state = seen.as_ref().and_then(|seen| seen.unit.as_ref());
    AppThere {
        app,
        folder,
        sha: seen.as_ref().and_then(|seen| seen.head),
        marker: seen.as_ref().and_then(|seen| seen.marker.as_ref()).map(|marker| match marker.state {
            crate::host::MarkerState::Moving => "moving".to_owned(),
            crate::host::MarkerState::Live => "live".to_owned(),
        }),
        state: state.map(|unit| match unit.is_missing() {
            true => "not there".to_owned(),
            false => format!("{} ({})", unit.active_state, unit.sub_state),
        }),
        restarts: state.map(|unit| unit.n_restarts),
        unit,
        error,
    }
}

fn row(app: &AppThere, paint: Paint) -> Vec<String> {
    let sha = match (&app.sha, &app.marker, &app.error) {
        (_, _, Some(error)) => paint.red(error),
        (None, ..) => paint.dim("none"),
        (Some(sha), Some(marker), _) if marker == "moving" => format!("{} {}", sha.short(), paint.yellow("moving")),
        (Some(sha), ..) => sha.short(),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let state = match app.restarts {
        Some(n) if n > 0 => format!("{}, restarted {n} times", text(&app.state)),
        _ => text(&app.state),
    };
    vec![paint.bold(app.app.as_str()), sha, text(&app.unit), state, app.folder.clone()]
}

fn machine(name: &str, status: &HostStatus, paint: Paint) -> String {
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let program = match status.program.as_str() {
        "same" => "yes".to_owned(),
        "differs" => format!("of another version: airplanes host setup {name}"),
        _ => format!("no: airplanes host setup {name}"),
    };
    let (all, free) = status.memory;
    let mut rows = vec![
        ("system", format!("{}, kernel {}", status.system, status.kernel)),
        ("user", status.user.clone()),
        ("up", span(status.up_seconds as f64)),
        ("memory", format!("{}, {} free", gigabytes(all), gigabytes(free))),
    ];
    let mut disks = status.disks.clone();
    disks.dedup();
    rows.extend(
        disks
            .into_iter()
            .map(|(at, all, free)| ("disk", format!("{at}: {}, {} free", gigabytes(all), gigabytes(free)))),
    );
    rows.push(("set up", program));
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(|(key, text)| vec![paint.dim(key), text]).collect();
    rows.extend(
        status
            .tools
            .iter()
            .map(|(tool, version)| vec![paint.dim(tool), version.clone().unwrap_or_else(|| paint.dim("not there"))]),
    );
    columns(&rows, "")
}
