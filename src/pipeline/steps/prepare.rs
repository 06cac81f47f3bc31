//! Prepare: the app's branch as its remote shows it, and the right to change it. Changes nothing but mirrors.
//!
//! Idempotent: begun again it looks again. A push whose commit the remote does not show yet is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{StepError, Work, say};
use crate::git::{Heads, Rev};
use crate::model::{Branch, Entry, RepoId, RepoUrl, Sha, Step, StepResult, Target, Why};
use crate::process::LogFile;

/// How long a commit that a webhook told of is looked for.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);
/// How often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How old a look at the branch may be that was begun while the last upstream was being published.
const FRESH: Duration = Duration::from_secs(5);

pub(in crate::pipeline) async fn run(work: &mut Work) -> Result<StepResult, StepError> {
    let mut log = work.log(&Step::Prepare).await?;
    let rooms = work.rooms();
    for host in work.job.app.hosts.iter().filter(|host| work.job.host(&host.name).is_some()) {
        // Connected while the build runs, so that the rollout does not wait for handshakes.
        let (rooms, host, stop) = (rooms.clone(), host.clone(), work.stop.clone());
        work.inner.tasks.spawn(async move {
            if let Err(error) = rooms.hosts.warm(&host, &stop).await {
                tracing::debug!(host = %host.name, %error, "not connected in advance");
            }
        });
    }
    let ahead = fetch_ahead(work);
    let url = work.job.app.git_url.clone();
    say(&mut log, format!("fetching {url}")).await?;
    let pushed: Vec<(Option<Sha>, Sha)> = work
        .job
        .live_causes()
        .filter_map(|c| match c.why {
            Why::OwnPush { before, after } => Some((before, after)),
            _ => None,
        })
        .collect();
    // The branch is known without asking but for the first time, so that one fetch under its lease is enough.
    let known = rooms.git.head_branch(&url.id()).await.ok().flatten();
    let mut branch = work.job.app.branch.clone().or(known);
    // A job that only follows others is content with a look of a moment ago: whoever pushes meanwhile is met in publish.
    let follows = work.job.live_causes().all(|cause| cause.why == Why::Dependency);
    let first = work.job.step(&Step::Prepare).is_none_or(|step| step.attempt == 1);
    let fresh = work.looked.filter(|looked| follows && first && looked.elapsed() < FRESH);
    let begun = fresh.unwrap_or_else(std::time::Instant::now);
    let (branch, heads) = loop {
        if let Some(branch) = &branch {
            // Another app of the repository may be about to push.
            work.take_branch(branch).await?;
        }
        let heads = fetch_since(work, &url, fresh).await?;
        let found = branch_of(work, &heads)?;
        if branch.as_ref() == Some(&found) {
            break (found, heads);
        }
        work.branch_lease = None;
        branch = Some(found);
    };
    let mut head = head_of(work, &heads, &branch)?;
    if let Some((before, after)) = pushed.last() {
        head = match wait_for(work, &mut log, &url, &branch, *before, *after, false).await? {
            Some(head) => head,
            None => head_of(work, &fetch(work, &url).await?, &branch)?,
        };
    }
    say(&mut log, format!("{branch} is at {head}")).await?;
    if let Err(error) = work.inner.index_app(&work.job.app, &branch, head, begun).await {
        say(&mut log, format!("note: {error}")).await?;
    }
    for fetched in ahead {
        // It ends by itself, and update looks at what it did.
        let _ = fetched.await;
    }
    log.settle().await?;
    work.append(vec![Entry::Based { branch, sha: head }]).await?;
    Ok(StepResult::Done)
}

/// Begins to fetch the dependencies that were pushed, beside the app's own repository: update then finds them in their
/// mirrors. Only those by ssh, whose handshakes take long. What fails here is asked again there, and told there.
fn fetch_ahead(work: &Work) -> Vec<JoinHandle<()>> {
    let pushed: BTreeMap<&RepoId, &Target> =
        work.job.live_causes().flat_map(|cause| &cause.targets).map(|target| (&target.repo, target)).collect();
    let index = work.inner.store.index(&work.job.app.name).ok().flatten();
    let named = |repo: &RepoId| index.as_ref()?.deps.iter().find(|dep| dep.repo == *repo)?.ssh_url().cloned();
    let fetch = |target: &Target| {
        let url = work.inner.url_of(&target.repo).or_else(|| named(&target.repo))?;
        let (git, target, stop) = (work.rooms().git.clone(), target.clone(), work.stop.clone());
        Some(work.inner.tasks.spawn(async move {
            let known = git.resolve(&target.repo, Rev::Branch(target.branch.clone())).await;
            if !matches!(known, Ok(Some(head)) if head == target.after)
                && let Err(error) = git.fetch(&url, &stop).await
            {
                tracing::debug!(%url, %error, "not fetched in advance");
            }
        }))
    };
    pushed.into_values().filter_map(fetch).collect()
}

async fn fetch(work: &Work, url: &RepoUrl) -> Result<Heads, StepError> {
    fetch_since(work, url, None).await
}

async fn fetch_since(work: &Work, url: &RepoUrl, since: Option<std::time::Instant>) -> Result<Heads, StepError> {
    let fetched = work.rooms().git.fetch_since(url, since, &work.stop).await.map_err(|e| work.git(e))?;
    Ok(fetched.heads)
}

fn branch_of(work: &Work, heads: &Heads) -> Result<Branch, StepError> {
    if let Some(branch) = work.job.app.branch.clone().or_else(|| heads.head_branch.clone()) {
        return Ok(branch);
    }
    Err(StepError::failed(format!(
        "{} has no default branch{}; name one in :branch of {}",
        work.job.app.git_url,
        if heads.branches.is_empty() { " (it is empty)" } else { "" },
        work.job.app.name
    )))
}

fn head_of(work: &Work, heads: &Heads, branch: &Branch) -> Result<Sha, StepError> {
    heads.branches.get(branch).copied().ok_or_else(|| {
        let names: Vec<&str> = heads.branches.keys().take(10).map(Branch::as_str).collect();
        StepError::failed(format!(
            "{} has no branch {branch}; it has: {}. Correct :branch of {}",
            work.job.app.git_url,
            names.join(", "),
            work.job.app.name
        ))
    })
}

/// Returns once the remote shows all of some new tags, or when it is too long in coming: they may have been deleted since.
pub(super) async fn wait_for_tags(
    work: &Work,
    log: &mut LogFile,
    url: &RepoUrl,
    tags: &[String],
) -> Result<(), StepError> {
    let deadline = Instant::now() + SHOWN_WITHIN;
    let rooms = work.rooms();
    let mut left: Vec<&str> = Vec::new();
    for tag in tags {
        if !matches!(rooms.git.resolve(&url.id(), Rev::Tag(tag.clone())).await, Ok(Some(_))) {
            left.push(tag);
        }
    }
    let mut told = false;
    while !left.is_empty() {
        let shown = fetch(work, url).await?.tags;
        left.retain(|tag| !shown.contains_key(*tag));
        if left.is_empty() {
            break;
        }
        let names = left.join(", ");
        if Instant::now() >= deadline {
            say(log, format!("{url} does not show the tag {names}: it may have been deleted")).await?;
            break;
        }
        if !std::mem::replace(&mut told, true) {
            say(log, format!("waiting for {url} to show the tag {names}")).await?;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = work.stop.cancelled() => return Err(work.stopped()),
        }
    }
    Ok(())
}

/// The branch's head, once the remote shows `after` or something newer; none if the branch is gone. A branch that has
/// moved elsewhere than `before` was pushed over: its head is the truth. `exact` asks for `after` itself where the branch
/// has moved on.
pub(super) async fn wait_for(
    work: &Work,
    log: &mut LogFile,
    url: &RepoUrl,
    branch: &Branch,
    before: Option<Sha>,
    after: Sha,
    exact: bool,
) -> Result<Option<Sha>, StepError> {
    let deadline = Instant::now() + SHOWN_WITHIN;
    let rooms = work.rooms();
    let mut told = false;
    loop {
        // A mirror that has the commit already need not be fetched for it.
        let head = match rooms.git.resolve(&url.id(), Rev::Branch(branch.clone())).await {
            Ok(Some(head)) if head == after => return Ok(Some(head)),
            _ => fetch(work, url).await?.branches.get(branch).copied(),
        };
        if let Some(head) = head {
            if head == after || rooms.git.is_ancestor(&url.id(), after, head).await.map_err(|e| work.git(e))? {
                return Ok(Some(if exact { after } else { head }));
            }
            let passed = match work.inner.store.accepted_head(&url.id(), branch)? {
                // A later push is known, and the remote shows it: what it took away will not come back.
                Some(later) if later != after => {
                    rooms.git.is_ancestor(&url.id(), later, head).await.map_err(|e| work.git(e))?
                }
                _ => false,
            };
            let elsewhere = match before {
                // A head that `before` stands on is a remote that lags, or a push that was taken back: time tells.
                Some(before) if before != head => {
                    Instant::now() >= deadline
                        || !rooms.git.is_ancestor(&url.id(), head, before).await.map_err(|e| work.git(e))?
                }
                _ => false,
            };
            if passed || elsewhere {
                say(log, format!("{} was pushed over: {branch} is at {head} now", after.short())).await?;
                return Ok(Some(head));
            }
        } else if before.is_some() || Instant::now() >= deadline {
            // One that is new may only not be shown yet.
            say(log, format!("{url} has no branch {branch} any more: what was pushed to it is left out")).await?;
            return Ok(None);
        }
        if Instant::now() >= deadline {
            return Err(StepError::failed(format!(
                "{url} does not show {after} on {branch} after {} s, though a webhook told of it; redeliver the webhook, or `airplanes deploy {}`",
                SHOWN_WITHIN.as_secs(),
                work.job.app.name
            )));
        }
        if !std::mem::replace(&mut told, true) {
            say(log, format!("waiting for {url} to show {after}")).await?;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = work.stop.cancelled() => return Err(work.stopped()),
        }
    }
}
