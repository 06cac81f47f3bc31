//! Pushes and tags that are looked at before they are planned: one may end holds, touch only a part of its repository, be one
//! to a branch that has become the default one, or be the merge of a pull request of ours. So is what a person asks of an app
//! that is held until a push: nobody may have told of that yet.
//!
//! Asks remotes and hosts, for no longer than a plan may wait. What can't be told then leaves holds as they are, and
//! pull requests to the workers that wait for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};

use super::Inner;
use super::requests::Looked;
use crate::model::{Event, EventId, EventKind, JobState, Push, RepoId};
use crate::store::StoreError;

/// How long a push may wait for its host to say whether it is a merge of ours.
const LOOK_WITHIN: Duration = Duration::from_secs(20);
/// When a look that the store kept from its end is begun again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Each of these is looked at before it is planned, and holds up no plan but those of later ones of its repository.
#[derive(Default)]
pub(super) struct Looks {
    under_way: JoinSet<bool>,
    of: HashMap<Id, (EventId, Vec<RepoId>)>,
    done: HashSet<EventId>,
}

impl Looks {
    /// Whether an event may be planned now. If not, a look has begun, for which `next` waits.
    pub fn lets(&mut self, inner: &Arc<Inner>, event: &Event) -> Result<bool, StoreError> {
        let repos = event.what.repos();
        if self.of.values().any(|(id, theirs)| *id == event.id || theirs.iter().any(|repo| repos.contains(repo))) {
            return Ok(false);
        }
        if self.done.contains(&event.id) {
            return Ok(true);
        }
        // What makes up for a hold that a push has ended comes with what that push runs, or after it.
        if matches!(event.what, EventKind::Deploy { makes_up: true, .. })
            && self.of.values().any(|(id, _)| *id < event.id)
        {
            return Ok(false);
        }
        let requests = match &event.what {
            EventKind::Push(push) => inner.requests_for(push),
            EventKind::Tag(_) | EventKind::Deploy { .. } | EventKind::Rollout { .. } => Vec::new(),
        };
        let has_parts = matches!(&event.what, EventKind::Push(push) if inner.has_parts(push));
        let may_turn = matches!(&event.what, EventKind::Push(push) if inner.may_turn(push));
        if requests.is_empty() && !has_parts && !may_turn && inner.waiting_for(&event.what)?.is_empty() {
            return Ok(true);
        }
        let (inner, what) = (inner.clone(), event.what.clone());
        let look = self.under_way.spawn(async move {
            // A merge of ours is our own commit from then on.
            inner.settle(requests).await;
            if let EventKind::Push(push) = &what {
                if may_turn {
                    inner.learn_default(push).await;
                }
                inner.bring_parts(push).await;
            }
            let looked = async { inner.release_what_came(inner.waiting_for(&what)?, Some(&what)).await };
            let looked = looked.await;
            if let Err(error) = &looked {
                tracing::error!(%error, "a push that may end a hold waits for the store");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            looked.is_ok()
        });
        self.of.insert(look.id(), (event.id, repos));
        Ok(false)
    }

    /// The event has its plan.
    pub fn planned(&mut self, event: EventId) {
        self.done.remove(&event);
    }

    /// Returns when a look has ended; never if none is under way.
    pub async fn next(&mut self) {
        let Some(ended) = self.under_way.join_next_with_id().await else { return std::future::pending().await };
        let (id, looked) = ended.unwrap_or_else(|panic| {
            tracing::error!(error = %panic, "a look at what a push ends panicked, which is a bug: the holds stay");
            (panic.id(), true)
        });
        if let Some((event, _)) = self.of.remove(&id)
            && looked
        {
            self.done.insert(event);
        }
    }
}

impl Inner {
    /// The jobs that wait for a pull request which a push may be the merge of.
    fn requests_for(&self, push: &Push) -> Vec<Arc<JobState>> {
        let is_for = |job: &JobState| job.base.as_ref().is_some_and(|(base, _)| *base == push.branch);
        let mut jobs: Vec<_> = push.repos().iter().flat_map(|repo| self.open_jobs_in(repo)).collect();
        jobs.retain(|job| job.waits_for_merge() && is_for(job));
        jobs
    }

    /// Looks at these jobs' pull requests. What can't be told now their workers look at, and they hear of it.
    async fn settle(&self, jobs: Vec<Arc<JobState>>) {
        let looks = jobs.iter().map(|job| async {
            match tokio::time::timeout(LOOK_WITHIN, self.look_at_request(job, None)).await {
                Ok(Ok(Looked::GoesOn | Looked::Open(_) | Looked::Closed)) => {}
                Ok(Err(error)) => tracing::debug!(job = %job.id, %error, "its pull request is looked at later"),
                Err(_) => tracing::debug!(job = %job.id, "its pull request's host does not answer; it is asked later"),
            }
            self.wake(job.id);
        });
        futures_util::future::join_all(looks).await;
    }
}
