//! `/holds` and `/apps/APP/hold`: what stays where it is because someone said so.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::{Asked, Named};
use crate::model::AppName;
use crate::model::hold::{HoldList, HoldRequest};

/// How large the body of a hold may be.
const LIMIT: usize = 16 * 1024;
/// Whom a hold is put down to: there is one token, and it is the operator's.
const BY: &str = "operator";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    lib: Option<String>,
}

/// `GET /holds`.
pub(super) async fn list(State(context): State<Context>) -> Reply {
    Reply::ok(HoldList { holds: context.door.pipeline.holds(), next: None })
}

/// `PUT /apps/NAME/hold`.
pub(super) async fn put(
    State(context): State<Context>,
    Named(name): Named<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply, ApiError> {
    hold(&context, AppName::new(name)?, &headers, body).await
}

/// `PUT /apps/OWNER/NAME/hold`.
pub(super) async fn put_owned(
    State(context): State<Context>,
    Named((owner, name)): Named<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply, ApiError> {
    hold(&context, AppName::new(format!("{owner}/{name}"))?, &headers, body).await
}

/// `DELETE /apps/NAME/hold?lib=`.
pub(super) async fn delete(
    State(context): State<Context>,
    Named(name): Named<String>,
    Asked(query): Asked<Query>,
) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.release(&AppName::new(name)?, query.lib, BY).await?))
}

/// `DELETE /apps/OWNER/NAME/hold?lib=`.
pub(super) async fn delete_owned(
    State(context): State<Context>,
    Named((owner, name)): Named<(String, String)>,
    Asked(query): Asked<Query>,
) -> Result<Reply, ApiError> {
    let app = AppName::new(format!("{owner}/{name}"))?;
    Ok(Reply::ok(context.door.pipeline.release(&app, query.lib, BY).await?))
}

async fn hold(context: &Context, app: AppName, headers: &HeaderMap, body: Body) -> Result<Reply, ApiError> {
    let body = context.bodies.read(headers, body, LIMIT).await?;
    let request: HoldRequest = serde_json::from_slice(&body.bytes).map_err(|e| {
        ApiError::bad_request(format!("the body is not the JSON of a hold: {e}"))
            .hint(r#"send {"reason": "…"}, and if you like "lib", "until" (RFC 3339) and "until_descendant_of""#)
    })?;
    Ok(Reply::ok(context.door.pipeline.hold(&app, request, BY).await?))
}
