//! Hosts that were away when the others of their app got a commit, and what they are owed: that commit, once they are
//! back. Which they are is read from the jobs; what is done is a job like any other, that names the one before.

use std::collections::BTreeSet;

use super::{Inner, Pipeline, PipelineError, unpoison};
use crate::model::api::Submitted;
use crate::model::rollout::{Because, Carried};
use crate::model::{App, AppName, Host, HostName, JobState, Outcome, Progress, Sha};
use crate::store::StoreError;

/// In whose name they catch up.
const BY: &str = "the daemon, since the host is back";

/// Hosts of an app that are owed a commit.
#[derive(Debug, Clone)]
pub struct Away {
    /// The app.
    pub app: AppName,
    /// The hosts, with how to reach them.
    pub hosts: Vec<Host>,
    carried: Carried,
}

impl Pipeline {
    /// Who is owed what. Asks no host.
    pub fn away(&self) -> Result<Vec<Away>, PipelineError> {
        let apps: Vec<App> = unpoison(self.inner.graph.read()).apps().cloned().collect();
        let mut away = Vec::new();
        for app in apps.into_iter().filter(|app| !app.hosts.is_empty()) {
            let open = self.inner.store.open_jobs_of(&app.name);
            let is_busy = open.iter().any(|job| !job.waits_for_merge());
            if !is_busy && self.inner.stopped_by(&app.name).is_none() {
                away.extend(self.inner.owed_to_hosts(&app)?);
            }
        }
        Ok(away)
    }

    /// Brings hosts that are back what they are owed: those of `away` that are in `back`.
    pub async fn catch_up(&self, away: &Away, back: Vec<HostName>) -> Result<Submitted, PipelineError> {
        tracing::info!(app = %away.app, hosts = ?back, commit = %away.carried.commit, of = %away.carried.of, "hosts are back, and catch up");
        self.carry(&away.app, Carried { hosts: back, ..away.carried.clone() }).await
    }
}

impl Inner {
    /// The hosts of an app that its jobs passed by, by the commit that they are owed.
    fn owed_to_hosts(&self, app: &App) -> Result<Vec<Away>, StoreError> {
        let jobs = self.jobs_of(&app.name)?;
        let (mut settled, mut away) = (BTreeSet::new(), Vec::new());
        for job in &jobs {
            for (commit, hosts) in owed(job) {
                let is_owed = |host: &&Host| hosts.contains(&host.name) && !settled.contains(&host.name);
                let hosts: Vec<Host> = app.hosts.iter().filter(is_owed).cloned().collect();
                settled.extend(hosts.iter().map(|host| host.name.clone()));
                let (Some((branch, _)), false) = (&job.base, hosts.is_empty()) else { continue };
                let of = job.carried().map_or(job.id, |carried| carried.of);
                let (because, branch, by) = (Because::CatchUp, branch.clone(), BY.to_owned());
                let carried = Carried { of, commit, branch, hosts: Vec::new(), because, by };
                away.push(Away { app: app.name.clone(), hosts, carried });
            }
            settled.extend(job.hosts.iter().filter(|host| is_settled(host, job)).map(|host| host.name.clone()));
            // What is before it no host is owed any more, of its environments.
            if job.carried().is_none_or(|carried| carried.because != Because::CatchUp) {
                let done = job.hosts.iter().filter(|host| host.state == Progress::Done).map(|host| &host.name);
                if app.environments.is_empty() && done.clone().next().is_some() {
                    break;
                }
                settled.extend(app.environments_of(done).into_iter().flat_map(|there| there.hosts.iter().cloned()));
            }
        }
        Ok(away)
    }
}

/// The hosts that a job is in debt of, with the commit: its own, or what they ran where it was taken back.
fn owed(job: &JobState) -> Vec<(Sha, Vec<HostName>)> {
    let away = job.hosts.iter().filter(|host| host.state == Progress::Unreachable);
    let mut owed: Vec<(Sha, Vec<HostName>)> = Vec::new();
    let is_live = job.rolling_back.is_none()
        && matches!(job.outcome(), Some(Outcome::Partial))
        && job.hosts.iter().any(|host| host.state == Progress::Done);
    let is_late = job.carried().is_some_and(|carried| carried.because == Because::CatchUp);
    for host in away {
        let commit = match &host.back {
            Some(_) => host.previous,
            None => job.commit().filter(|_| is_live || is_late),
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
fn is_settled(host: &crate::model::HostState, job: &JobState) -> bool {
    match host.state {
        Progress::Done | Progress::Failed | Progress::RolledBack => true,
        Progress::Skipped | Progress::Pending | Progress::Running => false,
        // One that was away when a bad commit came is owed what it was owed before.
        Progress::Unreachable => host.back.is_some() || !owed(job).is_empty(),
    }
}
