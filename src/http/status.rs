//! `/healthz`, `/readyz` and `/status`: open to all, so without names unless the caller shows the token.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::answer::{ApiError, Reply};
use super::auth::{Caller, refusal};
use super::{Context, apps, deliveries};
use crate::model::api::state_of;
use crate::model::inbox::{Counts, StatusView, StoreView};
use crate::store::Store;

/// How many deliveries the page shows.
const DELIVERIES: usize = 10;

#[derive(Serialize)]
struct Fine {
    status: &'static str,
}

/// `GET /healthz`: the process is alive.
pub(super) async fn healthz() -> Reply {
    Reply::ok(Fine { status: "ok" })
}

/// `GET /readyz`: it can take webhooks now.
pub(super) async fn readyz(State(context): State<Context>) -> Result<Reply, ApiError> {
    if context.shutdown.is_cancelled() {
        return Err(ApiError::ending());
    }
    if context.door.store.fault().is_some() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store", "the store takes no writes")
            .hint("the daemon tries again by itself; its log says what is wrong"));
    }
    Ok(Reply::ok(Fine { status: "ready" }))
}

/// `GET /status`: the one-page summary.
pub(super) async fn status(State(context): State<Context>, headers: HeaderMap) -> Result<Reply, ApiError> {
    let door = &context.door;
    let caller = Caller::of(&headers, door);
    if caller == Caller::Wrong {
        return Err(refusal(caller));
    }
    let known = caller == Caller::Operator;
    let fault = door.store.fault();
    let store = StoreView {
        state: if fault.is_some() { "fault" } else { "ok" }.to_owned(),
        since: fault.as_ref().map(|f| f.since),
        why: fault.map(|f| f.why).filter(|_| known),
    };
    let mut view = StatusView {
        version: door.version.to_owned(),
        up_since: door.started_at,
        store,
        config_fault: None,
        disk: None,
        notify: None,
        refusals: None,
        builds: None,
        counts: counts(&door.store, door.pipeline.count_apps()),
        apps: None,
        jobs: None,
        deliveries: None,
    };
    if known {
        view.builds = Some(door.pipeline.builds());
        view.disk = door.pipeline.disk().ok();
        view.notify = Some(door.notify.view());
        view.config_fault = door.config_fault.load().as_deref().cloned();
        view.refusals = Some(context.refusals.views()).filter(|refusals| !refusals.is_empty());
        // Costs a look into the store for each app: not for those who need not be known.
        view.apps = Some(apps::all(&context).await?);
        view.jobs = Some(door.store.open_jobs().iter().map(|job| door.pipeline.view(job)).collect());
        // A store that is at fault can't be read; the page is wanted then more than ever.
        view.deliveries = deliveries::page(&context, None, DELIVERIES).await.ok();
    }
    Ok(Reply::page(view))
}

/// Counts what is open.
pub(super) fn counts(store: &Store, apps: usize) -> Counts {
    let mut counts = Counts { apps, unplanned: store.unplanned().len(), ..Counts::default() };
    for job in store.open_jobs() {
        *match state_of(&job).0 {
            "parked" => &mut counts.parked,
            "running" => &mut counts.running,
            "waiting" => &mut counts.waiting,
            _ => &mut counts.queued,
        } += 1;
    }
    counts
}
