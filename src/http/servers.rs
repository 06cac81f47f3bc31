//! `/servers`: servers that are made and destroyed at their providers.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::{Asked, Named};
use crate::cloud::CloudError;
use crate::model::ServerName;
use crate::model::server::{ServerList, ServerRequest};
use crate::servers::ServersError;

/// How large the body of `POST /servers` may be.
const LIMIT: usize = 16 * 1024;
/// Whom a server is put down to: there is one token, and it is the operator's.
const BY: &str = "operator";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    seen: Option<u64>,
}

/// `POST /servers`: 202 with the server, whose `name` leads to how it gets on. With `dry_run`, 200 with what would be done.
pub(super) async fn create(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = context.bodies.read(&headers, body, LIMIT).await?;
    let ServerRequest { spec, dry_run } = serde_json::from_slice(&body.bytes).map_err(|e| {
        ApiError::bad_request(format!("the body is not the JSON of a server: {e}"))
            .hint(r#"send {"name", "provider", "region", "type", "image"}, and "dry_run" if nothing is to be made"#)
    })?;
    let servers = &context.door.servers;
    if dry_run {
        return Ok(Reply::ok(servers.plan(spec).await?).into_response());
    }
    let view = servers.create(spec, BY).await?;
    let location = HeaderValue::try_from(format!("/servers/{}", view.name)).map_err(|e| ApiError::internal(&e))?;
    Ok(Reply::new(StatusCode::ACCEPTED, view).header(LOCATION, location).into_response())
}

/// `GET /servers`.
pub(super) async fn list(State(context): State<Context>) -> Reply {
    Reply::ok(ServerList { servers: context.door.servers.list(), next: None })
}

/// `GET /servers/NAME?seen=`: with `seen` (the `changes` that the caller has) it answers when there are more, or after some
/// seconds.
pub(super) async fn one(
    State(context): State<Context>,
    Named(name): Named<String>,
    Asked(query): Asked<Query>,
) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.servers.one(&ServerName::new(name)?, query.seen).await?))
}

/// `DELETE /servers/NAME`: 202 with the server, on its way out.
pub(super) async fn destroy(State(context): State<Context>, Named(name): Named<String>) -> Result<Reply, ApiError> {
    Ok(Reply::new(StatusCode::ACCEPTED, context.door.servers.destroy(&ServerName::new(name)?, BY).await?))
}

impl From<ServersError> for ApiError {
    fn from(error: ServersError) -> Self {
        let said = error.to_string();
        match error {
            ServersError::NoProvider(_) | ServersError::NoIdentity => Self::bad_request(said),
            ServersError::None(_) => Self::not_found(said),
            ServersError::Other(_) => Self::new(StatusCode::CONFLICT, "another", said),
            ServersError::Named { .. } => Self::new(StatusCode::CONFLICT, "named", said),
            ServersError::Going(_) => Self::new(StatusCode::CONFLICT, "going", said),
            ServersError::Foreign { .. } => Self::new(StatusCode::CONFLICT, "foreign", said),
            ServersError::Cloud(error) if error.is_passing() => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "provider", said)
            }
            ServersError::Cloud(CloudError::Odd { .. } | CloudError::Net(_)) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "provider", said)
            }
            ServersError::Cloud(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "provider", said),
            ServersError::Store(error) => error.into(),
        }
    }
}
