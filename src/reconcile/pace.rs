//! How many remotes are listed at once, and how long those that fail are left alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::ReconcileError;
use crate::git::GitError;
use crate::model::RepoUrl;

/// How many remotes are listed at once, in all and of one host.
const AT_ONCE: (usize, usize) = (16, 4);
/// How long what failed is left alone, at first and at the most.
const ALONE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// What keeps the listings apart.
pub(super) struct Pace {
    all: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Host>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE.0)), hosts: Mutex::default() }
    }
}

/// A host of remotes.
struct Host {
    places: Arc<Semaphore>,
    /// How often it failed in a row, how long it is left alone therefore, and what it said.
    failed: Option<Failed>,
}

#[derive(Clone)]
struct Failed {
    fails: u32,
    until: Instant,
    why: String,
}

impl Host {
    fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE.1)), failed: None }
    }
}

/// A place among those that are listed, given back when dropped.
pub(super) struct Place {
    _host: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Pace {
    /// A place for a listing. An error if the host is left alone, unless a person `insists`.
    pub async fn place(&self, url: &RepoUrl, insists: bool) -> Result<Place, ReconcileError> {
        let host = host(url);
        let places = self.hosts().entry(host.clone()).or_insert_with(Host::new).places.clone();
        // First the host's: who waits for a slow one takes no place from others.
        let gone = |_| ReconcileError::Ending;
        let of_host = places.acquire_owned().await.map_err(gone)?;
        if let Some(failed) = self.hosts().get(&host).and_then(|host| host.failed.clone())
            && let Some(left) = failed.until.checked_duration_since(Instant::now())
            && !insists
        {
            let Failed { fails, why, .. } = failed;
            return Err(ReconcileError::LeftAlone { host, fails, seconds: left.as_secs(), why });
        }
        let of_all = self.all.clone().acquire_owned().await.map_err(gone)?;
        Ok(Place { _host: of_host, _all: of_all })
    }

    /// How a listing went. Only what is wrong with the host and not with one repository counts against it.
    pub fn went(&self, url: &RepoUrl, error: Option<&GitError>) {
        let mut hosts = self.hosts();
        let host = hosts.entry(host(url)).or_insert_with(Host::new);
        match error {
            Some(error @ (GitError::Network { .. } | GitError::TimedOut { .. })) => {
                let (now, why) = (Instant::now(), error.to_string());
                let fails = host.failed.as_ref().map_or(0, |failed| failed.fails);
                host.failed = match host.failed.take() {
                    // Those that were under way together failed together.
                    Some(failed) if failed.until > now => Some(Failed { why, ..failed }),
                    _ => {
                        let alone = ALONE.0.saturating_mul(1 << fails.min(10)).min(ALONE.1);
                        Some(Failed { fails: fails + 1, until: now + jittered(alone), why })
                    }
                };
            }
            _ => host.failed = None,
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        // A holder that panicked left whole data.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who answers for a url. Of those on this machine's disk each for itself.
fn host(url: &RepoUrl) -> String {
    let parts = url.parts();
    match (parts.host, parts.port) {
        ("", _) => url.id().as_str().to_owned(),
        (host, Some(port)) => format!("{}:{port}", host.to_ascii_lowercase()),
        (host, None) => host.to_ascii_lowercase(),
    }
}

/// A time that is up to a tenth shorter or longer, so that many are spread.
pub(super) fn jittered(time: Duration) -> Duration {
    time - time / 10 + share(time / 5)
}

/// Some part of a time.
pub(super) fn share(time: Duration) -> Duration {
    let mut random = [0; 2];
    // Without random bytes it is only less spread.
    let _ = getrandom::fill(&mut random);
    time * u32::from(u16::from_ne_bytes(random)) / u32::from(u16::MAX)
}
