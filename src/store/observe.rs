//! What is heard of repositories: what a listing of a remote found that no webhook had told of, and when anything was
//! last heard. A listing may be old by the time it is told here: it moves only what is as it was when it was begun.

use jiff::{SignedDuration, Timestamp};

use super::rows::{LastSeen, Seen};
use super::state::State;
use super::tx::Tx;
use super::{StoreError, keys};
use crate::model::{Branch, EventId, PlanHead, Push, RepoId, Sha, TagPush};

/// How finely it is noted when a repository was last heard of.
const FINE: SignedDuration = SignedDuration::from_secs(1);

/// What a listing of a remote found.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The repository.
    pub repo: RepoId,
    /// Branches whose heads are others than the last that were accepted, which stand in `before`.
    pub moved: Vec<Push>,
    /// Heads of branches of which nothing was known: where they are now is where they begin.
    pub begun: Vec<(Branch, Sha)>,
    /// The default branch. Where that is another one than before, what is in `moved` of it counts from where the one
    /// before it was.
    pub default: Option<Branch>,
    /// What it found of tags, where anyone follows them.
    pub tags: Option<SeenTags>,
}

/// What a listing found of tags, beside those that were known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenTags {
    /// New ones, each of which is an event.
    pub told: Vec<TagPush>,
    /// Those that are there and no news.
    pub noted: Vec<String>,
    /// Those that were there and are not any more.
    pub gone: Vec<String>,
}

impl State {
    /// The event of each push that is news, then of each tag.
    pub(super) fn observe(
        &mut self,
        tx: &mut Tx,
        sighting: Sighting,
        now: Timestamp,
    ) -> Result<Vec<Option<EventId>>, StoreError> {
        let seen = tx.hint::<LastSeen>(&keys::last_seen(&sighting.repo)).unwrap_or_default();
        let tags = seen.tags || sighting.tags.is_some();
        let new_default = sighting.default.as_ref().filter(|now| seen.default.as_ref().is_some_and(|was| was != *now));
        let default = sighting.default.clone().or(seen.default);
        tx.put(keys::last_seen(&sighting.repo), &LastSeen { poll: Some(now), tags, default, ..seen })?;
        for (branch, after) in sighting.begun {
            let key = keys::head(&sighting.repo, &branch);
            if !tx.has(&key)? {
                tx.put(key, &Seen { after, event: None })?;
            }
        }
        let mut events = Vec::with_capacity(sighting.moved.len());
        for push in sighting.moved {
            let key = keys::head(&sighting.repo, &push.branch);
            let seen = tx.hint::<Seen>(&key);
            let head = seen.as_ref().map(|seen| seen.after);
            // Told when nobody followed the branch, which somebody does now.
            let is_news = new_default == Some(&push.branch)
                && seen.is_some_and(|seen| seen.after == push.after && concerned_nobody(tx, seen.event));
            if is_news {
                tx.put(key, &Seen { after: push.after, event: None })?;
            }
            // A webhook was faster, or the listing is older than one: the next listing tells.
            let event = match head.is_none() || head == push.before || is_news {
                true => {
                    let repos = push.repos();
                    self.accept_push(tx, None, None, (push, &repos), now)?.ok()
                }
                false => None,
            };
            events.push(event);
        }
        let SeenTags { told, noted, gone } = sighting.tags.unwrap_or_default();
        for tag in noted {
            tx.mark(keys::seen_tag(&sighting.repo, &tag));
        }
        for tag in gone {
            tx.delete(keys::seen_tag(&sighting.repo, &tag));
        }
        for tag in told {
            // Told by a webhook, or found by another listing meanwhile.
            let is_known = tx.has(&keys::seen_tag(&sighting.repo, &tag.tag))?;
            events.push(if is_known { None } else { self.accept_tag(tx, None, None, tag, now)?.ok() });
        }
        Ok(events)
    }
}

/// Whether a head is one that no event told of, or one that was planned for nobody.
fn concerned_nobody(tx: &Tx, event: Option<EventId>) -> bool {
    event.is_none_or(|event| tx.hint::<PlanHead>(&keys::plan(event)).is_some_and(|plan| plan.nobody.is_some()))
}

/// Notes that a webhook told of repositories.
pub(super) fn note_webhook(tx: &mut Tx, repos: &[RepoId], now: Timestamp) -> Result<(), StoreError> {
    for repo in repos {
        let seen = tx.hint::<LastSeen>(&keys::last_seen(repo)).unwrap_or_default();
        // A clock that was set back is believed.
        if seen.webhook.is_none_or(|at| now.duration_since(at).abs() >= FINE) {
            tx.put(keys::last_seen(repo), &LastSeen { webhook: Some(now), ..seen })?;
        }
    }
    Ok(())
}
