//! Which merges of pull requests a job has to see before it is over: that may be weeks, so what need not wait for them
//! is kept apart from what has to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::app::App;
use super::fold::JobState;
use super::id::JobId;
use super::plan::Why;
use super::updates::Publish;

/// What of a job, or of one cause of it, waits for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merges {
    /// Something that it depends on may have to be merged before it can start.
    pub before: bool,
    /// What it makes itself may go into a pull request.
    pub own: bool,
}

impl Merges {
    /// Those of a reason to run an app, after others of which one may be merged by people `before`.
    pub fn of_cause(app: &App, why: &Why, before: bool) -> Self {
        // A person's push goes live as it is.
        let is_offered = app.update && app.updates.publish == Publish::PullRequest;
        Self { before, own: is_offered && !matches!(why, Why::OwnPush { .. } | Why::Rollout(_)) }
    }

    /// Those of a job that has not started. `find` gives jobs that have not ended.
    pub fn of_job(job: &JobState, find: impl Fn(JobId) -> Option<Arc<JobState>>) -> Self {
        let (mut seen, mut before) = (BTreeSet::from([job.id]), false);
        let mut queue: Vec<JobId> = ups(job).collect();
        while let Some(id) = queue.pop().filter(|_| !before) {
            let Some(up) = find(id).filter(|up| up.published.is_none() && seen.insert(id)) else { continue };
            before = is_offered(&up);
            queue.extend(ups(&up));
        }
        Self { before, own: is_offered(job) }
    }

    /// Whether people may have to merge something before others have what it publishes.
    pub fn any(self) -> bool {
        self.before || self.own
    }
}

fn ups(job: &JobState) -> impl Iterator<Item = JobId> {
    job.live_causes().flat_map(|cause| cause.after.iter().copied())
}

fn is_offered(job: &JobState) -> bool {
    job.live_causes().any(|cause| Merges::of_cause(&job.app, &cause.why, false).own)
}
