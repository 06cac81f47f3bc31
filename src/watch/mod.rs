//! Says when one of a set of files changed: config.edn, deploy.edn and what they include.
//!
//! The folders are watched, not the files: an editor that saves by renaming leaves a file's watch on the old inode.
//! Links are followed hop by hop and the folder of every hop is watched, so a swapped `..data` of Kubernetes or a
//! swapped folder is seen as well. An event only makes us look; a change is a file whose content is another, so
//! neither the reload's own reading nor a neighbour in the folder is one. Waiting for quiet is done here and not by
//! notify-debouncer-full, which says nothing of a file that was renamed into place and deleted within its time.
//!
//! Must never parse or interpret what it watches, and must never stop the daemon: where the system gives no watches,
//! it looks by the clock instead. [`FsSource`] is what `config` reads the files through.

mod source;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

pub use source::{FsSource, real};

/// A save is over when nothing has happened for so long …
const QUIET: Duration = Duration::from_millis(100);
/// … but in a folder that is never quiet we look after so long.
const AT_MOST: Duration = Duration::from_millis(500);
/// How often to look where folders can't be watched.
const BY_THE_CLOCK: Duration = Duration::from_secs(1);

/// Why watching could not begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system refused the thread.
    #[error("the thread that watches the configuration could not be started: {0}; is the limit of processes reached?")]
    Thread(#[from] io::Error),
}

/// Watches a set of files until it is dropped.
#[derive(Debug)]
pub struct Watch {
    orders: Sender<Wake>,
    signal: watch::Receiver<()>,
}

#[derive(Debug)]
enum Wake {
    /// Something happened in one of the folders.
    Event,
    /// These were removed or moved away; a watched folder among them is watched no more.
    Gone(Vec<PathBuf>),
    Set(BTreeSet<PathBuf>),
    Stop,
}

impl Watch {
    /// Begins to watch `paths`; as with [`Watch::set`], the first change is told at once.
    pub fn start(paths: Vec<PathBuf>) -> Result<Self, WatchError> {
        let (orders, wakes) = mpsc::channel();
        let (changed, signal) = watch::channel(());
        let events = orders.clone();
        std::thread::Builder::new().name("watch".into()).spawn(move || {
            let mut watcher = Folders::new(events);
            let mut files: BTreeMap<PathBuf, Print> = BTreeMap::new();
            while let Some(set) = wait(&wakes, &mut watcher) {
                if let Some(set) = set {
                    let mut known = std::mem::take(&mut files);
                    files.extend(set.into_iter().map(|path| (path.clone(), known.remove(&path).unwrap_or_default())));
                }
                if look(&mut files, &mut watcher) && changed.send(()).is_err() {
                    break;
                }
            }
        })?;
        let watch = Self { orders, signal };
        watch.set(paths);
        Ok(watch)
    }

    /// Replaces the set of files, which need not exist. A file that is new in the set counts as changed once, so that
    /// an edit between reading it and watching it is not lost.
    pub fn set(&self, paths: Vec<PathBuf>) {
        let paths = paths.into_iter().filter_map(|path| std::path::absolute(path).ok()).collect();
        // The thread ends only with us.
        let _ = self.orders.send(Wake::Set(paths));
    }

    /// Waits until one of the files has changed since the last call. Several changes are told once. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.signal.changed().await.is_err() {
            tracing::error!("the thread that watches the configuration has ended; edits are seen only after a restart");
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.orders.send(Wake::Stop);
    }
}

/// What a file held when it was last looked at; none if it never was.
type Print = Option<Result<u64, io::ErrorKind>>;

/// Waits for something to happen and then for quiet. Gives the new set if there is one; none when it is time to end.
fn wait(wakes: &Receiver<Wake>, folders: &mut Folders) -> Option<Option<BTreeSet<PathBuf>>> {
    let mut set = None;
    let mut next = if folders.blind() {
        wakes.recv_timeout(BY_THE_CLOCK)
    } else {
        wakes.recv().map_err(|_| RecvTimeoutError::Disconnected)
    };
    let begun = Instant::now();
    loop {
        match next {
            Ok(Wake::Event) => {}
            Ok(Wake::Gone(paths)) => folders.forget(&paths),
            Ok(Wake::Set(paths)) => set = Some(paths),
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => return Some(set),
        }
        let left = AT_MOST.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Some(set);
        }
        next = wakes.recv_timeout(QUIET.min(left));
    }
}

/// Whether a file is other than it was. The folders are watched before the files are read, so nothing falls between.
fn look(files: &mut BTreeMap<PathBuf, Print>, folders: &mut Folders) -> bool {
    folders.follow(files.keys());
    let mut changed = false;
    for (path, print) in files {
        let now = Some(print_of(path));
        if *print != now {
            tracing::debug!(path = %path.display(), "changed");
            *print = now;
            changed = true;
        }
    }
    changed
}

fn print_of(path: &Path) -> Result<u64, io::ErrorKind> {
    let read = || {
        // A pipe would hold us up for ever.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        std::fs::read(path)
    };
    let bytes = read().map_err(|e: io::Error| e.kind())?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok(hasher.finish())
}

/// The folders that are watched.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Those of `watched` for which the system gave no watch.
    refused: BTreeSet<PathBuf>,
}

impl Folders {
    fn new(events: Sender<Wake>) -> Self {
        let handler = move |event: notify::Result<notify::Event>| {
            let wake = match event {
                Ok(event) if event.kind.is_access() => return,
                Ok(event) => match event.kind {
                    EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                        Wake::Gone(event.paths)
                    }
                    _ => Wake::Event,
                },
                Err(_) => Wake::Event,
            };
            let _ = events.send(wake);
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|e| tracing::warn!(error = %e, "no file watches here; looking every second instead"))
            .ok();
        Self { watcher, watched: BTreeSet::new(), refused: BTreeSet::new() }
    }

    /// Whether changes can go by without an event.
    fn blind(&self) -> bool {
        self.watcher.is_none() || !self.refused.is_empty()
    }

    /// Makes the folders watched those that the files are in now.
    fn follow<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf> + Clone) {
        let Some(watcher) = &mut self.watcher else { return };
        // A folder can come into being while the one above it is being watched: look again until it is the same.
        for _ in 0..10 {
            let mut wanted = BTreeSet::new();
            files.clone().for_each(|file| folders_of(file, &mut wanted));
            if wanted == self.watched {
                return;
            }
            for folder in self.watched.difference(&wanted) {
                let _ = watcher.unwatch(folder);
            }
            self.refused.retain(|folder| wanted.contains(folder));
            for folder in wanted.difference(&self.watched) {
                if let Err(e) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    let shown = folder.display();
                    tracing::warn!(folder = %shown, error = %e, "can't be watched; looking every second instead");
                    self.refused.insert(folder.clone());
                }
            }
            self.watched = wanted;
        }
    }

    fn forget(&mut self, gone: &[PathBuf]) {
        for path in gone {
            if self.watched.remove(path)
                && let Some(watcher) = &mut self.watcher
            {
                let _ = watcher.unwatch(path);
            }
        }
    }
}

/// The real folders in which an event can change what `file` (absolute) holds: its own, and that of each link on the
/// way to it. Of a folder that is missing, the nearest one above that is there.
fn folders_of(file: &Path, folders: &mut BTreeSet<PathBuf>) {
    let parts = |path: &Path| -> Vec<OsString> { path.components().map(|c| c.as_os_str().to_owned()).collect() };
    let mut at = PathBuf::new();
    let mut ahead: VecDeque<OsString> = parts(file).into();
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        if part == "." {
            continue;
        }
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links < 40 => {
                links += 1;
                folders.insert(at.clone());
                for part in parts(&target).into_iter().rev() {
                    ahead.push_front(part);
                }
            }
            _ => at = next,
        }
    }
    at.pop();
    while !at.is_dir() && at.pop() {}
    folders.insert(at);
}
