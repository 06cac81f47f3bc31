//! `/where`, `/missing` and `/drift`: what runs where, and what does not.

use axum::extract::State;
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::Asked;
use crate::model::AppName;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    lib: String,
    sha: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Missing {
    sha: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfApp {
    app: Option<AppName>,
}

/// `GET /where?lib=&sha=`: `lib` is a library, or a repository as `GET /repos?repo=` takes it; `sha` the first digits of
/// a commit.
pub(super) async fn runs(State(context): State<Context>, Asked(query): Asked<Where>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.runs(&query.lib, query.sha.as_deref()).await?))
}

/// `GET /missing?sha=`: a commit, or its first digits.
pub(super) async fn missing(State(context): State<Context>, Asked(query): Asked<Missing>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.missing(&query.sha).await?))
}

/// `GET /drift?app=`: answers once the hosts have been asked.
pub(super) async fn drift(State(context): State<Context>, Asked(query): Asked<OfApp>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.drift(query.app.as_ref()).await?))
}
