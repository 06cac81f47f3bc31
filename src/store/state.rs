//! The writer's working state and what each command does to it. Nothing here touches the disk but through `Tx`, and
//! nothing here is seen by readers before the writer has synced it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::rows::{EventRow, EventState, LastGood, OwnCommit, Seen};
use super::tx::{Tx, decode};
use super::{Change, StoreError, keys};
use crate::model::event::Answer;
use crate::model::{
    AppName, Cause, Delivery, DeliveryId, Draft, Entry, Event, EventId, EventKind, Forge, JobId, JobState, Outcome,
    PlanHead, PlanRow, Planned, Push, RECORD_VERSION, Record, RepoId,
};

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
    /// The one job of each app that has not started.
    waiting: HashMap<AppName, JobId>,
    /// The jobs that keep a plan's event open.
    plan_jobs: HashMap<EventId, BTreeSet<JobId>>,
    last_id: u64,
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
}

impl State {
    /// Reads what is open. A journal that can't be read parks its job.
    pub fn load(db: &sled::Db, path: &str) -> Result<Self, StoreError> {
        let mut state = Self::default();
        let unavailable = |e: sled::Error| super::tx::unavailable(path, &e);
        for prefix in [keys::DELIVERY, keys::EVENT] {
            // The keys of a prefix sort by number: the last before the next prefix is the largest.
            if let Some((key, _)) = db.get_lt([prefix + 1]).map_err(unavailable)?
                && key.first() == Some(&prefix)
            {
                state.last_id = state.last_id.max(keys::number(&key).unwrap_or(0));
            }
        }
        for row in db.scan_prefix([keys::OPEN_EVENT]) {
            let (key, _) = row.map_err(unavailable)?;
            let Some(id) = keys::number(&key).map(EventId) else { continue };
            match super::tx::get::<EventRow>(db, path, &keys::event(id)) {
                Ok(Some(row)) if row.state == EventState::Accepted => {
                    state.unplanned.insert(id, row.event);
                }
                Ok(_) => {}
                Err(error) => tracing::error!(event = %id, %error, "an event can't be read and is left as it is"),
            }
        }
        for row in db.scan_prefix([keys::OPEN_JOB]) {
            let (key, _) = row.map_err(unavailable)?;
            let Some(id) = keys::job_at_end(&key) else { continue };
            match load_job(db, path, id) {
                Ok(job) => state.admit(id, Arc::new(job)),
                Err(error) => tracing::error!(job = %id, %error, "a job's journal can't be read at all"),
            }
        }
        Ok(state)
    }

    fn admit(&mut self, id: JobId, job: Arc<JobState>) {
        if !job.started && job.ended.is_none() {
            self.waiting.insert(job.app.name.clone(), id);
        }
        for cause in &job.causes {
            self.plan_jobs.entry(cause.plan).or_default().insert(id);
        }
        self.jobs.insert(id, job);
    }

    fn next_id(&mut self, now: Timestamp) -> u64 {
        let clock = u64::try_from(now.as_millisecond()).unwrap_or(0) << 20;
        self.last_id = clock.max(self.last_id + 1);
        self.last_id
    }

    pub fn accept(&mut self, tx: &mut Tx, new: NewDelivery, now: Timestamp) -> Result<Accepted, StoreError> {
        let id = DeliveryId(self.next_id(now));
        let answer = match new.meaning {
            Err(reason) => Answer::Ignored { reason },
            Ok(pushes) => {
                let (mut events, mut duplicate) = (Vec::new(), None);
                for push in pushes {
                    match self.accept_push(tx, new.forge, new.forge_id.as_deref(), id, push, now)? {
                        Ok(event) => events.push(event),
                        Err(known) => duplicate = Some(known),
                    }
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

    /// The event of a push, or the one that it repeats and why.
    fn accept_push(
        &mut self,
        tx: &mut Tx,
        forge: Forge,
        forge_id: Option<&str>,
        delivery: DeliveryId,
        push: Push,
        now: Timestamp,
    ) -> Result<Result<EventId, (EventId, &'static str)>, StoreError> {
        let repos = push.repos();
        let Some(repo) = repos.first() else {
            return Err(StoreError::Row { key: delivery.to_string(), why: "a push without a url".into() });
        };
        let head_key = keys::head(repo, &push.branch);
        let id_key = forge_id.map(|id| keys::forge_id(forge, id, &push.branch));
        let by_id = id_key.as_ref().map(|key| tx.get::<Seen>(key)).transpose()?.flatten();
        let by_id = by_id.filter(|s| s.repo == *repo && s.after == push.after).map(|s| (s, "the same delivery id"));
        let by_head = tx.get::<Seen>(&head_key)?.filter(|s| s.after == push.after);
        let by_head = by_head.map(|s| (s, "that commit is the branch's last accepted head"));
        let mut again = None;
        if let Some((seen, reason)) = by_id.or(by_head) {
            if self.is_open_or_well(tx, seen.event)? {
                return Ok(Err((seen.event, reason)));
            }
            again = Some(seen.event);
        }
        let seen = |event| Seen { repo: repo.clone(), after: push.after, event };
        let id = EventId(self.next_id(now));
        tx.put(head_key, &seen(id))?;
        if let Some(key) = id_key {
            tx.put(key, &seen(id))?;
        }
        self.open_event(tx, Event { id, at: now, delivery: Some(delivery), again, what: EventKind::Push(push) })?;
        Ok(Ok(id))
    }

    pub fn submit(&mut self, tx: &mut Tx, what: EventKind, now: Timestamp) -> Result<EventId, StoreError> {
        let id = EventId(self.next_id(now));
        self.open_event(tx, Event { id, at: now, delivery: None, again: None, what })?;
        Ok(id)
    }

    fn open_event(&mut self, tx: &mut Tx, event: Event) -> Result<(), StoreError> {
        tx.put(keys::event(event.id), &EventRow { event: event.clone(), state: EventState::Accepted })?;
        tx.mark(keys::open_event(event.id));
        self.told.accepted.push(event.clone());
        self.unplanned.insert(event.id, event);
        Ok(())
    }

    fn is_open_or_well(&self, tx: &Tx, id: EventId) -> Result<bool, StoreError> {
        let Some(row) = tx.get::<EventRow>(&keys::event(id))? else { return Ok(true) };
        if row.state != EventState::Closed {
            return Ok(true);
        }
        for row in tx.scan::<PlanRow>(&keys::plan_rows(id))? {
            let outcome = match tx.get::<JobState>(&keys::job(row.job)) {
                Ok(job) => job.and_then(|j| j.outcome()),
                Err(_) => None,
            };
            if !outcome.is_none_or(Outcome::is_well) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn plan(&mut self, tx: &mut Tx, id: EventId, draft: Draft, now: Timestamp) -> Result<PlanOutcome, StoreError> {
        let event = self.unplanned.get(&id).cloned().ok_or(StoreError::NotWaiting(id))?;
        let mut outcome = PlanOutcome::default();
        let mut ids: HashMap<AppName, JobId> = HashMap::new();
        let apps = u16::try_from(draft.apps.len())
            .map_err(|_| StoreError::Row { key: id.to_string(), why: "a plan of over 65535 apps".into() })?;
        for (index, planned) in (0u16..).zip(draft.apps) {
            let Planned { app, why, wave, after, targets } = planned;
            let name = app.name.clone();
            let after = after.iter().filter_map(|a| ids.get(a).copied());
            let existing = self.waiting.get(&name).copied();
            let job = existing.unwrap_or(JobId { event: id, index });
            // An edge that would close a circle is not waited for.
            let after = after.filter(|up| *up != job && !self.waits_for(*up, job)).collect();
            let cause = Cause { plan: id, at: event.at, why, wave, after, targets, dropped: None };
            if existing.is_some() {
                self.write(tx, job, vec![Entry::Joined { app: Box::new(app), cause }], now)?;
                outcome.joined.push(job);
            } else {
                let record = Record { v: RECORD_VERSION, at: now, entry: Entry::Created { app: Box::new(app), cause } };
                let state = JobState::create(job, &record).map_err(|why| StoreError::Fold { job, why })?;
                let state = Arc::new(state);
                tx.put(keys::record(job, 1), &record)?;
                tx.mark(keys::open_job(job));
                tx.mark(keys::app_job(&name, job));
                self.admit(job, state.clone());
                self.told.changes.push(Change { job, seq: 1, record: Arc::new(record), state });
                outcome.created.push(job);
            }
            tx.put(keys::plan_row(id, index), &PlanRow { app: name.clone(), wave, job })?;
            ids.insert(name, job);
        }
        tx.put(keys::plan(id), &PlanHead { id, at: now, notes: draft.notes, apps })?;
        let state = if apps == 0 { EventState::Closed } else { EventState::Planned };
        if apps == 0 {
            tx.delete(keys::open_event(id));
        }
        tx.put(keys::event(id), &EventRow { event, state })?;
        self.unplanned.remove(&id);
        self.told.planned.push(id);
        Ok(outcome)
    }

    /// Whether `job` waits for `other`, directly or through others.
    fn waits_for(&self, job: JobId, other: JobId) -> bool {
        let (mut seen, mut queue) = (HashSet::new(), vec![job]);
        while let Some(id) = queue.pop() {
            let Some(state) = self.jobs.get(&id) else { continue };
            for up in state.live_causes().flat_map(|c| c.after.iter().copied()) {
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
        entries: Vec<Entry>,
        now: Timestamp,
    ) -> Result<Arc<JobState>, StoreError> {
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
        for entry in entries {
            let record = Record { v: RECORD_VERSION, at: now, entry };
            state.apply(&record).map_err(|why| StoreError::Fold { job: id, why })?;
            steps.push((Arc::new(record), Arc::new(state.clone())));
        }
        let state = steps.last().map_or_else(|| before.clone(), |(_, state)| state.clone());
        for (record, after) in steps {
            tx.put(keys::record(id, after.seq), &*record)?;
            match &record.entry {
                Entry::Updated { commit, bumps, .. } if !bumps.is_empty() => {
                    tx.put(keys::own_commit(commit), &OwnCommit { job: id })?;
                }
                Entry::Joined { cause, .. } => {
                    self.plan_jobs.entry(cause.plan).or_default().insert(id);
                }
                Entry::Started => {
                    self.waiting.remove(&after.app.name);
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

    /// A job has ended: its state becomes a row of its own, and events that nothing keeps open are closed.
    fn end(&mut self, tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
        if self.waiting.get(&job.app.name) == Some(&job.id) {
            self.waiting.remove(&job.app.name);
        }
        if let (Some(outcome), Some(sha)) = (job.outcome(), job.commit())
            && outcome.is_well()
        {
            tx.put(keys::last_good(&job.app.name), &LastGood { job: job.id, sha, at: now })?;
        }
        tx.put(keys::job(job.id), job)?;
        tx.delete(keys::open_job(job.id));
        for cause in &job.causes {
            let Some(open) = self.plan_jobs.get_mut(&cause.plan) else { continue };
            open.remove(&job.id);
            if open.is_empty() {
                self.plan_jobs.remove(&cause.plan);
                if let Some(row) = tx.get::<EventRow>(&keys::event(cause.plan))? {
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

/// A job from its journal. What can be read of a broken one becomes a parked job, which holds its app.
pub(super) fn load_job(db: &sled::Db, path: &str, id: JobId) -> Result<JobState, StoreError> {
    let mut state: Option<JobState> = None;
    for row in db.scan_prefix(keys::records(id)) {
        let (key, value) = row.map_err(|e| super::tx::unavailable(path, &e))?;
        let step = decode::<Record>(&key, &value).and_then(|record| {
            let folded = match &mut state {
                None => JobState::create(id, &record).map(|new| state = Some(new)),
                Some(state) => state.apply(&record),
            };
            folded.map_err(|why| StoreError::Fold { job: id, why })
        });
        if let Err(error) = step {
            let Some(state) = &mut state else { return Err(error) };
            tracing::error!(job = %id, app = %state.app.name, %error, "parked: its journal can't be read; `airplanes cancel {id}` lets its app go on");
            state.ended = Some((state.created_at, Outcome::Parked, error.to_string()));
            break;
        }
    }
    state.ok_or(StoreError::NotOpen(id))
}
