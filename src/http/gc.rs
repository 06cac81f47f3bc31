//! `/gc`: upkeep for a person who does not want to wait for it, and what the last round did.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::Asked;
use crate::upkeep::UpkeepError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    #[serde(default)]
    dry_run: bool,
}

/// `POST /gc?dry_run=`: 202 with the round, which goes on; `GET /gc` says how far it is.
pub(super) async fn begin(State(context): State<Context>, Asked(query): Asked<Query>) -> Result<Reply, ApiError> {
    let round = context.door.upkeep.ask(query.dry_run).map_err(|error| match error {
        UpkeepError::Busy { .. } => {
            ApiError::new(StatusCode::CONFLICT, "busy", error.to_string()).hint("GET /gc says how far it is")
        }
        UpkeepError::Ending => ApiError::ending(),
        other => ApiError::internal(&other),
    })?;
    Ok(Reply::new(StatusCode::ACCEPTED, round.as_ref().clone()))
}

/// `GET /gc`: the round under way, or the last one.
pub(super) async fn latest(State(context): State<Context>) -> Result<Reply, ApiError> {
    match context.door.upkeep.latest() {
        Some(round) => Ok(Reply::ok(round.as_ref().clone())),
        None => Err(ApiError::not_found("there was no upkeep yet since the daemon started")
            .hint("the first round is some minutes after the start; POST /gc begins one now")),
    }
}
