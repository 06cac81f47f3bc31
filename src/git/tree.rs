//! Which files a commit has, from mirrors.

use git2::{ObjectType, Repository, Tree, TreeWalkMode, TreeWalkResult};
use std::path::Path;

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
