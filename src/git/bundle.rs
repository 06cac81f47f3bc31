//! A commit as one file, for a place that has no access to the remote: git's bundle, which `git fetch` reads like a
//! repository.
//!
//! It is written to the path that it is given and nowhere else; killed in between it leaves a part that nobody takes for
//! the whole, since a bundle's pack ends with its checksum.

use std::io::Write;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};

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
}

/// The format is in git's own documentation, `gitformat-bundle`.
fn write(
    repo: &Repository,
    name: &str,
    commit: Oid,
    have: Option<Oid>,
    to: &Path,
) -> Result<std::io::Result<()>, git2::Error> {
    let mut walk = repo.revwalk()?;
    walk.push(commit)?;
    let have = have.map(|have| absent(repo.find_commit(have))).transpose()?.flatten();
    if let Some(have) = &have {
        walk.hide(have.id())?;
    }
    let mut pack = repo.packbuilder()?;
    pack.insert_walk(&mut walk)?;
    let head = match have {
        Some(have) => format!("# v2 git bundle\n-{}\n{commit} {name}\n\n", have.id()),
        None => format!("# v2 git bundle\n{commit} {name}\n\n"),
    };
    let mut file = match std::fs::File::create_new(to).map(std::io::BufWriter::new) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut done = file.write_all(head.as_bytes());
    pack.foreach(|part| {
        done = std::mem::replace(&mut done, Ok(())).and_then(|()| file.write_all(part));
        done.is_ok()
    })
    .or_else(|error| if done.is_err() { Ok(()) } else { Err(error) })?;
    Ok(done.and_then(|()| file.flush()))
}
