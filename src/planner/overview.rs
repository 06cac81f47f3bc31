//! The whole graph at once, for who looks at it: every app's place if everything moved.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, order};
use crate::model::graph::{GraphEdge, GraphNode, GraphView};
use crate::model::{AppName, Follows, RepoId};

/// What a view is of.
pub enum Focus<'a> {
    /// Everything.
    All,
    /// An app, with all that it stands on and all that stands on it.
    App(&'a AppName),
    /// A repository, likewise.
    Repo(&'a RepoId),
}

/// The apps, the repositories that they depend on, and what moves what. States of jobs and holds are not known here.
pub fn overview(graph: &Graph, focus: &Focus<'_>) -> GraphView {
    let mut edges: Vec<GraphEdge> = Vec::new();
    let mut after: BTreeMap<AppName, BTreeSet<AppName>> = BTreeMap::new();
    let mut bare: BTreeSet<RepoId> = BTreeSet::new();
    for app in graph.apps() {
        let ups = after.entry(app.name.clone()).or_default();
        for repo in graph.deps(&app.name).filter(|repo| **repo != app.repo()) {
            let follows = graph.follows(&app.name, repo);
            let words: Vec<String> = follows.iter().map(word).collect();
            let edge = |from: &str| {
                let (from, to, follows, notes) = (from.to_owned(), app.name.clone(), words.clone(), Vec::new());
                GraphEdge { from, to, follows, notes }
            };
            let residents = graph.bases(&app.name, repo);
            if residents.is_empty() {
                edges.push(edge(repo.as_str()));
                bare.insert(repo.clone());
            }
            for up in residents {
                edges.push(edge(up.name.as_str()));
                if follows.iter().any(|follows| graph.published(up).concerns(follows)) {
                    ups.insert(up.name.clone());
                }
            }
        }
    }
    let order = order::waves(after, |_| 0);
    let mut nodes: Vec<GraphNode> = bare.into_iter().map(|repo| node(None, repo, 0)).collect();
    nodes.extend(order.apps.into_iter().filter_map(|placed| {
        let repo = graph.app(&placed.app)?.repo();
        Some(node(Some(placed.app), repo, placed.wave))
    }));
    nodes.sort_by(|a, b| (a.wave, a.app.is_some(), a.name()).cmp(&(b.wave, b.app.is_some(), b.name())));
    let view = GraphView { nodes, edges, cycles: order.cycles, notes: Vec::new() };
    let from: BTreeSet<String> = match focus {
        Focus::All => return view,
        Focus::App(app) => [app.to_string()].into(),
        Focus::Repo(repo) => {
            view.nodes.iter().filter(|node| node.repo == **repo).map(|node| node.name().to_owned()).collect()
        }
    };
    around(view, &from)
}

fn node(app: Option<AppName>, repo: RepoId, wave: u16) -> GraphNode {
    GraphNode { app, repo, wave, last_state: None, held: Vec::new() }
}

/// What leads to these and what they lead to.
fn around(view: GraphView, from: &BTreeSet<String>) -> GraphView {
    let reach = |next: &BTreeMap<&str, Vec<&str>>| {
        let mut seen: BTreeSet<String> = from.clone();
        let mut queue: Vec<String> = from.iter().cloned().collect();
        while let Some(name) = queue.pop() {
            for other in next.get(name.as_str()).into_iter().flatten() {
                if seen.insert((*other).to_owned()) {
                    queue.push((*other).to_owned());
                }
            }
        }
        seen
    };
    let mut up: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut down = up.clone();
    for edge in &view.edges {
        up.entry(edge.to.as_str()).or_default().push(&edge.from);
        down.entry(&edge.from).or_default().push(edge.to.as_str());
    }
    let kept: BTreeSet<String> = reach(&up).union(&reach(&down)).cloned().collect();
    GraphView {
        nodes: view.nodes.into_iter().filter(|node| kept.contains(node.name())).collect(),
        edges: view.edges.into_iter().filter(|e| kept.contains(&e.from) && kept.contains(e.to.as_str())).collect(),
        cycles: view.cycles.into_iter().filter(|names| names.iter().all(|name| kept.contains(name.as_str()))).collect(),
        notes: view.notes,
    }
}

/// What moves a coordinate, in a word or two.
pub fn word(follows: &Follows) -> String {
    match follows {
        Follows::Unknown => "not known".to_owned(),
        Follows::Branch(branch) | Follows::Seen(branch) => format!("branch {branch}"),
        Follows::Tags => "tags".to_owned(),
        Follows::Nothing => "nothing".to_owned(),
    }
}
