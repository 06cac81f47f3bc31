//! The writer's working state and what each command does to it. Nothing here touches the disk but through `Tx`, and
//! nothing here is seen by readers before the writer has synced it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::holds::{self, Holds};
use super::load::load_job;
use super::rows::{EventRow, EventState, OwnCommit};
use super::servers::{self, Servers};
use super::statuses::is_told;
use super::table::Table;
use super::tx::{Tx, fits, pieces};
use super::{Change, StoreError, goods, keys};
use crate::model::{AppName, Entry, Event, EventId, EventKind, JobId, JobState, Outcome, RECORD_VERSION, Record, Step};

/// How long a text of an entry may be, in bytes: what a failed unit printed has to fit into a row.
const LONGEST_TEXT: usize = 6 << 10;

/// What is open. A reload from disk gives the same.
#[derive(Default)]
pub(super) struct State {
    pub jobs: HashMap<JobId, Arc<JobState>>,
    pub unplanned: BTreeMap<EventId, Event>,
    /// The jobs of each app that can be joined: one, or as many as differ in the merges that they wait for.
    pub waiting: HashMap<AppName, BTreeSet<JobId>>,
    /// The jobs that keep a plan's event open.
    plan_jobs: HashMap<EventId, BTreeSet<JobId>>,
    pub holds: Arc<Holds>,
    pub servers: Arc<Servers>,
    last_id: u64,
    /// A print of the apps in force.
    pub apps_print: u64,
    /// Whether statuses of commits are told at all.
    pub statuses: bool,
    /// What the commands of this group did, to be told once it is on disk.
    pub told: Told,
}

/// What readers and listeners are told of a group.
#[derive(Default)]
pub(super) struct Told {
    pub changes: Vec<Change>,
    pub accepted: Vec<Event>,
    pub planned: Vec<EventId>,
    pub released: Vec<JobId>,
    /// The holds are others.
    pub holds: bool,
    /// Servers are.
    pub servers: bool,
}

impl State {
    /// Reads what is open. A journal that can't be read parks its job.
    pub fn load(table: &Table) -> Result<Self, StoreError> {
        let mut state = Self { holds: Arc::new(holds::load(table)?), ..Self::default() };
        let holds = state.holds.values().flat_map(|hold| [Some(hold), hold.beneath.as_deref()]).flatten();
        state.last_id = holds.map(|hold| hold.id.0).max().unwrap_or(0);
        state.servers = Arc::new(servers::load(table)?);
        for prefix in [keys::DELIVERY, keys::EVENT, keys::ENDED, keys::OUTGOING, keys::SERVER] {
            // The keys of a prefix sort by number: the last is the largest.
            if let Some((key, _)) = table.prefix(&[prefix]).next_back().transpose()? {
                state.last_id = state.last_id.max(keys::number(&key).unwrap_or(0));
            }
        }
        for row in table.prefix(&[keys::OPEN_EVENT]) {
            let (key, _) = row?;
            let Some(id) = keys::number(&key).map(EventId) else { continue };
            match super::tx::get::<EventRow>(table, &keys::event(id)) {
                Ok(Some(row)) if row.state == EventState::Accepted => {
                    state.unplanned.insert(id, row.event);
                }
                Ok(_) => {}
                Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                Err(error) => tracing::error!(event = %id, %error, "an event can't be read and is left as it is"),
            }
        }
        for row in table.prefix(&[keys::OPEN_JOB]) {
            let (key, _) = row?;
            let Some(id) = keys::job_at_end(&key) else { continue };
            match load_job(table, id) {
                Ok(job) => state.admit(id, Arc::new(job)),
                Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                Err(error) => tracing::error!(job = %id, %error, "nothing is known of a job that was under way"),
            }
        }
        Ok(state)
    }

    pub(super) fn admit(&mut self, id: JobId, job: Arc<JobState>) {
        if can_be_joined(&job) {
            self.waiting.entry(job.app.name.clone()).or_default().insert(id);
        }
        for cause in &job.causes {
            self.plan_jobs.entry(cause.plan).or_default().insert(id);
        }
        self.jobs.insert(id, job);
    }

    pub(super) fn next_id(&mut self, now: Timestamp) -> u64 {
        let clock = u64::try_from(now.as_millisecond()).unwrap_or(0) << 20;
        self.last_id = clock.max(self.last_id + 1);
        self.last_id
    }

    pub fn submit(&mut self, tx: &mut Tx, what: EventKind, now: Timestamp) -> Result<EventId, StoreError> {
        let id = EventId(self.next_id(now));
        self.open_event(tx, Event { id, at: now, delivery: None, again: None, what })?;
        Ok(id)
    }

    pub(super) fn open_event(&mut self, tx: &mut Tx, event: Event) -> Result<(), StoreError> {
        let row = EventRow { event, state: EventState::Accepted, well: None };
        tx.put(keys::event(row.event.id), &row)?;
        let event = row.event;
        tx.mark(keys::open_event(event.id));
        self.told.accepted.push(event.clone());
        self.unplanned.insert(event.id, event);
        Ok(())
    }

    pub fn append(
        &mut self,
        tx: &mut Tx,
        id: JobId,
        seen: Option<u64>,
        entries: Vec<Entry>,
        now: Timestamp,
    ) -> Result<Arc<JobState>, StoreError> {
        if let (Some(seen), Some(job)) = (seen, self.jobs.get(&id)) {
            // Whoever was told that the app is held can rely on it, also where the caller looked for holds just before.
            let held = || self.holds.get(&(job.app.name.clone(), None)).is_some_and(|hold| hold.stops(job));
            if job.seq != seen || (entries.contains(&Entry::Started) && held()) {
                return Err(StoreError::Moved(id));
            }
        }
        self.write(tx, id, entries, now)
    }

    pub(super) fn write(
        &mut self,
        tx: &mut Tx,
        id: JobId,
        entries: Vec<Entry>,
        now: Timestamp,
    ) -> Result<Arc<JobState>, StoreError> {
        let before = self.jobs.get(&id).ok_or(StoreError::NotOpen(id))?;
        if before.ended.is_some() {
            return Err(StoreError::NotOpen(id));
        }
        // Fold all before anything is written: all or nothing.
        let mut state = (**before).clone();
        let mut steps = Vec::with_capacity(entries.len());
        for entry in entries.into_iter().flat_map(in_rows) {
            let record = Record { v: RECORD_VERSION, at: now, entry: entry.with_short_texts(LONGEST_TEXT) };
            state.apply(&record).map_err(|why| StoreError::Fold { job: id, why })?;
            fits(&keys::record(id, state.seq), &record)?;
            steps.push((Arc::new(record), Arc::new(state.clone())));
        }
        let state = steps.last().map_or_else(|| before.clone(), |(_, state)| state.clone());
        if steps.iter().any(|(record, _)| is_told(&record.entry)) {
            self.mark_status(tx, &state, now)?;
        }
        for (record, after) in steps {
            tx.put(keys::record(id, after.seq), &*record)?;
            match &record.entry {
                Entry::Updated { commit, .. } if after.updated.as_ref().is_some_and(|u| !u.bumps.is_empty()) => {
                    tx.put(keys::own_commit(commit), &OwnCommit { job: id, past: None })?;
                }
                Entry::Merged { commit } => {
                    tx.put(keys::own_commit(commit), &OwnCommit { job: id, past: None })?;
                }
                Entry::Joined { cause, .. } => {
                    self.plan_jobs.entry(cause.plan).or_default().insert(id);
                }
                Entry::Started | Entry::Canceling { .. } => self.stop_waiting(&after),
                Entry::StepStarted { step: step @ Step::Rollout } if attempts(&after, step) == 1 => {
                    self.place(tx, &after, now)?;
                }
                Entry::Ended { .. } => self.end(tx, &after, now)?,
                _ => {}
            }
            self.told.changes.push(Change { job: id, seq: after.seq, record, state: after });
        }
        match state.ended {
            Some(_) => self.jobs.remove(&id),
            None => self.jobs.insert(id, state.clone()),
        };
        Ok(state)
    }

    fn stop_waiting(&mut self, job: &JobState) {
        let Some(waiting) = self.waiting.get_mut(&job.app.name) else { return };
        waiting.remove(&job.id);
        if waiting.is_empty() {
            self.waiting.remove(&job.app.name);
        }
    }

    /// A job begins to bring something to hosts, or ends without: which of an app's came after which is told by this. Not
    /// by their ids, since one that waited for people may come after younger ones.
    fn place(&mut self, tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
        let last = tx.newest(&keys::rollouts(&job.app.name))?.and_then(|key| keys::place_of_rollout(&key));
        let place = self.next_id(now).max(last.map_or(0, |last| last + 1));
        tx.mark(keys::rollout(&job.app.name, place, job.id));
        Ok(())
    }

    /// A job has ended: its state becomes a row of its own, and events that nothing keeps open are closed.
    fn end(&mut self, tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
        self.stop_waiting(job);
        if attempts(job, &Step::Rollout) == 0 {
            self.place(tx, job, now)?;
        }
        goods::keep(tx, job, now)?;
        self.hold_after(tx, job, now)?;
        tx.put_summary(keys::job(job.id), job)?;
        tx.delete(keys::open_job(job.id));
        self.mark_ended(tx, job, now)?;
        for cause in &job.causes {
            let Some(open) = self.plan_jobs.get_mut(&cause.plan) else { continue };
            open.remove(&job.id);
            if open.is_empty() {
                self.plan_jobs.remove(&cause.plan);
                if let Some(row) = tx.hint::<EventRow>(&keys::event(cause.plan)) {
                    tx.put(keys::event(cause.plan), &EventRow { state: EventState::Closed, ..row })?;
                }
                tx.delete(keys::open_event(cause.plan));
            }
        }
        Ok(())
    }

    pub fn release_parked(&mut self, tx: &mut Tx, id: JobId, now: Timestamp) -> Result<(), StoreError> {
        let job = self.jobs.get(&id).filter(|j| j.outcome() == Some(Outcome::Parked)).cloned();
        let job = job.ok_or(StoreError::NotOpen(id))?;
        self.end(tx, &job, now)?;
        self.jobs.remove(&id);
        self.told.released.push(id);
        Ok(())
    }
}

/// An entry as the rows take it: more bumps than one holds go before it.
fn in_rows(entry: Entry) -> Vec<Entry> {
    let Entry::Updated { commit, tree, time, bumps } = entry else { return vec![entry] };
    let mut pieces: Vec<Vec<_>> = pieces(&bumps).into_iter().map(<[_]>::to_vec).collect();
    let bumps = pieces.pop().unwrap_or_default();
    let mut entries: Vec<Entry> = pieces.into_iter().map(|bumps| Entry::Bumped { bumps }).collect();
    entries.push(Entry::Updated { commit, tree, time, bumps });
    entries
}

/// How often a step was begun.
fn attempts(job: &JobState, step: &Step) -> u32 {
    job.step(step).map_or(0, |step| step.attempt)
}

/// Not yet started, and not on its way out.
fn can_be_joined(job: &JobState) -> bool {
    !job.started && job.ended.is_none() && job.canceling.is_none() && job.carried().is_none()
}
