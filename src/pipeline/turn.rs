//! A job before it starts: it waits for its upstreams, for its app and for a slot, and takes up what its app is owed.
//! Must never start one whose upstreams are not published, or whose app is held.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::Inner;
use super::lease::AppLease;
use super::owed::Owed;
use super::slots::Permit;
use super::waits::Wait;
use super::worker::Stopped;
use crate::model::{Entry, EventKind, JobId, JobState, Outcome, Step};
use crate::store::{Change, StoreError};

/// What stands between who failed and who stands in between.
const SO: &str = ", so ";

/// What a job has when it starts.
pub(super) struct Turn {
    pub job: Arc<JobState>,
    pub lease: AppLease,
    /// None where it builds nothing.
    pub slot: Option<Permit>,
    pub looked: Option<Instant>,
}

impl Inner {
    /// Waits for upstreams, for the app's lease and for a slot, then starts the job. None if it ended instead.
    pub(super) async fn wait_for_turn(
        self: &Arc<Self>,
        id: JobId,
        cancel: &CancellationToken,
    ) -> Result<Option<Turn>, Stopped> {
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
            let (holder, builds) = (self.holder(&job).or(self.comes_first(&job)?), job.carried().is_none());
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
                        let too_late = match self.comes_too_late(&job)? {
                            None => self.is_outdated(&job).await?,
                            late => late,
                        };
                        if let Some(reason) = too_late {
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
        let has = |other: &JobState| other.started && !other.lets_others();
        let holds = |other: &JobState| has(other) || other.outcome() == Some(Outcome::Parked);
        let others = self.store.open_jobs_of(&job.app.name);
        let holder = others.iter().find(|other| other.id != job.id && holds(other));
        holder.map(|other| other.id)
    }

    /// The job of its app that what makes up for a hold comes after: one that is older, waits for nobody and is about to
    /// begin.
    pub(super) fn comes_first(&self, job: &JobState) -> Result<Option<JobId>, StoreError> {
        let begins = |other: &JobState| {
            let is_free = other.live_causes().all(|cause| cause.after.is_empty());
            other.id < job.id && !other.started && other.ended.is_none() && is_free
        };
        let Some(first) = self.store.open_jobs_of(&job.app.name).into_iter().find(|other| begins(other)) else {
            return Ok(None);
        };
        let event = self.store.event(job.id.event)?.map(|row| row.event.what);
        let makes_up = matches!(event, Some(EventKind::Deploy { makes_up: true, .. }));
        Ok(makes_up.then_some(first.id))
    }
}

struct Upstreams {
    /// All of them are published.
    ready: bool,
    /// Those that are not are about to be.
    near: bool,
    jobs: Vec<JobId>,
}
