//! Plans that were made while an app could not be read: once it can be, it is run for what it missed, once for all of
//! it, also by the daemon after this one. What it missed is in the store; what it depends on is as it was read since.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use super::explain::moved_by;
use super::unread::AGAIN_AFTER;
use super::{Inner, unpoison};
use crate::model::{AppName, EventId, JobId, JobState, RepoId, Trigger};
use crate::planner::Moved;
use crate::store::{Change, JobFilter, MakeUp, Missed, StoreError};

/// In whose name such an app is run.
const BY: &str = "the daemon, which could not read the app when something else moved";

/// What an app missed.
enum Found {
    /// Something that it depends on has moved.
    Something,
    /// Nothing of its.
    Nothing,
    /// What it depends on is still under way, or failed and has not been made good.
    NotYet,
}

impl Inner {
    /// Apps that plans may lack are read at the next start, whatever was known of them.
    pub(super) fn doubt_missed(&self) {
        match self.store.missed() {
            Ok(missed) => self.doubt(missed.into_iter().map(|(app, _)| app)),
            Err(error) => tracing::error!(%error, "which apps plans may lack is not known"),
        }
    }

    pub(super) async fn watch_missed(self: Arc<Self>) {
        let mut changes = self.store.changes();
        let (mut reads, mut ticks) = (self.reads.subscribe(), self.ticks.subscribe());
        loop {
            let waits = self.make_up().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "what plans missed is made up for later");
                true
            });
            if waits {
                // Those that could not be read are tried again without an event too.
                self.start_reading();
            }
            let ended = async {
                loop {
                    match changes.recv().await {
                        Ok(Change { state, .. }) if state.ended.is_none() && state.published.is_none() => {}
                        Ok(_) | Err(RecvError::Lagged(_)) if waits => return,
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                _ = reads.changed() => {}
                _ = ticks.changed() => {}
                () = ended => {}
                () = tokio::time::sleep(AGAIN_AFTER), if waits => {}
                () = self.ending.cancelled() => return,
            }
        }
    }

    /// Whether something is still to be made up for.
    async fn make_up(&self) -> Result<bool, StoreError> {
        let mut waits = false;
        for (app, missed) in self.store.missed()? {
            // No plan is made that lacks it between the look and the write.
            let _turn = self.lacking.lock().await;
            let found = if self.is_unread(&app) { Found::NotYet } else { self.missed_by(&app, missed)? };
            let by = match found {
                Found::NotYet => {
                    waits = true;
                    continue;
                }
                Found::Nothing => None,
                Found::Something => Some(BY.to_owned()),
            };
            if let Some(event) = self.store.make_up(MakeUp { app: app.clone(), missed, by }).await? {
                tracing::info!(%app, %event, "run for what it missed while it could not be read");
            }
        }
        Ok(waits)
    }

    fn missed_by(&self, app: &AppName, missed: Missed) -> Result<Found, StoreError> {
        let Some(entry) = self.app(app).filter(|app| app.update && app.trigger == Trigger::PushAny) else {
            return Ok(Found::Nothing);
        };
        // The end of a hold makes up for all of it.
        if self.held_apps().contains_key(app) {
            return Ok(Found::Nothing);
        }
        if missed.given_up {
            return Ok(Found::Something);
        }
        let plans = self.store.incomplete(missed.first)?;
        let last = plans.last().copied().unwrap_or(missed.first);
        // A push to it, or a person's word, has brought it all that is due since.
        let filter = JobFilter { app: Some(app.clone()), limit: 5, ..JobFilter::default() };
        let brings_all = |job: &JobState| job.live_causes().any(|cause| cause.plan > last && job.bumps_all_for(cause));
        if self.store.jobs(&filter)?.iter().any(|job| brings_all(job)) {
            return Ok(Found::Nothing);
        }
        let mut found = Found::Nothing;
        for id in plans {
            let (Some(row), Some((_, rows))) = (self.store.event(id)?, self.store.plan_of(id)?) else { continue };
            if rows.iter().any(|row| row.app == *app) {
                continue;
            }
            let moved: Vec<(RepoId, Moved)> = match moved_by(&row.event) {
                Some((repos, moved)) => repos.into_iter().map(|repo| (repo, moved.clone())).collect(),
                None => continue,
            };
            let follows = |repo: &RepoId, moved: &Moved| {
                *repo != entry.repo() && unpoison(self.graph.read()).is_moved(app, repo, moved)
            };
            let mut concerned = moved.iter().any(|(repo, moved)| follows(repo, moved));
            let mut ups: Vec<JobId> = Vec::new();
            for row in rows {
                let publishes = {
                    let graph = unpoison(self.graph.read());
                    graph.app(&row.app).map(|up| (up.repo(), graph.published(up)))
                };
                if publishes.is_some_and(|(repo, moved)| follows(&repo, &moved)) {
                    ups.push(row.job);
                }
            }
            concerned |= !ups.is_empty();
            if concerned && !self.are_done(id, &ups)? {
                return Ok(Found::NotYet);
            }
            if concerned {
                found = Found::Something;
            }
        }
        Ok(found)
    }

    /// Whether the jobs of a plan that an app depends on have ended, and those that failed have been made good.
    fn are_done(&self, plan: EventId, jobs: &[JobId]) -> Result<bool, StoreError> {
        for id in jobs {
            if self.store.job(*id)?.is_some_and(|job| job.ended.is_none() && job.published.is_none()) {
                return Ok(false);
            }
        }
        Ok(self.made_good(plan, jobs)?.is_some())
    }
}
