//! `POST /hooks/FORGE`: the door for git hosts. The signature is checked over the raw bytes; what is authentic is on
//! disk before it is answered. Whether any app cares is not asked here.

use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::Context;
use super::answer::{ApiError, Reply};
use super::body::HOOK_LIMIT;
use super::query::Named;
use crate::forge::{self, Parsed, Refused};
use crate::model::Forge;
use crate::model::event::Answer;
use crate::model::inbox::HookAnswer;
use crate::store::NewDelivery;

/// The handler.
pub(super) async fn receive(
    State(context): State<Context>,
    Named(forge): Named<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(forge) = Forge::ALL.into_iter().find(|f| f.as_str() == forge) else {
        return ApiError::not_found("there is no hook of that name")
            .hint("there are /hooks/github, /hooks/gitlab, /hooks/gitea (Forgejo and Gogs too) and /hooks/bitbucket")
            .into_response();
    };
    let began = Instant::now();
    let result = deliver(&context, forge, &headers, body).await;
    context.metrics.hook_took(forge, began.elapsed());
    result.into_response()
}

async fn deliver(context: &Context, forge: Forge, headers: &HeaderMap, body: Body) -> Result<Reply, ApiError> {
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
            tracing::warn!(forge = forge.as_str(), "{operator}");
            context.metrics.refused(forge);
            ApiError::new(StatusCode::UNAUTHORIZED, "signature", caller)
        }
        Refused::Malformed { message } => {
            tracing::warn!(forge = forge.as_str(), "an authentic call can't be understood: {message}");
            ApiError::new(StatusCode::BAD_REQUEST, "malformed", message)
        }
    })?;
    let delivery = NewDelivery {
        forge,
        forge_id: received.forge_id,
        event: received.event,
        repo: received.repo,
        meaning: match received.parsed {
            Parsed::Pushes(pushes) => Ok(pushes),
            Parsed::Ignored { reason } => Err(reason),
        },
    };
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
    tracing::info!(delivery = %id, forge = forge.as_str(), status = answer.status, "webhook");
    Ok(Reply::new(status, answer))
}
