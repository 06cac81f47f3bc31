//! The order of a rollout: which hosts are next, as the job's state says. Pure.
//!
//! Hosts that were passed by before anything was done to them count in no batch: the canary is the first one that could
//! be reached.

use crate::model::rollout::{Rollout, Unreachable};
use crate::model::{HostName, HostState, JobState, Progress};

/// The hosts whose turn it is now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Its place, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// Its hosts that are not settled, those first whose turn was interrupted.
    pub hosts: Vec<HostName>,
    /// Whether nothing of it has begun, and one before it has ended.
    pub is_next: bool,
}

/// The first batch that is not done; none if all are.
pub(super) fn next(job: &JobState) -> Option<Batch> {
    let is_open = |host: &HostState| matches!(host.state, Progress::Pending | Progress::Running);
    let hosts: Vec<&HostState> = job.hosts.iter().filter(|host| is_open(host) || !was_passed_by(host)).collect();
    let sizes = job.app.rollout.sizes(hosts.len());
    let mut rest = hosts.as_slice();
    for (number, size) in (1..).zip(&sizes) {
        let (batch, later) = rest.split_at((*size).min(rest.len()));
        rest = later;
        let mut open: Vec<&&HostState> = batch.iter().filter(|host| is_open(host)).collect();
        if open.is_empty() {
            continue;
        }
        open.sort_by_key(|host| host.state != Progress::Running);
        let is_next = number > 1 && batch.iter().all(|host| host.state == Progress::Pending);
        let hosts = open.into_iter().map(|host| host.name.clone()).collect();
        return Some(Batch { number, of: sizes.len(), hosts, is_next });
    }
    None
}

fn was_passed_by(host: &HostState) -> bool {
    !host.touched && matches!(host.state, Progress::Failed | Progress::Unreachable | Progress::Skipped)
}

/// The hosts that count as failed.
pub(super) fn failed(job: &JobState) -> Vec<&HostState> {
    let rollout: &Rollout = &job.app.rollout;
    let is_failed = |host: &&HostState| match host.state {
        Progress::Failed => true,
        Progress::Unreachable => rollout.unreachable == Unreachable::Fail,
        _ => false,
    };
    job.hosts.iter().filter(is_failed).collect()
}

/// Whether more have failed than may: nothing more is begun.
pub(super) fn is_over(job: &JobState) -> bool {
    u32::try_from(failed(job).len()).unwrap_or(u32::MAX) > job.app.rollout.max_failures
}

/// The hosts that go back, in groups: first those that are not well, then the others, the last batch first.
pub(super) fn way_back(job: &JobState) -> Vec<Vec<HostName>> {
    let open = |host: &&HostState| host.touched && (host.back.is_none() || host.state == Progress::Running);
    let names = |hosts: Vec<&HostState>| hosts.into_iter().map(|host| host.name.clone()).collect::<Vec<_>>();
    let (well, ill): (Vec<&HostState>, Vec<&HostState>) =
        job.hosts.iter().filter(open).partition(|host| host.state == Progress::Done);
    let mut groups = vec![names(ill)];
    let sizes = job.app.rollout.sizes(job.hosts.iter().filter(|host| !was_passed_by(host)).count());
    let mut rest = names(well);
    let mut batches = Vec::new();
    for size in sizes {
        batches.push(rest.drain(..size.min(rest.len())).collect::<Vec<_>>());
    }
    groups.extend(batches.into_iter().rev());
    groups.retain(|group| !group.is_empty());
    groups
}
