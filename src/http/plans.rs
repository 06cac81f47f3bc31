//! `/plans`, `/graph` and why a job ran: what would happen, what hangs together, and what did happen. Read-only.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::{Asked, Named};
use crate::model::api::PlanQuery;
use crate::model::{AppName, EventId, JobId};

/// How large the body of `POST /plans` may be.
const PLAN_LIMIT: usize = 64 * 1024;

/// `POST /plans`: what a push would set in motion. Nothing of it happens.
pub(super) async fn preview(State(context): State<Context>, headers: HeaderMap, body: Body) -> Result<Reply, ApiError> {
    let body = context.bodies.read(&headers, body, PLAN_LIMIT).await?;
    let query: PlanQuery = serde_json::from_slice(&body.bytes).map_err(|e| {
        ApiError::bad_request(format!("the body is not the JSON of a plan's question: {e}")).hint(
            r#"send {"repo": "github.com/acme/snow", "branch": "master", "sha": "4c4b6fa"}; the last two can be left out"#,
        )
    })?;
    Ok(Reply::ok(context.door.pipeline.preview(&query).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    app: Option<AppName>,
    repo: Option<String>,
}

/// `GET /graph?app=&repo=`: what depends on what, with all that one app or repository stands on and all that stands on
/// it.
pub(super) async fn graph(State(context): State<Context>, Asked(about): Asked<About>) -> Result<Reply, ApiError> {
    let pipeline = context.door.pipeline.clone();
    let view = tokio::task::spawn_blocking(move || pipeline.overview(about.app.as_ref(), about.repo.as_deref())).await;
    let mut view = view.map_err(|e| ApiError::internal(&e))??;
    context.door.reconcile.annotate(&mut view).await?;
    Ok(Reply::ok(view))
}

/// `GET /jobs/ID/explain`: why the job ran, and why it ended as it did.
pub(super) async fn explain(State(context): State<Context>, Named(id): Named<String>) -> Result<Reply, ApiError> {
    let id: JobId = id.parse()?;
    let pipeline = context.door.pipeline.clone();
    let view = tokio::task::spawn_blocking(move || pipeline.explain(id)).await;
    Ok(Reply::ok(view.map_err(|e| ApiError::internal(&e))??))
}

/// `GET /events/ID/explain`: what the event did, and which apps it left out.
pub(super) async fn explain_event(State(context): State<Context>, Named(id): Named<String>) -> Result<Reply, ApiError> {
    let id: EventId = id.parse()?;
    let pipeline = context.door.pipeline.clone();
    let view = tokio::task::spawn_blocking(move || pipeline.explain_event(id)).await;
    Ok(Reply::ok(view.map_err(|e| ApiError::internal(&e))??))
}
