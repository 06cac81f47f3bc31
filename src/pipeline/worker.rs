//! One job from its first look to its end. The worker is the job's only owner: once it is the job's turn it runs the
//! steps in order, and says how it ended.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Inner;
use super::steps::{self, Slot, StepError, Work};
use crate::model::{AppName, Entry, JobId, JobState, Outcome, Progress, Secret, Step, StepResult};
use crate::store::StoreError;

/// Shorter secrets of apps are not masked: a `true` or a port would be found in every other line.
const SHORTEST: usize = 6;
/// How often a step may end in an error before its job does.
const ERRORS: u32 = 3;
/// How often a job may be found interrupted with no step ended in between.
const INTERRUPTIONS: u32 = 10;

/// How long a job may ask remotes while it has a slot among the builds: one that does not answer holds up no others.
const ASKS_WITHIN: Duration = Duration::from_secs(2);

/// Why a worker lets go of a job before its end.
pub(super) enum Stopped {
    /// The daemon is ending; the next one goes on.
    Ending,
    /// The store takes no writes; tried again when it does.
    Store(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Stopped::Store(error)
    }
}

impl Inner {
    pub(super) async fn drive(self: &Arc<Self>, id: JobId, cancel: CancellationToken) {
        loop {
            match self.work(id, &cancel).await {
                Ok(()) | Err(Stopped::Ending) => return,
                Err(Stopped::Store(StoreError::Moved(_))) => {}
                Err(Stopped::Store(StoreError::Closed | StoreError::NotOpen(_))) => return,
                Err(Stopped::Store(error)) => {
                    tracing::error!(job = %id, %error, "the job waits for the store");
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                        () = self.ending.cancelled() => return,
                    }
                }
            }
        }
    }

    async fn work(self: &Arc<Self>, id: JobId, cancel: &CancellationToken) -> Result<(), Stopped> {
        let Some(mut job) = self.store.job(id)? else { return Ok(()) };
        if job.canceling.is_some() {
            cancel.cancel();
        }
        let lease;
        let (mut slot, mut looked) = (Slot::default(), None);
        if job.started {
            lease = match job.lets_others() {
                true => None,
                false => tokio::select! {
                    lease = self.leases.app(&job.app.name) => Some(lease),
                    () = self.ending.cancelled() => return Err(Stopped::Ending),
                },
            };
            if job.ended.is_none() {
                job = self.store.append(id, vec![Entry::Resumed]).await?;
            }
        } else {
            let Some(won) = self.wait_for_turn(id, cancel).await? else { return Ok(()) };
            (lease, job) = (Some(won.lease), won.job);
            (slot, looked) = (won.slot.map(Slot::of).unwrap_or_default(), won.looked);
        }
        if job.ended.is_some() {
            return Ok(());
        }
        if job.interruptions > INTERRUPTIONS {
            let reason = format!("it was interrupted {INTERRUPTIONS} times with no step done in between");
            return self.end(&job, Outcome::Failed, reason).await;
        }
        let stop = self.stop(cancel);
        // Whatever still listens for the job's end hears it.
        let _over = stop.clone().drop_guard();
        let mut work = Work {
            inner: self.clone(),
            job,
            lease,
            branch_lease: None,
            slot,
            looked,
            preflight: None,
            reads: Vec::new(),
            building: Duration::ZERO,
            asked: steps::rollout::Asked::default(),
            ahead: steps::rollout::Ahead::default(),
            away: Vec::new(),
            bundles: steps::rollout::Bundles::default(),
            cancel: cancel.clone(),
            stop,
        };
        loop {
            let next = work.job.steps.iter().find(|s| !s.state.is_settled_well());
            let Some(step) = next.map(|s| s.step.clone()) else {
                let reason = steps::success(&work.job);
                return self.end(&work.job, Outcome::Succeeded, reason).await;
            };
            if let Some(ended) = self.run_step(&mut work, step).await? {
                return self.end(&work.job, ended.0, ended.1).await;
            }
            if work.job.ended.is_some() {
                self.clean_up(&work.job).await;
                return Ok(());
            }
        }
    }

    /// One attempt of a step. `Some` is the job's end.
    async fn run_step(self: &Arc<Self>, work: &mut Work, step: Step) -> Result<Option<(Outcome, String)>, Stopped> {
        let boundary = !matches!(step, Step::Rollout);
        if boundary && work.cancel.is_cancelled() {
            return self.canceled(work).map(Some);
        }
        if self.ending.is_cancelled() {
            return Err(Stopped::Ending);
        }
        let id = work.job.id;
        if matches!(step, Step::Prepare | Step::Update | Step::Build(_))
            && !self.await_room(id, &work.stop, || false).await
        {
            return if work.cancel.is_cancelled() { self.canceled(work).map(Some) } else { Err(Stopped::Ending) };
        }
        work.job = self.store.append(id, vec![Entry::StepStarted { step: step.clone() }]).await?;
        tracing::info!(job = %id, app = %work.job.app.name, %step, "step started");
        let result = self.attempt(work, &step).await;
        let errors = work.job.step(&step).map_or(0, |s| s.errors);
        let failed = |error: String, exit_code, retry| {
            vec![Entry::StepFinished { step: step.clone(), result: StepResult::Failed { error, exit_code, retry } }]
        };
        match result {
            Ok(result) => {
                let entries = vec![Entry::StepFinished { step: step.clone(), result }];
                work.job = self.store.append(id, entries).await?;
                if step == Step::Publish
                    && let Err(error) = self.index_published(&work.job).await
                {
                    tracing::warn!(job = %id, app = %work.job.app.name, %error, "what the app depends on is read by its next job");
                }
            }
            Err(StepError::Over) => {}
            Err(StepError::Narrowed { error, exit_code, found }) => {
                tracing::warn!(job = %id, app = %work.job.app.name, %step, %error, "a build failed; it is done again without what broke it");
                let mut entries = failed(error, exit_code, true);
                entries.extend(found.into_iter().map(Entry::Narrowed));
                work.job = self.store.append(id, entries).await?;
            }
            Err(StepError::Raced) => {
                let pause = Duration::from_millis(100 * u64::from(work.job.races));
                tracing::info!(job = %id, app = %work.job.app.name, "someone was faster: the edit is made again on their head");
                work.pause(pause).await;
            }
            // A full disk is nobody's fault: it is waited for before the next attempt.
            Err(StepError::Retry(error)) if errors + 1 < ERRORS || self.low().is_some() => {
                tracing::warn!(job = %id, app = %work.job.app.name, %step, %error, "a step failed and is tried again");
                work.job = self.store.append(id, failed(error, None, true)).await?;
                work.pause(Duration::from_secs(1 << (2 * errors).min(6))).await;
            }
            Err(StepError::Retry(error)) => {
                tracing::warn!(job = %id, app = %work.job.app.name, %step, %error, "a step failed");
                work.job = self.store.append(id, failed(error.clone(), None, false)).await?;
                return Ok(Some((steps::outcome_after_failure(&work.job), format!("{step}: {error}"))));
            }
            Err(StepError::Failed { error, exit_code }) => {
                tracing::warn!(job = %id, app = %work.job.app.name, %step, %error, "a step failed");
                work.job = self.store.append(id, failed(error.clone(), exit_code, false)).await?;
                return Ok(Some((steps::outcome_after_failure(&work.job), format!("{step}: {error}"))));
            }
            Err(StepError::Canceled) => return self.canceled(work).map(Some),
            Err(StepError::Ending) => return Err(Stopped::Ending),
            Err(StepError::Store(error)) => return Err(Stopped::Store(error)),
        }
        Ok(None)
    }

    async fn attempt(&self, work: &mut Work, step: &Step) -> Result<StepResult, StepError> {
        let slot = work.slot.clone();
        let mut run = std::pin::pin!(async {
            match step {
                Step::Prepare => steps::prepare::run(work).await,
                Step::Update => steps::update::run(work).await,
                Step::Build(name) => steps::build::run(work, name.as_deref()).await,
                Step::Publish => steps::publish::run(work).await,
                Step::Rollout => steps::rollout::run(work).await,
            }
        });
        tokio::select! {
            result = &mut run => return result,
            () = tokio::time::sleep(ASKS_WITHIN), if matches!(step, Step::Prepare | Step::Update) => slot.give_back(),
        }
        run.await
    }

    pub(super) async fn end(&self, job: &JobState, outcome: Outcome, reason: String) -> Result<(), Stopped> {
        let job = self.store.append(job.id, vec![Entry::Ended { outcome, reason: reason.clone() }]).await?;
        tracing::info!(job = %job.id, app = %job.app.name, outcome = outcome.as_str(), %reason, "job ended");
        self.clean_up(&job).await;
        Ok(())
    }

    /// What the job kept on disk besides its logs. A failure leaves rubbish, not a wrong state.
    async fn clean_up(&self, job: &JobState) {
        let folder = self.work_folder(job.id);
        let path = folder.clone();
        let removed = tokio::task::spawn_blocking(move || crate::process::remove(&path)).await;
        if let Err(error) = removed.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            tracing::warn!(job = %job.id, folder = %folder.display(), %error, "the job's clone could not be removed");
        }
    }

    /// Canceled by the job's own token, or by the daemon's end.
    pub(super) fn stop(self: &Arc<Self>, cancel: &CancellationToken) -> CancellationToken {
        let stop = cancel.child_token();
        let (ending, both) = (self.ending.clone(), stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = ending.cancelled() => both.cancel(),
                () = both.cancelled() => {}
            }
        });
        stop
    }
}

impl Inner {
    /// How a canceled job ends: the truth about its hosts.
    fn canceled(&self, work: &mut Work) -> Result<(Outcome, String), Stopped> {
        // Who canceled it has journaled that past this worker.
        if let Some(job) = self.store.job(work.job.id)? {
            work.job = job;
        }
        let job = &work.job;
        let by = job.canceling.as_deref().unwrap_or("a person");
        let changed: Vec<&str> = job.hosts.iter().filter(|h| h.changed).map(|h| h.name.as_str()).collect();
        let untouched = job.hosts.iter().any(|h| h.state != Progress::Done);
        if !changed.is_empty() && untouched {
            return Ok((Outcome::Partial, format!("canceled by {by}; changed: {}", changed.join(", "))));
        }
        let published = match (&job.published, &job.updated) {
            (Some(sha), Some(updated)) if !updated.bumps.is_empty() => format!("; {} is published", sha.short()),
            _ => match job.requested.as_ref().filter(|_| job.published.is_none()) {
                Some(request) => format!("; pull request {} is left as it is", request.number),
                None => String::new(),
            },
        };
        let migrated: Vec<&str> = job.migrations.iter().map(|migration| migration.host.as_str()).collect();
        let migrated = match migrated.is_empty() {
            true => String::new(),
            false => format!("; :migrate has run on {}, and no host has the commit yet", migrated.join(", ")),
        };
        Ok((Outcome::Canceled, format!("canceled by {by}{published}{migrated}")))
    }
}

impl Work {
    /// Waits, unless the job is canceled or the daemon ends.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

impl Inner {
    /// Where a job keeps its clone and its build's git configuration.
    pub(super) fn work_folder(&self, job: JobId) -> std::path::PathBuf {
        self.state.join("work").join(job.to_string())
    }
    /// A text of an app's without what no log may show.
    pub(super) fn masked(&self, app: &AppName, text: &str) -> String {
        let mut masker = self.masker(app);
        let mut bytes = masker.push(text.as_bytes()).into_owned();
        bytes.extend(masker.finish());
        String::from_utf8_lossy(&bytes).into_owned()
    }
    /// What no log of an app may show: the daemon's secrets, and the app's own, which its units may print.
    pub(super) fn masker(&self, app: &AppName) -> crate::process::Masker {
        // One that can't be opened is on no host either.
        let own = self.store.secrets(app).unwrap_or_default().into_iter();
        let own = own.filter_map(|head| self.store.secret(app, &head.name).ok().flatten());
        let own: Vec<Secret> = own.filter(|secret| secret.len() >= SHORTEST).collect();
        crate::process::Masker::new(self.rooms.load().secrets.iter().chain(&own))
    }
}
