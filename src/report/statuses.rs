//! What the commits of a job say of it. Pure.
//!
//! The commit that set an app in motion (a library's, or the app's own push) says how the app fares with it, and so does
//! the commit that goes live. Each app has a context of its own, so that a library's commit shows all that use it.

use crate::forge::api::{Mark, Status, description};
use crate::model::{JobState, Outcome, RepoId, Sha, Why};

/// The statuses that a job's commits should have now, each commit's once. `url` is the daemon's.
pub(super) fn of(job: &JobState, url: Option<&str>) -> Vec<(RepoId, Status)> {
    let (mark, words) = verdict(job);
    let own = job.app.repo();
    let mut said: Vec<(RepoId, Sha, Mark, String)> = Vec::new();
    let mut say = |repo: &RepoId, sha: Sha, mark: Mark, words: &str| {
        // A newer reason, and the commit that goes live, know better.
        said.retain(|(other, at, ..)| (other, *at) != (repo, sha));
        said.push((repo.clone(), sha, mark, words.to_owned()));
    };
    for cause in &job.causes {
        let (mark, words) = match &cause.dropped {
            Some(reason) => (Mark::Failure, reason.as_str()),
            None => (mark, words.as_str()),
        };
        let moved = cause.targets.iter().map(|target| (&target.repo, target.after));
        for (repo, sha) in moved.chain(cause.tags.iter().filter_map(|tag| Some((&tag.repo, tag.commit?)))) {
            // What was not taken of it is not well because the rest is.
            let not_taken = job.narrowed.iter().find(|n| n.culprit.as_ref().is_some_and(|c| c.repo == *repo));
            match not_taken.map(ToString::to_string) {
                Some(words) if mark == Mark::Success => say(repo, sha, Mark::Failure, &words),
                _ => say(repo, sha, mark, words),
            }
        }
        if let Why::OwnPush { after, .. } = cause.why {
            say(&own, after, mark, words);
        }
    }
    for narrowed in &job.narrowed {
        if let Some(culprit) = &narrowed.culprit {
            say(&culprit.repo, culprit.sha, Mark::Failure, &narrowed.to_string());
        }
    }
    match (&job.published, &job.requested) {
        (Some(sha), _) => say(&own, *sha, mark, &words),
        (None, Some(request)) if request.by.is_none() => match job.ended {
            // A check that waits for the merge would keep it from being merged.
            None => {
                let words = format!("built; goes live when pull request {} is merged", request.number);
                say(&own, request.commit, Mark::Success, &words);
            }
            Some(_) => say(&own, request.commit, mark, &words),
        },
        _ => {}
    }
    let context = format!("airplanes/{}", job.app.name);
    let url = url.map(|url| format!("{url}/jobs/{}", job.id));
    let status = |(repo, sha, mark, words): (RepoId, Sha, Mark, String)| {
        (repo, Status { sha, mark, context: context.clone(), description: description(&words), url: url.clone() })
    };
    said.into_iter().map(status).collect()
}

fn verdict(job: &JobState) -> (Mark, String) {
    let name = &job.app.name;
    match &job.ended {
        Some((_, outcome, reason)) => {
            let mark = match outcome {
                Outcome::Succeeded | Outcome::Unchanged => Mark::Success,
                // It is held, or a newer pull request has it: nothing is wrong with the commit.
                Outcome::Skipped if job.live_causes().next().is_some() => Mark::Success,
                Outcome::Partial | Outcome::RolledBack | Outcome::Failed | Outcome::Skipped => Mark::Failure,
                Outcome::Canceled | Outcome::Parked => Mark::Error,
            };
            (mark, format!("{}: {reason}", outcome.as_str()))
        }
        None if !job.started => (Mark::Pending, format!("{name} waits for its turn")),
        None => match (&job.requested, job.published) {
            (Some(request), None) => (Mark::Running, format!("{name} waits for pull request {}", request.number)),
            (_, Some(sha)) => (Mark::Running, format!("{name} goes live at {}", sha.short())),
            (None, None) => (Mark::Running, format!("{name} is being updated and built")),
        },
    }
}
