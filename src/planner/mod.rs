//! From an event to a plan: which apps, why, and in which order. Pure: what it needs to know is given to it.
//!
//! `Graph` is the reverse index (repository to the apps that live in it, and to those that depend on it); `plan`
//! walks it from what moved, along coordinates that what moved may move. Work grows with the apps that are affected,
//! not with those that exist. Must never ask git, the store or a clock.

mod absent;
mod graph;
mod order;
mod overview;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::progress::REQUESTS;
use crate::model::rollout::Because;
use crate::model::{
    App, AppName, Branch, Draft, Event, EventKind, Planned, Push, RepoId, Sha, TagPush, TagTarget, Target, Trigger, Why,
};

pub use absent::{UNKNOWN, left_out};
pub use graph::{Graph, Known, Moved};
pub use overview::{Focus, overview, word};
pub use walk::CIRCLE;
use walk::Walk;

/// What one event's planning needs besides the graph.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The pushed repository's default branch, if anyone knows it.
    pub default_branch: Option<Branch>,
    /// Set if the pushed commit is our own: the apps of the plan that made it, whose turn it has been.
    pub own_plan: Option<BTreeSet<AppName>>,
    /// Apps that are held.
    pub held: BTreeMap<AppName, Held>,
    /// Apps that live in the pushed repository, and whose part of it the push leaves alone.
    pub untouched: BTreeSet<AppName>,
    /// Apps whose job for an earlier event of the same push ended well, and the branch and commit it left them at.
    pub settled: BTreeMap<AppName, (Option<Branch>, Sha)>,
}

/// What keeps an app from a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Since when, by whom and why, in words.
    pub words: String,
    /// Whether nothing of it runs; else only what moved elsewhere leaves it alone.
    pub all: bool,
}

/// Who is to run, why, and after whom.
pub fn plan(graph: &Graph, event: &Event, context: &Context) -> Draft {
    match &event.what {
        EventKind::Push(push) => plan_push(graph, push, context),
        EventKind::Tag(tag) => plan_tag(graph, tag, context),
        EventKind::Deploy { app, by, makes_up } => match graph.app(app) {
            Some(_) if context.held.get(app).is_some_and(|held| held.all) => {
                note(context.held.get(app).map(|held| held.words.clone()).unwrap_or_default())
            }
            Some(entry) => {
                let why = Why::Asked { by: by.clone() };
                let after = if *makes_up { followed(graph, entry) } else { Vec::new() };
                let (targets, tags) = (Vec::new(), Vec::new());
                let planned = Planned { app: entry.clone(), why, wave: 0, after, targets, tags };
                Draft { apps: vec![planned], ..Draft::default() }
            }
            None => gone(app),
        },
        EventKind::Rollout { app, carried } => {
            let is_rollback = matches!(carried.because, Because::Rollback { .. });
            match graph.app(app) {
                Some(_) if !is_rollback && context.held.get(app).is_some_and(|held| held.all) => {
                    note(context.held.get(app).map(|held| held.words.clone()).unwrap_or_default())
                }
                Some(entry) => {
                    let app = entry.for_carried(&carried.because);
                    let why = Why::Rollout(carried.clone());
                    let (after, targets, tags) = (Vec::new(), Vec::new(), Vec::new());
                    let planned = Planned { app, why, wave: 0, after, targets, tags };
                    Draft { apps: vec![planned], ..Draft::default() }
                }
                None => gone(app),
            }
        }
    }
}

/// The apps whose next commit an app would take. The store knows which of them are under way.
fn followed(graph: &Graph, app: &App) -> Vec<AppName> {
    let moves = |up: &&App, repo: &RepoId| graph.is_moved(&app.name, repo, &graph.published(up));
    let repos = graph.deps(&app.name).filter(|repo| **repo != app.repo());
    repos.flat_map(|repo| graph.apps_in(repo).filter(move |up| moves(up, repo))).map(|up| up.name.clone()).collect()
}

fn gone(app: &AppName) -> Draft {
    note(format!("there is no app `{app}` in deploy.edn any more"))
}

fn note(text: String) -> Draft {
    Draft { notes: vec![text], ..Draft::default() }
}

fn plan_push(graph: &Graph, push: &Push, context: &Context) -> Draft {
    if context.own_plan.is_some() && push.branch.as_str().starts_with(REQUESTS) {
        return note("our own branch of a pull request: it counts when it is merged".to_owned());
    }
    let repos: BTreeSet<RepoId> = push.repos().into_iter().collect();
    let default = context.default_branch.as_ref().or(push.default_branch.as_ref());
    let on_branch = |app: &App| app.lives_on(default).is_none_or(|branch| *branch == push.branch);
    let residents: Vec<&App> = repos.iter().flat_map(|r| graph.apps_in(r)).filter(|a| on_branch(a)).collect();
    let is_default = default.map(|d| *d == push.branch);
    let moved = Moved::Branch { name: Some(push.branch.clone()), is_default };
    let mut walk = Walk::new(graph, context, &repos, &moved);
    let untouched = |app: &App| context.untouched.contains(&app.name);
    for app in residents.iter().filter(|a| a.trigger != Trigger::Manual && !untouched(a)) {
        walk.own_push(app, Why::OwnPush { before: push.before, after: push.after });
    }
    walk.spread(Some(&push.branch));
    let alone: Vec<&str> = residents.iter().filter(|a| untouched(a)).map(|a| a.name.as_str()).collect();
    let alone = (!alone.is_empty())
        .then(|| format!("the push touches nothing that concerns {}: see :paths and :directory", alone.join(", ")));
    if walk.is_nobody() && walk.is_held() {
        return walk.draft(|_, _| {});
    }
    if let (true, Some(alone)) = (walk.is_nobody(), &alone) {
        return note(alone.clone());
    }
    if walk.is_nobody() {
        let by_hand: Vec<&str> =
            residents.iter().filter(|a| a.trigger == Trigger::Manual).map(|a| a.name.as_str()).collect();
        return note(if residents.is_empty() && is_default == Some(false) {
            format!("nothing follows branch {} of this repository", push.branch)
        } else if context.own_plan.is_some() {
            "our own commit: every app that depends on it was in the plan that made it".to_owned()
        } else if !context.settled.is_empty() {
            "every app that this push concerns ended well before".to_owned()
        } else if !by_hand.is_empty() {
            format!("{} runs only by `airplanes deploy`: its :trigger is :manual", by_hand.join(", "))
        } else if repos.iter().any(|repo| graph.dependents(repo).next().is_some()) {
            format!(
                "no app's coordinate of this repository follows branch {}: they are pinned, held or tagged, or the app is not to be bumped by pushes",
                push.branch
            )
        } else {
            "no app lives in this repository or depends on it".to_owned()
        });
    }
    let mut draft = walk.draft(|planned, repo| {
        let (before, after) = (push.before, push.after);
        planned.targets.push(Target { repo: repo.clone(), branch: push.branch.clone(), before, after });
    });
    draft.notes.extend(alone);
    draft
}

fn plan_tag(graph: &Graph, new: &TagPush, context: &Context) -> Draft {
    let repos: BTreeSet<RepoId> = new.repos().into_iter().collect();
    let mut walk = Walk::new(graph, context, &repos, &Moved::Tag);
    walk.spread(None);
    if walk.is_nobody() && !walk.is_held() {
        return note(format!("no app follows the tags of this repository, so nothing moves to {}", new.tag));
    }
    walk.draft(|planned, repo| {
        planned.tags.push(TagTarget {
            repo: repo.clone(),
            tag: new.tag.clone(),
            commit: new.commit.or(Some(new.after)),
        });
    })
}

#[cfg(test)]
mod tests;
