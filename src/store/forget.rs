//! Forgetting: which rows of the past are no longer kept, and how they go.
//!
//! [`Store::old`] looks for what a [`Retention`] does not keep; [`Store::forget`] lets go of it in small groups on the
//! writer's thread, which looks again at each: between the two, a redelivery may have come. One group is one batch, so
//! a crash leaves a job whole or gone. Must never touch what is under way, the last job of an app, those that built and
//! brought the last good commit of an app or of an environment (of that, the one before it too), what those under way wait for, or the event of a branch's last accepted head.
//!
//! What a forgotten job answered stays answered: its event remembers whether all of its jobs ended well (duplicates),
//! and a commit that it made keeps the names of the apps that were planned with it (own commits).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::closures::forget_closure;
use super::deliveries::first_of;
use super::rows::{EventRow, EventState, LastGood, OwnCommit, Past, Seen};
use super::state::State;
use super::table::{Row, Table};
use super::tag_events::forget_tag;
use super::tx::{Tx, decode, get};
use super::{Store, StoreError, keys, unpoison, writer};
use crate::model::event::Answer;
use crate::model::{
    AppName, Delivery, DeliveryId, Entry, Event, EventId, EventKind, JobId, JobState, Outcome, PlanHead, PlanRow,
    Record,
};

/// How many bytes of names a forgotten job's commit keeps: a row stays small.
const NAMES: usize = 12 << 10;

/// What of the past is kept: a job is, while both allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// So many of the newest jobs of each app; the last one always is.
    pub jobs: usize,
    /// Jobs that ended since then.
    pub jobs_since: Timestamp,
    /// Events and deliveries that came since then: so long a redelivery is known for what it is.
    pub events_since: Timestamp,
}

/// What a retention does not keep, each with its bytes in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Old {
    /// Jobs, with their journals.
    pub jobs: Vec<(JobId, u64)>,
    /// Events, with their plans.
    pub events: Vec<(EventId, u64)>,
    /// Deliveries.
    pub deliveries: Vec<(DeliveryId, u64)>,
}

/// What to let go of. Events after their jobs, deliveries after their events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forget {
    /// Ended jobs.
    Jobs(Vec<JobId>),
    /// Closed events.
    Events(Vec<EventId>),
    /// Answered deliveries.
    Deliveries(Vec<DeliveryId>),
}

impl Store {
    /// Lets go of what may go; gives the places in the list of those that went. The same again does nothing.
    pub async fn forget(&self, what: Forget) -> Result<Vec<usize>, StoreError> {
        self.ask(|reply| writer::Command::Forget(what, reply)).await
    }

    /// What is not kept, oldest first. Reads all keys of the past: for once a day.
    pub fn old(&self, keep: &Retention) -> Result<Old, StoreError> {
        let table = self.table()?;
        let open = unpoison(self.shared.jobs.read()).all().clone();
        let unplanned = unpoison(self.shared.unplanned.read()).clone();
        let needed = Needed::of(&table, open.values().map(AsRef::as_ref), unplanned.values())?;
        let mut old = Old::default();
        let mut going = HashSet::new();
        for ids in jobs_by_app(&table)?.into_values() {
            // The newest is never looked at.
            for (newer, id) in ids.iter().rev().enumerate().skip(1) {
                let beyond = newer >= keep.jobs;
                if open.contains_key(id) || needed.jobs.contains(id) || !(beyond || before(id.event.0, keep.jobs_since))
                {
                    continue;
                }
                let Some(job) = self.job(*id)? else { continue };
                let ended_before = job.ended.as_ref().is_some_and(|(at, ..)| *at < keep.jobs_since);
                let is_good = self.goods(&job.app.name)?.iter().any(|good| good.needs(*id));
                if (beyond || ended_before) && !is_good && is_closed(&table, *id)? {
                    old.jobs.push((*id, size(&table, keys::records(*id))? + size(&table, keys::job(*id))?));
                    going.insert(*id);
                }
            }
        }
        old.jobs.sort();
        let mut gone = HashSet::new();
        let to = keys::event(EventId(first_id(keep.events_since)));
        for row in table.range(vec![keys::EVENT]..to) {
            let (key, value) = row?;
            let Some(id) = keys::number(&key).map(EventId) else { continue };
            let Ok(row) = decode::<EventRow>(&key, &value) else { continue };
            if row.state != EventState::Closed || needed.events.contains(&id) || self.is_head(&row.event)? {
                continue;
            }
            let rows = plan_rows(&table, id)?;
            let kept = |row: &PlanRow| Ok::<_, StoreError>(!going.contains(&row.job) && self.job(row.job)?.is_some());
            if !any(&rows, kept)? {
                let plan = size(&table, keys::plan(id))? + size(&table, keys::plan_rows(id))?;
                old.events.push((id, (key.len() + value.len()) as u64 + plan));
                gone.insert(id);
            }
        }
        let to = keys::delivery(DeliveryId(first_id(keep.events_since)));
        for row in table.range(vec![keys::DELIVERY]..to) {
            let (key, value) = row?;
            let Some(id) = keys::number(&key).map(DeliveryId) else { continue };
            let Ok(delivery) = decode::<Delivery>(&key, &value) else { continue };
            let kept = |event: &EventId| Ok::<_, StoreError>(!gone.contains(event) && self.event(*event)?.is_some());
            if !any(events_of(&delivery), kept)? {
                old.deliveries.push((id, (key.len() + value.len()) as u64));
            }
        }
        Ok(old)
    }

    /// Whether it brought a branch's last accepted head.
    fn is_head(&self, event: &Event) -> Result<bool, StoreError> {
        let Some(key) = head_key(event) else { return Ok(false) };
        Ok(get::<Seen>(&*self.table()?, &key)?.is_some_and(|seen| seen.event == Some(event.id)))
    }
}

impl State {
    /// Lets go of what may go; gives the places of those that went.
    pub(super) fn forget(&mut self, tx: &mut Tx, what: Forget) -> Result<Vec<usize>, StoreError> {
        match what {
            Forget::Jobs(ids) => self.forget_jobs(tx, &ids),
            Forget::Events(ids) => self.forget_events(tx, &ids),
            Forget::Deliveries(ids) => forget_deliveries(tx, &ids),
        }
    }

    fn needed(&self, tx: &Tx) -> Result<Needed, StoreError> {
        Needed::of(tx.table(), self.jobs.values().map(AsRef::as_ref), self.unplanned.values())
    }

    fn forget_jobs(&mut self, tx: &mut Tx, ids: &[JobId]) -> Result<Vec<usize>, StoreError> {
        let needed = self.needed(tx)?;
        let mut going = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            if self.jobs.contains_key(id) || needed.jobs.contains(id) || tx.has(&keys::open_job(*id))? {
                continue;
            }
            let job = match tx.get::<JobState>(&keys::job(*id)) {
                Ok(Some(job)) => job,
                Err(StoreError::Row { .. }) => match tx.journal(*id) {
                    Ok(job) => job,
                    Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                    Err(_) => continue,
                },
                Ok(None) => continue,
                Err(error) => return Err(error),
            };
            let app = &job.app.name;
            let rows = tx.rows(&keys::last_goods(app))?;
            let there = rows.iter().filter_map(|(key, value)| decode::<LastGood>(key, value).ok());
            let is_good =
                tx.hint::<LastGood>(&keys::last_good(app)).into_iter().chain(there).any(|good| good.needs(*id));
            if !is_good && tx.newest(&keys::app_jobs(app))?.and_then(|key| keys::job_at_end(&key)) != Some(*id) {
                going.push((place, job));
            }
        }
        // First what stays behind, while all of the jobs can still be asked.
        for (_, job) in &going {
            let apps = apps_planned_with(tx, job)?;
            for cause in &job.causes {
                if let Some(row) = tx.hint::<EventRow>(&keys::event(cause.plan))
                    && row.state == EventState::Closed
                    && row.well.is_none()
                {
                    let head = tx.hint::<PlanHead>(&keys::plan(cause.plan));
                    let well = Some(jobs_ended_well(tx, cause.plan, head.as_ref()));
                    tx.put(keys::event(cause.plan), &EventRow { well, ..row })?;
                }
            }
            for (key, value) in tx.rows(&keys::records(job.id))? {
                if let Ok(Record { entry: Entry::Updated { commit, .. } | Entry::Merged { commit }, .. }) =
                    decode(&key, &value)
                    && tx.hint::<OwnCommit>(&keys::own_commit(&commit)).is_some_and(|own| own.job == job.id)
                {
                    // Offered and never merged: who merges it after that is a person.
                    if job.published.is_none() {
                        tx.delete(keys::own_commit(&commit));
                        continue;
                    }
                    let past = Some(Past { app: job.app.name.clone(), apps: apps.clone() });
                    tx.put(keys::own_commit(&commit), &OwnCommit { job: job.id, past })?;
                }
            }
        }
        for (_, job) in &going {
            for (key, _) in tx.rows(&keys::records(job.id))? {
                tx.delete(key.to_vec());
            }
            forget_closure(tx, job.id)?;
            tx.delete(keys::job(job.id));
            tx.delete(keys::app_job(&job.app.name, job.id));
        }
        let apps: BTreeSet<&AppName> = going.iter().map(|(_, job)| &job.app.name).collect();
        let gone: HashSet<JobId> = going.iter().map(|(_, job)| job.id).collect();
        for app in apps {
            for (key, _) in tx.rows(&keys::rollouts(app))? {
                if keys::job_at_end(&key).is_some_and(|id| gone.contains(&id)) {
                    tx.delete(key.to_vec());
                }
            }
        }
        Ok(going.into_iter().map(|(place, _)| place).collect())
    }

    fn forget_events(&mut self, tx: &mut Tx, ids: &[EventId]) -> Result<Vec<usize>, StoreError> {
        let needed = self.needed(tx)?;
        let mut gone = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            let Some(row) = tx.hint::<EventRow>(&keys::event(*id)) else { continue };
            if row.state != EventState::Closed || needed.events.contains(id) {
                continue;
            }
            if let Some(key) = head_key(&row.event)
                && tx.hint::<Seen>(&key).is_some_and(|seen| seen.event == Some(*id))
            {
                continue;
            }
            let rows = tx.rows(&keys::plan_rows(*id))?;
            let jobs = rows.iter().filter_map(|(key, value)| decode::<PlanRow>(key, value).ok().map(|row| row.job));
            let kept = |job: &JobId| {
                Ok(self.jobs.contains_key(job) || tx.has(&keys::job(*job))? || tx.has(&keys::open_job(*job))?)
            };
            if any(&jobs.collect::<Vec<_>>(), kept)? {
                continue;
            }
            if let Some(key) = redelivery_key(tx, &row.event)
                && tx.hint::<EventId>(&key) == Some(*id)
            {
                tx.delete(key.to_vec());
            }
            forget_tag(tx, *id, &row.event);
            tx.delete(keys::event(*id));
            tx.delete(keys::plan(*id));
            rows.into_iter().for_each(|(key, _)| tx.delete(key.to_vec()));
            gone.push(place);
        }
        Ok(gone)
    }
}

fn forget_deliveries(tx: &mut Tx, ids: &[DeliveryId]) -> Result<Vec<usize>, StoreError> {
    let mut gone = Vec::new();
    for (place, id) in ids.iter().enumerate() {
        let Some(delivery) = tx.hint::<Delivery>(&keys::delivery(*id)) else { continue };
        if !any(events_of(&delivery), |event| tx.has(&keys::event(*event)))? {
            tx.delete(keys::delivery(*id));
            gone.push(place);
        }
    }
    Ok(gone)
}

/// Whether all jobs of a plan ended well. What can't be read has not.
pub(super) fn jobs_ended_well(tx: &Tx, event: EventId, head: Option<&PlanHead>) -> bool {
    (0..head.map_or(0, |head| head.apps)).all(|index| {
        let Some(row) = tx.hint::<PlanRow>(&keys::plan_row(event, index)) else { return false };
        let job = tx.get::<JobState>(&keys::job(row.job)).ok().flatten();
        let job = job.or_else(|| tx.journal(row.job).ok());
        job.and_then(|job| job.outcome()).is_some_and(Outcome::is_well)
    })
}

/// The apps of the plans that a job was in, as many as a row may name. One that is left out runs once more, at worst.
fn apps_planned_with(tx: &Tx, job: &JobState) -> Result<Vec<AppName>, StoreError> {
    let mut apps = BTreeSet::new();
    for cause in &job.causes {
        for (key, value) in tx.rows(&keys::plan_rows(cause.plan))? {
            apps.extend(decode::<PlanRow>(&key, &value).map(|row| row.app));
        }
    }
    let mut room = NAMES;
    let fits = |app: &AppName| {
        let left = room.checked_sub(app.as_str().len() + 4);
        room = left.unwrap_or(0);
        left.is_some()
    };
    Ok(apps.into_iter().take_while(fits).collect())
}

/// What is under way refers to.
#[derive(Default)]
struct Needed {
    jobs: HashSet<JobId>,
    events: HashSet<EventId>,
}

impl Needed {
    fn of<'a>(
        table: &Table,
        open: impl Iterator<Item = &'a JobState>,
        unplanned: impl Iterator<Item = &'a Event>,
    ) -> Result<Self, StoreError> {
        let mut needed = Self::default();
        for cause in open.flat_map(|job| &job.causes) {
            needed.events.insert(cause.plan);
            needed.jobs.extend(&cause.after);
        }
        for event in unplanned {
            // The apps that the earlier ones left well do not run again.
            let mut next = event.again;
            while let Some(id) = next.filter(|id| needed.events.insert(*id)) {
                next = get::<EventRow>(table, &keys::event(id)).ok().flatten().and_then(|row| row.event.again);
            }
        }
        for event in &needed.events {
            needed.jobs.extend(plan_rows(table, *event)?.into_iter().map(|row| row.job));
        }
        Ok(needed)
    }
}

fn plan_rows(table: &Table, event: EventId) -> Result<Vec<PlanRow>, StoreError> {
    let rows: Vec<Row> = table.prefix(&keys::plan_rows(event)).collect::<Result<_, _>>()?;
    Ok(rows.iter().filter_map(|(key, value)| decode(key, value).ok()).collect())
}

/// Every app's jobs, oldest first.
fn jobs_by_app(table: &Table) -> Result<BTreeMap<Vec<u8>, Vec<JobId>>, StoreError> {
    let mut jobs: BTreeMap<Vec<u8>, Vec<JobId>> = BTreeMap::new();
    for row in table.prefix(&[keys::APP_JOB]) {
        let (key, _) = row?;
        let Some(id) = keys::job_at_end(&key) else { continue };
        jobs.entry(key[..key.len() - 10].to_vec()).or_default().push(id);
    }
    Ok(jobs)
}

/// Whether the store holds a job for ended. One that it does not, though nothing is known of it, stays.
fn is_closed(table: &Table, id: JobId) -> Result<bool, StoreError> {
    Ok(!table.has(&keys::open_job(id))?)
}

/// The bytes of the rows under a prefix.
fn size(table: &Table, prefix: Vec<u8>) -> Result<u64, StoreError> {
    table.prefix(&prefix).map(|row| row.map(|(key, value)| (key.len() + value.len()) as u64)).sum()
}

fn any<T>(items: &[T], is_so: impl Fn(&T) -> Result<bool, StoreError>) -> Result<bool, StoreError> {
    for item in items {
        if is_so(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn events_of(delivery: &Delivery) -> &[EventId] {
    match &delivery.answer {
        Answer::Accepted { events } => events,
        Answer::Ignored { .. } | Answer::Duplicate { .. } => &[],
    }
}

fn head_key(event: &Event) -> Option<Vec<u8>> {
    match &event.what {
        EventKind::Push(push) => Some(keys::head(&first_of(&push.repos()), &push.branch)),
        // What is known of a tag goes with its event.
        EventKind::Tag(_) | EventKind::Deploy { .. } | EventKind::Rollout { .. } => None,
    }
}

/// Where a redelivery of what brought the event would be known by.
fn redelivery_key(tx: &Tx, event: &Event) -> Option<Vec<u8>> {
    let EventKind::Push(push) = &event.what else { return None };
    let delivery: Delivery = tx.hint(&keys::delivery(event.delivery?))?;
    Some(keys::forge_id(
        delivery.forge,
        delivery.forge_id.as_deref()?,
        &first_of(&push.repos()),
        &push.branch,
        &push.after,
    ))
}

/// The first id that could be given at a time.
fn first_id(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0) << 20
}

fn before(id: u64, at: Timestamp) -> bool {
    id < first_id(at)
}
