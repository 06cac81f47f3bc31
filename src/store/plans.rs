//! Plans: an event's jobs, made and joined in one write. Must never change a plan that is there, or have a job wait for
//! itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::rows::{EventRow, EventState};
use super::state::State;
use super::tx::{Tx, fits};
use super::{Change, StoreError, keys, missed};
use crate::model::{
    AppName, Cause, Draft, Entry, EventId, EventKind, JobId, JobState, Merges, PlanHead, PlanRow, Planned,
    RECORD_VERSION, Record, Target, Why,
};

/// What became of a draft.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanOutcome {
    /// Jobs that are new.
    pub created: Vec<JobId>,
    /// Jobs that had not started and gained a cause.
    pub joined: Vec<JobId>,
}

impl State {
    pub fn plan(&mut self, tx: &mut Tx, id: EventId, draft: Draft, now: Timestamp) -> Result<PlanOutcome, StoreError> {
        let event = self.unplanned.get(&id).cloned().ok_or(StoreError::NotWaiting(id))?;
        let apps = u16::try_from(draft.apps.len())
            .map_err(|_| StoreError::Row { key: id.to_string(), why: "a plan of over 65535 apps".into() })?;
        let is_make_up = matches!(event.what, EventKind::Deploy { makes_up: true, .. });
        // All of it is made before any of it is written.
        let mut ids: HashMap<AppName, JobId> = HashMap::new();
        let mut waits: HashMap<JobId, Vec<JobId>> = HashMap::new();
        let mut merged: HashMap<AppName, bool> = HashMap::new();
        let mut pushed: HashMap<JobId, Target> = HashMap::new();
        let mut entries = Vec::with_capacity(draft.apps.len());
        for (index, planned) in (0u16..).zip(draft.apps) {
            let Planned { app, why, wave, after, mut targets, tags } = planned;
            let before = after.iter().any(|up| merged.get(up).is_some_and(|merged| *merged));
            let merges = Merges::of_cause(&app, &why, before);
            merged.insert(app.name.clone(), merges.any());
            // A rollout without a build is a job of its own.
            let joins = !matches!(why, Why::Rollout(_));
            let existing = self.to_join(&app.name, merges).filter(|_| joins);
            let job = existing.unwrap_or(JobId { event: id, index });
            // An edge that would close a circle is not waited for; nobody waits yet for a job that is new.
            let closes = |up: JobId| up == job || (existing.is_some() && self.waits_for(&waits, up, job));
            let under_way = |up: &AppName| if is_make_up { self.to_wait_for(up) } else { None };
            let ups = after.iter().filter_map(|up| ids.get(up).copied().or_else(|| under_way(up)));
            let (closing, after): (Vec<_>, Vec<_>) = ups.partition(|up| closes(*up));
            // What was pushed to one that it can't wait for is taken from there all the same.
            targets.extend(closing.iter().filter_map(|up| pushed.get(up).cloned()));
            if let (Why::OwnPush { before, after }, EventKind::Push(push)) = (&why, &event.what) {
                let (repo, branch) = (app.repo(), push.branch.clone());
                pushed.insert(job, Target { repo, branch, before: *before, after: *after });
            }
            waits.insert(job, after.clone());
            ids.insert(app.name.clone(), job);
            let row = PlanRow { app: app.name.clone(), wave, job };
            let cause = Cause { plan: id, at: event.at, why, wave, after, targets, tags, dropped: None };
            let app = Box::new(app);
            let entry = if existing.is_some() { Entry::Joined { app, cause } } else { Entry::Created { app, cause } };
            let record = Record { v: RECORD_VERSION, at: now, entry };
            fits(&keys::record(job, 1), &record)?;
            entries.push((row, record));
        }
        let mut outcome = PlanOutcome::default();
        for (index, (row, record)) in (0u16..).zip(entries) {
            let job = row.job;
            if let Entry::Joined { .. } = record.entry {
                self.write(tx, job, vec![record.entry], now)?;
                outcome.joined.push(job);
            } else {
                let state = JobState::create(job, &record).map_err(|why| StoreError::Fold { job, why })?;
                let state = Arc::new(state);
                tx.put(keys::record(job, 1), &record)?;
                tx.mark(keys::open_job(job));
                tx.mark(keys::app_job(&row.app, job));
                self.mark_status(tx, &state, now)?;
                self.admit(job, state.clone());
                self.told.changes.push(Change { job, seq: 1, record: Arc::new(record), state });
                outcome.created.push(job);
            }
            tx.put(keys::plan_row(id, index), &row)?;
        }
        let nobody = (apps == 0).then_some(self.apps_print);
        missed::note(tx, id, &draft.unread, &draft.given_up)?;
        let incomplete = draft.incomplete || !draft.unread.is_empty();
        let head = PlanHead { id, at: now, notes: draft.notes, apps, incomplete, nobody };
        tx.put(keys::plan(id), &head)?;
        let state = if apps == 0 { EventState::Closed } else { EventState::Planned };
        if apps == 0 {
            tx.delete(keys::open_event(id));
        }
        tx.put(keys::event(id), &EventRow { event, state, well: None })?;
        self.unplanned.remove(&id);
        self.told.planned.push(id);
        Ok(outcome)
    }

    /// The job of an app that one more cause joins. A person's push is not to wait for a merge that only what it joins
    /// would wait for.
    fn to_join(&self, app: &AppName, merges: Merges) -> Option<JobId> {
        let of = |id: &JobId| Some(Merges::of_job(self.jobs.get(id)?, |up| self.jobs.get(&up).cloned()));
        self.waiting.get(app)?.iter().rev().copied().find(|id| of(id) == Some(merges))
    }

    /// Whether `job` waits for `other`, directly or through others, or will with what the plan in hand adds.
    fn waits_for(&self, added: &HashMap<JobId, Vec<JobId>>, job: JobId, other: JobId) -> bool {
        let (mut seen, mut queue) = (HashSet::new(), vec![job]);
        while let Some(id) = queue.pop() {
            let stored = self.jobs.get(&id).into_iter().flat_map(|state| state.live_causes());
            let stored = stored.flat_map(|cause| cause.after.iter());
            for up in stored.chain(added.get(&id).into_iter().flatten()).copied() {
                if up == other {
                    return true;
                }
                if seen.insert(up) {
                    queue.push(up);
                }
            }
        }
        false
    }
}
