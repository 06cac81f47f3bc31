//! Publish: the commit that was built, pushed by fast-forward or not at all.
//!
//! It is made anew for that, in a repository where no build has been: what a build did to its clone changes nothing.
//!
//! Idempotent: the remote is asked first, and a commit that is there counts as pushed. Not canceled half-way: a push
//! is short and bounded. Someone who was faster is never overwritten: the job goes back to update on their head.

use tokio_util::sync::CancellationToken;

use super::{StepError, Work, request, say};
use crate::git::{PushError, Pushed};
use crate::model::{Entry, Publish, Step, StepResult};
use crate::process::LogFile;

/// How often someone else may be faster than our push.
const RACES: u32 = 10;

pub(in crate::pipeline) async fn run(work: &mut Work) -> Result<StepResult, StepError> {
    let (branch, base) = work.base()?;
    if !work.job.waits_for_merge() {
        work.take_branch(&branch).await?;
    }
    work.slot.give_back();
    let Some(updated) = work.job.updated.clone() else {
        return Err(StepError::failed("update has left no commit; deploy the app again"));
    };
    if updated.commit == base {
        work.append(vec![Entry::Published { commit: base }]).await?;
        work.branch_lease = None;
        return Ok(StepResult::Skipped { reason: "nothing was bumped, so there is nothing to push".to_owned() });
    }
    if work.job.app.updates.publish == Publish::PullRequest {
        return request::run(work, &branch, updated.commit).await;
    }
    let mut log = work.log(&Step::Publish).await?;
    let clone = work.bare_to_push().await?;
    work.append(vec![Entry::Publishing { commit: updated.commit }]).await?;
    say(&mut log, format!("pushing {} to {branch} of {}", updated.commit, clone.url)).await?;
    let pushed = work.rooms().git.push(&clone, updated.commit, &CancellationToken::new()).await;
    match pushed {
        Ok(pushed) => {
            let how = match pushed {
                Pushed::Done => "pushed",
                Pushed::AlreadyThere => "the remote has it already",
            };
            say(&mut log, how).await?;
            log.settle().await?;
            // Before anyone who waits for it hears of it, so that they need not ask the remote for it.
            if let Err(error) = work.rooms().git.adopt(&clone, updated.commit).await {
                tracing::debug!(job = %work.job.id, %error, "what was pushed is fetched by who needs it");
            }
            work.append(vec![Entry::Published { commit: updated.commit }]).await?;
            work.branch_lease = None;
            Ok(StepResult::Done)
        }
        Err(PushError::Faster { head, .. }) => {
            let head = match head {
                Some(head) => head,
                None => return Err(StepError::Retry(format!("the push to {branch} was overtaken"))),
            };
            say(&mut log, format!("someone was faster: {branch} is at {head}")).await?;
            log.settle().await?;
            if work.job.races >= RACES {
                return Err(StepError::failed(format!(
                    "others pushed to {branch} each of the {RACES} times that it was building; deploy it again when they rest"
                )));
            }
            work.append(vec![Entry::Raced { head }]).await?;
            Err(StepError::Raced)
        }
        Err(error) => Err(refused(work, error, &mut log).await?),
    }
}

/// What a push that did not come through means, told in the log.
pub(super) async fn refused(work: &Work, error: PushError, log: &mut LogFile) -> Result<StepError, StepError> {
    say(log, error.to_string()).await?;
    Ok(match error {
        PushError::Git(error) => work.git(error),
        error => StepError::failed(error.to_string()),
    })
}
