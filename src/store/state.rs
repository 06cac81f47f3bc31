//! The writer's working state and what each command does to it. Nothing here touches the disk but through `Tx`, and
//! nothing here is seen by readers before the writer has synced it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::forget::jobs_ended_well;
use super::holds::{self, Holds};
use super::load::load_job;
use super::observe::note_webhook;
use super::rows::{EventRow, EventState, OwnCommit, Seen};
use super::servers::{self, Servers};
use super::statuses::is_told;
use super::table::Table;
use super::tag_events::tag_key;
use super::tx::{Tx, fits, pieces};
use super::{Change, StoreError, goods, keys, missed};
use crate::model::event::Answer;
use crate::model::{
    AppName, Cause, Delivery, DeliveryId, Draft, Entry, Event, EventId, EventKind, Forge, JobId, JobState, Merges,
    Outcome, PlanHead, PlanRow, Planned, Push, RECORD_VERSION, Record, RepoId, RepoUrl, TagPush, Target, Why,
};

/// How long a text of an entry may be, in bytes: what a failed unit printed has to fit into a row.
const LONGEST_TEXT: usize = 6 << 10;

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

/// What became of a draft.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanOutcome {
    /// Jobs that are new.
    pub created: Vec<JobId>,
    /// Jobs that had not started and gained a cause.
    pub joined: Vec<JobId>,
}

/// What is open. A reload from disk gives the same.
#[derive(Default)]
pub(super) struct State {
    pub jobs: HashMap<JobId, Arc<JobState>>,
    pub unplanned: BTreeMap<EventId, Event>,
    /// The jobs of each app that can be joined: one, or as many as differ in the merges that they wait for.
    waiting: HashMap<AppName, BTreeSet<JobId>>,
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

    fn admit(&mut self, id: JobId, job: Arc<JobState>) {
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

    pub fn plan(&mut self, tx: &mut Tx, id: EventId, draft: Draft, now: Timestamp) -> Result<PlanOutcome, StoreError> {
        let event = self.unplanned.get(&id).cloned().ok_or(StoreError::NotWaiting(id))?;
        let apps = u16::try_from(draft.apps.len())
            .map_err(|_| StoreError::Row { key: id.to_string(), why: "a plan of over 65535 apps".into() })?;
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
            let (closing, after): (Vec<_>, Vec<_>) =
                after.iter().filter_map(|a| ids.get(a).copied()).partition(|up| closes(*up));
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
        let incomplete = !draft.unread.is_empty();
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

    fn write(
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

    /// A job has ended: its state becomes a row of its own, and events that nothing keeps open are closed.
    fn end(&mut self, tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
        self.stop_waiting(job);
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

/// Not yet started, and not on its way out.
fn can_be_joined(job: &JobState) -> bool {
    !job.started && job.ended.is_none() && job.canceling.is_none() && job.carried().is_none()
}

/// The repository that a push is known by here.
pub(super) fn first_of(repos: &[RepoId]) -> RepoId {
    repos.first().cloned().unwrap_or_else(|| RepoUrl::unknown().id())
}
