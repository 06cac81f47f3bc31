//! The steps of a job, one file each. A step is idempotent and says so: begun again after a crash it first looks
//! whether its effect is there. Each gets the job's `Work` and returns how it ended; the worker journals that.

mod artifact;
pub(super) mod build;
mod due;
mod moved_back;
pub(super) mod prepare;
pub(super) mod publish;
mod request;
pub(super) mod rollout;
pub(super) mod update;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::explain::LEFT_ALONE;
use super::lease::{AppLease, BranchLease};
use super::slots::Permit;
use super::waits::Wait;
use super::{Inner, Rooms, unpoison};
use crate::bumps::{self, BumpsError, Preflight, Tree};
use crate::git::{GitError, WorkClone};
use crate::model::rollout::Because;
use crate::model::{Branch, Entry, HostName, JobState, Narrowed, Outcome, Progress, Sha, Step};
use crate::process::{LogFile, Masker, ProcessError};
use crate::store::StoreError;

/// A job in the hands of its worker.
pub(super) struct Work {
    pub inner: Arc<Inner>,
    pub job: Arc<JobState>,
    /// The right to work on the app, for as long as the worker lives, but while a pull request waits.
    pub lease: Option<AppLease>,
    /// The right to change the app's branch, from prepare to publish.
    pub branch_lease: Option<BranchLease>,
    /// The slot among the builds, until the build is done.
    pub slot: Slot,
    /// When its repository began to be fetched, if that was while it waited.
    pub looked: Option<Instant>,
    /// What preflight found of the commit that update made; none after a restart.
    pub preflight: Option<Arc<Preflight>>,
    /// What the build under way may read of the daemon's folders, once its clone is there.
    pub reads: Vec<PathBuf>,
    /// What the steps of the build under way have taken so far: its time-out is for all of them.
    pub building: Duration,
    /// What was seen of hosts just before their turns.
    pub asked: rollout::Asked,
    /// What hosts fetch while the build runs.
    pub ahead: rollout::Ahead,
    /// Hosts that could not be reached when the rollout began.
    pub away: Vec<HostName>,
    /// What was made for hosts to be sent.
    pub bundles: rollout::Bundles,
    /// A person's cancel.
    pub cancel: CancellationToken,
    /// A person's cancel or the daemon's end.
    pub stop: CancellationToken,
}

/// A slot among the builds, if there is one. Who waits for a remote gives it back.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Permit>>>);

impl Slot {
    pub(super) fn of(permit: Permit) -> Self {
        Self(Arc::new(Mutex::new(Some(permit))))
    }
    pub(super) fn give_back(&self) {
        drop(unpoison(self.0.lock()).take());
    }
    fn is_held(&self) -> bool {
        unpoison(self.0.lock()).is_some()
    }
    fn keep(&self, permit: Option<Permit>) {
        *unpoison(self.0.lock()) = permit;
    }
}

/// Why a step did not come to its end.
pub(super) enum StepError {
    /// Tried again with the same input it would fail again.
    Failed { error: String, exit_code: Option<i32> },
    /// It may go better next time.
    Retry(String),
    /// A build failed, and what broke it was found: the job goes on without that.
    Narrowed { error: String, exit_code: Option<i32>, found: Vec<Narrowed> },
    /// Someone was faster; the journal says so already.
    Raced,
    /// The job has ended in this step; the journal says so already.
    Over,
    /// A person's cancel.
    Canceled,
    /// The daemon is ending: the step stays begun, and the next daemon goes on.
    Ending,
    /// The store takes no writes.
    Store(StoreError),
}

impl StepError {
    pub(super) fn failed(error: impl Into<String>) -> Self {
        StepError::Failed { error: error.into(), exit_code: None }
    }
}
impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        StepError::Store(error)
    }
}
impl From<ProcessError> for StepError {
    fn from(error: ProcessError) -> Self {
        StepError::Retry(error.to_string())
    }
}

impl Work {
    /// Journals entries in the middle of a step.
    pub(super) async fn append(&mut self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.job = self.inner.store.append(self.job.id, entries).await?;
        Ok(())
    }
    pub(super) fn rooms(&self) -> Arc<Rooms> {
        self.inner.rooms.load_full()
    }
    /// What no log of the job may show.
    pub(super) fn masker(&self) -> Masker {
        self.inner.masker(&self.job.app.name)
    }
    /// A text without it.
    pub(super) fn masked(&self, text: &str) -> String {
        self.inner.masked(&self.job.app.name, text)
    }
    /// The log of the step that is under way.
    pub(super) async fn log(&self, step: &Step) -> Result<LogFile, ProcessError> {
        let attempt = self.job.step(step).map_or(1, |s| s.attempt);
        self.inner.logs.step(self.job.id, step, attempt, self.masker()).await
    }
    /// The folder of the job's clone.
    pub(super) fn clone_folder(&self) -> PathBuf {
        self.inner.work_folder(self.job.id).join("clone")
    }
    /// The folder of the repository that the job commits in and pushes from.
    pub(super) fn bare_folder(&self) -> PathBuf {
        self.inner.work_folder(self.job.id).join("commit.git")
    }
    /// What a stop means: the daemon's end leaves the step begun, a person's cancel ends the job.
    pub(super) fn stopped(&self) -> StepError {
        if self.cancel.is_cancelled() { StepError::Canceled } else { StepError::Ending }
    }
    /// A git error in the worker's terms.
    pub(super) fn git(&self, error: GitError) -> StepError {
        match error {
            GitError::Canceled { .. } => self.stopped(),
            // What a full disk does not take looks like many a fault.
            error if error.is_retryable() || self.inner.low().is_some() => StepError::Retry(error.to_string()),
            error => StepError::failed(error.to_string()),
        }
    }
    /// A fault of the files, or of asking for what they name, in the worker's terms.
    pub(super) fn bumps(&self, error: BumpsError) -> StepError {
        match error {
            BumpsError::Git(error) => self.git(error),
            error => StepError::failed(error.to_string()),
        }
    }
    /// The files of a commit that the app's mirror has which count for its dependencies.
    pub(super) async fn files(&self, commit: Sha) -> Result<Vec<bumps::File>, StepError> {
        let (rooms, repo) = (self.rooms(), self.job.app.repo());
        let tree = Tree::Commit { git: &rooms.git, repo: &repo, sha: commit };
        tree.files(&self.job.app.updates).await.map_err(|error| self.bumps(error))
    }
    /// The branch and the commit that prepare has found.
    pub(super) fn base(&self) -> Result<(Branch, Sha), StepError> {
        self.job.base.clone().ok_or_else(|| StepError::failed("prepare has left no base; deploy the app again"))
    }
    /// The right to change the app's branch; waited for if it is not held. The slot is given back for that: who holds
    /// the branch may be waiting for one, and the build takes another.
    pub(super) async fn take_branch(&mut self, branch: &Branch) -> Result<(), StepError> {
        if self.branch_lease.is_some() {
            return Ok(());
        }
        let (inner, repo, stop) = (self.inner.clone(), self.job.app.repo(), self.stop.clone());
        self.branch_lease = inner.leases.branch_now(&repo, branch);
        if self.branch_lease.is_none() {
            self.slot.give_back();
            let _waits = self.inner.waits.begin(self.job.id, Wait::Branch(repo.clone(), branch.clone()));
            self.branch_lease = tokio::select! {
                lease = inner.leases.branch(&repo, branch) => Some(lease),
                () = stop.cancelled() => return Err(self.stopped()),
            };
        }
        Ok(())
    }
    /// The right to work on the app, where the worker has let go of it.
    pub(super) async fn take_app(&mut self) -> Result<(), StepError> {
        if self.lease.is_none() {
            let (inner, app) = (self.inner.clone(), self.job.app.name.clone());
            self.lease = tokio::select! {
                lease = inner.leases.app(&app) => Some(lease),
                () = self.stop.cancelled() => return Err(self.stopped()),
            };
        }
        Ok(())
    }
    /// A slot among the builds, where the worker has none.
    pub(super) async fn take_slot(&mut self) -> Result<(), StepError> {
        if !self.slot.is_held() {
            let _waits = self.inner.waits.begin(self.job.id, Wait::Slot);
            let slot = tokio::select! {
                slot = self.inner.slots.acquire(self.job.app.name.as_str()) => slot,
                () = self.stop.cancelled() => return Err(self.stopped()),
            };
            self.slot.keep(slot);
        }
        Ok(())
    }

    /// Sees that the app's mirror has the base: prepare fetched it, but a state folder that comes from a backup has no
    /// mirrors, and a power cut or a person may have damaged one.
    pub(super) async fn bring_base(&self, base: Sha) -> Result<(), StepError> {
        self.bring_until(base, &self.stop).await.map_err(|e| self.git(e))
    }
    /// The same, for any commit, and until `stop`.
    pub(super) async fn bring_until(&self, commit: Sha, stop: &CancellationToken) -> Result<(), GitError> {
        let (rooms, url) = (self.rooms(), &self.job.app.git_url);
        if !matches!(rooms.git.contains(&url.id(), commit).await, Ok(true)) {
            rooms.git.fetch(url, stop).await?;
        }
        Ok(())
    }

    /// A clean clone for the build, at the commit that update made.
    pub(super) async fn clone_to_build(&self) -> Result<WorkClone, StepError> {
        self.clear(&self.clone_folder()).await?;
        self.committed(self.borrowing(false).await?).await
    }

    /// A repository to push the commit from, where no build has been.
    pub(super) async fn bare_to_push(&self) -> Result<WorkClone, StepError> {
        self.committed(self.bare().await?).await
    }

    /// A repository at the base to make the commit in, where no build has been.
    pub(super) async fn bare(&self) -> Result<WorkClone, StepError> {
        self.borrowing(true).await
    }

    async fn borrowing(&self, bare: bool) -> Result<WorkClone, StepError> {
        let (branch, base) = self.base()?;
        self.bring_base(base).await?;
        let (rooms, url) = (self.rooms(), &self.job.app.git_url);
        let (clone, commit) = (self.clone_folder(), self.bare_folder());
        let make = async || match bare {
            true => rooms.git.bare_for_job(url, &branch, base, &commit).await,
            false => rooms.git.clone_for_job(url, &branch, base, &clone).await,
        };
        let made = match make().await {
            // It is known for damaged now, and a fetch makes it anew.
            Err(GitError::Mirror { .. }) => {
                rooms.git.fetch(url, &self.stop).await.map_err(|e| self.git(e))?;
                make().await
            }
            made => made,
        };
        made.map_err(|e| self.git(e))
    }

    /// With the commit that update made, made again from the journal: the same bumps on the same base at the same
    /// time give the same commit, or it is not used.
    async fn committed(&self, clone: WorkClone) -> Result<WorkClone, StepError> {
        let (_, base) = self.base()?;
        let Some(updated) = self.job.updated.clone() else {
            return Err(StepError::failed("update has left no commit; deploy the app again"));
        };
        if updated.commit != base {
            let files = update::apply(self, &clone, &updated.bumps).await?;
            let made = update::commit(self, &clone, &files, &updated.bumps, updated.time).await?;
            if made != updated.commit {
                return Err(StepError::failed(format!(
                    "the commit {} can't be made again (got {}): deploy the app again",
                    updated.commit.short(),
                    made.short()
                )));
            }
        }
        Ok(clone)
    }

    /// Where a new file of the job's can be made.
    pub(super) async fn work_file(&self, name: &str) -> Result<PathBuf, StepError> {
        let folder = self.inner.work_folder(self.job.id);
        let made = tokio::fs::create_dir_all(&folder).await;
        made.map_err(|error| StepError::Retry(format!("could not make {}: {error}", folder.display())))?;
        let file = folder.join(name);
        self.clear(&file).await?;
        Ok(file)
    }

    /// Removes a folder or a file of the job's.
    pub(super) async fn clear(&self, folder: &std::path::Path) -> Result<(), StepError> {
        let path = folder.to_owned();
        let removed = tokio::task::spawn_blocking(move || crate::process::remove(&path)).await;
        let removed = removed.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        removed.map_err(|error| StepError::Retry(format!("could not clear {}: {error}", folder.display())))
    }
}

/// Appends a line to a step's log.
pub(super) async fn say(log: &mut LogFile, text: impl AsRef<str>) -> Result<(), ProcessError> {
    log.write(format!("{}\n", text.as_ref()).as_bytes()).await
}

/// How a job whose every step is done ended well, in words.
pub(super) fn success(job: &JobState) -> String {
    let sha = job.commit().map(|sha| sha.short()).unwrap_or_default();
    let hosts: Vec<&str> = job.hosts.iter().map(|h| h.name.as_str()).collect();
    let well = match (hosts.as_slice(), job.updated.as_ref().is_some_and(|u| !u.bumps.is_empty())) {
        ([], true) => format!("{sha} is published"),
        ([], false) if job.app.build.is_empty() => format!("{sha} is there for those that depend on it"),
        ([], false) => format!("{sha} is built"),
        (hosts, _) => format!("{sha} is live on {}", hosts.join(", ")),
    };
    let well = match job.carried().map(|carried| &carried.because) {
        Some(Because::Rollback { .. }) => {
            let taken: Vec<String> = job.taken_back().iter().map(Sha::short).collect();
            format!("{well} again, in place of {}", taken.join(", "))
        }
        Some(Because::CatchUp) => format!("{well} too"),
        Some(Because::Promote { from, to }) => format!("{well}: promoted from {from} to {to}"),
        None => well,
    };
    let well = job.narrowed.iter().fold(well, |well, narrowed| format!("{well}; {narrowed}"));
    job.left_alone.iter().fold(well, |well, why| format!("{well}; {LEFT_ALONE}{why}"))
}

/// How a job ends whose step failed for good: some hosts may run the new commit, or all be back at what they ran.
pub(super) fn outcome_after_failure(job: &JobState) -> Outcome {
    if job.rolling_back.is_some() {
        let is_back = !job.hosts.iter().any(|h| h.touched);
        return if is_back { Outcome::RolledBack } else { Outcome::Partial };
    }
    if job.hosts.iter().any(|h| h.state == Progress::Done) { Outcome::Partial } else { Outcome::Failed }
}
