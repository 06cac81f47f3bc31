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
    /// When it failed last.
    at: Instant,
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
    /// A place for a listing. An error if the host is left alone, unless a person insists since it failed: whoever does
    /// hears of it from one that hangs, and not from each of its repositories in turn.
    pub async fn place(&self, url: &RepoUrl, insists: Option<Instant>) -> Result<Place, ReconcileError> {
        let host = host(url);
        let places = self.hosts().entry(host.clone()).or_insert_with(Host::new).places.clone();
        // First the host's: who waits for a slow one takes no place from others.
        let gone = |_| ReconcileError::Ending;
        let of_host = places.acquire_owned().await.map_err(gone)?;
        if let Some(failed) = self.hosts().get(&host).and_then(|host| host.failed.clone())
            && let Some(left) = failed.until.checked_duration_since(Instant::now())
            && insists.is_none_or(|since| failed.at >= since)
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
                    Some(failed) if failed.until > now => Some(Failed { why, at: now, ..failed }),
                    _ => {
                        let alone = ALONE.0.saturating_mul(1 << fails.min(10)).min(ALONE.1);
                        Some(Failed { fails: fails + 1, until: now + jittered(alone), at: now, why })
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn url(host: &str, n: usize) -> RepoUrl {
        RepoUrl::new(format!("https://{host}/acme/r{n}.git")).unwrap()
    }

    fn hangs(url: &RepoUrl) -> GitError {
        GitError::TimedOut { what: format!("listing the branches of {url}"), seconds: 60 }
    }

    #[test]
    fn a_pause_is_at_most_a_tenth_off_and_not_the_same_for_all() {
        let pause = Duration::from_secs(600);
        let pauses: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*least >= pause * 9 / 10 && *most <= pause * 11 / 10, "{least:?} {most:?}");
        assert!(*most - *least > pause / 20, "they are spread: {least:?} {most:?}");
        assert!((0..200).all(|_| share(pause) <= pause));
    }

    #[test]
    fn so_many_are_listed_at_once_and_no_more_of_one_host_which_takes_no_place_from_others() {
        let pace = Pace::default();
        let place = |host: &str, n| pace.place(&url(host, n), None).now_or_never().map(Result::unwrap);
        let slow: Vec<Option<Place>> = (0..10).map(|n| place("slow.example", n)).collect();
        assert_eq!(slow.iter().flatten().count(), AT_ONCE.1);
        let others: Vec<Place> = (0..30).filter_map(|n| place(&format!("h{n}.example"), n)).collect();
        assert_eq!(others.len(), AT_ONCE.0 - AT_ONCE.1);
        drop(slow);
        assert!(place("late.example", 0).is_some(), "a place is given back");
    }

    #[test]
    fn a_person_who_insists_waits_once_for_a_host_that_hangs_however_many_repositories_it_has() {
        let pace = Pace::default();
        let place = |n, insists| pace.place(&url("mute.example", n), insists).now_or_never().unwrap();
        let went = |n| pace.went(&url("mute.example", n), Some(&hangs(&url("mute.example", n))));
        went(0);
        assert!(matches!(place(1, None), Err(ReconcileError::LeftAlone { fails: 1, .. })));
        let asked = Instant::now();
        drop(place(1, Some(asked)).expect("it failed before the person asked"));
        went(1);
        for n in 2..200 {
            let left_alone = place(n, Some(asked)).map(drop).unwrap_err();
            assert!(left_alone.to_string().contains("mute.example is left alone after 1 failures"), "{left_alone}");
        }
        drop(pace.place(&url("well.example", 0), Some(asked)).now_or_never().unwrap().expect("another host"));
        assert!(place(0, Some(Instant::now())).is_ok(), "the next word is another one");
        // Once it answers, it is asked as any other.
        pace.went(&url("mute.example", 0), None);
        assert!(place(0, None).is_ok() && place(1, Some(asked)).is_ok());
    }
}
