//! One look at one remote: its branches and tags as they are, against those that were accepted last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, ReconcileError};
use crate::git::{GitError, Heads};
use crate::model::repo::{MovedView, NewTagView};
use crate::model::{Branch, Push, RepoId, RepoUrl, Sha, TagPush};
use crate::pipeline::Remote;
use crate::store::Sighting;

/// How long a listing may take: it is some kilobytes, and the next one comes.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// What a look found.
#[derive(Debug)]
pub(super) struct Looked {
    /// Branches that had moved.
    pub moved: Vec<MovedView>,
    /// Tags that were new.
    pub tags: Vec<NewTagView>,
    /// Branches that apps follow and that are not there.
    pub gone: BTreeSet<Branch>,
}

impl Inner {
    /// Looks at a remote, and gives the store what nobody had told of. A person has insisted on it since then, if one has.
    pub(super) async fn look(
        &self,
        remote: &Remote,
        dry_run: bool,
        insists: Option<Instant>,
    ) -> Result<Looked, ReconcileError> {
        let url = remote.url.as_ref().ok_or_else(|| ReconcileError::NoUrl(remote.repo.clone()))?;
        let (began, before, tags, heads) = {
            let _place = self.pace.place(url, insists).await?;
            let before = self.known_of(remote).await?;
            let began = Instant::now();
            let tags = (!remote.tags.is_empty()).then(|| self.store.known_tags(&remote.repo)).transpose()?;
            let listed = self.list(url).await;
            self.pace.went(url, listed.as_ref().err());
            (began, before, tags, listed?)
        };
        let tags = match tags {
            Some(known) => Some(self.tags(remote, url, known, &heads).await),
            None => None,
        };
        let default = heads.head_branch.clone();
        if before.old_default(&heads).is_some() && !dry_run {
            tracing::info!(repo = %remote.repo, was = ?before.default, now = ?default, "its default branch is another one");
            self.pipeline.follow_default(url).await?;
        }
        let mut sighting = Sighting { repo: remote.repo.clone(), moved: vec![], begun: vec![], default, tags };
        let (mut gone, mut moved) = (BTreeSet::new(), Vec::new());
        let followed: BTreeSet<&Branch> =
            remote.branches.iter().filter_map(|branch| branch.as_ref().or(heads.head_branch.as_ref())).collect();
        for branch in followed.union(&remote.merged.iter().collect()).copied() {
            let Some(head) = heads.branches.get(branch).copied() else {
                if followed.contains(branch) {
                    gone.insert(branch.clone());
                }
                continue;
            };
            let Some(seen) = before.head(self, branch, head, &heads)? else {
                sighting.begun.push((branch.clone(), head));
                continue;
            };
            let back = seen != head && self.goes_back(&remote.repo, seen, head).await;
            let is_certain = (back && dry_run) || self.doubts.are_over(&remote.repo, branch, head, back, began);
            if !is_certain {
                moved.push(view(remote, &push(url, branch, seen, head, &heads), back));
            } else if seen != head {
                sighting.moved.push(push(url, branch, seen, head, &heads));
            }
        }
        let pushes = sighting.moved.clone();
        let told_before = |push: &Push| before.heads.get(&push.branch) == Some(&push.after);
        let told = sighting.tags.as_ref().map(|tags| tags.told.clone()).unwrap_or_default();
        let nothing = vec![None; pushes.len() + told.len()];
        let mut events = if dry_run { nothing } else { self.store.observe(sighting).await? }.into_iter();
        for (push, event) in pushes.iter().zip(events.by_ref()) {
            let MovedView { repo, branch, now, .. } = &view(remote, push, false);
            if event.is_some() {
                tracing::info!(%repo, %branch, sha = %now, "a push was found that no webhook told of");
            } else if told_before(push) {
                continue;
            }
            moved.push(MovedView { event, ..view(remote, push, false) });
        }
        let mut tags = Vec::with_capacity(told.len());
        for (TagPush { tag, after: now, .. }, event) in told.into_iter().zip(events) {
            let repo = remote.repo.clone();
            if event.is_some() {
                tracing::info!(%repo, %tag, sha = %now, "a tag was found that no webhook told of");
            }
            tags.push(NewTagView { repo, tag, now, event });
        }
        Ok(Looked { moved, tags, gone })
    }

    async fn list(&self, url: &RepoUrl) -> Result<Heads, GitError> {
        let git = self.pipeline.rooms().git.clone();
        let what = || format!("listing the branches of {url}");
        match tokio::time::timeout(LISTED_WITHIN, git.heads(url, &self.stop)).await {
            Ok(listed) => listed,
            Err(_) => Err(GitError::TimedOut { what: what(), seconds: LISTED_WITHIN.as_secs() }),
        }
    }

    /// What is known of a remote before it is listed: what comes meanwhile is newer than the listing.
    async fn known_of(&self, remote: &Remote) -> Result<Before, ReconcileError> {
        let heads = self.store.accepted_heads(&remote.repo)?;
        let default = self.store.last_seen(&remote.repo)?.default;
        let mut witnesses = Vec::with_capacity(remote.apps.len());
        for (app, branch) in &remote.apps {
            witnesses.push((branch.clone(), self.pipeline.known_at(app)?));
        }
        let mirror = self.pipeline.rooms().git.known_heads(&remote.repo).await.unwrap_or_default().branches;
        Ok(Before { heads, default, witnesses, mirror })
    }

    /// Whether a head is one that was there before what was accepted last, as far as the mirror knows: taken back by
    /// someone, or listed by a server that lags behind the one that told of the other.
    async fn goes_back(&self, repo: &RepoId, seen: Sha, head: Sha) -> bool {
        let git = self.pipeline.rooms().git.clone();
        let has = async |sha| git.contains(repo, sha).await.unwrap_or(false);
        // It has the one and not yet the other: that one is newer.
        has(head).await && (!has(seen).await || git.is_ancestor(repo, head, seen).await.unwrap_or(false))
    }
}

/// What was known of a remote's branches.
struct Before {
    /// The heads that were accepted last.
    heads: BTreeMap<Branch, Sha>,
    /// The default branch, as the last listing found it.
    default: Option<Branch>,
    /// Of each app that lives there its branch, and the commits at which it was looked at.
    witnesses: Vec<(Option<Branch>, Vec<Sha>)>,
    /// Where its mirror has its branches: what was read of those who depend on it was read with that.
    mirror: BTreeMap<Branch, Sha>,
}

impl Before {
    /// The default branch that there was, if there is another one now.
    fn old_default(&self, heads: &Heads) -> Option<&Branch> {
        let now = heads.head_branch.as_ref()?;
        self.default.as_ref().filter(|was| *was != now)
    }

    /// The head that was accepted last; none where the branch begins where it is. Where none was accepted, an app that
    /// lives on the branch and was looked at is a witness: it was read or left at a commit; or the mirror is.
    fn head(&self, inner: &Inner, branch: &Branch, head: Sha, heads: &Heads) -> Result<Option<Sha>, ReconcileError> {
        let accepted = self.heads.get(branch).copied();
        // Whoever follows the default branch was at the one that it was before.
        if let Some(was) = self.old_default(heads).filter(|_| heads.head_branch.as_ref() == Some(branch))
            && accepted.is_none_or(|accepted| accepted == head)
            && let Some(seen) = self.heads.get(was).or_else(|| self.mirror.get(was)).copied()
        {
            return Ok(if seen == head { accepted } else { Some(seen) });
        }
        if let Some(seen) = accepted {
            return Ok(Some(seen));
        }
        if inner.store.own_commit(&head)?.is_some() {
            return Ok(None);
        }
        let on_it = |lives_on: &Option<Branch>| lives_on.as_ref().or(heads.head_branch.as_ref()) == Some(branch);
        let mut witnesses = self.witnesses.iter().filter(|(lives_on, _)| on_it(lives_on)).map(|(_, known)| known);
        if witnesses.clone().any(|known| known.contains(&head)) {
            return Ok(None);
        }
        let of_mirror = || self.mirror.get(branch).copied().filter(|seen| *seen != head);
        Ok(witnesses.find_map(|known| known.last().copied()).or_else(of_mirror))
    }
}

fn view(remote: &Remote, push: &Push, back: bool) -> MovedView {
    let (branch, was, now) = (push.branch.clone(), push.before, push.after);
    MovedView { repo: remote.repo.clone(), branch, was, now, event: None, back }
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
