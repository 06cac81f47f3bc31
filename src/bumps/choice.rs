//! Which branch a sha follows, and whether it can move along it. `:track` says it, or the branch that holds it.

use super::view::View;
use super::{Asking, Rules, Stays};
use crate::deps::{self, Coord};
use crate::git::GitError;
use crate::model::progress::REQUESTS;
use crate::model::{Branch, Sha, Track};

/// What becomes of a coordinate.
pub(super) enum Verdict {
    /// It is where it should be.
    Same,
    /// It moves. There may be a word to say to that.
    Move(deps::To, Option<Stays>),
    /// It stays, and that is worth a word.
    Stay(Stays),
}

/// The branch that a sha follows, or why that can't be told.
type Followed = Result<Branch, Stays>;

impl Asking<'_> {
    /// Where a coordinate should point. It is said to stay only after a look at the remote.
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
            Verdict::Move(to, _) if deps::excludes(coord, to.tag.as_deref(), &to.sha.to_string()) => {
                Ok(Verdict::Stay(Stays::Excluded(to.tag.unwrap_or_else(|| to.sha.short()))))
            }
            verdict => Ok(verdict),
        }
    }

    async fn judge(&self, coord: &Coord<'_>, view: &mut View, rules: &Rules<'_>) -> Result<Verdict, GitError> {
        let track = match rules.tracked(coord) {
            Some(Track::Branch(branch)) => Some(branch),
            _ => None,
        };
        if let Some(tag) = coord.tag() {
            return self.judge_tag(coord, tag, view, track).await;
        }
        let Some(current) = coord.full_sha() else { return Ok(Verdict::Same) };
        if rules.follows_tags(coord) {
            return self.judge_tracked(coord, current, view).await;
        }
        let wants = rules.commits(&view.repo);
        let head = |branch: &Branch| view.heads.branches.get(branch).copied();
        let default = view.heads.head_branch.as_ref().and_then(head);
        if let Some(branch) = track.filter(|branch| head(branch).is_none()) {
            return Ok(Verdict::Stay(Stays::BranchGone { branch: branch.clone(), repo: view.repo.clone() }));
        }
        if wants.is_empty() && !view.mirrored {
            if track.map_or(default, head) == Some(current) {
                return Ok(Verdict::Same);
            }
            self.fetch(view).await?;
        }
        let git = self.git;
        if !git.contains(&view.repo, current).await? {
            let (repo, head) = (view.repo.clone(), wants.first().map(|(sha, _)| *sha).or(default));
            return Ok(Verdict::Stay(match self.deleted(current, view, rules).await {
                Some(branch) => Stays::Deleted { current, repo, branch, head },
                None => Stays::Rewritten { current, repo, head },
            }));
        }
        let branch = match track {
            Some(branch) => branch.clone(),
            None => match self.followed(coord, current, view, rules).await? {
                Ok(branch) => branch,
                Err(why) => return Ok(Verdict::Stay(why)),
            },
        };
        let Some(head) = view.heads.branches.get(&branch).copied() else { return Ok(Verdict::Same) };
        let mut to = wants.iter().find(|(_, on)| on.is_none_or(|on| *on == branch)).map(|(sha, _)| *sha);
        if to.is_none() {
            // What was pushed elsewhere may be on the branch too: the last of it there.
            for (sha, _) in &wants {
                let is_later = match to {
                    Some(to) => git.is_ancestor(&view.repo, to, *sha).await?,
                    None => true,
                };
                if is_later && git.is_ancestor(&view.repo, *sha, head).await? {
                    to = Some(*sha);
                }
            }
        }
        let to = match (to, wants.first()) {
            (None, Some((sha, _))) if !rules.all => {
                return Ok(Verdict::Stay(Stays::Elsewhere { current, follows: branch, head: *sha }));
            }
            (to, _) => to.unwrap_or(head),
        };
        self.relate(view, current, to, (branch, head), track.is_some()).await
    }

    /// How `current` comes to `to`, if at all: a commit of `branch`, whose head is `head`.
    async fn relate(
        &self,
        view: &View,
        current: Sha,
        to: Sha,
        (branch, head): (Branch, Sha),
        tracked: bool,
    ) -> Result<Verdict, GitError> {
        let (git, repo) = (self.git, &view.repo);
        let moves = |sha: Sha| Verdict::Move(deps::To { sha, tag: None, unique: 0 }, None);
        if current == to {
            return Ok(Verdict::Same);
        }
        if git.is_ancestor(repo, current, to).await? {
            return Ok(moves(to));
        }
        if git.is_ancestor(repo, to, current).await? {
            return Ok(Verdict::Stay(Stays::Newer { current, head: to }));
        }
        // Two lines that were joined since: the head stands on both.
        if git.is_ancestor(repo, current, head).await? && git.is_ancestor(repo, to, head).await? {
            return Ok(moves(head));
        }
        Ok(Verdict::Stay(match tracked {
            true => Stays::Sideways { current, branch, head },
            false => Stays::Elsewhere { current, follows: branch, head: to },
        }))
    }

    /// The branch that the commit `current` of a library follows: it holds it. In this order: one that apps follow
    /// which live there (the pushed one of them, the default one, the only one); the default branch; the pushed one;
    /// the only one. Of the last two none where it was seen on a branch that has dropped it since.
    pub(super) async fn followed(
        &self,
        coord: &Coord<'_>,
        current: Sha,
        view: &View,
        rules: &Rules<'_>,
    ) -> Result<Followed, GitError> {
        let default = view.heads.head_branch.as_ref();
        let commits = rules.commits(&view.repo);
        let mut pushed: Vec<&Branch> = commits.iter().filter_map(|(_, branch)| *branch).collect();
        // Of several pushed ones the default one, then the newest.
        pushed.sort_by_key(|branch| Some(*branch) != default);
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
        if let Some(branch) = pick(&holding, &pushed, default) {
            return Ok(Ok(branch));
        }
        if let Some(branch) = default.filter(|_| holding.is_empty())
            && self.holds(view, branch, current).await?
        {
            return Ok(Ok(branch.clone()));
        }
        let mut on = self.git.branches_with(&view.repo, current).await?;
        // Ours stand on what they are for.
        on.retain(|branch| !branch.as_str().starts_with(REQUESTS));
        // That another branch has it too is no reason to go where that goes.
        let seen = coord.lib.as_ref().and_then(|lib| (rules.seen)(lib, &view.repo, current));
        let is_elsewhere = |branch: &Branch| !on.is_empty() && !on.contains(branch);
        if let Some(branch) = seen.filter(|branch| holding.is_empty() && is_elsewhere(branch))
            && let Some(head) = view.heads.branches.get(&branch).copied()
        {
            return Ok(Err(Stays::Dropped { current, repo: view.repo.clone(), branch, head }));
        }
        for branch in pushed {
            if holding.is_empty() && self.holds(view, branch, current).await? {
                return Ok(Ok(branch.clone()));
            }
        }
        if let ([branch], true) = (on.as_slice(), holding.is_empty()) {
            return Ok(Ok(branch.clone()));
        }
        if !on.is_empty() {
            let on = if holding.is_empty() { on } else { holding };
            let lib = coord.lib.as_ref().map(ToString::to_string).unwrap_or_default();
            return Ok(Err(Stays::Ambiguous { lib, current, on }));
        }
        let head = commits.first().map(|(sha, _)| *sha);
        let head = head.or_else(|| view.heads.branches.get(default?).copied());
        let repo = view.repo.clone();
        if let Some(branch) = self.deleted(current, view, rules).await {
            return Ok(Err(Stays::Deleted { current, repo, branch, head }));
        }
        Ok(Err(match head {
            Some(head) if self.git.is_ancestor(&view.repo, head, current).await? => {
                Stays::Rewound { current, repo, head }
            }
            head => Stays::Orphan { current, repo, head },
        }))
    }

    /// The branch that held a commit and is no more, as far as is known.
    async fn deleted(&self, commit: Sha, view: &View, rules: &Rules<'_>) -> Option<Branch> {
        for (branch, head) in (rules.had)(&view.repo) {
            if view.heads.branches.contains_key(&branch) || branch.as_str().starts_with(REQUESTS) {
                continue;
            }
            if head == commit || self.git.is_ancestor(&view.repo, commit, head).await.unwrap_or(false) {
                return Some(branch);
            }
        }
        None
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
fn pick(branches: &[Branch], pushed: &[&Branch], default: Option<&Branch>) -> Option<Branch> {
    let named = pushed.iter().copied().chain(default).find(|branch| branches.contains(branch));
    match (named, branches) {
        (Some(branch), _) => Some(branch.clone()),
        (None, [one]) => Some(one.clone()),
        _ => None,
    }
}
