//! How sled takes over what the log holds: a full layer's rows, then the number of the last frame that they are from,
//! then a flush and an fdatasync. Before that is done the log keeps the frames and readers the layer.
//!
//! Interrupted anywhere it is begun again from the log: the same rows again change nothing. Must never let go of a
//! layer that is not on disk in sled.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::disk::{Disk, words};
use super::table::{Layer, Rows, Table};
use super::tx::unavailable;
use super::{StoreError, keys, unpoison};

/// How many rows sled is given at once.
const BATCH: usize = 512;

/// A merge on a thread of its own.
pub(super) struct Merge(JoinHandle<Result<(), StoreError>>);

impl Merge {
    /// Begins to take over a layer whose rows are from the frames up to `last`.
    pub fn begin(disk: Arc<Disk>, table: Arc<Table>, layer: Layer, last: u64) -> Result<Self, StoreError> {
        let path = table.path.clone();
        let merge = move || {
            let rows = unpoison(layer.read());
            merge(&disk, &table.db, &rows, last)?;
            table.drop_layer(&layer);
            Ok(())
        };
        let thread = std::thread::Builder::new().name("store-merging".into()).spawn(merge);
        thread.map(Self).map_err(|e| StoreError::Unavailable { path, why: e.to_string() })
    }
    pub fn is_done(&self) -> bool {
        self.0.is_finished()
    }
    /// Waits for its end.
    pub fn end(self, path: &str) -> Result<(), StoreError> {
        let panicked = |panic: Box<dyn std::any::Any + Send>| StoreError::Unavailable {
            path: path.to_owned(),
            why: words(panic.as_ref()),
        };
        self.0.join().unwrap_or_else(|panic| Err(panicked(panic)))
    }
}

/// Rows into sled, with the number of the last frame that they are from; on disk when this returns.
pub(super) fn merge(disk: &Disk, db: &sled::Db, rows: &Rows, last: u64) -> Result<(), StoreError> {
    let failed = |e: sled::Error| unavailable(&disk.path, &e);
    let mut batch = sled::Batch::default();
    for (n, (key, value)) in rows.iter().enumerate() {
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
        if n % BATCH == BATCH - 1 {
            db.apply_batch(std::mem::take(&mut batch)).map_err(failed)?;
        }
    }
    // Never before the rows: sled brings its writes to disk in their order.
    batch.insert(keys::MERGED, last.to_string().as_bytes());
    db.apply_batch(batch).map_err(failed)?;
    disk.sync(db)
}
