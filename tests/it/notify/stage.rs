//! Telling without a daemon around it: a store, a pipeline whose part the tests play, and a pace that tests can wait for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use airplanes::config::Loaded;
use airplanes::git::{GitConfig, Mirrors};
use airplanes::model::{AppName, Draft, Entry, EventKind, JobId, Outcome, Planned, Secret, Step, StepResult, Why};
use airplanes::notify::{Notify, Pace, Setup};
use airplanes::pipeline::{self, Pipeline, Rooms};
use airplanes::process::Leftovers;
use airplanes::runner::{Local, Runner};
use airplanes::ssh::{Hosts, Settings};
use airplanes::store::Store;
use airplanes::watch::FsSource;
use arc_swap::{ArcSwap, ArcSwapOption};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub struct Stage {
    pub folder: TempDir,
    pub store: Store,
    pub pipeline: Pipeline,
    pub config_fault: Arc<ArcSwapOption<String>>,
    pub notify: Notify,
    pub in_force: Arc<ArcSwap<Loaded>>,
    stop: CancellationToken,
}

/// Fast, so that tests need not wait.
pub fn pace() -> Pace {
    Pace {
        look: Duration::from_millis(50),
        standing: Duration::from_millis(200),
        hearing: Duration::ZERO,
        pauses: [Duration::from_millis(50), Duration::from_millis(200)],
        ..Pace::default()
    }
}

impl Stage {
    /// `config` is the content of config.edn without its braces; `folder` may hold a store already.
    pub async fn start(folder: TempDir, config: &str, pace: Pace) -> Self {
        // Another stage's tasks let go of it as they end.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let store = loop {
            match Store::open(folder.path()) {
                Ok(store) => break store,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let file = folder.path().join("config.edn");
        std::fs::write(&file, format!("{{:deploy {{:a {APP} :b {APP} :c {APP}}} {config}}}")).unwrap();
        let loaded = airplanes::config::load(&FsSource, &file).unwrap_or_else(|faults| panic!("{faults}"));
        let apps = loaded.apps.clone();
        let in_force = Arc::new(ArcSwap::from_pointee(loaded));
        let state: PathBuf = folder.path().to_owned();
        let setup = pipeline::Setup { state: state.clone(), rooms: rooms(&state, 0), apps, concurrency: 1 };
        let pipeline = Pipeline::start(store.clone(), setup);
        pipeline.end().await;
        let (config_fault, stop) = (Arc::default(), CancellationToken::new());
        let setup = Setup {
            store: store.clone(),
            pipeline: pipeline.clone(),
            in_force: in_force.clone(),
            config_fault: Arc::clone(&config_fault),
            token: Secret::new("operator-token", "a token of tests"),
            env: BTreeMap::new(),
            pace,
        };
        let notify = Notify::start(setup, &stop).unwrap();
        Self { folder, store, pipeline, config_fault, notify, in_force, stop }
    }

    /// Ends it as a shutdown does; what it kept is left.
    pub fn end(self) -> TempDir {
        let Self { folder, store, pipeline, notify, stop, .. } = self;
        stop.cancel();
        drop((store, pipeline, notify));
        folder
    }

    /// The disk has less than that.
    pub fn min_free(&self, bytes: u64) {
        self.pipeline.reconfigure(rooms(self.folder.path(), bytes), self.in_force.load().apps.clone());
    }

    /// An event with a job for each of these apps.
    pub async fn jobs(&self, apps: &[&str]) -> Vec<JobId> {
        let name = |name: &&str| AppName::new(*name).unwrap();
        let what = EventKind::Deploy { app: name(&apps[0]), by: "jane".into(), makes_up: false };
        let event = self.store.submit(what).await.unwrap();
        let loaded = self.in_force.load();
        let planned = |app: &&str| Planned {
            app: loaded.apps[&name(app)].clone(),
            why: Why::Asked { by: "jane".into() },
            wave: 0,
            after: vec![],
            targets: vec![],
            tags: vec![],
        };
        let draft = Draft { apps: apps.iter().map(planned).collect(), notes: vec![], ..Draft::default() };
        self.store.plan(event, draft).await.unwrap().created
    }

    /// A job fails in prepare.
    pub async fn fail(&self, job: JobId, error: &str) {
        let result = StepResult::Failed { error: error.to_owned(), exit_code: None, retry: false };
        let entries = vec![
            Entry::Started,
            Entry::StepStarted { step: Step::Prepare },
            Entry::StepFinished { step: Step::Prepare, result },
            Entry::Ended { outcome: Outcome::Failed, reason: format!("prepare: {error}") },
        ];
        self.store.append(job, entries).await.unwrap();
    }
    /// A job ends well.
    pub async fn recover(&self, job: JobId) {
        let reason = "there was nothing to do".to_owned();
        let entries = vec![Entry::Started, Entry::Ended { outcome: Outcome::Unchanged, reason }];
        self.store.append(job, entries).await.unwrap();
    }
}

const APP: &str = "{:git-url \"https://example.com/a.git\"}";

fn rooms(state: &std::path::Path, min_free: u64) -> Rooms {
    Rooms {
        min_free,
        git: Mirrors::new(GitConfig::new(state)).unwrap(),
        hosts: Hosts::new(Settings::default()).unwrap(),
        runner: Runner::Local(Local::new(Leftovers::new(state), [])),
        forges: Default::default(),
        http: airplanes::net::Http::new().unwrap(),
        url: None,
        secrets: Vec::new(),
        templates: Default::default(),
    }
}
