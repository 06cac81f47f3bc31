//! `/repos`: the repositories that apps live in or depend on; and `/sync`, which looks at their remotes now.

use axum::extract::State;
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::Asked;
use crate::model::AppName;
use crate::model::repo::RepoList;
use crate::pipeline::PipelineError;
use crate::reconcile::ReconcileError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    app: Option<AppName>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    repo: Option<String>,
}

/// `GET /repos?repo=`: all, or the one that a url, an identity, a library or an app names; else those whose identity holds
/// that text.
pub(super) async fn list(State(context): State<Context>, Asked(which): Asked<Which>) -> Result<Reply, ApiError> {
    let reconcile = &context.door.reconcile;
    let Some(text) = which.repo else {
        return Ok(Reply::ok(RepoList { repos: reconcile.views(|_| true).await?, next: None }));
    };
    let mut repos = match context.door.pipeline.repo_named(&text) {
        Ok(named) => reconcile.views(|repo| *repo == named).await?,
        Err(_) => Vec::new(),
    };
    if repos.is_empty() {
        repos = reconcile.views(|repo| repo.as_str().contains(&text)).await?;
    }
    if repos.is_empty() {
        return Err(PipelineError::NoSuchRepo(text).into());
    }
    Ok(Reply::ok(RepoList { repos, next: None }))
}

/// `POST /sync?app=&dry_run=`: answers once all have been asked.
pub(super) async fn sync(State(context): State<Context>, Asked(query): Asked<Query>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.reconcile.sync(query.app, query.dry_run).await?))
}

impl From<ReconcileError> for ApiError {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::NoSuchApp(_) => Self::not_found(error.to_string()),
            ReconcileError::Ending => Self::ending(),
            ReconcileError::Store(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}
