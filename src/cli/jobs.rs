//! `jobs`, `job` and `cancel`.

use clap::Args;
use jiff::Timestamp;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, print, print_page, say};
use super::show::{job_page, job_table};
use super::{Form, Globals};
use crate::model::api::{JobList, JobView};

/// `jobs`.
#[derive(Debug, Clone, Args)]
pub struct JobsArgs {
    /// Only of this app.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Only in this state: open, queued, waiting, running, succeeded, unchanged, partial, failed, canceled, skipped …
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// How many.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only those older than this job.
    #[arg(long, value_name = "JOB")]
    before: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// `job`.
#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    /// Its id, `last`, or an app's name for its newest one.
    #[arg(value_name = "JOB|APP")]
    id: String,
    #[command(flatten)]
    form: Form,
}

/// `cancel`.
#[derive(Debug, Clone, Args)]
pub struct CancelArgs {
    /// Its id, or `last`.
    #[arg(value_name = "JOB")]
    id: String,
}

pub(super) async fn jobs(client: &Client, globals: &Globals, args: JobsArgs) -> Result<Exit, CliError> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.app.map(|app| ("app", app)));
    query.extend(args.state.map(|state| ("state", state)));
    query.extend(args.before.map(|before| ("before", before)));
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&["jobs"], &query, accept).await?)?;
        return Ok(Exit::Done);
    }
    let list: JobList = client.get(&["jobs"], &query).await?;
    if list.jobs.is_empty() {
        say("no jobs");
        return Ok(Exit::Done);
    }
    print(&job_table(Paint::stdout(globals.color), &list.jobs, Timestamp::now()))?;
    if let Some(next) = list.next {
        say(&Paint::stderr(globals.color).dim(&format!("older ones: --before {next}")));
    }
    Ok(Exit::Done)
}

pub(super) async fn job(client: &Client, globals: &Globals, args: JobArgs) -> Result<Exit, CliError> {
    let id = client.job_named(&args.id).await?;
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&["jobs", &id.to_string()], &[], accept).await?)?;
        return Ok(Exit::Done);
    }
    print(&job_page(Paint::stdout(globals.color), &client.job(id).await?, Timestamp::now()))?;
    Ok(Exit::Done)
}

pub(super) async fn cancel(client: &Client, globals: &Globals, args: CancelArgs) -> Result<Exit, CliError> {
    let id = client.job_id(&args.id).await?;
    let job: JobView = client.post(&["jobs", &id.to_string(), "cancel"], None::<&()>).await?;
    let paint = Paint::stdout(globals.color);
    let state = if job.has_ended() { paint.state(&job.state) } else { "is being canceled".to_owned() };
    print(&format!("{id} {} {state}\n", job.app))?;
    Ok(Exit::Done)
}
