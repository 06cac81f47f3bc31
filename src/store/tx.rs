//! A transaction in the making: what the commands of one group have written, over what is on disk.

use std::cell::OnceCell;
use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sled::IVec;

use super::StoreError;
use super::load::load_job;
use super::table::{Row, Table};
use crate::model::{JobId, JobState};

/// Values are shorter than this, in bytes: sled puts what is longer, or a page of such, into files of their own that
/// it neither syncs nor always frees.
pub(super) const LONGEST: usize = 16 << 10;

/// Writes that are not on disk yet; reads see them.
pub(super) struct Tx<'a> {
    table: &'a Table,
    over: HashMap<Vec<u8>, Option<Vec<u8>>>,
    /// The first time the disk could not be read: then nothing of the group is written.
    fault: OnceCell<StoreError>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self { table, over: HashMap::new(), fault: OnceCell::new() }
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
        self.note(get(self.table, key))
    }
    /// Whether there is such a row.
    pub(super) fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        match self.over.get(key) {
            Some(value) => Ok(value.is_some()),
            None => self.note(self.table.has(key)),
        }
    }
    /// The rows under a prefix that were on disk before this group and have not been deleted in it.
    pub(super) fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, StoreError> {
        let mut rows: Vec<Row> = self.note(self.table.prefix(prefix).collect())?;
        rows.retain(|(key, _)| !matches!(self.over.get(key.as_ref()), Some(None)));
        Ok(rows)
    }
    /// The last key under a prefix, deletions of this group left aside.
    pub(super) fn newest(&self, prefix: &[u8]) -> Result<Option<IVec>, StoreError> {
        let last = self.note(self.table.prefix(prefix).next_back().transpose())?;
        Ok(last.map(|(key, _)| key))
    }
    /// The rows as the disk has them.
    pub(super) fn table(&self) -> &'a Table {
        self.table
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
        self.note(load_job(self.table, id))
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
    /// What it writes: none where a row is deleted.
    pub(super) fn written(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.over.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }
    /// The same, given away.
    pub(super) fn into_written(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.over.into_iter()
    }
}

/// A row on disk.
pub(super) fn get<T: DeserializeOwned>(table: &Table, key: &[u8]) -> Result<Option<T>, StoreError> {
    table.get(key)?.map(|value| decode(key, &value)).transpose()
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value)
        .map_err(|e| StoreError::Row { key: key.escape_ascii().to_string(), why: e.to_string() })
}

pub(super) fn unavailable(path: &str, error: &sled::Error) -> StoreError {
    StoreError::Unavailable { path: path.to_owned(), why: error.to_string() }
}
