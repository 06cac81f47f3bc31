//! Why a job ran and why it ended as it did: its causes, their events and plans, what it waited for and what it left
//! alone; and what an event did, and which apps it left out. Must never change anything, or ask a remote.

use std::collections::BTreeSet;
use std::io::Read as _;

use super::{Pipeline, PipelineError, unpoison};
use crate::model::api::JobView;
use crate::model::explain::{CauseExplained, EventExplained, ExplainView, LeftOut, Upstream};
use crate::model::inbox::EventJob;
use crate::model::rollout::{Because, Carried};
use crate::model::{AppName, Cause, Event, EventId, EventKind, JobId, PlanRow, RepoId, Why};
use crate::planner::{self, Moved};

/// So many apps that were left out are named.
const LEFT_OUT: usize = 50;
/// How much of update's log is looked through, in bytes.
const LOG: u64 = 1 << 20;
/// How update's log begins a line about a dependency that stays.
pub(super) const LEFT_ALONE: &str = "left alone: ";

impl Pipeline {
    /// Why a job ran, and why it ended as it did.
    pub fn explain(&self, id: JobId) -> Result<ExplainView, PipelineError> {
        let job = self.inner.store.job(id)?.ok_or(PipelineError::NoSuchJob(id))?;
        let view = self.view(&job);
        let causes =
            job.causes.iter().map(|cause| self.explain_cause(&job.app.name, cause)).collect::<Result<_, _>>()?;
        Ok(ExplainView {
            job: id,
            app: view.app,
            state: view.state,
            reason: view.reason,
            held: self.holds_of(&job.app.name).iter().map(ToString::to_string).collect(),
            causes,
            bumps: view.bumps,
            left_alone: self.left_alone(id),
        })
    }

    /// What an event did, and which apps it left out.
    pub fn explain_event(&self, id: EventId) -> Result<EventExplained, PipelineError> {
        let store = &self.inner.store;
        let row = store.event(id)?.ok_or(PipelineError::NoSuchEvent(id))?;
        let plan = store.plan_of(id)?;
        let is_planned = plan.is_some();
        let (notes, rows) = plan.map(|(head, rows)| (head.notes, rows)).unwrap_or_default();
        let planned = rows.iter().map(|row| row.app.clone()).collect();
        let left_out = if is_planned { self.left_out(&row.event, &planned, &notes) } else { Vec::new() };
        let notes = without(notes, &left_out);
        let job = |row: PlanRow| {
            let state = store.job(row.job)?.map(|job| JobView::of(&job).state);
            let state = state.unwrap_or_else(|| "no longer kept".to_owned());
            Ok(EventJob { app: row.app, id: row.job, wave: row.wave, state })
        };
        let jobs = rows.into_iter().map(job).collect::<Result<_, PipelineError>>()?;
        let (at, again, what) = (row.event.at, row.event.again, what(&row.event));
        Ok(EventExplained { event: id, at, what, is_planned, again, jobs, notes, left_out })
    }

    fn explain_cause(&self, app: &AppName, cause: &Cause) -> Result<CauseExplained, PipelineError> {
        let store = &self.inner.store;
        let event = store.event(cause.plan)?.map(|row| row.event);
        let (notes, rows) = store.plan_of(cause.plan)?.map(|(head, rows)| (head.notes, rows)).unwrap_or_default();
        let mut waited_for = Vec::new();
        for up in &cause.after {
            let Some(job) = store.job(*up)? else { continue };
            let state = JobView::of(&job).state;
            waited_for.push(Upstream { app: job.app.name.clone(), job: *up, state, published: job.published });
        }
        let planned: BTreeSet<AppName> = rows.into_iter().map(|row| row.app).collect();
        let left_out = event.as_ref().map(|event| self.left_out(event, &planned, &notes)).unwrap_or_default();
        let mut notes = without(notes, &left_out);
        // A circle is of those who are in it.
        notes.retain(|note| !note.contains(planner::CIRCLE) || names(note, app));
        let tags = cause.tags.iter().map(|tag| format!("tag {} of {}", tag.tag, tag.repo));
        let targets = cause.targets.iter().map(|t| format!("{} of {} at {}", t.branch, t.repo, t.after.short()));
        let moved: Vec<String> = targets.chain(tags).collect();
        let ups: Vec<&str> = waited_for.iter().map(|up| up.app.as_str()).collect();
        let why = match &cause.why {
            Why::OwnPush { after, .. } => format!("{app}'s own branch moved to {}", after.short()),
            Why::Asked { by } => format!("{by} asked for it"),
            Why::Rollout(Carried { of, commit, because, by, .. }) => match because {
                Because::Rollback { bad } => {
                    format!("{by} took {} back, to {} of job {of}", bad.short(), commit.short())
                }
                Because::CatchUp => format!("hosts that were away in job {of} are back, and get {}", commit.short()),
                Because::Promote { from, to } => {
                    format!("{by} promoted {} of job {of} from {from} to {to}", commit.short())
                }
            },
            Why::Dependency if moved.is_empty() => {
                format!("{app} depends on what {} publish{}", ups.join(", "), if ups.len() == 1 { "es" } else { "" })
            }
            Why::Dependency => format!("{app} depends on {}", moved.join(", ")),
        };
        Ok(CauseExplained {
            event: cause.plan,
            at: cause.at,
            what: event.as_ref().map_or_else(|| "an event that is no longer kept".to_owned(), what),
            why,
            wave: cause.wave,
            waited_for,
            dropped: cause.dropped.clone(),
            notes,
            left_out,
        })
    }

    fn left_out(&self, event: &Event, planned: &BTreeSet<AppName>, notes: &[String]) -> Vec<LeftOut> {
        let Some((repos, moved)) = moved_by(event) else { return Vec::new() };
        let mut found = {
            let graph = unpoison(self.inner.graph.read());
            let pushed: Vec<(RepoId, Moved)> = repos.into_iter().map(|repo| (repo, moved.clone())).collect();
            let ups = planned.iter().filter_map(|name| graph.app(name));
            let published: Vec<(RepoId, Moved)> = ups.map(|app| (app.repo(), graph.published(app))).collect();
            planner::left_out(&graph, &pushed, &published, planned)
        };
        // What was noted then says why; else what is so now is likely why.
        let held = self.inner.held_apps();
        let own = match &event.what {
            EventKind::Push(push) => self.inner.store.own_commit(&push.after).ok().flatten(),
            _ => None,
        };
        let beside = own.and_then(|own| self.inner.apps_beside(own).ok().flatten()).unwrap_or_default();
        for (app, why) in found.iter_mut().filter(|(_, why)| why.as_str() == planner::UNKNOWN) {
            let noted = notes.iter().find(|note| !note.contains(planner::CIRCLE) && names(note, app));
            if let Some(noted) = noted {
                why.clone_from(noted);
            } else if beside.contains(app) {
                *why = "it was in the plan that made that commit".to_owned();
            } else if event.again.is_some() {
                *why = "it ended well for the event that this one repeats".to_owned();
            } else if let Some(held) = held.get(app) {
                why.clone_from(&held.words);
            } else if self.inner.is_unread(app) {
                *why = "what it depends on is not known: once it can be read it is run for what it missed".to_owned();
            }
        }
        found.into_iter().take(LEFT_OUT).map(|(app, why)| LeftOut { app, why }).collect()
    }

    /// What update said of dependencies that stay, while its log is there.
    fn left_alone(&self, id: JobId) -> Vec<String> {
        let Some(path) = self.log_path(id, "update", None) else { return Vec::new() };
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(LOG).read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::debug!(job = %id, %error, "update's log can't be read");
        }
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter_map(|line| line.strip_prefix(LEFT_ALONE)).map(str::to_owned).collect()
    }
}

/// Whether a note is about an app.
fn names(note: &str, app: &AppName) -> bool {
    note.split(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | ';')).any(|word| word == app.as_str())
}

/// The notes that no app that was left out is told by already.
fn without(mut notes: Vec<String>, left_out: &[LeftOut]) -> Vec<String> {
    notes.retain(|note| !left_out.iter().any(|left| left.why == *note));
    notes
}

/// The names of the repository that moved, and what moved there; none if a person asked for something.
pub(super) fn moved_by(event: &Event) -> Option<(Vec<RepoId>, Moved)> {
    match &event.what {
        EventKind::Push(push) => {
            let is_default = push.default_branch.as_ref().map(|default| *default == push.branch);
            Some((push.repos(), Moved::Branch { name: Some(push.branch.clone()), is_default }))
        }
        EventKind::Tag(tag) => Some((tag.repos(), Moved::Tag)),
        EventKind::Deploy { .. } | EventKind::Rollout { .. } => None,
    }
}

/// What happened, in words.
fn what(event: &Event) -> String {
    let by = |by: &Option<String>| by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let repo = |repos: Vec<RepoId>| repos.first().map(ToString::to_string).unwrap_or_default();
    match &event.what {
        EventKind::Push(push) => {
            let before = push.before.map(|sha| format!("{}..", sha.short())).unwrap_or_default();
            let subject = push.subject.as_ref().map(|subject| format!(": {subject}")).unwrap_or_default();
            let (branch, after) = (&push.branch, push.after.short());
            format!("push to {branch} of {} ({before}{after}){}{subject}", repo(push.repos()), by(&push.pusher))
        }
        EventKind::Tag(tag) => format!("new tag {} of {}{}", tag.tag, repo(tag.repos()), by(&tag.pusher)),
        EventKind::Deploy { app, by, .. } => format!("{by} deployed {app}"),
        EventKind::Rollout { app, carried: Carried { commit, because, by, .. } } => match because {
            Because::Rollback { bad } => format!("{by} rolled {app} back from {} to {}", bad.short(), commit.short()),
            Because::CatchUp => format!("hosts of {app} that were away get {}", commit.short()),
            Because::Promote { from, to } => format!("{by} promoted {app} {} from {from} to {to}", commit.short()),
        },
    }
}
