//! One look at one remote: its branches as they are, against those that were accepted last.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Inner, ReconcileError};
use crate::git::{GitError, Heads};
use crate::model::repo::MovedView;
use crate::model::{Branch, Push, RepoUrl, Sha};
use crate::pipeline::Remote;
use crate::store::Sighting;

/// How long a listing may take: it is some kilobytes, and the next one comes.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// What a look found.
#[derive(Debug)]
pub(super) struct Looked {
    /// Branches that had moved.
    pub moved: Vec<MovedView>,
    /// Branches that apps follow and that are not there.
    pub gone: BTreeSet<Branch>,
}

impl Inner {
    /// Looks at a remote, and gives the store what nobody had told of.
    pub(super) async fn look(&self, remote: &Remote, dry_run: bool, insists: bool) -> Result<Looked, ReconcileError> {
        let url = remote.url.as_ref().ok_or_else(|| ReconcileError::NoUrl(remote.repo.clone()))?;
        let heads = {
            let _place = self.pace.place(url, insists).await?;
            let listed = self.list(url).await;
            self.pace.went(url, listed.as_ref().err());
            listed?
        };
        let mut sighting = Sighting { repo: remote.repo.clone(), moved: Vec::new(), begun: Vec::new() };
        let mut gone = BTreeSet::new();
        let followed: BTreeSet<&Branch> =
            remote.branches.iter().filter_map(|branch| branch.as_ref().or(heads.head_branch.as_ref())).collect();
        for branch in followed.union(&remote.merged.iter().collect()).copied() {
            let Some(head) = heads.branches.get(branch).copied() else {
                if followed.contains(branch) {
                    gone.insert(branch.clone());
                }
                continue;
            };
            match self.last_known(remote, branch, head, &heads)? {
                Before::Seen(seen) if seen == head => {}
                Before::Seen(seen) => sighting.moved.push(push(url, branch, seen, head, &heads)),
                Before::Nothing => sighting.begun.push((branch.clone(), head)),
            }
        }
        let of = |push: &Push, event| MovedView {
            repo: remote.repo.clone(),
            branch: push.branch.clone(),
            was: push.before,
            now: push.after,
            event,
        };
        let pushes = sighting.moved.clone();
        let events = if dry_run { vec![None; pushes.len()] } else { self.store.observe(sighting).await? };
        let moved = pushes.iter().zip(events).map(|(push, event)| of(push, event)).collect::<Vec<_>>();
        for moved in moved.iter().filter(|moved| moved.event.is_some()) {
            let MovedView { repo, branch, now, .. } = moved;
            tracing::info!(%repo, %branch, sha = %now, "a push was found that no webhook told of");
        }
        Ok(Looked { moved, gone })
    }

    async fn list(&self, url: &RepoUrl) -> Result<Heads, GitError> {
        let git = self.pipeline.rooms().git.clone();
        let what = || format!("listing the branches of {url}");
        match tokio::time::timeout(LISTED_WITHIN, git.heads(url, &self.stop)).await {
            Ok(listed) => listed,
            Err(_) => Err(GitError::TimedOut { what: what(), seconds: LISTED_WITHIN.as_secs() }),
        }
    }

    /// The head that was accepted last. Where none was, an app that lives on the branch and was looked at is a witness:
    /// it was read or left at a commit.
    fn last_known(&self, remote: &Remote, branch: &Branch, head: Sha, heads: &Heads) -> Result<Before, ReconcileError> {
        if let Some(seen) = self.store.accepted_head(&remote.repo, branch)? {
            return Ok(Before::Seen(seen));
        }
        if self.store.own_commit(&head)?.is_some() {
            return Ok(Before::Nothing);
        }
        let mut witness = None;
        for (app, lives_on) in &remote.apps {
            if lives_on.as_ref().or(heads.head_branch.as_ref()) != Some(branch) {
                continue;
            }
            let known = self.pipeline.known_at(app)?;
            if known.contains(&head) {
                return Ok(Before::Nothing);
            }
            witness = witness.or(known.last().copied());
        }
        Ok(witness.map_or(Before::Nothing, Before::Seen))
    }
}

/// What was known of a branch.
enum Before {
    /// Its last head.
    Seen(Sha),
    /// Nothing: it begins where it is.
    Nothing,
}

fn push(url: &RepoUrl, branch: &Branch, before: Sha, after: Sha, heads: &Heads) -> Push {
    Push {
        urls: vec![url.clone()],
        branch: branch.clone(),
        before: Some(before),
        after,
        default_branch: heads.head_branch.clone(),
        pusher: None,
        subject: None,
    }
}
