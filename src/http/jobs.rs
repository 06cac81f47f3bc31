//! `/jobs`: lists by cursor, and one job with its steps.

use axum::extract::State;
use serde::Deserialize;

use std::sync::Arc;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::{Asked, Named, limit};
use crate::model::api::{JobList, JobView};
use crate::model::{AppName, JobId, JobState, Outcome};
use crate::store::JobFilter;

/// The states of jobs under way.
const UNDER_WAY: [&str; 3] = ["queued", "waiting", "running"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    app: Option<AppName>,
    state: Option<String>,
    limit: Option<usize>,
    before: Option<JobId>,
}

/// `GET /jobs?app=&state=&limit=&before=`, newest first. `state` is a job's state, or `open` for those under way.
pub(super) async fn list(State(context): State<Context>, Asked(query): Asked<Query>) -> Result<Reply, ApiError> {
    let limit = limit(query.limit);
    let outcome = match query.state.as_deref() {
        None => None,
        Some("open") => Some(None),
        Some(state) if UNDER_WAY.contains(&state) => {
            let open = context.door.store.open_jobs();
            let mut jobs: Vec<JobView> = open.iter().map(|job| context.door.pipeline.view(job)).collect();
            jobs.retain(|job| {
                job.state == state
                    && query.app.as_ref().is_none_or(|app| job.app == *app)
                    && query.before.is_none_or(|before| job.id < before)
            });
            jobs.reverse();
            let next = if jobs.len() > limit { Some(jobs[limit - 1].id) } else { None };
            jobs.truncate(limit);
            return Ok(Reply::ok(JobList { jobs, next }));
        }
        Some(state) => match Outcome::ALL.into_iter().find(|o| o.as_str() == state) {
            Some(outcome) => Some(Some(outcome)),
            None => {
                let words: Vec<&str> = Outcome::ALL.into_iter().map(Outcome::as_str).collect();
                let hint = format!("there are open, {}, {}", UNDER_WAY.join(", "), words.join(", "));
                return Err(ApiError::bad_request("no job is ever in that state").hint(hint));
            }
        },
    };
    let filter = JobFilter { app: query.app, outcome, before: query.before, limit };
    let jobs = context.look(move |store| store.jobs(&filter)).await?;
    let next = if jobs.len() == limit { jobs.last().map(|job| job.id) } else { None };
    Ok(Reply::ok(JobList { jobs: jobs.iter().map(|job| context.door.pipeline.view(job)).collect(), next }))
}

/// `GET /jobs/ID`.
pub(super) async fn one(State(context): State<Context>, Named(id): Named<String>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.view(&*find(&context, &id).await?)))
}

/// The job of that id.
pub(super) async fn find(context: &Context, id: &str) -> Result<Arc<JobState>, ApiError> {
    let id: JobId = id.parse()?;
    match context.look(move |store| store.job(id)).await? {
        Some(job) => Ok(job),
        None => Err(ApiError::not_found(format!("there is no job {id}")).hint("/jobs lists them")),
    }
}
