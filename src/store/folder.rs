//! The store's place in the state folder, and how another store takes it: built beside, synced, and put in place by
//! renames that a start finishes if they were interrupted. A crash anywhere leaves one whole store.
//!
//! Must never remove a store before another is in its place.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// How many backups an error names.
const NAMED: usize = 3;

/// Where things are in a state folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    state: PathBuf,
}

/// Whose right it is to touch the store; ends with the process.
pub(super) struct Lock(#[allow(dead_code, reason = "held, not read")] Flock<File>);

/// Why a store that was built beside replaces the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instead {
    /// It has all that the other had, which is not kept.
    Rewritten,
    /// It comes from a backup: the other is kept aside.
    Restored,
}

impl Instead {
    const ALL: [Self; 2] = [Self::Rewritten, Self::Restored];

    /// The name of a store that is whole and only waits to be put in place.
    fn ready(self) -> &'static str {
        match self {
            Self::Rewritten => "store.rewritten",
            Self::Restored => "store.restored",
        }
    }
}

impl Folder {
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }
    /// sled's files and the log before it.
    pub fn store(&self) -> PathBuf {
        self.state.join("store")
    }
    /// Where another store is built.
    pub fn building(&self) -> PathBuf {
        self.state.join("store.building")
    }
    /// Where what comes from a backup is until it is whole.
    pub fn restoring(&self) -> PathBuf {
        self.state.join("restoring")
    }
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
    pub fn token(&self) -> PathBuf {
        self.state.join("operator-token")
    }
    /// What secrets are sealed with.
    pub fn secrets_key(&self) -> PathBuf {
        self.state.join("secrets.key")
    }
    pub fn backups(&self) -> PathBuf {
        self.state.join("backups")
    }
    /// A store that replaced another and was not removed yet.
    fn outdated(&self) -> PathBuf {
        self.state.join("store.outdated")
    }

    /// The right to touch the store; none if another process has it.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        std::fs::create_dir_all(&self.state)?;
        let file = File::options().create(true).truncate(false).write(true).open(self.state.join("store.lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Lock(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Notes that the first store is being made.
    pub fn begins(&self) -> io::Result<()> {
        File::create(self.beginning())?.sync_all()?;
        sync(&self.state)
    }
    /// Whether it was when the process was killed.
    pub fn is_beginning(&self) -> bool {
        self.beginning().exists()
    }
    /// It is made, on disk.
    pub fn has_begun(&self) -> io::Result<()> {
        match std::fs::remove_file(self.beginning()) {
            Ok(()) => sync(&self.state),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
    fn beginning(&self) -> PathBuf {
        self.state.join("store.beginning")
    }

    /// Puts what was built in place of what is there. From its first rename on it is as good as done: `settle` ends
    /// what is interrupted. Gives where the other store is kept.
    pub fn replace(&self, instead: Instead) -> io::Result<Option<PathBuf>> {
        sync_all(&self.building())?;
        let ready = self.state.join(instead.ready());
        remove(&ready)?;
        std::fs::rename(self.building(), &ready)?;
        sync(&self.state)?;
        self.finish(instead)
    }

    /// Ends what a killed process began, and removes what it left. At every start, before the store is opened.
    pub fn settle(&self) -> io::Result<()> {
        for instead in Instead::ALL {
            if self.state.join(instead.ready()).exists() {
                let aside = self.finish(instead)?;
                tracing::warn!(?instead, ?aside, "a store that had been built is put in place: that was interrupted");
            }
        }
        if self.store().exists() {
            remove(&self.outdated())?;
        }
        remove(&self.building())?;
        remove(&self.restoring())
    }

    fn finish(&self, instead: Instead) -> io::Result<Option<PathBuf>> {
        let mut aside = None;
        if self.store().exists() {
            let place = match instead {
                Instead::Rewritten => {
                    remove(&self.outdated())?;
                    self.outdated()
                }
                Instead::Restored => {
                    let place = self.state.join(format!("store.before-restore-{}", stamp(Timestamp::now())));
                    aside = Some(place.clone());
                    place
                }
            };
            std::fs::rename(self.store(), place)?;
        }
        std::fs::rename(self.state.join(instead.ready()), self.store())?;
        sync(&self.state)?;
        remove(&self.outdated())?;
        Ok(aside)
    }

    /// The backups that lie in the state folder, newest first.
    pub fn list_backups(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.backups()).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "airplanes"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        found.sort();
        found.into_iter().rev().map(|(_, path)| path).collect()
    }

    /// Whether there was a store here before: it leaves jobs' logs and backups.
    pub fn has_a_past(&self) -> bool {
        let has_some = |folder: PathBuf| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        has_some(self.logs()) || !self.list_backups().is_empty()
    }

    /// What an operator whose store is damaged can do.
    pub fn way_back(&self) -> String {
        let newest: Vec<String> =
            self.list_backups().iter().take(NAMED).map(|path| path.display().to_string()).collect();
        match newest.first() {
            None => format!(
                "There is no backup in {}; if you have one elsewhere, `airplanes restore FILE --state {} --replace` \
                 puts it in place and keeps the damaged store aside. Without one, move {} away: the daemon begins \
                 anew, and what was under way is forgotten",
                self.backups().display(),
                self.state.display(),
                self.store().display(),
            ),
            Some(first) => format!(
                "Restore the newest backup, with the daemon stopped: `airplanes restore {first} --state {} --replace` \
                 (the damaged store is kept aside; --dry-run says what would be done). Backups here: {}",
                self.state.display(),
                newest.join(", "),
            ),
        }
    }
}

/// A moment in a file's name: sorts by time.
pub(super) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Removes a folder, if it is there.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file or a folder's names, on disk when this returns.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A folder with all that is in it, on disk when this returns.
pub(super) fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync_all(&entry.path())? } else { sync(&entry.path())? }
    }
    sync(folder)
}
