//! `explain`: why a job ran, and why it ended as it did.

use clap::Args;
use jiff::Timestamp;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, ago, plain, print};
use super::show::bump_line;
use super::{Form, Globals};
use crate::model::api::JobList;
use crate::model::explain::{CauseExplained, ExplainView};
use crate::model::{AppName, JobId};

/// `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// A job's id, `last`, or an app's name for its newest job.
    #[arg(value_name = "JOB|APP")]
    what: String,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn explain(client: &Client, globals: &Globals, args: ExplainArgs) -> Result<Exit, CliError> {
    let id = job_of(client, &args.what).await?.to_string();
    if let Some(accept) = args.form.accept() {
        print(&client.page(&["jobs", &id, "explain"], &[], accept).await?)?;
        return Ok(Exit::Done);
    }
    let view: ExplainView = client.get(&["jobs", &id, "explain"], &[]).await?;
    print(&text(Paint::stdout(globals.color), &view, Timestamp::now()))?;
    Ok(Exit::Done)
}

async fn job_of(client: &Client, what: &str) -> Result<JobId, CliError> {
    if what == "last" || what.parse::<JobId>().is_ok() {
        return client.job_id(what).await;
    }
    let app = AppName::new(what)?;
    let query = [("app", app.to_string()), ("limit", "1".to_owned())];
    let list: JobList = client.get(&["jobs"], &query).await?;
    let job = list.jobs.first().map(|job| job.id);
    job.ok_or_else(|| CliError::other(format!("{app} has no job: `airplanes apps` lists the apps")))
}

fn text(paint: Paint, view: &ExplainView, now: Timestamp) -> String {
    let reason = view.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
    let mut out = format!("{} {} {}{reason}\n", view.job, paint.bold(view.app.as_str()), paint.state(&view.state));
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
    for left in &cause.left_out {
        out.push_str(&format!("  {} {}: {}\n", paint.dim("not in the plan:"), left.app, plain(&left.why)));
    }
    for note in &cause.notes {
        out.push_str(&format!("  {} {}\n", paint.dim("note:"), plain(note)));
    }
    out
}
