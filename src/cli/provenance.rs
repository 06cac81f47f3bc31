//! `where`, `missing` and `drift`: what runs where, down to the commits of dependencies.

use clap::Args;

use super::apps::with_rev;
use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, print_page, say, table, within};
use super::{Form, Globals};
use crate::model::provenance::{Drift, DriftView, HostDrift, LacksView, MissingView, RunsView, UnknownView, WhereView};
use crate::model::{AppName, HostName, Sha};

/// `where`.
#[derive(Debug, Clone, Args)]
pub struct WhereArgs {
    /// A library (`acme/snow`), or a repository by its identity (`github.com/acme/snow`), a url or an app's name; and
    /// perhaps the first digits of a commit, seven or more.
    #[arg(value_name = "LIB[@SHA]")]
    what: String,
    #[command(flatten)]
    form: Form,
}

/// `missing`.
#[derive(Debug, Clone, Args)]
pub struct MissingArgs {
    /// The commit, or its first digits, seven or more.
    #[arg(value_name = "SHA")]
    sha: String,
    #[command(flatten)]
    form: Form,
}

/// `drift`.
#[derive(Debug, Clone, Args)]
pub struct DriftArgs {
    /// Only the hosts of this app.
    #[arg(value_name = "APP")]
    app: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn runs(client: &Client, globals: &Globals, args: WhereArgs) -> Result<Exit, CliError> {
    let (lib, sha) = with_rev(&args.what);
    let mut query = vec![("lib", lib.to_owned())];
    query.extend(sha.map(|sha| ("sha", sha.to_owned())));
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&["where"], &query, accept).await?)?;
        return Ok(Exit::Done);
    }
    let view: WhereView = client.get(&["where"], &query).await?;
    let paint = Paint::stdout(globals.color);
    let row = |runs: &RunsView| {
        vec![
            runs.app.to_string(),
            within(&runs.environment, hosts(&runs.hosts)),
            runs.locked.lib.to_string(),
            runs.locked.sha.short(),
            runs.locked.via.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            runs.job.to_string(),
        ]
    };
    if !view.runs.is_empty() {
        let head = ["APP", "HOSTS", "LIBRARY", "AT", "BROUGHT BY", "JOB"];
        print(&table(paint, &head, &view.runs.iter().map(row).collect::<Vec<_>>()))?;
    }
    tell(globals, &view.unknown);
    if view.runs.is_empty() {
        say(&format!("no app was built with {}; `airplanes graph` shows what apps depend on", plain(&args.what)));
    }
    Ok(Exit::Done)
}

pub(super) async fn missing(client: &Client, globals: &Globals, args: MissingArgs) -> Result<Exit, CliError> {
    let view: MissingView = client.ask(&["missing"], &[("sha", args.sha)]).await?;
    // What is not known may lack it.
    let all_have = view.missing.is_empty() && view.unknown.is_empty();
    let exit = if all_have { Exit::Done } else { Exit::Error };
    if args.form.print(&view)? {
        return Ok(exit);
    }
    let row = |lacks: &LacksView| {
        let lib = lacks.lib.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        vec![
            lacks.app.to_string(),
            within(&lacks.environment, hosts(&lacks.hosts)),
            lib,
            lacks.has.short(),
            plain(&lacks.why),
        ]
    };
    if !view.missing.is_empty() {
        let head = ["WITHOUT IT", "HOSTS", "LIBRARY", "HAS", "WHY"];
        let rows: Vec<_> = view.missing.iter().map(row).collect();
        print(&table(Paint::stdout(globals.color), &head, &rows))?;
    }
    tell(globals, &view.unknown);
    let have: Vec<&str> = view.have.iter().map(AppName::as_str).collect();
    let have = if have.is_empty() { "no app has it".to_owned() } else { format!("have it: {}", have.join(", ")) };
    let unknown = match view.unknown.len() {
        0 => String::new(),
        n => format!("; not known of {n}, which may lack it"),
    };
    say(&Paint::stderr(globals.color).dim(&format!("{} of {}; {have}{unknown}", view.sha.short(), view.repo)));
    Ok(exit)
}

pub(super) async fn drift(client: &Client, globals: &Globals, args: DriftArgs) -> Result<Exit, CliError> {
    let app = args.app.map(AppName::new).transpose()?;
    let query: Vec<(&str, String)> = app.iter().map(|app| ("app", app.to_string())).collect();
    let view: DriftView = client.ask(&["drift"], &query).await?;
    let in_step = view.hosts.iter().all(|host| host.state == Drift::InStep);
    let exit = if in_step { Exit::Done } else { Exit::Error };
    if args.form.print(&view)? {
        return Ok(exit);
    }
    if view.hosts.is_empty() {
        say("no hosts to ask");
        return Ok(exit);
    }
    let paint = Paint::stdout(globals.color);
    let short = |sha: Option<Sha>| sha.map_or_else(|| "-".to_owned(), |sha| sha.short());
    let row = |host: &HostDrift| {
        let state = host.state.as_str();
        vec![
            host.app.to_string(),
            within(&host.environment, host.host.to_string()),
            if host.state == Drift::InStep { paint.green(state) } else { paint.red(state) },
            short(host.has),
            short(host.wanted),
            host.job.map_or_else(|| "-".to_owned(), |job| job.to_string()),
            host.why.as_deref().map_or_else(|| "-".to_owned(), plain),
        ]
    };
    let head = ["APP", "HOST", "STATE", "HAS", "LAST GOOD", "JOB", "WHY"];
    print(&table(paint, &head, &view.hosts.iter().map(row).collect::<Vec<_>>()))?;
    Ok(exit)
}

fn hosts(hosts: &[HostName]) -> String {
    let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(" ") }
}

fn tell(globals: &Globals, unknown: &[UnknownView]) {
    let paint = Paint::stderr(globals.color);
    for unknown in unknown {
        say(&paint.dim(&format!("not known of {}: {}", unknown.app, plain(&unknown.why))));
    }
}
