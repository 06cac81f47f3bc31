//! One job from its first look to its end. The worker is the job's only owner: it waits for the job's upstreams,
//! takes its leases, runs the steps in order, and says how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Inner;
use super::lease::AppLease;
use super::owed::Owed;
use super::slots::Permit;
use super::steps::{self, Slot, StepError, Work};
use super::waits::Wait;
use crate::model::{Entry, JobId, JobState, Outcome, Progress, Step, StepResult};
use crate::store::{Change, StoreError};

/// How often a step may end in an error before its job does.
const ERRORS: u32 = 3;
/// How often a job may be found interrupted with no step ended in between.
const INTERRUPTIONS: u32 = 10;

/// How long a job may ask remotes while it has a slot among the builds: one that does not answer holds up no others.
const ASKS_WITHIN: Duration = Duration::from_secs(2);

/// What stands between who failed and who stands in between.
const SO: &str = ", so ";

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
            lease = match job.waits_for_merge() {
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
            away: Vec::new(),
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

    async fn end(&self, job: &JobState, outcome: Outcome, reason: String) -> Result<(), Stopped> {
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
    fn stop(self: &Arc<Self>, cancel: &CancellationToken) -> CancellationToken {
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

/// What a job has when it starts.
struct Turn {
    job: Arc<JobState>,
    lease: AppLease,
    /// None where it builds nothing.
    slot: Option<Permit>,
    looked: Option<Instant>,
}

impl Inner {
    /// Waits for upstreams, for the app's lease and for a slot, then starts the job. None if it ended instead.
    async fn wait_for_turn(self: &Arc<Self>, id: JobId, cancel: &CancellationToken) -> Result<Option<Turn>, Stopped> {
        let mut changes = self.store.changes();
        let mut ticks = self.ticks.subscribe();
        let (mut looked, mut asked) = (None, false);
        loop {
            let Some(job) = self.store.job(id)? else { return Ok(None) };
            if job.ended.is_some() {
                return Ok(None);
            }
            let upstreams = match self.look_upstream(&job).await? {
                Some(upstreams) => upstreams,
                None => return Ok(None),
            };
            let (holder, builds) = (self.holder(&job), job.carried().is_none());
            if upstreams.near && !upstreams.ready && holder.is_none() && looked.is_none() {
                looked = Some(Instant::now());
                self.fetch_for(&job, cancel);
            }
            if upstreams.ready && holder.is_none() {
                let news = || self.has_news(&job).unwrap_or(true);
                if builds && !self.await_room(id, cancel, news).await {
                    if self.ending.is_cancelled() {
                        return Err(Stopped::Ending);
                    }
                    continue;
                }
                let turn = async {
                    let lease = self.leases.app(&job.app.name).await;
                    let slot = match builds {
                        true => {
                            let _waits = self.waits.begin(id, Wait::Slot);
                            self.slots.acquire(job.app.name.as_str()).await
                        }
                        false => None,
                    };
                    (lease, slot)
                };
                tokio::pin!(turn);
                // A place among those who wait is given up only for news of this job.
                let won = loop {
                    tokio::select! {
                        won = &mut turn => break Some(won),
                        () = cancel.cancelled() => break None,
                        () = self.ending.cancelled() => return Err(Stopped::Ending),
                        _ = ticks.changed() => if self.has_news(&job)? { break None },
                    }
                };
                if let Some((lease, slot)) = won {
                    let now = self.store.job(id)?;
                    let has_room = !builds || self.low().is_none();
                    if now.as_ref().is_some_and(|now| now.seq == job.seq) && has_room {
                        if let Some(reason) = self.comes_too_late(&job)? {
                            self.end(&job, Outcome::Skipped, reason).await?;
                            return Ok(None);
                        }
                        let app = || Box::new(job.app.clone());
                        let owed = if builds { self.owed(&job).await? } else { Owed::default() };
                        if !owed.unseen.is_empty() && !std::mem::replace(&mut asked, true) {
                            // A slow remote is waited for without what others could use.
                            drop((lease, slot));
                            let stop = self.stop(cancel);
                            let waits = self.waits.begin(id, Wait::Remotes);
                            self.fetch_owed(&job, &owed.unseen, &stop).await;
                            drop(waits);
                            stop.cancel();
                            continue;
                        }
                        let owed = owed.causes.into_iter();
                        let mut entries: Vec<Entry> = owed.map(|cause| Entry::Joined { app: app(), cause }).collect();
                        entries.push(Entry::Started);
                        let job = self.store.append_to(&job, entries).await?;
                        return Ok(Some(Turn { job, lease, slot, looked }));
                    }
                }
                continue;
            }
            loop {
                tokio::select! {
                    changed = changes.recv() => match changed {
                        Ok(Change { job, .. })
                            if job != id && holder != Some(job) && !upstreams.jobs.contains(&job) => {}
                        // Lagging: looking again is always right.
                        _ => break,
                    },
                    _ = ticks.changed() => break,
                    () = cancel.cancelled() => break,
                    () = self.ending.cancelled() => return Err(Stopped::Ending),
                }
            }
        }
    }

    /// Begins to fetch the repository of a job that is about to start: prepare is content with what that finds, and the
    /// handshakes are done while the last push before it is.
    fn fetch_for(self: &Arc<Self>, job: &JobState, cancel: &CancellationToken) {
        let (git, url) = (self.rooms.load().git.clone(), job.app.git_url.clone());
        let stop = self.stop(cancel);
        self.tasks.spawn(async move {
            if let Err(error) = git.fetch(&url, &stop).await {
                tracing::debug!(%url, %error, "not fetched in advance");
            }
            stop.cancel();
        });
    }

    /// Whether a job that waits is another than it was, or its app is gone or held.
    fn has_news(&self, seen: &JobState) -> Result<bool, StoreError> {
        let same = self.store.job(seen.id)?.is_some_and(|now| now.seq == seen.seq);
        Ok(!same || self.app(&seen.app.name).is_none() || self.held_back(seen).is_some())
    }

    /// Ends the job, or takes causes from it, as its upstreams and deploy.edn demand. None if it has ended.
    async fn look_upstream(&self, job: &JobState) -> Result<Option<Upstreams>, Stopped> {
        if let Some(by) = &job.canceling {
            self.end(job, Outcome::Canceled, format!("canceled by {by} before it started")).await?;
            return Ok(None);
        }
        if self.app(&job.app.name).is_none() {
            let reason = format!("{} was taken out of deploy.edn before it started", job.app.name);
            self.end(job, Outcome::Canceled, reason).await?;
            return Ok(None);
        }
        if let Some(hold) = self.held_back(job) {
            self.end(job, Outcome::Skipped, hold.to_string()).await?;
            return Ok(None);
        }
        let (mut ready, mut near, mut dropped, mut jobs) = (true, true, Vec::new(), Vec::new());
        for cause in job.live_causes() {
            for up in &cause.after {
                jobs.push(*up);
                let Some(upstream) = self.store.job(*up)? else { continue };
                let name = &upstream.app.name;
                let lost = upstream.causes.iter().find(|c| c.plan == cause.plan).and_then(|c| c.dropped.as_deref());
                if let Some(why) = lost {
                    // Who failed first is what a person looks for.
                    let first = why.split_once(SO).map_or(why, |(first, _)| first);
                    let what = match upstream.live_causes().next() {
                        None => "was skipped",
                        Some(_) => "went on without this change",
                    };
                    dropped.push((cause.plan, format!("{first}{SO}{name} {what}")));
                    break;
                }
                match upstream.outcome() {
                    _ if upstream.published.is_some() => {}
                    Some(_) if self.stays(&upstream) => {}
                    Some(outcome) => {
                        dropped.push((cause.plan, format!("{name} {} (job {up})", outcome.as_str())));
                        break;
                    }
                    None => {
                        ready = false;
                        near &= upstream.running_step().is_some_and(|running| running.step == Step::Publish);
                    }
                }
            }
        }
        if dropped.is_empty() {
            return Ok(Some(Upstreams { ready, near, jobs }));
        }
        let last = dropped.last().map(|(_, reason)| reason.clone()).unwrap_or_default();
        let entries = dropped.into_iter().map(|(plan, reason)| Entry::CauseDropped { plan, reason }).collect();
        let job = self.store.append_to(job, entries).await?;
        if job.live_causes().next().is_none() {
            self.end(&job, Outcome::Skipped, format!("what it depends on was not published: {last}")).await?;
            return Ok(None);
        }
        Err(Stopped::Store(StoreError::Moved(job.id)))
    }

    /// The job that has the app: one that is parked, or one that has started, which after a restart may come to its
    /// lease later than those that wait behind it.
    pub(super) fn holder(&self, job: &JobState) -> Option<JobId> {
        let has = |other: &JobState| other.started && !other.waits_for_merge();
        let holds = |other: &JobState| has(other) || other.outcome() == Some(Outcome::Parked);
        let others = self.store.open_jobs_of(&job.app.name);
        let holder = others.iter().find(|other| other.id != job.id && holds(other));
        holder.map(|other| other.id)
    }
}

struct Upstreams {
    /// All of them are published.
    ready: bool,
    /// Those that are not are about to be.
    near: bool,
    jobs: Vec<JobId>,
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
        Ok((Outcome::Canceled, format!("canceled by {by}{published}")))
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
    /// A text without what no log may show.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut masker = self.masker();
        let mut bytes = masker.push(text.as_bytes()).into_owned();
        bytes.extend(masker.finish());
        String::from_utf8_lossy(&bytes).into_owned()
    }
    /// What no log may show.
    pub(super) fn masker(&self) -> crate::process::Masker {
        crate::process::Masker::new(&self.rooms.load().secrets)
    }
}
