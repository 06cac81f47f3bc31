//! From accepted events to ended jobs: the planner's loop, one worker a job, and the steps.
//!
//! Every transition is appended to the store before and after its effect; whatever is found begun is looked at
//! before it is done again. A worker owns its job: leases are values that functions demand, and they end with it.
//! Must never keep a decision in memory that a restart would need.

mod artifacts;
mod away;
mod culprit;
mod defaults;
mod deps_index;
mod drift;
mod explain;
mod holds;
mod impact;
mod lease;
mod log;
mod looks;
mod mended;
mod merges;
mod missed;
mod named;
mod owed;
mod paths;
mod plan;
mod preview;
mod promotions;
mod provenance;
mod remotes;
mod requests;
mod rollbacks;
mod secrets;
mod slots;
mod space;
mod stands;
mod steps;
mod trial;
mod turn;
mod unread;
mod views;
mod waits;
mod windows;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{ByPrefix, ForgeApi, Templates};
use crate::git::Mirrors;
use crate::model::api::Submitted;
use crate::model::hold::Hold;
use crate::model::{
    App, AppName, Entry, EventId, EventKind, ImpactId, InvalidName, JobId, Lib, Outcome, PlanRow, RepoId, Secret,
};
use crate::net::Http;
use crate::planner::Graph;
use crate::runner::Runner;
use crate::ssh::Hosts;
use crate::store::{Store, StoreError};

pub use away::Away;
pub use culprit::LOGS as CULPRIT;
use lease::Leases;
pub use log::Logs;
pub use remotes::{Remote, StandsAt};
pub use rollbacks::Shown;
pub use stands::{Listed, Stand, Standing};

/// What the names begin with of folders beside the jobs' that somebody tries something out in, for some minutes.
pub const TRIALS: &str = "trial-";

/// What a caller of the pipeline can meet.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The name is not in deploy.edn.
    #[error("there is no app `{app}` in deploy.edn{}", hint(.near))]
    NoSuchApp {
        /// What was asked for.
        app: String,
        /// Names that are there.
        near: Vec<AppName>,
    },
    /// No job has that id.
    #[error("there is no job {0}; `airplanes jobs` lists them")]
    NoSuchJob(JobId),
    /// No event has that id.
    #[error("there is no event {0}, or none any more; `airplanes deliveries` lists them")]
    NoSuchEvent(EventId),
    /// Final is final.
    #[error("job {0} has ended already, as {outcome}", outcome = .1.as_str())]
    AlreadyEnded(JobId, Outcome),
    /// A repository that nothing knows.
    #[error(
        "`{0}` is neither an app of deploy.edn nor a repository's url or identity (github.com/acme/snow), nor a library \
         that an app has; `airplanes repos` lists the repositories, `airplanes apps` the apps"
    )]
    NoSuchRepo(String),
    /// Someone said that it stays where it is.
    #[error("{0}")]
    Held(Box<Hold>),
    /// What somebody was shown and wants is not what would be done now.
    #[error("nothing is done: {0}")]
    Changed(String),
    /// What makes no sense; the text says why.
    #[error("{0}")]
    Senseless(String),
    /// What has to be wanted knowingly; the text says why.
    #[error("{0}")]
    Unconfirmed(String),
    /// There is no such hold.
    #[error("{} is not held; `airplanes hold` lists what is", lib_of(.app, .lib))]
    NoSuchHold {
        /// The app.
        app: AppName,
        /// Its library.
        lib: Option<Lib>,
    },
    /// No mirror has a commit.
    #[error("no repository that apps live in or depend on has the commit {sha} ({asked}): is it pushed?")]
    NoSuchCommit {
        /// Its digits.
        sha: String,
        /// Which remotes were asked for it, in words.
        asked: String,
    },
    /// A question of who would break that is not known, or no longer.
    #[error("nothing is known of impact {0}: the daemon keeps the last ones only, and none over a restart; ask again")]
    NoSuchImpact(ImpactId),
    /// A commit whose git host we can't tell anything.
    #[error("a commit of {0} can get no status: its git host has no entry in :forges of config.edn")]
    NoApi(RepoId),
    /// Too many such questions.
    #[error("{0} questions of who would break wait for their answer already; ask again when one has it")]
    Busy(usize),
    /// The daemon is ending.
    #[error("the daemon is shutting down: ask again when it is back")]
    Ending,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

fn lib_of(app: &AppName, lib: &Option<Lib>) -> String {
    lib.as_ref().map_or_else(|| app.to_string(), |lib| format!("{lib} of {app}"))
}

fn hint(near: &[AppName]) -> String {
    match near {
        [] => String::new(),
        names => format!("; it has {}", names.iter().map(AppName::as_str).collect::<Vec<_>>().join(", ")),
    }
}

/// The adapters that jobs work with, as the configuration in force has them.
pub struct Rooms {
    /// Mirrors, clones and pushes.
    pub git: Mirrors,
    /// The hosts.
    pub hosts: Hosts,
    /// Where builds run.
    pub runner: Runner,
    /// The APIs of git hosts.
    pub forges: ByPrefix<ForgeApi>,
    /// What they are called with.
    pub http: Http,
    /// How people reach the daemon.
    pub url: Option<String>,
    /// What must never be seen in a log.
    pub secrets: Vec<Secret>,
    /// What is put on hosts is made from these, where there are.
    pub templates: Templates,
    /// Below so many free bytes no build begins.
    pub min_free: u64,
}

/// How the pipeline is set up.
pub struct Setup {
    /// The daemon's state directory.
    pub state: PathBuf,
    /// The adapters.
    pub rooms: Rooms,
    /// The apps of deploy.edn.
    pub apps: BTreeMap<AppName, App>,
    /// How many jobs may be before or in their build at once.
    pub concurrency: usize,
}

/// A handle on the pipeline; clones share it.
#[derive(Clone)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    state: PathBuf,
    /// Which daemon this is, to the hosts.
    identity: String,
    logs: Logs,
    rooms: ArcSwap<Rooms>,
    graph: RwLock<Graph>,
    /// Apps whose dependencies are not known, and why.
    unread: Mutex<unread::Unread>,
    /// Apps whose hosts may be owed something.
    owing: Mutex<BTreeSet<AppName>>,
    /// Held while a plan is made that may lack apps, and while it is made up for what one missed.
    lacking: tokio::sync::Mutex<()>,
    /// By git host: one that hangs takes no turn from the others.
    readers: Mutex<HashMap<String, Arc<Semaphore>>>,
    lookers: Semaphore,
    /// Repositories that could not be looked into, and when.
    unseen: Mutex<HashMap<RepoId, Instant>>,
    /// Ticks when an app has been read, or could not be.
    reads: watch::Sender<u64>,
    leases: Leases,
    slots: slots::Slots,
    /// How many of these there are.
    concurrency: usize,
    cancels: Mutex<HashMap<JobId, CancellationToken>>,
    /// What jobs wait for.
    waits: waits::Waits,
    impacts: impact::Impacts,
    /// What wakes the workers of jobs that wait for a merge.
    bells: Mutex<HashMap<JobId, Arc<Notify>>>,
    /// So many pull requests are looked at at once.
    askers: Semaphore,
    /// The remotes, as of when they were last asked for.
    remotes: Mutex<remotes::Kept>,
    /// Ticks when an event has been planned, or the apps have changed.
    ticks: watch::Sender<u64>,
    /// When all remotes were last asked for a commit that no mirror had, and what came of it.
    searched: tokio::sync::Mutex<Option<provenance::Searched>>,
    ending: CancellationToken,
    tasks: TaskTracker,
}

impl Pipeline {
    /// Ends what a killed daemon left, takes up the jobs that are open, and begins to plan events.
    pub fn start(store: Store, setup: Setup) -> Self {
        let logs = Logs::new(setup.state.join("logs"));
        let inner = Arc::new(Inner {
            store,
            identity: crate::host::lock::identity(&setup.state),
            state: setup.state,
            logs,
            rooms: ArcSwap::from_pointee(setup.rooms),
            graph: RwLock::default(),
            unread: Mutex::default(),
            owing: Mutex::default(),
            lacking: tokio::sync::Mutex::default(),
            readers: Mutex::default(),
            lookers: Semaphore::new(deps_index::LOOKERS),
            unseen: Mutex::default(),
            reads: watch::channel(0).0,
            leases: Leases::default(),
            slots: slots::Slots::new(setup.concurrency.max(1)),
            concurrency: setup.concurrency.max(1),
            cancels: Mutex::default(),
            waits: waits::Waits::default(),
            impacts: impact::Impacts::default(),
            bells: Mutex::default(),
            askers: Semaphore::new(requests::AT_ONCE),
            remotes: Mutex::default(),
            ticks: watch::channel(0).0,
            searched: tokio::sync::Mutex::default(),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        inner.set_apps(setup.apps);
        inner.sweep_work_folders();
        inner.doubt_missed();
        inner.start_reading();
        for job in inner.store.open_jobs() {
            inner.spawn_worker(job.id);
        }
        inner.own("the planner", |inner| inner.plan_events());
        inner.own("the holds' timer", |inner| inner.watch_holds());
        inner.own("what ends holds", |inner| inner.watch_what_came());
        inner.own("what plans missed", |inner| inner.watch_missed());
        inner.own("what was mended", |inner| inner.watch_mended());
        Self { inner }
    }

    /// A new configuration is in force. Jobs that have started go on with what they were planned with.
    pub fn reconfigure(&self, rooms: Rooms, apps: BTreeMap<AppName, App>) {
        self.inner.rooms.store(Arc::new(rooms));
        self.inner.set_apps(apps);
        self.inner.start_reading();
        self.inner.tick();
    }

    /// The adapters in force.
    pub fn rooms(&self) -> Arc<Rooms> {
        self.inner.rooms.load_full()
    }

    /// Takes no more work, ends builds (they are taken up again at the next start), lets what touches a remote or a
    /// host reach a boundary, and returns when nothing is under way.
    pub async fn end(&self) {
        self.inner.ending.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Deploys an app as its branch stands, with the bumps that are due. Returns once it is planned.
    pub async fn deploy(&self, app: &AppName, by: &str) -> Result<Submitted, PipelineError> {
        loop {
            if self.inner.ending.is_cancelled() {
                return Err(PipelineError::Ending);
            }
            if self.inner.app(app).is_none() {
                return Err(self.no_such_app(app));
            }
            if let Some(hold) = self.inner.stopped_by(app) {
                return Err(PipelineError::Held(Box::new(hold)));
            }
            let by = by.chars().take(100).collect();
            let what = EventKind::Deploy { app: app.clone(), by, makes_up: false };
            let event = self.inner.store.submit(what).await?;
            let row = self.planned(event).await?.into_iter().find(|row| row.app == *app);
            // It was held or taken away in between, and perhaps is not any more.
            let Some(row) = row else { continue };
            return self.inner.submitted(event, row.job);
        }
    }

    /// The plan of an accepted event, once it has one.
    pub async fn planned(&self, event: EventId) -> Result<Vec<PlanRow>, PipelineError> {
        let mut ticks = self.inner.ticks.subscribe();
        loop {
            if let Some((_, rows)) = self.inner.store.plan_of(event)? {
                return Ok(rows);
            }
            tokio::select! {
                _ = ticks.changed() => {}
                () = self.inner.ending.cancelled() => return Err(PipelineError::Ending),
            }
        }
    }

    /// Ends a job: before it starts at once, in a build by ending the build, after publish after the host in hand.
    pub async fn cancel(&self, id: JobId, by: &str) -> Result<(), PipelineError> {
        let job = self.inner.store.job(id)?.ok_or(PipelineError::NoSuchJob(id))?;
        if job.outcome() == Some(Outcome::Parked) {
            self.inner.store.release_parked(id).await?;
            self.inner.tick();
            return Ok(());
        }
        if let Some(outcome) = job.outcome() {
            return Err(PipelineError::AlreadyEnded(id, outcome));
        }
        if job.canceling.is_none() {
            let by = by.chars().take(100).collect();
            let canceled = self.inner.store.append(id, vec![Entry::Canceling { by }]).await;
            if let (Err(StoreError::NotOpen(_)), Some(job)) = (&canceled, self.inner.store.job(id)?)
                && let Some(outcome) = job.outcome()
            {
                return Err(PipelineError::AlreadyEnded(id, outcome));
            }
            canceled?;
        }
        if let Some(token) = unpoison(self.inner.cancels.lock()).get(&id) {
            token.cancel();
        }
        Ok(())
    }
}

impl Inner {
    fn app(&self, name: &AppName) -> Option<App> {
        unpoison(self.graph.read()).app(name).cloned()
    }
    /// Clones of jobs that ended as the daemon was killed, before they were removed.
    fn sweep_work_folders(&self) {
        let Ok(entries) = std::fs::read_dir(self.state.join("work")) else { return };
        let open: Vec<String> = self.store.open_jobs().iter().map(|job| job.id.to_string()).collect();
        for entry in entries.flatten() {
            let name = entry.file_name();
            if open.iter().any(|id| name == id.as_str()) {
                continue;
            }
            // A build may have put anything beside its clone.
            if let Err(error) = crate::process::remove(&entry.path()) {
                tracing::warn!(folder = %entry.path().display(), %error, "an ended job's clone could not be removed");
            }
        }
    }
    fn tick(&self) {
        self.ticks.send_modify(|n| *n += 1);
    }
    fn spawn_worker(self: &Arc<Self>, id: JobId) {
        let cancel = CancellationToken::new();
        let mut cancels = unpoison(self.cancels.lock());
        if cancels.contains_key(&id) {
            return;
        }
        cancels.insert(id, cancel.clone());
        self.own("a job's worker", move |inner| {
            let cancel = cancel.clone();
            async move {
                // It is open, and so no disk is asked.
                let app = inner.store.job(id).ok().flatten().map(|job| job.app.name.clone());
                inner.drive(id, cancel).await;
                app.inspect(|app| inner.may_owe(app));
                unpoison(inner.cancels.lock()).remove(&id);
            }
        });
    }

    /// Runs `work` to its end. After a panic it is begun again, since all that it needs stands in the store: nothing
    /// stays under way without an owner. A worker counts that as an interruption, of which a job bears only some.
    fn own<F>(self: &Arc<Self>, what: &'static str, work: impl Fn(Arc<Self>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = self.clone();
        self.tasks.spawn(async move {
            while let Err(error) = tokio::spawn(work(inner.clone())).await {
                tracing::error!(%error, "{what} panicked, which is a bug; it is begun again");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = inner.ending.cancelled() => return,
                }
            }
        });
    }
}

/// A lock whose holder panicked still holds whole data: nothing panics between two of its writes.
fn unpoison<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}
