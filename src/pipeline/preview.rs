//! What a push would set in motion, told before anyone pushes. Must never ask a remote or write anything.

use super::{Pipeline, PipelineError, unpoison};
use crate::model::api::{PlanQuery, PlanView, PlannedView};
use crate::model::{AppName, Event, EventId, EventKind, Push, RepoId, RepoUrl, Why};
use crate::planner::{self, Graph};

impl Pipeline {
    /// What a push to a repository would set in motion. Read-only: no remote is asked.
    pub fn preview(&self, query: &PlanQuery) -> Result<PlanView, PipelineError> {
        let graph = unpoison(self.inner.graph.read());
        let app = AppName::new(query.repo.as_str()).ok().and_then(|name| graph.app(&name).cloned());
        let url = match &app {
            Some(app) => app.git_url.clone(),
            None => known_repo(&graph, &query.repo)?,
        };
        let branch = query.branch.clone().or_else(|| app.and_then(|a| a.branch));
        let default = branch.clone().map_or_else(|| "main".parse(), Ok)?;
        let after = "f".repeat(40).parse()?;
        let push = Push {
            urls: vec![url.clone()],
            branch: default.clone(),
            before: None,
            after,
            default_branch: if query.branch.is_some() { None } else { Some(default) },
            pusher: None,
            subject: None,
        };
        let event = Event {
            id: EventId(0),
            at: jiff::Timestamp::UNIX_EPOCH,
            delivery: None,
            again: None,
            what: EventKind::Push(push),
        };
        let draft = planner::plan(&graph, &event, &planner::Context::default());
        let apps = draft.apps.into_iter().map(|p| PlannedView {
            why: match p.why {
                Why::OwnPush { .. } => "its own branch moved".to_owned(),
                _ if p.after.is_empty() => "it depends on the repository".to_owned(),
                _ => "it depends on apps that run before it".to_owned(),
            },
            hosts: p.app.hosts.iter().map(|h| h.name.clone()).collect(),
            app: p.app.name,
            wave: p.wave,
            after: p.after,
        });
        let (apps, mut notes) = (apps.collect(), draft.notes);
        drop(graph);
        notes.extend(self.inner.unread_notes());
        Ok(PlanView { repo: url.id(), apps, notes })
    }
}

/// A url for a repository that is named by a url, or by an identity that some app has or depends on.
fn known_repo(graph: &Graph, text: &str) -> Result<RepoUrl, PipelineError> {
    let url = RepoUrl::new(text).map_err(|_| PipelineError::NoSuchRepo(text.to_owned()))?;
    let is_known = |id: &RepoId| graph.apps_in(id).next().is_some() || graph.dependents(id).next().is_some();
    if is_known(&url.id()) {
        return Ok(url);
    }
    let guess = RepoUrl::new(format!("https://{text}")).ok().filter(|u| is_known(&u.id()));
    match guess {
        Some(url) => Ok(url),
        None if text.contains(':') || text.starts_with('/') => Ok(url),
        None => Err(PipelineError::NoSuchRepo(text.to_owned())),
    }
}
