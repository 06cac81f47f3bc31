//! Default branches, and what follows them: an app without `:branch` lives on its repository's, and a commit that was on a
//! branch which is gone follows the default one if that has it. Which one it is the last listing said, or the last fetch,
//! or a webhook; must never take it from one of them for granted, since people rename it.

use std::time::Duration;

use super::{Inner, Pipeline, unpoison};
use crate::git::GitError;
use crate::model::{App, AppName, Branch, Follows, Push, RepoId, RepoUrl};

/// How long a push waits for its repository to say which is its default branch.
const WITHIN: Duration = Duration::from_secs(20);

impl Pipeline {
    /// Begins to read again who goes by the default branch of a repository, which is another one than it was.
    pub async fn follow_default(&self, url: &RepoUrl) -> Result<(), GitError> {
        let inner = &self.inner;
        let git = inner.rooms.load().git.clone();
        git.fetch(url, &inner.ending).await?;
        let repo = url.id();
        let Some(now) = git.head_branch(&repo).await? else { return Ok(()) };
        let doubted: Vec<AppName> = {
            let graph = unpoison(inner.graph.read());
            let was_elsewhere =
                |app: &&App| app.branch.is_none() && graph.read_at(&app.name).is_none_or(|(branch, _)| *branch != now);
            let was_seen_elsewhere = |app: &&App| {
                let follows = graph.follows(&app.name, &repo);
                follows.iter().any(|follows| matches!(follows, Follows::Seen(branch) if *branch != now))
            };
            let residents = graph.apps_in(&repo).filter(was_elsewhere);
            residents.chain(graph.dependents(&repo).filter(was_seen_elsewhere)).map(|app| app.name.clone()).collect()
        };
        inner.doubt(doubted);
        inner.start_reading();
        Ok(())
    }
}

impl Inner {
    /// A repository's default branch, as its last listing found it.
    pub(super) fn default_told(&self, repo: &RepoId) -> Option<Branch> {
        self.store.last_seen(repo).ok()?.default
    }

    /// The default branch of a pushed repository, as far as anyone knows. The pushed one, if a listing or a mirror says so:
    /// to run once more does no harm, to miss does.
    pub(super) async fn default_branch(&self, push: &Push) -> Option<Branch> {
        let git = self.rooms.load().git.clone();
        let mut known = Vec::new();
        for repo in push.repos() {
            known.extend(git.head_branch(&repo).await.ok().flatten());
            known.extend(self.default_told(&repo));
        }
        let is_pushed = known.contains(&push.branch).then(|| push.branch.clone());
        is_pushed.or_else(|| push.default_branch.clone()).or_else(|| known.into_iter().next())
    }

    /// Whether a push may be one to a default branch that is new: by what its webhook says, or since nobody knows of its
    /// branch. Then the repository is asked before the push is planned.
    pub(super) fn may_turn(&self, push: &Push) -> bool {
        let told = push.default_branch.as_ref().unwrap_or(&push.branch);
        let concerns = |repo: &_| {
            let graph = unpoison(self.graph.read());
            graph.apps_in(repo).chain(graph.dependents(repo)).next().is_some()
        };
        let differs = |repo: &_| self.default_told(repo).is_some_and(|known| known != *told);
        push.repos().iter().any(|repo| differs(repo) && concerns(repo))
    }

    /// Brings the mirror of a pushed repository up to date where it does not know of the push: then it knows which
    /// the default branch is.
    pub(super) async fn learn_default(&self, push: &Push) {
        let git = self.rooms.load().git.clone();
        for repo in push.repos() {
            let Some(url) = self.url_of(&repo).or_else(|| push.urls.iter().find(|url| url.id() == repo).cloned())
            else {
                continue;
            };
            let knows =
                git.known_heads(&repo).await.is_ok_and(|heads| heads.branches.get(&push.branch) == Some(&push.after));
            if !knows && git.path(&repo).exists() {
                let _ = tokio::time::timeout(WITHIN, git.fetch(&url, &self.ending)).await;
            }
        }
    }
}
