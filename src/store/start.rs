//! How a store comes to be open: what was interrupted is ended, an earlier format brought here, a file that has grown
//! by deletes made small again. All of it before anyone reads or writes.
//!
//! Must never touch a store that another process has, or one that a newer daemon wrote.

use std::sync::Arc;

use jiff::Timestamp;

use super::backup::{Each, into_file, write};
use super::disk::{Disk, opening};
use super::folder::{Folder, Instead, Lock, remove, stamp};
use super::merge::merge;
use super::migrate::FORMAT;
use super::rewrite::Builder;
use super::state::State;
use super::table::{Rows, Table};
use super::tx::unavailable;
use super::wal::{Logged, Wal, WalError};
use super::{StoreError, keys};

/// A store's file below this size is never made small, in bytes.
const SMALL: u64 = 64 << 20;
/// How many times the bytes of its rows a file may take. One that was just written takes less than two.
const LOOSE: u64 = 4;

/// A store that is open, and the right to it.
pub(super) struct Opened {
    pub lock: Lock,
    pub files: Files,
    pub state: State,
}

/// What it consists of: sled with its folder, and the log before it.
pub(super) struct Files {
    pub disk: Arc<Disk>,
    pub table: Arc<Table>,
    pub wal: Wal,
}

impl Files {
    /// Opens what is there, and brings what the log holds into sled.
    pub fn open(folder: &Folder) -> Result<Self, StoreError> {
        let (disk, db, _) = Disk::open(folder)?;
        let logged = take_over(folder, &disk, &db)?;
        Self::begin(folder, disk, db, &logged)
    }
    fn begin(folder: &Folder, disk: Disk, db: sled::Db, logged: &Logged) -> Result<Self, StoreError> {
        let wal = Wal::begin(&folder.store(), logged).map_err(|e| disk.refused(&e))?;
        // From now on it is known that there is a log.
        merge(&disk, &db, &Rows::new(), wal.last())?;
        let table = Arc::new(Table::new(&disk.path, db));
        Ok(Self { disk: Arc::new(disk), table, wal })
    }
}

/// Brings into sled what only the log holds.
fn take_over(folder: &Folder, disk: &Disk, db: &sled::Db) -> Result<Logged, StoreError> {
    let damaged = |why| StoreError::Damaged { path: disk.path.clone(), why, way_back: folder.way_back() };
    let merged = db.get(keys::MERGED).map_err(|e| unavailable(&disk.path, &e))?;
    let merged = merged.map(|bytes| std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()));
    let merged = merged.map(|number| number.ok_or_else(|| damaged("it does not say where its log goes on".to_owned())));
    let merged: u64 = merged.transpose()?.unwrap_or(0);
    let mut logged = Logged::read(&folder.store(), merged).map_err(|error| match error {
        WalError::Io(error) => StoreError::Denied { path: disk.path.clone(), why: error.to_string() },
        WalError::Damaged(why) => damaged(why),
    })?;
    let rows = std::mem::take(&mut logged.rows);
    // Frames without rows too: the file that they are not in is written over next.
    if logged.last > merged {
        merge(disk, db, &rows, logged.last)?;
        tracing::info!(rows = rows.len(), "sled has taken over what only the store's log held");
    }
    Ok(logged)
}

/// Opens the store of a state folder; makes it at first.
pub(super) fn open(folder: &Folder) -> Result<Opened, StoreError> {
    opening(folder, || open_whole(folder))
}

fn open_whole(folder: &Folder) -> Result<Opened, StoreError> {
    let path = folder.store().display().to_string();
    let denied = |e: std::io::Error| StoreError::Denied { path: path.clone(), why: e.to_string() };
    let lock = folder.lock().map_err(denied)?.ok_or_else(|| StoreError::Locked { path: path.clone() })?;
    folder.settle().map_err(denied)?;
    let is_new = std::fs::read_dir(folder.store()).map_or(true, |mut entries| entries.next().is_none());
    if is_new && folder.store().exists() && !folder.is_beginning() && folder.has_a_past() {
        // A mount that is not there, most likely. Who wants to begin anew moves the folder away.
        let why = "its folder is empty, and beside it are logs of jobs or backups".to_owned();
        return Err(StoreError::Damaged { path, why, way_back: folder.way_back() });
    }
    let (mut disk, mut db, format) = match if is_new { Ok(None) } else { Disk::open(folder).map(Some) } {
        Ok(Some(opened)) => opened,
        Ok(None) => begin(folder)?,
        // Killed when it was made: nobody was ever told that anything is in it.
        Err(StoreError::Damaged { .. }) if folder.is_beginning() => begin(folder)?,
        Err(error) => return Err(error),
    };
    folder.has_begun().map_err(denied)?;
    let mut logged = take_over(folder, &disk, &db)?;
    let migrates = format < FORMAT;
    if migrates {
        let name = format!("before-format-{FORMAT}-{}.airplanes", stamp(Timestamp::now()));
        let all = |each: &mut Each<'_>| each_row(&db, &path, each);
        let made = into_file(folder, &name, |out| write(folder, format, false, out, Box::new(all)));
        let made = made.map_err(|e| StoreError::NotMigrated { path: path.clone(), format, why: e.to_string() })?;
        tracing::info!(backup = %made.display(), "the store has format {format}, this daemon {FORMAT}: backed up, then brought here");
    }
    if migrates || has_grown(&disk, &db)? {
        let before = size(&db)?;
        let rewritten = rewrite(folder, &db, format, &path);
        drop(db);
        drop(disk);
        match rewritten {
            Ok(()) => {
                folder.replace(Instead::Rewritten).map_err(denied)?;
            }
            Err(error) if migrates => {
                return Err(StoreError::NotMigrated { path: path.clone(), format, why: error.to_string() });
            }
            // It only stays as large as it is, and needs the space that the other one took.
            Err(error) => {
                tracing::warn!(%error, "the store has grown by deletes and could not be made small");
                remove(&folder.building()).map_err(denied)?;
            }
        }
        (disk, db, _) = Disk::open(folder)?;
        logged = take_over(folder, &disk, &db)?;
        tracing::info!(before, after = size(&db)?, "the store is written anew");
    }
    let files = Files::begin(folder, disk, db, &logged)?;
    let state = State::load(&files.table)?;
    Ok(Opened { lock, files, state })
}

/// A new store, where there is none.
fn begin(folder: &Folder) -> Result<(Disk, sled::Db, u32), StoreError> {
    let store = folder.store();
    let denied = |e: std::io::Error| StoreError::Denied { path: store.display().to_string(), why: e.to_string() };
    folder.begins().map_err(denied)?;
    remove(&store).map_err(denied)?;
    let (disk, db) = Disk::create(&store)?;
    Ok((disk, db, FORMAT))
}

/// All rows into a new store beside.
fn rewrite(folder: &Folder, db: &sled::Db, format: u32, path: &str) -> Result<(), StoreError> {
    let mut builder = Builder::begin(folder, format)?;
    each_row(db, path, |key, value| builder.row(key, value))?;
    builder.end()?;
    Ok(())
}

/// Every row but those that are about the files.
fn each_row<E: From<StoreError>>(
    db: &sled::Db,
    path: &str,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for row in db.iter() {
        let (key, value) = row.map_err(|e| unavailable(path, &e))?;
        if ![keys::VERSION, keys::MERGED].contains(&key.as_ref()) {
            each(&key, &value)?;
        }
    }
    Ok(())
}

fn size(db: &sled::Db) -> Result<u64, StoreError> {
    db.size_on_disk().map_err(|e| unavailable("", &e))
}

/// Whether much of the file is of rows that are gone. sled never gives that back.
fn has_grown(disk: &Disk, db: &sled::Db) -> Result<bool, StoreError> {
    let size = size(db)?;
    if size < SMALL {
        return Ok(false);
    }
    let mut live = 0;
    each_row(db, &disk.path, |key, value| {
        live += (key.len() + value.len()) as u64;
        Ok::<(), StoreError>(())
    })?;
    Ok(size > LOOSE * live.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_that_break_off_before_sled_is_told_of_the_log_do_no_harm() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let mut files = open(&folder).unwrap().files;
        files.wal.append(std::iter::once((b"zz".as_slice(), Some(b"kept".as_slice())))).unwrap();
        drop(files);
        for _ in 0..5 {
            let (disk, db, _) = Disk::open(&folder).unwrap();
            let logged = take_over(&folder, &disk, &db).unwrap();
            drop(Wal::begin(&folder.store(), &logged).unwrap());
        }
        let files = Files::open(&folder).unwrap();
        assert_eq!(files.table.get(b"zz").unwrap().unwrap(), b"kept");
    }
}
