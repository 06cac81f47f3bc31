//! Rollout: the hosts brought to the exact commit, batch after batch, each restarted and asked whether it is well.
//!
//! In the flow: `preflight` looks at all hosts of an environment before anything is changed there; `ready` prepares them and
//! migrates for them; `batches` says which are next; `turn` is one host's; `back` brings hosts back when too many failed.
//! All of it goes by the journal, so that a rollout that was interrupted anywhere goes on where it was.
//!
//! A host's turn is not canceled half-way, not even by a crash in between; the next one's is. A way back is ended,
//! whoever cancels.

mod ahead;
mod back;
mod batches;
mod bundle;
mod installs;
mod migration;
mod preflight;
mod ready;
mod ship;
mod side_by_side;
mod switch;
mod turn;

use super::{StepError, Work, say};
use crate::model::rollout::Because;
use crate::model::{Entry, Host, HostName, HostResult, JobState, Outcome, Progress, Sha, Step, StepResult};
use crate::pipeline::windows;
use crate::process::LogFile;
pub(in crate::pipeline) use ahead::Ahead;
pub(super) use ahead::fetch_ahead;
pub(in crate::pipeline) use bundle::Bundles;
pub(in crate::pipeline) use preflight::Asked;
use side_by_side::each;
pub(super) use turn::live_everywhere;

pub(in crate::pipeline) async fn run(work: &mut Work) -> Result<StepResult, StepError> {
    let Some(commit) = work.job.published else {
        return Err(StepError::failed("publish has left no commit; deploy the app again"));
    };
    let mut log = work.log(&Step::Rollout).await?;
    work.ahead.end().await;
    migration::end_begun(work, &mut log, commit).await?;
    if is_there_already(work, commit).await? {
        let reason = format!("{} is what runs there already", commit.short());
        say(&mut log, &reason).await?;
        log.settle().await?;
        let skipped = StepResult::Skipped { reason: reason.clone() };
        let ended = Entry::Ended { outcome: Outcome::Unchanged, reason };
        work.append(vec![Entry::StepFinished { step: Step::Rollout, result: skipped }, ended]).await?;
        return Err(StepError::Over);
    }
    if work.job.rolling_back.is_none() {
        go_on(work, &mut log, commit).await?;
        begin_way_back(work, &mut log).await?;
    }
    if work.job.rolling_back.is_some() {
        for group in batches::way_back(&work.job) {
            turns(work, &mut log, group, Way::Back).await?;
        }
    }
    log.settle().await?;
    let errors = errors(&work.job);
    match &work.job.rolling_back {
        None if errors.is_empty() => Ok(StepResult::Done),
        None if batches::goes_back(&work.job).is_some()
            && migration::stays(&work.job)
            && work.job.hosts.iter().any(|host| host.touched) =>
        {
            Err(StepError::failed(format!(
                "{}; the hosts stay as they are, since :migrate has run and is not :reversible?",
                errors.join("; ")
            )))
        }
        None => Err(StepError::failed(errors.join("; "))),
        Some(_) => Err(StepError::failed(format!("{}; {}", errors.join("; "), back::words(&work.job)))),
    }
}

/// Whether a promotion that has not begun has nothing to bring: all of its hosts run that commit, by that file, and are well.
async fn is_there_already(work: &Work, commit: Sha) -> Result<bool, StepError> {
    let job = &work.job;
    let is_promotion = job.carried().is_some_and(|carried| matches!(carried.because, Because::Promote { .. }));
    let is_begun = job.rolling_back.is_some() || !job.migrations.is_empty();
    if !is_promotion || is_begun || job.hosts.iter().any(|host| host.state != Progress::Pending) {
        return Ok(false);
    }
    let seen = live_everywhere(work, commit).await;
    if work.stop.is_cancelled() {
        Err(work.stopped())
    } else {
        Ok(seen.is_some_and(|seen| seen.has_file(job.sum.as_ref())))
    }
}

/// What became of the hosts that are not at the commit; those that were not begun for others' sake are only named.
fn errors(job: &JobState) -> Vec<String> {
    let open = job.hosts.iter().filter(|host| host.state != Progress::Done);
    let (skipped, others): (Vec<_>, Vec<_>) = open.partition(|host| host.state == Progress::Skipped);
    let told = others.into_iter().filter(|host| host.error.is_some() || job.rolling_back.is_none());
    let mut errors: Vec<String> =
        told.map(|host| format!("{}: {}", host.name, host.error.as_deref().unwrap_or("not done"))).collect();
    if !skipped.is_empty() {
        let names: Vec<&str> = skipped.iter().map(|host| host.name.as_str()).collect();
        errors.push(format!("not begun: {}", names.join(", ")));
    }
    errors
}

/// Batch after batch, until all hosts are settled.
async fn go_on(work: &mut Work, log: &mut LogFile, commit: Sha) -> Result<(), StepError> {
    let mut looked_at = None;
    while let Some(batch) = batches::next(&work.job) {
        let is_running = |name: &HostName| work.job.host(name).is_some_and(|host| host.state == Progress::Running);
        if let Some(why) = batches::over(&work.job).filter(|_| !batch.hosts.iter().any(is_running)) {
            work.asked.clear();
            skip_rest(work, &why).await?;
            continue;
        }
        if let Some(names) = batch.begins.filter(|_| looked_at.as_ref() != Some(&batch.environment)) {
            if let Some(host) = names.first() {
                windows::wait(work, log, batch.environment.as_ref(), host).await?;
            }
            if let Some(name) = &batch.environment {
                say(log, format!("to {name}")).await?;
            }
            for (host, result) in preflight::run(work, commit, &names).await? {
                say(log, format!("{}: {}", host.name, told(&result))).await?;
            }
            looked_at = Some(batch.environment);
            continue;
        }
        if ready::run(work, log, commit, &batch.hosts).await? {
            continue;
        }
        let pause = batch.hosts.first().map(|host| work.job.app.rollout_on(host).pause).unwrap_or_default();
        if batch.is_next && !pause.is_zero() {
            say(log, format!("waiting {} s before the next batch", pause.as_secs_f32())).await?;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = work.stop.cancelled() => return Err(work.stopped()),
            }
        }
        if batch.of > 1 {
            let names: Vec<&str> = batch.hosts.iter().map(HostName::as_str).collect();
            say(log, format!("batch {} of {}: {}", batch.number, batch.of, names.join(", "))).await?;
        }
        let done = turns(work, log, batch.hosts, Way::To(commit)).await;
        work.asked.clear();
        done?;
    }
    Ok(())
}

/// What is not begun stays as it is.
async fn skip_rest(work: &mut Work, why: &str) -> Result<(), StepError> {
    let reason = format!("not begun, since {why}");
    let pending = work.job.hosts.iter().filter(|host| host.state == Progress::Pending);
    let skipped = |host: &crate::model::HostState| Entry::HostFinished {
        host: host.name.clone(),
        result: HostResult::Skipped { reason: reason.clone() },
    };
    let entries = pending.map(skipped).collect();
    Ok(work.append(entries).await?)
}

/// If more failed than may, and something was changed.
async fn begin_way_back(work: &mut Work, log: &mut LogFile) -> Result<(), StepError> {
    let job = &work.job;
    let Some(reason) = batches::goes_back(job) else { return Ok(()) };
    if migration::stays(job) {
        return Ok(say(log, "not rolling back: :migrate has run, and is not :reversible?").await?);
    }
    say(log, "rolling back").await?;
    tracing::warn!(job = %job.id, app = %job.app.name, %reason, "rolling back");
    Ok(work.append(vec![Entry::RollingBack { reason }]).await?)
}

/// Which way hosts go: to a commit, or back to what they ran.
#[derive(Clone, Copy)]
enum Way {
    To(Sha),
    Back,
}

/// The turns of a batch's hosts, so many at once. Nothing is begun any more once too many have failed, somebody wants the
/// end, or the store takes no writes; what is begun comes to its end.
async fn turns(work: &mut Work, log: &mut LogFile, names: Vec<HostName>, way: Way) -> Result<(), StepError> {
    let mut all = hosts(&work.job);
    all.retain(|host| names.contains(&host.name));
    all.sort_by_key(|host| names.iter().position(|name| *name == host.name));
    let rollout = all.first().map(|host| work.job.app.rollout_on(&host.name));
    let at_once = usize::try_from(rollout.map_or(1, |rollout| rollout.parallel)).unwrap_or(1).max(1);
    let stopped = {
        let work: &Work = work;
        let begin = |host: &Host| {
            let job = now(work)?;
            let begun = job.host(&host.name).is_some_and(|host| host.state == Progress::Running);
            let goes_on = begun || matches!(way, Way::Back);
            if !goes_on && batches::over(&job).is_some() {
                return Ok(None);
            }
            // A turn that a killed daemon began is ended, also if the job was canceled: half a move is nobody's wish.
            let end = if goes_on { &work.inner.ending } else { &work.stop };
            if end.is_cancelled() {
                return Err(if goes_on { StepError::Ending } else { work.stopped() });
            }
            Ok(Some(match way {
                Way::To(commit) => format!("{}: to {}", host.name, commit.short()),
                Way::Back => format!("{}: back to what it ran", host.name),
            }))
        };
        let act = |host| async move {
            let result = match way {
                Way::To(commit) => turn::forward(work, host, commit).await,
                Way::Back => back::back(work, host).await,
            };
            let result = of_one(work, host, result)?;
            let entry = Entry::HostFinished { host: host.name.clone(), result: result.clone() };
            work.inner.store.append(work.job.id, vec![entry]).await?;
            let told = told(&result);
            tracing::info!(job = %work.job.id, app = %work.job.app.name, host = %host.name, "its turn ended: {told}");
            Ok(format!("{}: {told}", host.name))
        };
        each(Some(log), &all, at_once, begin, act, |line: &String| Some(line.clone())).await.1
    };
    work.job = now(work)?;
    stopped
}

/// How a turn ended, also one that could not be made from here: that is its host's end and no other's.
fn of_one(work: &Work, host: &Host, ended: Result<HostResult, StepError>) -> Result<HostResult, StepError> {
    match ended {
        Err(StepError::Failed { error, .. } | StepError::Retry(error)) => {
            let error = work.masked(&error);
            let is_begun = now(work)?.host(&host.name).is_some_and(|host| host.state == Progress::Running);
            Ok(match is_begun {
                true => HostResult::Failed { error },
                false => HostResult::Refused { error, locked: false },
            })
        }
        ended => ended,
    }
}

/// The job as its journal has it now.
fn now(work: &Work) -> Result<std::sync::Arc<JobState>, StepError> {
    let job = work.inner.store.job(work.job.id)?;
    job.ok_or_else(|| StepError::failed("the job is not in the store any more"))
}

/// The job's hosts, with how to reach them.
fn hosts(job: &JobState) -> Vec<Host> {
    job.app.hosts.iter().filter(|host| job.host(&host.name).is_some()).cloned().collect()
}

fn told(result: &HostResult) -> String {
    match result {
        HostResult::Done { changed: true } => "live".to_owned(),
        HostResult::Done { changed: false } => "was live already".to_owned(),
        HostResult::Failed { error } | HostResult::Refused { error, .. } | HostResult::PutBack { error } => {
            format!("failed: {error}")
        }
        HostResult::Unreachable { error } => format!("unreachable: {error}"),
        HostResult::Skipped { reason } => format!("skipped: {reason}"),
        HostResult::RolledBack => "back at what it ran".to_owned(),
    }
}
