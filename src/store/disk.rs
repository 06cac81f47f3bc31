//! sled's folder: how it is opened, and what is synced so that the next start finds it. sled itself never syncs to the
//! disk, and panics on some torn files.
//!
//! Must never make a new store where one was lost, or show a panic of sled's to anyone.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::migrate::FORMAT;
use super::tx::unavailable;
use super::{StoreError, keys};

/// sled's cache, in bytes: what keeps a scan of a million rows below 200 MB.
const CACHE: u64 = 32 << 20;

/// sled's segments, in bytes. A page of over a quarter of one goes into a file of its own, which sled does not sync:
/// no page of rows as long as `tx::LONGEST` is that long.
const SEGMENT: usize = 2 << 20;

/// How long sled's own lock is waited for. Who opens sled has the state folder's lock, so what holds it is on its way
/// out: a thread of sled's own that still ends, or a child that has not yet become another program.
const LET_GO: Duration = Duration::from_secs(2);

/// sled's folder, and its file for the fdatasync that sled itself does not do.
pub(super) struct Disk {
    pub path: String,
    /// Where `file` has to be found by the next start.
    name: PathBuf,
    file: File,
}

/// The thread that opens sled's files: a panic in it is an answer, which is told by who asked.
pub const OPENING: &str = "store-opening";

impl Disk {
    /// Opens a store that is there; gives the format of its rows too, which is not newer than ours.
    pub fn open(folder: &Folder) -> Result<(Self, sled::Db, u32), StoreError> {
        let store = folder.store();
        let path = store.display().to_string();
        let damaged = |why: String| StoreError::Damaged { path: path.clone(), why, way_back: folder.way_back() };
        // sled would make a new one, and all that this one held be forgotten.
        match std::fs::metadata(store.join("db")) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged("its file db is not there".to_owned()));
            }
            Err(error) => return Err(StoreError::Denied { path, why: error.to_string() }),
        }
        let db = open_sled(&store, damaged)?;
        let found = db.get(keys::VERSION).map_err(|e| unavailable(&path, &e))?;
        // It was the first row to be written.
        let found = found.ok_or_else(|| damaged("its beginning is lost".to_owned()))?;
        let found = std::str::from_utf8(&found).ok().and_then(|text| text.parse().ok());
        let found: u32 = found.ok_or_else(|| damaged("its format can't be read".to_owned()))?;
        if found > FORMAT {
            return Err(StoreError::Newer { path, found, known: FORMAT });
        }
        Ok((Self::new(&store, &db)?, db, found))
    }

    /// Makes a new store, where there is none.
    pub fn create(store: &Path) -> Result<(Self, sled::Db), StoreError> {
        let path = store.display().to_string();
        let db = open_sled(store, |why| StoreError::Unavailable { path: path.clone(), why })?;
        db.insert(keys::VERSION, FORMAT.to_string().as_bytes()).map_err(|e| unavailable(&path, &e))?;
        Ok((Self::new(store, &db)?, db))
    }

    fn new(folder: &Path, db: &sled::Db) -> Result<Self, StoreError> {
        let path = folder.display().to_string();
        let io = |e: std::io::Error| StoreError::Unavailable { path: path.clone(), why: e.to_string() };
        let name = folder.join("db");
        let file = File::open(&name).map_err(io)?;
        let disk = Self { path: path.clone(), name, file };
        disk.sync(db)?;
        // sled's settings, and the files' names too: a folder made a moment ago is not on disk before its parents are.
        let around = [folder.join("conf"), folder.join("blobs"), folder.to_owned()];
        for path in around.iter().map(PathBuf::as_path).chain(folder.ancestors().skip(1).take(2)) {
            // The parent of a relative path of one part is written "".
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            match File::open(path).and_then(|file| file.sync_all()) {
                // Not ours to read, so not made by us.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
                synced => synced.map_err(io)?,
            }
        }
        Ok(disk)
    }

    /// All that sled was given is on disk when this returns, and found there by the next start.
    pub fn sync(&self, db: &sled::Db) -> Result<(), StoreError> {
        db.flush().map_err(|e| unavailable(&self.path, &e))?;
        self.file.sync_data().map_err(|e| self.refused(&e))?;
        self.is_there()
    }
    /// Whether sled's file is where the next start looks for it.
    pub fn is_there(&self) -> Result<(), StoreError> {
        in_place(&self.file, &self.name).map_err(|e| self.refused(&e))
    }
    /// What the system refused.
    pub fn refused(&self, error: &std::io::Error) -> StoreError {
        StoreError::Unavailable { path: self.path.clone(), why: error.to_string() }
    }
}

/// A file that was deleted or moved away takes every write.
pub(super) fn in_place(file: &File, name: &Path) -> std::io::Result<()> {
    let ours = file.metadata()?;
    match std::fs::metadata(name) {
        Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(()),
        _ => {
            let name = name.file_name().unwrap_or_default().to_string_lossy();
            let why = format!("its file {name} was moved or deleted under the daemon; put the folder back");
            Err(std::io::Error::other(why))
        }
    }
}

/// sled panics over some damaged files, where it opens them and where it first reads them: on a thread of its own that
/// is an answer like another.
pub(super) fn opening<T: Send>(
    folder: &Folder,
    open: impl FnOnce() -> Result<T, StoreError> + Send,
) -> Result<T, StoreError> {
    let path = folder.store().display().to_string();
    let answer = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(OPENING.to_owned()).spawn_scoped(scope, open)?;
        Ok::<_, std::io::Error>(thread.join())
    });
    let why = match answer {
        Ok(Ok(Err(StoreError::Unavailable { why, .. }))) if why.contains("orrupt") => why,
        Ok(Ok(answer)) => return answer,
        Ok(Err(panic)) => words(panic.as_ref()),
        Err(error) => return Err(StoreError::Denied { path, why: error.to_string() }),
    };
    Err(StoreError::Damaged { path, why, way_back: folder.way_back() })
}

fn open_sled(store: &Path, refused: impl Fn(String) -> StoreError) -> Result<sled::Db, StoreError> {
    let path = store.display().to_string();
    remove_unfinished(store).map_err(|e| StoreError::Denied { path: path.clone(), why: e.to_string() })?;
    let config = sled::Config::new().path(store).cache_capacity(CACHE).segment_size(SEGMENT).flush_every_ms(None);
    let began = Instant::now();
    loop {
        return match config.open() {
            Ok(db) => Ok(db),
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") => {
                if began.elapsed() < LET_GO {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                Err(StoreError::Locked { path })
            }
            // The system's own refusal says nothing against what is in the files.
            Err(sled::Error::Io(e)) if e.raw_os_error().is_some() => {
                Err(StoreError::Denied { path, why: e.to_string() })
            }
            Err(error) => Err(refused(error.to_string())),
        };
    }
}

/// Removes what is left where sled was killed, or the disk was full, while it wrote down where its pages are. It would
/// take that for the newest such file, and find it torn; the last one that it finished is as good.
fn remove_unfinished(store: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(store).into_iter().flatten() {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// A panic's message.
pub(super) fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("sled panicked").to_owned()
}
