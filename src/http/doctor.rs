//! `/doctor`: everything that a deploy needs, tried in the daemon, as its user. Nothing changes by it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::Asked;
use crate::doctor::{Alive, DoctorError, Patient, examine as run, test_hook};
use crate::model::check::{CheckUp, DoctorLine, HookTest};
use crate::model::{AppName, Check, Finding};

/// One check a line as it is done, and at the end whether all is well: `{"well": true}`.
const LINES: &str = "application/x-ndjson";
/// How large the body of `POST /doctor/hook` may be.
const HOOK_LIMIT: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    app: Option<String>,
}

/// `GET /doctor?app=`.
pub(super) async fn examine(
    State(context): State<Context>,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let only = query.app.map(AppName::new).transpose()?;
    if let Some(name) = &only
        && !context.door.in_force.load().apps.contains_key(name)
    {
        return Err(ApiError::not_found(format!("there is no app {name} in deploy.edn")).hint("/apps lists them"));
    }
    let patient = patient(&context)?;
    Ok(answer(&context, &headers, run(Arc::new(patient), only)).await)
}

/// `POST /doctor/hook`: the daemon calls itself as an app's forge would, and says which checks the call passes.
pub(super) async fn hook(State(context): State<Context>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let body = context.bodies.read(&headers, body, HOOK_LIMIT).await?;
    let test: HookTest = serde_json::from_slice(&body.bytes).map_err(|e| {
        ApiError::bad_request(format!("the body is not the JSON of a hook's test: {e}"))
            .hint(r#"send {"app": "shop"}; with "push": true, and "forge" where the url does not tell"#)
    })?;
    let Some(app) = context.door.in_force.load().apps.get(&test.app).cloned() else {
        return Err(ApiError::not_found(format!("there is no app {} in deploy.edn", test.app)).hint("/apps lists them"));
    };
    let patient = patient(&context)?;
    Ok(answer(&context, &headers, test_hook(Arc::new(patient), app, test)).await)
}

/// The daemon as it is now.
fn patient(context: &Context) -> Result<Patient, ApiError> {
    let (door, refusals) = (&context.door, context.refusals.clone());
    let alive = Alive {
        store: door.store.clone(),
        address: Some(context.address),
        started_at: door.started_at,
        config_fault: door.config_fault.load().as_deref().cloned(),
        pipeline: door.pipeline.clone(),
        reconcile: door.reconcile.clone(),
        refusals: Box::new(move || refusals.views()),
    };
    let rooms = door.pipeline.rooms();
    Ok(Patient::of_daemon(&door.config, door.in_force.load_full(), &rooms, alive)?)
}

/// The checks as lines while they are done, or all at once.
async fn answer(
    context: &Context,
    headers: &HeaderMap,
    checks: impl Stream<Item = Check> + Send + 'static,
) -> Response {
    let shutdown = context.shutdown.clone();
    if headers.get(ACCEPT).is_none_or(|accept| accept != LINES) {
        let checks = checks.take_until(shutdown.cancelled_owned()).collect().await;
        return Reply::page(CheckUp::of(checks)).into_response();
    }
    let mut well = true;
    let lines = checks
        .map(DoctorLine::Check)
        .chain(stream::iter([DoctorLine::End { well: true }]))
        .map(move |mut line| {
            match &mut line {
                DoctorLine::Check(check) => well &= check.finding != Finding::Failed,
                DoctorLine::End { well: all } => *all = well,
            }
            serde_json::to_string(&line).map(|text| text + "\n")
        })
        // Cut off without its end, so that nobody takes half of it for all.
        .take_until(shutdown.cancelled_owned());
    let headers = [(CONTENT_TYPE, LINES), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines)).into_response()
}

impl From<DoctorError> for ApiError {
    fn from(error: DoctorError) -> Self {
        Self::internal(&error)
    }
}
