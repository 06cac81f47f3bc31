//! What jobs have brought to hosts, told from the jobs as they stand: whether a rollout went well enough, which commits
//! were live one after the other, what a rollback took back, and what hosts are owed that were away. The one place for these rules,
//! of all hosts of an app or of one environment. Pure.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use super::app::App;
use super::fold::JobState;
use super::id::JobId;
use super::job::Outcome;
use super::names::{Branch, FileSum, HostName, Sha};
use super::progress::{HostState, Progress};
use super::rollout::Because;

impl JobState {
    /// Whether it has ended with its commit live on those of its hosts that are meant: on each but those that were away,
    /// and as many as may fail. Neither a rollout that was halted, canceled half-way or taken back by itself. One that
    /// waits for the window of other hosts has ended where it was before.
    pub fn was_live_on(&self, is_meant: impl Fn(&HostName) -> bool) -> bool {
        let meant: Vec<&HostState> = self.hosts.iter().filter(|host| is_meant(&host.name)).collect();
        let is_open = |state| matches!(state, Progress::Pending | Progress::Running);
        let has_ended = |host: &&HostState| !is_open(host.state) && host.state != Progress::Skipped;
        match self.outcome().or(self.waits_for_window().then_some(Outcome::Partial)) {
            Some(Outcome::Succeeded | Outcome::Unchanged) => self.hosts.is_empty() || !meant.is_empty(),
            // One that waited for a window, and whose place another has taken, has ended where it was before.
            Some(Outcome::Partial | Outcome::Skipped) => {
                self.rolling_back.is_none()
                    && !self.has_too_many_failed(&meant)
                    && meant.iter().any(|host| host.state == Progress::Done)
                    && meant.iter().all(has_ended)
            }
            _ => false,
        }
    }

    /// Whether of some environment more have failed than may.
    fn has_too_many_failed(&self, hosts: &[&HostState]) -> bool {
        let there = |host: &HostState| self.app.environment_of(&host.name).map(|there| &there.name);
        let is_failed = |host: &&&HostState| self.app.rollout_on(&host.name).counts_as_failed(host.state);
        let failed: Vec<&&HostState> = hosts.iter().filter(is_failed).collect();
        failed.iter().any(|host| {
            let beside = failed.iter().filter(|other| there(other) == there(host)).map(|other| other.state);
            self.app.rollout_on(&host.name).is_over(beside)
        })
    }

    /// Whether it brings hosts that were away what the others got: it says nothing about what the app is to run.
    pub fn is_catch_up(&self) -> bool {
        self.carried().is_some_and(|carried| carried.because == Because::CatchUp)
    }

    /// Whether what was taken back is its commit. Not where all hosts that went back ran that before too: they went back to
    /// its unit and secrets.
    pub fn took_back_a_commit(&self) -> bool {
        let is_back = |host: &&HostState| host.back.is_some() || host.state == Progress::RolledBack;
        let back: Vec<&HostState> = self.hosts.iter().filter(is_back).collect();
        back.is_empty() || back.iter().any(|host| host.previous != self.commit())
    }

    /// Whether it has left something of its own on hosts that are meant, well or not, or found it there.
    pub fn has_brought(&self, is_meant: impl Fn(&HostName) -> bool) -> bool {
        let mut meant = self.hosts.iter().filter(|host| is_meant(&host.name));
        match self.outcome() {
            Some(Outcome::RolledBack) => false,
            Some(Outcome::Unchanged) => meant.next().is_some(),
            _ => meant.any(|host| host.touched || host.state == Progress::Done),
        }
    }

    /// Whether it has brought a host of its to its commit, well or not.
    pub fn has_left(&self, host: &HostState) -> bool {
        match host.state {
            Progress::Done => true,
            Progress::Running | Progress::Failed | Progress::Unreachable => host.changed && host.back.is_none(),
            // Nothing was to be done there.
            Progress::Skipped => self.outcome() == Some(Outcome::Unchanged),
            Progress::Pending | Progress::RolledBack => false,
        }
    }

    /// What a rollback by hand took back: the commit that was live when it was asked for, and what its hosts ran when
    /// it came, which may be newer. Empty where it came to no host, and of any other job.
    pub fn taken_back(&self) -> Vec<Sha> {
        let Some((Because::Rollback { bad }, commit)) = self.carried().map(|c| (&c.because, c.commit)) else {
            return Vec::new();
        };
        if !self.has_brought(|_| true) {
            return Vec::new();
        }
        let mut taken = vec![*bad];
        for ran in self.hosts.iter().filter_map(|host| host.previous) {
            if ran != commit && !taken.contains(&ran) {
                taken.push(ran);
            }
        }
        taken
    }
}

/// The commits that were live one after the other, the last one last, each with the job that brought it: without those
/// that a rollback has taken back and nothing has brought again since. Of the hosts that are meant; wants an app's jobs by
/// when they began to bring something, the newest first.
pub fn history<'a>(
    jobs: impl DoubleEndedIterator<Item = &'a JobState>,
    is_meant: impl Fn(&HostName) -> bool,
) -> Vec<(Sha, &'a JobState)> {
    let mut history: Vec<(Sha, &JobState)> = Vec::new();
    for job in jobs.rev().filter(|job| !job.is_catch_up()) {
        let Some(commit) = job.commit() else { continue };
        let is_rollback = job.carried().is_some_and(|carried| matches!(carried.because, Because::Rollback { .. }));
        let before = history.iter().position(|(known, _)| *known == commit);
        match before {
            Some(before) if is_rollback && job.has_brought(&is_meant) => history.truncate(before + 1),
            _ if job.was_live_on(&is_meant) => {
                history.retain(|(known, _)| *known != commit);
                history.push((commit, job));
            }
            _ => {}
        }
    }
    history
}

/// Hosts that are owed a commit: they were away when the others got it, or were lost on their way back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debt {
    /// It.
    pub commit: Sha,
    /// Where hosts are sent a file: which of those that were built of it.
    pub sum: Option<FileSum>,
    /// The branch that it is on.
    pub branch: Branch,
    /// The job that built it.
    pub of: JobId,
    /// They.
    pub hosts: Vec<HostName>,
}

/// What the hosts of an app are owed. Wants its jobs by when they began to bring something, the newest first, and takes no more of them than tell it: nearly
/// always the newest says that all have what they should.
pub fn debts<J: Borrow<JobState> + Clone, E>(
    app: &App,
    jobs: impl Iterator<Item = Result<J, E>>,
) -> Result<Vec<Debt>, E> {
    let (mut settled, mut debts) = (BTreeSet::new(), Vec::new());
    let mut jobs = Taken { taken: Vec::new(), more: jobs };
    let mut at = 0;
    while !app.hosts.iter().all(|host| settled.contains(&host.name)) {
        let Some(job) = jobs.at(at)? else { break };
        let job: &JobState = job.borrow();
        at += 1;
        for ((commit, mut sum), mut hosts) in owed(app, job) {
            hosts.retain(|host| settled.insert(host.clone()));
            if hosts.is_empty() {
                continue;
            }
            // What a host ran before the job came, another one has built.
            let is_it = |other: &JobState| {
                let is_its_file = other.sum.as_ref().zip(sum.as_ref()).is_none_or(|(one, other)| one.is(other));
                other.was_live_on(|_| true) && other.commit() == Some(commit) && is_its_file
            };
            let other = match (job.commit(), &job.sum) == (Some(commit), &sum) {
                true => None,
                false => jobs.find(at, is_it)?,
            };
            let built = other.as_ref().map_or(job, Borrow::borrow);
            // All of it, where the host knew no more than how it begins.
            sum = other.as_ref().map_or(sum, |other| other.borrow().sum.clone());
            let Some((branch, _)) = &built.base else { continue };
            let of = built.carried().map_or(built.id, |carried| carried.of);
            debts.push(Debt { commit, sum, branch: branch.clone(), of, hosts });
        }
        settled.extend(job.hosts.iter().filter(|host| is_settled(app, host, job)).map(|host| host.name.clone()));
        // What is before it no host is owed any more, where it was live.
        if job.is_catch_up() {
            continue;
        }
        if app.environments.is_empty() && job.was_live_on(|_| true) {
            break;
        }
        let live = app.environments.iter().filter(|there| job.was_live_on(|host| there.hosts.contains(host)));
        settled.extend(live.flat_map(|there| there.hosts.iter().cloned()));
    }
    Ok(debts)
}

/// Jobs that are taken one by one, and kept.
struct Taken<J, I> {
    taken: Vec<J>,
    more: I,
}

impl<J: Borrow<JobState> + Clone, E, I: Iterator<Item = Result<J, E>>> Taken<J, I> {
    fn at(&mut self, at: usize) -> Result<Option<J>, E> {
        while self.taken.len() <= at {
            let Some(job) = self.more.next() else { return Ok(None) };
            self.taken.push(job?);
        }
        Ok(self.taken.get(at).cloned())
    }

    /// The first that is as wanted, from a place on.
    fn find(&mut self, from: usize, wanted: impl Fn(&JobState) -> bool) -> Result<Option<J>, E> {
        let mut at = from;
        while let Some(job) = self.at(at)? {
            if wanted(job.borrow()) {
                return Ok(Some(job));
            }
            at += 1;
        }
        Ok(None)
    }
}

/// Whether what a job has brought is due to its host too: it was live where that is, or is what that one missed.
fn is_due(app: &App, host: &HostState, job: &JobState) -> bool {
    let there = app.environment_of(&host.name);
    job.is_catch_up() || job.was_live_on(|name| there.is_none_or(|there| there.hosts.contains(name)))
}

/// A commit, and which file of it.
type Built = (Sha, Option<FileSum>);

/// The hosts that a job is in debt of, with the commit: its own, or what they ran where it was taken back.
fn owed(app: &App, job: &JobState) -> Vec<(Built, Vec<HostName>)> {
    let away = job.hosts.iter().filter(|host| host.state == Progress::Unreachable);
    let mut owed: Vec<(Built, Vec<HostName>)> = Vec::new();
    for host in away {
        let commit = match &host.back {
            Some(_) => host.previous.map(|commit| (commit, host.previous_sum.clone())),
            None => job.commit().filter(|_| is_due(app, host, job)).map(|commit| (commit, job.sum.clone())),
        };
        let Some(commit) = commit else { continue };
        match owed.iter_mut().find(|(other, _)| *other == commit) {
            Some((_, hosts)) => hosts.push(host.name.clone()),
            None => owed.push((commit, vec![host.name.clone()])),
        }
    }
    owed
}

/// Whether a job had its say about a host: what earlier jobs owe it counts no more.
fn is_settled(app: &App, host: &HostState, job: &JobState) -> bool {
    match host.state {
        Progress::Done | Progress::Failed | Progress::RolledBack => true,
        Progress::Skipped | Progress::Pending | Progress::Running => false,
        // One that was away when a bad commit came is owed what it was owed before.
        Progress::Unreachable => host.back.is_some() || is_due(app, host, job),
    }
}
