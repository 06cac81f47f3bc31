//! A backup put back, while no daemon runs. The file is read to its end and checked before anything is touched; the
//! store is built beside and put in place by a rename.
//!
//! Must never remove a store, a log or a token that is there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};

use super::archive::{About, BackupError, Part, Reader};
use super::folder::{Folder, Instead, remove, sync_all};
use super::keys;
use super::migrate::FORMAT;
use super::rewrite::Builder;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// What it says of itself.
    pub about: About,
    /// How many rows it has.
    pub rows: u64,
    /// How many webhook calls.
    pub deliveries: u64,
    /// How many jobs that have ended.
    pub ended: u64,
    /// How many jobs that go on once it is restored.
    pub open: u64,
    /// How many logs.
    pub logs: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Whether the operator's token is in it.
    pub token: bool,
}

/// What a restore would do, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was in the backup.
    pub contents: Contents,
    /// The store's folder.
    pub store: PathBuf,
    /// Whether there was a store.
    pub had_store: bool,
    /// Where it is kept.
    pub aside: Option<PathBuf>,
    /// Whether the token that was there stays.
    pub keeps_token: bool,
}

/// Reads a backup to its end. What this gives is whole.
pub fn inspect(file: &Path) -> Result<Contents, BackupError> {
    let mut reader = open(file)?;
    let about = reader.about().clone();
    let mut found = Contents { about, rows: 0, deliveries: 0, ended: 0, open: 0, logs: 0, log_bytes: 0, token: false };
    while let Some(part) = reader.next()? {
        match part {
            Part::Row { key, .. } => {
                found.rows += 1;
                match key.first() {
                    Some(&keys::DELIVERY) => found.deliveries += 1,
                    Some(&keys::JOB) => found.ended += 1,
                    Some(&keys::OPEN_JOB) => found.open += 1,
                    _ => {}
                }
            }
            Part::Token(_) => found.token = true,
            Part::Log { name, piece } => {
                if !is_log_name(&name) {
                    return Err(reader.fault(format!("`{name}` is no log's name")));
                }
                found.log_bytes += piece.len() as u64;
            }
        }
    }
    found.logs = reader.logs();
    if found.about.format > FORMAT {
        let path = file.display().to_string();
        return Err(BackupError::Newer { path, found: found.about.format, known: FORMAT });
    }
    Ok(found)
}

/// Puts a backup into a state folder, or only says what that would do. With `replace`, a store that is there is kept
/// aside. Logs that are there and longer stay, and so does the token.
pub fn restore(file: &Path, state: &Path, replace: bool, dry: bool) -> Result<Restored, BackupError> {
    let contents = inspect(file)?;
    let folder = Folder::new(state);
    let store = folder.store();
    let path = || store.display().to_string();
    let had_store = std::fs::read_dir(&store).is_ok_and(|mut entries| entries.next().is_some());
    let _db = match File::open(store.join("db")).map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock)) {
        Ok(Err(_)) => return Err(BackupError::InUse { path: path() }),
        Ok(Ok(lock)) => Some(lock),
        Err(_) => None,
    };
    if had_store && !replace {
        return Err(BackupError::NotEmpty { path: path() });
    }
    let keeps_token = folder.token().exists();
    let mut restored = Restored { contents, store: store.clone(), had_store, aside: None, keeps_token };
    if dry {
        return Ok(restored);
    }
    let write = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| BackupError::disk("can't write", &path, &e)
    };
    make_folder(state).map_err(write(state))?;
    let lock = folder.lock().map_err(write(state))?;
    let Some(_lock) = lock else { return Err(BackupError::InUse { path: path() }) };
    folder.settle().map_err(write(state))?;
    let restoring = folder.restoring();
    unpack(file, &folder)?;
    own_as(state, &restoring).and_then(|()| own_as(state, &folder.building())).map_err(write(&restoring))?;
    own_one(state, &state.join("store.lock")).map_err(write(state))?;
    sync_all(&restoring).map_err(write(&restoring))?;
    let logs = folder.logs();
    let moved = File::open(state).and_then(|state| match logs.file_name() {
        Some(name) => move_logs(&restoring.join("logs"), &state, name),
        None => Ok(()),
    });
    moved.map_err(write(&logs))?;
    if !keeps_token && restoring.join("token").exists() {
        std::fs::rename(restoring.join("token"), folder.token()).map_err(write(&folder.token()))?;
    }
    restored.aside = folder.replace(Instead::Restored).map_err(write(&store))?;
    remove(&restoring).map_err(write(&restoring))?;
    Ok(restored)
}

fn open(file: &Path) -> Result<Reader<BufReader<File>>, BackupError> {
    let opened = File::open(file).map_err(|e| BackupError::disk("can't read", file, &e))?;
    Reader::begin(BufReader::with_capacity(256 << 10, opened), &file.display().to_string())
}

/// The backup's store, token and logs beside those that are there.
fn unpack(file: &Path, folder: &Folder) -> Result<(), BackupError> {
    let restoring = folder.restoring();
    let write = |e: std::io::Error| BackupError::disk("can't write", &restoring, &e);
    make_folder(&restoring.join("logs")).map_err(write)?;
    let mut reader = open(file)?;
    let mut builder = Builder::begin(folder, reader.about().format)?;
    let mut log: Option<(String, File)> = None;
    let new = |path: &Path| File::options().write(true).create_new(true).mode(0o600).open(path);
    while let Some(part) = reader.next()? {
        match part {
            Part::Row { key, value } => builder.row(&key, &value)?,
            Part::Token(token) => {
                new(&restoring.join("token")).and_then(|mut file| file.write_all(&token)).map_err(write)?;
            }
            Part::Log { name, piece } => {
                let mut file = match log.take() {
                    Some((open, file)) if open == name => file,
                    _ if !is_log_name(&name) => return Err(reader.fault(format!("`{name}` is no log's name"))),
                    _ => {
                        let path = restoring.join("logs").join(&name);
                        path.parent().map_or(Ok(()), make_folder).and_then(|()| new(&path)).map_err(write)?
                    }
                };
                file.write_all(&piece).map_err(write)?;
                log = Some((name, file));
            }
        }
    }
    builder.end()?;
    Ok(())
}

/// A relative path of plain names.
fn is_log_name(name: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    name.split('/').all(is_plain) && name.split('/').count() <= 4
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Moves what is in `from` to the folder `name` in `above`, which is made if it is not there, with all below it. A
/// longer file that is there stays. Nobody's links are followed: root restores in a folder of another user's.
fn move_logs(from: &Path, above: &File, name: &OsStr) -> std::io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || openat(above, name, flags, Mode::empty());
    let folder = match open() {
        Err(Errno::ENOENT) => {
            mkdirat(above, name, Mode::S_IRWXU)?;
            let (made, owner) = (File::from(open()?), above.metadata()?);
            if nix::unistd::geteuid().is_root() {
                std::os::unix::fs::fchown(&made, Some(owner.uid()), Some(owner.gid()))?;
            }
            made
        }
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            let why = format!("{} in it is no folder; a link is not followed: move it away", Path::new(name).display());
            return Err(std::io::Error::other(why));
        }
        other => File::from(other?),
    };
    for entry in std::fs::read_dir(from)? {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let is = std::fs::symlink_metadata(&entry)?;
        if is.is_dir() {
            move_logs(&entry, &folder, &name)?;
            continue;
        }
        let there = fstatat(&folder, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        let longer = |there: FileStat| {
            let is_file = SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
            is_file && u64::try_from(there.st_size).is_ok_and(|size| size >= is.len())
        };
        if !there.is_ok_and(longer) {
            renameat(AT_FDCWD, &entry, &folder, name.as_os_str())?;
        }
    }
    folder.sync_all()
}

/// Root restores for the daemon's user, whose state folder it is.
fn own_as(state: &Path, path: &Path) -> std::io::Result<()> {
    own_one(state, path)?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            own_as(state, &entry?.path())?;
        }
    }
    Ok(())
}

fn own_one(state: &Path, path: &Path) -> std::io::Result<()> {
    let (wanted, is) = (std::fs::metadata(state)?, std::fs::symlink_metadata(path)?);
    if (wanted.uid(), wanted.gid()) == (is.uid(), is.gid()) || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(wanted.uid()), Some(wanted.gid()))
}
