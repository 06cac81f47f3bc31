//! The one thread that writes. It takes what is waiting, applies it to its working state, commits it as one batch
//! with one sync, and only then tells the callers and the readers.
//!
//! When the disk refuses, every caller of that group is told so, and the store is opened again from what is on disk
//! (a full disk poisons sled's handle even after space is free).

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::sync::{broadcast, oneshot, watch};

use super::disk::{Disk, opening, words};
use super::folder::{Folder, Lock};
use super::forget::Forget;
use super::read::Fault;
use super::rows::AppIndex;
use super::snapshot::Snapshot;
use super::start::Opened;
use super::state::{Accepted, NewDelivery, PlanOutcome, State};
use super::telling::Telling;
use super::tx::{Tx, unavailable};
use super::{Shared, StoreError, crash, keys, start, unpoison};
use crate::model::{AppName, Draft, Entry, EventId, EventKind, JobId, JobState};

/// How often a store that the disk refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How many commands share one sync at the most.
const GROUP: usize = 1024;
/// How long a sync waits for the callers who shared the last one. A sync takes about as long.
const LINGER: Duration = Duration::from_micros(400);
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What a handle asks of the writer.
pub(super) enum Command {
    Accept(NewDelivery, Reply<Accepted>),
    Submit(EventKind, Reply<EventId>),
    Plan(EventId, Draft, Reply<PlanOutcome>),
    Append(JobId, Option<u64>, Vec<Entry>, Reply<Arc<JobState>>),
    ReleaseParked(JobId, Reply<()>),
    PutIndex(AppName, AppIndex, Reply<()>),
    Answer(Reply<()>),
    Forget(Forget, Reply<Vec<usize>>),
    Tell(Telling, Reply<Vec<u64>>),
}

/// Opens the store and starts the thread. It ends when the last handle is gone.
pub(super) fn start(folder: Folder) -> Result<(Arc<Shared>, Sender<Command>), StoreError> {
    let Opened { lock, disk, db, state } = start::open(&folder)?;
    let shared = Arc::new(Shared {
        path: disk.path.clone(),
        folder,
        snapshot: Snapshot::default(),
        db: ArcSwapOption::from_pointee(db),
        jobs: RwLock::new(state.jobs.clone()),
        unplanned: RwLock::new(state.unplanned.clone()),
        fault: RwLock::new(None),
        apps_print: AtomicU64::new(0),
        changes: broadcast::channel(4096).0,
        events: watch::channel(0).0,
    });
    let (queue, commands) = channel();
    let writer = Writer { disk: Some(disk), state, shared: shared.clone(), commands, last_group: 0, _lock: lock };
    std::thread::Builder::new()
        .name("store".into())
        .spawn(move || writer.run())
        .map_err(|e| StoreError::Unavailable { path: shared.path.clone(), why: e.to_string() })?;
    Ok((shared, queue))
}

struct Writer {
    /// None while the disk refuses.
    disk: Option<Disk>,
    state: State,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// How many commands shared the last sync.
    last_group: usize,
    /// No other process touches the store meanwhile.
    _lock: Lock,
}

impl Writer {
    fn run(mut self) {
        loop {
            let first = if self.disk.is_some() {
                match self.commands.recv() {
                    Ok(command) => Some(command),
                    Err(_) => return,
                }
            } else {
                match self.commands.recv_timeout(RETRY) {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            };
            self.reopen();
            let group = self.gather(first);
            // sled panics where it could say no. Callers whose answer is lost that way are told that nothing is sure.
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| self.commit(group))) {
                let why = words(panic.as_ref());
                tracing::error!(%why, "the store's writer panicked: it opens the store again");
                self.close(Timestamp::now(), &StoreError::Unavailable { path: self.shared.path.clone(), why });
            }
        }
    }

    /// The first command and what else is waiting. Callers who shared the last sync are mostly about to ask again: as
    /// many as they were are waited for a moment, since a sync costs more than that. A lone caller waits for nobody.
    fn gather(&mut self, first: Option<Command>) -> Vec<Command> {
        let mut group: Vec<Command> = first.into_iter().collect();
        let until = Instant::now() + LINGER;
        while group.len() < GROUP {
            let next = match self.commands.try_recv() {
                Err(TryRecvError::Empty) if group.len() < self.last_group => {
                    self.commands.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
                }
                next => next.ok(),
            };
            let Some(next) = next else { break };
            group.push(next);
        }
        self.last_group = group.len();
        group
    }

    fn commit(&mut self, group: Vec<Command>) {
        let now = Timestamp::now();
        let mut answers: Vec<Answerer> = Vec::with_capacity(group.len());
        let result = match (&self.disk, self.shared.db.load_full()) {
            (Some(disk), Some(db)) => {
                let mut tx = Tx::new(&db, &disk.path);
                self.state.apps_print = self.shared.apps_print.load(Ordering::Relaxed);
                for command in group {
                    answers.push(perform(&mut self.state, &mut tx, command, now));
                }
                write(disk, &db, tx, &self.shared.snapshot)
            }
            _ => {
                let why = unpoison(self.shared.fault.read()).as_ref().map(|f| f.why.clone()).unwrap_or_default();
                let error = StoreError::Unavailable { path: self.shared.path.clone(), why };
                group.into_iter().for_each(|command| refuse(command, &error));
                return;
            }
        };
        match &result {
            Ok(()) => self.publish(),
            Err(error) => {
                tracing::error!(%error, "the store refused a write");
                self.close(now, error);
            }
        }
        for answer in answers {
            answer(result.as_ref().err());
        }
    }

    /// After a failed write what is in memory is ahead of the disk: both are let go of.
    fn close(&mut self, now: Timestamp, error: &StoreError) {
        let why = match error {
            StoreError::Unavailable { why, .. } => why.clone(),
            other => other.to_string(),
        };
        let mut fault = unpoison(self.shared.fault.write());
        if fault.is_none() {
            *fault = Some(Fault { since: now, why });
        }
        self.disk = None;
        self.shared.snapshot.forget();
        self.shared.db.store(None);
        self.state = State::default();
    }

    /// Opens the store again after a failed write, and takes what is on disk for the truth.
    fn reopen(&mut self) {
        if self.disk.is_some() {
            return;
        }
        let folder = &self.shared.folder;
        let opened = opening(folder, || {
            let (disk, db, _) = Disk::open(folder)?;
            let state = State::load(&db, &disk.path)?;
            disk.probe(&db)?;
            Ok((state, disk, db))
        });
        match opened {
            Ok((state, disk, db)) => {
                *unpoison(self.shared.jobs.write()) = state.jobs.clone();
                *unpoison(self.shared.unplanned.write()) = state.unplanned.clone();
                *unpoison(self.shared.fault.write()) = None;
                self.state = state;
                self.disk = Some(disk);
                self.shared.db.store(Some(Arc::new(db)));
                self.shared.events.send_modify(|n| *n += 1);
                tracing::info!("the store takes writes again");
            }
            Err(error) => tracing::debug!(%error, "the store does not open yet"),
        }
    }

    /// Readers see from here on what is now on disk.
    fn publish(&mut self) {
        let told = std::mem::take(&mut self.state.told);
        if !told.changes.is_empty() || !told.released.is_empty() {
            let mut jobs = unpoison(self.shared.jobs.write());
            for change in &told.changes {
                match change.state.ended {
                    Some(_) => jobs.remove(&change.job),
                    None => jobs.insert(change.job, change.state.clone()),
                };
            }
            for job in &told.released {
                jobs.remove(job);
            }
        }
        if !told.accepted.is_empty() || !told.planned.is_empty() {
            let mut unplanned = unpoison(self.shared.unplanned.write());
            unplanned.extend(told.accepted.iter().map(|e| (e.id, e.clone())));
            for event in &told.planned {
                unplanned.remove(event);
            }
        }
        for change in told.changes {
            // An error means that no one listens, which is fine.
            let _ = self.shared.changes.send(change);
        }
        if !told.accepted.is_empty() {
            self.shared.events.send_modify(|n| *n += 1);
        }
    }
}

/// One batch, one sync. Nothing to write is fine.
fn write(disk: &Disk, db: &sled::Db, tx: Tx, snapshot: &Snapshot) -> Result<(), StoreError> {
    if let Some(fault) = tx.fault() {
        return Err(fault.clone());
    }
    if tx.is_empty() {
        return Ok(());
    }
    let here = crash::before(&tx);
    let _held = snapshot.keep(db, &tx, &disk.path)?;
    db.apply_batch(tx.into_batch()).map_err(|e| unavailable(&disk.path, &e))?;
    disk.sync(db)?;
    crash::after(here);
    Ok(())
}

/// Tells one caller, once the group's fate is known.
type Answerer = Box<dyn FnOnce(Option<&StoreError>)>;

fn answerer<T: 'static>(reply: Reply<T>, result: Result<T, StoreError>) -> Answerer {
    Box::new(move |failed| {
        let result = match failed {
            Some(error) => Err(error.clone()),
            None => result,
        };
        // A caller that went away needs no answer.
        let _ = reply.send(result);
    })
}

fn perform(state: &mut State, tx: &mut Tx, command: Command, now: Timestamp) -> Answerer {
    match command {
        Command::Accept(delivery, reply) => answerer(reply, state.accept(tx, delivery, now)),
        Command::Submit(what, reply) => answerer(reply, state.submit(tx, what, now)),
        Command::Plan(event, draft, reply) => answerer(reply, state.plan(tx, event, draft, now)),
        Command::Append(job, seen, entries, reply) => answerer(reply, state.append(tx, job, seen, entries, now)),
        Command::ReleaseParked(job, reply) => answerer(reply, state.release_parked(tx, job, now)),
        Command::PutIndex(app, index, reply) => answerer(reply, tx.put(keys::index(&app), &index)),
        Command::Answer(reply) => answerer(reply, Ok(())),
        Command::Forget(what, reply) => answerer(reply, state.forget(tx, what)),
        Command::Tell(telling, reply) => answerer(reply, state.tell(tx, telling, now)),
    }
}

fn refuse(command: Command, error: &StoreError) {
    match command {
        Command::Accept(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Submit(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Plan(_, _, reply) => drop(reply.send(Err(error.clone()))),
        Command::Append(_, _, _, reply) => drop(reply.send(Err(error.clone()))),
        Command::ReleaseParked(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::PutIndex(_, _, reply) | Command::Answer(reply) => drop(reply.send(Err(error.clone()))),
        Command::Forget(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Tell(_, reply) => drop(reply.send(Err(error.clone()))),
    }
}
