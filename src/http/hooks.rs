//! `POST /hooks/FORGE`: the door for git hosts. The signature is checked over the raw bytes; what is authentic is on
//! disk before it is answered. Whether any app cares is not asked here.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::Context;
use super::answer::{ApiError, Reply};
use super::body::HOOK_LIMIT;
use super::query::Named;
use super::server::Peer;
use crate::forge::{self, Parsed, Refused};
use crate::model::Forge;
use crate::model::event::Answer;
use crate::model::inbox::HookAnswer;
use crate::store::NewDelivery;

/// The handler.
pub(super) async fn receive(
    State(context): State<Context>,
    Named(forge): Named<String>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(forge) = Forge::ALL.into_iter().find(|f| f.as_str() == forge) else {
        return ApiError::not_found("there is no hook of that name")
            .hint("there are /hooks/github, /hooks/gitlab, /hooks/gitea (Forgejo and Gogs too) and /hooks/bitbucket")
            .into_response();
    };
    let began = Instant::now();
    let result = deliver(&context, forge, peer.map(|Extension(peer)| peer), &headers, body).await;
    context.metrics.hook_took(forge, began.elapsed());
    result.into_response()
}

async fn deliver(
    context: &Context,
    forge: Forge,
    peer: Option<Peer>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Reply, ApiError> {
    let body = context.bodies.read(headers, body, HOOK_LIMIT).await?;
    let received = {
        let forges = context.door.forges.load();
        let none = Default::default();
        let secrets = forges.get(&forge).unwrap_or(&none);
        forge::receive(forge, headers, &body.bytes, secrets, Timestamp::now())
    };
    drop(body);
    let received = received.map_err(|refused| match refused {
        Refused::Signature { caller, operator } => {
            let delivery = forge::delivery_id(forge, headers);
            context.refusals.note(forge, &operator, delivery.as_deref(), &from(peer, headers));
            context.metrics.refused(forge);
            ApiError::new(StatusCode::UNAUTHORIZED, "signature", caller)
        }
        Refused::Malformed { message } => {
            tracing::warn!(forge = forge.as_str(), "an authentic call can't be understood: {message}");
            ApiError::new(StatusCode::BAD_REQUEST, "malformed", message)
        }
    })?;
    let (meaning, tags) = match received.parsed {
        Parsed::Moved { pushes, tags } => (Ok(pushes), tags),
        Parsed::Ignored { reason } => (Err(reason), Vec::new()),
    };
    let delivery =
        NewDelivery { forge, forge_id: received.forge_id, event: received.event, repo: received.repo, meaning, tags };
    let accepted = context.door.store.accept(delivery).await.map_err(|error| {
        tracing::error!(forge = forge.as_str(), %error, "a delivery could not be stored, and was not accepted");
        let message = "the delivery could not be stored, and was not accepted";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not-stored", message).hint("deliver it again")
    })?;
    context.metrics.delivery(forge, &accepted.answer);
    let id = accepted.delivery;
    let (status, answer) = match accepted.answer {
        Answer::Accepted { events } => (
            StatusCode::ACCEPTED,
            HookAnswer {
                delivery: id,
                status: "accepted".to_owned(),
                event: events.first().copied(),
                events,
                reason: None,
            },
        ),
        Answer::Ignored { reason } => {
            let status = "ignored".to_owned();
            (StatusCode::OK, HookAnswer { delivery: id, status, event: None, events: vec![], reason: Some(reason) })
        }
        Answer::Duplicate { of, reason } => {
            let status = "duplicate".to_owned();
            (StatusCode::OK, HookAnswer { delivery: id, status, event: Some(of), events: vec![], reason: Some(reason) })
        }
    };
    if answer.events.is_empty() {
        // What has an event is told of with its plan.
        tracing::info!(delivery = %id, forge = forge.as_str(), status = answer.status, "webhook");
    }
    Ok(Reply::new(status, answer))
}

/// Where a call came from: the connection's other end, and whom a proxy there says that it speaks for.
fn from(peer: Option<Peer>, headers: &HeaderMap) -> String {
    let peer = peer.map_or_else(|| "an unknown address".to_owned(), |Peer(address)| address.ip().to_string());
    let last = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    match last.map(|value| value.rsplit(',').next().unwrap_or_default().trim()) {
        Some(said) if !said.is_empty() => format!("{peer}, for {}", said.chars().take(64).collect::<String>()),
        _ => peer,
    }
}
