//! Which branch a sha follows, and whether it can move along it.

use super::view::View;
use super::{Asking, Rules, Why};
use crate::deps::{self, Coord};
use crate::git::GitError;
use crate::model::{Branch, Sha};

/// What becomes of a coordinate.
pub(super) enum Verdict {
    /// It is where it should be.
    Same,
    /// It moves.
    Move(deps::Target),
    /// It stays, and that is worth a word.
    Stay(Why),
}

/// The branch that a sha follows, or why that can't be told.
type Followed = Result<Branch, Why>;

impl Asking<'_> {
    /// Where a coordinate without a tag should point. It is said to stay only after a look at the remote.
    pub(super) async fn choose(
        &self,
        coord: &Coord<'_>,
        view: &mut View,
        rules: &Rules<'_>,
    ) -> Result<Verdict, GitError> {
        match self.judge(coord, view, rules).await? {
            Verdict::Stay(_) if !view.fresh => {
                self.fetch(view).await?;
                self.judge(coord, view, rules).await
            }
            verdict => Ok(verdict),
        }
    }

    async fn judge(&self, coord: &Coord<'_>, view: &mut View, rules: &Rules<'_>) -> Result<Verdict, GitError> {
        let Some(current) = coord.full_sha() else { return Ok(Verdict::Same) };
        let want = rules.wants.get(&view.repo);
        let default = view.heads.head_branch.clone().and_then(|branch| view.heads.branches.get(&branch).copied());
        if want.is_none() && !view.mirrored {
            if default == Some(current) {
                return Ok(Verdict::Same);
            }
            self.fetch(view).await?;
        }
        let git = self.git;
        if !git.contains(&view.repo, current).await? {
            let (repo, head) = (view.repo.clone(), want.map(|want| want.sha).or(default));
            return Ok(Verdict::Stay(Why::Rewritten { current, repo, head }));
        }
        let lib = coord.lib_text.as_deref().unwrap_or_default();
        let branch = match self.followed(lib, current, view, rules).await? {
            Ok(branch) => branch,
            Err(why) => return Ok(Verdict::Stay(why)),
        };
        let Some(head) = view.heads.branches.get(&branch).copied() else { return Ok(Verdict::Same) };
        let mut to = head;
        if let Some(want) = want {
            let there = want.branch.as_ref().is_none_or(|pushed| *pushed == branch)
                || git.is_ancestor(&view.repo, want.sha, head).await?;
            if there {
                to = want.sha;
            } else if !rules.all {
                return Ok(Verdict::Stay(Why::Elsewhere { current, follows: branch, head: want.sha }));
            }
        }
        self.relate(view, current, to, head, branch).await
    }

    /// How `current` comes to `to`, if at all: a commit of `branch`, whose head is `head`.
    async fn relate(&self, view: &View, current: Sha, to: Sha, head: Sha, branch: Branch) -> Result<Verdict, GitError> {
        let (git, repo) = (self.git, &view.repo);
        let moves = |sha: Sha| Verdict::Move(deps::Target { sha, tag: None, unique: 0 });
        if current == to {
            return Ok(Verdict::Same);
        }
        if git.is_ancestor(repo, current, to).await? {
            return Ok(moves(to));
        }
        if git.is_ancestor(repo, to, current).await? {
            return Ok(Verdict::Stay(Why::Newer { current, head: to }));
        }
        // Two lines that were joined since: the head stands on both.
        if git.is_ancestor(repo, current, head).await? && git.is_ancestor(repo, to, head).await? {
            return Ok(moves(head));
        }
        Ok(Verdict::Stay(Why::Elsewhere { current, follows: branch, head: to }))
    }

    /// The branch that the commit `current` of a library follows. In this order: a branch that holds it and that apps which live there
    /// follow (the pushed one, the default one, the only one); the default branch; the pushed one; the only one.
    async fn followed(&self, lib: &str, current: Sha, view: &View, rules: &Rules<'_>) -> Result<Followed, GitError> {
        let default = view.heads.head_branch.as_ref();
        let pushed = rules.wants.get(&view.repo).and_then(|want| want.branch.as_ref());
        let mut lives_on: Vec<Branch> =
            (rules.lives_on)(&view.repo).into_iter().filter_map(|branch| branch.or_else(|| default.cloned())).collect();
        lives_on.sort();
        lives_on.dedup();
        let mut holding = Vec::new();
        for branch in lives_on {
            if self.holds(view, &branch, current).await? {
                holding.push(branch);
            }
        }
        if let Some(branch) = pick(&holding, pushed, default) {
            return Ok(Ok(branch));
        }
        for branch in [default, pushed].into_iter().flatten() {
            if holding.is_empty() && self.holds(view, branch, current).await? {
                return Ok(Ok(branch.clone()));
            }
        }
        let on = self.git.branches_with(&view.repo, current).await?;
        if let ([branch], true) = (on.as_slice(), holding.is_empty()) {
            return Ok(Ok(branch.clone()));
        }
        if !on.is_empty() {
            let on = if holding.is_empty() { on } else { holding };
            return Ok(Err(Why::Ambiguous { lib: lib.to_owned(), current, on }));
        }
        let head = rules.wants.get(&view.repo).map(|want| want.sha);
        let head = head.or_else(|| view.heads.branches.get(default?).copied());
        let repo = view.repo.clone();
        Ok(Err(match head {
            Some(head) if self.git.is_ancestor(&view.repo, head, current).await? => {
                Why::Rewound { current, repo, head }
            }
            head => Why::Orphan { current, repo, head },
        }))
    }

    /// Whether a branch's history holds a commit.
    async fn holds(&self, view: &View, branch: &Branch, commit: Sha) -> Result<bool, GitError> {
        match view.heads.branches.get(branch) {
            Some(head) => self.git.is_ancestor(&view.repo, commit, *head).await,
            None => Ok(false),
        }
    }
}

/// The one of several branches: the pushed one, the default one, or the only one.
fn pick(branches: &[Branch], pushed: Option<&Branch>, default: Option<&Branch>) -> Option<Branch> {
    let named = [pushed, default].into_iter().flatten().find(|branch| branches.contains(branch));
    match (named, branches) {
        (Some(branch), _) => Some(branch.clone()),
        (None, [one]) => Some(one.clone()),
        _ => None,
    }
}
