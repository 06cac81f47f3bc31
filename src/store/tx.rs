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

/// How much of a list goes into one row, in bytes.
const PIECE: usize = 12 << 10;

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
    /// Refuses what is too long for a row: who may have so much to say asks `fits` before anything is changed.
    pub(super) fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), StoreError> {
        let bytes = fits(&key, value)?;
        self.over.insert(key, Some(bytes));
        Ok(())
    }
    /// A row that its journal can give again. One too long for a row is left to the journal.
    pub(super) fn put_summary(&mut self, key: Vec<u8>, value: &JobState) -> Result<(), StoreError> {
        match fits(&key, value) {
            Ok(bytes) => {
                self.over.insert(key, Some(bytes));
                Ok(())
            }
            Err(_) => self.put(key, &"see its journal"),
        }
    }
    pub(super) fn mark(&mut self, key: Vec<u8>) {
        self.over.insert(key, Some(Vec::new()));
    }
    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.over.insert(key, None);
    }
    /// Whether a value that is written holds this text.
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

/// A value as it is written, if it is not too long for a row.
pub(super) fn fits<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, StoreError> {
    let bad = |why: String| StoreError::Row { key: key.escape_ascii().to_string(), why };
    let bytes = serde_json::to_vec(value).map_err(|e| bad(e.to_string()))?;
    match bytes.len() {
        0..=LONGEST => Ok(bytes),
        long => Err(bad(format!("{long} bytes are too long for a row, which holds {LONGEST}"))),
    }
}

/// A list in pieces that each fit into a row, with room for what stands beside them; at least one.
pub(super) fn pieces<T: Serialize>(items: &[T]) -> Vec<&[T]> {
    let (mut pieces, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, item) in items.iter().enumerate() {
        // What has no JSON is refused where it is written.
        let long = serde_json::to_vec(item).map_or(0, |item| item.len() + 1);
        if bytes + long > PIECE && at > from {
            pieces.push(&items[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += long;
    }
    pieces.push(&items[from..]);
    pieces
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
