//! `/apps`, and what a person may set in motion: deploy, rollback, promotion and cancel.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::answer::{ApiError, Reply};
use super::query::{Asked, Named};
use super::{Context, jobs};
use crate::model::api::{AppView, Submitted};
use crate::model::inbox::AppList;
use crate::model::{AppName, JobId, Sha};
use crate::pipeline::{PipelineError, Shown};

/// Whom an action is put down to: there is one token, and it is the operator's.
const BY: &str = "operator";

/// `GET /apps`.
pub(super) async fn list(State(context): State<Context>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(AppList { apps: all(&context).await?, next: None }))
}

/// `GET /apps/NAME`.
pub(super) async fn one(State(context): State<Context>, Named(name): Named<String>) -> Result<Reply, ApiError> {
    find(&context, AppName::new(name)?).await
}

/// `GET /apps/OWNER/NAME`.
pub(super) async fn owned(
    State(context): State<Context>,
    Named((owner, name)): Named<(String, String)>,
) -> Result<Reply, ApiError> {
    find(&context, AppName::new(format!("{owner}/{name}"))?).await
}

/// `POST /apps/NAME/deploy`.
pub(super) async fn deploy(State(context): State<Context>, Named(name): Named<String>) -> Result<Reply, ApiError> {
    start(&context, AppName::new(name)?).await
}

/// `POST /apps/OWNER/NAME/deploy`.
pub(super) async fn deploy_owned(
    State(context): State<Context>,
    Named((owner, name)): Named<(String, String)>,
) -> Result<Reply, ApiError> {
    start(&context, AppName::new(format!("{owner}/{name}"))?).await
}

/// `GET /apps/NAME/rollout`.
pub(super) async fn rollout(State(context): State<Context>, Named(name): Named<String>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.rollout_plan(&AppName::new(name)?)?))
}

/// `GET /apps/OWNER/NAME/rollout`.
pub(super) async fn rollout_owned(
    State(context): State<Context>,
    Named((owner, name)): Named<(String, String)>,
) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.rollout_plan(&AppName::new(format!("{owner}/{name}"))?)?))
}

/// What a rollback goes to, and the environment that goes back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct To {
    to: Option<String>,
    env: Option<String>,
}

/// `GET /apps/NAME/rollback?to=&env=`: what it would do.
pub(super) async fn rollback_plan(
    State(context): State<Context>,
    Named(name): Named<String>,
    Asked(To { to, env }): Asked<To>,
) -> Result<Reply, ApiError> {
    let app = AppName::new(name)?;
    Ok(Reply::ok(context.door.pipeline.rollback_plan(&app, env.as_deref(), to.as_deref())?))
}

/// `GET /apps/OWNER/NAME/rollback?to=&env=`.
pub(super) async fn rollback_plan_owned(
    state: State<Context>,
    Named((owner, name)): Named<(String, String)>,
    asked: Asked<To>,
) -> Result<Reply, ApiError> {
    rollback_plan(state, Named(format!("{owner}/{name}")), asked).await
}

/// The same, whether that is wanted though something is not undone by it, and what somebody was shown, if it is to be
/// nothing else: the commit that it goes to, and the one that it comes from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    to: Option<String>,
    env: Option<String>,
    #[serde(default)]
    yes: bool,
    commit: Option<Sha>,
    from: Option<Sha>,
}

/// `POST /apps/NAME/rollback?to=&env=&yes=&commit=&from=`.
pub(super) async fn rollback(
    State(context): State<Context>,
    Named(name): Named<String>,
    Asked(Back { to, env, yes, commit, from }): Asked<Back>,
) -> Result<Reply, ApiError> {
    let (app, shown) = (AppName::new(name)?, Shown { yes, commit, from });
    accepted(context.door.pipeline.rollback(&app, env.as_deref(), to.as_deref(), shown, BY).await?)
}

/// `POST /apps/OWNER/NAME/rollback?to=&env=&yes=&commit=&from=`.
pub(super) async fn rollback_owned(
    state: State<Context>,
    Named((owner, name)): Named<(String, String)>,
    asked: Asked<Back>,
) -> Result<Reply, ApiError> {
    rollback(state, Named(format!("{owner}/{name}")), asked).await
}

/// Where a promotion goes, and with which commit, if it is to be no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Promoted {
    to: Option<String>,
    commit: Option<Sha>,
}

/// `GET /apps/NAME/promote?to=`: what it would do. Asks hosts.
pub(super) async fn promotion_plan(
    State(context): State<Context>,
    Named(name): Named<String>,
    Asked(Promoted { to, .. }): Asked<Promoted>,
) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.promotion_plan(&AppName::new(name)?, to.as_deref()).await?))
}

/// `GET /apps/OWNER/NAME/promote?to=`.
pub(super) async fn promotion_plan_owned(
    state: State<Context>,
    Named((owner, name)): Named<(String, String)>,
    asked: Asked<Promoted>,
) -> Result<Reply, ApiError> {
    promotion_plan(state, Named(format!("{owner}/{name}")), asked).await
}

/// `POST /apps/NAME/promote?to=&commit=`.
pub(super) async fn promote(
    State(context): State<Context>,
    Named(name): Named<String>,
    Asked(Promoted { to, commit }): Asked<Promoted>,
) -> Result<Reply, ApiError> {
    let shown = Shown { commit, ..Shown::default() };
    accepted(context.door.pipeline.promote(&AppName::new(name)?, to.as_deref(), shown, BY).await?)
}

/// `POST /apps/OWNER/NAME/promote?to=&commit=`.
pub(super) async fn promote_owned(
    state: State<Context>,
    Named((owner, name)): Named<(String, String)>,
    asked: Asked<Promoted>,
) -> Result<Reply, ApiError> {
    promote(state, Named(format!("{owner}/{name}")), asked).await
}

/// `POST /jobs/ID/cancel`: 202 with the job, which may still be ending.
pub(super) async fn cancel(State(context): State<Context>, Named(id): Named<String>) -> Result<Reply, ApiError> {
    let job: JobId = id.parse()?;
    context.door.pipeline.cancel(job, BY).await?;
    let job = jobs::find(&context, &id).await?;
    Ok(Reply::new(StatusCode::ACCEPTED, context.door.pipeline.view(&job)))
}

/// The apps with what is known of them.
pub(super) async fn all(context: &Context) -> Result<Vec<AppView>, ApiError> {
    let pipeline = context.door.pipeline.clone();
    tokio::task::spawn_blocking(move || pipeline.apps()).await.map_err(|e| ApiError::internal(&e))
}

async fn find(context: &Context, name: AppName) -> Result<Reply, ApiError> {
    let app = all(context).await?.into_iter().find(|app| app.name == name);
    let missing = || ApiError::not_found(format!("there is no app {name} in deploy.edn")).hint("/apps lists them");
    app.map(Reply::ok).ok_or_else(missing)
}

async fn start(context: &Context, name: AppName) -> Result<Reply, ApiError> {
    accepted(context.door.pipeline.deploy(&name, BY).await?)
}

fn accepted(submitted: Submitted) -> Result<Reply, ApiError> {
    let location = HeaderValue::try_from(format!("/jobs/{}", submitted.job)).map_err(|e| ApiError::internal(&e))?;
    Ok(Reply::new(StatusCode::ACCEPTED, submitted).header(LOCATION, location))
}

impl From<PipelineError> for ApiError {
    fn from(error: PipelineError) -> Self {
        let said = error.to_string();
        match error {
            PipelineError::NoSuchApp { .. } => Self::not_found(said),
            PipelineError::Held(hold) => Self::new(StatusCode::CONFLICT, "held", said)
                .hint(format!("`airplanes hold {} --release` lets it go", hold.app)),
            PipelineError::Unconfirmed(_) => Self::new(StatusCode::CONFLICT, "unconfirmed", said)
                .hint("if that is well, ask the same with yes=true in the query".to_owned()),
            PipelineError::Changed(_) => {
                Self::new(StatusCode::CONFLICT, "changed", said).hint("look again with --plan, and say it again")
            }
            PipelineError::Senseless(_) => Self::bad_request(said),
            PipelineError::NoSuchCommit { .. } => Self::not_found(said),
            PipelineError::NoSuchHold { .. } => Self::not_found(said),
            PipelineError::NoSuchJob(_) | PipelineError::NoSuchEvent(_) => Self::not_found(said),
            PipelineError::NoSuchRepo(_) => Self::not_found(said),
            PipelineError::NoSuchImpact(_) => Self::not_found(said),
            PipelineError::NoApi(_) => Self::bad_request(said),
            PipelineError::Busy(_) => Self::new(StatusCode::CONFLICT, "busy", said),
            PipelineError::AlreadyEnded(..) => Self::new(StatusCode::CONFLICT, "already-ended", said),
            PipelineError::Ending => Self::ending(),
            PipelineError::Store(error) => error.into(),
            PipelineError::Name(error) => error.into(),
        }
    }
}
