//! Hosts as the configuration has them, spoken to from here: the commands of `host` need no daemon.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::keys::load;
use crate::cli::output::{plain, say};
use crate::config::Loaded;
use crate::host::lock::{Holder, Lock, lock};
use crate::host::{Error, Remote};
use crate::model::{App, Host};
use crate::ssh::{Hosts, Settings};

/// The configuration, and the way to its hosts.
pub(super) struct Login {
    pub loaded: Loaded,
    hosts: Hosts,
    cancel: CancellationToken,
}

impl Login {
    pub fn new(globals: &Globals) -> Result<Self, CliError> {
        let path = std::path::absolute(&globals.config).map_err(|e| CliError::io("there is no current folder", &e))?;
        let loaded = load(globals, Path::new(&path))?;
        let ssh = &loaded.config.ssh;
        let settings =
            Settings { identity: ssh.identity.clone(), known_hosts: ssh.known_hosts.clone(), ..Settings::default() };
        let hosts = Hosts::new(settings).map_err(|error| CliError::other(error.to_string()))?;
        Ok(Self { loaded, hosts, cancel: CancellationToken::new() })
    }

    /// A host by its name in `:hosts`, or by the address that an app's `:ip` gives.
    pub fn host(&self, name: &str) -> Result<Host, CliError> {
        let of_apps = self.loaded.apps.values().flat_map(|app| &app.hosts);
        let mut all = self.loaded.config.hosts.values().chain(of_apps);
        all.find(|host| host.name.as_str() == name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.loaded.config.hosts.keys().map(AsRef::as_ref).collect();
            let hint = match known.as_slice() {
                [] => "config.edn names no hosts: add :hosts {:web-1 {:address \"…\"}}".to_owned(),
                known => format!("config.edn's :hosts are: {}", known.join(", ")),
            };
            CliError::usage(format!("there is no host {}", name.escape_debug()), hint)
        })
    }

    /// Does something on a host; what is said there goes to standard error as it comes.
    pub async fn on<T>(
        &self,
        host: &Host,
        timeout: Duration,
        work: impl AsyncFnOnce(&mut Remote<'_>) -> Result<T, Error>,
    ) -> Result<T, CliError> {
        let mut line = Vec::new();
        let name = host.name.clone();
        let mut log = move |bytes: &[u8]| {
            line.extend_from_slice(bytes);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let whole: Vec<u8> = line.drain(..=end).collect();
                say(&format!("{name}: {}", plain(String::from_utf8_lossy(&whole).trim_end())));
            }
        };
        let mut remote = Remote { hosts: &self.hosts, host, timeout, cancel: &self.cancel, log: &mut log };
        work(&mut remote).await.map_err(|error| CliError::other(error.to_string()))
    }

    /// An app's folder on a host kept for whoever calls, until that is dropped; none where there is no folder yet, or no
    /// `flock`. Refused while somebody else has it: a rollout's turn, or a person.
    pub async fn lock(&self, app: &App, host: &Host, why: String) -> Result<Option<Lock>, CliError> {
        let Some(folder) = app.folder_on(host) else { return Ok(None) };
        let who = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
        let who = who.unwrap_or_else(|_| "somebody".to_owned());
        let machine = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
        let who = format!("{who} on {}", machine.trim());
        let holder = Holder { id: format!("person:{}", std::process::id()), who, since: Timestamp::now(), why };
        lock(&self.hosts, host, &folder, &holder, &self.cancel).await.map_err(|error| match error {
            Error::Locked { .. } => CliError::Refused { message: error.to_string(), hint: None },
            error => CliError::other(error.to_string()),
        })
    }
}
