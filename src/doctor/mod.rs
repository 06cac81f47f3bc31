//! What works and what does not: everything that a deploy will need, tried without changing anything, and for what
//! fails the command that mends it.
//!
//! The truth is what the daemon's user can do, so the checks run in the daemon ([`Patient::of_daemon`]); where none
//! answers, the command line runs what can be told without one ([`Patient::without_daemon`]). One file a group of checks; each
//! gives [`Check`]s, in an order that does not depend on what was quicker.
//!
//! Must never change anything at a remote, on a host or in the store (mirrors are brought up to date, as a job would;
//! `hook test` makes deliveries, which is what it is for), print a secret, or wait for ever: every check has its time.

mod builds;
mod clock;
mod hook;
mod hosts;
mod machine;
mod ports;
mod repositories;
mod standing;
mod web;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::config::{Diagnostics, Loaded};
use crate::git::{GitConfig, GitError, Mirrors};
use crate::model::check::RefusalView;
use crate::model::{App, AppName, Check, RepoId, RepoUrl, Secret};
use crate::pipeline::{Pipeline, Rooms};
use crate::process::{Leftovers, Masker};
use crate::reconcile::Reconcile;
use crate::runner::{Local, Runner};
use crate::ssh;
use crate::store::Store;

pub use hook::test as test_hook;

/// How long one check may take.
const CHECK: Duration = Duration::from_secs(10);
/// How long the first fetch of an app may take, and how long a build's git may for all of its dependencies.
const FETCH: Duration = Duration::from_secs(20);
/// How long all of an app's dependencies may take.
const DEPENDENCIES: Duration = Duration::from_secs(60);
/// How many checks run at once.
const AT_ONCE: usize = 8;

/// Why there is no examination.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The folder for what checks try out can't be made.
    #[error("no temporary folder for the checks: {0}; make room in TMPDIR, or point it elsewhere")]
    Folder(#[from] std::io::Error),
    /// Git could not be set up.
    #[error(transparent)]
    Git(#[from] GitError),
    /// No HTTP client.
    #[error("no HTTP client could be made: {0}; see that the machine has its certificates (ca-certificates)")]
    Http(#[from] reqwest::Error),
}

/// What only a daemon that runs can tell.
pub struct Alive {
    /// Its store.
    pub store: Store,
    /// Where it listens; none if it is not known.
    pub address: Option<std::net::SocketAddr>,
    /// When it started.
    pub started_at: Timestamp,
    /// What is wrong with the last edit of the configuration.
    pub config_fault: Option<String>,
    /// What sets things in motion.
    pub pipeline: Pipeline,
    /// What looks at remotes.
    pub reconcile: Reconcile,
    /// The webhook calls that were refused, as of the moment it is called.
    pub refusals: Box<dyn Fn() -> Vec<RefusalView> + Send + Sync>,
}

/// Who is examined: the configuration, and the means of a job.
pub struct Patient {
    config: PathBuf,
    loaded: Arc<Loaded>,
    user: String,
    git: Mirrors,
    hosts: ssh::Settings,
    runner: Runner,
    secrets: Vec<Secret>,
    /// Where checks try things out: as a job's folder is.
    work: PathBuf,
    http: reqwest::Client,
    alive: Option<Alive>,
    /// When each repository's webhook last came; none if the store can't be read.
    heard: OnceCell<Option<HashMap<RepoId, Timestamp>>>,
    /// The libraries that some check has asked already.
    asked: Mutex<BTreeSet<RepoId>>,
    stop: CancellationToken,
    /// The state of a patient without a daemon.
    _scratch: Option<TempDir>,
}

impl Patient {
    /// The daemon itself, with the means of its jobs.
    pub fn of_daemon(config: &Path, loaded: Arc<Loaded>, rooms: &Rooms, alive: Alive) -> Result<Self, DoctorError> {
        let work = loaded.config.state.join("work");
        std::fs::create_dir_all(&work)?;
        let git = rooms.git.reconfigured(GitConfig { deadline: CHECK, ..rooms.git.config().clone() });
        let settings = rooms.hosts.settings().clone();
        Self::new(config, loaded, git, settings, rooms.runner.clone(), rooms.secrets.clone(), work, Some(alive), None)
    }

    /// What the present user can tell without a daemon: mirrors are made in a temporary folder.
    pub fn without_daemon(config: &Path, loaded: Loaded) -> Result<Self, DoctorError> {
        let scratch = tempfile::Builder::new().prefix("airplanes-doctor-").tempdir()?;
        let state = scratch.path();
        let git = Mirrors::new(GitConfig { deadline: CHECK, ..GitConfig::of(state, &loaded.config.git) })?;
        let settings = ssh::Settings {
            identity: loaded.config.ssh.identity.clone(),
            known_hosts: loaded.config.ssh.known_hosts.clone(),
            ..ssh::Settings::default()
        };
        let runner = Runner::Local(Local::new(Leftovers::new(state), std::env::vars_os()));
        let secrets = loaded.config.secrets().cloned().collect();
        let work = state.join("work");
        std::fs::create_dir_all(&work)?;
        Self::new(config, Arc::new(loaded), git, settings, runner, secrets, work, None, Some(scratch))
    }

    #[allow(clippy::too_many_arguments, reason = "private, and called twice")]
    fn new(
        config: &Path,
        loaded: Arc<Loaded>,
        git: Mirrors,
        hosts: ssh::Settings,
        runner: Runner,
        secrets: Vec<Secret>,
        work: PathBuf,
        alive: Option<Alive>,
        scratch: Option<TempDir>,
    ) -> Result<Self, DoctorError> {
        Ok(Self {
            config: config.to_owned(),
            loaded,
            user: user(),
            git,
            hosts: ssh::Settings { connect_timeout: CHECK, ..hosts },
            runner,
            secrets,
            work,
            http: web::client(false)?,
            alive,
            heard: OnceCell::new(),
            asked: Mutex::default(),
            stop: CancellationToken::new(),
            _scratch: scratch,
        })
    }

    /// The apps that are looked at.
    fn apps(&self, only: Option<&AppName>) -> Vec<App> {
        self.loaded.apps.values().filter(|app| only.is_none_or(|name| app.name == *name)).cloned().collect()
    }

    /// The url under which an app of deploy.edn names a repository: the one that keys and tokens are set up for.
    fn url_of(&self, repo: &RepoId) -> Option<RepoUrl> {
        self.loaded.apps.values().find(|app| app.repo() == *repo).map(|app| app.git_url.clone())
    }

    /// Whether nobody has asked this repository yet in this examination.
    fn first_to_ask(&self, repo: &RepoId) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(repo.clone())
    }

    /// What anyone may see of it: without the configuration's secrets.
    fn mask(&self, check: Check) -> Check {
        let mask = |text: String| {
            let mut masker = Masker::new(&self.secrets);
            let mut bytes = masker.push(text.as_bytes()).into_owned();
            bytes.extend(masker.finish());
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Check { detail: mask(check.detail), mend: check.mend.map(mask), ..check }
    }
}

/// A file that can't be loaded, as a check: nothing else can be told then.
pub fn unreadable(config: &Path, faults: &Diagnostics) -> Check {
    let first = faults.findings().next();
    let said = first.as_ref().map_or("it has faults", |finding| finding.message.as_str());
    // It may be about another file that this one names.
    let file = first.as_ref().and_then(|finding| finding.file.as_deref()).unwrap_or(config);
    let line = first.as_ref().and_then(|finding| finding.line).map(|line| format!(":{line}")).unwrap_or_default();
    Check::failed("machine", "configuration", format!("{}{line}: {said}", file.display()), mend_of(config))
}

/// What shows how to mend a config file that can't be loaded.
pub fn mend_of(config: &Path) -> String {
    match std::fs::File::open(config) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            format!("sudo airplanes doctor --config {}   (it is not for this user to read)", config.display())
        }
        _ => format!("airplanes check --config {}", config.display()),
    }
}

/// Runs every check, some at once, and gives them in order as they are done. Dropping the stream ends them.
pub fn examine(patient: Arc<Patient>, only: Option<AppName>) -> impl Stream<Item = Check> + Send {
    let apps = patient.apps(only.as_ref());
    let mut tasks: Vec<BoxFuture<'static, Vec<Check>>> = vec![
        Box::pin(std::future::ready(machine::checks(&patient))),
        task(&patient, ("machine", "clock"), CHECK, clock::check),
        task(&patient, ("web", "public url"), CHECK, web::public_url),
    ];
    tasks.push(task(&patient, ("web", "webhooks"), CHECK, web::refusals));
    let of = only.clone();
    tasks.push(task(&patient, ("holds", "holds"), CHECK, move |patient| standing::holds(patient, of)));
    let of = only.clone();
    tasks.push(task(&patient, ("git", "listings"), CHECK, move |patient| standing::unlisted(patient, of)));
    for app in &apps {
        tasks.push(repositories::of_app(&patient, app));
        tasks.push(web::last_seen(&patient, app));
    }
    tasks.extend(hosts::tasks(&patient, &apps, only.is_none()));
    for (index, app) in apps.iter().enumerate() {
        tasks.push(builds::of_app(&patient, app, index));
    }
    stream::iter(tasks).buffered(AT_ONCE).flat_map(stream::iter).map(move |check| patient.mask(check))
}

/// A check that does not take for ever. What takes longer than `limit` has failed by that alone.
fn task<F>(
    patient: &Arc<Patient>,
    (group, name): (&str, &str),
    limit: Duration,
    check: impl FnOnce(Arc<Patient>) -> F,
) -> BoxFuture<'static, Vec<Check>>
where
    F: Future<Output = Vec<Check>> + Send + 'static,
{
    let (group, name, work) = (group.to_owned(), name.to_owned(), check(patient.clone()));
    Box::pin(async move {
        match tokio::time::timeout(limit, work).await {
            Ok(checks) => checks,
            Err(_) => vec![too_slow(group, name, limit)],
        }
    })
}

fn too_slow(group: impl Into<String>, name: impl Into<String>, limit: Duration) -> Check {
    let said = format!("no answer within {} s", limit.as_secs());
    Check::failed(group, name, said, "see that what is asked here is up and reachable, then run this again")
}

/// Who this process runs as.
fn user() -> String {
    let uid = nix::unistd::Uid::effective();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
