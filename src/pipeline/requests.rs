//! Pull requests that carry jobs' commits: what their hosts say of them, and what that means for the job. A worker
//! looks now and again while its job waits, ever less often; `looks` looks when a push to the branch that one is for is
//! told of, so that a merge of ours is known for what it is before it is planned, and wakes the worker.
//!
//! Must never force a branch, or take a merge for what was built unless it is the same tree.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Inner, Pipeline, Rooms, unpoison};
use crate::forge::api::{Api, ApiError, Life, Proposal, PullRequest};
use crate::git::{GitError, Merging, Rev};
use crate::model::progress::REQUESTS;
use crate::model::{AppName, Branch, Entry, JobId, JobState, Outcome, RepoId, Request, Sha};
use crate::net::NetError;
use crate::store::StoreError;

/// How many pull requests are looked at at once.
pub(super) const AT_ONCE: usize = 8;
/// How many names are tried for a pull request's branch.
pub(super) const NAMES: usize = 9;
/// How long a remote may take to show what was merged: then it was pushed over.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

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
    #[error("{0} has no branch {1} any more, to which its host says that it was merged")]
    NoBase(String, String),
}

impl RequestError {
    /// Whether the same may go better in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            RequestError::NoApi(_)
            | RequestError::NoBase(..)
            | RequestError::Api(ApiError::Token { .. } | ApiError::Odd { .. }) => false,
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

/// What a branch's head was when it was last seen whether a pull request still fits: as it was told, and as the mirror
/// has it.
pub(super) type Heads = (Option<Sha>, Option<Sha>);

/// What a look at a pull request came to.
pub(super) enum Looked {
    /// It waits to be merged.
    Open(PullRequest),
    /// It was closed and not merged.
    Closed,
    /// The job goes on; its journal says how.
    GoesOn,
}

/// What it means that a pull request is closed.
pub(super) enum Closed {
    /// Somebody has closed it.
    ByPeople,
    /// The job begins again; its journal says so.
    BeginsAgain,
    /// A newer job of the app may offer the same.
    WaitsFor(JobId),
}

/// The branches that a job's pull request may be of, in the order in which they are tried.
pub(super) fn offers(job: &JobState) -> impl Iterator<Item = Branch> {
    let event = job.id.event;
    let name = move |n| if n == 1 { format!("{REQUESTS}{event}") } else { format!("{REQUESTS}{event}-{n}") };
    (1..=NAMES).filter_map(move |n| Branch::new(name(n)).ok())
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
    /// has the very tree, or as something to be built. One that the remote has not shown for too long was pushed over.
    pub(super) async fn look_at_request(
        &self,
        job: &JobState,
        unshown: Option<Duration>,
    ) -> Result<Looked, RequestError> {
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
        let is_late = unshown.is_some_and(|unshown| unshown >= SHOWN_WITHIN);
        let head = rooms.git.fetch(url, &self.ending).await?.heads.branches.get(base).copied();
        let head = match head {
            Some(head) => head,
            None if is_late => return Err(RequestError::NoBase(url.to_string(), base.to_string())),
            None => return Err(RequestError::NotShown(url.to_string())),
        };
        if let Some(commit) = commit
            && !is_late
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

    /// The commit that a pull request offers, if that is ours.
    pub(super) fn offers_ours(&self, request: &Request, seen: &PullRequest) -> Result<Option<Sha>, StoreError> {
        let Some(head) = seen.head.filter(|head| *head != request.commit) else { return Ok(seen.head) };
        let made = self.store.own_commit(&head)?.map(|own| own.job);
        Ok(Some(head).filter(|_| made.is_some() && made == request.by))
    }

    /// Whether an open pull request offers nothing but what we have made, as its host says now. One that is closed is
    /// nobody's to keep.
    pub(super) async fn is_ours_alone(&self, request: &Request, repo: &RepoId) -> Result<bool, RequestError> {
        let rooms = self.rooms.load_full();
        let api = api(&rooms, repo)?;
        let seen = api.seen(&rooms.http.call(&api.look(request.number)).await?)?;
        Ok(!matches!(seen.state, Life::Open(_)) || self.offers_ours(request, &seen)?.is_some())
    }

    /// The head of the branch that an open pull request is for, if it can't be merged into that any more, or would bring
    /// it nothing; with the reason. Looks only where the branch has moved since it was last found to fit.
    pub(super) async fn outdated(
        &self,
        job: &JobState,
        looked: &mut Option<Heads>,
    ) -> Result<Option<(Sha, String)>, RequestError> {
        let (Some(request), Some((base, on))) = (&job.requested, &job.base) else { return Ok(None) };
        let (git, repo) = (self.rooms.load().git.clone(), job.app.repo());
        let told = self.store.accepted_head(&repo, base)?;
        // No mirror: it comes with the fetch.
        let there = git.resolve(&repo, Rev::Branch(base.clone())).await.unwrap_or(None);
        if looked.is_some_and(|looked| looked == (told, there)) {
            return Ok(None);
        }
        let fetched = git.fetch(&job.app.git_url, &self.ending).await?.heads.branches;
        let head = fetched.get(base).copied();
        let found = match (head, fetched.get(&request.branch)) {
            (Some(head), Some(offered)) if head != *on => {
                let why = match git.merging(&repo, head, *offered).await? {
                    Merging::Clean => None,
                    Merging::Nothing => Some(format!("{base} has it already, at {}", head.short())),
                    Merging::Conflict => Some(format!("it conflicts with {base}, which is at {} now", head.short())),
                };
                why.map(|why| (head, why))
            }
            _ => None,
        };
        *looked = found.is_none().then_some((told, head));
        Ok(found)
    }

    /// Begins a job again on the head of its branch, since its pull request is of no use any more: that is closed, if
    /// nobody but us has pushed to it. None if it is somebody else's by now.
    pub(super) async fn begin_again(
        &self,
        job: &JobState,
        seen: &PullRequest,
        head: Sha,
        why: &str,
    ) -> Result<Option<()>, RequestError> {
        let Some(request) = job.requested.as_ref() else { return Ok(Some(())) };
        if self.offers_ours(request, seen)?.is_none() {
            return Ok(None);
        }
        // First the entry: one that is closed, and no more, was closed by a person.
        match self.store.append_to(job, vec![Entry::Raced { head }]).await {
            Err(StoreError::Moved(_)) => return Ok(Some(())),
            appended => appended?,
        };
        let repo = job.app.repo();
        if request.by.is_none() {
            let word = format!("{why}; what is still due is offered anew");
            if let Err(error) = self.close_request(&repo, request.number, &word).await {
                tracing::warn!(job = %job.id, %error, "pull request {} is of no use any more, and stays open", request.number);
            }
            for other in self.open_jobs_in(&repo).iter().filter(|other| is_of(other, job.id)) {
                self.wake(other.id);
            }
        }
        Ok(Some(()))
    }

    /// What it means for a job that its pull request is closed. If another job had opened it and has gone on without it,
    /// the job begins again, unless its app has a newer one that may yet offer the same.
    pub(super) async fn closed(&self, job: &JobState) -> Result<Closed, RequestError> {
        let (Some(request), Some((base, _))) = (&job.requested, &job.base) else { return Ok(Closed::BeginsAgain) };
        let by = request.by.map(|by| self.store.job(by)).transpose()?.flatten();
        let goes_on = by.is_some_and(|by| match by.outcome() {
            None => by.requested.as_ref().is_none_or(|theirs| theirs.number != request.number),
            // A newer job of its app has taken its place.
            Some(ended) => ended == Outcome::Skipped,
        });
        if !goes_on {
            return Ok(Closed::ByPeople);
        }
        let newer = self.store.open_jobs_of(&job.app.name);
        let may_offer = |newer: &Arc<JobState>| newer.requested.is_none() && newer.published.is_none();
        if let Some(newer) = newer.iter().find(|newer| newer.id > job.id && may_offer(newer)) {
            return Ok(Closed::WaitsFor(newer.id));
        }
        let head = self.base_of_request(job, base).await?;
        match self.store.append_to(job, vec![Entry::Raced { head }]).await {
            Ok(_) | Err(StoreError::Moved(_)) => Ok(Closed::BeginsAgain),
            Err(error) => Err(error.into()),
        }
    }

    /// Closes what this job has offered before it began again, if the daemon ended before it could: it is open, and what
    /// it offers is of this job.
    pub(super) async fn close_what_was_left(&self, job: &JobState, base: &Branch) -> Result<(), RequestError> {
        let (rooms, repo) = (self.rooms.load_full(), job.app.repo());
        let api = api(&rooms, &repo)?;
        for head in offers(job) {
            let found = rooms.http.call(&api.find(&head, base)).await?;
            let found = api.found(&head, base, &found)?;
            for seen in found.iter().filter(|seen| matches!(seen.state, Life::Open(_))) {
                let own = seen.head.map(|sha| self.store.own_commit(&sha)).transpose()?.flatten();
                if own.is_some_and(|own| own.job == job.id) {
                    let word = format!("{base} has left it behind; what is still due is offered anew");
                    self.close_request(&repo, seen.number, &word).await?;
                }
            }
            if found.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Where the branch is now that a pull request is for.
    pub(super) async fn base_of_request(&self, job: &JobState, base: &Branch) -> Result<Sha, RequestError> {
        let (git, url) = (self.rooms.load().git.clone(), &job.app.git_url);
        let head = git.fetch(url, &self.ending).await?.heads.branches.get(base).copied();
        head.ok_or_else(|| RequestError::NoBase(url.to_string(), base.to_string()))
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
        let is_alike = |other: &JobState| branch(other) == branch(job) && tree(other) == tree(job);
        let jobs = self.open_jobs_in(&job.app.repo());
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

    /// The jobs under way of the apps that live in a repository, oldest first.
    pub(super) fn open_jobs_in(&self, repo: &RepoId) -> Vec<Arc<JobState>> {
        let apps: Vec<AppName> = unpoison(self.graph.read()).apps_in(repo).map(|app| app.name.clone()).collect();
        let mut jobs: Vec<_> = apps.iter().flat_map(|app| self.store.open_jobs_of(app)).collect();
        jobs.retain(|job| job.app.repo() == *repo);
        jobs.sort_by_key(|job| job.id);
        jobs
    }

    /// What wakes the worker of a job that waits for a merge.
    pub(super) fn bell(&self, job: JobId) -> Arc<Notify> {
        unpoison(self.bells.lock()).entry(job).or_default().clone()
    }
    /// It waits no longer.
    pub(super) fn forget_bell(&self, job: JobId) {
        unpoison(self.bells.lock()).remove(&job);
    }
    /// A job's pull request is looked at now.
    pub(super) fn wake(&self, job: JobId) {
        if let Some(bell) = unpoison(self.bells.lock()).get(&job) {
            bell.notify_one();
        }
    }
}

/// Whether a job waits for the pull request that another has opened.
fn is_of(job: &JobState, other: JobId) -> bool {
    job.requested.as_ref().is_some_and(|request| request.by == Some(other))
}

impl Pipeline {
    /// Looks now at the pull requests that an app's jobs wait for, or at all.
    pub fn look_at_requests(&self, app: Option<&AppName>) {
        let waiting: Vec<JobId> = match app {
            Some(app) => self.inner.store.open_jobs_of(app).iter().map(|job| job.id).collect(),
            None => unpoison(self.inner.bells.lock()).keys().copied().collect(),
        };
        waiting.into_iter().for_each(|job| self.inner.wake(job));
    }
}
