//! A transaction in the making: what the commands of one group have written, over what is on disk.

use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// Writes that are not on disk yet; reads see them.
pub(super) struct Tx<'a> {
    db: &'a sled::Db,
    path: &'a str,
    over: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(db: &'a sled::Db, path: &'a str) -> Self {
        Self { db, path, over: HashMap::new() }
    }
    pub(super) fn is_empty(&self) -> bool {
        self.over.is_empty()
    }
    pub(super) fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        if let Some(value) = self.over.get(key) {
            return value.as_ref().map(|v| decode(key, v)).transpose();
        }
        get(self.db, self.path, key)
    }
    pub(super) fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|e| StoreError::Row { key: key.escape_ascii().to_string(), why: e.to_string() })?;
        self.over.insert(key, Some(bytes));
        Ok(())
    }
    pub(super) fn mark(&mut self, key: Vec<u8>) {
        self.over.insert(key, Some(Vec::new()));
    }
    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.over.insert(key, None);
    }
    pub(super) fn scan<T: DeserializeOwned>(&self, prefix: &[u8]) -> Result<Vec<T>, StoreError> {
        let mut rows = std::collections::BTreeMap::new();
        for row in self.db.scan_prefix(prefix) {
            let (key, value) = row.map_err(|e| unavailable(self.path, &e))?;
            rows.insert(key.to_vec(), value.to_vec());
        }
        for (key, value) in self.over.iter().filter(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        rows.iter().map(|(key, value)| decode(key, value)).collect()
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
