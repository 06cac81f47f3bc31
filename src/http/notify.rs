//! `/notify/test`: every way of telling people, tried at once.

use axum::extract::State;
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::Asked;

/// `?dry-run=true` sends nothing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TestQuery {
    #[serde(default)]
    dry_run: bool,
}

/// `POST /notify/test`: sends a test through each way, and says what each answered.
pub(super) async fn test(State(context): State<Context>, Asked(query): Asked<TestQuery>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.notify.test(query.dry_run).await))
}
