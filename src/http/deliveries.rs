//! `/deliveries`: every authentic webhook call, and what became of it.

use axum::extract::State;
use serde::Deserialize;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::{Asked, limit};
use crate::model::api::JobView;
use crate::model::event::Answer;
use crate::model::inbox::{DeliveryList, DeliveryView, EventJob, EventView};
use crate::model::{Delivery, DeliveryId, EventId, EventKind};
use crate::store::{EventState, Store, StoreError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    limit: Option<usize>,
    before: Option<DeliveryId>,
}

/// `GET /deliveries?limit=&before=`.
pub(super) async fn list(State(context): State<Context>, Asked(query): Asked<Query>) -> Result<Reply, ApiError> {
    let limit = limit(query.limit);
    let deliveries = page(&context, query.before, limit).await?;
    let next = if deliveries.len() == limit { deliveries.last().map(|d| d.id) } else { None };
    Ok(Reply::ok(DeliveryList { deliveries, next }))
}

/// The newest deliveries before that one.
pub(super) async fn page(
    context: &Context,
    before: Option<DeliveryId>,
    limit: usize,
) -> Result<Vec<DeliveryView>, ApiError> {
    let views = context.look(move |store| {
        store.deliveries(before, limit)?.into_iter().map(|delivery| view(store, delivery)).collect()
    });
    views.await
}

fn view(store: &Store, delivery: Delivery) -> Result<DeliveryView, StoreError> {
    let (status, reason, duplicate_of, events) = match delivery.answer {
        Answer::Accepted { events } => ("accepted", None, None, events),
        Answer::Ignored { reason } => ("ignored", Some(reason), None, Vec::new()),
        Answer::Duplicate { of, reason } => ("duplicate", Some(reason), Some(of), Vec::new()),
    };
    let events = events.into_iter().filter_map(|id| event(store, id).transpose()).collect::<Result<_, _>>()?;
    Ok(DeliveryView {
        id: delivery.id,
        at: delivery.at,
        forge: delivery.forge,
        forge_id: delivery.forge_id,
        event: delivery.event,
        repo: delivery.repo,
        status: status.to_owned(),
        reason,
        duplicate_of,
        events,
    })
}

/// An event with its plan's notes and jobs. None if it is no longer kept.
fn event(store: &Store, id: EventId) -> Result<Option<EventView>, StoreError> {
    let Some(row) = store.event(id)? else { return Ok(None) };
    let (notes, rows) = store.plan_of(id)?.map(|(head, rows)| (head.notes, rows)).unwrap_or_default();
    let mut jobs = Vec::with_capacity(rows.len());
    for row in rows {
        let state = store.job(row.job)?.map(|job| JobView::of(&job).state);
        let state = state.unwrap_or_else(|| "no longer kept".to_owned());
        jobs.push(EventJob { app: row.app, id: row.job, wave: row.wave, state });
    }
    let state = match row.state {
        EventState::Accepted => "accepted",
        EventState::Planned => "planned",
        EventState::Closed => "closed",
    };
    let (mut branch, mut tag, mut before, mut after, mut subject, mut pusher) = (None, None, None, None, None, None);
    match row.event.what {
        EventKind::Push(push) => {
            (branch, before, after) = (Some(push.branch), push.before, Some(push.after));
            (subject, pusher) = (push.subject, push.pusher);
        }
        EventKind::Tag(new) => (tag, after, pusher) = (Some(new.tag), Some(new.after), new.pusher),
        EventKind::Deploy { .. } | EventKind::Rollout { .. } => {}
    }
    let again = row.event.again;
    let state = state.to_owned();
    Ok(Some(EventView { id, state, branch, tag, before, after, subject, pusher, again, notes, jobs }))
}
