//! What a job waits for, in words that name it: a slot among the builds and who has them, its app, a branch, a remote
//! that does not answer, room on the disk. For who asks: nothing is decided by it, and nothing of it is kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use super::{Inner, Pipeline, unpoison};
use crate::model::api::JobView;
use crate::model::{Branch, JobId, JobState, Outcome, RepoId, Step};

/// A remote that does not answer for so long is what a job waits for.
const SLOW: Duration = Duration::from_secs(2);
/// So many are named.
const NAMED: usize = 5;

/// What a job waits for.
#[derive(Debug, Clone)]
pub(super) enum Wait {
    /// Room on the disk; why in words.
    Room(String),
    /// A slot among the builds.
    Slot,
    /// The right to change a branch.
    Branch(RepoId, Branch),
    /// Remotes that are asked for what the app is owed.
    Remotes,
    /// A merge of its pull request; what is in the way, in words.
    Merge(Option<String>),
}

/// What the jobs wait for.
#[derive(Default)]
pub(super) struct Waits(Mutex<HashMap<JobId, Wait>>);

/// A job that waits, for as long as this lives.
pub(super) struct Waiting<'a> {
    waits: &'a Waits,
    job: JobId,
}

impl Waits {
    pub fn begin(&self, job: JobId, what: Wait) -> Waiting<'_> {
        let waiting = Waiting { waits: self, job };
        waiting.says(what);
        waiting
    }
    /// How many wait for room.
    pub fn without_room(&self) -> usize {
        unpoison(self.0.lock()).values().filter(|wait| matches!(wait, Wait::Room(_))).count()
    }
    fn of(&self, job: JobId) -> Option<Wait> {
        unpoison(self.0.lock()).get(&job).cloned()
    }
}

impl Waiting<'_> {
    pub fn says(&self, what: Wait) {
        unpoison(self.waits.0.lock()).insert(self.job, what);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        unpoison(self.waits.0.lock()).remove(&self.job);
    }
}

impl Pipeline {
    /// A job as the API gives it: one that waits says what for.
    pub fn view(&self, job: &JobState) -> JobView {
        let view = JobView::of(job);
        if job.waits_for_merge()
            && let Some(Wait::Merge(Some(why))) = self.inner.waits.of(job.id)
        {
            return JobView { reason: view.reason.map(|request| format!("{request}, {why}")), ..view };
        }
        if job.ended.is_some() || job.canceling.is_some() || job.lets_others() {
            return view;
        }
        let Some(why) = self.inner.waits_for(job) else { return view };
        let reason = match job.running_step() {
            Some(running) => format!("in {}, {why}", running.step),
            None => why,
        };
        JobView { reason: Some(reason), ..view }
    }
    /// How many jobs wait for room.
    pub fn count_without_room(&self) -> usize {
        self.inner.waits.without_room()
    }
}

impl Inner {
    fn waits_for(&self, job: &JobState) -> Option<String> {
        match self.waits.of(job.id) {
            Some(Wait::Room(why)) => return Some(why),
            Some(Wait::Slot) => {
                let holders = self.slots.holders();
                let are = if holders.len() == 1 { "is" } else { "are" };
                return Some(match holders.is_empty() {
                    true => "for a build slot".to_owned(),
                    false => format!("for a build slot: {} {are} building", listed(&holders)),
                });
            }
            Some(Wait::Branch(repo, branch)) => return Some(self.waits_for_branch(job, &repo, &branch)),
            Some(Wait::Remotes) => return self.waits_for_remotes(job),
            Some(Wait::Merge(_)) | None => {}
        }
        if let Some(running) = job.running_step() {
            let asks = matches!(running.step, Step::Prepare | Step::Update | Step::Publish);
            return if asks { self.waits_for_remotes(job) } else { None };
        }
        if job.started {
            return None;
        }
        let ups = self.unpublished(job);
        if !ups.is_empty() {
            return Some(format!("for the apps that it depends on: {}", listed(&ups)));
        }
        let holder = self.holder(job).or_else(|| self.comes_first(job).ok()?)?;
        let holder = self.store.job(holder).ok().flatten()?;
        Some(match holder.outcome() {
            Some(Outcome::Parked) => {
                format!("for job {}, which is parked: `airplanes cancel {0}` lets go of it", holder.id)
            }
            _ if !holder.started => format!("for job {}, which comes first", holder.id),
            _ => format!("for job {}, which has {} now", holder.id, job.app.name),
        })
    }

    /// The apps that a job waits for.
    fn unpublished(&self, job: &JobState) -> Vec<String> {
        let ups: BTreeSet<JobId> = job.live_causes().flat_map(|cause| cause.after.iter().copied()).collect();
        let ups = ups.into_iter().filter_map(|up| self.store.job(up).ok().flatten());
        let names: BTreeSet<String> =
            ups.filter(|up| up.ended.is_none() && up.published.is_none()).map(|up| up.app.name.to_string()).collect();
        names.into_iter().collect()
    }

    fn waits_for_branch(&self, job: &JobState, repo: &RepoId, branch: &Branch) -> String {
        let is_at_it = |other: &&std::sync::Arc<JobState>| {
            other.id != job.id && other.started && other.ended.is_none() && other.published.is_none()
        };
        let jobs = self.open_jobs_in(repo);
        match jobs.iter().find(is_at_it) {
            Some(other) => format!("for {branch} of {repo}, which job {} of {} changes", other.id, other.app.name),
            None => format!("for its turn on {branch} of {repo}"),
        }
    }

    /// The remotes of a job that are asked and do not answer.
    fn waits_for_remotes(&self, job: &JobState) -> Option<String> {
        let slow = self.rooms.load().git.asked_for(SLOW);
        if slow.is_empty() {
            return None;
        }
        let mut its: BTreeSet<RepoId> = [job.app.repo()].into();
        its.extend(job.live_causes().flat_map(|cause| cause.targets.iter().map(|target| target.repo.clone())));
        if let Ok(Some(index)) = self.store.index(&job.app.name) {
            its.extend(index.deps.into_iter().map(|dep| dep.repo));
        }
        if let Ok(Some(good)) = self.store.last_good(&job.app.name)
            && let Ok(Some(closure)) = self.store.closure(good.job)
        {
            its.extend(closure.into_iter().map(|locked| locked.repo));
        }
        let (repo, since) = slow.into_iter().filter(|(repo, _)| its.contains(repo)).max_by_key(|(_, since)| *since)?;
        Some(format!("for {repo} to answer, for {} s now", since.as_secs()))
    }
}

/// Some names, and how many more.
fn listed(names: &[String]) -> String {
    let (shown, rest) = names.split_at(names.len().min(NAMED));
    match (shown, rest.len()) {
        ([one, last], 0) => format!("{one} and {last}"),
        (shown, 0) => shown.join(", "),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
