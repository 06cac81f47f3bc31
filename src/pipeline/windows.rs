//! Windows of time: whether one is open now, who is told that it is not, and how a rollout that nobody asked for waits until
//! it opens. A job that waits has neither lease nor slot; what comes later goes its way, and takes its place.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::steps::{StepError, Work, say};
use super::{Inner, PipelineError};
use crate::model::api::Submitted;
use crate::model::{
    App, Entry, EnvName, HostName, JobId, JobState, Outcome, Progress, Step, StepResult, Waiting, Window,
};
use crate::process::LogFile;
use crate::store::StoreError;

/// How often it is looked whether a window is open, at least: the clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// When a window opens; none if it is open.
fn opens(window: &Window) -> Result<Option<Timestamp>, String> {
    let zone = TimeZone::get(&window.tz).map_err(|error| {
        let tz = &window.tz;
        format!("the time zone {tz} of its window is not known on this machine any more ({error}): install tzdata")
    })?;
    Ok(window.opens(Timestamp::now(), &zone))
}

/// Whether a rollout that nobody asked for may begin on a host now.
pub(super) fn is_open(app: &App, host: &HostName) -> bool {
    app.window_on(host).is_none_or(|window| matches!(opens(window), Ok(None)))
}

/// The windows that are closed now for hosts of an app, in words for somebody whose wish does not wait for them.
pub(super) fn closed(app: &App, is_meant: impl Fn(&HostName) -> bool) -> Vec<String> {
    let mut words = Vec::new();
    for host in app.hosts.iter().filter(|host| is_meant(&host.name)) {
        let Some(window) = app.window_on(&host.name) else { continue };
        let Ok(Some(until)) = opens(window) else { continue };
        let of = app.environment_of(&host.name).map(|there| format!(" of {}", there.name)).unwrap_or_default();
        let until = until.strftime("%Y-%m-%d %H:%MZ");
        let told = format!("the window{of} ({window}) is closed until {until}; what a person asks for goes at once");
        if !words.contains(&told) {
            words.push(told);
        }
    }
    words
}

impl Inner {
    /// What a person's wish is answered: with the windows that it does not wait for.
    pub(super) fn submitted(&self, event: crate::model::EventId, job: JobId) -> Result<Submitted, PipelineError> {
        let state = self.store.job(job)?;
        let notes = state.map(|job| closed(&job.app, |host| job.host(host).is_some())).unwrap_or_default();
        Ok(Submitted { event, job, joined: job.event != event, canceled: Vec::new(), notes })
    }

    /// Why a job that waits for its window has nothing to bring any more, if so.
    fn overtaken(&self, job: &JobState) -> Result<Option<String>, StoreError> {
        let name = &job.app.name;
        if self.app(name).is_none() {
            return Ok(Some(format!("{name} was taken out of deploy.edn while it waited")));
        }
        if let Some(hold) = self.stopped_by(name) {
            return Ok(Some(hold.to_string()));
        }
        let Some((since, _)) = &job.waiting else { return Ok(None) };
        let is_pending = |name: &HostName| job.host(name).is_some_and(|host| host.state == Progress::Pending);
        for other in self.jobs_of(name)? {
            let is_past = other.ended.as_ref().is_some_and(|(at, ..)| at <= since);
            if other.id == job.id || is_past || other.is_catch_up() {
                continue;
            }
            let waits = other.waiting.as_ref().is_some_and(|(at, _)| (at, other.id) > (since, job.id));
            let touched = other
                .hosts
                .iter()
                .any(|host| is_pending(&host.name) && !matches!(host.state, Progress::Pending | Progress::Skipped));
            if waits || touched {
                return Ok(Some(format!("job {} came while it waited for its window, and took its place", other.id)));
            }
        }
        Ok(None)
    }
}

/// Waits until the window of hosts that are next is open, unless a person asked for the rollout.
///
/// Idempotent: the wait is journaled before the lease is let go of, and the next start looks at the clock again.
pub(super) async fn wait(
    work: &mut Work,
    log: &mut LogFile,
    environment: Option<&EnvName>,
    host: &HostName,
) -> Result<(), StepError> {
    let Some(window) = work.job.app.window_on(host).cloned() else { return Ok(()) };
    let is_there = |host: &HostName| work.job.app.environment_of(host).map(|there| &there.name) == environment;
    if work.job.migrations.iter().any(|migration| is_there(&migration.host)) {
        // It has begun there, though no host was touched yet.
        return Ok(());
    }
    if work.job.is_asked() {
        for words in closed(&work.job.app, |name| name == host) {
            say(log, words).await?;
        }
        return Ok(());
    }
    let mut changes = work.inner.store.changes();
    loop {
        if let Some(job) = work.inner.store.job(work.job.id)? {
            work.job = job;
        }
        if work.stop.is_cancelled() {
            return Err(work.stopped());
        }
        if let Some(reason) = work.inner.overtaken(&work.job)? {
            say(log, &reason).await?;
            log.settle().await?;
            let result = StepResult::Skipped { reason: reason.clone() };
            let finished = Entry::StepFinished { step: Step::Rollout, result };
            work.append(vec![finished, Entry::Ended { outcome: Outcome::Skipped, reason }]).await?;
            return Err(StepError::Over);
        }
        let Some(until) = opens(&window).map_err(StepError::failed)? else {
            if work.lease.is_some() {
                return Ok(());
            }
            // Looked at once more with the lease: others were at work until now.
            work.take_app().await?;
            continue;
        };
        let waiting = Waiting { environment: environment.cloned(), until };
        if work.job.waiting.as_ref().map(|(_, before)| before) != Some(&waiting) {
            say(log, format!("waiting {waiting} ({window})")).await?;
            log.settle().await?;
            work.append(vec![Entry::Waiting(waiting)]).await?;
            tracing::info!(job = %work.job.id, app = %work.job.app.name, %until, "waiting for a window");
        }
        (work.lease, work.branch_lease) = (None, None);
        work.slot.give_back();
        let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
        let pause = tokio::time::sleep((left + Duration::from_millis(5)).min(LOOK_EVERY));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                () = work.stop.cancelled() => break,
                change = changes.recv() => match change {
                    Ok(change) if change.job == work.job.id || change.state.app.name != work.job.app.name => {}
                    // Lagging: looking again is always right.
                    _ => break,
                },
            }
        }
    }
}
