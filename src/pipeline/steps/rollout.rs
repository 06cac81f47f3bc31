//! Rollout: each host in turn brought to the exact commit, restarted, and asked whether it is well.
//!
//! Idempotent host by host: each is looked at before anything is done to it, what it ran is journaled before its tree
//! moves, and its unit's InvocationID after that and before the restart, so that a resumed restart happens only if it
//! has not. A host's turn is not canceled half-way, not even by a crash in between; the next one's is.
//!
//! A host that can't be reached is passed by: nothing was restarted on it. A host that turned bad, or was lost in its
//! restart, ends the rollout: the commit is what it has in common with those that would follow.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{StepError, Work, say};
use crate::host::{Check, Error, HostState, Remote, Restart};
use crate::model::{App, Entry, Host, HostResult, Progress, Sha, Step, StepResult, UnitName};
use crate::pipeline::log::HostLog;

/// How long one operation on a host may take; a first clone is the longest.
const OPERATION: Duration = Duration::from_secs(600);
/// How long an app without `:health` may take to be active, and how long it has to stay so.
const ACTIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1));
/// How often an operation that lost its connection is tried.
const TRIES: u32 = 3;
/// No try begins later than this after the first that failed: who hears nothing at all has waited long enough.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many of a dead unit's last lines are kept.
const LAST_LINES: u32 = 20;

pub(in crate::pipeline) async fn run(work: &mut Work) -> Result<StepResult, StepError> {
    // The app's lease is what keeps two jobs off one working directory.
    let _lease = &work.lease;
    let Some(commit) = work.job.published else {
        return Err(StepError::failed("publish has left no commit; deploy the app again"));
    };
    let app = work.job.app.clone();
    let mut log = work.log(&Step::Rollout).await?;
    let mut bad: Option<String> = None;
    for host in &app.hosts {
        let state = work.job.host(&host.name).map_or(Progress::Pending, |h| h.state);
        if !matches!(state, Progress::Pending | Progress::Running) {
            if state == Progress::Failed {
                bad = Some(host.name.to_string());
            }
            continue;
        }
        if let Some(bad) = &bad {
            let result = HostResult::Skipped { reason: format!("not begun, since {bad} failed") };
            work.append(vec![Entry::HostFinished { host: host.name.clone(), result }]).await?;
            continue;
        }
        // A turn that a killed daemon began is ended, also if the job was canceled: half a move is nobody's wish.
        let begun = state == Progress::Running;
        if begun && work.inner.ending.is_cancelled() {
            return Err(StepError::Ending);
        }
        if !begun && work.stop.is_cancelled() {
            return Err(work.stopped());
        }
        say(&mut log, format!("{}: to {}", host.name, commit.short())).await?;
        let result = host_turn(work, &app, host, commit).await?;
        let told = match &result {
            HostResult::Done { changed: true } => "live".to_owned(),
            HostResult::Done { changed: false } => "was live already".to_owned(),
            HostResult::Failed { error } => {
                bad = Some(host.name.to_string());
                format!("failed: {error}")
            }
            HostResult::Unreachable { error } => format!("unreachable: {error}"),
            HostResult::Skipped { reason } => format!("skipped: {reason}"),
        };
        say(&mut log, format!("{}: {told}", host.name)).await?;
        tracing::info!(job = %work.job.id, app = %app.name, host = %host.name, %commit, "its turn ended: {told}");
        work.append(vec![Entry::HostFinished { host: host.name.clone(), result }]).await?;
    }
    log.settle().await?;
    let errors = work.job.hosts.iter().filter(|h| h.state != Progress::Done);
    let errors: Vec<String> =
        errors.map(|h| format!("{}: {}", h.name, h.error.as_deref().unwrap_or("not done"))).collect();
    if errors.is_empty() { Ok(StepResult::Done) } else { Err(StepError::failed(errors.join("; "))) }
}

/// One host's turn. Its end is an answer, never an error of the step, unless the store fails.
async fn host_turn(work: &mut Work, app: &App, host: &Host, commit: Sha) -> Result<HostResult, StepError> {
    let attempt = work.job.step(&Step::Rollout).map_or(1, |s| s.attempt);
    let log = work.inner.logs.host(work.job.id, &host.name, attempt, work.inner.masker()).await?;
    let turned = turn(work, app, host, commit, &log).await;
    let result = match turned {
        Ok(result) => result,
        Err(Turn::Step(error)) => return Err(error),
        Err(Turn::Host(error)) => {
            let mut text = work.inner.masked(&error.to_string());
            log.line(&text);
            let now = work.job.host(&host.name);
            if !error.is_unreachable() {
                text.push_str(&last_lines(work, app, host, &log).await);
                HostResult::Failed { error: text }
            } else if now.is_some_and(|h| h.restarting.is_some()) {
                HostResult::Failed { error: format!("{text}; it was being restarted, and how it is now is not known") }
            } else if now.is_some_and(|h| h.state == Progress::Running) {
                let so_far = "it was lost in its turn: its folder may have moved already, and nothing was restarted";
                HostResult::Unreachable { error: format!("{text}; {so_far}") }
            } else {
                HostResult::Unreachable { error: text }
            }
        }
    };
    if let Err(error) = log.close().await {
        tracing::warn!(job = %work.job.id, host = %host.name, %error, "the host's log is not whole");
    }
    Ok(result)
}

/// An operation, again while its connection is lost: each looks before it acts. A macro, since a closure that lends
/// its argument to a future can't be sent between threads yet.
macro_rules! again {
    ($work:expr, $host:expr, $log:expr, |$remote:ident| $operation:expr) => {{
        let (rooms, never) = ($work.rooms(), CancellationToken::new());
        let mut tries = 0;
        let mut lost: Option<tokio::time::Instant> = None;
        loop {
            let mut said = |bytes: &[u8]| $log.bytes(bytes);
            let mut remote =
                Remote { hosts: &rooms.hosts, host: $host, timeout: OPERATION, cancel: &never, log: &mut said };
            let $remote = &mut remote;
            tries += 1;
            match $operation.await {
                Err(error)
                    if error.is_retryable()
                        && tries < TRIES
                        && lost.get_or_insert_with(tokio::time::Instant::now).elapsed() < PATIENCE =>
                {
                    $log.line(&format!("{error}; trying again"));
                    tokio::time::sleep(Duration::from_secs(u64::from(tries))).await;
                }
                result => break result,
            }
        }
    }};
}

enum Turn {
    Step(StepError),
    Host(Error),
}
impl From<Error> for Turn {
    fn from(error: Error) -> Self {
        Turn::Host(error)
    }
}
impl From<crate::store::StoreError> for Turn {
    fn from(error: crate::store::StoreError) -> Self {
        Turn::Step(error.into())
    }
}

async fn turn(work: &mut Work, app: &App, host: &Host, commit: Sha, log: &HostLog) -> Result<HostResult, Turn> {
    let Some(folder) = app.folder_on(host) else {
        return Err(Turn::Step(StepError::failed(format!("{} has hosts and no :working-directory", app.name))));
    };
    let (folder, health) = (folder.as_str(), app.health_on(host));
    let restart = Restart::of(app);
    let unit = restart.as_ref().and_then(Restart::unit);
    log.line(&format!("looking at {folder}"));
    let seen = again!(work, host, log, |remote| remote.observe(folder, unit))?;
    let resumed = work.job.host(&host.name).is_some_and(|h| h.state == Progress::Running);
    work.append(vec![Entry::HostStarted { host: host.name.clone(), previous: seen.head }]).await?;
    let restarting = work.job.host(&host.name).and_then(|h| h.restarting.clone());
    if seen.is_live_at(&commit) && is_well(work, app, host, commit, &CancellationToken::new()).await {
        log.line("it is live and well at the commit already");
        let changed = resumed && restarting.is_some();
        return Ok(HostResult::Done { changed });
    }
    let (branch, _) = work.base().map_err(Turn::Step)?;
    let ours: Vec<Sha> = work.inner.store.last_good(&app.name)?.into_iter().map(|g| g.sha).collect();
    log.line(&format!("bringing {folder} to {commit} on {branch}"));
    let url = &app.git_url;
    let brought = again!(work, host, log, |remote| remote.bring(folder, url, &branch, &commit, None, &ours))?;
    if let Some(from) = brought.from.filter(|_| brought.moved) {
        log.line(&format!("moved from {from}"));
    }
    if let Some(restart) = &restart {
        let before = match restarting {
            // A tree that had to be moved again was not whole when the unit last started.
            Some(invocation) if !brought.moved => invocation,
            _ => {
                // Seen only now: one that came up by itself before the tree moved runs what was there then.
                let seen = match unit {
                    Some(_) => again!(work, host, log, |remote| remote.observe(folder, unit))?,
                    None => seen,
                };
                let invocation = seen.unit.and_then(|u| u.invocation_id);
                let entry = Entry::HostRestarting { host: host.name.clone(), invocation: invocation.clone() };
                work.append(vec![entry]).await?;
                invocation
            }
        };
        log.line(&match restart {
            Restart::Unit(unit) => format!("$ systemctl restart {unit}"),
            Restart::Command(command) => format!("$ {command}"),
        });
        again!(work, host, log, |remote| remote.restart(folder, restart, before.as_deref()))?;
    }
    let check = check(app, folder, health.as_deref(), &commit, unit);
    // It looks again and again by itself.
    let (rooms, never, mut said) = (work.rooms(), CancellationToken::new(), |bytes: &[u8]| log.bytes(bytes));
    let mut remote = Remote { hosts: &rooms.hosts, host, timeout: OPERATION, cancel: &never, log: &mut said };
    remote.verify(&check).await?;
    log.line(&format!("live at {commit}"));
    Ok(HostResult::Done { changed: true })
}

fn check<'a>(
    app: &App,
    folder: &'a str,
    health: Option<&'a str>,
    sha: &'a Sha,
    unit: Option<&'a UnitName>,
) -> Check<'a> {
    let (timeout, stable) = match &app.health {
        Some(health) => (health.timeout, health.stable),
        None => ACTIVE,
    };
    let stable = if unit.is_none() && app.health.is_none() { Duration::ZERO } else { stable };
    Check { working_directory: folder, sha, unit, health, timeout, stable }
}

/// Whether what is live there answers now. Changes nothing but, at the most, a marker that says `live` already. Not to
/// be canceled where a host's turn has begun: what was not seen to be well is restarted.
async fn is_well(work: &Work, app: &App, host: &Host, commit: Sha, cancel: &CancellationToken) -> bool {
    let Some(folder) = app.folder_on(host) else { return false };
    let health = app.health_on(host);
    let restart = Restart::of(app);
    let check = Check {
        timeout: Duration::from_secs(3),
        stable: Duration::ZERO,
        ..check(app, &folder, health.as_deref(), &commit, restart.as_ref().and_then(Restart::unit))
    };
    let (rooms, mut quiet) = (work.rooms(), |_: &[u8]| ());
    let mut remote = Remote { hosts: &rooms.hosts, host, timeout: OPERATION, cancel, log: &mut quiet };
    remote.verify(&check).await.is_ok()
}

/// Whether every host of the app is live and well at the commit: nothing is to be done.
pub(super) async fn is_live_everywhere(work: &Work, commit: Sha) -> bool {
    let app = &work.job.app;
    let restart = Restart::of(app);
    let unit = restart.as_ref().and_then(Restart::unit);
    for host in &app.hosts {
        let Some(folder) = app.folder_on(host) else { return false };
        let (rooms, mut quiet) = (work.rooms(), |_: &[u8]| ());
        let mut remote = Remote { hosts: &rooms.hosts, host, timeout: OPERATION, cancel: &work.stop, log: &mut quiet };
        let seen: Result<HostState, Error> = remote.observe(&folder, unit).await;
        if !seen.is_ok_and(|seen| seen.is_live_at(&commit)) || !is_well(work, app, host, commit, &work.stop).await {
            return false;
        }
    }
    true
}

/// The last journal lines of a unit that failed, as an end of the host's error.
async fn last_lines(work: &Work, app: &App, host: &Host, log: &HostLog) -> String {
    let Some(Restart::Unit(unit)) = Restart::of(app) else { return String::new() };
    match again!(work, host, log, |remote| remote.last_journal_lines(&unit, LAST_LINES)) {
        Ok(lines) if !lines.is_empty() => {
            let text = work.inner.masked(&lines.join("\n"));
            log.line(&text);
            format!(". The last lines of {unit}:\n{text}")
        }
        _ => String::new(),
    }
}
