//! The holds: few, and asked for by every plan, so all of them are in memory too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::state::State;
use super::table::Table;
use super::tx::{Tx, decode};
use super::{Store, StoreError, keys, writer};
use crate::model::hold::{Hold, HoldKind, Released};
use crate::model::rollout::{Because, Carried};
use crate::model::{AppName, EventKind, HoldId, JobId, JobState, Lib, Merges, Outcome};

/// Which hold: an app's, or that of one of its libraries.
pub type HoldKey = (AppName, Option<Lib>);
/// All of them.
pub type Holds = BTreeMap<HoldKey, Hold>;

/// So many commits that were rolled back before a rollback's hold remembers: the newest, which mostly have the others.
const MOST_TAKEN: usize = 50;

/// A hold that is to go.
#[derive(Debug, Clone)]
pub struct Release {
    /// Which.
    pub held: HoldKey,
    /// Only this one, and none in its place. One that is beneath another goes from there.
    pub id: HoldId,
    /// In whose name the app is run then, to make up for what was kept back; none if it is not. Nor is it if another
    /// hold was beneath, which is in force again.
    pub catch_up: Option<String>,
}

impl Store {
    /// Keeps a hold, in place of one that is there; a person's goes over one that was made by itself, which goes beneath
    /// a person's. It gets its id and its time. Gives the one that is in force.
    pub async fn put_hold(&self, hold: Hold) -> Result<Hold, StoreError> {
        self.ask(|reply| writer::Command::Hold(Box::new(hold), reply)).await
    }
    /// Lets go of a hold, and accepts the event that makes up for it: both or none. None if it is not there any more.
    pub async fn release(&self, release: Release) -> Result<Option<Released>, StoreError> {
        self.ask(|reply| writer::Command::Release(release, reply)).await
    }
    /// All holds.
    pub fn holds(&self) -> Arc<Holds> {
        self.shared.holds.load_full()
    }
}

/// The holds on disk. One that can't be read would hold nothing, so it is said and left.
pub(super) fn load(table: &Table) -> Result<Holds, StoreError> {
    let mut holds = Holds::new();
    for row in table.prefix(&[keys::HOLD]) {
        let (key, value) = row?;
        match decode::<Hold>(&key, &value) {
            Ok(hold) => drop(holds.insert((hold.app.clone(), hold.lib.clone()), hold)),
            Err(error) => tracing::error!(%error, "a hold can't be read, and holds nothing"),
        }
    }
    Ok(holds)
}

impl State {
    /// A person's hold goes over one that was made by itself, and does not end it; nor does such a one end a person's.
    pub(super) fn put_hold(&mut self, tx: &mut Tx, hold: Hold, now: Timestamp) -> Result<Hold, StoreError> {
        let there = self.holds.get(&(hold.app.clone(), hold.lib.clone())).cloned();
        let hold = Hold { id: HoldId(self.next_id(now)), at: now, ..hold };
        let by_person = |hold: &Hold| hold.kind == HoldKind::Manual;
        let kept = match there {
            Some(there) if by_person(&hold) => Hold { beneath: there.made_by_itself().cloned().map(Box::new), ..hold },
            Some(there) if by_person(&there) => Hold { beneath: Some(Box::new(hold)), ..there },
            _ => hold,
        };
        self.keep_hold(tx, kept)
    }

    fn keep_hold(&mut self, tx: &mut Tx, hold: Hold) -> Result<Hold, StoreError> {
        tx.put(keys::hold(&hold.app, hold.lib.as_ref()), &hold)?;
        Arc::make_mut(&mut self.holds).insert((hold.app.clone(), hold.lib.clone()), hold.clone());
        self.told.holds = true;
        Ok(hold)
    }

    pub(super) fn release(
        &mut self,
        tx: &mut Tx,
        release: Release,
        now: Timestamp,
    ) -> Result<Option<Released>, StoreError> {
        let Release { held, id, catch_up } = release;
        let Some(hold) = self.holds.get(&held).cloned() else { return Ok(None) };
        if let Some(beneath) = hold.beneath.clone().filter(|beneath| beneath.id == id) {
            self.keep_hold(tx, Hold { beneath: None, ..hold })?;
            return Ok(Some(Released { hold: *beneath, event: None }));
        }
        if hold.id != id {
            return Ok(None);
        }
        if let Some(beneath) = hold.beneath.clone() {
            self.keep_hold(tx, *beneath)?;
            return Ok(Some(Released { hold, event: None }));
        }
        Arc::make_mut(&mut self.holds).remove(&held);
        tx.delete(keys::hold(&held.0, held.1.as_ref()));
        self.told.holds = true;
        let what = |by| EventKind::Deploy { app: held.0, by, makes_up: true };
        let event = catch_up.map(|by| self.submit(tx, what(by), now)).transpose()?;
        Ok(Some(Released { hold, event }))
    }

    /// The newest job of an app that is to publish, if that takes no merge by people.
    pub(super) fn to_wait_for(&self, app: &AppName) -> Option<JobId> {
        let publishes = |job: &&Arc<JobState>| {
            let is_its = job.app.name == *app && job.published.is_none() && job.ended.is_none();
            is_its && !Merges::of_job(job, |up| self.jobs.get(&up).cloned()).any()
        };
        self.jobs.values().filter(publishes).map(|job| job.id).max()
    }

    /// A rollback is a decision that no bump may undo: it holds its app, beneath the hold of a person if there is one. Not
    /// where it was in an environment that only people promote to.
    pub(super) fn hold_after(&mut self, tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
        let Some((_, outcome, reason)) = &job.ended else { return Ok(()) };
        // Also where not every host could be brought back.
        let went_back = *outcome == Outcome::RolledBack || job.rolling_back.is_some();
        let (mut taken, back_to) = match job.carried() {
            Some(Carried { because: Because::Rollback { .. }, commit, .. }) => (job.taken_back(), Some(*commit)),
            // Where they ran that commit before, it is what was put beside it that was bad.
            Some(Carried { because: Because::Promote { .. }, .. }) | None if went_back && job.took_back_a_commit() => {
                (job.commit().into_iter().collect(), None)
            }
            Some(_) | None => return Ok(()),
        };
        // To hosts that nothing but a person's word brings anything to, no bump brings it again.
        let by_hand = !job.hosts.is_empty() && !job.hosts.iter().any(|host| job.app.is_automatic(&host.name));
        let Some(bad) = taken.first().copied().filter(|_| !by_hand) else { return Ok(()) };
        let app = job.app.name.clone();
        // Else a second rollback would make the first one's bad commit look like the answer to its own.
        let there = self.holds.get(&(app.clone(), None)).and_then(Hold::made_by_itself).map(|hold| &hold.kind);
        if let Some(HoldKind::Rollback { bad, before, .. }) = there {
            taken.push(*bad);
            taken.extend(before);
        }
        let mut seen = BTreeSet::from([bad]);
        taken.retain(|sha| Some(*sha) != back_to && seen.insert(*sha));
        taken.truncate(MOST_TAKEN);
        let kind = HoldKind::Rollback { bad, job: job.id, before: taken };
        let hold = Hold { kind, ..Hold::of_rollback(app, bad, job.id, reason, now) };
        self.put_hold(tx, hold, now).map(|_| ())
    }
}
