//! A commit as one file, for a place that has no access to the remote: git's bundle, which `git fetch` reads like a
//! repository.
//!
//! It is written to the path that it is given and nowhere else; killed in between it leaves a part that nobody takes for
//! the whole, since a bundle's pack ends with its checksum. A small one can be had without a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use git2::{Oid, PackBuilder, Repository};

use super::error::GitError;
use super::mirror::Mirrors;
use super::read::absent;
use super::remote::oid;
use crate::model::{Branch, RepoId, Sha};

impl Mirrors {
    /// Writes `commit`, which the mirror has, into a new file `to`, as the head of `branch`. What `have` holds is left out
    /// where the mirror knows that commit: the reader must have it.
    pub async fn bundle(
        &self,
        repo: &RepoId,
        branch: &Branch,
        commit: Sha,
        have: Option<Sha>,
        to: PathBuf,
    ) -> Result<(), GitError> {
        let name = format!("refs/heads/{branch}");
        let (path, what) = (to.clone(), "could not write");
        let written = self.read(repo, move |repo| write(repo, &name, oid(&commit), have.map(|have| oid(&have)), &to));
        written.await?.map_err(|error| GitError::Disk { what, path, words: error.to_string() })
    }

    /// As [`Mirrors::bundle`], but given back: nothing where the mirror lacks one of the commits, or where it would take
    /// more than `most` bytes.
    pub async fn small_bundle(
        &self,
        repo: &RepoId,
        branch: &Branch,
        commit: Sha,
        have: Sha,
        most: usize,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let name = format!("refs/heads/{branch}");
        self.read(repo, move |repo| collect(repo, &name, oid(&commit), oid(&have), most)).await
    }
}

/// No object takes less in a pack.
const LEAST: usize = 10;

/// Nothing that is worth a look is packed better.
const PACKED: usize = 20;

/// How many bytes the files have that one commit has and the other has not, or otherwise.
fn added(repo: &Repository, have: Oid, commit: Oid) -> Result<usize, git2::Error> {
    let (odb, tree) = (repo.odb()?, |of: Oid| repo.find_commit(of)?.tree());
    let diff = repo.diff_tree_to_tree(Some(&tree(have)?), Some(&tree(commit)?), None)?;
    let sizes = diff.deltas().map(|delta| delta.new_file().id()).filter(|id| !id.is_zero());
    Ok(sizes.filter_map(|id| odb.read_header(id).ok()).map(|(size, _)| size).sum())
}

/// What comes before the pack. The format is in git's own documentation, `gitformat-bundle`.
fn head(name: &str, commit: Oid, have: Option<Oid>) -> String {
    let have = have.map(|have| format!("-{have}\n")).unwrap_or_default();
    format!("# v2 git bundle\n{have}{commit} {name}\n\n")
}

/// What `have` lacks of the commit.
fn pack(repo: &Repository, commit: Oid, have: Option<Oid>) -> Result<PackBuilder<'_>, git2::Error> {
    let mut walk = repo.revwalk()?;
    walk.push(commit)?;
    if let Some(have) = have {
        walk.hide(have)?;
    }
    let mut pack = repo.packbuilder()?;
    pack.insert_walk(&mut walk)?;
    Ok(pack)
}

fn write(
    repo: &Repository,
    name: &str,
    commit: Oid,
    have: Option<Oid>,
    to: &Path,
) -> Result<std::io::Result<()>, git2::Error> {
    let have = have.map(|have| absent(repo.find_commit(have))).transpose()?.flatten().map(|have| have.id());
    let mut pack = pack(repo, commit, have)?;
    let mut file = match std::fs::File::create_new(to).map(std::io::BufWriter::new) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut done = file.write_all(head(name, commit, have).as_bytes());
    pack.foreach(|part| {
        done = std::mem::replace(&mut done, Ok(())).and_then(|()| file.write_all(part));
        done.is_ok()
    })
    .or_else(|error| if done.is_err() { Ok(()) } else { Err(error) })?;
    Ok(done.and_then(|()| file.flush()))
}

fn collect(repo: &Repository, name: &str, commit: Oid, have: Oid, most: usize) -> Result<Option<Vec<u8>>, git2::Error> {
    for one in [commit, have] {
        if absent(repo.find_commit(one))?.is_none() {
            return Ok(None);
        }
    }
    if added(repo, have, commit)? > most.saturating_mul(PACKED) {
        return Ok(None);
    }
    let mut pack = pack(repo, commit, Some(have))?;
    if pack.object_count().saturating_mul(LEAST) > most {
        return Ok(None);
    }
    let mut bundle = head(name, commit, Some(have)).into_bytes();
    let mut is_small = true;
    pack.foreach(|part| {
        bundle.extend_from_slice(part);
        is_small = bundle.len() <= most;
        is_small
    })
    .or_else(|error| if is_small { Err(error) } else { Ok(()) })?;
    Ok(is_small.then_some(bundle))
}
