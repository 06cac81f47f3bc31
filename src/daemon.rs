//! The composition root: opens the store, sweeps what a killed daemon left, starts the pipeline and the HTTP door,
//! watches the configuration, and ends all of it in order.
//!
//! Nothing is decided here. What is in force is swapped whole: a bad edit changes nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Diagnostics, Loaded};
use crate::git::{GitConfig, Mirrors};
use crate::http::{self, Door};
use crate::model::{Forge, ForgeSecrets, Secret};
use crate::pipeline::{Pipeline, Rooms, Setup};
use crate::process::Leftovers;
use crate::runner::{Local, Runner};
use crate::ssh::{Hosts, Settings};
use crate::store::Store;
use crate::watch::{FsSource, Watch};

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
    Other(#[from] anyhow::Error),
}

/// A daemon that serves.
pub struct Daemon {
    address: SocketAddr,
    state: PathBuf,
    stop: CancellationToken,
    pipeline: Pipeline,
    serving: JoinHandle<Result<(), http::HttpError>>,
    watching: JoinHandle<()>,
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
            let folder = state.join("store");
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
        let kept = Kept { state: state.clone(), token: token.clone() };
        let rooms = kept.rooms(&loaded, None)?;
        let setup = Setup {
            state: state.clone(),
            rooms,
            apps: loaded.apps.clone(),
            concurrency: loaded.config.builds.concurrency,
        };
        let pipeline = Pipeline::start(store.clone(), setup);
        let forges = Arc::new(ArcSwap::from_pointee(loaded.config.webhooks.clone()));
        let stop = CancellationToken::new();
        let config_fault: Arc<ArcSwapOption<String>> = Arc::default();
        let door = Door {
            store,
            pipeline: pipeline.clone(),
            forges: forges.clone(),
            config_fault: config_fault.clone(),
            token: Arc::new(token),
            started_at: jiff::Timestamp::now(),
            version: env!("CARGO_PKG_VERSION"),
            limits: http::Limits::default(),
        };
        let serving = tokio::spawn(http::serve(listener, door, stop.clone()));
        // Renamed into place: who finds the file finds all of the address in it.
        let told = || {
            std::fs::write(state.join("address.new"), format!("{address}\n"))?;
            std::fs::rename(state.join("address.new"), state.join("address"))
        };
        told().context("the state directory can't be written")?;
        let watching =
            tokio::spawn(watch(path.to_owned(), loaded, kept, pipeline.clone(), forges, config_fault, stop.clone()));
        tracing::info!(%address, state = %state.display(), version = env!("CARGO_PKG_VERSION"), "serving");
        Ok(Self { address, state, stop, pipeline, serving, watching })
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
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, self.pipeline.end()).await.is_err() {
            tracing::warn!("steps under way are left as they are; the next start looks at them and goes on");
        }
        self.watching.abort();
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
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("no signals")?;
    let mut int = signal(SignalKind::interrupt()).context("no signals")?;
    let mut daemon = Daemon::start(path).await?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        error = daemon.failed() => return Err(error.into()),
    }
    Ok(daemon.end().await?)
}

/// Reads the configuration again when one of its files changes; a bad one changes nothing.
async fn watch(
    path: PathBuf,
    first: Loaded,
    kept: Kept,
    pipeline: Pipeline,
    forges: Arc<ArcSwap<BTreeMap<Forge, ForgeSecrets>>>,
    fault: Arc<ArcSwapOption<String>>,
    stop: CancellationToken,
) {
    let mut files = match Watch::start(first.files.clone()) {
        Ok(files) => files,
        Err(error) => {
            tracing::error!(%error, "the configuration is not watched: restart the daemon after an edit");
            return;
        }
    };
    let source = FsSource;
    loop {
        tokio::select! {
            () = files.changed() => {}
            () = stop.cancelled() => return,
        }
        match config::load(&source, &path) {
            Err(faults) => {
                let told = faults.render(false);
                tracing::error!("the edit is not in force, the last good one stays:\n{told}");
                fault.store(Some(Arc::new(told)));
                files.set(faults.files().to_vec());
            }
            Ok(loaded) => {
                files.set(loaded.files.clone());
                if !loaded.warnings.is_empty() {
                    tracing::warn!("{}", loaded.warnings.render(false));
                }
                if loaded.config.listen != first.config.listen
                    || loaded.config.state != first.config.state
                    || loaded.config.builds.concurrency != first.config.builds.concurrency
                {
                    tracing::warn!(":listen, :state and :builds {{:concurrency}} take force at the next start");
                }
                match kept.rooms(&loaded, Some(&pipeline)) {
                    Ok(rooms) => {
                        forges.store(Arc::new(loaded.config.webhooks.clone()));
                        let apps = loaded.apps.len();
                        pipeline.reconfigure(rooms, loaded.apps);
                        fault.store(None);
                        tracing::info!(apps, "the configuration is in force");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the edit is not in force, the last good one stays");
                        fault.store(Some(Arc::new(format!("{error:#}"))));
                    }
                }
            }
        }
    }
}

/// What stays as it was at the start, whatever an edit says.
struct Kept {
    state: PathBuf,
    token: Secret,
}

impl Kept {
    /// The adapters for a configuration. Mirrors keep their locks across configurations.
    fn rooms(&self, loaded: &Loaded, old: Option<&Pipeline>) -> anyhow::Result<Rooms> {
        let config = &loaded.config;
        let git = GitConfig::of(&self.state, &config.git);
        let git = match old {
            Some(pipeline) => pipeline.rooms().git.reconfigured(git),
            None => Mirrors::new(git)?,
        };
        let settings = Settings {
            identity: config.ssh.identity.clone(),
            known_hosts: config.ssh.known_hosts.clone(),
            ..Settings::default()
        };
        // The same pool where nothing of it has changed: its connections stay.
        let same = old.map(|pipeline| pipeline.rooms().hosts.clone()).filter(|hosts| *hosts.settings() == settings);
        let hosts = same.map_or_else(|| Hosts::new(settings), Ok)?;
        let runner = Runner::Local(Local::new(Leftovers::new(&self.state), std::env::vars_os()));
        let secrets: Vec<Secret> = config.secrets().chain([&self.token]).cloned().collect();
        Ok(Rooms { git, hosts, runner, secrets })
    }
}

/// The operator's token: made at first start, mode 0600, on disk before anyone needs it.
fn operator_token(state: &Path) -> anyhow::Result<Secret> {
    let path = state.join("operator-token");
    let name = format!("the operator's token in {}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => return Ok(Secret::new(name, text.trim())),
        Ok(_) => bail!("{} is too short to be a token: remove it, and a new one is made", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
    }
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let new = state.join("operator-token.new");
    let written = || -> std::io::Result<()> {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(state)?.sync_all()
    };
    written().with_context(|| format!("{} can't be written", path.display()))?;
    Ok(Secret::new(name, token))
}
