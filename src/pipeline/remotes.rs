//! The remotes that somebody follows: each once, however many apps share it. Must never ask one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Pipeline, unpoison};
use crate::model::{App, AppName, Branch, Follows, RepoId, RepoUrl, Sha};
use crate::store::{AppIndex, StoreError};

/// A remote, and who follows what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The repository.
    pub repo: RepoId,
    /// The url to ask: the one that deploy.edn has, for which keys are set up, or else the one in a deps.edn.
    pub url: Option<RepoUrl>,
    /// The apps that live in it, and the branches that they live on; none stands for its default branch.
    pub apps: BTreeMap<AppName, Option<Branch>>,
    /// The apps that depend on it.
    pub dependents: BTreeSet<AppName>,
    /// The branches that are followed; none stands for its default branch.
    pub branches: BTreeSet<Option<Branch>>,
    /// Branches that are followed as long as they are there: they may be merged into the default one.
    pub merged: BTreeSet<Branch>,
    /// Where coordinates stand that follow its tags.
    pub tags: BTreeSet<Stand>,
}

/// Where a coordinate stands that follows tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    /// At a tag.
    At(String),
    /// On a commit, as far as it is named in full.
    On(Option<Sha>),
}

impl Pipeline {
    /// All of them.
    pub async fn remotes_now(&self) -> Result<BTreeMap<RepoId, Remote>, StoreError> {
        let pipeline = self.clone();
        let read = tokio::task::spawn_blocking(move || pipeline.remotes()).await;
        read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
    /// Reads a row of the store for each app.
    fn remotes(&self) -> Result<BTreeMap<RepoId, Remote>, StoreError> {
        let apps: Vec<App> = unpoison(self.inner.graph.read()).apps().cloned().collect();
        let mut remotes: BTreeMap<RepoId, Remote> = BTreeMap::new();
        for app in &apps {
            let remote = entry(&mut remotes, app.repo());
            remote.url = remote.url.take().or_else(|| Some(app.git_url.clone()));
            remote.branches.insert(app.branch.clone());
            remote.apps.insert(app.name.clone(), app.branch.clone());
        }
        for app in apps.iter().filter(|app| app.update) {
            let own = app.repo();
            let Some(index) = self.inner.store.index(&app.name)?.filter(|index| index.repo == own) else { continue };
            for dep in index.deps.into_iter().filter(|dep| dep.repo != own) {
                let remote = entry(&mut remotes, dep.repo);
                remote.url = remote.url.take().or(dep.url);
                remote.dependents.insert(app.name.clone());
                match dep.follows {
                    Follows::Unknown => drop(remote.branches.insert(None)),
                    Follows::Branch(branch) => drop(remote.branches.insert(Some(branch))),
                    Follows::Seen(branch) => {
                        remote.branches.insert(None);
                        remote.merged.insert(branch);
                    }
                    Follows::Tags => drop(remote.tags.insert(dep.tag.map_or(Stand::On(dep.at), Stand::At))),
                    Follows::Nothing => {}
                }
            }
        }
        Ok(remotes)
    }

    /// The commits at which an app was looked at already: what its index was read at, and what its last good job left
    /// it at.
    pub fn known_at(&self, app: &AppName) -> Result<Vec<Sha>, StoreError> {
        let read = self.inner.store.index(app)?.map(|AppIndex { sha, .. }| sha);
        Ok(read.into_iter().chain(self.inner.store.last_good(app)?.map(|good| good.sha)).collect())
    }
}

fn entry(remotes: &mut BTreeMap<RepoId, Remote>, repo: RepoId) -> &mut Remote {
    remotes.entry(repo.clone()).or_insert_with(|| Remote {
        repo,
        url: None,
        apps: BTreeMap::new(),
        dependents: BTreeSet::new(),
        branches: BTreeSet::new(),
        merged: BTreeSet::new(),
        tags: BTreeSet::new(),
    })
}
