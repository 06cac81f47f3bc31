//! The reverse index: from a repository to the apps that live in it and to those that depend on it. Changed app by
//! app, so a push costs what its own app's dependencies cost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{App, AppName, RepoId};

/// What is known of all apps and of what they depend on.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    apps: BTreeMap<AppName, App>,
    deps: HashMap<AppName, BTreeSet<RepoId>>,
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
        self.put_deps(name, BTreeSet::new());
        self.deps.remove(name);
        if let Some(app) = self.apps.remove(name) {
            unlink(&mut self.residents, &app.repo(), name);
        }
    }
    /// The repositories that an app depends on, in place of those known before.
    pub fn put_deps(&mut self, name: &AppName, repos: BTreeSet<RepoId>) {
        let old = self.deps.insert(name.clone(), repos.clone()).unwrap_or_default();
        for repo in old.difference(&repos) {
            unlink(&mut self.dependents, repo, name);
        }
        for repo in repos.difference(&old) {
            self.dependents.entry(repo.clone()).or_default().insert(name.clone());
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
    /// The apps that depend on a repository.
    pub fn dependents(&self, repo: &RepoId) -> impl Iterator<Item = &App> {
        self.dependents.get(repo).into_iter().flatten().filter_map(|name| self.apps.get(name))
    }
    /// The repositories that an app depends on, as far as known.
    pub fn deps(&self, name: &AppName) -> &BTreeSet<RepoId> {
        static NONE: BTreeSet<RepoId> = BTreeSet::new();
        self.deps.get(name).unwrap_or(&NONE)
    }
}

fn unlink(map: &mut HashMap<RepoId, BTreeSet<AppName>>, repo: &RepoId, name: &AppName) {
    if let Some(names) = map.get_mut(repo) {
        names.remove(name);
        if names.is_empty() {
            map.remove(repo);
        }
    }
}
