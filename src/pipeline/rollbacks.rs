//! Rollouts without a build: a commit that was live before, brought to hosts again by a person's word. Here it is found
//! which commit that is; what is done is a job like any other. Also what a rollout would do, told before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Inner, Pipeline, PipelineError};
use crate::model::api::{RollbackView, RolloutView, Submitted};
use crate::model::rollout::{Because, Carried};
use crate::model::{
    App, AppName, Environment, EventKind, HostName, HostState, JobId, JobState, Outcome, Progress, Sha, live,
};
use crate::store::StoreError;

/// So many jobs of an app are looked back upon.
const BACK: usize = 200;
/// So many times that, for those of one environment among them.
const PAGES: usize = 20;

/// What somebody was shown before they said yes: what is done is that, or nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown {
    /// What is not undone by it was among that.
    pub yes: bool,
    /// The commit that goes to hosts.
    pub commit: Option<Sha>,
    /// The commit that it takes the place of.
    pub from: Option<Sha>,
}

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
        let (carried, bad, since) = self.inner.way_back(&entry, environment, to, "")?;
        let is_meant = |host: &HostName| environment.is_none_or(|environment| environment.hosts.contains(host));
        let rollout = RolloutView::of(&entry.for_carried(&carried.because), is_meant);
        let cancels = self.inner.in_the_way(app, environment);
        let environment = environment.map(|environment| environment.name.clone());
        let (commit, of) = (carried.commit, carried.of);
        let has_migrated = |job: &&Arc<JobState>| {
            let migrated = job.migrations.iter().any(|migration| is_meant(&migration.host));
            !entry.rollout.reversible && migrated && job.commit() != Some(commit)
        };
        let migrated = since.iter().filter(has_migrated).map(|job| job.id).collect();
        Ok(RollbackView { app: app.clone(), environment, from: bad, to: commit, of, migrated, cancels, rollout })
    }

    /// Rolls an app back. Returns once it is planned; the job holds the app when it ends. What it would not undo has to be
    /// known to whoever asks: `yes`.
    pub async fn rollback(
        &self,
        app: &AppName,
        environment: Option<&str>,
        to: Option<&str>,
        shown: Shown,
        by: &str,
    ) -> Result<Submitted, PipelineError> {
        let entry = self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        if !shown.yes
            && let Some(warning) = self.rollback_plan(app, environment, to)?.warning()
        {
            return Err(PipelineError::Unconfirmed(warning));
        }
        let by: String = by.chars().take(100).collect();
        let environment = meant(&entry, environment)?;
        let (carried, bad, _) = self.inner.way_back(&entry, environment, to, &by)?;
        let is_other = |shown: Option<Sha>, now| shown.is_some_and(|shown| shown != now);
        if is_other(shown.commit, carried.commit) || is_other(shown.from, bad) {
            let (from, to) = (bad.short(), carried.commit.short());
            let why = format!("{app} would go back from {from} to {to} by now, and that is not what was shown");
            return Err(PipelineError::Changed(why));
        }
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

    /// What to go back to, from what, and the jobs that came since it was there for the first time, the newest first.
    fn way_back(
        &self,
        app: &App,
        environment: Option<&Environment>,
        to: Option<&str>,
        by: &str,
    ) -> Result<(Carried, Sha, Vec<Arc<JobState>>), PipelineError> {
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
        // One that has not come to all hosts, but to those that were away, is what is gone on with.
        let is_left = |host: &HostState| {
            let is_open = matches!(host.state, Progress::Pending | Progress::Running);
            is_meant(&host.name) && (is_open || matches!(host.state, Progress::Skipped | Progress::Failed))
        };
        let unfinished = match live.carried().map(|carried| &carried.because) {
            Some(Because::Rollback { bad }) if to.is_none() && live.hosts.iter().any(is_left) => Some(*bad),
            _ => None,
        };
        let bad = unfinished.unwrap_or(bad);
        let was_live = |job: &&JobState| job.was_live_on(is_meant) && job.commit().is_some();
        let well: Vec<&JobState> = jobs.iter().map(|job| &**job).filter(was_live).collect();
        let target = match to {
            Some(to) => {
                let meant = |job: &&&JobState| match (to.parse::<JobId>(), job.commit()) {
                    (Ok(id), _) => job.id == id || job.carried().is_some_and(|carried| carried.of == id),
                    (Err(_), Some(sha)) => to.len() >= 7 && sha.to_string().starts_with(&to.to_lowercase()),
                    _ => false,
                };
                well.iter().find(meant).copied()
            }
            None if unfinished.is_some() => Some(live),
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
        let (sum, branch) = (target.sum.clone(), branch.clone());
        let carried = Carried { of, commit, sum, branch, hosts, because, by: by.to_owned() };
        let first = jobs.iter().rposition(|job| job.commit() == Some(commit) && job.has_brought(is_meant));
        let since = jobs.iter().take(first.unwrap_or(jobs.len())).cloned().collect();
        Ok((carried, bad, since))
    }

    /// What jobs left a host of an app at: the one under way that has brought it there, or the last good one.
    pub(super) fn left_at(&self, app: &App, host: &HostName) -> Result<Option<Sha>, StoreError> {
        let done = |job: &JobState| job.host(host).is_some_and(|host| host.state == Progress::Done);
        let open = self.store.open_jobs_of(&app.name);
        match open.iter().rev().find(|job| job.waits_for_window() && done(job)).and_then(|job| job.commit()) {
            Some(commit) => Ok(Some(commit)),
            None => match self.store.last_good_on(app, host)? {
                // It is not known by that name: the environment is new, or was called otherwise.
                None if !app.environments.is_empty() => {
                    for job in self.newest_of(&app.name, BACK)? {
                        let job = job?;
                        if done(&job) || job.host(host).is_some_and(|_| job.outcome() == Some(Outcome::Unchanged)) {
                            return Ok(job.commit());
                        }
                    }
                    Ok(None)
                }
                good => Ok(good.map(|good| good.sha)),
            },
        }
    }

    /// An app's newest jobs that were for hosts of an environment.
    pub(super) fn jobs_in(&self, app: &AppName, there: &Environment) -> Result<Vec<Arc<JobState>>, StoreError> {
        let is_there = |job: &JobState| job.hosts.iter().any(|host| there.hosts.contains(&host.name));
        let jobs = self.newest_of(app, BACK * PAGES)?;
        jobs.filter(|job| job.as_ref().map_or(true, |job| is_there(job))).take(BACK).collect()
    }

    /// An app's newest jobs.
    pub(super) fn jobs_of(&self, app: &AppName) -> Result<Vec<Arc<JobState>>, StoreError> {
        self.newest_of(app, BACK)?.collect()
    }

    /// An app's jobs by when they began to bring something to hosts, the newest first, each read when it is asked for: so
    /// many, and then those that brought what its environments run, however much went elsewhere since.
    pub(super) fn newest_of(
        &self,
        app: &AppName,
        most: usize,
    ) -> Result<impl Iterator<Item = Result<Arc<JobState>, StoreError>>, StoreError> {
        let goods = self.store.goods(app)?.into_iter().map(|good| good.brought_by());
        let goods = goods.filter_map(|job| self.store.job(job).transpose());
        let mut seen = BTreeSet::new();
        let is_new =
            move |job: &Result<Arc<JobState>, StoreError>| job.as_ref().map_or(true, |job| seen.insert(job.id));
        Ok(self.store.rollouts(app)?.take(most).chain(goods).filter(is_new))
    }
}
