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
        for cause in self.lost(&job.app.name, Some(job))? {
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

    /// The causes that jobs of an app lost and none has had, newest first; of one `job`, that others lost.
    pub(super) fn lost(&self, app: &AppName, job: Option<&JobState>) -> Result<Vec<Cause>, StoreError> {
        let filter = JobFilter { app: Some(app.clone()), limit: BACK, ..JobFilter::default() };
        let mut others = self.store.jobs(&filter)?;
        others.retain(|other| job.is_none_or(|job| other.id != job.id));
        let own = job.into_iter().flat_map(|job| &job.causes);
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
        for cause in self.lost(&job.app.name, Some(job))?.into_iter().chain(own) {
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
            let counted = counted(plan, &failed);
            // One that was to go on without it takes nothing of it by itself.
            if counted.iter().any(|cause| cause.dropped.is_none()) && self.stays(&failed) {
                continue;
            }
            let filter = JobFilter { app: Some(failed.app.name.clone()), limit: BACK, ..JobFilter::default() };
            let mut since = self.store.jobs(&filter)?;
            since.retain(|job| job.id >= *id && job.published.is_some());
            let good = |cause: &&Cause| since.iter().find(|job| takes_in(job, cause)).map(|job| job.id);
            match counted.iter().map(good).collect::<Option<Vec<JobId>>>() {
                Some(good) => after.extend(good.into_iter().max()),
                // Nobody takes it in whose app is no more: its repository stays as it is.
                None if self.app(&failed.app.name).is_none() => {}
                None => return Ok(None),
            }
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

/// The causes of a job that one of a plan waited for, and that it has to make good if it failed. What makes up for a hold
/// waits for jobs of other plans, and so for what those were about to do: the causes that they kept, or all where they
/// kept none.
fn counted(plan: PlanId, failed: &JobState) -> Vec<&Cause> {
    let of_plan: Vec<&Cause> = failed.causes.iter().filter(|cause| cause.plan == plan).collect();
    if !of_plan.is_empty() {
        return of_plan;
    }
    let kept: Vec<&Cause> = failed.live_causes().collect();
    if kept.is_empty() { failed.causes.iter().collect() } else { kept }
}

/// Whether a job that was published has taken in what an earlier one of its app, or it itself, was to do by a cause.
fn takes_in(job: &JobState, cause: &Cause) -> bool {
    let is_push = |why: &Why| matches!(why, Why::OwnPush { .. });
    let is_own = cause.dropped.is_none();
    let stands_on_it = is_push(&cause.why) && job.live_causes().any(|live| is_push(&live.why));
    let moved: BTreeSet<&RepoId> = repos(cause).collect();
    let moves_all = || moved.is_subset(&job.live_causes().flat_map(repos).collect());
    job.live_causes().any(|live| live.plan == cause.plan)
        || (is_own && (job.bumps_all() || stands_on_it))
        || (!moved.is_empty() && moves_all())
}

/// The repositories whose move a cause names.
fn repos(cause: &Cause) -> impl Iterator<Item = &RepoId> {
    cause.targets.iter().map(|target| &target.repo).chain(cause.tags.iter().map(|tag| &tag.repo))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::updates::Publish;
    use crate::model::{App, Entry, EventId, RECORD_VERSION, Record, RepoUrl, Sha};

    fn repo(name: &str) -> RepoUrl {
        RepoUrl::new(format!("https://github.com/acme/{name}")).unwrap()
    }

    /// What a plan gives an app that depends on `libs` which moved.
    fn moves(plan: u64, libs: &[&str]) -> Cause {
        let sha: Sha = "a".repeat(40).parse().unwrap();
        let target =
            |lib: &&str| Target { repo: repo(lib).id(), branch: "main".parse().unwrap(), before: None, after: sha };
        let targets = libs.iter().map(target).collect();
        let at = Timestamp::UNIX_EPOCH;
        let (why, after, tags) = (Why::Dependency, Vec::new(), Vec::new());
        Cause { plan: EventId(plan), at, why, wave: 0, after, targets, tags, dropped: None }
    }
    fn pushed(plan: u64) -> Cause {
        Cause { why: Why::OwnPush { before: None, after: "b".repeat(40).parse().unwrap() }, ..moves(plan, &[]) }
    }
    fn asked(plan: u64) -> Cause {
        Cause { why: Why::Asked { by: "ada".to_owned() }, ..moves(plan, &[]) }
    }
    fn lost(cause: Cause) -> Cause {
        Cause { dropped: Some("what it waited for failed".to_owned()), ..cause }
    }

    fn job(publish: Publish, causes: &[Cause]) -> JobState {
        let mut app = App::bare("shop".parse().unwrap(), repo("shop"));
        (app.update, app.updates.publish) = (true, publish);
        let entry = Entry::Created { app: Box::new(app), cause: causes[0].clone() };
        let record = Record { v: RECORD_VERSION, at: Timestamp::UNIX_EPOCH, entry };
        let mut job = JobState::create(JobId { event: causes[0].plan, index: 0 }, &record).unwrap();
        job.causes = causes.to_vec();
        job
    }

    #[test]
    fn a_job_takes_in_what_an_earlier_one_failed_on_by_its_plan_by_all_that_is_due_or_by_the_same_repositories() {
        let job = |cause| job(Publish::Push, &[cause]);
        assert!(takes_in(&job(moves(1, &["lib"])), &moves(1, &["lib"])));
        assert!(takes_in(&job(moves(2, &["lib"])), &moves(1, &["lib"])), "the same library again");
        assert!(!takes_in(&job(moves(2, &["lib"])), &moves(1, &["lib", "other"])), "half of a set");
        assert!(takes_in(&job(asked(2)), &moves(1, &["lib"])) && takes_in(&job(pushed(2)), &moves(1, &["lib"])));
        // What it never came to, since something before it failed, it takes of itself only as a whole.
        assert!(!takes_in(&job(asked(2)), &lost(moves(1, &["lib"]))));
        assert!(takes_in(&job(moves(1, &["lib"])), &lost(moves(1, &["lib"]))), "taken up by a later one");
        // That it has only by an app before it, which no library of its own names.
        assert!(takes_in(&job(moves(1, &[])), &lost(moves(1, &[]))));
        assert!(!takes_in(&job(moves(2, &["lib"])), &moves(1, &[])));
    }

    #[test]
    fn a_push_that_failed_is_made_good_by_the_next_one_also_where_people_merge() {
        for publish in [Publish::Push, Publish::PullRequest] {
            assert!(takes_in(&job(publish, &[pushed(2)]), &pushed(1)), "{publish:?}");
            assert!(takes_in(&job(publish, &[asked(2)]), &pushed(1)), "{publish:?}");
            assert!(!takes_in(&job(publish, &[moves(2, &["lib"])]), &pushed(1)), "{publish:?}");
        }
        // It offers nothing of what is due besides.
        assert!(!takes_in(&job(Publish::PullRequest, &[pushed(2)]), &moves(1, &["lib"])));
    }

    #[test]
    fn what_makes_up_for_a_hold_waited_for_what_jobs_of_other_plans_were_about_to_do() {
        let plans = |plan, causes: &[Cause]| -> Vec<u64> {
            counted(EventId(plan), &job(Publish::Push, causes)).iter().map(|cause| cause.plan.0).collect()
        };
        let (one, other) = (moves(1, &["lib"]), moves(2, &["other"]));
        assert_eq!(plans(1, &[one.clone(), other.clone()]), [1], "of the same plan: only that");
        assert_eq!(plans(1, &[lost(one.clone()), other.clone()]), [1]);
        assert_eq!(plans(9, &[one.clone(), other.clone()]), [1, 2]);
        assert_eq!(plans(9, &[lost(one.clone()), other.clone()]), [2], "it would have gone on without the first");
        assert_eq!(plans(9, &[lost(one), lost(other)]), [1, 2], "it never came to any");
    }
}
