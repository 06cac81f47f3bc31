//! The composition root: opens the store, sweeps what a killed daemon left, starts the pipeline and the HTTP door,
//! watches the configuration, and ends all of it in order.
//!
//! Nothing is decided here. What is in force is swapped whole: a bad edit changes nothing.

mod backups;
mod cells;
pub mod journal;
mod reload;
mod service;
mod token;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Diagnostics, Loaded};
use crate::files;
use crate::http::{self, Door};
use crate::net::Http;
use crate::notify::{self, Notify};
use crate::pipeline::{Pipeline, Setup};
use crate::process::Leftovers;
use crate::reconcile::Reconcile;
use crate::report;
use crate::runner;
use crate::servers::{self, Servers};
use crate::store::Store;
use crate::upkeep::Upkeep;
use crate::watch::FsSource;

use cells::Grounds;
use reload::{Kept, Reload};
use token::operator_token;

/// How long what touches a remote or a host may go on after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(25);

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is at fault.
    #[error("the configuration is at fault")]
    Config(Diagnostics),
    /// Anything else.
    #[error(transparent)]
    Other(anyhow::Error),
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        error.downcast().map_or_else(Self::Other, Self::Config)
    }
}

/// A daemon that serves.
pub struct Daemon {
    address: SocketAddr,
    state: PathBuf,
    stop: CancellationToken,
    store: Store,
    pipeline: Pipeline,
    servers: Servers,
    config_fault: Arc<ArcSwapOption<String>>,
    serving: JoinHandle<Result<(), http::HttpError>>,
    watching: JoinHandle<()>,
    backups: JoinHandle<()>,
}

impl Daemon {
    /// Starts a daemon on the configuration at `path`. When this returns, it takes webhooks.
    pub async fn start(path: &Path) -> Result<Self, StartError> {
        let source = FsSource;
        let loaded = config::load(&source, path).map_err(StartError::Config)?;
        if !loaded.warnings.is_empty() {
            tracing::warn!("{}", loaded.warnings.render(false));
        }
        Ok(Self::with(path, loaded).await?)
    }

    async fn with(path: &Path, loaded: Loaded) -> anyhow::Result<Self> {
        let state = loaded.config.state.clone();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&state)
            .with_context(|| format!("the state directory {} can't be made; correct :state", state.display()))?;
        // The store's lock keeps a second daemon away from all that follows.
        let store = {
            let folder = state.clone();
            tokio::task::spawn_blocking(move || Store::open(&folder)).await??
        };
        let token = operator_token(&state)?;
        let leftovers = Leftovers::new(&state);
        for swept in leftovers.sweep().await.context("what a killed daemon left could not be ended")? {
            tracing::warn!(job = %swept.job, processes = swept.processes, "ended what a killed daemon's build left");
        }
        let listener = TcpListener::bind(loaded.config.listen).await.with_context(|| {
            format!("can't listen on {}: is a daemon running already? Correct :listen", loaded.config.listen)
        })?;
        let address = listener.local_addr()?;
        let grounds = Grounds::find(path, &loaded.config).await?;
        let concurrency = grounds.concurrency;
        let http = Http::new()?;
        let kept = Kept { state: state.clone(), grounds, token: token.clone(), http: http.clone() };
        let rooms = kept.rooms(&loaded, None)?;
        for lacking in rooms.runner.kept().map(|(_, lacking)| lacking).unwrap_or_default() {
            tracing::warn!("{lacking}");
        }
        let setup = Setup { state: state.clone(), rooms, apps: loaded.apps.clone(), concurrency };
        // Before the first job changes.
        store.tell_statuses(loaded.config.forges.values().any(|forge| forge.statuses));
        let pipeline = Pipeline::start(store.clone(), setup);
        let stop = CancellationToken::new();
        let backups = tokio::spawn(backups::run(store.clone(), state.clone(), stop.clone()));
        let config_fault: Arc<ArcSwapOption<String>> = Arc::default();
        let forges = Arc::new(ArcSwap::from_pointee(loaded.config.webhooks.clone()));
        let in_force = Arc::new(ArcSwap::from_pointee(loaded));
        let upkeep = Upkeep::new(state.clone(), store.clone(), pipeline.clone(), in_force.clone(), stop.clone());
        let reconcile = Reconcile::new(store.clone(), pipeline.clone(), in_force.clone(), stop.clone());
        let making = servers::Setup {
            store: store.clone(),
            in_force: in_force.clone(),
            http: http.clone(),
            state: state.clone(),
            pace: servers::Pace::default(),
        };
        let servers = Servers::start(making, stop.clone());
        let reporting = report::Setup { store: store.clone(), in_force: in_force.clone(), http };
        report::start(reporting, stop.clone());
        let telling = notify::Setup {
            store: store.clone(),
            pipeline: pipeline.clone(),
            in_force: in_force.clone(),
            config_fault: config_fault.clone(),
            token: token.clone(),
            env: runner::clean_env(std::env::vars_os()),
            pace: notify::Pace::default(),
        };
        let notify = Notify::start(telling, &stop)?;
        let door = Door {
            store: store.clone(),
            pipeline: pipeline.clone(),
            upkeep: upkeep.clone(),
            reconcile: reconcile.clone(),
            servers: servers.clone(),
            forges: forges.clone(),
            config_fault: config_fault.clone(),
            config: path.to_owned(),
            in_force: in_force.clone(),
            notify,
            token: Arc::new(token),
            started_at: jiff::Timestamp::now(),
            version: env!("CARGO_PKG_VERSION"),
            limits: http::Limits::default(),
        };
        let serving = tokio::spawn(http::serve(listener, door, stop.clone()));
        // Renamed into place: who finds the file finds all of the address in it.
        let told = files::write(&state.join("address"), format!("{address}\n").as_bytes());
        told.context("the state directory can't be written")?;
        let fault = config_fault.clone();
        let asked = signal(SignalKind::hangup()).context("no signals")?;
        let reload = Reload { path: path.to_owned(), in_force, kept, pipeline: pipeline.clone(), forges, fault, asked };
        let watching = tokio::spawn(reload.run(stop.clone()));
        upkeep.start();
        reconcile.start();
        tracing::info!(%address, state = %state.display(), builds = concurrency, version = env!("CARGO_PKG_VERSION"), "serving");
        Ok(Self { address, state, stop, store, pipeline, servers, config_fault, serving, watching, backups })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Its state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Takes no more work, lets steps reach a boundary or leaves them for the next start, and returns within its time.
    pub async fn end(self) -> anyhow::Result<()> {
        tracing::info!("shutting down: no more work is taken");
        service::stopping();
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, self.pipeline.end()).await.is_err() {
            tracing::warn!("steps under way are left as they are; the next start looks at them and goes on");
        }
        self.servers.end().await;
        self.watching.abort();
        // Ends at once.
        let _ = self.backups.await;
        // A forgotten address would send the command line to whoever listens there next.
        let _ = std::fs::remove_file(self.state.join("address"));
        match tokio::time::timeout(Duration::from_secs(5), self.serving).await {
            Ok(served) => served?.context("serving HTTP failed"),
            Err(_) => Ok(()),
        }
    }

    /// Serves until the listener fails.
    async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.serving).await {
            Ok(Ok(())) => anyhow::anyhow!("HTTP is no longer served"),
            Ok(Err(error)) => error.into(),
            Err(error) => error.into(),
        }
    }
}

/// Serves until SIGTERM or SIGINT.
pub async fn serve(path: &Path) -> Result<(), StartError> {
    let mut term = signal(SignalKind::terminate()).context("no signals")?;
    let mut int = signal(SignalKind::interrupt()).context("no signals")?;
    let mut daemon = Daemon::start(path).await?;
    service::ready(&daemon);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        error = daemon.failed() => return Err(error.into()),
    }
    Ok(daemon.end().await?)
}
