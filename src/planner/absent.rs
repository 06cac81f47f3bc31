//! Who depends on what moved and does not run, and why: for who wonders.

use std::collections::BTreeSet;

use super::{Graph, Moved, overview};
use crate::model::{AppName, RepoId, Trigger};

/// The apps that depend directly on one of `repos` and are not in `planned`, with the reason as the graph has it now.
pub fn left_out(graph: &Graph, repos: &[RepoId], moved: &Moved, planned: &BTreeSet<AppName>) -> Vec<(AppName, String)> {
    let mut found = Vec::new();
    for repo in repos {
        for app in graph.dependents(repo).filter(|app| !planned.contains(&app.name) && app.repo() != *repo) {
            let follows = graph.follows(&app.name, repo);
            let why = if !app.update {
                "its :update? is not set".to_owned()
            } else if app.trigger == Trigger::Push {
                "its :trigger is :push, so only its own pushes run it".to_owned()
            } else if app.trigger == Trigger::Manual {
                "its :trigger is :manual, so only `airplanes deploy` runs it".to_owned()
            } else if !follows.iter().any(|follows| moved.concerns(follows)) {
                let words: Vec<String> = follows.iter().map(overview::word).collect();
                format!("its coordinates of {repo} follow {}", words.join(", "))
            } else {
                "it was not known to depend on it then, or its turn had been before".to_owned()
            };
            found.push((app.name.clone(), why));
        }
    }
    found
}
