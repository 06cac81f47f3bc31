//! The ways that a job's dependencies have come: each repository's commits, or tags, from what the app had to what it
//! was to have; and what the app's files say anywhere on these ways.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::{TrialError, Work};
use crate::bumps::{BumpsError, Tree};
use crate::deps::{self, Version};
use crate::git::{Mirrors, Rev};
use crate::model::{Bump, RepoId, Sha};
use crate::pipeline::steps::StepError;

/// One repository's way.
pub(super) struct Line {
    pub repo: RepoId,
    /// What moves along it, with its place among the job's bumps.
    pub bumps: Vec<(usize, Bump)>,
    /// From the first after what the app had to the one that it was to have.
    pub steps: Vec<Place>,
    /// The repositories that it depends on itself.
    needs: BTreeSet<RepoId>,
}

/// A place on a way.
#[derive(Clone)]
pub(super) struct Place {
    /// The tag, where tags move.
    tag: Option<String>,
    pub sha: Sha,
}

impl Line {
    /// A bump that goes only so many steps; none if it stays.
    pub async fn at(&self, work: &Work, bump: &Bump, step: usize) -> Result<Option<Bump>, TrialError> {
        let Some(place) = step.checked_sub(1).and_then(|n| self.steps.get(n)) else { return Ok(None) };
        let git = &work.rooms().git;
        let to = place.tag.clone().unwrap_or_else(|| place.sha.to_string());
        match (&place.tag, bump.from.parse::<Sha>()) {
            // Another coordinate of it may be further on.
            (None, Ok(from)) if from == place.sha || !git.is_ancestor(&self.repo, from, place.sha).await? => Ok(None),
            _ => moved(git, bump, &to, place.sha).await.map(Some),
        }
    }
    /// Where that is, in words.
    pub fn words(&self, step: usize) -> String {
        let place = step.checked_sub(1).and_then(|n| self.steps.get(n));
        let lib = self.bumps.first().map_or_else(|| self.repo.to_string(), |(_, bump)| bump.lib.to_string());
        match place {
            Some(Place { tag: Some(tag), .. }) => format!("{lib} at {tag}"),
            Some(Place { sha, .. }) => format!("{lib} at {}", sha.short()),
            None => format!("{lib} as it was"),
        }
    }
}

/// A bump that goes to another place.
async fn moved(git: &Mirrors, bump: &Bump, to: &str, sha: Sha) -> Result<Bump, TrialError> {
    let digits = match &bump.sha {
        Some((from, _)) => {
            let full = sha.to_string();
            let len = if from.len() < 40 { git.unique_len(&bump.repo, sha, from.len()).await? } else { 40 };
            Some((from.clone(), full[..len.min(full.len())].to_owned()))
        }
        None => None,
    };
    Ok(Bump { to: to.to_owned(), sha: digits, ..bump.clone() })
}

/// The ways of all of them: those that others depend on come first.
pub(super) async fn lines(work: &Work, bumps: &[Bump]) -> Result<Vec<Line>, TrialError> {
    let git = &work.rooms().git;
    let mut lines: Vec<Line> = Vec::new();
    for (n, bump) in bumps.iter().enumerate() {
        let goes_there = |line: &&mut Line| line.repo == bump.repo && line.bumps.iter().all(|(_, b)| b.to == bump.to);
        let known = lines.iter_mut().find(goes_there);
        let steps = steps(git, bump).await?;
        if steps.is_empty() {
            let Bump { lib, from, to, .. } = bump;
            return Err(BumpsError::File(format!("how {lib} came from {from} to {to} is not known")).into());
        }
        match known {
            Some(line) => {
                // The longest has the others' in it.
                if steps.len() > line.steps.len() {
                    line.steps = steps;
                }
                line.bumps.push((n, bump.clone()));
            }
            None => {
                let needs = match steps.last() {
                    Some(last) => needs(git, &bump.repo, last.sha).await,
                    None => BTreeSet::new(),
                };
                lines.push(Line { repo: bump.repo.clone(), bumps: vec![(n, bump.clone())], steps, needs });
            }
        }
    }
    let mut ordered = Vec::new();
    while !lines.is_empty() {
        let waits = |line: &Line| lines.iter().any(|other| other.repo != line.repo && line.needs.contains(&other.repo));
        // In a circle anyone is the first.
        let next = lines.iter().position(|line| !waits(line)).unwrap_or(0);
        ordered.push(lines.remove(next));
    }
    Ok(ordered)
}

async fn steps(git: &Mirrors, bump: &Bump) -> Result<Vec<Place>, TrialError> {
    let repo = &bump.repo;
    let resolve = async |rev: Rev| git.resolve(repo, rev).await;
    if bump.sha.is_none() {
        let (Ok(from), Ok(to)) = (bump.from.parse::<Sha>(), bump.to.parse::<Sha>()) else { return Ok(Vec::new()) };
        let line = git.first_parents(repo, from, to).await?;
        return Ok(line.into_iter().map(|sha| Place { tag: None, sha }).collect());
    }
    let (Some(from), Some(to)) =
        (resolve(Rev::Tag(bump.from.clone())).await?, resolve(Rev::Tag(bump.to.clone())).await?)
    else {
        return Ok(Vec::new());
    };
    let last = Place { tag: Some(bump.to.clone()), sha: to };
    let (Some(ours), Some(newest)) = (Version::of(&bump.from), Version::of(&bump.to)) else { return Ok(vec![last]) };
    let mut between: Vec<(Version, Place)> = Vec::new();
    for (tag, sha) in git.known_heads(repo).await?.tags {
        let Some(version) = Version::of(&tag) else { continue };
        let is_between = version.may_follow(&ours) && newest.order(&version) == Some(Ordering::Greater);
        if is_between && git.is_ancestor(repo, from, sha).await? && git.is_ancestor(repo, sha, to).await? {
            between.push((version, Place { tag: Some(tag), sha }));
        }
    }
    between.sort_by(|(a, _), (b, _)| a.order(b).unwrap_or(Ordering::Equal));
    Ok(between.into_iter().map(|(_, place)| place).chain([last]).collect())
}

/// The repositories that a commit's deps.edn names. What can't be read is no reason for any order.
async fn needs(git: &Mirrors, repo: &RepoId, sha: Sha) -> BTreeSet<RepoId> {
    let tree = Tree::Commit { git, repo, sha };
    let Ok(Some(text)) = tree.read("deps.edn").await else { return BTreeSet::new() };
    let Ok(scanned) = deps::scan(&text) else { return BTreeSet::new() };
    scanned.live().filter_map(|(_, coord)| coord.repo()).collect()
}

/// The app's files with these bumps made, which come in the order in which the job has them.
pub(super) async fn edited(work: &Work, base: Sha, bumps: &[Bump]) -> Result<Vec<(String, Vec<u8>)>, TrialError> {
    let (rooms, repo) = (work.rooms(), work.job.app.repo());
    let tree = Tree::Commit { git: &rooms.git, repo: &repo, sha: base };
    let mut edited: Vec<(String, Vec<u8>)> = Vec::new();
    for bump in bumps {
        if edited.iter().any(|(path, _)| *path == bump.file) {
            continue;
        }
        let text = tree.read(&bump.file).await?.unwrap_or_default();
        let text = deps::replay(&text, &bump.file, bumps);
        let text = text.map_err(|e| BumpsError::File(format!("{}: {e}", bump.file)))?;
        edited.push((bump.file.clone(), text.into_bytes()));
    }
    Ok(edited)
}

/// The bumps that are due, with what a search has found: none goes further than where the app builds.
pub(in crate::pipeline) async fn narrowed(work: &Work, bumps: Vec<Bump>) -> Result<Vec<Bump>, StepError> {
    let mut kept = Vec::new();
    for bump in bumps {
        let found = work.job.narrowed.iter().rev().find(|n| (&n.lib, &n.from) == (&bump.lib, &bump.from));
        let Some(found) = found else {
            kept.push(bump);
            continue;
        };
        if found.good == found.from {
            continue;
        }
        let rev = match (&bump.sha, found.good.parse()) {
            (None, Ok(sha)) => Rev::Sha(sha),
            _ => Rev::Tag(found.good.clone()),
        };
        let git = work.rooms().git.clone();
        let good = git.resolve(&bump.repo, rev).await.map_err(|e| work.git(e))?;
        // What it built with is gone from the remote: then it stays.
        let Some(sha) = good else { continue };
        kept.push(moved(&git, &bump, &found.good, sha).await.map_err(|e| StepError::Retry(e.to_string()))?);
    }
    Ok(kept)
}
