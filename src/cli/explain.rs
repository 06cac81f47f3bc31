//! `explain`: why a job ran, and why it ended as it did; what an event did, and what it left.

use clap::Args;
use jiff::Timestamp;

use super::client::{Client, no_job};
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, ago, plain, print, print_page};
use super::show::bump_line;
use super::{Form, Globals};
use crate::model::explain::{CauseExplained, EventExplained, ExplainView, LeftOut};
use crate::model::{AppName, EventId, JobId};

/// `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// A job's id, `last`, an app's name for its newest job, or an event's id.
    #[arg(value_name = "JOB|APP|EVENT")]
    what: String,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn explain(client: &Client, globals: &Globals, args: ExplainArgs) -> Result<Exit, CliError> {
    let (kind, id) = match named(client, &args.what).await? {
        Named::Job(id) => ("jobs", id.to_string()),
        Named::Event(id) => ("events", id.to_string()),
    };
    let (path, paint) = ([kind, &id, "explain"], Paint::stdout(globals.color));
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&path, &[], accept).await?)?;
    } else if kind == "events" {
        print(&event_text(paint, &client.get(&path, &[]).await?, Timestamp::now()))?;
    } else {
        print(&text(paint, &client.get(&path, &[]).await?, Timestamp::now()))?;
    }
    Ok(Exit::Done)
}

/// What is to be explained.
enum Named {
    Job(JobId),
    Event(EventId),
}

async fn named(client: &Client, what: &str) -> Result<Named, CliError> {
    if what == "last" || what.parse::<JobId>().is_ok() {
        return client.job_id(what).await.map(Named::Job);
    }
    let event = what.parse::<EventId>().ok();
    let app = match AppName::new(what) {
        Ok(app) => app,
        Err(error) => return event.map(Named::Event).ok_or(error.into()),
    };
    let job = client.newest_job(&app).await?.map(Named::Job);
    // An app may be named like an event; hardly one is.
    job.or(event.map(Named::Event)).ok_or_else(|| no_job(&app))
}

fn text(paint: Paint, view: &ExplainView, now: Timestamp) -> String {
    let reason = view.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
    let mut out = format!("{} {} {}{reason}\n", view.job, paint.bold(view.app.as_str()), paint.state(&view.state));
    for held in &view.held {
        out.push_str(&format!("{} {}\n", paint.yellow("held:"), plain(held)));
    }
    for cause in &view.causes {
        out.push_str(&cause_text(paint, cause, now));
    }
    if !view.bumps.is_empty() {
        out.push_str("it bumped\n");
        view.bumps.iter().for_each(|bump| out.push_str(&format!("  {}\n", bump_line(bump))));
    }
    if !view.left_alone.is_empty() {
        out.push_str("it left alone\n");
        view.left_alone.iter().for_each(|kept| out.push_str(&format!("  {}\n", plain(kept))));
    }
    out
}

fn cause_text(paint: Paint, cause: &CauseExplained, now: Timestamp) -> String {
    let mut out = format!("{} {}\n", plain(&cause.what), paint.dim(&ago(now, cause.at)));
    out.push_str(&format!("  {} (wave {})\n", plain(&cause.why), cause.wave));
    for up in &cause.waited_for {
        let published = up.published.map(|sha| format!(", published {}", sha.short())).unwrap_or_default();
        out.push_str(&format!("  after {} {}{published} (job {})\n", up.app, paint.state(&up.state), up.job));
    }
    if let Some(dropped) = &cause.dropped {
        out.push_str(&format!("  {} {}\n", paint.yellow("no longer counts:"), plain(dropped)));
    }
    out.push_str(&rest_text(paint, &cause.left_out, &cause.notes));
    out
}

fn event_text(paint: Paint, view: &EventExplained, now: Timestamp) -> String {
    let mut out = format!("{} {} {}\n", view.event, plain(&view.what), paint.dim(&ago(now, view.at)));
    if let Some(again) = view.again {
        out.push_str(&format!("  it repeats {again}, which did not end well for all\n"));
    }
    for job in &view.jobs {
        let (app, state) = (paint.bold(job.app.as_str()), paint.state(&job.state));
        out.push_str(&format!("  wave {} {app} {state} (job {})\n", job.wave, job.id));
    }
    if view.jobs.is_empty() {
        out.push_str(if view.is_planned { "  no app runs for it\n" } else { "  it is not planned yet\n" });
    }
    out.push_str(&rest_text(paint, &view.left_out, &view.notes));
    out
}

fn rest_text(paint: Paint, left_out: &[LeftOut], notes: &[String]) -> String {
    let mut out = String::new();
    for left in left_out {
        out.push_str(&format!("  {} {}: {}\n", paint.dim("not in the plan:"), left.app, plain(&left.why)));
    }
    for note in notes {
        out.push_str(&format!("  {} {}\n", paint.dim("note:"), plain(note)));
    }
    out
}
