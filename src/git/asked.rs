//! Which remotes are being asked just now, and since when: a job that waits for one can say so. Must never be what
//! anything is decided by.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::mirror::Mirrors;
use crate::model::RepoId;

type Table = BTreeMap<u64, (RepoId, Instant)>;

/// The questions under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Table>>);

impl Asked {
    /// Notes that a remote is asked, for as long as what this gives lives.
    pub fn begin(&self, repo: &RepoId) -> Question {
        let mut table = lock(&self.0);
        let key = table.last_key_value().map_or(0, |(key, _)| key + 1);
        table.insert(key, (repo.clone(), Instant::now()));
        Question { asked: self.clone(), key }
    }
}

/// A question under way.
pub(super) struct Question {
    asked: Asked,
    key: u64,
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.asked.0).remove(&self.key);
    }
}

impl Mirrors {
    /// The remotes that have been asked for so long already and have not answered, and for how long.
    pub fn asked_for(&self, least: Duration) -> BTreeMap<RepoId, Duration> {
        let mut slow: BTreeMap<RepoId, Duration> = BTreeMap::new();
        for (repo, since) in lock(&self.inner.asked.0).values() {
            let since = since.elapsed();
            if since >= least {
                let longest = slow.entry(repo.clone()).or_default();
                *longest = since.max(*longest);
            }
        }
        slow
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // A holder that panicked left whole data.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
