//! The daemon's housekeeping, so that a year goes by without care: what `:keep` does not keep goes, mirrors are
//! maintained, and what ended jobs or killed daemons left behind is swept.
//!
//! One quiet round some minutes after the start, then one a day, another when the disk runs low, and one whenever a
//! person asks (`airplanes gc`): never two at once. In the flow it stands beside the pipeline and takes nothing from
//! it: rows go through the store's writer in small groups, git runs at the lowest priority. What fails is told and
//! tried again the next time. Must never touch what a job under way needs.

mod folders;
mod mirrors;
mod past;
mod round;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;
use crate::git::GitError;
use crate::model::upkeep::GcView;
use crate::pipeline::Pipeline;
use crate::process::ProcessError;
use crate::store::{Store, StoreError};

/// How long after the start the first round is: when what was under way is taken up again.
const FIRST: Duration = Duration::from_secs(5 * 60);
/// How long after a round the next one is.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether the disk runs low, and how long such a round is not repeated.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);
const LOW_EVERY: Duration = Duration::from_secs(3600);

/// Why a part of a round could not be done.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A mirror.
    #[error(transparent)]
    Git(#[from] GitError),
    /// git could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// git said no.
    #[error(
        "git's maintenance of the mirror of {repo} ended with {how}; {log} has its words. It is tried again with the next round"
    )]
    Maintenance {
        /// The mirror's repository.
        repo: String,
        /// Its exit code or signal.
        how: String,
        /// Where its output is.
        log: String,
    },
    /// The disk.
    #[error("{path} could not be removed: {why}; remove it by hand, or see that the daemon's user may")]
    Remove {
        /// What.
        path: String,
        /// The system's words.
        why: String,
    },
    /// Another round is under way.
    #[error("another round of upkeep is under way since {since}; ask again when it is done")]
    Busy {
        /// When that began.
        since: jiff::Timestamp,
    },
    /// The daemon is ending.
    #[error("the daemon is shutting down")]
    Ending,
}

/// A handle on the upkeep; clones share it.
#[derive(Clone)]
pub struct Upkeep {
    inner: Arc<Inner>,
}

struct Inner {
    state: PathBuf,
    store: Store,
    pipeline: Pipeline,
    in_force: Arc<ArcSwap<Loaded>>,
    /// The round under way, or the last one.
    latest: ArcSwapOption<GcView>,
    /// Held by the round under way.
    turn: Arc<tokio::sync::Mutex<()>>,
    stop: CancellationToken,
}

impl Upkeep {
    /// Upkeep of the state directory `state`, as the configuration in force wants it.
    pub fn new(
        state: PathBuf,
        store: Store,
        pipeline: Pipeline,
        in_force: Arc<ArcSwap<Loaded>>,
        stop: CancellationToken,
    ) -> Self {
        let (latest, turn) = (ArcSwapOption::empty(), Arc::default());
        Self { inner: Arc::new(Inner { state, store, pipeline, in_force, latest, turn, stop }) }
    }

    /// Begins to look after it by itself, until `stop`.
    pub fn start(&self) -> JoinHandle<()> {
        let upkeep = self.clone();
        tokio::spawn(async move {
            let mut next = Instant::now() + jittered(FIRST);
            let mut last: Option<Instant> = None;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(next.min(Instant::now() + LOOK_EVERY)) => {}
                    () = upkeep.inner.stop.cancelled() => return,
                }
                let is_low = upkeep.inner.pipeline.disk().is_ok_and(|disk| disk.low.is_some());
                let low = is_low && last.is_none_or(|last| last.elapsed() >= LOW_EVERY);
                if (low || Instant::now() >= next)
                    && let Ok(round) = upkeep.begin(false, "timer")
                {
                    round.await;
                    last = Some(Instant::now());
                    next = Instant::now() + jittered(EVERY);
                }
            }
        })
    }

    /// Begins a round for a person, or takes part in the one that is under way if it is such a round.
    pub fn ask(&self, dry_run: bool) -> Result<Arc<GcView>, UpkeepError> {
        if self.inner.stop.is_cancelled() {
            return Err(UpkeepError::Ending);
        }
        match self.begin(dry_run, "operator") {
            Ok(round) => drop(tokio::spawn(round)),
            Err(UpkeepError::Busy { since }) => match self.latest() {
                Some(latest) if latest.dry_run == dry_run => {}
                _ => return Err(UpkeepError::Busy { since }),
            },
            Err(error) => return Err(error),
        }
        self.latest().ok_or(UpkeepError::Ending)
    }

    /// The round under way, or the last one since the start.
    pub fn latest(&self) -> Option<Arc<GcView>> {
        self.inner.latest.load_full()
    }

    /// A round that has its turn. It is under way when this returns.
    fn begin(&self, dry_run: bool, by: &str) -> Result<impl Future<Output = ()> + Send + 'static, UpkeepError> {
        let Ok(turn) = self.inner.turn.clone().try_lock_owned() else {
            let since = self.latest().map_or_else(jiff::Timestamp::now, |latest| latest.started_at);
            return Err(UpkeepError::Busy { since });
        };
        let round = round::Round::new(self.inner.clone(), dry_run, by);
        Ok(async move {
            round.run().await;
            drop(turn);
        })
    }
}

/// A time that is up to a quarter longer, so that many daemons do not do it at once.
fn jittered(time: Duration) -> Duration {
    let mut random = [0; 1];
    // Without random bytes it is only less spread.
    let _ = getrandom::fill(&mut random);
    time + time * u32::from(random[0]) / 1024
}
