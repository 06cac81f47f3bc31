//! How sled takes over what the log holds: a full layer's rows, then the number of the last frame that they are from,
//! then a flush and an fdatasync. Before that is done the log keeps the frames and readers the layer.
//!
//! Interrupted anywhere it is begun again from the log: the same rows again change nothing. Must never let go of a
//! layer that is not on disk in sled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::disk::{Disk, words};
use super::table::{Layer, Rows, Table};
use super::tx::unavailable;
use super::{StoreError, keys, unpoison};

/// How many rows sled is given at once.
const BATCH: usize = 256;
/// How many times as long as each batch took the next one waits: webhooks that come meanwhile have the processor.
const REST: u32 = 3;
/// But not longer, however slow the disk is.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// A merge on a thread of its own.
pub(super) struct Merge {
    thread: JoinHandle<Result<(), StoreError>>,
    hurry: Arc<AtomicBool>,
}

impl Merge {
    /// Begins to take over a layer whose rows are from the frames up to `last`.
    pub fn begin(disk: Arc<Disk>, table: Arc<Table>, layer: Layer, last: u64) -> Result<Self, StoreError> {
        let path = table.path.clone();
        let hurry = Arc::new(AtomicBool::new(false));
        let merge = {
            let hurry = hurry.clone();
            move || {
                let rows = unpoison(layer.read());
                merge_slowly(&disk, &table.db, &rows, last, &hurry)?;
                table.drop_layer(&layer);
                Ok(())
            }
        };
        let thread = std::thread::Builder::new().name("store-merging".into()).spawn(merge);
        let thread = thread.map_err(|e| StoreError::Unavailable { path, why: e.to_string() })?;
        Ok(Self { thread, hurry })
    }
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }
    /// It rests no more: somebody will have to wait for it.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }
    /// Waits for its end.
    pub fn end(self, path: &str) -> Result<(), StoreError> {
        self.hurry();
        let panicked = |panic: Box<dyn std::any::Any + Send>| StoreError::Unavailable {
            path: path.to_owned(),
            why: words(panic.as_ref()),
        };
        self.thread.join().unwrap_or_else(|panic| Err(panicked(panic)))
    }
}

/// Rows into sled, with the number of the last frame that they are from; on disk when this returns.
pub(super) fn merge(disk: &Disk, db: &sled::Db, rows: &Rows, last: u64) -> Result<(), StoreError> {
    merge_slowly(disk, db, rows, last, &AtomicBool::new(true))
}

fn merge_slowly(disk: &Disk, db: &sled::Db, rows: &Rows, last: u64, hurry: &AtomicBool) -> Result<(), StoreError> {
    let failed = |e: sled::Error| unavailable(&disk.path, &e);
    let mut batch = sled::Batch::default();
    let mut begun = Instant::now();
    for (n, (key, value)) in rows.iter().enumerate() {
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
        if n % BATCH == BATCH - 1 {
            db.apply_batch(std::mem::take(&mut batch)).map_err(failed)?;
            // sled writes over segments whose pages it has moved: these are on disk before it goes on.
            disk.sync(db)?;
            if !hurry.load(Ordering::Relaxed) {
                std::thread::sleep((begun.elapsed() * REST).min(LONGEST_REST));
            }
            begun = Instant::now();
        }
    }
    // Never before the rows: sled brings its writes to disk in their order.
    batch.insert(keys::MERGED, last.to_string().as_bytes());
    db.apply_batch(batch).map_err(failed)?;
    disk.sync(db)
}
