//! The walk from what moved to all that it moves: who runs, then after whom. Each app once, however many ways lead to
//! it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Context, Graph, Moved, order};
use crate::model::{App, AppName, Branch, Draft, Planned, RepoId, Target, Trigger, Why};

/// What a note about a circle says.
pub const CIRCLE: &str = "depend on each other in a circle";

/// One event's way through the graph.
pub(super) struct Walk<'a> {
    graph: &'a Graph,
    context: &'a Context,
    /// The names of the repository that moved.
    repos: &'a BTreeSet<RepoId>,
    /// What moved there.
    moved: &'a Moved,
    /// Who runs, and why.
    runs: BTreeMap<AppName, Why>,
    /// Who would, and is held.
    held: BTreeSet<AppName>,
    /// What was published for an earlier event of the same push.
    settled: HashMap<RepoId, Target>,
}

impl<'a> Walk<'a> {
    pub fn new(graph: &'a Graph, context: &'a Context, repos: &'a BTreeSet<RepoId>, moved: &'a Moved) -> Self {
        Self { graph, context, repos, moved, runs: BTreeMap::new(), held: BTreeSet::new(), settled: HashMap::new() }
    }

    /// An app whose own branch moved.
    pub fn own_push(&mut self, app: &App, why: Why) {
        // Our own commit is no person's word.
        let by_people = self.context.own_plan.is_none();
        if !self.had_its_turn(app) && !self.context.settled.contains_key(&app.name) && !self.holds(app, by_people) {
            self.runs.insert(app.name.clone(), why);
        }
    }

    /// Whoever depends on what moved, then on what these publish. `branch` is what an app that ended well before is
    /// taken to be on, if nothing says more.
    pub fn spread(&mut self, branch: Option<&Branch>) {
        let mut queue: Vec<(RepoId, Moved)> = self.repos.iter().map(|r| (r.clone(), self.moved.clone())).collect();
        let mut seen: BTreeSet<(RepoId, Moved)> = queue.iter().cloned().collect();
        while let Some((repo, moved)) = queue.pop() {
            for app in self.graph.movable(&repo, &moved) {
                let follows = app.update && app.trigger == Trigger::PushAny;
                if app.repo() == repo || !follows || self.had_its_turn(app) {
                    continue;
                }
                if !self.runs.contains_key(&app.name) && self.holds(app, false) {
                    continue;
                }
                if let Some((on, sha)) = self.context.settled.get(&app.name) {
                    if let Some(branch) = on.as_ref().or(app.branch.as_ref()).or(branch).cloned() {
                        let target = Target { repo: app.repo(), branch, before: None, after: *sha };
                        self.settled.insert(app.repo(), target);
                    }
                } else {
                    self.runs.entry(app.name.clone()).or_insert(Why::Dependency);
                }
                let next = (app.repo(), self.graph.published(app));
                if seen.insert(next.clone()) {
                    queue.push(next);
                }
            }
        }
    }

    fn had_its_turn(&self, app: &App) -> bool {
        self.context.own_plan.as_ref().is_some_and(|apps| apps.contains(&app.name))
    }

    /// Whether an app is held from everything, or from all that is not done `by_people` to its own branch.
    fn holds(&mut self, app: &App, by_people: bool) -> bool {
        let is_held = self.context.held.get(&app.name).is_some_and(|held| held.all || !by_people);
        if is_held {
            self.held.insert(app.name.clone());
        }
        is_held
    }

    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    pub fn is_nobody(&self) -> bool {
        self.runs.is_empty()
    }

    /// The plan: each app after those of it that publish what it follows. `target` tells one that it is to take what
    /// moved in a repository itself.
    pub fn draft(mut self, target: impl Fn(&mut Planned, &RepoId)) -> Draft {
        let mut edges: BTreeMap<AppName, BTreeSet<AppName>> = BTreeMap::new();
        let mut planned: BTreeMap<AppName, Planned> = BTreeMap::new();
        for (name, why) in std::mem::take(&mut self.runs) {
            let Some(app) = self.graph.app(&name).cloned() else { continue };
            let (after, targets, tags) = (Vec::new(), Vec::new(), Vec::new());
            planned.insert(name.clone(), Planned { app, why, wave: 0, after, targets, tags });
        }
        let names: Vec<AppName> = planned.keys().cloned().collect();
        for name in names {
            let Some(app) = self.graph.app(&name) else { continue };
            let mut after = BTreeSet::new();
            let mut taken = Vec::new();
            if app.update {
                for repo in self.graph.deps(&name).filter(|repo| **repo != app.repo()) {
                    let follows = self.graph.follows(&name, repo);
                    let mut left: Vec<_> = follows.iter().collect();
                    for up in self.graph.apps_in(repo).filter(|up| planned.contains_key(&up.name)) {
                        let published = self.graph.published(up);
                        if follows.iter().any(|follows| published.concerns(follows)) {
                            left.retain(|follows| !published.concerns(follows));
                            after.insert(up.name.clone());
                        }
                    }
                    if let Some(done) = self.settled.get(repo) {
                        let done_there = Moved::Branch { name: Some(done.branch.clone()), is_default: None };
                        if left.iter().any(|follows| done_there.concerns(follows)) {
                            left.retain(|follows| !done_there.concerns(follows));
                            taken.push((repo, Some(done)));
                        }
                    }
                    if self.repos.contains(repo) && left.iter().any(|follows| self.moved.concerns(follows)) {
                        taken.push((repo, None));
                    }
                }
            }
            if let Some(planned) = planned.get_mut(&name) {
                for (repo, done) in taken {
                    match done {
                        Some(done) => planned.targets.push(done.clone()),
                        None => target(planned, repo),
                    }
                }
            }
            edges.insert(name, after);
        }
        let order = order::waves(edges);
        let apps = order.apps.into_iter().filter_map(|placed| {
            Some(Planned { wave: placed.wave, after: placed.after, ..planned.remove(&placed.app)? })
        });
        let notes = order.cycles.iter().map(|names| {
            let names: Vec<&str> = names.iter().map(AppName::as_str).collect();
            format!("these apps {CIRCLE}, which was cut: {}", names.join(" > "))
        });
        let held = self.held.iter().filter_map(|name| Some(self.context.held.get(name)?.words.clone()));
        Draft { apps: apps.collect(), notes: notes.chain(held).collect(), unread: Vec::new() }
    }
}
