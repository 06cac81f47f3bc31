//! Hosts that were away when the others of their app got a commit, and what they are owed: that commit, once they are
//! back. Which they are is read from the jobs; what is done is a job like any other, that names the one before.
//!
//! Looked at are only the apps that may owe something: all of them at a start, and then those with a job that has ended,
//! or waits for a window, since, until it is seen that they owe nothing. Must never read the jobs of the others.

use super::{Inner, Pipeline, PipelineError, unpoison, windows};
use crate::model::api::Submitted;
use crate::model::live::Debt;
use crate::model::rollout::{Because, Carried};
use crate::model::{App, AppName, Host, HostName, JobState, live};
use crate::store::StoreError;

/// So many jobs of an app are looked back upon.
const BACK: usize = 200;
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
    pub async fn away(&self) -> Result<Vec<Away>, PipelineError> {
        let inner = self.inner.clone();
        let read = tokio::task::spawn_blocking(move || inner.away()).await;
        Ok(read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
    }

    /// Brings hosts that are back what they are owed: those of `away` that are in `back`.
    pub async fn catch_up(&self, away: &Away, back: Vec<HostName>) -> Result<Submitted, PipelineError> {
        tracing::info!(app = %away.app, hosts = ?back, commit = %away.carried.commit, of = %away.carried.of, "hosts are back, and catch up");
        self.carry(&away.app, Carried { hosts: back, ..away.carried.clone() }).await
    }
}

impl Inner {
    /// An app may owe its hosts something.
    pub(super) fn may_owe(&self, app: &AppName) {
        unpoison(self.owing.lock()).insert(app.clone());
    }

    fn away(&self) -> Result<Vec<Away>, StoreError> {
        let owing = unpoison(self.owing.lock()).clone();
        let mut all = Vec::new();
        for name in owing {
            // Before it is looked: a job that ends meanwhile has its app looked at again.
            unpoison(self.owing.lock()).remove(&name);
            let Some(app) = self.app(&name).filter(|app| !app.hosts.is_empty()) else { continue };
            let (away, is_settled) = self.away_of(&app).inspect_err(|_| self.may_owe(&name))?;
            if !is_settled {
                self.may_owe(&name);
            }
            all.extend(away);
        }
        Ok(all)
    }

    /// Who of an app's hosts is to get now what it is owed, and whether nothing is.
    fn away_of(&self, app: &App) -> Result<(Vec<Away>, bool), StoreError> {
        let is_busy = self.store.open_jobs_of(&app.name).iter().any(|job| !job.lets_others());
        if is_busy || self.stopped_by(&app.name).is_some() {
            return Ok((Vec::new(), false));
        }
        let mut owed = self.owed_to_hosts(app)?;
        let is_settled = owed.is_empty();
        // Nobody asked for it: it waits for their window.
        for away in &mut owed {
            away.hosts.retain(|host| windows::is_open(app, &host.name));
        }
        owed.retain(|away| !away.hosts.is_empty());
        Ok((owed, is_settled))
    }

    /// The hosts of an app that its jobs passed by, by the commit that they are owed.
    fn owed_to_hosts(&self, app: &App) -> Result<Vec<Away>, StoreError> {
        let mut away = Vec::new();
        for Debt { commit, sum, branch, of, hosts } in live::debts(app, self.newest_of(&app.name, BACK)?)? {
            let is_owed = |host: &&Host| hosts.contains(&host.name);
            let hosts: Vec<Host> = app.hosts.iter().filter(is_owed).cloned().collect();
            if !hosts.is_empty() {
                let (because, by) = (Because::CatchUp, BY.to_owned());
                let carried = Carried { of, commit, sum, branch, hosts: Vec::new(), because, by };
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
        owed.retain(|away| (away.carried.commit, &away.carried.sum) == (carried.commit, &carried.sum));
        let is_owed = |name: &HostName| owed.iter().any(|away| away.hosts.iter().any(|host| host.name == *name));
        let late: Vec<&str> = job.hosts.iter().filter(|h| !is_owed(&h.name)).map(|host| host.name.as_str()).collect();
        if late.is_empty() {
            return Ok(None);
        }
        let (hosts, commit) = (late.join(", "), carried.commit.short());
        Ok(Some(format!("{hosts} is no longer owed {commit}: a newer job has had its say about it")))
    }
}
