//! The walk from what moved to all that it moves: who runs, then after whom. Each app once, however many ways lead to
//! it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

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
    /// Who runs, why, and how far from what moved.
    runs: BTreeMap<AppName, (Why, usize)>,
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
            self.runs.insert(app.name.clone(), (why, 0));
        }
    }

    /// Whoever depends on what moved, then on what these publish. `branch` is what an app that ended well before is
    /// taken to be on, if nothing says more.
    pub fn spread(&mut self, branch: Option<&Branch>) {
        let mut seen: BTreeSet<(RepoId, Moved)> =
            self.repos.iter().map(|repo| (repo.clone(), self.moved.clone())).collect();
        // The nearest first.
        let mut queue: VecDeque<_> = seen.iter().cloned().map(|start| (start, 1)).collect();
        while let Some(((repo, moved), far)) = queue.pop_front() {
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
                    self.runs.entry(app.name.clone()).or_insert((Why::Dependency, far));
                }
                let next = (app.repo(), self.graph.published(app));
                if seen.insert(next.clone()) {
                    queue.push_back((next, far + 1));
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
    pub fn draft(self, target: impl Fn(&mut Planned, &RepoId)) -> Draft {
        let edges = self.runs.keys().map(|name| (name.clone(), self.upstreams(name))).collect();
        let far = |name: &AppName| self.runs.get(name).map_or(0, |(_, far)| *far);
        let order = order::waves(edges, far);
        let mut apps = Vec::new();
        for placed in order.apps {
            let (Some((why, _)), Some(app)) = (self.runs.get(&placed.app), self.graph.app(&placed.app)) else {
                continue;
            };
            let (app, why) = (app.clone(), why.clone());
            let (targets, tags) = (Vec::new(), Vec::new());
            let mut planned = Planned { app, why, wave: placed.wave, after: placed.after, targets, tags };
            self.give_targets(&mut planned, &target);
            apps.push(planned);
        }
        let notes = order.cycles.iter().map(|names| {
            let names: Vec<&str> = names.iter().map(AppName::as_str).collect();
            format!("these apps {CIRCLE}, which was cut: {}", names.join(" > "))
        });
        let held = self.held.iter().filter_map(|name| Some(self.context.held.get(name)?.words.clone()));
        Draft { apps, notes: notes.chain(held).collect(), ..Draft::default() }
    }

    /// The repositories that an app is bumped from.
    fn followed(&self, app: &'a App) -> impl Iterator<Item = &'a RepoId> {
        let deps = app.update.then(|| self.graph.deps(&app.name)).into_iter().flatten();
        deps.filter(|repo| **repo != app.repo())
    }

    /// Whether an app follows what another one publishes in a repository.
    fn takes(&self, name: &AppName, repo: &RepoId, up: &App) -> bool {
        self.graph.is_moved(name, repo, &self.graph.published(up))
    }

    /// The apps of the plan that publish what an app follows. Others of their repository, on which it does not stand, are
    /// none of them, unless it has only their commit to take.
    fn upstreams(&self, name: &AppName) -> BTreeSet<AppName> {
        let Some(app) = self.graph.app(name) else { return BTreeSet::new() };
        let runs = |up: &&App| self.runs.contains_key(&up.name);
        let publishing = self.followed(app).flat_map(|repo| {
            let mut ups: Vec<&App> = self.graph.bases(name, repo).into_iter().filter(runs).collect();
            if ups.is_empty() && !self.repos.contains(repo) {
                ups = self.graph.apps_in(repo).filter(runs).collect();
            }
            ups.into_iter().filter(move |up| self.takes(name, repo, up))
        });
        publishing.map(|up| up.name.clone()).collect()
    }

    /// What an app takes that none of those brings for which it waits.
    fn give_targets(&self, planned: &mut Planned, target: impl Fn(&mut Planned, &RepoId)) {
        let Some(app) = self.graph.app(&planned.app.name) else { return };
        for repo in self.followed(app) {
            let mut left: Vec<_> = self.graph.follows(&app.name, repo).iter().collect();
            for up in self.graph.apps_in(repo).filter(|up| planned.after.contains(&up.name)) {
                let published = self.graph.published(up);
                left.retain(|follows| !published.concerns(follows));
            }
            if let Some(done) = self.settled.get(repo) {
                let done_there = Moved::Branch { name: Some(done.branch.clone()), is_default: None };
                if left.iter().any(|follows| done_there.concerns(follows)) {
                    left.retain(|follows| !done_there.concerns(follows));
                    planned.targets.push(done.clone());
                }
            }
            if self.repos.contains(repo) && left.iter().any(|follows| self.moved.concerns(follows)) {
                target(planned, repo);
            }
        }
    }
}
