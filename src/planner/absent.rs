//! Who depends on what moved and does not run, and why: for who wonders.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, Moved, overview};
use crate::model::{App, AppName, RepoId, Trigger};

/// The apps that depend directly on what was `pushed`, live there, or depend on what the planned ones have `published`,
/// and are not in `planned`, with the reason as the graph has it now. Who lives where one of ours is published has
/// nothing to do with that.
pub fn left_out(
    graph: &Graph,
    pushed: &[(RepoId, Moved)],
    published: &[(RepoId, Moved)],
    planned: &BTreeSet<AppName>,
) -> BTreeMap<AppName, String> {
    let mut found = BTreeMap::new();
    for (repo, moved) in pushed {
        for app in graph.apps_in(repo).filter(|app| !planned.contains(&app.name)) {
            if let Some(why) = why_not_itself(graph, app, moved) {
                found.insert(app.name.clone(), why);
            }
        }
    }
    for (repo, moved) in pushed.iter().chain(published) {
        for app in graph.dependents(repo).filter(|app| !planned.contains(&app.name) && app.repo() != *repo) {
            let follows = graph.follows(&app.name, repo);
            let why = if !app.update {
                "its :update? is not set".to_owned()
            } else if app.trigger == Trigger::Push {
                "its :trigger is :push, so only its own pushes run it".to_owned()
            } else if app.trigger == Trigger::Manual {
                "its :trigger is :manual, so only `airplanes deploy` runs it".to_owned()
            } else if !graph.is_moved(&app.name, repo, moved) {
                let words: Vec<String> = follows.iter().map(overview::word).collect();
                format!("its coordinates of {repo} follow {}", words.join(", "))
            } else {
                UNKNOWN.to_owned()
            };
            found.entry(app.name.clone()).or_insert(why);
        }
    }
    found
}

/// What can't be told from the graph as it is now: nothing in it keeps the app from running.
pub const UNKNOWN: &str = "it was not known to depend on it then";

fn why_not_itself(graph: &Graph, app: &App, moved: &Moved) -> Option<String> {
    let Moved::Branch { name: Some(name), is_default } = moved else { return None };
    let lives_on = graph.lives_on(app, None);
    if !lives_on.map_or(*is_default != Some(false), |branch| branch == name) {
        let branch = lives_on.map_or("the default branch", |branch| branch.as_str());
        return Some(format!("it is built from {branch}"));
    }
    Some(match app.trigger {
        Trigger::Manual => "its :trigger is :manual, so only `airplanes deploy` runs it".to_owned(),
        Trigger::Push | Trigger::PushAny => UNKNOWN.to_owned(),
    })
}
