//! Hosts that were away when the others of their app got a commit, and what they are owed: that commit, once they are
//! back. Which they are is read from the jobs; what is done is a job like any other, that names the one before.

use super::{Inner, Pipeline, PipelineError, unpoison, windows};
use crate::model::api::Submitted;
use crate::model::live::Debt;
use crate::model::rollout::{Because, Carried};
use crate::model::{App, AppName, Host, HostName, JobState, live};
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
                // Nobody asked for it: it waits for their window.
                let may_get = |mut away: Away| {
                    away.hosts.retain(|host| windows::is_open(&app, &host.name));
                    (!away.hosts.is_empty()).then_some(away)
                };
                away.extend(self.inner.owed_to_hosts(&app)?.into_iter().filter_map(may_get));
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
        let mut away = Vec::new();
        for Debt { commit, branch, of, hosts } in live::debts(app, jobs.iter().map(|job| &**job)) {
            let is_owed = |host: &&Host| hosts.contains(&host.name);
            let hosts: Vec<Host> = app.hosts.iter().filter(is_owed).cloned().collect();
            if !hosts.is_empty() {
                let (because, by) = (Because::CatchUp, BY.to_owned());
                let carried = Carried { of, commit, branch, hosts: Vec::new(), because, by };
                away.push(Away { app: app.name.clone(), hosts, carried });
            }
        }
        Ok(away)
    }

    /// Why the hosts of a catch-up have no use for it any more, as it is about to start: it was planned by what they were
    /// owed then. None of another job. Who is still owed something gets that by another one.
    pub(super) fn comes_too_late(&self, job: &JobState) -> Result<Option<String>, StoreError> {
        let Some(carried) = job.carried().filter(|_| job.is_catch_up()) else { return Ok(None) };
        let Some(app) = self.app(&job.app.name) else { return Ok(None) };
        let mut owed = self.owed_to_hosts(&app)?;
        owed.retain(|away| away.carried.commit == carried.commit);
        let is_owed = |name: &HostName| owed.iter().any(|away| away.hosts.iter().any(|host| host.name == *name));
        let late: Vec<&str> = job.hosts.iter().filter(|h| !is_owed(&h.name)).map(|host| host.name.as_str()).collect();
        if late.is_empty() {
            return Ok(None);
        }
        let (hosts, commit) = (late.join(", "), carried.commit.short());
        Ok(Some(format!("{hosts} is no longer owed {commit}: a newer job has had its say about it")))
    }
}
