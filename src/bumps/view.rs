//! What is known of the repositories of dependencies: each is asked once, several at a time.

use std::collections::BTreeMap;
use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::{Asking, BumpsError, Rules};
use crate::git::{GitError, Heads};
use crate::model::{RepoId, RepoUrl};

/// How many repositories are asked at once.
const AT_ONCE: usize = 8;

/// A repository as it was last seen.
pub(super) struct View {
    pub repo: RepoId,
    /// The url to ask it by.
    pub url: RepoUrl,
    pub heads: Heads,
    /// Whether its mirror has all of `heads`. One that has no mirror yet is only listed at first.
    pub mirrored: bool,
    /// Whether it was asked in this round.
    pub fresh: bool,
}

/// The repositories, or why one could not be asked.
pub(super) type Views = HashMap<RepoId, Result<View, GitError>>;

impl Asking<'_> {
    /// Asks for each repository what has to be known of it. One that moved and has to be followed is an error if it
    /// can't be asked.
    pub(super) async fn look(&self, repos: BTreeMap<RepoId, RepoUrl>, rules: &Rules<'_>) -> Result<Views, BumpsError> {
        let asking: Vec<_> = repos.into_iter().map(|(repo, url)| self.look_at(repo, url, rules)).collect();
        let views: Vec<(RepoId, Result<View, GitError>)> =
            stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
        let mut found = HashMap::new();
        for (repo, view) in views {
            match view {
                Err(error) if self.must_have(&repo, rules) => return Err(error.into()),
                view => drop(found.insert(repo, view)),
            }
        }
        Ok(found)
    }

    async fn look_at(&self, repo: RepoId, url: RepoUrl, rules: &Rules<'_>) -> (RepoId, Result<View, GitError>) {
        let url = (self.url_of)(&repo).unwrap_or(url);
        let view = async {
            let commits = rules.commits(&repo);
            let mut known = !commits.is_empty();
            for (sha, _) in commits {
                known = known && self.git.contains(&repo, sha).await.unwrap_or(false);
            }
            if known {
                let heads = self.git.known_heads(&repo).await?;
                return Ok(View { repo: repo.clone(), url: url.clone(), heads, mirrored: true, fresh: false });
            }
            let mut view =
                View { repo: repo.clone(), url: url.clone(), heads: Heads::default(), mirrored: false, fresh: true };
            if self.git.path(&repo).exists() || rules.wants.contains_key(&repo) {
                self.fetch(&mut view).await?;
            } else {
                view.heads = self.git.heads(&url, self.stop).await?;
            }
            Ok(view)
        };
        let view = view.await;
        (repo, view)
    }

    /// Brings a view and its mirror up to date.
    pub(super) async fn fetch(&self, view: &mut View) -> Result<(), GitError> {
        view.heads = self.git.fetch(&view.url, self.stop).await?.heads;
        (view.mirrored, view.fresh) = (true, true);
        Ok(())
    }
}
