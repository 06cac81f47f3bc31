//! A tagged coordinate follows tags: the highest version of its line whose commit stands on its own, tag and sha
//! together. A tag that names another commit than it did is told and never followed.

use std::cmp::Ordering;

use super::choice::Verdict;
use super::view::View;
use super::{Asking, Stays};
use crate::deps::{self, Coord, Version};
use crate::git::GitError;
use crate::model::{Branch, Sha};

/// How many higher tags are looked at for one that stands on ours.
const MOST: usize = 200;

impl Asking<'_> {
    /// Where a coordinate at a tag should point. `branch` is the one that `:track` names: its tags are on it.
    pub(super) async fn judge_tag(
        &self,
        coord: &Coord<'_>,
        tag: &str,
        view: &mut View,
        branch: Option<&Branch>,
    ) -> Result<Verdict, GitError> {
        let sha = coord.sha().unwrap_or_default();
        let Some(current) = view.heads.tags.get(tag).copied() else {
            return Ok(Verdict::Stay(Stays::TagGone { tag: tag.to_owned(), repo: view.repo.clone() }));
        };
        if !current.to_string().starts_with(&sha.to_ascii_lowercase()) {
            let (tag, sha) = (tag.to_owned(), sha.to_owned());
            return Ok(Verdict::Stay(Stays::TagMoved { tag, sha, now: current }));
        }
        let Some(ours) = Version::of(tag) else { return Ok(Verdict::Stay(Stays::Tagless(tag.to_owned()))) };
        let higher = higher(view, coord, Some(&ours));
        self.take(coord, current, tag, view, branch, higher).await
    }

    /// Where a coordinate without a tag should point that `:track` has follow tags.
    pub(super) async fn judge_tracked(
        &self,
        coord: &Coord<'_>,
        current: Sha,
        view: &mut View,
    ) -> Result<Verdict, GitError> {
        if !view.mirrored {
            self.fetch(view).await?;
        }
        if !self.git.contains(&view.repo, current).await? {
            return Ok(Verdict::Stay(Stays::Rewritten { current, repo: view.repo.clone(), head: None }));
        }
        // The line and the version that it stands at: of the newest tag behind it.
        let all = higher(view, coord, None);
        let mut behind: Vec<&Version> = Vec::new();
        for (version, _, commit) in &all {
            if behind.iter().all(|known| known.line() != version.line())
                && self.git.is_ancestor(&view.repo, *commit, current).await?
            {
                behind.push(version);
            }
        }
        let line = behind.first().map(|version| version.line()).or_else(|| all.first().map(|(v, _, _)| v.line()));
        let alone = all.iter().all(|(version, _, _)| Some(version.line()) == line);
        if behind.len() > 1 || (behind.is_empty() && !alone) {
            return Ok(Verdict::Stay(Stays::TagLines { repo: view.repo.clone() }));
        }
        let above = higher(view, coord, behind.first().copied());
        self.take(coord, current, &current.short(), view, None, above).await
    }

    /// The first of `higher` that stands on `current`.
    async fn take(
        &self,
        coord: &Coord<'_>,
        current: Sha,
        stands_at: &str,
        view: &mut View,
        branch: Option<&Branch>,
        higher: Vec<(Version, String, Sha)>,
    ) -> Result<Verdict, GitError> {
        let Some((_, newest, _)) = higher.first().cloned() else { return Ok(Verdict::Same) };
        if !view.mirrored {
            self.fetch(view).await?;
        }
        let (git, repo) = (self.git, view.repo.clone());
        let beside = |newest: String| Stays::NoTagAhead { tag: stands_at.to_owned(), newest };
        for (_, tag, sha) in higher.into_iter().take(MOST) {
            if let Some(head) = branch.and_then(|branch| view.heads.branches.get(branch))
                && !git.is_ancestor(&repo, sha, *head).await?
            {
                continue;
            }
            if !git.is_ancestor(&repo, current, sha).await? {
                continue;
            }
            let told = (tag != newest && branch.is_none()).then(|| beside(newest));
            if coord.tag().is_none() {
                let to = deps::To { sha, tag: None, unique: 0 };
                return Ok(if sha == current { Verdict::Same } else { Verdict::Move(to, told) });
            }
            let least = coord.sha().map_or(40, str::len);
            let unique = if least < 40 { git.unique_len(&repo, sha, least).await? } else { 40 };
            return Ok(Verdict::Move(deps::To { sha, tag: Some(tag), unique }, told));
        }
        Ok(match branch {
            None => Verdict::Stay(beside(newest)),
            // It waits for one on its branch.
            Some(_) => Verdict::Same,
        })
    }
}

/// The tags that may follow a version (those that are done, of all lines, if there is none), highest first, but for what
/// a pin names.
fn higher(view: &View, coord: &Coord<'_>, above: Option<&Version>) -> Vec<(Version, String, Sha)> {
    let versions = view.heads.tags.iter().filter_map(|(tag, sha)| Some((Version::of(tag)?, tag.clone(), *sha)));
    let mut higher: Vec<(Version, String, Sha)> = versions
        .filter(|(version, tag, sha)| {
            above.map_or_else(|| !version.is_pre_release(), |ours| version.may_follow(ours))
                && !deps::excludes(coord, Some(tag), &sha.to_string())
        })
        .collect();
    higher.sort_by(|(a, one, _), (b, other, _)| {
        let order = || b.order(a).unwrap_or(Ordering::Equal);
        a.line().cmp(b.line()).then_with(order).then_with(|| one.cmp(other))
    });
    higher
}
