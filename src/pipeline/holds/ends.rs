//! How a hold ends by git: the branch or the tags that its app would take commits from have the commit that it waits
//! for. Heads are the truth: a push or a tag says when to look, and without one it is looked at when a hold is new, when
//! the daemon starts, and once in a while. Where it can't be told, a hold stays.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::Inner;
use crate::deps::Version;
use crate::git::{Heads, Mirrors};
use crate::model::hold::{Descendant, Hold, HoldKind};
use crate::model::{EventKind, Follows, RepoId, RepoUrl, Sha};
use crate::pipeline::paths::{has_part, is_untouched};
use crate::store::{DepRow, StoreError};

/// How long a look may take, however many remotes there are to ask.
const LOOK_WITHIN: Duration = Duration::from_secs(20);
/// How often a hold is looked at that no push has ended.
const AGAIN: Duration = Duration::from_secs(600);
/// How soon it is where that could not be told.
const AGAIN_SOON: Duration = Duration::from_secs(60);

/// A hold that waits for a commit or one that descends from it.
pub(in crate::pipeline) struct Waiting {
    hold: Hold,
    repo: RepoId,
    sha: Sha,
    /// The coordinates that it is about; none where the app itself is held.
    deps: Vec<DepRow>,
}

impl Inner {
    /// The holds that wait for commits.
    pub(super) fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let holds = self.store.holds();
        // A rollback's first: the end of the one over it would put it in force again.
        let all = holds.values().flat_map(|hold| [hold.beneath.as_deref(), Some(hold)]).flatten();
        let mut waiting = Vec::new();
        for hold in all {
            let (repo, sha) = match (&hold.kind, &hold.until_descendant_of) {
                (HoldKind::Rollback { bad, .. }, _) => match self.app(&hold.app) {
                    Some(app) => (app.repo(), *bad),
                    None => continue,
                },
                (HoldKind::Manual | HoldKind::MovedBack { .. }, Some(Descendant { repo, sha })) => (repo.clone(), *sha),
                (HoldKind::Manual | HoldKind::MovedBack { .. }, None) => continue,
            };
            let index = if hold.lib.is_some() { self.store.index(&hold.app)? } else { None };
            let mut deps = index.map(|index| index.deps).unwrap_or_default();
            deps.retain(|dep| Some(&dep.lib) == hold.lib.as_ref() && dep.repo == repo);
            waiting.push(Waiting { hold: hold.clone(), repo, sha, deps });
        }
        Ok(waiting)
    }

    /// The holds that a push or a tag may end; or, where a person asks for an app, what nobody has told of yet.
    pub(in crate::pipeline) fn waiting_for(&self, what: &EventKind) -> Result<Vec<Waiting>, StoreError> {
        let mut waiting = match what {
            EventKind::Deploy { makes_up: true, .. } | EventKind::Rollout { .. } => return Ok(Vec::new()),
            EventKind::Deploy { .. } | EventKind::Push(_) | EventKind::Tag(_) => self.waiting()?,
        };
        let repos = what.repos();
        waiting.retain(|waiting| match what {
            EventKind::Deploy { app, .. } => waiting.hold.app == *app && waiting.hold.lib.is_none(),
            _ => repos.contains(&waiting.repo),
        });
        Ok(waiting)
    }

    /// Whether a hold's commit is there already, as far as its mirror knows.
    pub(super) async fn is_there(&self, hold: &Hold, deps: Vec<DepRow>) -> bool {
        let Some(Descendant { repo, sha }) = hold.until_descendant_of.clone() else { return false };
        let (hold, git) = (hold.clone(), self.rooms.load().git.clone());
        let Ok(heads) = git.known_heads(&repo).await else { return false };
        self.has_come(&git, &heads, &Waiting { hold, repo, sha, deps }).await.unwrap_or(false)
    }

    /// Lets go of the holds whose commit is there by now. Gives whether all remotes could be asked, as far as there was
    /// need: what a push told of may be known already.
    pub(in crate::pipeline) async fn release_what_came(
        &self,
        waiting: Vec<Waiting>,
        what: Option<&EventKind>,
    ) -> Result<bool, StoreError> {
        let git = self.rooms.load().git.clone();
        let repos: BTreeMap<&RepoId, Option<RepoUrl>> =
            waiting.iter().map(|waiting| (&waiting.repo, self.url_for(waiting, what))).collect();
        let bring = |(repo, url): (_, Option<RepoUrl>)| {
            let git = &git;
            async move {
                if is_known(git, repo, what).await {
                    return true;
                }
                let Some(url) = url else { return false };
                let fetched = git.fetch(&url, &self.ending).await;
                if let Err(error) = &fetched {
                    tracing::warn!(%repo, %error, "whether a hold has come to its end is not known");
                }
                fetched.is_ok()
            }
        };
        let all = futures_util::future::join_all(repos.into_iter().map(bring));
        let all = tokio::time::timeout(LOOK_WITHIN, all).await;
        if all.is_err() {
            tracing::warn!("whether a hold has come to its end is not known: a remote did not answer in time");
        }
        for waiting in waiting {
            let Ok(heads) = git.known_heads(&waiting.repo).await else { continue };
            if self.has_come(&git, &heads, &waiting).await? {
                self.release(&waiting.hold, "the daemon, at the end of its hold").await?;
            }
        }
        Ok(all.is_ok_and(|all| all.into_iter().all(|asked| asked)))
    }

    fn url_for(&self, waiting: &Waiting, what: Option<&EventKind>) -> Option<RepoUrl> {
        let pushed = what.and_then(|what| what.urls().iter().find(|url| url.id() == waiting.repo));
        let url = || waiting.deps.iter().find_map(|dep| dep.url.clone());
        self.url_of(&waiting.repo).or_else(url).or_else(|| pushed.cloned())
    }

    /// Whether what an app would take commits from has the one that its hold waits for.
    async fn has_come(&self, git: &Mirrors, heads: &Heads, waiting: &Waiting) -> Result<bool, StoreError> {
        let Waiting { hold, repo, sha, .. } = waiting;
        for tip in self.tips(heads, waiting) {
            if !git.is_ancestor(repo, *sha, tip).await.unwrap_or(false) {
                continue;
            }
            if hold.kind == HoldKind::Manual {
                return Ok(true);
            }
            // To come back to what was rolled back is no way on, now or before, and what the daemon commits on top of it is
            // no person's answer to it; nor is what leaves alone the part of the repository that is the app's.
            let part = self.app(&hold.app).filter(|app| hold.lib.is_none() && has_part(app));
            for commit in git.first_parents(repo, *sha, tip).await.unwrap_or_default().into_iter().rev() {
                if self.is_in(git, repo, commit, hold).await {
                    // So are those that come before it.
                    break;
                }
                let is_elsewhere = match &part {
                    Some(app) => is_untouched(git, app, &[*sha], commit).await,
                    None => false,
                };
                if !is_elsewhere && self.is_by_people(&commit)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether a commit is, or is part of, one that was rolled back before what the hold waits for was. So it is taken
    /// to be where that can't be told.
    async fn is_in(&self, git: &Mirrors, repo: &RepoId, commit: Sha, hold: &Hold) -> bool {
        let HoldKind::Rollback { before, .. } = &hold.kind else { return false };
        for taken in before {
            if git.is_ancestor(repo, commit, *taken).await.unwrap_or(true) {
                return true;
            }
        }
        false
    }

    /// The commits that bring an app what they stand on: the head of the branch that it is built from, or where the
    /// coordinates of its library may move to. Work on another branch brings it nothing.
    fn tips(&self, heads: &Heads, Waiting { hold, deps, .. }: &Waiting) -> Vec<Sha> {
        let default = heads.head_branch.as_ref();
        let mut branches = Vec::new();
        let mut tips = Vec::new();
        if hold.lib.is_none() {
            branches.extend(self.app(&hold.app).map(|app| app.branch));
        }
        for dep in deps {
            match &dep.follows {
                // What is pinned moves by no push; that its hold is over is told all the same.
                Follows::Unknown | Follows::Nothing => branches.push(None),
                Follows::Branch(branch) => branches.push(Some(branch.clone())),
                Follows::Seen(branch) => branches.extend([None, Some(branch.clone())]),
                Follows::Tags => tips.extend(tags(heads, dep.tag.as_deref())),
            }
        }
        let head = |branch: &Option<_>| heads.branches.get(branch.as_ref().or(default)?).copied();
        tips.extend(branches.iter().filter_map(head));
        tips
    }

    /// Looks at the holds that wait for commits, also without a push: one may have come before the hold did, or been
    /// planned while nobody could tell.
    pub(in crate::pipeline) async fn watch_what_came(self: Arc<Self>) {
        let (mut ticks, mut changes) = (self.ticks.subscribe(), self.store.changes());
        let mut looked: HashMap<_, Instant> = HashMap::new();
        loop {
            let now = Instant::now();
            let look = async {
                let mut waiting = self.waiting()?;
                looked.retain(|id, _| waiting.iter().any(|waiting| waiting.hold.id == *id));
                waiting.retain(|waiting| looked.get(&waiting.hold.id).is_none_or(|next| *next <= now));
                let ids: Vec<_> = waiting.iter().map(|waiting| waiting.hold.id).collect();
                let told = ids.is_empty() || self.release_what_came(waiting, None).await?;
                let next = Instant::now() + if told { AGAIN } else { AGAIN_SOON };
                looked.extend(ids.into_iter().map(|id| (id, next)));
                Ok::<(), StoreError>(())
            };
            let failed = look.await.inspect_err(|error| tracing::warn!(%error, "holds wait for the store")).is_err();
            let soon = Instant::now() + AGAIN_SOON;
            let next = looked.values().copied().chain(failed.then_some(soon)).min();
            // A rollback makes a hold as its job ends.
            let ended = async {
                loop {
                    match changes.recv().await {
                        Ok(change) if change.state.ended.is_some() => return,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => return,
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(next.unwrap_or(now + AGAIN)) => {}
                _ = ticks.changed() => {}
                () = ended => {}
                () = self.ending.cancelled() => return,
            }
        }
    }
}

/// Whether a mirror has what was pushed as its branch's head already.
async fn is_known(git: &Mirrors, repo: &RepoId, what: Option<&EventKind>) -> bool {
    let Some(EventKind::Push(push)) = what else { return false };
    git.known_heads(repo).await.is_ok_and(|heads| heads.branches.get(&push.branch) == Some(&push.after))
}

/// Where the tags lead that a coordinate may stand at.
fn tags(heads: &Heads, at: Option<&str>) -> Vec<Sha> {
    let ours = at.and_then(Version::of);
    let may = |tag: &str| {
        let follows = |version: Version| match &ours {
            Some(ours) => version.may_follow(ours),
            None => !version.is_pre_release(),
        };
        at == Some(tag) || Version::of(tag).is_some_and(follows)
    };
    heads.tags.iter().filter(|(tag, _)| may(tag)).map(|(_, sha)| *sha).collect()
}
