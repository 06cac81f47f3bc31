//! Backups: all rows of one moment, the operator's token and, if wanted, the jobs' logs, as one file.
//!
//! Not in it: the configuration and the keys, which are the operator's files, and the mirrors and clones, which are
//! made again. Must never hold up webhooks for longer than it takes to read some hundred rows.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::archive::{About, BackupError, PIECE, Writer};
use super::folder::{Folder, stamp, sync};
use super::migrate::FORMAT;
use super::{Store, keys, snapshot};

/// How many backups of its own the daemon keeps.
const KEPT: usize = 3;
/// How much they may take together, in bytes; the newest always stays.
const KEPT_BYTES: u64 = 1 << 30;
/// How old the newest may get.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whom rows are given to.
pub(super) type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), BackupError> + 'a;
/// What gives each row to whom it is given.
pub(super) type Rows<'a> = dyn FnOnce(&mut Each<'_>) -> Result<(), BackupError> + 'a;

impl Store {
    /// Writes a backup of this moment. Blocks for as long as `out` does.
    pub fn backup<W: Write>(&self, logs: bool, out: W) -> Result<W, BackupError> {
        let shared = &self.shared;
        write(&shared.folder, FORMAT, logs, out, Box::new(|each| snapshot::read(shared, |key, value| each(key, value))))
    }

    /// The daemon's own backup, at most one a day: rows and token, in the state folder, a few of them. Gives the file
    /// if one was made. Blocks.
    pub fn daily_backup(&self) -> Result<Option<PathBuf>, BackupError> {
        let folder = &self.shared.folder;
        let backups = folder.list_backups();
        // A clock that has gone back leaves some in the future: those say nothing about today.
        let is_recent = |path: &PathBuf| {
            let at = path.metadata().and_then(|meta| meta.modified());
            at.is_ok_and(|at| at.elapsed().unwrap_or_else(|ahead| ahead.duration()) < EVERY)
        };
        if backups.iter().any(is_recent) {
            return Ok(None);
        }
        let size = self.shared.table.load_full().map_or(0, |table| table.db.size_on_disk().unwrap_or(0));
        let free = nix::sys::statvfs::statvfs(&folder.store()).map(|fs| fs.blocks_available() * fs.fragment_size());
        if free.is_ok_and(|free| free < 2 * size) {
            let why = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(BackupError::disk("there is too little space for a backup in", &folder.backups(), &why));
        }
        let name = format!("daily-{}.airplanes", stamp(Timestamp::now()));
        let made = into_file(folder, &name, |out| self.backup(false, out))?;
        let mut bytes = 0;
        let daily = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("daily-"));
        for (n, old) in folder.list_backups().iter().filter(|path| daily(path)).enumerate() {
            bytes += old.metadata().map_or(0, |m| m.len());
            if n > 0 && (n >= KEPT || bytes > KEPT_BYTES) {
                std::fs::remove_file(old).map_err(|e| BackupError::disk("can't remove", old, &e))?;
            }
        }
        Ok(Some(made))
    }
}

/// A backup in the state folder: whole and on disk, or not there.
pub(super) fn into_file(
    folder: &Folder,
    name: &str,
    fill: impl FnOnce(BufWriter<File>) -> Result<BufWriter<File>, BackupError>,
) -> Result<PathBuf, BackupError> {
    let backups = folder.backups();
    let disk = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| BackupError::disk("can't write", &path, &e)
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&backups).map_err(disk(&backups))?;
    let (path, part) = (backups.join(name), backups.join("unfinished"));
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part);
    let filled = fill(BufWriter::new(file.map_err(disk(&part))?)).and_then(|out| {
        let file = out.into_inner().map_err(|e| disk(&part)(e.into_error()))?;
        file.sync_all().map_err(disk(&part))
    });
    if let Err(error) = filled {
        // What is left of it is in the way of nobody.
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    std::fs::rename(&part, &path).and_then(|()| sync(&backups)).map_err(disk(&path))?;
    Ok(path)
}

/// Writes a backup of rows of that format, with the state folder's token and logs.
pub(super) fn write<W: Write>(
    folder: &Folder,
    format: u32,
    logs: bool,
    out: W,
    rows: Box<Rows<'_>>,
) -> Result<W, BackupError> {
    let about = About { format, daemon: env!("CARGO_PKG_VERSION").to_owned(), at: Timestamp::now(), logs };
    let mut writer = Writer::begin(out, &about)?;
    rows(&mut |key, value| match key {
        // The one is said by the backup itself, the other is true of these files only.
        keys::VERSION | keys::MERGED => Ok(()),
        _ => writer.row(key, value),
    })?;
    match std::fs::read(folder.token()) {
        Ok(token) => writer.token(&token)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(BackupError::disk("can't read", &folder.token(), &error)),
    }
    if logs {
        each_log(&folder.logs(), &mut |name, path| copy_log(&mut writer, name, path))?;
    }
    writer.end()
}

/// Each log by its path in the folder of logs, in order.
fn each_log(root: &Path, each: &mut dyn FnMut(&str, &Path) -> Result<(), BackupError>) -> Result<(), BackupError> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        // A job that is forgotten meanwhile takes its folder with it.
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match std::fs::symlink_metadata(&path) {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                        each(name, &path)?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A log as long as it is now: it may grow meanwhile.
fn copy_log<W: Write>(writer: &mut Writer<W>, name: &str, path: &Path) -> Result<(), BackupError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::disk("can't read", path, &error)),
    };
    let disk = |e: std::io::Error| BackupError::disk("can't read", path, &e);
    let mut left = file.metadata().map_err(disk)?.len();
    let mut piece = Vec::new();
    loop {
        piece.clear();
        (&mut file).take(left.min(PIECE)).read_to_end(&mut piece).map_err(disk)?;
        writer.log(name, &piece)?;
        left = left.saturating_sub(piece.len() as u64);
        if left == 0 || piece.is_empty() {
            return Ok(());
        }
    }
}
