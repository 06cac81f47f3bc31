//! Commit statuses: the commits that set an app in motion, and the one that goes live, show on their git hosts how the
//! app fares, with a link to the job.
//!
//! ```text
//! store: a job has changed (a mark, in the same batch) ─▶ statuses (pure) ─▶ forge::api ─▶ net ─▶ the mark goes
//! ```
//! A status is told at least once, whenever the daemon dies; the same again changes nothing on the host. Each host is
//! told one at a time, in order, so that what a commit says last is what is true. One that is slow, dead or refuses the
//! token holds up no other and is tried again with growing pauses for a day.
//!
//! Must never hold a job up, or show a token.

mod statuses;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;
use crate::forge::api::{Api, ApiError, Status};
use crate::model::{JobId, RepoId};
use crate::net::{Http, NetError};
use crate::store::{Change, Due, Store, StoreError, is_told};

/// How often all marks are looked at, at the least.
const EVERY: Duration = Duration::from_secs(10);
/// The first pause after a failure, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3600)];
/// How long a status is tried.
const KEEP: SignedDuration = SignedDuration::from_hours(24);

/// What telling needs.
pub struct Setup {
    /// What is due.
    pub store: Store,
    /// The configuration in force.
    pub in_force: Arc<ArcSwap<Loaded>>,
    /// The client.
    pub http: Http,
}

/// Begins to tell, with what the last daemon left to be told, until `stop`.
pub fn start(setup: Setup, stop: CancellationToken) {
    let reporter = Reporter {
        setup,
        jobs: BTreeMap::new(),
        hosts: HashMap::new(),
        shut: HashMap::new(),
        told: HashMap::new(),
        done: Vec::new(),
        sending: JoinSet::new(),
    };
    tokio::spawn(reporter.run(stop));
}

struct Reporter {
    setup: Setup,
    /// The jobs that are marked.
    jobs: BTreeMap<JobId, Left>,
    /// By the prefix in `:forges`.
    hosts: HashMap<String, Host>,
    /// Repositories that the token may not write to, or that answer oddly: others on their host may fare better.
    shut: HashMap<RepoId, Pause>,
    /// What was told of jobs that are not over.
    told: HashMap<JobId, Vec<(RepoId, Status)>>,
    /// Marks to let go of.
    done: Vec<Due>,
    sending: JoinSet<Attempt>,
}

/// What is left to be told of a job.
struct Left {
    due: Due,
    is_over: bool,
    statuses: Vec<(String, RepoId, Status)>,
}

#[derive(Default)]
struct Host {
    busy: bool,
    pause: Pause,
}

/// Growing pauses after failures.
#[derive(Default)]
struct Pause {
    failures: u32,
    next: Option<Instant>,
}

impl Pause {
    fn is_on(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next > now)
    }
    /// One more failure, after which it is to be left alone for as long as it says, at the least.
    fn lengthen(&mut self, least: Option<Duration>) -> Duration {
        self.failures += 1;
        let doubled = PAUSES[0].saturating_mul(1 << (self.failures - 1).min(20));
        let pause = doubled.max(least.unwrap_or_default()).min(PAUSES[1]);
        self.next = Some(Instant::now() + pause);
        pause
    }
}

/// What an attempt met.
struct Attempt {
    job: JobId,
    prefix: String,
    repo: RepoId,
    status: Status,
    result: Result<(), Failure>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("telling it panicked, which is a bug: the daemon's log says where")]
    Bug,
}

impl Reporter {
    async fn run(mut self, stop: CancellationToken) {
        // First listen, then look: nothing falls between.
        let mut changes = self.setup.store.changes();
        loop {
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "statuses wait for the store");
            }
            let all_again = Instant::now() + EVERY;
            loop {
                self.dispatch();
                let now = Instant::now();
                let hosts = self.hosts.values().filter(|host| !host.busy).filter_map(|host| host.pause.next);
                let again = hosts.chain(self.shut.values().filter_map(|pause| pause.next)).filter(|at| *at > now).min();
                let looked = tokio::select! {
                    () = stop.cancelled() => return,
                    change = changes.recv() => match change {
                        Ok(Change { record, .. }) if !is_told(&record.entry) => Ok(()),
                        Ok(Change { job, .. }) => self.look_at(job).await,
                        // Marks stay until all of them is told.
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    },
                    Some(done) = self.sending.join_next() => {
                        match done {
                            Ok(attempt) => self.settle(attempt),
                            Err(error) => tracing::error!(%error, "telling a status was ended, which is a bug"),
                        }
                        self.flush().await
                    }
                    () = sleep_until(again.map_or(all_again, |again| again.min(all_again))) => Ok(()),
                };
                if looked.is_err() || Instant::now() >= all_again {
                    break;
                }
            }
        }
    }

    /// What is due, and what of it is done. All marks are read, so that those of a host that is down hide no other's:
    /// they are as many as there were jobs in a day.
    async fn look(&mut self) -> Result<(), StoreError> {
        self.flush().await?;
        let marks = self.setup.store.statuses_due()?;
        let marked: HashSet<JobId> = marks.iter().map(|due| due.job).collect();
        self.jobs.retain(|job, _| marked.contains(job));
        for due in marks {
            self.take_in(due)?;
        }
        self.flush().await
    }

    /// What is due of one job.
    async fn look_at(&mut self, job: JobId) -> Result<(), StoreError> {
        if let Some(due) = self.setup.store.status_due(job)? {
            self.take_in(due)?;
        }
        self.flush().await
    }

    fn take_in(&mut self, due: Due) -> Result<(), StoreError> {
        if self.jobs.get(&due.job).is_some_and(|left| left.due.seq == due.seq && !is_old(&due)) {
            return Ok(());
        }
        let job = match self.setup.store.job(due.job) {
            // Its change is on disk, and readers are told in a moment.
            Ok(Some(job)) if job.seq < due.seq => return Ok(()),
            Ok(Some(job)) if !is_old(&due) => job,
            Err(error @ StoreError::Unavailable { .. }) => return Err(error),
            gone => {
                if let Ok(Some(_)) = gone {
                    tracing::warn!(job = %due.job, "given up: what its commits' statuses say is no longer true");
                }
                self.let_go(due, true);
                return Ok(());
            }
        };
        let loaded = self.setup.in_force.load_full();
        let told = self.told.get(&due.job);
        let is_new = |said: &(RepoId, Status)| !told.is_some_and(|told| told.contains(said));
        let said = statuses::of(&job, loaded.config.url.as_deref()).into_iter().filter(is_new);
        let to = said.filter_map(|(repo, status)| {
            let (prefix, forge) = loaded.config.forges.longest(repo.as_str())?;
            forge.statuses.then(|| (prefix.to_owned(), repo, status))
        });
        let left = Left { due, is_over: job.ended.is_some(), statuses: to.collect() };
        match left.statuses.is_empty() {
            true => self.let_go(due, left.is_over),
            false => drop(self.jobs.insert(due.job, left)),
        }
        Ok(())
    }

    /// Lets go of the marks that are done with; and sees whether any are to be made.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let store = &self.setup.store;
        store.tell_statuses(self.setup.in_force.load().config.forges.values().any(|forge| forge.statuses));
        if !self.done.is_empty() {
            store.reported(self.done.clone()).await?;
            self.done.clear();
        }
        Ok(())
    }

    fn let_go(&mut self, due: Due, is_over: bool) {
        self.jobs.remove(&due.job);
        if is_over {
            self.told.remove(&due.job);
        }
        self.done.push(due);
    }

    /// Begins what can be begun: one call a host, the oldest job's first.
    fn dispatch(&mut self) {
        let loaded = self.setup.in_force.load_full();
        let now = Instant::now();
        for (job, left) in &self.jobs {
            for (prefix, repo, status) in &left.statuses {
                let is_away = self.hosts.get(prefix).is_some_and(|host| host.busy || host.pause.is_on(now));
                if is_away || self.shut.get(repo).is_some_and(|pause| pause.is_on(now)) {
                    continue;
                }
                self.hosts.entry(prefix.clone()).or_default().busy = true;
                let (job, prefix, repo, status) = (*job, prefix.clone(), repo.clone(), status.clone());
                let (loaded, http) = (loaded.clone(), self.setup.http.clone());
                self.sending.spawn(async move {
                    let result = without_panic(tell(&loaded, &http, &repo, &status)).await;
                    Attempt { job, prefix, repo, status, result }
                });
            }
        }
    }

    fn settle(&mut self, attempt: Attempt) {
        let Attempt { job, prefix, repo, status, result } = attempt;
        let host = self.hosts.entry(prefix).or_default();
        host.busy = false;
        match result {
            Ok(()) => {
                *host = Host::default();
                self.shut.remove(&repo);
                tracing::debug!(%job, %repo, commit = %status.sha.short(), mark = %status.mark, "a commit's status is told");
            }
            Err(Failure::Api(error)) if !error.is_passing() => {
                *host = Host::default();
                tracing::warn!(%job, %repo, commit = %status.sha.short(), %error, "a commit's status was refused");
            }
            Err(error) => {
                let (pause, least) = match &error {
                    Failure::Api(error) if error.is_of_one_repository() => {
                        host.pause = Pause::default();
                        (self.shut.entry(repo.clone()).or_default(), None)
                    }
                    Failure::Bug => (self.shut.entry(repo.clone()).or_default(), None),
                    Failure::Api(error) => (&mut host.pause, error.wait()),
                    Failure::Net(_) => (&mut host.pause, None),
                };
                let is_first = pause.failures == 0;
                let pause = pause.lengthen(least);
                // Said once: it stays so until it is mended.
                if is_first {
                    tracing::warn!(%job, %repo, %error, again_in = ?pause, "commits' statuses can't be told");
                } else {
                    tracing::debug!(%job, %repo, %error, again_in = ?pause, "commits' statuses can't be told still");
                }
                return;
            }
        }
        // What was refused is not asked again.
        let told = self.told.entry(job).or_default();
        told.retain(|(other, said)| (other, said.sha) != (&repo, status.sha));
        told.push((repo.clone(), status.clone()));
        let Some(left) = self.jobs.get_mut(&job) else { return };
        left.statuses.retain(|(_, other, due)| (other, due) != (&repo, &status));
        if left.statuses.is_empty() {
            let (due, is_over) = (left.due, left.is_over);
            self.let_go(due, is_over);
        }
    }
}

fn is_old(due: &Due) -> bool {
    Timestamp::now().duration_since(due.at) > KEEP
}

/// What it comes to, also where it panics: its host must not be left waiting for it.
async fn without_panic(telling: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    AssertUnwindSafe(telling).catch_unwind().await.unwrap_or(Err(Failure::Bug))
}

async fn tell(loaded: &Loaded, http: &Http, repo: &RepoId, status: &Status) -> Result<(), Failure> {
    // One that is no longer there has nobody to be told.
    let Some((_, forge)) = loaded.config.forges.longest(repo.as_str()) else { return Ok(()) };
    let Some(api) = Api::of(forge, repo) else { return Ok(()) };
    let reply = http.call(&api.status(status)).await?;
    Ok(api.status_taken(&reply)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_panics_is_a_failure_like_others() {
        assert!(without_panic(async { panic!("by the test") }).await.is_err());
        assert!(without_panic(async { Ok(()) }).await.is_ok());
    }
}
