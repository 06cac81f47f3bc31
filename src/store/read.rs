//! Reading the store. All of it is what is on disk; lists go newest first, by cursor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::load::load_job;
use super::rows::{EventRow, EventState, LastSeen, OwnCommit, Seen};
use super::table::{Row, Table};
use super::tx::{decode, get};
use super::{Store, StoreError, keys, unpoison};
use crate::model::{
    AppName, Branch, Delivery, DeliveryId, Event, EventId, JobId, JobState, Outcome, PlanHead, PlanRow, Record, RepoId,
    Sha,
};

/// Since when and why the store takes no writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: String,
}

/// Which jobs a list wants.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this app only.
    pub app: Option<AppName>,
    /// That ended so; `Some(None)` means those under way.
    pub outcome: Option<Option<Outcome>>,
    /// Older than this one.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

impl Store {
    pub(super) fn table(&self) -> Result<Arc<Table>, StoreError> {
        self.shared.table.load_full().ok_or_else(|| {
            let why = self.fault().map(|f| f.why).unwrap_or_default();
            StoreError::Unavailable { path: self.shared.path.clone(), why }
        })
    }
    /// A job, under way or ended.
    pub fn job(&self, id: JobId) -> Result<Option<Arc<JobState>>, StoreError> {
        if let Some(job) = unpoison(self.shared.jobs.read()).all().get(&id) {
            return Ok(Some(job.clone()));
        }
        let table = self.table()?;
        match get::<JobState>(&table, &keys::job(id)) {
            Ok(job) => Ok(job.map(Arc::new)),
            // The row is a summary; the journal is the truth.
            Err(StoreError::Row { .. }) => load_job(&table, id).map(|job| Some(Arc::new(job))),
            Err(error) => Err(error),
        }
    }
    /// Events that have no plan yet, oldest first.
    pub fn unplanned(&self) -> Vec<Event> {
        unpoison(self.shared.unplanned.read()).values().cloned().collect()
    }
    /// A job's journal from the entry after `seq` on, each with its place.
    pub fn records(&self, id: JobId, seq: u64) -> Result<Vec<(u64, Record)>, StoreError> {
        let table = self.table()?;
        // Entries after the state that readers are shown are not there for them either.
        let Some(job) = self.job(id)?.filter(|job| job.seq > seq) else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        for row in table.range(keys::record(id, seq + 1)..=keys::record(id, job.seq)) {
            let (key, value) = row?;
            records.push((keys::seq(&key).unwrap_or(0), decode(&key, &value)?));
        }
        Ok(records)
    }
    /// Jobs, newest first.
    pub fn jobs(&self, filter: &JobFilter) -> Result<Vec<Arc<JobState>>, StoreError> {
        if filter.outcome == Some(None) {
            let open = filter.app.as_ref().map_or_else(|| self.open_jobs(), |app| self.open_jobs_of(app));
            let under_way = open.into_iter().rev().filter(|job| job.ended.is_none());
            let wanted = under_way.filter(|job| filter.before.is_none_or(|before| job.id < before));
            return Ok(wanted.take(filter.limit).collect());
        }
        let table = self.table()?;
        let (from, to) = match &filter.app {
            Some(app) => (keys::app_jobs(app), filter.before.map(|id| keys::app_job(app, id))),
            None => (vec![b'r'], filter.before.map(keys::records)),
        };
        let mut end = from.clone();
        end.extend([0xff; 11]);
        let mut to = to.unwrap_or(end);
        let mut jobs = Vec::new();
        while jobs.len() < filter.limit {
            // Straight to the last key of the next older job: a journal's entries are never walked.
            let Some(row) = table.range(from.clone()..to.clone()).next_back() else { break };
            let (key, _) = row?;
            let id = match filter.app {
                Some(_) => keys::job_at_end(&key),
                None => key.get(1..11).and_then(JobId::from_key),
            };
            let Some(id) = id else { break };
            to = match &filter.app {
                Some(app) => keys::app_job(app, id),
                None => keys::records(id),
            };
            let Some(job) = self.job(id)? else { continue };
            if filter.outcome.is_none_or(|want| job.outcome() == want) {
                jobs.push(job);
            }
        }
        Ok(jobs)
    }
    /// An app's jobs that have begun to bring something to hosts, or have ended without, by when that was, the newest
    /// first. Each is read when it is asked for.
    pub fn rollouts(
        &self,
        app: &AppName,
    ) -> Result<impl Iterator<Item = Result<Arc<JobState>, StoreError>>, StoreError> {
        let rows = self.table()?.prefix(&keys::rollouts(app)).rev();
        Ok(rows.filter_map(|row| match row {
            Ok((key, _)) => self.job(keys::job_at_end(&key)?).transpose(),
            Err(error) => Some(Err(error)),
        }))
    }
    /// Deliveries, newest first, older than `before`.
    pub fn deliveries(&self, before: Option<DeliveryId>, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let table = self.table()?;
        let to = before.map_or_else(|| vec![keys::DELIVERY + 1], keys::delivery);
        let rows = table.range(vec![keys::DELIVERY]..to).rev().take(limit);
        // One that can't be read hides no other.
        let known = |(key, value): Row| {
            decode(&key, &value).inspect_err(|error| tracing::error!(%error, "a delivery is left out of the list")).ok()
        };
        rows.filter_map(|row| row.map(known).transpose()).collect()
    }
    /// An event and where it is.
    pub fn event(&self, id: EventId) -> Result<Option<EventRow>, StoreError> {
        // As with its plan: not planned for readers before that is on disk.
        let waits = unpoison(self.shared.unplanned.read()).contains_key(&id);
        let row = get::<EventRow>(&*self.table()?, &keys::event(id))?;
        Ok(row.map(|row| if waits { EventRow { state: EventState::Accepted, ..row } } else { row }))
    }
    /// An event's plan: its head and its rows, in order.
    pub fn plan_of(&self, id: EventId) -> Result<Option<(PlanHead, Vec<PlanRow>)>, StoreError> {
        // Shown to readers together with its jobs.
        if unpoison(self.shared.unplanned.read()).contains_key(&id) {
            return Ok(None);
        }
        let table = self.table()?;
        let Some(head) = get(&table, &keys::plan(id))? else { return Ok(None) };
        let rows = table.prefix(&keys::plan_rows(id)).map(|row| row.and_then(|(key, value)| decode(&key, &value)));
        Ok(Some((head, rows.collect::<Result<_, _>>()?)))
    }
    /// The last head of a branch that a webhook or a listing told of.
    pub fn accepted_head(&self, repo: &RepoId, branch: &Branch) -> Result<Option<Sha>, StoreError> {
        Ok(get::<Seen>(&*self.table()?, &keys::head(repo, branch))?.map(|seen| seen.after))
    }
    /// The last heads of all branches of a repository that a webhook or a listing told of.
    pub fn accepted_heads(&self, repo: &RepoId) -> Result<BTreeMap<Branch, Sha>, StoreError> {
        let (table, prefix) = (self.table()?, keys::heads(repo));
        let mut heads = BTreeMap::new();
        for row in table.prefix(&prefix) {
            let (key, value) = row?;
            let name = std::str::from_utf8(&key[prefix.len()..]).ok().filter(|name| !name.starts_with(keys::TAGS));
            if let Some(branch) = name.and_then(|name| Branch::new(name).ok()) {
                heads.insert(branch, decode::<Seen>(&key, &value)?.after);
            }
        }
        Ok(heads)
    }
    /// The tags that a repository is known to have; none where they were never listed.
    pub fn known_tags(&self, repo: &RepoId) -> Result<Option<BTreeSet<String>>, StoreError> {
        let (table, prefix) = (self.table()?, keys::seen_tags(repo));
        if !self.last_seen(repo)?.tags {
            return Ok(None);
        }
        let name = |row: Result<Row, StoreError>| {
            row.map(|(key, _)| String::from_utf8_lossy(&key[prefix.len()..]).into_owned())
        };
        table.prefix(&prefix).map(name).collect::<Result<_, _>>().map(Some)
    }
    /// When anything was last heard of a repository.
    pub fn last_seen(&self, repo: &RepoId) -> Result<LastSeen, StoreError> {
        Ok(get(&*self.table()?, &keys::last_seen(repo))?.unwrap_or_default())
    }
    /// The job that made a commit, if one of ours did.
    pub fn own_commit(&self, sha: &Sha) -> Result<Option<OwnCommit>, StoreError> {
        get(&*self.table()?, &keys::own_commit(sha))
    }
    /// Since when and why the store takes no writes, if it does not.
    pub fn fault(&self) -> Option<Fault> {
        unpoison(self.shared.fault.read()).clone()
    }
}
