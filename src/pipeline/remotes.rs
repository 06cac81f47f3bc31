//! The remotes that somebody follows: each once, however many apps share it. Must never ask one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    pub tags: BTreeSet<StandsAt>,
}

/// Where a coordinate stands that follows tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StandsAt {
    /// At a tag.
    At(String),
    /// On a commit, as far as it is named in full.
    On(Option<Sha>),
}

/// The remotes, and as of when.
pub(super) type Kept = Option<((u64, u64), Arc<BTreeMap<RepoId, Remote>>)>;

impl Pipeline {
    /// All of them. They are put together anew only when an app or what one depends on is another.
    pub async fn remotes_now(&self) -> Result<Arc<BTreeMap<RepoId, Remote>>, StoreError> {
        let pipeline = self.clone();
        let read = tokio::task::spawn_blocking(move || pipeline.remotes()).await;
        read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
    /// Reads a row of the store for each app.
    fn remotes(&self) -> Result<Arc<BTreeMap<RepoId, Remote>>, StoreError> {
        // Who asks meanwhile waits, and finds them.
        let mut kept = unpoison(self.inner.remotes.lock());
        let (since, apps): (_, Vec<App>) = {
            let graph = unpoison(self.inner.graph.read());
            // What is written while they are put together makes them old at once.
            let since = self.inner.store.known_since();
            if let Some((_, remotes)) = kept.as_ref().filter(|(at, _)| *at == since) {
                return Ok(remotes.clone());
            }
            (since, graph.apps().cloned().collect())
        };
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
                    Follows::Tags => drop(remote.tags.insert(dep.tag.map_or(StandsAt::On(dep.at), StandsAt::At))),
                    Follows::Nothing => {}
                }
            }
        }
        let remotes = Arc::new(remotes);
        *kept = Some((since, remotes.clone()));
        Ok(remotes)
    }

    /// The commits at which an app was looked at already: what its index was read at, and what its last good job left
    /// it at.
    pub fn known_at(&self, app: &AppName) -> Result<Vec<Sha>, StoreError> {
        let read = self.inner.store.index(app)?.map(|AppIndex { sha, .. }| sha);
        Ok(read.into_iter().chain(self.inner.store.last_good(app)?.map(|good| good.sha)).collect())
    }
}

impl Remote {
    /// A remote that nobody follows yet.
    pub fn of(repo: RepoId) -> Self {
        let (apps, dependents, branches) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { repo, url: None, apps, dependents, branches, merged: BTreeSet::new(), tags: BTreeSet::new() }
    }
}

fn entry(remotes: &mut BTreeMap<RepoId, Remote>, repo: RepoId) -> &mut Remote {
    remotes.entry(repo.clone()).or_insert_with(|| Remote::of(repo))
}
