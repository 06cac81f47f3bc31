//! Drift: what hosts say of themselves, beside what the last good job left them at. They are asked, not assumed, and
//! nothing on them is changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Inner, Pipeline, PipelineError, unpoison};
use crate::host::{HostState, MarkerState, Remote};
use crate::model::provenance::{Drift, DriftView, HostDrift};
use crate::model::{App, AppName, Host, Sha};
use crate::store::StoreError;

/// How many hosts are asked at once.
const AT_ONCE: usize = 16;
/// How long one may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

impl Pipeline {
    /// Asks the hosts of an app, or of all.
    pub async fn drift(&self, app: Option<&AppName>) -> Result<DriftView, PipelineError> {
        let apps: Vec<App> = unpoison(self.inner.graph.read()).apps().cloned().collect();
        if let Some(app) = app.filter(|app| !apps.iter().any(|entry| entry.name == **app)) {
            return Err(self.no_such_app(app));
        }
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut looks = JoinSet::new();
        for entry in apps.into_iter().filter(|entry| app.is_none_or(|app| entry.name == *app)) {
            for host in entry.hosts.clone() {
                let wanted = self.inner.left_at(&entry, &host.name)?;
                let (inner, entry, places) = (self.inner.clone(), entry.clone(), places.clone());
                looks.spawn(async move {
                    let _place = places.acquire_owned().await;
                    inner.look_at(&entry, &host, wanted).await
                });
            }
        }
        let mut hosts = Vec::new();
        while let Some(look) = looks.join_next().await {
            // A task that panicked is told by the runtime.
            if let Ok(look) = look {
                hosts.push(look?);
            }
        }
        hosts.sort_by(|a: &HostDrift, b| (&a.app, &a.host).cmp(&(&b.app, &b.host)));
        Ok(DriftView { hosts })
    }
}

impl Inner {
    async fn look_at(&self, app: &App, host: &Host, wanted: Option<Sha>) -> Result<HostDrift, StoreError> {
        let (rooms, mut quiet) = (self.rooms.load_full(), |_: &[u8]| ());
        let mut remote =
            Remote { hosts: &rooms.hosts, host, timeout: ANSWERED_WITHIN, cancel: &self.ending, log: &mut quiet };
        let seen = match app.folder_on(host) {
            Some(folder) => match tokio::time::timeout(ANSWERED_WITHIN, remote.observe_app(app, &folder)).await {
                Ok(seen) => seen.map(|seen| seen.state).map_err(|error| error.to_string()),
                Err(_) => Err(format!("it did not answer within {} s", ANSWERED_WITHIN.as_secs())),
            },
            None => Err(format!("{} has no :working-directory", app.name)),
        };
        let has = seen.as_ref().ok().and_then(|seen| seen.head);
        let ours = match has {
            Some(has) => self.store.own_commit(&has)?.map(|own| own.job),
            None => None,
        };
        let good = self.store.last_good_on(app, &host.name)?.filter(|good| Some(good.sha) == has).map(|good| good.job);
        let job = good.or(ours);
        let (state, why) = match seen {
            Ok(seen) => judge(&seen, wanted, job.is_some()),
            Err(why) => (Drift::Unreachable, Some(why)),
        };
        let environment = app.environment_of(&host.name).map(|environment| environment.name.clone());
        Ok(HostDrift { app: app.name.clone(), environment, host: host.name.clone(), state, wanted, has, job, why })
    }
}

/// How a host stands. What was not finished says more than where it is.
pub(super) fn judge(seen: &HostState, wanted: Option<Sha>, is_ours: bool) -> (Drift, Option<String>) {
    let Some(head) = seen.head.filter(|_| seen.exists) else {
        return (Drift::NeverDeployed, Some("its working directory is not there, or has no commit".to_owned()));
    };
    let Some(marker) = &seen.marker else {
        return (Drift::NeverDeployed, Some("its working directory has no mark of ours".to_owned()));
    };
    if marker.state == MarkerState::Moving {
        let why = format!("on its way to {}, or left in the middle of it", marker.sha.short());
        return (Drift::Moving, Some(why));
    }
    if wanted != Some(head) {
        let who = match is_ours {
            true => "a job of ours made it",
            false if marker.sha == head => "a job of ours brought it, and did not end well",
            false => "no job of ours made it",
        };
        return (Drift::OtherCommit, Some(who.to_owned()));
    }
    if !seen.changed.is_empty() {
        let more = seen.changed.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names: Vec<&str> = seen.changed.iter().take(5).map(String::as_str).collect();
        return (Drift::ChangedFiles, Some(format!("{}{more}", names.join(", "))));
    }
    match &seen.unit {
        Some(unit) if !unit.is_active() => {
            (Drift::UnitDown, Some(format!("{} ({})", unit.active_state, unit.sub_state)))
        }
        _ => (Drift::InStep, None),
    }
}
