//! From an event to a plan: which apps, why, and in which order. Pure: what it needs to know is given to it.
//!
//! `Graph` is the reverse index (repository to the apps that live in it, and to those that depend on it); `plan`
//! walks it from what moved. Work grows with the apps that are affected, not with those that exist.
//! Must never ask git, the store or a clock.

mod graph;
mod order;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{App, AppName, Branch, Draft, Event, EventKind, Planned, Push, RepoId, Sha, Target, Trigger, Why};

pub use graph::Graph;

/// What one event's planning needs besides the graph.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The pushed repository's default branch, if anyone knows it.
    pub default_branch: Option<Branch>,
    /// Set if the pushed commit is our own: the apps of the plan that made it, whose turn it has been.
    pub own_plan: Option<BTreeSet<AppName>>,
    /// Apps whose job for an earlier event of the same push ended well, and the branch and commit it left them at.
    pub settled: BTreeMap<AppName, (Option<Branch>, Sha)>,
}

/// Who is to run, why, and after whom.
pub fn plan(graph: &Graph, event: &Event, context: &Context) -> Draft {
    match &event.what {
        EventKind::Push(push) => plan_push(graph, push, context),
        EventKind::Tag(tag) => {
            note(format!("no app follows the tags of this repository, so nothing moves to {}", tag.tag))
        }
        EventKind::Deploy { app, by } => match graph.app(app) {
            Some(entry) => {
                let why = Why::Asked { by: by.clone() };
                let planned = Planned { app: entry.clone(), why, wave: 0, after: Vec::new(), targets: Vec::new() };
                Draft { apps: vec![planned], ..Draft::default() }
            }
            None => note(format!("there is no app `{app}` in deploy.edn any more")),
        },
    }
}

fn note(text: String) -> Draft {
    Draft { notes: vec![text], ..Draft::default() }
}

fn plan_push(graph: &Graph, push: &Push, context: &Context) -> Draft {
    let repos: BTreeSet<RepoId> = push.repos().into_iter().collect();
    let residents: Vec<&App> = repos.iter().flat_map(|r| graph.apps_in(r)).collect();
    let default = push.default_branch.as_ref().or(context.default_branch.as_ref());
    let on_branch = |app: &App| match &app.branch {
        Some(branch) => *branch == push.branch,
        None => default.is_none_or(|d| *d == push.branch),
    };
    let moved: Vec<&App> = residents.iter().copied().filter(|a| on_branch(a)).collect();
    if moved.is_empty() && default.is_some_and(|d| *d != push.branch) {
        return note(format!("nothing follows branch {} of this repository", push.branch));
    }

    // Who runs: the apps that live there, then whoever depends on what runs or moved, each once.
    let mut runs: BTreeMap<AppName, Why> = BTreeMap::new();
    let had_its_turn = |app: &App| context.own_plan.as_ref().is_some_and(|apps| apps.contains(&app.name));
    for app in moved.iter().filter(|a| a.trigger != Trigger::Manual && !had_its_turn(a)) {
        if !context.settled.contains_key(&app.name) {
            runs.insert(app.name.clone(), Why::OwnPush { before: push.before, after: push.after });
        }
    }
    let mut queue: Vec<RepoId> = repos.iter().cloned().collect();
    let mut seen: BTreeSet<RepoId> = repos.clone();
    let mut settled: HashMap<RepoId, Target> = HashMap::new();
    while let Some(repo) = queue.pop() {
        for app in graph.dependents(&repo) {
            if app.repo() == repo || !app.update || app.trigger != Trigger::PushAny {
                continue;
            }
            if had_its_turn(app) {
                continue;
            }
            if let Some((branch, sha)) = context.settled.get(&app.name) {
                let branch = branch.clone().or_else(|| app.branch.clone()).unwrap_or_else(|| push.branch.clone());
                settled.insert(app.repo(), Target { repo: app.repo(), branch, before: None, after: *sha });
            } else {
                runs.entry(app.name.clone()).or_insert(Why::Dependency);
            }
            if seen.insert(app.repo()) {
                queue.push(app.repo());
            }
        }
    }
    if runs.is_empty() {
        let by_hand: Vec<&str> =
            moved.iter().filter(|a| a.trigger == Trigger::Manual).map(|a| a.name.as_str()).collect();
        return note(if context.own_plan.is_some() {
            "our own commit: every app that depends on it was in the plan that made it".to_owned()
        } else if !context.settled.is_empty() {
            "every app that this push concerns ended well before".to_owned()
        } else if !by_hand.is_empty() {
            format!("{} runs only by `airplanes deploy`: its :trigger is :manual", by_hand.join(", "))
        } else {
            "no app lives in this repository or depends on it".to_owned()
        });
    }

    // After whom: apps of this plan in whose repositories its dependencies live; what moved otherwise is a target.
    let target = |repo: &RepoId| Target {
        repo: repo.clone(),
        branch: push.branch.clone(),
        before: push.before,
        after: push.after,
    };
    let mut edges: BTreeMap<AppName, BTreeSet<AppName>> = BTreeMap::new();
    let mut targets: BTreeMap<AppName, Vec<Target>> = BTreeMap::new();
    for name in runs.keys() {
        let Some(app) = graph.app(name) else { continue };
        let after = edges.entry(name.clone()).or_default();
        if !app.update {
            continue;
        }
        for repo in graph.deps(name).iter().filter(|r| **r != app.repo()) {
            let upstream: Vec<AppName> =
                graph.apps_in(repo).map(|a| a.name.clone()).filter(|n| runs.contains_key(n)).collect();
            if !upstream.is_empty() {
                after.extend(upstream);
            } else if let Some(done) = settled.get(repo) {
                targets.entry(name.clone()).or_default().push(done.clone());
            } else if repos.contains(repo) {
                targets.entry(name.clone()).or_default().push(target(repo));
            }
        }
    }
    let order = order::waves(edges);
    let apps = order.apps.into_iter().filter_map(|placed| {
        let app = graph.app(&placed.app)?.clone();
        let why = runs.get(&placed.app)?.clone();
        let targets = targets.remove(&placed.app).unwrap_or_default();
        Some(Planned { app, why, wave: placed.wave, after: placed.after, targets })
    });
    let notes = order.cycles.iter().map(|names| {
        let names: Vec<&str> = names.iter().map(AppName::as_str).collect();
        format!("these apps depend on each other in a circle, which was cut: {}", names.join(" > "))
    });
    Draft { apps: apps.collect(), notes: notes.collect(), incomplete: false }
}

#[cfg(test)]
mod tests;
