//! Repositories that stand in for mirrors: a mirror and one commit more, which no remote has. For trying out what
//! would be, in a folder of the caller's. Mirrors themselves are not changed, and nothing is pushed from here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use git2::{Repository, Signature, Time};

use super::clone::{Stamp, WorkClone};
use super::error::GitError;
use super::mirror::{Mirrors, disk, packed, refs};
use super::remote::{oid, sha};
use crate::model::{Branch, RepoId, RepoUrl, Sha};

/// What merging two commits makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// A commit, in the stand-in.
    Commit(Sha),
    /// Files that both have changed.
    Conflict(Vec<String>),
}

impl Mirrors {
    /// The same mirrors, but for repositories that others stand in for: these are never fetched.
    pub fn with_stand_ins(&self, instead: BTreeMap<RepoId, PathBuf>) -> Self {
        self.with(self.inner.config.clone(), instead)
    }

    /// Makes a stand-in in `dir` whose `branch` has one commit on top of `base`, with these files. As in
    /// [`WorkClone::commit`], the same input makes the same commit.
    pub async fn commit_beside(
        &self,
        place: (&RepoUrl, &Branch, Sha),
        dir: &Path,
        files: &[(String, Vec<u8>)],
        message: &str,
        stamp: &Stamp,
    ) -> Result<Sha, GitError> {
        let stand_in = self.stand_in(place, dir).await?;
        stand_in.commit(files, message, stamp).await
    }

    /// One commit more in a stand-in that is there, on top of its last. The same commit as from [`Self::commit_beside`].
    pub async fn commit_within(
        &self,
        (url, branch): (&RepoUrl, &Branch),
        dir: &Path,
        files: &[(String, Vec<u8>)],
        message: &str,
        stamp: &Stamp,
    ) -> Result<Sha, GitError> {
        let stand_in = WorkClone { dir: dir.to_owned(), url: url.clone(), branch: branch.clone() };
        stand_in.commit(files, message, stamp).await
    }

    /// Makes a stand-in in `dir` whose `branch` has `other` merged into `base`.
    pub async fn merge_beside(
        &self,
        place: (&RepoUrl, &Branch, Sha),
        dir: &Path,
        other: Sha,
        stamp: &Stamp,
    ) -> Result<Merged, GitError> {
        let stand_in = self.stand_in(place, dir).await?;
        let (base, branch, stamp) = (place.2, place.1.clone(), stamp.clone());
        let merge = move |repo: &Repository| {
            let (ours, theirs) = (repo.find_commit(oid(&base))?, repo.find_commit(oid(&other))?);
            let mut index = repo.merge_commits(&ours, &theirs, None)?;
            if index.has_conflicts() {
                let mut paths = Vec::new();
                for conflict in index.conflicts()? {
                    let conflict = conflict?;
                    let entry = conflict.our.or(conflict.their).or(conflict.ancestor);
                    paths.extend(entry.map(|entry| String::from_utf8_lossy(&entry.path).into_owned()));
                }
                return Ok(Merged::Conflict(paths));
            }
            let tree = repo.find_tree(index.write_tree_to(repo)?)?;
            let who = Signature::new(&stamp.author.name, &stamp.author.email, &Time::new(stamp.time.as_second(), 0))?;
            let message = format!("Merge {} into {branch}, to try it out\n", other.short());
            let id = repo.commit(Some("HEAD"), &who, &who, &message, &tree, &[&ours, &theirs])?;
            sha(id).map(Merged::Commit).ok_or_else(|| git2::Error::from_str("the commit's id is zero"))
        };
        stand_in.with(move |_, repo| merge(repo)).await
    }

    /// A bare repository with all of the mirror's branches and tags, and `branch` at `base`.
    async fn stand_in(&self, place: (&RepoUrl, &Branch, Sha), dir: &Path) -> Result<WorkClone, GitError> {
        let (url, branch, base) = place;
        let clone = self.bare_for_job(url, branch, base, dir).await?;
        let (mirror, packed_refs) = (self.path(&url.id()), dir.join("packed-refs"));
        clone
            .with(move |_, _| {
                let text = packed(&refs(&Repository::open_bare(&mirror)?)?);
                std::fs::write(&packed_refs, text)
                    .map_err(|e| git2::Error::from_str(&disk("could not write", &packed_refs, &e).to_string()))
            })
            .await?;
        Ok(clone)
    }
}
