//! The rows of one moment, read while the writer goes on: before it changes a row that has not been read yet, the
//! writer keeps the old one here.
//!
//! The reader holds the writer up for a chunk of rows at a time, never for all of them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use super::archive::BackupError;
use super::tx::Tx;
use super::{Shared, StoreError, unpoison};

/// How many rows are read while the writer waits.
const CHUNK: usize = 256;

/// Where the one reader of a moment is, if there is one.
#[derive(Default)]
pub(super) struct Snapshot {
    moment: Mutex<Option<Moment>>,
    /// One reader at a time; another waits.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Moment {
    /// The last key that was read.
    read: Option<sled::IVec>,
    /// What rows beyond it were at the moment, where they have changed since.
    before: BTreeMap<Vec<u8>, Option<sled::IVec>>,
}

/// While the writer holds it, no row is read.
pub(super) struct Kept<'a>(#[allow(dead_code, reason = "held, not read")] MutexGuard<'a, Option<Moment>>);

impl Snapshot {
    /// Called by the writer before it writes; what it returns is held until that is on disk.
    pub fn keep(&self, tx: &Tx) -> Result<Kept<'_>, StoreError> {
        let mut held = unpoison(self.moment.lock());
        if let Some(moment) = held.as_mut() {
            for key in tx.keys() {
                let is_read = moment.read.as_ref().is_some_and(|read| key <= read.as_ref());
                if !is_read && !moment.before.contains_key(key) {
                    let old = tx.table().get(key)?;
                    moment.before.insert(key.to_vec(), old);
                }
            }
        }
        Ok(Kept(held))
    }
    /// The store was closed: what is read from it from now on is of another moment.
    pub fn forget(&self) {
        *unpoison(self.moment.lock()) = None;
    }
}

/// Ends the moment, however the reading ends.
struct Ending<'a>(&'a Snapshot);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// Gives every row as it is at the moment of the call, in the order of keys.
pub(super) fn read(
    shared: &Shared,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let snapshot = &shared.snapshot;
    let _turn = unpoison(snapshot.turn.lock());
    let gone = |why: &str| StoreError::Unavailable { path: shared.path.clone(), why: why.to_owned() };
    let table = {
        let mut moment = unpoison(snapshot.moment.lock());
        let table = shared.table.load_full().ok_or_else(|| gone("the disk refused a write"))?;
        *moment = Some(Moment::default());
        table
    };
    let _ending = Ending(snapshot);
    loop {
        let mut rows: Vec<(Vec<u8>, sled::IVec)> = Vec::with_capacity(CHUNK);
        let is_last = {
            let mut held = unpoison(snapshot.moment.lock());
            let moment = held.as_mut().ok_or_else(|| gone("the disk refused a write meanwhile"))?;
            let from = moment.read.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_vec()));
            let mut last = None;
            let mut count = 0;
            for row in table.range((from, Bound::Unbounded)).take(CHUNK) {
                let (key, value) = row?;
                count += 1;
                match moment.before.remove(key.as_ref()) {
                    None => rows.push((key.to_vec(), value)),
                    Some(Some(old)) => rows.push((key.to_vec(), old)),
                    Some(None) => {}
                }
                last = Some(key);
            }
            let is_last = count < CHUNK;
            // What has been deleted since.
            let beyond = match &last {
                Some(last) if !is_last => moment.before.split_off(last.as_ref()),
                _ => BTreeMap::new(),
            };
            let deleted = std::mem::replace(&mut moment.before, beyond);
            rows.extend(deleted.into_iter().filter_map(|(key, old)| Some((key, old?))));
            moment.read = last.or(moment.read.take());
            if is_last {
                // Nothing is kept any more.
                *held = None;
            }
            is_last
        };
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, value) in &rows {
            each(key, value)?;
        }
        if is_last {
            return Ok(());
        }
    }
}
