//! The one thread that writes. It takes what is waiting, applies it to its working state, commits it as one frame of
//! the log with one sync, and only then tells the callers and the readers.
//!
//! When the disk refuses, every caller of that group is told so, and the store is opened again from what is on disk
//! (a full disk poisons sled's handle even after space is free).

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::sync::{broadcast, oneshot, watch};

use super::deliveries::{Accepted, NewDelivery};
use super::disk::{opening, words};
use super::folder::{Folder, Lock};
use super::forget::Forget;
use super::holds::Release;
use super::merge::{Merge, merge};
use super::missed::MakeUp;
use super::observe::Sighting;
use super::open::OpenJobs;
use super::plans::PlanOutcome;
use super::read::Fault;
use super::rows::AppIndex;
use super::secrets::{self, Sealed};
use super::snapshot::Snapshot;
use super::start::{Files, Opened};
use super::state::State;
use super::statuses::Due;
use super::telling::Telling;
use super::tx::Tx;
use super::{Shared, StoreError, index, start, statuses, unpoison};
use crate::files::crash;
use crate::model::hold::{Hold, Released};
use crate::model::provenance::Locked;
use crate::model::{
    AppName, CredentialName, Draft, Entry, EventId, EventKind, JobId, JobState, ServerEntry, ServerId, ServerSpec,
    ServerState,
};

/// How often a store that the disk refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How many commands share one sync at the most.
const GROUP: usize = 1024;
/// How many times as long as it should be the log may get before sled takes over what is before it without a rest, and
/// before callers wait for that.
const PATIENCE: [u64; 2] = [2, 4];
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What a handle asks of the writer.
pub(super) enum Command {
    Accept(NewDelivery, Reply<Accepted>),
    Observe(Sighting, Reply<Vec<Option<EventId>>>),
    Submit(EventKind, Reply<EventId>),
    Plan(EventId, Draft, Reply<PlanOutcome>),
    Append(JobId, Option<u64>, Vec<Entry>, Reply<Arc<JobState>>),
    ReleaseParked(JobId, Reply<()>),
    PutIndex(AppName, AppIndex, Reply<()>),
    PutClosure(JobId, Vec<Locked>, Reply<()>),
    Hold(Box<Hold>, Reply<Hold>),
    Release(Release, Reply<Option<Released>>),
    MakeUp(MakeUp, Reply<Option<EventId>>),
    AskForServer(ServerSpec, String, Reply<Arc<ServerState>>),
    AppendToServer(ServerId, u64, Vec<ServerEntry>, Reply<Arc<ServerState>>),
    Answer(Reply<()>),
    Forget(Forget, Reply<Vec<usize>>),
    Tell(Telling, Reply<Vec<u64>>),
    Reported(Vec<Due>, Reply<()>),
    Secret(AppName, CredentialName, Option<Sealed>, Reply<bool>),
}

/// Opens the store and starts the thread. It ends when the last handle is gone.
pub(super) fn start(folder: Folder) -> Result<(Arc<Shared>, Sender<Command>), StoreError> {
    let Opened { lock, files, state } = start::open(&folder)?;
    let shared = Arc::new(Shared {
        path: files.disk.path.clone(),
        folder,
        snapshot: Snapshot::default(),
        table: ArcSwapOption::new(Some(files.table.clone())),
        jobs: RwLock::new(OpenJobs::new(state.jobs.clone())),
        unplanned: RwLock::new(state.unplanned.clone()),
        holds: ArcSwap::new(state.holds.clone()),
        servers: ArcSwap::new(state.servers.clone()),
        fault: RwLock::new(None),
        apps_print: AtomicU64::new(0),
        indexed: AtomicU64::new(0),
        statuses: AtomicBool::new(false),
        changes: broadcast::channel(4096).0,
        events: watch::channel(0).0,
    });
    let (queue, commands) = channel();
    let open = Some(Open { files, merge: None });
    let writer = Writer { open, state, shared: shared.clone(), commands, _lock: lock };
    std::thread::Builder::new()
        .name("store".into())
        .spawn(move || writer.run())
        .map_err(|e| StoreError::Unavailable { path: shared.path.clone(), why: e.to_string() })?;
    Ok((shared, queue))
}

struct Writer {
    /// None while the disk refuses.
    open: Option<Open>,
    state: State,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// No other process touches the store meanwhile.
    _lock: Lock,
}

/// The store's files while they take writes.
struct Open {
    files: Files,
    /// What sled is taking over.
    merge: Option<Merge>,
}

impl Open {
    /// One frame, one sync. Nothing to write is fine.
    fn write(&mut self, tx: Tx, snapshot: &Snapshot) -> Result<(), StoreError> {
        if let Some(fault) = tx.fault() {
            return Err(fault.clone());
        }
        if tx.is_empty() {
            return Ok(());
        }
        let Files { disk, table, wal } = &mut self.files;
        let here = crash::before(|what| tx.holds(what));
        let _held = snapshot.keep(&tx)?;
        wal.append(tx.written()).map_err(|e| disk.refused(&e))?;
        disk.is_there()?;
        table.show(tx.into_written());
        crash::after(here);
        Ok(())
    }
    /// Lets sled take over what a full log holds. What was written is on disk whatever this says.
    fn tidy(&mut self) -> Result<(), StoreError> {
        let Files { disk, table, wal } = &mut self.files;
        if let Some(merge) = self.merge.take_if(|merge| merge.is_done() || wal.fullness() >= PATIENCE[1]) {
            merge.end(&disk.path)?;
        }
        if let Some(merge) = self.merge.as_ref().filter(|_| wal.is_short() || wal.fullness() >= PATIENCE[0]) {
            merge.hurry();
        }
        if self.merge.is_none() && wal.fullness() > 0 {
            let last = wal.last();
            wal.turn().map_err(|e| disk.refused(&e))?;
            self.merge = Some(Merge::begin(disk.clone(), table.clone(), table.freeze(), last)?);
        }
        Ok(())
    }
    /// Leaves nothing to the log. What fails is taken over at the next start.
    fn end(mut self) {
        let Files { disk, table, wal } = &self.files;
        let merged = self.merge.take().map_or(Ok(()), |merge| merge.end(&disk.path));
        let layer = table.freeze();
        let rows = unpoison(layer.read());
        let merged = merged.and_then(|()| merge(disk, &table.db, &rows, wal.last()));
        if let Err(error) = merged {
            tracing::warn!(%error, "the store's log is taken over at the next start");
        }
    }
}

impl Writer {
    fn run(mut self) {
        while let Ok(first) = self.wait() {
            self.reopen();
            let group: Vec<Command> = first.into_iter().chain(self.commands.try_iter()).take(GROUP).collect();
            // sled panics where it could say no. Callers whose answer is lost that way are told that nothing is sure.
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| self.commit(group))) {
                let why = words(panic.as_ref());
                tracing::error!(%why, "the store's writer panicked: it opens the store again");
                self.close(Timestamp::now(), &StoreError::Unavailable { path: self.shared.path.clone(), why });
            }
        }
        if let Some(open) = self.open.take() {
            open.end();
        }
    }

    /// The next command; none once it is time to look whether the disk takes writes again. An error when the last
    /// handle is gone.
    fn wait(&self) -> Result<Option<Command>, RecvError> {
        if self.open.is_some() {
            return self.commands.recv().map(Some);
        }
        match self.commands.recv_timeout(RETRY) {
            Ok(command) => Ok(Some(command)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(RecvError),
        }
    }

    fn commit(&mut self, group: Vec<Command>) {
        let now = Timestamp::now();
        let Some(open) = &mut self.open else {
            let why = unpoison(self.shared.fault.read()).as_ref().map(|f| f.why.clone()).unwrap_or_default();
            let error = StoreError::Unavailable { path: self.shared.path.clone(), why };
            group.into_iter().for_each(|command| refuse(command, &error));
            return;
        };
        let table = open.files.table.clone();
        let mut tx = Tx::new(&table);
        self.state.apps_print = self.shared.apps_print.load(Ordering::Relaxed);
        self.state.statuses = self.shared.statuses.load(Ordering::Relaxed);
        let answers: Vec<Answerer> =
            group.into_iter().map(|command| perform(&mut self.state, &mut tx, command, now)).collect();
        let result = open.write(tx, &self.shared.snapshot);
        let tidied = result.as_ref().map_or(Ok(()), |()| open.tidy());
        if result.is_ok() {
            self.publish();
        }
        if let Err(error) = result.as_ref().and(tidied.as_ref()) {
            tracing::error!(%error, "the store refused a write");
            self.close(now, error);
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
        if let Some(merge) = self.open.take().and_then(|open| open.merge) {
            // It holds sled's files, which are to be opened again.
            merge.hurry();
        }
        self.shared.snapshot.forget();
        self.shared.table.store(None);
        self.state = State::default();
    }

    /// Opens the store again after a failed write, and takes what is on disk for the truth.
    fn reopen(&mut self) {
        if self.open.is_some() {
            return;
        }
        let folder = &self.shared.folder;
        let opened = opening(folder, || {
            let files = Files::open(folder)?;
            Ok((State::load(&files.table)?, files))
        });
        match opened {
            Ok((state, files)) => {
                *unpoison(self.shared.jobs.write()) = OpenJobs::new(state.jobs.clone());
                *unpoison(self.shared.unplanned.write()) = state.unplanned.clone();
                self.shared.holds.store(state.holds.clone());
                self.shared.servers.store(state.servers.clone());
                *unpoison(self.shared.fault.write()) = None;
                self.state = state;
                self.shared.table.store(Some(files.table.clone()));
                self.open = Some(Open { files, merge: None });
                self.shared.events.send_modify(|n| *n += 1);
                tracing::info!("the store takes writes again");
            }
            Err(error @ (StoreError::Damaged { .. } | StoreError::Newer { .. })) => self.is_lost(&error),
            Err(error) => tracing::debug!(%error, "the store does not open yet"),
        }
    }

    /// What time does not mend: said where callers and operators look, once in the log.
    fn is_lost(&self, error: &StoreError) {
        // A folder that was moved away may come back, and that is what was said.
        if !self.shared.folder.store().join("db").exists() {
            return;
        }
        let why = error.to_string();
        let mut fault = unpoison(self.shared.fault.write());
        let since = fault.as_ref().map_or_else(Timestamp::now, |fault| fault.since);
        if fault.as_ref().is_none_or(|fault| fault.why != why) {
            tracing::error!(%error, "the store does not open again");
        }
        *fault = Some(Fault { since, why });
    }

    /// Readers see from here on what is now on disk.
    fn publish(&mut self) {
        let told = std::mem::take(&mut self.state.told);
        if !told.changes.is_empty() || !told.released.is_empty() {
            let mut jobs = unpoison(self.shared.jobs.write());
            for change in &told.changes {
                match change.state.ended {
                    Some(_) => jobs.remove(change.job),
                    None => jobs.put(change.state.clone()),
                }
            }
            for job in &told.released {
                jobs.remove(*job);
            }
        }
        if !told.accepted.is_empty() || !told.planned.is_empty() {
            let mut unplanned = unpoison(self.shared.unplanned.write());
            unplanned.extend(told.accepted.iter().map(|e| (e.id, e.clone())));
            for event in &told.planned {
                unplanned.remove(event);
            }
        }
        if told.holds {
            self.shared.holds.store(self.state.holds.clone());
        }
        if told.servers {
            self.shared.servers.store(self.state.servers.clone());
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
        Command::Observe(sighting, reply) => answerer(reply, state.observe(tx, sighting, now)),
        Command::Submit(what, reply) => answerer(reply, state.submit(tx, what, now)),
        Command::Plan(event, draft, reply) => answerer(reply, state.plan(tx, event, draft, now)),
        Command::Append(job, seen, entries, reply) => answerer(reply, state.append(tx, job, seen, entries, now)),
        Command::ReleaseParked(job, reply) => answerer(reply, state.release_parked(tx, job, now)),
        Command::PutIndex(app, index, reply) => answerer(reply, index::put(tx, &app, index)),
        Command::PutClosure(job, closure, reply) => answerer(reply, state.put_closure(tx, job, &closure)),
        Command::Hold(hold, reply) => answerer(reply, state.put_hold(tx, *hold, now)),
        Command::Release(release, reply) => answerer(reply, state.release(tx, release, now)),
        Command::MakeUp(made, reply) => answerer(reply, state.make_up(tx, made, now)),
        Command::AskForServer(spec, by, reply) => answerer(reply, state.ask_for_server(tx, spec, by, now)),
        Command::AppendToServer(id, seen, entries, reply) => {
            answerer(reply, state.append_to_server(tx, id, seen, entries, now))
        }
        Command::Answer(reply) => answerer(reply, Ok(())),
        Command::Forget(what, reply) => answerer(reply, state.forget(tx, what)),
        Command::Tell(telling, reply) => answerer(reply, state.tell(tx, telling, now)),
        Command::Reported(done, reply) => answerer(reply, statuses::reported(tx, &done)),
        Command::Secret(app, name, sealed, reply) => answerer(reply, secrets::put(tx, &app, &name, sealed.as_ref())),
    }
}

fn refuse(command: Command, error: &StoreError) {
    match command {
        Command::Accept(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Observe(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Submit(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Plan(_, _, reply) => drop(reply.send(Err(error.clone()))),
        Command::Append(_, _, _, reply) => drop(reply.send(Err(error.clone()))),
        Command::ReleaseParked(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::PutIndex(_, _, reply) | Command::Answer(reply) => drop(reply.send(Err(error.clone()))),
        Command::PutClosure(_, _, reply) => drop(reply.send(Err(error.clone()))),
        Command::Hold(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Release(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::MakeUp(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::AskForServer(_, _, reply) | Command::AppendToServer(_, _, _, reply) => {
            drop(reply.send(Err(error.clone())));
        }
        Command::Forget(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Tell(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Reported(_, reply) => drop(reply.send(Err(error.clone()))),
        Command::Secret(_, _, _, reply) => drop(reply.send(Err(error.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &to.join(entry.file_name())),
                false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
            }
        }
    }

    #[test]
    fn a_log_that_turns_again_and_again_is_whole_wherever_it_ends() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(&place.path().join("state"));
        let mut files = start::open(&folder).unwrap().files;
        files.wal.fill_at(4 << 10);
        let mut open = Open { files, merge: None };
        let (snapshot, mut model, mut turns) = (Snapshot::default(), BTreeMap::new(), 0);
        for n in 0..400u32 {
            let table = open.files.table.clone();
            let mut tx = Tx::new(&table);
            let key = format!("zz{:03}", n * 7 % 90).into_bytes();
            match n % 5 {
                0 => tx.delete(key.clone()),
                _ => tx.put(key.clone(), &vec![n; 20]).unwrap(),
            }
            model.insert(key, (n % 5 != 0).then(|| serde_json::to_vec(&vec![n; 20]).unwrap()));
            open.write(tx, &snapshot).unwrap();
            let was_full = open.files.wal.fullness() > 0;
            open.tidy().unwrap();
            open.files.wal.fill_at(4 << 10);
            turns += u32::from(was_full && open.files.wal.fullness() == 0);
            if n % 23 != 0 {
                continue;
            }
            // Sled is at rest, so that the copy is of one moment; what it has of the log is another each time.
            while open.merge.as_ref().is_some_and(|merge| !merge.is_done()) {
                std::thread::yield_now();
            }
            let there = place.path().join(n.to_string());
            copy(&folder.store(), &there.join("store"));
            let again = Files::open(&Folder::new(&there)).unwrap();
            for (key, value) in &model {
                let found = again.table.get(key).unwrap().map(|value| value.to_vec());
                assert_eq!(found.as_ref(), value.as_ref(), "{} after {n} writes", String::from_utf8_lossy(key));
            }
            std::fs::remove_dir_all(there).unwrap();
        }
        assert!(turns > 5, "{turns}");
    }
}
