//! What comes in: webhook calls and what listings found, each an event once, or the repetition of one. Decides nothing
//! about apps: that is the planner's.

use jiff::Timestamp;

use super::StoreError;
use super::forget::jobs_ended_well;
use super::keys;
use super::observe::note_webhook;
use super::rows::{EventRow, EventState, Seen};
use super::state::State;
use super::tag_events::tag_key;
use super::tx::Tx;
use crate::model::event::Answer;
use crate::model::{Delivery, DeliveryId, Event, EventId, EventKind, Forge, PlanHead, Push, RepoId, RepoUrl, TagPush};

/// An authentic webhook call, as the door understood it.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Who called.
    pub forge: Forge,
    /// The forge's own id for the call.
    pub forge_id: Option<String>,
    /// The forge's word for the event.
    pub event: String,
    /// The repository, if the payload names one.
    pub repo: Option<RepoId>,
    /// What it means: branches that moved, or why it is ignored.
    pub meaning: Result<Vec<Push>, String>,
    /// Tags that are new.
    pub tags: Vec<TagPush>,
}

/// What became of a delivery at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id here.
    pub delivery: DeliveryId,
    /// What to answer.
    pub answer: Answer,
}

impl State {
    pub fn accept(&mut self, tx: &mut Tx, new: NewDelivery, now: Timestamp) -> Result<Accepted, StoreError> {
        let id = DeliveryId(self.next_id(now));
        let answer = match new.meaning {
            Err(reason) => Answer::Ignored { reason },
            Ok(pushes) => {
                let (mut events, mut duplicate, mut seen) = (Vec::new(), None, Vec::new());
                for push in pushes {
                    let repos = push.repos();
                    note_webhook(tx, &repos, now)?;
                    let key = new.forge_id.as_ref().map(|forge_id| {
                        keys::forge_id(new.forge, forge_id, &first_of(&repos), &push.branch, &push.after)
                    });
                    match self.accept_push(tx, key.as_deref(), Some(id), (push, &repos), now)? {
                        Ok(event) => {
                            events.push(event);
                            seen.extend(key.map(|key| (key, event)));
                        }
                        Err(known) => duplicate = Some(known),
                    }
                }
                for tag in new.tags {
                    let key = new.forge_id.as_ref().map(|forge_id| tag_key(new.forge, forge_id, &tag));
                    match self.accept_tag(tx, key.as_deref(), Some(id), tag, now)? {
                        Ok(event) => {
                            events.push(event);
                            seen.extend(key.map(|key| (key, event)));
                        }
                        Err(known) => duplicate = Some(known),
                    }
                }
                // Only now: two pushes of one call are never each other's redelivery.
                for (key, event) in seen {
                    tx.put(key, &event)?;
                }
                match duplicate {
                    Some((of, reason)) if events.is_empty() => Answer::Duplicate { of, reason: reason.to_owned() },
                    _ => Answer::Accepted { events },
                }
            }
        };
        let delivery = Delivery {
            id,
            at: now,
            forge: new.forge,
            forge_id: new.forge_id,
            event: new.event,
            repo: new.repo,
            answer: answer.clone(),
        };
        tx.put(keys::delivery(id), &delivery)?;
        Ok(Accepted { delivery: id, answer })
    }

    /// The event of a push, or the one that it repeats and why. `key` is where its redelivery would be known by; no
    /// delivery brought what a listing found.
    pub(super) fn accept_push(
        &mut self,
        tx: &mut Tx,
        key: Option<&[u8]>,
        delivery: Option<DeliveryId>,
        (push, repos): (Push, &[RepoId]),
        now: Timestamp,
    ) -> Result<Result<EventId, (EventId, &'static str)>, StoreError> {
        let head = tx.hint::<Seen>(&keys::head(&first_of(repos), &push.branch));
        let by_id = key.and_then(|key| tx.hint::<EventId>(key)).map(|event| (event, "the same delivery id"));
        let by_head = head.as_ref().filter(|head| head.after == push.after);
        let by_head =
            by_head.and_then(|head| head.event).map(|event| (event, "that commit is the branch's last accepted head"));
        for known in [by_id, by_head].into_iter().flatten() {
            if self.is_open_or_well(tx, known.0) {
                return Ok(Err(known));
            }
        }
        let again = by_id.max(by_head).map(|(event, _)| event);
        let id = EventId(self.next_id(now));
        // A redelivery of what the branch has moved on from does not move it back.
        if by_id.is_none() || by_head.is_some() || head.is_none() {
            // Forges name a repository by several urls, and who lists it knows one of them.
            for repo in repos {
                tx.put(keys::head(repo, &push.branch), &Seen { after: push.after, event: Some(id) })?;
            }
        }
        self.open_event(tx, Event { id, at: now, delivery, again, what: EventKind::Push(push) })?;
        Ok(Ok(id))
    }

    /// Whether an event is under way or nothing is left to be done for it. What can't be read has not ended well:
    /// to run once more does no harm, to be dropped does.
    pub(super) fn is_open_or_well(&self, tx: &Tx, id: EventId) -> bool {
        let Some(row) = tx.hint::<EventRow>(&keys::event(id)) else { return false };
        if row.state != EventState::Closed {
            return true;
        }
        let head = tx.hint::<PlanHead>(&keys::plan(id));
        let others_now = |head: &PlanHead| head.nobody.is_some_and(|print| print != self.apps_print);
        if head.as_ref().is_some_and(|head| head.incomplete || others_now(head)) {
            return false;
        }
        if let Some(well) = row.well {
            return well;
        }
        jobs_ended_well(tx, id, head.as_ref())
    }
}

/// The repository that a push is known by here.
pub(super) fn first_of(repos: &[RepoId]) -> RepoId {
    repos.first().cloned().unwrap_or_else(|| RepoUrl::unknown().id())
}
