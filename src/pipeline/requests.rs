//! Pull requests that carry jobs' commits: what their hosts say of them, and what that means for the job. A worker
//! looks now and again while its job waits; the planner looks when a webhook tells of a push to the branch that one is
//! for, so that a merge of ours is known for what it is before it is planned.
//!
//! Must never force a branch, or take a merge for what was built unless it is the same tree.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, Rooms};
use crate::forge::api::{Api, ApiError, Life, Proposal, PullRequest};
use crate::git::GitError;
use crate::model::{Entry, JobId, JobState, Push, RepoId, Request, Sha};
use crate::net::NetError;
use crate::store::StoreError;

/// How long a push may wait for its host to say whether it is a merge of ours.
const LOOK_WITHIN: Duration = Duration::from_secs(20);

/// Why a pull request could not be opened, looked at, merged or closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("`:publish :pull-request` needs the API of {0}, and `:forges` in config.edn has none for it")]
    NoApi(RepoId),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} does not show yet what its host says was merged")]
    NotShown(String),
}

impl RequestError {
    /// Whether the same may go better in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            RequestError::NoApi(_) | RequestError::Api(ApiError::Token { .. } | ApiError::Odd { .. }) => false,
            RequestError::Api(error) => error.is_passing(),
            RequestError::Net(error) => matches!(error, NetError::Unreachable { .. }),
            RequestError::Git(error) => error.is_retryable(),
            RequestError::Store(_) | RequestError::NotShown(_) => true,
        }
    }
    /// How long the host wants to be left alone.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            RequestError::Api(error) => error.wait(),
            _ => None,
        }
    }
}

/// What a look at a pull request came to.
pub(super) enum Looked {
    /// It waits to be merged.
    Open(PullRequest),
    /// It was closed and not merged.
    Closed,
    /// The job goes on; its journal says how.
    GoesOn,
}

pub(super) fn api<'r>(rooms: &'r Rooms, repo: &'r RepoId) -> Result<Api<'r>, RequestError> {
    let forge = rooms.forges.longest(repo.as_str()).map(|(_, forge)| forge);
    forge.and_then(|forge| Api::of(forge, repo)).ok_or_else(|| RequestError::NoApi(repo.clone()))
}

impl Inner {
    /// The pull request of a branch that offers `commit`: one that is there, from before a crash or an answer that was
    /// lost, or a new one.
    pub(super) async fn open_request(
        &self,
        repo: &RepoId,
        proposal: &Proposal,
        commit: Sha,
    ) -> Result<PullRequest, RequestError> {
        let rooms = self.rooms.load_full();
        let api = api(&rooms, repo)?;
        let found = rooms.http.call(&api.find(&proposal.head, &proposal.base)).await?;
        let found = api.found(&proposal.head, &proposal.base, &found)?;
        let is_it = |found: &PullRequest| matches!(found.state, Life::Open(_)) || found.head == Some(commit);
        if let Some(found) = found.into_iter().find(is_it) {
            return Ok(found);
        }
        Ok(api.seen(&rooms.http.call(&api.open(proposal)).await?)?)
    }

    /// Looks at the pull request that a job waits for. A merge goes into its journal: as what was built, if the branch
    /// has the very tree, or as something to be built.
    pub(super) async fn look_at_request(&self, job: &JobState) -> Result<Looked, RequestError> {
        let (Some(request), Some(updated), Some((base, _))) = (&job.requested, &job.updated, &job.base) else {
            return Ok(Looked::GoesOn);
        };
        let (rooms, repo, url) = (self.rooms.load_full(), job.app.repo(), &job.app.git_url);
        let api = api(&rooms, &repo)?;
        let seen = api.seen(&rooms.http.call(&api.look(request.number)).await?)?;
        let commit = match seen.state {
            Life::Open(_) => return Ok(Looked::Open(seen)),
            Life::Closed => return Ok(Looked::Closed),
            Life::Merged(commit) => commit,
        };
        let head = rooms.git.fetch(url, &self.ending).await?.heads.branches.get(base).copied();
        let head = head.ok_or_else(|| RequestError::NotShown(url.to_string()))?;
        if let Some(commit) = commit
            && !rooms.git.is_ancestor(&repo, commit, head).await?
        {
            return Err(RequestError::NotShown(url.to_string()));
        }
        // The head and not the merge itself, if others came after it: to go live with less would take theirs back.
        let is_built = rooms.git.tree_id(&repo, head).await?.to_string() == updated.tree;
        let entry = if is_built { Entry::Merged { commit: head } } else { Entry::Raced { head } };
        match self.store.append_to(job, vec![entry]).await {
            // Somebody else looked, too.
            Ok(_) | Err(StoreError::Moved(_)) => Ok(Looked::GoesOn),
            Err(error) => Err(error.into()),
        }
    }

    /// Closes a pull request, with a last word.
    pub(super) async fn close_request(&self, repo: &RepoId, number: u64, word: &str) -> Result<(), RequestError> {
        let rooms = self.rooms.load_full();
        let api = api(&rooms, repo)?;
        let [close, comment] = api.close(number, word);
        api.done(&rooms.http.call(&close).await?)?;
        // The word is a kindness: without it the job is over all the same.
        let said = match rooms.http.call(&comment).await {
            Ok(reply) => api.done(&reply).map_err(RequestError::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = said {
            tracing::warn!(%repo, number, %error, "a pull request was closed without a word");
        }
        Ok(())
    }

    /// The pull request of another app of the repository that makes the very change: there is none to be made twice.
    pub(super) fn request_alike(&self, job: &JobState) -> Option<Request> {
        let branch = |job: &JobState| job.base.as_ref().map(|(branch, _)| branch.clone());
        let tree = |job: &JobState| job.updated.as_ref().map(|updated| updated.tree.clone());
        let is_alike = |other: &JobState| {
            other.app.repo() == job.app.repo() && branch(other) == branch(job) && tree(other) == tree(job)
        };
        let jobs = self.store.open_jobs();
        let other = jobs.iter().find(|other| other.id != job.id && other.waits_for_merge() && is_alike(other))?;
        let (request, commit) = (other.requested.clone()?, job.updated.as_ref()?.commit);
        Some(Request { by: request.by.or(Some(other.id)), commit, ..request })
    }

    /// A newer job of the app whose pull request bumps all that this one's does.
    pub(super) fn superseded_by(&self, job: &JobState) -> Option<(JobId, Request)> {
        let bumps = |job: &JobState| job.updated.as_ref().map(|updated| updated.bumps.clone()).unwrap_or_default();
        let ours = bumps(job);
        let covers = |other: &JobState| {
            let theirs = bumps(other);
            ours.iter().all(|our| theirs.iter().any(|their| (&their.file, &their.lib) == (&our.file, &our.lib)))
        };
        let jobs = self.store.open_jobs_of(&job.app.name);
        let newer = jobs.iter().filter(|other| other.id > job.id);
        newer.filter(|other| covers(other)).find_map(|other| Some((other.id, other.requested.clone()?)))
    }

    /// The jobs that wait for a pull request which a push may be the merge of.
    pub(super) fn requests_for(&self, push: &Push) -> Vec<Arc<JobState>> {
        let repos = push.repos();
        let is_for = |job: &JobState| job.base.as_ref().is_some_and(|(base, _)| *base == push.branch);
        let mut jobs = self.store.open_jobs();
        jobs.retain(|job| job.waits_for_merge() && is_for(job) && repos.contains(&job.app.repo()));
        jobs
    }

    /// Looks at these jobs' pull requests. What can't be told now their workers look at later.
    pub(super) async fn settle(&self, jobs: Vec<Arc<JobState>>) {
        let looks = jobs.iter().map(|job| async {
            match tokio::time::timeout(LOOK_WITHIN, self.look_at_request(job)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(job = %job.id, %error, "its pull request is looked at later"),
                Err(_) => tracing::debug!(job = %job.id, "its pull request's host does not answer; it is asked later"),
            }
        });
        futures_util::future::join_all(looks).await;
    }
}
