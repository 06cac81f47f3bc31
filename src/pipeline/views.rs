//! What is known of apps, builds and logs, for those who ask. Must never change anything, or ask a remote.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Pipeline, PipelineError, unpoison};
use crate::model::api::{AppView, JobView};
use crate::model::graph::GraphView;
use crate::model::inbox::BuildsView;
use crate::model::repo::LastSeenView;
use crate::model::{App, AppName, JobId, RepoId, Step};
use crate::planner::{self, Focus};
use crate::store::JobFilter;

impl Pipeline {
    /// The repositories that apps live in or are known to depend on.
    pub fn repos(&self) -> BTreeSet<RepoId> {
        let graph = unpoison(self.inner.graph.read());
        let deps = graph.apps().flat_map(|app| graph.deps(&app.name).cloned());
        deps.chain(graph.apps().map(App::repo)).collect()
    }
    /// How builds run on this machine. Asks nobody.
    pub fn builds(&self) -> BuildsView {
        let kept = self.inner.rooms.load().runner.kept();
        let (each, lacking) = kept.unwrap_or_default();
        BuildsView { at_once: self.inner.concurrency, each, lacking }
    }

    /// How many apps deploy.edn has. Asks nobody.
    pub fn count_apps(&self) -> usize {
        unpoison(self.inner.graph.read()).apps().count()
    }
    /// The apps of deploy.edn with what is known of them.
    pub fn apps(&self) -> Vec<AppView> {
        // Plans are made meanwhile: nothing else waits for these reads.
        let apps: Vec<(App, BTreeSet<RepoId>)> = {
            let graph = unpoison(self.inner.graph.read());
            graph.apps().map(|app| (app.clone(), graph.deps(&app.name).cloned().collect())).collect()
        };
        let view = |(app, depends_on): (App, BTreeSet<RepoId>)| {
            let mut view = AppView::of(&app);
            view.depends_on = depends_on.into_iter().collect();
            if let Ok(Some(index)) = self.inner.store.index(&app.name) {
                view.depends_on_ssh = index.deps.iter().filter_map(|dep| dep.ssh_url().cloned()).collect();
            }
            for environment in &mut view.environments {
                let first = environment.hosts.first();
                environment.live = first.and_then(|host| self.inner.left_at(&app, host).ok().flatten());
            }
            view.holds = self.holds_of(&app.name);
            if let Ok(seen) = self.inner.store.last_seen(&app.repo()) {
                view.last_seen = LastSeenView::of(seen.webhook, seen.poll);
            }
            let filter = crate::store::JobFilter { app: Some(app.name.clone()), limit: 1, ..Default::default() };
            if let Ok(Some(job)) = self.inner.store.jobs(&filter).map(|jobs| jobs.into_iter().next()) {
                view.last_job = Some(job.id);
                view.last_state = Some(JobView::of(&job).state);
            }
            view
        };
        apps.into_iter().map(view).collect()
    }

    /// What depends on what: all of it, or what an app or a repository stands on and what stands on it.
    pub fn overview(&self, app: Option<&AppName>, repo: Option<&str>) -> Result<GraphView, PipelineError> {
        let repo = repo.map(|repo| self.repo_named(repo)).transpose()?;
        if let Some(app) = app.filter(|app| self.inner.app(app).is_none()) {
            return Err(self.no_such_app(app));
        }
        let mut view = {
            let graph = unpoison(self.inner.graph.read());
            let focus = match (app, &repo) {
                (Some(app), _) => Focus::App(app),
                (None, Some(repo)) => Focus::Repo(repo),
                (None, None) => Focus::All,
            };
            planner::overview(&graph, &focus)
        };
        for node in &mut view.nodes {
            let Some(app) = node.app.clone() else { continue };
            node.held = self.holds_of(&app).iter().map(ToString::to_string).collect();
            let filter = JobFilter { app: Some(app), limit: 1, ..Default::default() };
            let job = self.inner.store.jobs(&filter)?.into_iter().next();
            node.last_state = job.map(|job| self.view(&job).state);
        }
        view.notes = self.inner.unread_notes();
        Ok(view)
    }

    /// The file of a step's log (`build/test`, `rollout/web-1`), of the newest attempt if none is named.
    pub fn log_path(&self, job: JobId, step: &str, attempt: Option<u32>) -> Option<PathBuf> {
        self.inner.logs.find(job, step, attempt)
    }

    /// Whether nothing will be added to that log.
    pub fn log_complete(&self, job: JobId, step: &str, attempt: Option<u32>) -> bool {
        let Ok(Some(job)) = self.inner.store.job(job) else { return true };
        if job.ended.is_some() {
            return true;
        }
        if let Some(host) = step.strip_prefix("rollout/") {
            let settled = |h: &crate::model::HostState| {
                !matches!(h.state, crate::model::Progress::Pending | crate::model::Progress::Running)
            };
            return job.hosts.iter().find(|h| h.name.as_str() == host).is_none_or(settled);
        }
        let Ok(step) = Step::try_from(step.to_owned()) else { return true };
        job.step(&step).is_none_or(|s| {
            attempt.is_some_and(|a| a < s.attempt)
                || !matches!(s.state, crate::model::Progress::Pending | crate::model::Progress::Running)
        })
    }
}
