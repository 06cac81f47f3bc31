//! Apps that were left out of something since an app before them failed: once that one has been made good without a commit
//! of ours, whose push would move them, they are run for what they missed. What they take then is what they are owed.
//!
//! A start looks back over the last jobs, so that a death in between loses nothing. Must never run an app that has a job
//! before it anyway.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use super::{Inner, unpoison};
use crate::model::{AppName, EventKind, JobState, Outcome, Trigger};
use crate::store::{JobFilter, StoreError};

/// In whose name such an app is run.
const BY: &str = "the daemon, since what the app depends on had failed and is mended";
/// How many jobs are looked back over.
const BACK: usize = 50;

impl Inner {
    pub(super) async fn watch_mended(self: Arc<Self>) {
        let mut changes = self.store.changes();
        let mut all = true;
        loop {
            if std::mem::take(&mut all) {
                let last = self.store.jobs(&JobFilter { limit: BACK, ..JobFilter::default() }).unwrap_or_default();
                for job in last {
                    self.take_up_after(&job, true).await;
                }
            }
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) if change.state.ended.is_some() => self.take_up_after(&change.state, false).await,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => all = true,
                    Err(RecvError::Closed) => return,
                },
                () = self.ending.cancelled() => return,
            }
        }
    }

    async fn take_up_after(&self, job: &JobState, was_before: bool) {
        let run = async || -> Result<(), StoreError> {
            for app in self.left_out_for(job, was_before)? {
                let what = EventKind::Deploy { app: app.clone(), by: BY.to_owned(), makes_up: false };
                let event = self.store.submit(what).await?;
                tracing::info!(%app, %event, after = %job.id, "run for what it missed while what it depends on had failed");
            }
            Ok(())
        };
        if let Err(error) = run().await {
            tracing::error!(job = %job.id, %error, "who was left out for it is run with what moves next");
        }
    }

    /// The apps that lost what they can take up now that a job has ended: it made good a failure, and no push tells of it.
    fn left_out_for(&self, job: &JobState, was_before: bool) -> Result<Vec<AppName>, StoreError> {
        let name = &job.app.name;
        let Some(published) = job.published.filter(|_| job.outcome().is_some_and(Outcome::is_well)) else {
            return Ok(Vec::new());
        };
        if self.store.own_commit(&published)?.is_some_and(|own| own.job == job.id) {
            return Ok(Vec::new());
        }
        let before = self.store.jobs(&JobFilter { app: Some(name.clone()), limit: BACK, ..JobFilter::default() })?;
        let mut before = before.iter().filter(|other| other.id < job.id).take_while(|other| other.published.is_none());
        if !before.any(|other| other.outcome().is_some_and(|outcome| !outcome.is_well())) {
            return Ok(Vec::new());
        }
        let held = self.held_apps();
        let repo = job.app.repo();
        let dependents: Vec<AppName> = {
            let graph = unpoison(self.graph.read());
            let follows = graph.dependents(&repo).filter(|app| app.update && app.trigger == Trigger::PushAny);
            follows.map(|app| app.name.clone()).filter(|app| !held.contains_key(app)).collect()
        };
        let mut left_out = Vec::new();
        for app in dependents {
            let last = self.store.jobs(&JobFilter { app: Some(app.clone()), limit: 1, ..JobFilter::default() })?;
            // One that is to come takes it up, and one that came since the last daemon has.
            let is_cared_for =
                |last: &Arc<JobState>| (last.ended.is_none() && !last.started) || (was_before && last.id > job.id);
            if last.first().is_some_and(is_cared_for) {
                continue;
            }
            for cause in self.lost(&app, None)? {
                let mut waited_for_it = false;
                for up in &cause.after {
                    waited_for_it |= self.store.job(*up)?.is_some_and(|up| up.app.name == *name);
                }
                if waited_for_it && self.made_good(cause.plan, &cause.after)?.is_some() {
                    left_out.push(app);
                    break;
                }
            }
        }
        Ok(left_out)
    }
}
