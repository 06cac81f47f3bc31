//! The order of a rollout: which hosts are next, as the job's state says. Pure.
//!
//! Environment after environment, and each in its own batches: the next one begins only if the one before it is well.
//! Hosts that were passed by before anything was done to them, and those that were lost in their turn, count in no batch:
//! the canary is the first one that could be reached until its end.

use crate::model::rollout::{OnFailure, Rollout};
use crate::model::{EnvName, HostName, HostState, JobState, Progress};

/// The hosts whose turn it is now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The environment that it is of.
    pub environment: Option<EnvName>,
    /// Its place, from 1.
    pub number: usize,
    /// How many the environment has.
    pub of: usize,
    /// Its hosts that are not settled, those first whose turn was interrupted.
    pub hosts: Vec<HostName>,
    /// Whether nothing of it has begun, and one before it in its environment has ended.
    pub is_next: bool,
    /// Whether nothing of its environment has begun: all of that environment's hosts of the job.
    pub begins: Option<Vec<HostName>>,
}

/// The hosts of a job that are one environment, or all of them where the app has none.
struct Group<'a> {
    environment: Option<&'a EnvName>,
    rollout: &'a Rollout,
    hosts: Vec<&'a HostState>,
}

fn groups(job: &JobState) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for host in &job.hosts {
        let environment = job.app.environment_of(&host.name).map(|environment| &environment.name);
        match groups.iter_mut().find(|group| group.environment == environment) {
            Some(group) => group.hosts.push(host),
            None => groups.push(Group { environment, rollout: job.app.rollout_on(&host.name), hosts: vec![host] }),
        }
    }
    groups
}

impl Group<'_> {
    fn failed(&self) -> impl Iterator<Item = &HostState> {
        self.hosts.iter().filter(|host| self.rollout.counts_as_failed(host.state)).copied()
    }
    fn is_over(&self) -> bool {
        self.rollout.is_over(self.hosts.iter().map(|host| host.state))
    }
    fn is_settled(&self) -> bool {
        !self.hosts.iter().any(|host| is_open(host))
    }
    /// How large its batches are: those that were passed by are in none.
    fn sizes(&self) -> Vec<usize> {
        self.rollout.sizes(self.hosts.iter().filter(|host| !was_passed_by(host)).count())
    }
}

fn is_open(host: &HostState) -> bool {
    matches!(host.state, Progress::Pending | Progress::Running)
}

/// The first batch that is not done; none if all are.
pub(super) fn next(job: &JobState) -> Option<Batch> {
    for group in groups(job) {
        let hosts: Vec<&HostState> = group.hosts.iter().filter(|host| !was_passed_by(host)).copied().collect();
        let sizes = group.sizes();
        let mut rest = hosts.as_slice();
        for (number, size) in (1..).zip(&sizes) {
            let (batch, later) = rest.split_at((*size).min(rest.len()));
            rest = later;
            let mut open: Vec<&&HostState> = batch.iter().filter(|host| is_open(host)).collect();
            if open.is_empty() {
                continue;
            }
            open.sort_by_key(|host| host.state != Progress::Running);
            let is_new = |hosts: &[&HostState]| hosts.iter().all(|host| host.state == Progress::Pending);
            let names = |hosts: &[&HostState]| hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>();
            return Some(Batch {
                environment: group.environment.cloned(),
                number,
                of: sizes.len(),
                hosts: open.into_iter().map(|host| host.name.clone()).collect(),
                is_next: number > 1 && is_new(batch),
                begins: is_new(&group.hosts).then(|| names(&group.hosts)),
            });
        }
    }
    None
}

fn was_passed_by(host: &HostState) -> bool {
    match host.state {
        Progress::Unreachable => true,
        Progress::Failed | Progress::Skipped => !host.touched,
        _ => false,
    }
}

/// Why nothing more is begun, in words: more hosts of an environment have failed than may, or none of it has got the
/// commit and another would come after it. None while it goes on.
pub(super) fn over(job: &JobState) -> Option<String> {
    let groups = groups(job);
    for (index, group) in groups.iter().enumerate() {
        if group.is_over() {
            let failed: Vec<&str> = group.failed().map(|host| host.name.as_str()).collect();
            return Some(format!("{} failed", failed.join(", ")));
        }
        let is_last = index + 1 == groups.len();
        if let Some(name) = group.environment
            && !is_last
            && group.is_settled()
            && !group.hosts.iter().any(|host| host.state == Progress::Done)
        {
            return Some(format!("no host of {name} has got it"));
        }
    }
    None
}

/// Whether the hosts that were changed are to go back, and why. One that was put back when it failed is back already.
pub(super) fn goes_back(job: &JobState) -> Option<String> {
    let groups = groups(job);
    let group = groups.iter().find(|group| group.is_over())?;
    let is_changed = |host: &HostState| host.touched || host.state == Progress::RolledBack;
    let is_wanted = group.rollout.on_failure == OnFailure::Rollback && job.hosts.iter().any(is_changed);
    let words = |host: &HostState| format!("{}: {}", host.name, host.error.as_deref().unwrap_or("failed"));
    is_wanted.then(|| group.failed().map(words).collect::<Vec<_>>().join("; "))
}

/// The hosts that go back, in groups: first those that are not well, then the others, the last batch of the last
/// environment first.
pub(super) fn way_back(job: &JobState) -> Vec<Vec<HostName>> {
    let open = |host: &&&HostState| host.touched && (host.back.is_none() || host.state == Progress::Running);
    let name = |host: &&HostState| host.name.clone();
    let (mut ill, mut batches) = (Vec::new(), Vec::new());
    for group in groups(job) {
        let (well, others): (Vec<&HostState>, Vec<&HostState>) =
            group.hosts.iter().filter(open).copied().partition(|host| host.state == Progress::Done);
        ill.extend(others.iter().map(name));
        let mut rest: Vec<HostName> = well.iter().map(name).collect();
        for size in group.sizes() {
            batches.push(rest.drain(..size.min(rest.len())).collect::<Vec<_>>());
        }
    }
    let mut groups = vec![ill];
    groups.extend(batches.into_iter().rev());
    groups.retain(|group| !group.is_empty());
    groups
}
