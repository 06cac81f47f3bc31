//! Publish by pull request: the commit that was built is pushed to a branch of its own, a pull request offers it, and
//! the job waits without slot and leases until somebody has merged it, or until its checks are good where the app says
//! `:auto-merge?`. What was merged goes live if it is the tree that was built; else it is built first.
//!
//! Idempotent: the branch and its pull request are looked for before they are made. One that a person closes is closed.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::publish::refused;
use super::{StepError, Work, say};
use crate::forge::api::{Life, Proposal, PullRequest};
use crate::git::{PushError, WorkClone};
use crate::model::progress::REQUESTS;
use crate::model::{Branch, Bump, Entry, Outcome, Request, Sha, Step, StepResult};
use crate::pipeline::requests::{Looked, RequestError};
use crate::process::LogFile;
use crate::store::{Change, StoreError};

/// How many names are tried for the branch.
const NAMES: usize = 9;
/// How often the host is asked again for a pull request that can't be opened now.
const TRIES: u32 = 8;
/// How often it is looked whether it was merged, at first and at the least.
const LOOKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// The longest pause that a host may ask for.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) async fn run(work: &mut Work, base: &Branch, commit: Sha) -> Result<StepResult, StepError> {
    let mut log = work.log(&Step::Publish).await?;
    if work.job.requested.is_none() && work.job.published.is_none() {
        offer(work, base, commit, &mut log).await?;
    }
    // Others go on meanwhile: it may take weeks.
    work.branch_lease = None;
    if work.job.published.is_none() {
        work.lease = None;
        work.clear(&work.inner.work_folder(work.job.id)).await?;
        wait(work, &mut log).await?;
    }
    work.take_app().await?;
    let Some(merged) = work.job.published else {
        return Err(StepError::Raced);
    };
    // Somebody else may have had the app, and brought a newer head to its hosts.
    let (rooms, url) = (work.rooms(), work.job.app.git_url.clone());
    let head = rooms.git.fetch(&url, &work.stop).await.map_err(|e| work.git(e))?.heads.branches.get(base).copied();
    if let Some(head) = head.filter(|head| *head != merged) {
        say(&mut log, format!("{base} has moved on to {head}, which is taken in")).await?;
        work.append(vec![Entry::Raced { head }]).await?;
        return Err(StepError::Raced);
    }
    say(&mut log, format!("merged: {base} is at {merged}, with the tree that was built")).await?;
    log.settle().await?;
    Ok(StepResult::Done)
}

/// Pushes the commit to a branch of its own and opens a pull request for it.
async fn offer(work: &mut Work, base: &Branch, commit: Sha, log: &mut LogFile) -> Result<(), StepError> {
    if let Some(request) = work.inner.request_alike(&work.job) {
        say(log, format!("pull request {} makes the same change: {}", request.number, request.url)).await?;
        work.append(vec![Entry::Requested(request)]).await?;
        return Ok(());
    }
    let clone = work.bare_to_push().await?;
    work.append(vec![Entry::Publishing { commit }]).await?;
    let name = format!("{REQUESTS}{}", work.job.id.event);
    let mut head = None;
    for n in 1..=NAMES {
        let name = if n == 1 { name.clone() } else { format!("{name}-{n}") };
        let branch = Branch::new(name).map_err(|e| StepError::failed(e.to_string()))?;
        let to = WorkClone { branch: branch.clone(), ..clone.clone() };
        say(log, format!("pushing {commit} to {branch} of {}", clone.url)).await?;
        match work.rooms().git.push(&to, commit, &CancellationToken::new()).await {
            Ok(_) => {
                head = Some(branch);
                break;
            }
            // Somebody's, or another app's of this repository: never ours to move.
            Err(PushError::Faster { .. }) => say(log, "that branch has other commits").await?,
            Err(error) => return Err(refused(work, error, log).await?),
        }
    }
    let Some(head) = head else {
        return Err(StepError::failed(format!("{NAMES} branches like {name} have other commits: delete them")));
    };
    let repo = work.job.app.repo();
    let url = work.rooms().url.clone();
    let proposal = proposal(work, head.clone(), base.clone(), url.as_deref());
    let mut tries = 0;
    let opened = loop {
        match work.inner.open_request(&repo, &proposal, commit).await {
            Ok(opened) => break opened,
            Err(error) if error.is_passing() && tries < TRIES => {
                tries += 1;
                say(log, format!("{error}; it is asked again")).await?;
                let pause = Duration::from_secs(1 << (tries - 1).min(5)).max(error.wait().unwrap_or_default());
                pause_for(work, pause.min(LONGEST)).await?;
            }
            Err(RequestError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(StepError::failed(format!("no pull request could be opened: {error}"))),
        }
    };
    say(log, format!("pull request {}: {}", opened.number, opened.url)).await?;
    log.settle().await?;
    let request = Request { number: opened.number, url: opened.url, branch: head, commit, by: None };
    work.append(vec![Entry::Requested(request)]).await?;
    Ok(())
}

/// What people read: which dependency moves from where to where.
fn proposal(work: &Work, head: Branch, base: Branch, url: Option<&str>) -> Proposal {
    let bumps: &[Bump] = work.job.updated.as_ref().map_or(&[], |updated| &updated.bumps);
    let title = super::update::subject(bumps);
    let mut body = String::from("| dependency | file | from | to |\n|---|---|---|---|\n");
    for Bump { lib, file, from, to, .. } in bumps {
        body.push_str(&format!("| {lib} | {file} | `{from}` | `{to}` |\n"));
    }
    let app = &work.job.app.name;
    body.push_str(&format!("\n{app} was built with this. It goes live when this is merged"));
    body.push_str(if work.job.app.updates.auto_merge { ", which happens when all checks are good" } else { "" });
    body.push_str("; closed, it stays as it is until its dependencies move again.\n");
    if let Some(url) = url {
        body.push_str(&format!("\n{url}/jobs/{}\n", work.job.id));
    }
    Proposal { head, base, title, body }
}

/// Returns when the journal says that it was merged, or that the job begins again on what was.
async fn wait(work: &mut Work, log: &mut LogFile) -> Result<(), StepError> {
    // First listen, then look: nothing falls between.
    let mut changes = work.inner.store.changes();
    let (mut pause, mut told, began) = (LOOKS[0], String::new(), Instant::now());
    loop {
        let Some(job) = work.inner.store.job(work.job.id)? else { return Err(StepError::Ending) };
        work.job = job;
        let Some(request) = work.job.requested.clone().filter(|_| work.job.published.is_none()) else { return Ok(()) };
        let looked = tokio::select! {
            looked = look(work, &request, began.elapsed()) => looked,
            () = work.stop.cancelled() => return Err(work.stopped()),
        };
        let mut longer = pause;
        match looked {
            Ok(Next::Again) => continue,
            Ok(Next::Ends(outcome, reason)) => {
                say(log, &reason).await?;
                log.settle().await?;
                match work.inner.store.append_to(&work.job, vec![Entry::Ended { outcome, reason }]).await {
                    Err(StoreError::Moved(_)) => continue,
                    ended => work.job = ended?,
                }
                return Err(StepError::Over);
            }
            Ok(Next::Waits(why)) => tell(&mut told, why, log).await?,
            Err(RequestError::Store(error)) => return Err(error.into()),
            Err(error) => {
                longer = longer.max(error.wait().unwrap_or_default()).min(LONGEST);
                tracing::debug!(job = %work.job.id, %error, "a pull request can't be looked at");
                tell(&mut told, error.to_string(), log).await?;
            }
        }
        let app = work.job.app.name.clone();
        let until = Instant::now() + longer;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                () = work.stop.cancelled() => return Err(work.stopped()),
                changed = changes.recv() => match changed {
                    Ok(Change { state, .. }) if state.app.name != app => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Err(StepError::Ending),
                },
            }
        }
        pause = (pause * 3 / 2).min(LOOKS[1]);
    }
}

/// What follows from a look.
enum Next {
    Again,
    Waits(String),
    Ends(Outcome, String),
}

async fn look(work: &Work, request: &Request, waited: Duration) -> Result<Next, RequestError> {
    let (inner, job) = (&work.inner, &work.job);
    let repo = job.app.repo();
    let Request { number, url, .. } = request;
    if let Some((newer, by)) = inner.superseded_by(job) {
        let word = format!("pull request {} has this and what came since: {}", by.number, by.url);
        // Of another app's own job.
        if request.by.is_none() {
            inner.close_request(&repo, *number, &word).await?;
        }
        return Ok(Next::Ends(Outcome::Skipped, format!("superseded by job {newer}: {word}")));
    }
    let seen: PullRequest = match inner.look_at_request(job).await? {
        Looked::GoesOn => return Ok(Next::Again),
        Looked::Closed => {
            let reason = format!("pull request {number} was closed and not merged: {url}");
            return Ok(Next::Ends(Outcome::Canceled, reason));
        }
        Looked::Open(seen) => seen,
    };
    if !job.app.updates.auto_merge {
        let waits = format!("waiting for somebody to merge pull request {number}: {url}");
        return Ok(Next::Waits(match seen.state {
            Life::Open(Err(why)) => format!("{waits} ({why})"),
            _ => waits,
        }));
    }
    Ok(match inner.merge_request(job, request, &seen, waited).await? {
        Ok(()) => Next::Again,
        Err(why) => Next::Waits(format!("pull request {number} is not merged yet: {why}")),
    })
}

/// Says what has changed since it was last said.
async fn tell(told: &mut String, words: String, log: &mut LogFile) -> Result<(), StepError> {
    if *told != words {
        say(log, &words).await?;
        *told = words;
    }
    Ok(())
}

async fn pause_for(work: &Work, pause: Duration) -> Result<(), StepError> {
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = work.stop.cancelled() => Err(work.stopped()),
    }
}
