//! What is in force: read again when a file of the configuration changes, and swapped whole.
//!
//! A bad edit changes nothing, and is told. Must never put half of a configuration in force.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::cells::Grounds;
use crate::config::{self, Loaded};
use crate::git::{GitConfig, Mirrors};
use crate::model::{Forge, ForgeSecrets, Secret};
use crate::net::Http;
use crate::pipeline::{Pipeline, Rooms};
use crate::process::Leftovers;
use crate::runner::{Local, Runner};
use crate::ssh::{Hosts, Settings};
use crate::watch::{FsSource, Watch};

use super::service;

/// The configuration in force, for whoever reads it now and again.
pub(super) type InForce = Arc<ArcSwap<Loaded>>;

/// Reads the configuration again when one of its files changes, or at SIGHUP; a bad one changes nothing.
pub(super) struct Reload {
    pub(super) path: PathBuf,
    pub(super) in_force: InForce,
    pub(super) kept: Kept,
    pub(super) pipeline: Pipeline,
    pub(super) forges: Arc<ArcSwap<BTreeMap<Forge, ForgeSecrets>>>,
    pub(super) fault: Arc<ArcSwapOption<String>>,
    /// SIGHUP.
    pub(super) asked: Signal,
}

impl Reload {
    /// Until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let first = self.in_force.load_full();
        let mut files = match Watch::start(first.files.clone()) {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(%error, "the configuration is not watched: restart the daemon after an edit");
                return;
            }
        };
        let source = FsSource;
        loop {
            let asked = tokio::select! {
                () = files.changed() => false,
                _ = self.asked.recv() => true,
                () = stop.cancelled() => return,
            };
            let _reloading = service::reloading();
            match config::load(&source, &self.path) {
                Err(faults) => {
                    let told = faults.render(false);
                    tracing::error!("the edit is not in force, the last good one stays:\n{told}");
                    self.fault.store(Some(Arc::new(told)));
                    files.set(faults.files().to_vec());
                }
                // The first look after the start, or a file that was touched.
                Ok(loaded) if !asked && self.fault.load().is_none() && loaded.is_as(&self.in_force.load()) => {}
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
                    match self.kept.rooms(&loaded, Some(&self.pipeline)) {
                        Ok(rooms) => {
                            self.forges.store(Arc::new(loaded.config.webhooks.clone()));
                            let apps = loaded.apps.len();
                            self.pipeline.reconfigure(rooms, loaded.apps.clone());
                            self.in_force.store(Arc::new(loaded));
                            self.fault.store(None);
                            tracing::info!(apps, "the configuration is in force");
                        }
                        Err(error) => {
                            tracing::error!(%error, "the edit is not in force, the last good one stays");
                            self.fault.store(Some(Arc::new(format!("{error:#}"))));
                        }
                    }
                }
            }
        }
    }
}

/// What stays as it was at the start, whatever an edit says.
pub(super) struct Kept {
    pub(super) state: PathBuf,
    pub(super) grounds: Grounds,
    pub(super) token: Secret,
    pub(super) http: Http,
}

impl Kept {
    /// The adapters for a configuration. Mirrors keep their locks across configurations.
    pub(super) fn rooms(&self, loaded: &Loaded, old: Option<&Pipeline>) -> anyhow::Result<Rooms> {
        let config = &loaded.config;
        let local = loaded.apps.values().any(|app| app.git_url.parts().transport == crate::model::url::Transport::File);
        let git = GitConfig { local, ..GitConfig::of(&self.state, &config.git) };
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
        let cells = self.grounds.cells(loaded, &hosts)?;
        let local = Local::new(Leftovers::new(&self.state), self.grounds.env.iter().cloned());
        let runner = Runner::Local(local.in_cells(cells));
        let secrets: Vec<Secret> = config.secrets().chain([&self.token]).cloned().collect();
        let (forges, http, url) = (config.forges.clone(), self.http.clone(), config.url.clone());
        let templates = config.templates.clone();
        Ok(Rooms { git, hosts, runner, forges, http, url, secrets, templates, min_free: config.min_free })
    }
}
