//! Which handler answers what, and who may ask.

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post, put};

use super::answer::{ApiError, render};
use super::{
    Context, apps, auth, backup, deliveries, doctor, events, gc, holds, hooks, impact, jobs, logs, metrics, notify,
    plans, provenance, repos, secrets, servers, status,
};

/// The routes.
pub(super) fn router(context: Context) -> Router {
    let open = Router::new()
        .route("/hooks/{forge}", post(hooks::receive))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/status", get(status::status));
    let operators = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/jobs", get(jobs::list))
        .route("/jobs/{id}", get(jobs::one))
        .route("/jobs/{id}/events", get(events::stream))
        .route("/jobs/{id}/logs/{*step}", get(logs::log))
        .route("/jobs/{id}/cancel", post(apps::cancel))
        .route("/apps", get(apps::list))
        .route("/apps/{name}", get(apps::one))
        .route("/apps/{name}/deploy", post(apps::deploy))
        .route("/apps/{name}/rollout", get(apps::rollout))
        .route("/apps/{name}/{of_owner}/rollout", get(apps::rollout_owned))
        .route("/apps/{name}/rollback", get(apps::rollback_plan).post(apps::rollback))
        .route("/apps/{name}/{of_owner}/rollback", get(apps::rollback_plan_owned).post(apps::rollback_owned))
        .route("/apps/{name}/promote", get(apps::promotion_plan).post(apps::promote))
        .route("/apps/{name}/{of_owner}/promote", get(apps::promotion_plan_owned).post(apps::promote_owned))
        .route("/apps/{name}/hold", put(holds::put).delete(holds::delete))
        .route("/apps/{name}/{of_owner}/hold", put(holds::put_owned).delete(holds::delete_owned))
        .route("/apps/{name}/secrets", get(secrets::list))
        .route("/apps/{name}/secrets/{secret}", put(secrets::put).delete(secrets::delete))
        .route("/holds", get(holds::list))
        .route("/apps/{name}/{of_owner}", get(apps::owned))
        .route("/apps/{name}/{of_owner}/deploy", post(apps::deploy_owned))
        .route("/where", get(provenance::runs))
        .route("/missing", get(provenance::missing))
        .route("/drift", get(provenance::drift))
        .route("/repos", get(repos::list))
        .route("/sync", post(repos::sync))
        .route("/graph", get(plans::graph))
        .route("/jobs/{id}/explain", get(plans::explain))
        .route("/events/{id}/explain", get(plans::explain_event))
        .route("/plans", post(plans::preview))
        .route("/impact", post(impact::ask))
        .route("/impact/{id}", get(impact::one).delete(impact::cancel))
        .route("/notify/test", post(notify::test))
        .route("/servers", get(servers::list).post(servers::create))
        .route("/servers/{name}", get(servers::one).delete(servers::destroy))
        .route("/deliveries", get(deliveries::list))
        .route("/doctor", get(doctor::examine))
        .route("/doctor/hook", post(doctor::hook))
        .route("/gc", get(gc::latest).post(gc::begin))
        .route("/backup", get(backup::stream))
        .route_layer(from_fn_with_state(context.door.clone(), auth::operator));
    open.merge(operators)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        // One layer, not one for each of what it does: every webhook pays for it.
        .layer(from_fn(render))
        .with_state(context)
}

async fn unknown() -> ApiError {
    ApiError::not_found("there is nothing at this path")
        .hint("/status says how the daemon is; the README lists the routes")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path does not take that method")
        .hint("the header Allow lists what it takes")
}
