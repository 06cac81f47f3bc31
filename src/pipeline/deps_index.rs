//! What each app depends on, as its deps.edn of the last commit we saw says: read from mirrors, kept in the store,
//! held in the planner's graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, unpoison};
use crate::deps;
use crate::edn;
use crate::git::GitError;
use crate::model::{App, AppName, Branch, RepoId, RepoUrl, Sha};
use crate::store::{AppIndex, DepRow, StoreError};

/// The files of a repository that hold dependencies.
pub(super) const DEPS_FILES: [&str; 2] = ["deps.edn", "bb.edn"];
/// How many apps are read at once.
pub(super) const AT_ONCE: usize = 4;
/// How long an app that could not be read is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long a plan waits for an app to be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// An app whose dependencies are not known.
pub(super) enum Unread {
    /// It is being read, since then; none while it waits for others.
    Reading(Option<Instant>),
    /// It could not be read, when and why.
    Failed(Instant, String),
}

/// Why an app's dependencies are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that can't be read; the text says which, and where in it.
    #[error("{0}")]
    File(String),
}

/// A fault in a file of a repository, as `file:line:column: what`.
pub(super) fn at(file: &str, source: &str, error: &edn::Error) -> String {
    let place = edn::position(source, error.span.start);
    format!("{file}:{}:{}: {error}", place.line, place.column)
}

impl Inner {
    /// The apps of deploy.edn, in place of those before.
    pub(super) fn set_apps(&self, apps: BTreeMap<AppName, App>) {
        let mut graph = unpoison(self.graph.write());
        let gone: Vec<AppName> = graph.apps().map(|a| a.name.clone()).filter(|name| !apps.contains_key(name)).collect();
        for name in gone {
            graph.remove_app(&name);
        }
        for (name, app) in apps {
            match self.store.index(&name) {
                Ok(Some(index)) if index.repo == app.repo() => graph.put_deps(&name, repos(&index)),
                Ok(_) => graph.put_deps(&name, BTreeSet::new()),
                Err(error) => tracing::error!(app = %name, %error, "what the app depends on is read again"),
            }
            graph.put_app(app);
        }
        let mut unread = unpoison(self.unread.lock());
        unread.retain(|name, unread| graph.app(name).is_some() && matches!(unread, Unread::Reading(_)));
    }

    /// The url by which an app of deploy.edn names a repository: the one that keys and tokens are set up for.
    pub(super) fn url_of(&self, repo: &RepoId) -> Option<RepoUrl> {
        unpoison(self.graph.read()).apps_in(repo).next().map(|app| app.git_url.clone())
    }
    /// The branch that an app of deploy.edn follows in a repository.
    pub(super) fn branch_of(&self, repo: &RepoId) -> Option<Branch> {
        unpoison(self.graph.read()).apps_in(repo).find_map(|app| app.branch.clone())
    }

    /// Begins to read the apps whose dependencies are not known yet, in the background.
    pub(super) fn start_reading(self: &Arc<Self>) {
        let unknown = self.unknown_apps();
        let mut unread = unpoison(self.unread.lock());
        for app in unknown {
            match unread.get(&app.name) {
                Some(Unread::Reading(_)) => continue,
                Some(Unread::Failed(at, _)) if at.elapsed() < AGAIN_AFTER => continue,
                _ => {}
            }
            unread.insert(app.name.clone(), Unread::Reading(None));
            let inner = self.clone();
            self.tasks.spawn(async move {
                let permit = inner.readers.acquire().await;
                unpoison(inner.unread.lock()).insert(app.name.clone(), Unread::Reading(Some(Instant::now())));
                let read = inner.read_app(&app).await;
                drop(permit);
                let mut unread = unpoison(inner.unread.lock());
                match read {
                    Ok(()) => drop(unread.remove(&app.name)),
                    Err(error) => {
                        if !inner.ending.is_cancelled() {
                            tracing::warn!(app = %app.name, %error, "what the app depends on is not known");
                        }
                        unread.insert(app.name.clone(), Unread::Failed(Instant::now(), error.to_string()));
                    }
                }
                drop(unread);
                inner.reads.send_modify(|n| *n += 1);
            });
        }
    }

    /// Waits for the readings under way, but for none longer than `PATIENCE`: a remote that hangs holds up nobody's
    /// plan but its own app's.
    pub(super) async fn await_reading(&self) {
        let mut reads = self.reads.subscribe();
        loop {
            let left = |unread: &Unread| match unread {
                Unread::Failed(..) => None,
                Unread::Reading(None) => Some(PATIENCE),
                Unread::Reading(Some(since)) => PATIENCE.checked_sub(since.elapsed()).filter(|left| !left.is_zero()),
            };
            let Some(longest) = unpoison(self.unread.lock()).values().filter_map(left).max() else { return };
            tokio::select! {
                _ = reads.changed() => {}
                () = tokio::time::sleep(longest) => {}
                () = self.ending.cancelled() => return,
            }
        }
    }

    /// For each app whose dependencies are not known, why.
    pub(super) fn unread_notes(&self) -> Vec<String> {
        let unknown = self.unknown_apps();
        let unread = unpoison(self.unread.lock());
        let note = |app: App| match unread.get(&app.name) {
            Some(Unread::Failed(_, why)) => format!("what {} depends on is not known: {why}", app.name),
            _ => format!("what {} depends on is not known yet: {} has not answered so far", app.name, app.git_url),
        };
        unknown.into_iter().map(note).collect()
    }

    /// The apps that are to be bumped and whose dependencies the store does not have.
    fn unknown_apps(&self) -> Vec<App> {
        let known = |app: &App| {
            let index = self.store.index(&app.name).ok().flatten();
            index.is_some_and(|i| i.repo == app.repo() && app.branch.as_ref().is_none_or(|b| *b == i.branch))
        };
        let apps: Vec<App> = unpoison(self.graph.read()).apps().filter(|a| a.update).cloned().collect();
        apps.into_iter().filter(|app| !known(app)).collect()
    }

    async fn read_app(&self, app: &App) -> Result<(), IndexError> {
        let git = self.rooms.load().git.clone();
        let fetched = git.fetch(&app.git_url, &self.ending).await?;
        let branch = app.branch.clone().or(fetched.heads.head_branch);
        let head = branch.as_ref().and_then(|branch| fetched.heads.branches.get(branch).copied());
        let (Some(branch), Some(head)) = (branch, head) else {
            return Err(IndexError::File(format!("{} does not have the app's branch", app.git_url)));
        };
        self.index_app(app, &branch, head).await
    }

    /// Keeps what an app's deps.edn says at a commit that the mirror has.
    pub(super) async fn index_app(&self, app: &App, branch: &Branch, sha: Sha) -> Result<(), IndexError> {
        let mut deps = BTreeSet::new();
        for file in DEPS_FILES {
            let Some(source) = self.read_text(&app.repo(), sha, file).await? else { continue };
            let scanned = deps::scan(&source).map_err(|e| IndexError::File(at(file, &source, &e)))?;
            deps.extend(scanned.live().filter_map(|(_, coord)| {
                let (lib, url) = (coord.lib.clone()?, coord.repo_url()?);
                Some(DepRow { lib, repo: url.id() })
            }));
        }
        let index = AppIndex { repo: app.repo(), branch: branch.clone(), sha, deps: deps.into_iter().collect() };
        unpoison(self.graph.write()).put_deps(&app.name, repos(&index));
        let known = self.store.index(&app.name)?;
        if known
            .is_none_or(|known| known.deps != index.deps || known.repo != index.repo || known.branch != index.branch)
        {
            self.store.put_index(app.name.clone(), index).await?;
        }
        Ok(())
    }

    /// A file of a commit that the mirror has, as text.
    pub(super) async fn read_text(&self, repo: &RepoId, sha: Sha, file: &str) -> Result<Option<String>, IndexError> {
        let git = self.rooms.load().git.clone();
        let Some(bytes) = git.read_file(repo, sha, file).await? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|e| {
            IndexError::File(format!(
                "{file}: byte {} is not UTF-8; save the file as UTF-8",
                e.utf8_error().valid_up_to()
            ))
        })
    }
}

impl super::steps::Work {
    /// An index error in the worker's terms.
    pub(super) fn index(&self, error: IndexError) -> super::steps::StepError {
        match error {
            IndexError::Git(error) => self.git(error),
            IndexError::Store(error) => error.into(),
            IndexError::File(text) => super::steps::StepError::failed(text),
        }
    }
}

fn repos(index: &AppIndex) -> BTreeSet<RepoId> {
    index.deps.iter().map(|dep| dep.repo.clone()).collect()
}
