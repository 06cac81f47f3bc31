//! `/impact`: who would break if a commit were merged. Asked by POST, and told while it is found out.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::{Asked, Named};
use crate::model::ImpactId;
use crate::model::impact::ImpactQuery;

/// How large the body of `POST /impact` may be.
const LIMIT: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    seen: Option<u64>,
}

/// `POST /impact`: 202 with the question, whose `id` leads to what is known of it.
pub(super) async fn ask(State(context): State<Context>, headers: HeaderMap, body: Body) -> Result<Reply, ApiError> {
    let body = context.bodies.read(&headers, body, LIMIT).await?;
    let query: ImpactQuery = serde_json::from_slice(&body.bytes).map_err(|e| {
        ApiError::bad_request(format!("the body is not the JSON of such a question: {e}")).hint(
            r#"send {"repo": "github.com/acme/snow", "branch": "faster"}; with "onto", "app" and "report" where that is meant"#,
        )
    })?;
    let view = context.door.pipeline.ask_impact(query).await?;
    let location = HeaderValue::try_from(format!("/impact/{}", view.id)).map_err(|e| ApiError::internal(&e))?;
    Ok(Reply::new(StatusCode::ACCEPTED, view).header(LOCATION, location))
}

/// `GET /impact/ID?seen=`: what is known. With `seen` (the `changes` that the caller has) it answers when there is more,
/// or after some seconds, and of the apps it tells those that have changed since.
pub(super) async fn one(
    State(context): State<Context>,
    Named(id): Named<String>,
    Asked(query): Asked<Query>,
) -> Result<Reply, ApiError> {
    let id: ImpactId = id.parse()?;
    Ok(Reply::ok(context.door.pipeline.impact(id, query.seen).await?))
}

/// `DELETE /impact/ID`: ends it.
pub(super) async fn cancel(State(context): State<Context>, Named(id): Named<String>) -> Result<Reply, ApiError> {
    let id: ImpactId = id.parse()?;
    Ok(Reply::ok(context.door.pipeline.cancel_impact(id).await?))
}
