//! A transaction in the making: what the commands of one group have written, over what is on disk.

use std::cell::OnceCell;
use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::load::load_job;
use crate::model::{JobId, JobState};

/// Values are shorter than this, in bytes: sled puts what is longer, or a page of such, into files of their own that
/// it neither syncs nor always frees.
pub(super) const LONGEST: usize = 16 << 10;

/// Writes that are not on disk yet; reads see them.
pub(super) struct Tx<'a> {
    db: &'a sled::Db,
    path: &'a str,
    over: HashMap<Vec<u8>, Option<Vec<u8>>>,
    /// The first time the disk could not be read: then nothing of the group is written.
    fault: OnceCell<StoreError>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(db: &'a sled::Db, path: &'a str) -> Self {
        Self { db, path, over: HashMap::new(), fault: OnceCell::new() }
    }
    pub(super) fn is_empty(&self) -> bool {
        self.over.is_empty()
    }
    /// The keys that it writes.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.over.keys().map(Vec::as_slice)
    }
    pub(super) fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        if let Some(value) = self.over.get(key) {
            return value.as_ref().map(|v| decode(key, v)).transpose();
        }
        self.note(get(self.db, self.path, key))
    }
    /// Whether there is such a row.
    pub(super) fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        match self.over.get(key) {
            Some(value) => Ok(value.is_some()),
            None => self.note(self.db.contains_key(key).map_err(|e| unavailable(self.path, &e))),
        }
    }
    /// The rows under a prefix that were on disk before this group and have not been deleted in it.
    pub(super) fn rows(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, sled::IVec)>, StoreError> {
        let rows = self.db.scan_prefix(prefix).map(|row| row.map_err(|e| unavailable(self.path, &e)));
        let rows: Result<Vec<_>, _> = rows.map(|row| row.map(|(key, value)| (key.to_vec(), value))).collect();
        let mut rows = self.note(rows)?;
        rows.retain(|(key, _)| !matches!(self.over.get(key), Some(None)));
        Ok(rows)
    }
    /// The last key under a prefix, deletions of this group left aside.
    pub(super) fn newest(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let last = self.db.scan_prefix(prefix).keys().next_back().transpose();
        Ok(self.note(last.map_err(|e| unavailable(self.path, &e)))?.map(|key| key.to_vec()))
    }
    /// The store as the disk has it, and its name.
    pub(super) fn disk(&self) -> (&'a sled::Db, &'a str) {
        (self.db, self.path)
    }
    /// A row that can be done without: one that can't be read is as good as none, and is said so in the log.
    pub(super) fn hint<T: DeserializeOwned>(&self, key: &[u8]) -> Option<T> {
        self.get(key).unwrap_or_else(|error| {
            tracing::error!(%error, "taken as absent");
            None
        })
    }
    /// A job's journal as the disk has it.
    pub(super) fn journal(&self, id: JobId) -> Result<JobState, StoreError> {
        self.note(load_job(self.db, self.path, id))
    }
    /// Why nothing of this may be written, if so.
    pub(super) fn fault(&self) -> Option<&StoreError> {
        self.fault.get()
    }
    fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ StoreError::Unavailable { .. }) = &result {
            let _ = self.fault.set(error.clone());
        }
        result
    }
    pub(super) fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|e| StoreError::Row { key: key.escape_ascii().to_string(), why: e.to_string() })?;
        self.over.insert(key, Some(bytes));
        Ok(())
    }
    /// A row that its journal can give again. One too long for a row is left to the journal.
    pub(super) fn put_summary(&mut self, key: Vec<u8>, value: &JobState) -> Result<(), StoreError> {
        self.put(key.clone(), value)?;
        if self.over.get(&key).is_some_and(|v| v.as_ref().is_some_and(|v| v.len() > LONGEST)) {
            self.put(key, &"see its journal")?;
        }
        Ok(())
    }
    pub(super) fn mark(&mut self, key: Vec<u8>) {
        self.over.insert(key, Some(Vec::new()));
    }
    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.over.insert(key, None);
    }
    /// Whether a value that is written holds this text.
    #[cfg(feature = "crash-points")]
    pub(super) fn holds(&self, text: &str) -> bool {
        let holds = |value: &Vec<u8>| value.windows(text.len()).any(|w| w == text.as_bytes());
        self.over.values().flatten().any(holds)
    }
    pub(super) fn into_batch(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (key, value) in self.over {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }
}

/// A row on disk.
pub(super) fn get<T: DeserializeOwned>(db: &sled::Db, path: &str, key: &[u8]) -> Result<Option<T>, StoreError> {
    match db.get(key).map_err(|e| unavailable(path, &e))? {
        Some(value) => decode(key, &value).map(Some),
        None => Ok(None),
    }
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value)
        .map_err(|e| StoreError::Row { key: key.escape_ascii().to_string(), why: e.to_string() })
}

pub(super) fn unavailable(path: &str, error: &sled::Error) -> StoreError {
    StoreError::Unavailable { path: path.to_owned(), why: error.to_string() }
}
