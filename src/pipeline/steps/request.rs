//! Publish by pull request: the commit that was built is pushed to a branch of its own, a pull request offers it, and
//! the job waits without slot and leases until somebody has merged it, or until its checks are good where the app says
//! `:auto-merge?`. What was merged goes live if it is the tree that was built; else it is built first.
//!
//! Idempotent: the branch and its pull request are looked for before they are made. One that a person closes is closed;
//! one that its branch has left behind (it conflicts, somebody has brought the same, or only what stands on the branch's
//! head may be merged by us) is closed by us, and the job begins again on the branch as it is. Nothing is forced.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::publish::refused;
use super::{StepError, Work, say};
use crate::forge::api::{Life, NotYet, Proposal, PullRequest};
use crate::git::{PushError, WorkClone};
use crate::model::progress::REQUESTS;
use crate::model::{Branch, Bump, Entry, JobId, Outcome, Request, Sha, Step, StepResult};
use crate::pipeline::requests::{Closed, Heads, Looked, NAMES, RequestError, offers};
use crate::pipeline::waits::Wait;
use crate::process::LogFile;
use crate::store::StoreError;

/// How often the host is asked again for a pull request that can't be opened now.
const TRIES: u32 = 8;
/// How often it is looked whether it was merged, at first and at the least. A push to the branch that it is for, `sync`
/// and the like are told of at once.
const LOOKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(600)];
/// How long its base has to have left a pull request behind, with its host not saying that it was merged.
const LEFT_BEHIND: Duration = Duration::from_secs(5);
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
        wake_older(work);
        return Ok(());
    }
    let clone = work.bare_to_push().await?;
    work.append(vec![Entry::Publishing { commit }]).await?;
    let mut head = None;
    for branch in offers(&work.job) {
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
        let event = work.job.id.event;
        return Err(StepError::failed(format!(
            "{NAMES} branches like {REQUESTS}{event} have other commits: delete them"
        )));
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
    wake_older(work);
    Ok(())
}

/// The app's older jobs may be superseded.
fn wake_older(work: &Work) {
    let jobs = work.inner.store.open_jobs_of(&work.job.app.name);
    jobs.iter().filter(|job| job.id != work.job.id).for_each(|job| work.inner.wake(job.id));
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

/// What is known of a pull request that is waited for.
#[derive(Default)]
struct Waiting {
    /// What was last said.
    told: String,
    /// Since when its host says that it was merged, and the remote does not show it.
    unshown: Option<Instant>,
    /// The head of its branch's base that it was last seen to fit.
    fits: Option<Heads>,
    /// Since when its base has left it behind: or it is being merged, which its host says in a moment.
    left_behind: Option<Instant>,
}

/// Returns when the journal says that it was merged, or that the job begins again on what was.
async fn wait(work: &mut Work, log: &mut LogFile) -> Result<(), StepError> {
    // First listen, then look: nothing falls between.
    let (inner, id) = (work.inner.clone(), work.job.id);
    let bell = inner.bell(id);
    let waited = wait_for(work, log, &bell).await;
    inner.forget_bell(id);
    waited
}

async fn wait_for(work: &mut Work, log: &mut LogFile, bell: &Notify) -> Result<(), StepError> {
    let (mut pause, mut waiting, began) = (LOOKS[0], Waiting::default(), Instant::now());
    let inner = work.inner.clone();
    let waits = inner.waits.begin(work.job.id, Wait::Merge(None));
    loop {
        let Some(job) = work.inner.store.job(work.job.id)? else { return Err(StepError::Ending) };
        work.job = job;
        let Some(request) = work.job.requested.clone().filter(|_| work.job.published.is_none()) else { return Ok(()) };
        let looked = tokio::select! {
            looked = look(work, &request, &mut waiting, began.elapsed()) => looked,
            () = work.stop.cancelled() => return Err(work.stopped()),
        };
        let mut longer = pause;
        if !matches!(looked, Err(RequestError::NotShown(_))) {
            waiting.unshown = None;
        }
        match looked {
            Ok(Next::Again) => continue,
            Ok(Next::Goes(why)) => {
                waiting.tell(work.job.id, why, log).await?;
                continue;
            }
            Ok(Next::Ends(outcome, reason)) => {
                say(log, &reason).await?;
                log.settle().await?;
                match work.inner.store.append_to(&work.job, vec![Entry::Ended { outcome, reason }]).await {
                    Err(StoreError::Moved(_)) => continue,
                    ended => work.job = ended?,
                }
                return Err(StepError::Over);
            }
            Ok(Next::Soon) => (pause, longer) = (LOOKS[0], LOOKS[0]),
            Ok(Next::Waits(why)) => {
                waits.says(Wait::Merge(why.clone()));
                let Request { number, url, .. } = &request;
                let words = match why {
                    Some(why) => format!("pull request {number} is {why}"),
                    None => format!("waiting for somebody to merge pull request {number}: {url}"),
                };
                waiting.tell(work.job.id, words, log).await?;
            }
            Err(RequestError::Store(error)) => return Err(error.into()),
            Err(error) => {
                if matches!(error, RequestError::NotShown(_)) {
                    waiting.unshown.get_or_insert_with(Instant::now);
                    (pause, longer) = (LOOKS[0], LOOKS[0]);
                }
                longer = longer.max(error.wait().unwrap_or_default()).min(LONGEST);
                waits.says(Wait::Merge(Some(error.to_string())));
                waiting.tell(work.job.id, error.to_string(), log).await?;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(spread(longer)) => pause = (pause * 3 / 2).min(LOOKS[1]),
            // Its host may need a moment, too.
            () = bell.notified() => pause = LOOKS[0],
            () = work.stop.cancelled() => return Err(work.stopped()),
        }
    }
}

/// A pause that is up to an eighth longer, so that those who began together do not ask together for ever.
fn spread(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without random bytes it is only less spread.
    let _ = getrandom::fill(&mut random);
    pause + pause * u32::from(random[0]) / 2048
}

/// What follows from a look.
enum Next {
    Again,
    /// Said already in the journal; here is why.
    Goes(String),
    /// What it is shows in a moment.
    Soon,
    /// What is in the way of the merge, but that somebody has to do it.
    Waits(Option<String>),
    Ends(Outcome, String),
}

async fn look(work: &Work, request: &Request, waiting: &mut Waiting, waited: Duration) -> Result<Next, RequestError> {
    let (inner, job) = (&work.inner, &work.job);
    let Ok(_turn) = inner.askers.acquire().await else { return Ok(Next::Again) };
    let repo = job.app.repo();
    let Request { number, url, .. } = request;
    if let Some((newer, by)) = inner.superseded_by(job) {
        let word = format!("pull request {} has this and what came since: {}", by.number, by.url);
        let superseded = format!("superseded by job {newer}: {word}");
        // Of another app's own job.
        if request.by.is_none() {
            if !inner.is_ours_alone(request, &repo).await? {
                let left =
                    format!("{superseded}. Somebody has pushed to {url}: it stays open, theirs to merge or to close");
                return Ok(Next::Ends(Outcome::Skipped, left));
            }
            inner.close_request(&repo, *number, &word).await?;
        }
        return Ok(Next::Ends(Outcome::Skipped, superseded));
    }
    let looked = inner.look_at_request(job, waiting.unshown.map(|since| since.elapsed())).await;
    let seen: PullRequest = match looked {
        Ok(Looked::GoesOn) => return Ok(Next::Again),
        Ok(Looked::Closed) => {
            return Ok(match inner.closed(job).await? {
                Closed::BeginsAgain => Next::Again,
                Closed::WaitsFor(newer) => Next::Waits(Some(format!("closed; job {newer} goes on"))),
                Closed::ByPeople => {
                    let reason = format!("pull request {number} was closed and not merged: {url}");
                    Next::Ends(Outcome::Canceled, reason)
                }
            });
        }
        Ok(Looked::Open(seen)) => seen,
        Err(error @ RequestError::NoBase(..)) => return Ok(Next::Ends(Outcome::Failed, error.to_string())),
        Err(error) => return Err(error),
    };
    let outdated = inner.outdated(job, &mut waiting.fits).await?;
    if outdated.is_none() {
        waiting.left_behind = None;
    }
    if let Some((head, why)) = outdated {
        let why = format!("left behind: {why}");
        if waiting.left_behind.get_or_insert_with(Instant::now).elapsed() < LEFT_BEHIND {
            return Ok(Next::Soon);
        }
        let told = format!("pull request {number} is {why}");
        if inner.begin_again(job, &seen, head, &told).await?.is_some() {
            return Ok(Next::Goes(told));
        }
        let theirs = format!("{why}; somebody has pushed to its branch, so it is theirs to mend or to close");
        return Ok(Next::Waits(Some(theirs)));
    }
    if !job.app.updates.auto_merge {
        return Ok(Next::Waits(match seen.state {
            Life::Open(Err(why)) => Some(format!("not merged yet: {why}")),
            _ => None,
        }));
    }
    let why = match inner.merge_request(job, request, &seen, waited).await? {
        Ok(()) => return Ok(Next::Again),
        Err(why) => why,
    };
    if let (NotYet::Behind, Some((base, on))) = (&why, &job.base) {
        let head = inner.base_of_request(job, base).await?;
        let why = format!("pull request {number} is left behind: {base} is at {} now, and {why}", head.short());
        // Else its host has not seen yet that it stands there.
        if head != *on && inner.begin_again(job, &seen, head, &why).await?.is_some() {
            return Ok(Next::Goes(why));
        }
    }
    Ok(Next::Waits(Some(format!("not merged yet: {why}"))))
}

impl Waiting {
    /// Says what has changed since it was last said.
    async fn tell(&mut self, job: JobId, words: String, log: &mut LogFile) -> Result<(), StepError> {
        if self.told != words {
            tracing::debug!(%job, "{words}");
            say(log, &words).await?;
            self.told = words;
        }
        Ok(())
    }
}

async fn pause_for(work: &Work, pause: Duration) -> Result<(), StepError> {
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = work.stop.cancelled() => Err(work.stopped()),
    }
}
