//! A store made anew from rows: what a restore, a migration and a compaction have in common. It is built beside the
//! one that is there, and read as the daemon reads it before it may take that one's place.

use super::disk::Disk;
use super::folder::{Folder, remove};
use super::migrate::bring;
use super::state::State;
use super::table::Table;
use super::tx::unavailable;
use super::{StoreError, keys};

/// How many rows are written at once.
const BATCH: usize = 1024;

/// A store in the making.
pub(super) struct Builder {
    disk: Disk,
    db: sled::Db,
    batch: sled::Batch,
    waiting: usize,
    rows: u64,
    /// The format of the rows that it is given.
    from: u32,
}

impl Builder {
    pub fn begin(folder: &Folder, from: u32) -> Result<Self, StoreError> {
        let path = folder.building();
        let denied = |e: std::io::Error| StoreError::Denied { path: path.display().to_string(), why: e.to_string() };
        remove(&path).map_err(denied)?;
        let (disk, db) = Disk::create(&path)?;
        Ok(Self { disk, db, batch: sled::Batch::default(), waiting: 0, rows: 0, from })
    }

    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if key == keys::VERSION || key == keys::MERGED {
            return Ok(());
        }
        for (key, value) in bring(self.from, (key.to_vec(), value.to_vec()))? {
            self.batch.insert(key, value);
            self.waiting += 1;
        }
        self.rows += 1;
        if self.waiting >= BATCH { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.waiting = 0;
        let batch = std::mem::take(&mut self.batch);
        self.db.apply_batch(batch).map_err(|e| unavailable(&self.disk.path, &e))
    }

    /// On disk, and read back. Gives how many rows it was given.
    pub fn end(mut self) -> Result<u64, StoreError> {
        self.write()?;
        self.disk.sync(&self.db)?;
        State::load(&Table::new(&self.disk.path, self.db))?;
        Ok(self.rows)
    }
}
