//! `impact`: who would break if a branch were merged.

use std::collections::BTreeMap;

use clap::Args;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, say, table};
use super::{Form, Globals};
use crate::model::impact::{ImpactQuery, ImpactState, ImpactView, TrialState, TrialView};
use crate::model::{AppName, Branch};

/// How many lines of a failed build are shown.
const LINES: usize = 20;

/// `impact`.
#[derive(Debug, Clone, Args)]
pub struct ImpactArgs {
    /// An app, or a repository's url or identity (`github.com/acme/snow`).
    #[arg(value_name = "REPO")]
    repo: String,
    /// A branch of it, or a commit of one in full.
    #[arg(value_name = "BRANCH")]
    branch: String,
    /// The branch that it would be merged into, if not the app's or the default one.
    #[arg(long, value_name = "BRANCH")]
    onto: Option<String>,
    /// Only this app, and those whose commits it would take.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Put what comes of it on the commit, as a status on its git host (:forges).
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn impact(client: &Client, globals: &Globals, args: ImpactArgs) -> Result<Exit, CliError> {
    let query = ImpactQuery {
        repo: args.repo,
        branch: args.branch,
        onto: args.onto.map(Branch::new).transpose()?,
        app: args.app.map(AppName::new).transpose()?,
        report: args.report,
    };
    let asked: ImpactView = client.post(&["impact"], Some(&query)).await?;
    let id = asked.id.to_string();
    let view = tokio::select! {
        view = follow(client, globals, asked) => view?,
        // A terminal that can't be listened to ends the command in the usual way.
        Ok(()) = tokio::signal::ctrl_c() => client.delete(&["impact", &id], &[]).await?,
    };
    let exit = exit(&view);
    if args.form.print(&view)? {
        return Ok(exit);
    }
    print(&text(Paint::stdout(globals.color), &view))?;
    let paint = Paint::stderr(globals.color);
    match view.state {
        ImpactState::Failed => {
            Err(CliError::other(view.error.unwrap_or_else(|| "it could not be found out".to_owned())))
        }
        ImpactState::Canceled => {
            say(&paint.yellow("ended before all was known"));
            Ok(exit)
        }
        _ => {
            say(&paint.dim(&summary(&view)));
            Ok(exit)
        }
    }
}

/// Tells what changes until it is over.
async fn follow(client: &Client, globals: &Globals, mut view: ImpactView) -> Result<ImpactView, CliError> {
    let paint = Paint::stderr(globals.color);
    let mut told: BTreeMap<AppName, TrialState> = BTreeMap::new();
    let mut notes = 0;
    loop {
        for note in view.notes.iter().skip(notes) {
            say(&paint.dim(&format!("note: {}", plain(note))));
        }
        notes = view.notes.len();
        for app in &view.apps {
            if app.state != TrialState::Waiting && told.insert(app.app.clone(), app.state) != Some(app.state) {
                say(&format!("{} {}", app.app, word(paint, app.state)));
            }
        }
        if view.state.is_over() {
            return Ok(view);
        }
        let newer = client.get(&["impact", &view.id.to_string()], &[("seen", view.changes.to_string())]).await?;
        view = view.with(newer);
    }
}

fn exit(view: &ImpactView) -> Exit {
    if view.of(TrialState::Breaks).next().is_some() {
        return Exit::BuildFailed;
    }
    let known = view.state == ImpactState::Done && view.of(TrialState::Unknown).next().is_none();
    if known { Exit::Done } else { Exit::Error }
}

fn word(paint: Paint, state: TrialState) -> String {
    match state {
        TrialState::Builds => paint.green(state.as_str()),
        TrialState::Breaks => paint.red(state.as_str()),
        TrialState::BrokenBefore | TrialState::Downstream | TrialState::Unknown => paint.yellow(state.as_str()),
        TrialState::Building => paint.cyan(state.as_str()),
        TrialState::Waiting | TrialState::NotAffected => paint.dim(state.as_str()),
    }
}

fn text(paint: Paint, view: &ImpactView) -> String {
    let mut out = String::new();
    for app in view.of(TrialState::Breaks) {
        let log = app.log.as_deref().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        out.push_str(&format!("{}\n", paint.bold(&format!("{} breaks:", app.app))));
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            out.push_str(&format!("  {}\n", plain(line)));
        }
    }
    let row = |app: &TrialView| {
        let after: Vec<&str> = app.after.iter().map(AppName::as_str).collect();
        vec![
            app.app.to_string(),
            app.wave.to_string(),
            word(paint, app.state),
            if after.is_empty() { "-".to_owned() } else { after.join(" ") },
            app.why.as_deref().map_or_else(|| "-".to_owned(), plain),
        ]
    };
    if !view.apps.is_empty() {
        let head = ["APP", "WAVE", "RESULT", "AFTER", "WHY"];
        out.push_str(&table(paint, &head, &view.apps.iter().map(row).collect::<Vec<_>>()));
    }
    out
}

fn summary(view: &ImpactView) -> String {
    let count = |state| view.of(state).count();
    let short = view.sha.map(|sha| sha.short()).unwrap_or_default();
    let onto = view.onto.as_ref().map(|onto| format!(" into {onto}")).unwrap_or_default();
    if view.apps.is_empty() {
        return format!("{short}{onto}: nothing depends on {}", view.repo);
    }
    format!(
        "{short}{onto}: {} would break, {} build, {} broken before, {} downstream of these, {} not affected, {} not known",
        count(TrialState::Breaks),
        count(TrialState::Builds),
        count(TrialState::BrokenBefore),
        count(TrialState::Downstream),
        count(TrialState::NotAffected),
        count(TrialState::Unknown),
    )
}
