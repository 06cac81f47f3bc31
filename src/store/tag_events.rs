//! New tags at the door: each is an event once. What is known of a tag goes with its event, since a repository may get
//! a new tag each day for years; one that is told again later plans again, and finds nothing due.

use jiff::Timestamp;

use super::deliveries::first_of;
use super::rows::{LastSeen, Seen};
use super::state::State;
use super::tx::Tx;
use super::{StoreError, keys};
use crate::model::{Delivery, DeliveryId, Event, EventId, EventKind, Forge, RepoId, TagPush};

impl State {
    /// The event of a new tag, or the one that it repeats and why. `key` is where its redelivery would be known by; no
    /// delivery brought what a listing found.
    pub(super) fn accept_tag(
        &mut self,
        tx: &mut Tx,
        key: Option<&[u8]>,
        delivery: Option<DeliveryId>,
        tag: TagPush,
        now: Timestamp,
    ) -> Result<Result<EventId, (EventId, &'static str)>, StoreError> {
        for repo in tag.repos() {
            // The next listing need not tell of it. Where none was, it does not tell of what is there.
            if tx.hint::<LastSeen>(&keys::last_seen(&repo)).is_some_and(|seen| seen.tags) {
                tx.mark(keys::seen_tag(&repo, &tag.tag));
            }
        }
        let head_key = keys::tag_head(&repo_of(&tag), &tag.tag);
        let head = tx.hint::<Seen>(&head_key);
        let by_id = key.and_then(|key| tx.hint::<EventId>(key)).map(|event| (event, "the same delivery id"));
        let by_head = head.as_ref().filter(|head| head.after == tag.after);
        let by_head = by_head.and_then(|head| Some((head.event?, "that tag is known to lead there")));
        for known in [by_id, by_head].into_iter().flatten() {
            if self.is_open_or_well(tx, known.0) {
                return Ok(Err(known));
            }
        }
        let again = by_id.max(by_head).map(|(event, _)| event);
        let id = EventId(self.next_id(now));
        tx.put(head_key, &Seen { after: tag.after, event: Some(id) })?;
        self.open_event(tx, Event { id, at: now, delivery, again, what: EventKind::Tag(tag) })?;
        Ok(Ok(id))
    }
}

/// Where the redelivery of a tag's call would be known by.
pub(super) fn tag_key(forge: Forge, forge_id: &str, tag: &TagPush) -> Vec<u8> {
    keys::forge_id_of_tag(forge, forge_id, &repo_of(tag), &tag.tag, &tag.after)
}

/// Lets go of what is known of a tag beside its event.
pub(super) fn forget_tag(tx: &mut Tx, id: EventId, event: &Event) {
    let EventKind::Tag(tag) = &event.what else { return };
    let delivery = event.delivery.and_then(|id| tx.hint::<Delivery>(&keys::delivery(id)));
    let by_id = delivery.and_then(|delivery| Some(tag_key(delivery.forge, delivery.forge_id.as_deref()?, tag)));
    if let Some(key) = by_id.filter(|key| tx.hint::<EventId>(key) == Some(id)) {
        tx.delete(key);
    }
    let head = keys::tag_head(&repo_of(tag), &tag.tag);
    if tx.hint::<Seen>(&head).is_some_and(|seen| seen.event == Some(id)) {
        tx.delete(head);
    }
}

fn repo_of(tag: &TagPush) -> RepoId {
    first_of(&tag.repos())
}
