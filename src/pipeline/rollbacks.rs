//! Rollouts without a build: a commit that was live before, brought to hosts again by a person's word. Here it is found
//! which commit that is; what is done is a job like any other. Also what a rollout would do, told before.

use std::sync::Arc;

use super::{Inner, Pipeline, PipelineError};
use crate::model::api::{RollbackView, RolloutView, Submitted};
use crate::model::rollout::{Because, Carried};
use crate::model::{App, AppName, Environment, EventKind, HostName, JobId, JobState, Progress, Sha, live};
use crate::store::{JobFilter, StoreError};

/// So many jobs of an app are looked back upon.
const BACK: usize = 200;
/// So many times that, for those of one environment among them.
const PAGES: usize = 20;

impl Pipeline {
    /// How the next rollout of an app would go. Asks no host.
    pub fn rollout_plan(&self, app: &AppName) -> Result<RolloutView, PipelineError> {
        let entry = self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        let mut view = RolloutView::of(&entry, |host| entry.is_automatic(host));
        view.held = self.inner.stopped_by(app).map(|hold| hold.to_string());
        view.live = self.inner.store.last_good(app)?.map(|good| good.sha);
        Ok(view)
    }

    /// What a rollback would do, to a commit or to what a job brought; by default to what was live before. Of one
    /// environment, where the app has some.
    pub fn rollback_plan(
        &self,
        app: &AppName,
        environment: Option<&str>,
        to: Option<&str>,
    ) -> Result<RollbackView, PipelineError> {
        let entry = self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        let environment = meant(&entry, environment)?;
        let (carried, bad) = self.inner.way_back(&entry, environment, to, "")?;
        let is_meant = |host: &HostName| environment.is_none_or(|environment| environment.hosts.contains(host));
        let rollout = RolloutView::of(&entry.for_carried(&carried.because), is_meant);
        let cancels = self.inner.in_the_way(app, environment);
        let environment = environment.map(|environment| environment.name.clone());
        let (commit, of) = (carried.commit, carried.of);
        let jobs = if entry.rollout.reversible { Vec::new() } else { self.inner.jobs_of(app)? };
        let is_since = |job: &&std::sync::Arc<JobState>| {
            let migrated = job.migrations.iter().any(|migration| is_meant(&migration.host));
            job.id > of && migrated && job.commit() != Some(commit)
        };
        let migrated = jobs.iter().filter(is_since).map(|job| job.id).collect();
        Ok(RollbackView { app: app.clone(), environment, from: bad, to: commit, of, migrated, cancels, rollout })
    }

    /// Rolls an app back. Returns once it is planned; the job holds the app when it ends.
    pub async fn rollback(
        &self,
        app: &AppName,
        environment: Option<&str>,
        to: Option<&str>,
        by: &str,
    ) -> Result<Submitted, PipelineError> {
        let entry = self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        let by: String = by.chars().take(100).collect();
        let environment = meant(&entry, environment)?;
        let (carried, _) = self.inner.way_back(&entry, environment, to, &by)?;
        let submitted = self.carry(app, carried).await?;
        let canceled = self.make_way(app, environment, &format!("{by}, who rolled {app} back")).await?;
        Ok(Submitted { canceled, ..submitted })
    }

    /// Cancels what is in the way of a rollback, so that nobody waits for a build to go back. Gives what was canceled.
    async fn make_way(
        &self,
        app: &AppName,
        environment: Option<&Environment>,
        by: &str,
    ) -> Result<Vec<JobId>, PipelineError> {
        let mut canceled = Vec::new();
        for job in self.inner.in_the_way(app, environment) {
            match self.cancel(job, by).await {
                Ok(()) => canceled.push(job),
                Err(PipelineError::AlreadyEnded(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(canceled)
    }

    /// Brings a commit that was built before to an app's hosts.
    pub(super) async fn carry(&self, app: &AppName, carried: Carried) -> Result<Submitted, PipelineError> {
        if self.inner.ending.is_cancelled() {
            return Err(PipelineError::Ending);
        }
        let event = self.inner.store.submit(EventKind::Rollout { app: app.clone(), carried }).await?;
        let row = self.planned(event).await?.into_iter().find(|row| row.app == *app);
        let Some(row) = row else { return Err(self.no_such_app(app)) };
        self.inner.submitted(event, row.job)
    }
}

/// The environment that somebody means; none where the app has none.
fn meant<'a>(app: &'a App, name: Option<&str>) -> Result<Option<&'a Environment>, PipelineError> {
    match (name, app.environments.as_slice()) {
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only)),
        (Some(name), _) => named(app, name).map(Some),
        (None, _) => {
            let names = names_of(app);
            Err(PipelineError::Senseless(format!("{} has several environments: say which, --env {names}", app.name)))
        }
    }
}

/// The environment with that name.
pub(super) fn named<'a>(app: &'a App, name: &str) -> Result<&'a Environment, PipelineError> {
    let found = app.environments.iter().find(|environment| environment.name.as_str() == name);
    found.ok_or_else(|| {
        let known = match app.environments.is_empty() {
            true => "it has none: `:environments` in deploy.edn makes them".to_owned(),
            false => format!("it has {}", names_of(app)),
        };
        PipelineError::Senseless(format!("{} has no environment `{}`; {known}", app.name, name.escape_debug()))
    })
}

/// `staging or production`.
pub(super) fn names_of(app: &App) -> String {
    app.environments.iter().map(|environment| environment.name.as_str()).collect::<Vec<_>>().join(" or ")
}

impl Inner {
    /// The app's jobs that build something and would bring it to hosts that are rolled back. Not what is on its way back.
    fn in_the_way(&self, app: &AppName, environment: Option<&Environment>) -> Vec<JobId> {
        let is_meant = |name: &HostName| environment.is_none_or(|environment| environment.hosts.contains(name));
        let is_free = |job: &JobState| job.ended.is_some() || job.canceling.is_some() || job.waits_for_merge();
        let stays = |job: &JobState| is_free(job) || job.carried().is_some() || job.rolling_back.is_some();
        let is_it = |job: &JobState| !stays(job) && job.hosts.iter().any(|host| is_meant(&host.name));
        self.store.open_jobs_of(app).iter().filter(|job| is_it(job)).map(|job| job.id).collect()
    }

    /// What to go back to, and from what.
    fn way_back(
        &self,
        app: &App,
        environment: Option<&Environment>,
        to: Option<&str>,
        by: &str,
    ) -> Result<(Carried, Sha), PipelineError> {
        let refuse = |why: String| Err(PipelineError::Senseless(why));
        if app.hosts.is_empty() {
            return refuse(format!("{} has no hosts, so there is nothing to roll back", app.name));
        }
        let jobs = match environment {
            Some(environment) => self.jobs_in(&app.name, environment)?,
            None => self.jobs_of(&app.name)?,
        };
        let is_meant = |name: &HostName| environment.is_none_or(|environment| environment.hosts.contains(name));
        let there = environment.map_or_else(|| app.name.to_string(), |there| format!("{} of {}", there.name, app.name));
        // What is live: what the newest job brought, but to hosts that were late.
        let is_live = |job: &&JobState| job.has_brought(is_meant) && !job.is_catch_up();
        let Some(live) = jobs.iter().map(|job| &**job).find(is_live) else {
            return refuse(format!("no job has brought anything to the hosts of {there} yet"));
        };
        let Some(bad) = live.commit() else {
            return refuse(format!("nobody knows what job {} brought to its hosts", live.id));
        };
        let was_live = |job: &&JobState| job.was_live_on(is_meant) && job.commit().is_some();
        let well: Vec<&JobState> = jobs.iter().map(|job| &**job).filter(was_live).collect();
        let target = match to {
            Some(to) => {
                let meant = |job: &&&JobState| match (to.parse::<JobId>(), job.commit()) {
                    (Ok(id), _) => job.id == id,
                    (Err(_), Some(sha)) => to.len() >= 7 && sha.to_string().starts_with(&to.to_lowercase()),
                    _ => false,
                };
                well.iter().find(meant).copied()
            }
            None => {
                let history = live::history(jobs.iter().map(|job| &**job), is_meant);
                history.iter().rfind(|(commit, _)| *commit != bad).map(|(_, job)| *job)
            }
        };
        let Some((target, commit)) = target.and_then(|job| Some((job, job.commit()?))) else {
            let known: Vec<String> = well.iter().filter_map(|job| job.commit()).map(|sha| sha.short()).collect();
            let mut known: Vec<String> = known.into_iter().filter(|sha| *sha != bad.short()).collect();
            known.dedup();
            known.truncate(5);
            let known = match known.is_empty() {
                true => format!("{there} has had no other commit that did well"),
                false => format!("it has had {}", known.join(", ")),
            };
            return match to {
                Some(to) => refuse(format!("no job of {there} that did well is or brought `{to}`; {known}")),
                None => refuse(format!("there is nothing to go back to from {}: {known}", bad.short())),
            };
        };
        let Some((branch, _)) = &target.base else {
            return refuse(format!("nobody knows which branch {} is on", commit.short()));
        };
        let of = target.carried().map_or(target.id, |carried| carried.of);
        let hosts = environment.map(|environment| environment.hosts.clone()).unwrap_or_default();
        let because = Because::Rollback { bad };
        Ok((Carried { of, commit, branch: branch.clone(), hosts, because, by: by.to_owned() }, bad))
    }

    /// What jobs left a host of an app at: the one under way that has brought it there, or the last good one.
    pub(super) fn left_at(&self, app: &App, host: &HostName) -> Result<Option<Sha>, StoreError> {
        let done = |job: &JobState| job.host(host).is_some_and(|host| host.state == Progress::Done);
        let open = self.store.open_jobs_of(&app.name);
        match open.iter().rev().find(|job| job.waits_for_window() && done(job)).and_then(|job| job.commit()) {
            Some(commit) => Ok(Some(commit)),
            None => Ok(self.store.last_good_on(app, host)?.map(|good| good.sha)),
        }
    }

    /// An app's newest jobs that were for hosts of an environment.
    pub(super) fn jobs_in(&self, app: &AppName, there: &Environment) -> Result<Vec<Arc<JobState>>, StoreError> {
        let (mut found, mut before) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page =
                self.store.jobs(&JobFilter { app: Some(app.clone()), before, limit: BACK, ..JobFilter::default() })?;
            before = page.last().map(|job| job.id);
            let is_whole = page.len() < BACK;
            found.extend(page.into_iter().filter(|job| job.hosts.iter().any(|host| there.hosts.contains(&host.name))));
            if is_whole || found.len() >= BACK {
                break;
            }
        }
        Ok(found)
    }

    /// An app's newest jobs.
    pub(super) fn jobs_of(&self, app: &AppName) -> Result<Vec<Arc<JobState>>, StoreError> {
        self.store.jobs(&JobFilter { app: Some(app.clone()), limit: BACK, ..JobFilter::default() })
    }
}
