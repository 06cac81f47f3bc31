//! The store: what is accepted, planned and done, on disk before anyone is told.
//!
//! One sled tree with prefixed keys, and a log of writes before it (`wal`). All writes go through one thread
//! (`writer`), which groups what is waiting into one frame of the log and one fdatasync, and answers only then; sled
//! takes them over later (`merge`). Readers see both as one (`table`): what is on disk, never what is about to be.
//! Values stay under 16 KB (sled leaks larger ones); logs are plain files elsewhere.
//!
//! Must never: answer before the data is synced, hold state that a reload would not give again, or let an entry in
//! that the fold refuses.

mod archive;
mod backup;
mod closures;
mod deliveries;
mod disk;
mod folder;
mod forget;
mod goods;
mod holds;
mod index;
mod keys;
mod load;
mod merge;
mod migrate;
mod missed;
mod observe;
mod open;
mod plans;
mod read;
mod restore;
mod rewrite;
mod rows;
mod secrets;
mod servers;
mod snapshot;
mod start;
mod state;
mod statuses;
mod table;
mod tag_events;
mod telling;
mod tx;
mod wal;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{broadcast, oneshot};

pub use archive::{About, BackupError};
pub use deliveries::{Accepted, NewDelivery};
pub use disk::OPENING;
pub use forget::{Forget, Old, Retention};
pub use holds::{HoldKey, Holds, Release};
pub use missed::{MakeUp, Missed};
pub use observe::{SeenTags, Sighting};
pub use plans::PlanOutcome;
pub use read::{Fault, JobFilter};
pub use restore::{Contents, Restored, inspect, restore};
pub use rows::{AppIndex, DepRow, EventRow, EventState, LastGood, LastSeen, OwnCommit, Past};
pub use secrets::{LONGEST_SECRET, SecretHead};
pub use servers::Servers;
pub use statuses::{Due, is_told};
pub use telling::Telling;

use crate::model::server::ServerFault;
use crate::model::{
    AppName, Draft, Entry, Event, EventId, EventKind, FoldError, InvalidName, JobId, JobState, Record, ServerId,
};

/// What can go wrong with the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk does not take it. Nothing was acknowledged.
    #[error(
        "the store in {path} can't be written: {why}. Nothing was accepted; free space or mend the disk, the daemon tries again by itself"
    )]
    Unavailable {
        /// The store's folder.
        path: String,
        /// The system's words.
        why: String,
    },
    /// Another process has it open.
    #[error("the store in {path} is in use by another process: is a daemon running already?")]
    Locked {
        /// The store's folder.
        path: String,
    },
    /// It can't be opened.
    #[error("the store in {path} is damaged: {why}. Nothing was changed. {way_back}")]
    Damaged {
        /// The store's folder.
        path: String,
        /// What sled said.
        why: String,
        /// What the operator can do.
        way_back: String,
    },
    /// The system does not let us open it.
    #[error(
        "the store in {path} can't be opened: {why}; see that the daemon's user may write it and that there is space"
    )]
    Denied {
        /// The store's folder.
        path: String,
        /// The system's words.
        why: String,
    },
    /// A newer daemon wrote it.
    #[error("the store in {path} has format {found}, and this daemon knows {known}: run the newer daemon")]
    Newer {
        /// The store's folder.
        path: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An older daemon wrote it, and it could not be brought to this one's format.
    #[error(
        "the store in {path} has format {format} and could not be brought to this daemon's: {why}. It is as it was, and the daemon that wrote it can go on with it"
    )]
    NotMigrated {
        /// The store's folder.
        path: String,
        /// Its format.
        format: u32,
        /// Why.
        why: String,
    },
    /// A row can't be read.
    #[error("a row of the store can't be read ({key}): {why}")]
    Row {
        /// Its key, escaped.
        key: String,
        /// Why.
        why: String,
    },
    /// The fold refuses an entry: the caller is wrong.
    #[error("job {job}: {why}")]
    Fold {
        /// The job.
        job: JobId,
        /// The rule.
        why: FoldError,
    },
    /// The job has changed since the caller looked.
    #[error("job {0} has changed meanwhile")]
    Moved(JobId),
    /// No job has that id, or it has ended.
    #[error("job {0} is not under way")]
    NotOpen(JobId),
    /// The fold of a server refuses an entry, or its journal can't be read.
    #[error("server {server}: {why}")]
    Server {
        /// The server.
        server: ServerId,
        /// The rule.
        why: ServerFault,
    },
    /// The server has changed since the caller looked.
    #[error("server {0} has changed meanwhile")]
    ServerMoved(ServerId),
    /// No event has that id, or it has a plan.
    #[error("event {0} is not waiting for a plan")]
    NotWaiting(EventId),
    /// A secret can't be sealed, or not opened.
    #[error("the secrets of apps: {why}")]
    Sealing {
        /// Why, and what to do next.
        why: String,
    },
    /// A name in a row is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The writer is gone: the daemon is ending.
    #[error("the store is closed")]
    Closed,
}

/// A job's newest entry, told to whoever listens once it is on disk.
#[derive(Debug, Clone)]
pub struct Change {
    /// The job.
    pub job: JobId,
    /// The entry's place in its journal, from 1.
    pub seq: u64,
    /// The entry.
    pub record: Arc<Record>,
    /// The job after it.
    pub state: Arc<JobState>,
}

/// What readers share with the writer: always what is on disk.
struct Shared {
    path: String,
    folder: folder::Folder,
    snapshot: snapshot::Snapshot,
    /// None while the disk refuses.
    table: ArcSwapOption<table::Table>,
    jobs: RwLock<open::OpenJobs>,
    unplanned: RwLock<BTreeMap<EventId, Event>>,
    holds: ArcSwap<Holds>,
    servers: ArcSwap<Servers>,
    fault: RwLock<Option<Fault>>,
    apps_print: AtomicU64,
    /// How many indexes of apps were put.
    indexed: AtomicU64,
    statuses: AtomicBool,
    changes: broadcast::Sender<Change>,
    events: tokio::sync::watch::Sender<u64>,
}

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    queue: std::sync::mpsc::Sender<writer::Command>,
}

impl Store {
    /// Opens or makes the store in the state folder, reads what is open, and starts the writer. Blocks.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        let (shared, queue) = writer::start(folder::Folder::new(state))?;
        Ok(Self { shared, queue })
    }

    /// A webhook call, on disk when this returns.
    pub async fn accept(&self, delivery: NewDelivery) -> Result<Accepted, StoreError> {
        self.ask(|reply| writer::Command::Accept(delivery, reply)).await
    }
    /// What a listing of a remote found. On disk when this returns: the event of each push that nobody had told of, in
    /// their order, then of each tag.
    pub async fn observe(&self, sighting: Sighting) -> Result<Vec<Option<EventId>>, StoreError> {
        self.ask(|reply| writer::Command::Observe(sighting, reply)).await
    }
    /// An event that no webhook brought, on disk when this returns.
    pub async fn submit(&self, what: EventKind) -> Result<EventId, StoreError> {
        self.ask(|reply| writer::Command::Submit(what, reply)).await
    }
    /// Stores an event's plan with its jobs and joins, all or nothing.
    pub async fn plan(&self, event: EventId, draft: Draft) -> Result<PlanOutcome, StoreError> {
        self.ask(|reply| writer::Command::Plan(event, draft, reply)).await
    }
    /// Appends to a job's journal, all or nothing, and returns the job after it. The only way a job changes.
    pub async fn append(&self, job: JobId, entries: Vec<Entry>) -> Result<Arc<JobState>, StoreError> {
        self.ask(|reply| writer::Command::Append(job, None, entries, reply)).await
    }
    /// As `append`, but only if the job is still as the caller saw it and, where it is to start, not held since; `Moved`
    /// if not.
    pub async fn append_to(&self, seen: &JobState, entries: Vec<Entry>) -> Result<Arc<JobState>, StoreError> {
        self.ask(|reply| writer::Command::Append(seen.id, Some(seen.seq), entries, reply)).await
    }
    /// Lets go of a job whose journal can't be read, so that its app can go on.
    pub async fn release_parked(&self, job: JobId) -> Result<(), StoreError> {
        self.ask(|reply| writer::Command::ReleaseParked(job, reply)).await
    }
    /// Keeps what is known of an app's dependencies.
    pub fn put_index(&self, app: AppName, index: AppIndex) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let put = self.ask(|reply| writer::Command::PutIndex(app, index, reply));
        let shared = self.shared.clone();
        async move {
            let put = put.await;
            shared.indexed.fetch_add(1, Ordering::Release);
            put
        }
    }
    /// How often what is known of apps has been another: of the ones in force, and of what they depend on.
    pub fn known_since(&self) -> (u64, u64) {
        (self.shared.apps_print.load(Ordering::Acquire), self.shared.indexed.load(Ordering::Acquire))
    }
    /// Returns once the writer has answered, be it that the disk refuses. It is asked nothing, and writes nothing.
    pub async fn answers(&self) -> Result<(), StoreError> {
        match self.ask(writer::Command::Answer).await {
            Err(StoreError::Closed) => Err(StoreError::Closed),
            _ => Ok(()),
        }
    }
    /// The apps in force, as a print that changes with them: a push that concerned nobody may concern someone then.
    pub fn know_apps(&self, print: u64) {
        self.shared.apps_print.store(print, Ordering::Release);
    }
    /// Job entries from now on, each after it is on disk. A receiver that lags must look at the store again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }
    /// Ticks when an event is accepted.
    pub fn events(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.events.subscribe()
    }

    /// The question is in the queue when this returns, not only once it is awaited.
    fn ask<T, C: FnOnce(oneshot::Sender<Result<T, StoreError>>) -> writer::Command>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<T, StoreError>> + use<T, C> {
        let (reply, answer) = oneshot::channel();
        let sent = self.queue.send(command(reply)).map_err(|_| StoreError::Closed);
        let shared = self.shared.clone();
        async move {
            sent?;
            // The writer dropped the question: it broke off in the middle of it, and opens the store again.
            answer.await.unwrap_or_else(|_| {
                let why = "the write was broken off".to_owned();
                Err(StoreError::Unavailable { path: shared.path.clone(), why })
            })
        }
    }
}

/// A lock whose holder panicked still holds good data: each change is one insert.
fn unpoison<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}
