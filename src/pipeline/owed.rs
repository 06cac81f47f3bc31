//! What an app is owed: causes that its jobs lost because something before them was not published. Its next job takes
//! them up, once whoever had failed has taken in what it failed on: never half of a set. What is due of one that is not
//! whole is left out until then, also by a job that takes all that is due.
//!
//! Asks mirrors, and remotes only for a commit that a mirror does not have: while the job has neither lease nor slot.
//! Must never hold up a job for long, nor give it a cause that it could only wait for: what can't be taken up now stays
//! owed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::git::Rev;
use crate::model::{AppName, Cause, JobId, JobState, Merges, Outcome, PlanId, RepoId, Target, Why};
use crate::store::{JobFilter, StoreError};

/// So many jobs of an app are looked back upon.
const BACK: usize = 20;
/// How long may be spent on seeing whether what is owed is still there.
const WITHIN: Duration = Duration::from_secs(20);

/// What an app is owed.
#[derive(Default)]
pub(super) struct Owed {
    /// What can be taken up, oldest first.
    pub causes: Vec<Cause>,
    /// What only remotes can tell of.
    pub unseen: Vec<Cause>,
}

impl Inner {
    /// The causes that a job takes up besides its own, each with what has been published since in place of what had
    /// failed. Asks mirrors alone.
    pub(super) async fn owed(&self, job: &JobState) -> Result<Owed, StoreError> {
        let mut owed = Owed { causes: Vec::new(), unseen: Vec::new() };
        for cause in self.lost(job)? {
            // A person's push does not wait for the merge of what is owed besides.
            let is_offered = |why: &Why| Merges::of_cause(&job.app, why, false).own;
            if is_offered(&cause.why) && !job.live_causes().any(|own| is_offered(&own.why)) {
                continue;
            }
            let Some(after) = self.made_good(cause.plan, &cause.after)? else { continue };
            match self.is_still_there(job, &cause, None).await {
                true => owed.causes.push(Cause { after, dropped: None, ..cause }),
                false => owed.unseen.push(cause),
            }
        }
        owed.causes.reverse();
        Ok(owed)
    }

    /// Asks remotes for what mirrors did not have.
    pub(super) async fn fetch_owed(&self, job: &JobState, causes: &[Cause], stop: &CancellationToken) {
        let all = async {
            for cause in causes {
                self.is_still_there(job, cause, Some(stop)).await;
            }
        };
        if tokio::time::timeout(WITHIN, all).await.is_err() {
            tracing::debug!(job = %job.id, "what is owed and could not be asked for in time stays owed");
        }
    }

    /// The causes that other jobs of the app lost and none has had, newest first.
    fn lost(&self, job: &JobState) -> Result<Vec<Cause>, StoreError> {
        let filter = JobFilter { app: Some(job.app.name.clone()), limit: BACK, ..JobFilter::default() };
        let mut others = self.store.jobs(&filter)?;
        others.retain(|other| other.id != job.id);
        let own = job.causes.iter();
        let mut had: BTreeSet<_> = own.chain(others.iter().flat_map(|o| o.live_causes())).map(|c| c.plan).collect();
        let lost = others.iter().flat_map(|other| &other.causes).filter(|cause| cause.dropped.is_some());
        // One that was lost twice is the newer job's.
        Ok(lost.filter(|cause| had.insert(cause.plan)).cloned().collect())
    }

    /// The repositories of which a job of the app takes nothing by itself, and why: what moved with them is not all
    /// there, since somebody failed to take it in, or has not yet.
    pub(super) fn apart(&self, job: &JobState) -> Result<BTreeMap<RepoId, String>, StoreError> {
        let (mut apart, mut whole) = (BTreeMap::new(), Vec::new());
        let own = job.causes.iter().filter(|cause| cause.dropped.is_some()).cloned();
        for cause in self.lost(job)?.into_iter().chain(own) {
            let set = self.set_of(&cause)?;
            match self.made_good(cause.plan, &cause.after)? {
                None => apart.extend(set.into_iter().map(|repo| (repo, cause.dropped.clone().unwrap_or_default()))),
                Some(_) => whole.push(set),
            }
        }
        for other in self.store.open_jobs_of(&job.app.name) {
            for cause in other.live_causes().filter(|_| other.id != job.id && !other.started) {
                let set = self.set_of(cause)?;
                match self.awaited(cause)? {
                    Some(up) => {
                        let why = format!("job {} waits for {}, job {}", other.id, up.app.name, up.id);
                        apart.extend(set.into_iter().map(|repo| (repo, why.clone())));
                    }
                    None => whole.push(set),
                }
            }
        }
        // Nor what moved together with what stays.
        while let Some(at) = whole.iter().position(|set| set.iter().any(|repo| apart.contains_key(repo))) {
            let set = whole.swap_remove(at);
            let why = set.iter().find_map(|repo| apart.get(repo)).cloned().unwrap_or_default();
            for repo in set {
                apart.entry(repo).or_insert_with(|| why.clone());
            }
        }
        Ok(apart)
    }

    /// The repositories that an app takes something of by a cause.
    fn set_of(&self, cause: &Cause) -> Result<BTreeSet<RepoId>, StoreError> {
        let mut set: BTreeSet<RepoId> = repos(cause).cloned().collect();
        for up in &cause.after {
            set.extend(self.store.job(*up)?.map(|up| up.app.repo()));
        }
        Ok(set)
    }

    /// A job that a cause still waits for.
    fn awaited(&self, cause: &Cause) -> Result<Option<Arc<JobState>>, StoreError> {
        for up in &cause.after {
            if let Some(up) = self.store.job(*up)?.filter(|up| up.published.is_none() && !self.stays(up)) {
                return Ok(Some(up));
            }
        }
        Ok(None)
    }

    /// The jobs that stand now for `jobs` of a plan: themselves, or later ones of the same apps that took in what those
    /// had failed on. None while one has not been made good.
    pub(super) fn made_good(&self, plan: PlanId, jobs: &[JobId]) -> Result<Option<Vec<JobId>>, StoreError> {
        let mut after = Vec::new();
        for id in jobs {
            let Some(failed) = self.store.job(*id)? else { return Ok(None) };
            // What made up for a hold waited for jobs of other plans: then all of theirs counts.
            let is_in_it = failed.causes.iter().any(|cause| cause.plan == plan);
            let counts = |cause: &&Cause| !is_in_it || cause.plan == plan;
            // One that was to go on without it takes nothing of it by itself.
            let is_own = failed.live_causes().any(|live| counts(&live));
            if is_own && self.stays(&failed) {
                continue;
            }
            let moved: BTreeSet<&RepoId> = failed.causes.iter().filter(counts).flat_map(repos).collect();
            let Some(good) = self.since(&failed.app.name, *id, |job| {
                let mut live = job.live_causes();
                let all_moved = || {
                    let anew: BTreeSet<&RepoId> = job.live_causes().flat_map(repos).collect();
                    !moved.is_empty() && moved.is_subset(&anew)
                };
                job.published.is_some()
                    && (live.any(|live| live.plan == plan) || (is_own && job.bumps_all()) || all_moved())
            })?
            else {
                // Nobody takes it in whose app is no more: its repository stays as it is.
                match self.app(&failed.app.name) {
                    Some(_) => return Ok(None),
                    None => continue,
                }
            };
            after.push(good);
        }
        Ok(Some(after))
    }

    /// Whether a job ended before it started since its app was held, or is none any more: it stays where it is, as it
    /// does for plans that are made from then on, and that is no failure.
    pub(super) fn stays(&self, job: &JobState) -> bool {
        match job.outcome() {
            _ if job.started || job.live_causes().next().is_none() => false,
            Some(Outcome::Skipped) => true,
            Some(Outcome::Canceled) => self.app(&job.app.name).is_none(),
            _ => false,
        }
    }

    /// The newest job of an app, from `first` on, that is as wanted.
    fn since(
        &self,
        app: &AppName,
        first: JobId,
        wanted: impl Fn(&JobState) -> bool,
    ) -> Result<Option<JobId>, StoreError> {
        let filter = JobFilter { app: Some(app.clone()), limit: BACK, ..JobFilter::default() };
        let jobs = self.store.jobs(&filter)?;
        Ok(jobs.into_iter().take_while(|job| job.id >= first).find(|job| wanted(job)).map(|job| job.id))
    }

    /// Whether the commits of a lost cause are still on their branches: one that was pushed over would be waited for.
    /// Remotes are asked where somebody may `ask` them, until it stops.
    async fn is_still_there(&self, job: &JobState, cause: &Cause, ask: Option<&CancellationToken>) -> bool {
        let git = self.rooms.load().git.clone();
        let own = match &cause.why {
            Why::OwnPush { after, .. } => job.app.branch.clone().map(|branch| Target {
                repo: job.app.repo(),
                branch,
                before: None,
                after: *after,
            }),
            Why::Dependency | Why::Asked { .. } | Why::Rollout(_) => None,
        };
        for target in cause.targets.iter().chain(&own) {
            let (repo, branch) = (&target.repo, Rev::Branch(target.branch.clone()));
            let mut asked = false;
            loop {
                let head = git.resolve(repo, branch.clone()).await.ok().flatten();
                if let Some(head) = head
                    && git.is_ancestor(repo, target.after, head).await.unwrap_or(false)
                {
                    break;
                }
                let Some(stop) = ask else { return false };
                let index = || self.store.index(&job.app.name).ok().flatten();
                let named = || index()?.deps.into_iter().find(|dep| dep.repo == *repo)?.url;
                let url = self.url_of(repo).or_else(named);
                let Some(url) = url.filter(|_| !std::mem::replace(&mut asked, true)) else { return false };
                if git.fetch(&url, stop).await.is_err() {
                    return false;
                }
            }
        }
        true
    }
}

/// The repositories whose move a cause names.
fn repos(cause: &Cause) -> impl Iterator<Item = &RepoId> {
    cause.targets.iter().map(|target| &target.repo).chain(cause.tags.iter().map(|tag| &tag.repo))
}
