//! What each app depends on, as its deps.edn of the last commit we saw says: read from mirrors, kept in the store,
//! held in the planner's graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, unpoison};
use crate::bumps::at;
use crate::deps;
use crate::git::GitError;
use crate::model::url::Transport;
use crate::model::{App, AppName, Branch, Follows, RepoId, RepoUrl, Sha};
use crate::store::{AppIndex, DepRow, StoreError};

/// How many apps are read at once.
pub(super) const AT_ONCE: usize = 4;
/// How long an app that could not be read is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long a plan waits for an app to be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// An app that is to be bumped and whose dependencies are not known.
pub(super) enum Unread {
    /// No one has looked yet.
    New,
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

impl Inner {
    /// The apps of deploy.edn, in place of those before.
    pub(super) fn set_apps(&self, apps: BTreeMap<AppName, App>) {
        self.store.know_apps(print(&apps));
        let mut graph = unpoison(self.graph.write());
        let mut unread = unpoison(self.unread.lock());
        let gone: Vec<AppName> = graph.apps().map(|a| a.name.clone()).filter(|name| !apps.contains_key(name)).collect();
        for name in gone {
            graph.remove_app(&name);
        }
        for (name, app) in apps {
            let was = graph.app(&name);
            if was.is_some_and(|was| (was.repo(), &was.branch, was.update) == (app.repo(), &app.branch, app.update)) {
                // What is known of it stays known, also what the store is only about to have.
                graph.put_app(app);
                continue;
            }
            let index = self.store.index(&name).unwrap_or_else(|error| {
                tracing::error!(app = %name, %error, "what the app depends on is read again");
                None
            });
            let index = index.filter(|index| index.repo == app.repo());
            graph.put_deps(&name, index.as_ref().map(repos).unwrap_or_default());
            if !app.update || index.is_some_and(|index| has_branch(&app, &index.branch)) {
                unread.remove(&name);
            } else if !matches!(unread.get(&name), Some(Unread::Reading(_))) {
                unread.insert(name, Unread::New);
            }
            graph.put_app(app);
        }
        unread.retain(|name, _| graph.app(name).is_some());
    }

    /// The url by which an app of deploy.edn names a repository: the one that keys and tokens are set up for.
    pub(super) fn url_of(&self, repo: &RepoId) -> Option<RepoUrl> {
        unpoison(self.graph.read()).apps_in(repo).next().map(|app| app.git_url.clone())
    }
    /// The branches that apps of deploy.edn follow in a repository; none stands for its default branch.
    pub(super) fn branches_of(&self, repo: &RepoId) -> Vec<Option<Branch>> {
        unpoison(self.graph.read()).apps_in(repo).map(|app| app.branch.clone()).collect()
    }

    /// Begins to read the apps whose dependencies are not known yet, in the background.
    pub(super) fn start_reading(self: &Arc<Self>) {
        let graph = unpoison(self.graph.read());
        for (name, unread) in unpoison(self.unread.lock()).iter_mut() {
            match unread {
                Unread::Reading(_) => continue,
                Unread::Failed(at, _) if at.elapsed() < AGAIN_AFTER => continue,
                _ => {}
            }
            let Some(app) = graph.app(name).cloned() else { continue };
            *unread = Unread::Reading(None);
            let inner = self.clone();
            self.tasks.spawn(async move {
                let permit = inner.readers.acquire().await;
                if let Some(unread) = unpoison(inner.unread.lock()).get_mut(&app.name) {
                    *unread = Unread::Reading(Some(Instant::now()));
                }
                let read = inner.read_app(&app).await;
                drop(permit);
                if let Err(error) = &read
                    && !inner.ending.is_cancelled()
                {
                    tracing::warn!(app = %app.name, %error, "what the app depends on is not known");
                }
                // It is not there any more if it is known, or is no app any more.
                if let Some(unread) = unpoison(inner.unread.lock()).get_mut(&app.name) {
                    *unread = match read {
                        Ok(()) => Unread::New,
                        Err(error) => Unread::Failed(Instant::now(), error.to_string()),
                    };
                }
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
                Unread::New | Unread::Failed(..) => None,
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
        let note = |(name, unread): (&AppName, &Unread)| match unread {
            Unread::Failed(_, why) => format!("what {name} depends on is not known: {why}"),
            _ => format!("what {name} depends on is not known yet: its remote has not answered so far"),
        };
        let mut notes: Vec<String> = unpoison(self.unread.lock()).iter().map(note).collect();
        notes.sort();
        notes
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
        for file in deps::FILES {
            let Some(source) = self.read_text(&app.repo(), sha, file).await? else { continue };
            let scanned = deps::scan(&source).map_err(|e| IndexError::File(at(file, &source, &e)))?;
            deps.extend(scanned.live().filter_map(|(_, coord)| {
                let (lib, url) = (coord.lib.clone()?, coord.repo_url()?);
                let repo = url.id();
                let ssh_url = (url.parts().transport == Transport::Ssh).then_some(url);
                Some(DepRow { lib, repo, ssh_url, follows: Follows::Unknown, at: None })
            }));
        }
        let index = AppIndex { repo: app.repo(), branch: branch.clone(), sha, deps: deps.into_iter().collect() };
        {
            let mut graph = unpoison(self.graph.write());
            // An edit of deploy.edn may have made it another app meanwhile.
            if graph.app(&app.name).is_some_and(|now| now.repo() == index.repo && has_branch(now, branch)) {
                graph.put_deps(&app.name, repos(&index));
                unpoison(self.unread.lock()).remove(&app.name);
            }
        }
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

/// Whether what was read of a branch is what the app follows.
fn has_branch(app: &App, read: &Branch) -> bool {
    app.branch.as_ref().is_none_or(|branch| branch == read)
}

fn repos(index: &AppIndex) -> BTreeSet<RepoId> {
    index.deps.iter().map(|dep| dep.repo.clone()).collect()
}

/// A number that is another one when the apps are others.
fn print(apps: &BTreeMap<AppName, App>) -> u64 {
    use sha2::{Digest as _, Sha256};
    let mut digest = Sha256::new();
    for app in apps.values() {
        // Plain data always has a JSON form; an app that had none would only not count.
        digest.update(serde_json::to_vec(app).unwrap_or_default());
    }
    digest.finalize().iter().take(8).fold(0, |print, byte| (print << 8) | u64::from(*byte))
}
