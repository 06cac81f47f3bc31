//! Which files a commit has, from mirrors.

use std::collections::BTreeSet;
use std::path::Path;

use git2::{ObjectType, Repository, Tree, TreeWalkMode, TreeWalkResult};

use super::error::GitError;
use super::mirror::Mirrors;
use super::read::{absent, is_file};
use super::remote::oid;
use crate::model::{RepoId, Sha};

impl Mirrors {
    /// The plain files of a commit below a folder (empty for the root) whose paths from the root are wanted, in git's
    /// order. None of a folder that is not there.
    pub async fn files(
        &self,
        repo: &RepoId,
        commit: Sha,
        under: &str,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Vec<String>, GitError> {
        let under = under.to_owned();
        self.read(repo, move |repo| {
            let mut found = Vec::new();
            let Some(tree) = folder(repo, repo.find_commit(oid(&commit))?.tree()?, &under)? else { return Ok(found) };
            tree.walk(TreeWalkMode::PreOrder, |parent, entry| {
                // A name that is no UTF-8 is none of ours.
                if let (true, Ok(name)) = (is_file(entry.filemode()), entry.name()) {
                    let path = match under.as_str() {
                        "" => format!("{parent}{name}"),
                        under => format!("{under}/{parent}{name}"),
                    };
                    if wanted(&path) {
                        found.push(path);
                    }
                }
                TreeWalkResult::Ok
            })?;
            Ok(found)
        })
        .await
    }

    /// The paths that differ between two commits, from the root. None if the mirror lacks one of them.
    pub async fn changed_paths(&self, repo: &RepoId, old: Sha, new: Sha) -> Result<Option<Vec<String>>, GitError> {
        self.read(repo, move |repo| {
            let tree = |sha| absent(repo.find_commit(oid(&sha)))?.map(|commit| commit.tree()).transpose();
            let (Some(old), Some(new)) = (tree(old)?, tree(new)?) else { return Ok(None) };
            let diff = repo.diff_tree_to_tree(Some(&old), Some(&new), None)?;
            let sides = diff.deltas().flat_map(|delta| [delta.old_file().path_bytes(), delta.new_file().path_bytes()]);
            let paths: BTreeSet<String> =
                sides.flatten().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
            Ok(Some(paths.into_iter().collect()))
        })
        .await
    }
}

fn folder<'r>(repo: &'r Repository, root: Tree<'r>, path: &str) -> Result<Option<Tree<'r>>, git2::Error> {
    if path.is_empty() {
        return Ok(Some(root));
    }
    let Some(entry) = absent(root.get_path(Path::new(path)))? else { return Ok(None) };
    match entry.kind() {
        Some(ObjectType::Tree) => repo.find_tree(entry.id()).map(Some),
        _ => Ok(None),
    }
}
