//! Windows of time: whether one is open now, who is told that it is not, and how a rollout that nobody asked for waits until
//! it opens. A job that waits has neither lease nor slot; what comes later goes its way, and takes its place.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::steps::{StepError, Work, say};
use super::{Inner, PipelineError};
use crate::model::api::Submitted;
use crate::model::{
    App, Entry, EnvName, Host, HostName, HostState, JobId, JobState, Outcome, Progress, Step, StepResult, Waiting,
    Window,
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

    /// When a job's rollout may begin on a host, as the configuration in force has it: who waits sees an edit.
    fn window_in_force(&self, job: &JobState, host: &HostName) -> Option<Window> {
        let app = self.app(&job.app.name);
        app.as_ref().unwrap_or(&job.app).window_on(host).cloned()
    }

    /// Why a job that waits for its window has nothing to bring any more, if so.
    fn overtaken(&self, job: &JobState) -> Result<Option<String>, StoreError> {
        let name = &job.app.name;
        let Some(app) = self.app(name) else {
            return Ok(Some(format!("{name} was taken out of deploy.edn while it waited")));
        };
        if let Some(hold) = self.stopped_by(name) {
            return Ok(Some(hold.to_string()));
        }
        let Some((since, _)) = &job.waiting else { return Ok(None) };
        if let Some(host) = moved(job, &app) {
            let why = "is not where or what it was as the job was planned";
            return Ok(Some(format!("{host} {why}, before its window opened: `airplanes deploy {name}`")));
        }
        let is_pending = |name: &HostName| job.host(name).is_some_and(|host| host.state == Progress::Pending);
        for other in self.jobs_of(name)? {
            let is_past = other.ended.as_ref().is_some_and(|(at, ..)| at <= since);
            if other.id == job.id || is_past || other.is_catch_up() {
                continue;
            }
            let waits = other.waiting.as_ref().is_some_and(|(at, _)| (at, other.id) > (since, job.id));
            // What is still at work there may leave nothing of its own.
            let has_brought = |host: &HostState| is_pending(&host.name) && other.has_left(host);
            let has_come = (other.ended.is_some() || other.lets_others()) && other.hosts.iter().any(has_brought);
            if waits || has_come {
                return Ok(Some(format!("job {} came while it waited for its window, and took its place", other.id)));
            }
        }
        Ok(None)
    }
}

/// A host that a job has not come to yet, and that is no more where it is to look for it, or not what it was.
fn moved(job: &JobState, now: &App) -> Option<HostName> {
    let waits = |host: &&Host| job.host(&host.name).is_some_and(|host| host.state == Progress::Pending);
    let there = |app: &App, host: &Host| app.environment_of(&host.name).map(|there| there.name.clone());
    let is_same = |host: &Host| {
        let folder = (job.app.folder_on(host), there(&job.app, host));
        now.hosts.contains(host) && (now.folder_on(host), there(now, host)) == folder
    };
    job.app.hosts.iter().filter(waits).find(|host| !is_same(host)).map(|host| host.name.clone())
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
    if work.inner.window_in_force(&work.job, host).is_none() && !work.job.waits_for_window() {
        return Ok(());
    }
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
    let (mut changes, mut edits) = (work.inner.store.changes(), work.inner.ticks.subscribe());
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
        let window = work.inner.window_in_force(&work.job, host);
        let until = window.as_ref().map(opens).transpose().map_err(StepError::failed)?.flatten();
        let Some((window, until)) = window.zip(until) else {
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
            work.inner.may_owe(&work.job.app.name);
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
                _ = edits.changed() => break,
                change = changes.recv() => match change {
                    Ok(change) if change.job == work.job.id || change.state.app.name != work.job.app.name => {}
                    // Lagging: looking again is always right.
                    _ => break,
                },
            }
        }
    }
}
