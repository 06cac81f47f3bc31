//! Which jobs' commits have a status that is due: a mark, written in the batch that changed the job, and let go of once
//! all of it was told. No change is missed, however often the daemon dies.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::State;
use super::tx::{Tx, decode};
use super::{Store, StoreError, keys, writer};
use crate::model::{Entry, JobId, JobState};

/// A job whose commits have a status that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The job.
    pub job: JobId,
    /// How many entries it had then.
    pub seq: u64,
    /// When it changed.
    pub at: Timestamp,
}

/// The mark's row.
#[derive(Serialize, Deserialize)]
struct Row {
    seq: u64,
    at: Timestamp,
}

impl Store {
    /// Whether statuses are told at all: else no marks are made.
    pub fn tell_statuses(&self, are_told: bool) {
        self.shared.statuses.store(are_told, Ordering::Relaxed);
    }
    /// The jobs that are marked, oldest first. A mark that can't be read is one of long ago.
    pub fn statuses_due(&self) -> Result<Vec<Due>, StoreError> {
        let table = self.table()?;
        let mut due = Vec::new();
        for row in table.prefix(&[keys::STATUS]) {
            let (key, value) = row?;
            due.extend(keys::job_at_end(&key).map(|job| due_of(job, &key, &value)));
        }
        Ok(due)
    }
    /// A job's mark.
    pub fn status_due(&self, job: JobId) -> Result<Option<Due>, StoreError> {
        let key = keys::status(job);
        Ok(self.table()?.get(&key)?.map(|value| due_of(job, &key, &value)))
    }
    /// All of these was told: marks that are newer stay.
    pub async fn reported(&self, done: Vec<Due>) -> Result<(), StoreError> {
        self.ask(|reply| writer::Command::Reported(done, reply)).await
    }
}

fn due_of(job: JobId, key: &[u8], value: &[u8]) -> Due {
    let Row { seq, at } = decode(key, value).unwrap_or(Row { seq: 0, at: Timestamp::UNIX_EPOCH });
    Due { job, seq, at }
}

impl State {
    /// What the job's commits say is no longer true.
    pub(super) fn mark_status(&self, tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
        if self.statuses { tx.put(keys::status(job.id), &Row { seq: job.seq, at: now }) } else { Ok(()) }
    }
}

pub(super) fn reported(tx: &mut Tx, done: &[Due]) -> Result<(), StoreError> {
    for due in done {
        if tx.hint::<Row>(&keys::status(due.job)).is_none_or(|row| row.seq <= due.seq) {
            tx.delete(keys::status(due.job));
        }
    }
    Ok(())
}

/// Whether an entry changes what commits' statuses say.
pub fn is_told(entry: &Entry) -> bool {
    matches!(
        entry,
        Entry::Joined { .. }
            | Entry::CauseDropped { .. }
            | Entry::Started
            | Entry::Requested(_)
            | Entry::Merged { .. }
            | Entry::Published { .. }
            | Entry::Ended { .. }
    )
}
