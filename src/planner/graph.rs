//! The reverse index: from a repository to the apps that live in it and to those that depend on it. Changed app by
//! app, so a push costs what its own app's dependencies cost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{App, AppName, Branch, Follows, RepoId, Sha};

/// What moves in a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moved {
    /// A branch.
    Branch {
        /// Its name, if it is known.
        name: Option<Branch>,
        /// Whether it is the repository's default branch, if that is known.
        is_default: Option<bool>,
    },
    /// A tag is new.
    Tag,
}

impl Moved {
    /// Whether it may move a coordinate. What nobody knows may: to run once more does no harm, to miss does.
    pub fn concerns(&self, follows: &Follows) -> bool {
        match (self, follows) {
            (Moved::Branch { name, .. }, Follows::Branch(branch)) => name.as_ref().is_none_or(|name| name == branch),
            (Moved::Branch { name, is_default }, Follows::Seen(branch)) => {
                *is_default != Some(false) || name.as_ref() == Some(branch)
            }
            (Moved::Branch { is_default, .. }, Follows::Unknown) => *is_default != Some(false),
            (Moved::Tag, Follows::Tags) => true,
            _ => false,
        }
    }
}

/// What an app's deps.edn of one commit says, as far as the planner needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The branch that was read, and its commit; none if nobody has read it yet.
    pub at: Option<(Branch, Sha)>,
    /// The repositories that it depends on, and what moves each coordinate there.
    pub deps: BTreeMap<RepoId, Vec<Follows>>,
    /// The folders that its libraries are in, of repositories of which it names nothing but folders.
    pub roots: BTreeMap<RepoId, BTreeSet<String>>,
}

/// What is known of all apps and of what they depend on.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    apps: BTreeMap<AppName, App>,
    known: HashMap<AppName, Known>,
    residents: HashMap<RepoId, BTreeSet<AppName>>,
    dependents: HashMap<RepoId, BTreeSet<AppName>>,
}

impl Graph {
    /// An app's entry, new or changed. What it depends on stays known.
    pub fn put_app(&mut self, app: App) {
        if let Some(old) = self.apps.get(&app.name)
            && old.repo() != app.repo()
        {
            let (name, repo) = (old.name.clone(), old.repo());
            unlink(&mut self.residents, &repo, &name);
        }
        self.residents.entry(app.repo()).or_default().insert(app.name.clone());
        self.apps.insert(app.name.clone(), app);
    }
    /// An app that is no more.
    pub fn remove_app(&mut self, name: &AppName) {
        self.put_known(name, Known::default());
        self.known.remove(name);
        if let Some(app) = self.apps.remove(name) {
            unlink(&mut self.residents, &app.repo(), name);
        }
    }
    /// What an app depends on, in place of what was known before.
    pub fn put_known(&mut self, name: &AppName, known: Known) {
        for repo in known.deps.keys() {
            self.dependents.entry(repo.clone()).or_default().insert(name.clone());
        }
        let now: BTreeSet<RepoId> = known.deps.keys().cloned().collect();
        let old = self.known.insert(name.clone(), known).unwrap_or_default();
        for repo in old.deps.keys().filter(|repo| !now.contains(repo)) {
            unlink(&mut self.dependents, repo, name);
        }
    }
    /// An app's entry.
    pub fn app(&self, name: &AppName) -> Option<&App> {
        self.apps.get(name)
    }
    /// All apps, by name.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }
    /// The apps that live in a repository.
    pub fn apps_in(&self, repo: &RepoId) -> impl Iterator<Item = &App> {
        self.residents.get(repo).into_iter().flatten().filter_map(|name| self.apps.get(name))
    }
    /// The apps that depend on a repository in any way.
    pub fn dependents(&self, repo: &RepoId) -> impl Iterator<Item = &App> {
        self.dependents.get(repo).into_iter().flatten().filter_map(|name| self.apps.get(name))
    }
    /// The apps of a repository that an app stands on: those that its libraries' folders belong to; where it names none, or
    /// they belong to nobody, all.
    pub fn bases<'a>(&'a self, name: &AppName, repo: &RepoId) -> Vec<&'a App> {
        let all = self.apps_in(repo);
        let Some(roots) = self.known.get(name).and_then(|known| known.roots.get(repo)) else { return all.collect() };
        let has = |folder: &str| roots.iter().any(|root| is_in(root, folder));
        let (its, others): (Vec<_>, Vec<_>) = all.partition(|app| app.updates.directory.as_deref().is_none_or(has));
        if its.is_empty() { others } else { its }
    }
    /// The apps that something that moves in a repository may move.
    pub(super) fn movable<'a>(&'a self, repo: &'a RepoId, moved: &'a Moved) -> impl Iterator<Item = &'a App> {
        self.dependents(repo).filter(move |app| self.is_moved(&app.name, repo, moved))
    }
    /// Whether something that moves in a repository may move an app.
    pub fn is_moved(&self, name: &AppName, repo: &RepoId, moved: &Moved) -> bool {
        self.follows(name, repo).iter().any(|follows| moved.concerns(follows))
    }
    /// What moves an app's coordinates of a repository.
    pub fn follows(&self, name: &AppName, repo: &RepoId) -> &[Follows] {
        self.known.get(name).and_then(|known| known.deps.get(repo)).map_or(&[], Vec::as_slice)
    }
    /// The repositories that an app depends on, as far as known.
    pub fn deps(&self, name: &AppName) -> impl Iterator<Item = &RepoId> {
        self.known.get(name).into_iter().flat_map(|known| known.deps.keys())
    }
    /// The branch that was read for an app, and its commit.
    pub fn read_at(&self, name: &AppName) -> Option<&(Branch, Sha)> {
        self.known.get(name)?.at.as_ref()
    }
    /// The branch that an app is built from, as far as known: its entry's, its repository's default one, or the one that
    /// was read.
    pub fn lives_on<'a>(&'a self, app: &'a App, default: Option<&'a Branch>) -> Option<&'a Branch> {
        app.lives_on(default).or_else(|| self.read_at(&app.name).map(|(branch, _)| branch))
    }
    /// What moves when an app publishes.
    pub fn published(&self, app: &App) -> Moved {
        Moved::Branch { name: self.lives_on(app, None).cloned(), is_default: None }
    }
}

/// Whether a path is a folder or lies in it.
fn is_in(path: &str, folder: &str) -> bool {
    let folder = folder.trim_matches('/');
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn unlink(map: &mut HashMap<RepoId, BTreeSet<AppName>>, repo: &RepoId, name: &AppName) {
    if let Some(names) = map.get_mut(repo) {
        names.remove(name);
        if names.is_empty() {
            map.remove(repo);
        }
    }
}
