//! A job's private clone: its own working tree and refs, objects borrowed from the mirror (alternates), so that it is
//! made in a moment and has all of the history. Its `origin` is the real remote, for builds that look.
//!
//! It must never write into the mirror, and a commit in it is a function of its input alone. Once a build has run in
//! it, it is the build's: nothing in it is read again, and what is pushed is made anew in a [`Mirrors::bare_for_job`].

use std::path::{Path, PathBuf};

use git2::build::{CheckoutBuilder, TreeUpdateBuilder};
use git2::{FileMode, Repository, RepositoryInitOptions, Signature, StatusOptions, Time};
use jiff::Timestamp;

use super::config::Author;
use super::error::GitError;
use super::mirror::{Mirrors, check, disk, packed as packed_text, refs, remove};
use super::read::{absent, is_file, tree_of};
use super::remote::{oid, sha};
use crate::model::{Branch, RepoUrl, Sha};

/// A clone that is checked out on a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkClone {
    /// Its folder.
    pub dir: PathBuf,
    /// Its `origin`.
    pub url: RepoUrl,
    /// The branch it is on.
    pub branch: Branch,
}

/// When a commit is made and by whom: part of what its id is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Author and committer.
    pub author: Author,
    /// Author's and committer's time, in whole seconds, in UTC.
    pub time: Timestamp,
}

impl Mirrors {
    /// A clean clone in `dir` of the repository at `url`, on `branch` at `commit`, which the mirror must have. What is
    /// in `dir` already is kept if it is just that, and replaced if not.
    pub async fn clone_for_job(
        &self,
        url: &RepoUrl,
        branch: &Branch,
        commit: Sha,
        dir: &Path,
    ) -> Result<WorkClone, GitError> {
        self.borrowing(WorkClone { dir: dir.to_owned(), url: url.clone(), branch: branch.clone() }, commit, false).await
    }

    /// The same without a working tree, made anew whatever is in `dir`: for committing and pushing, where nobody else
    /// has written.
    pub async fn bare_for_job(
        &self,
        url: &RepoUrl,
        branch: &Branch,
        commit: Sha,
        dir: &Path,
    ) -> Result<WorkClone, GitError> {
        self.borrowing(WorkClone { dir: dir.to_owned(), url: url.clone(), branch: branch.clone() }, commit, true).await
    }

    async fn borrowing(&self, clone: WorkClone, commit: Sha, bare: bool) -> Result<WorkClone, GitError> {
        let repo = clone.url.id();
        let mirror = self.path(&repo);
        if !self.contains(&repo, commit).await? {
            return Err(GitError::NoCommit { repo: repo.to_string(), wanted: commit.to_string() });
        }
        let made = blocking(clone, move |clone| {
            if !bare && clone.is_at(&commit) {
                return Ok(clone.clone());
            }
            remove(&clone.dir)?;
            clone.make(&mirror, &commit, bare).map_err(|e| match check(&mirror) {
                Ok(()) => e,
                Err(words) => GitError::Mirror { path: mirror, words },
            })?;
            Ok(clone.clone())
        })
        .await;
        if matches!(made, Err(GitError::Mirror { .. })) {
            self.doubt(&repo);
        }
        made
    }
}

impl WorkClone {
    /// The commit it is at.
    pub async fn head(&self) -> Result<Sha, GitError> {
        self.with(|clone, repo| clone.head_of(repo)).await
    }

    /// The id of a commit's tree.
    pub async fn tree_id(&self, commit: Sha) -> Result<Sha, GitError> {
        self.with(move |_, repo| tree_of(repo, &commit)).await
    }

    /// A file's bytes at the head, as they are in git. None if there is no such file; a symlink or folder is none.
    pub async fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        let path = path.to_owned();
        self.with(move |clone, repo| {
            let tree = repo.find_commit(oid(&clone.head_of(repo)?))?.tree()?;
            match absent(tree.get_path(Path::new(&path)))? {
                Some(entry) if is_file(entry.filemode()) => Ok(Some(repo.find_blob(entry.id())?.content().to_vec())),
                _ => Ok(None),
            }
        })
        .await
    }

    /// Writes `files` (path from the root, all of its bytes) and commits them on the branch. The same head, files,
    /// message and stamp give the same id. If the files are so already, nothing is committed and the head is given.
    pub async fn commit(&self, files: &[(String, Vec<u8>)], message: &str, stamp: &Stamp) -> Result<Sha, GitError> {
        let (files, message, stamp) = (files.to_vec(), message.to_owned(), stamp.clone());
        self.with(move |clone, repo| {
            let parent = repo.find_commit(oid(&clone.head_of(repo)?))?;
            let tree = parent.tree()?;
            let mut update = TreeUpdateBuilder::new();
            for (path, bytes) in &files {
                let mode = match absent(tree.get_path(Path::new(path)))? {
                    None => FileMode::Blob,
                    Some(entry) if entry.filemode() == i32::from(FileMode::BlobExecutable) => FileMode::BlobExecutable,
                    Some(entry) if is_file(entry.filemode()) => FileMode::Blob,
                    Some(_) => {
                        return Err(git2::Error::from_str(&format!(
                            "{path} is a symlink or a folder there, and only a plain file is edited"
                        )));
                    }
                };
                update.upsert(path.as_str(), repo.blob(bytes)?, mode);
            }
            let made = update.create_updated(repo, &tree)?;
            if made == tree.id() {
                // A killed run may have committed and not got round to its working tree.
                check_out(repo)?;
                return clone.head_of(repo);
            }
            let time = Time::new(stamp.time.as_second(), 0);
            let who = Signature::new(&stamp.author.name, &stamp.author.email, &time)?;
            let id = repo.commit(Some("HEAD"), &who, &who, &message, &repo.find_tree(made)?, &[&parent])?;
            check_out(repo)?;
            sha(id).ok_or_else(|| git2::Error::from_str("the commit's id is zero"))
        })
        .await
    }

    pub(super) fn repo(&self) -> Result<Repository, GitError> {
        let flags = git2::RepositoryOpenFlags::NO_SEARCH;
        Repository::open_ext(&self.dir, flags, &[] as &[&std::ffi::OsStr]).map_err(|e| self.unusable(&e))
    }

    pub(super) fn unusable(&self, error: &git2::Error) -> GitError {
        if error.class() == git2::ErrorClass::None {
            // Our own words about the input: making the clone anew would not help.
            return GitError::Other { what: format!("a commit of {}", self.url), words: error.message().to_owned() };
        }
        GitError::Clone { path: self.dir.clone(), words: error.message().to_owned() }
    }

    fn branch_ref(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }

    fn head_of(&self, repo: &Repository) -> Result<Sha, git2::Error> {
        let id = repo.refname_to_id("HEAD")?;
        sha(id).ok_or_else(|| git2::Error::from_str("HEAD is the zero id"))
    }

    /// Whether it is just what `make` would make: on the branch, at the commit, with nothing changed or added.
    fn is_at(&self, commit: &Sha) -> bool {
        let look = || -> Result<bool, git2::Error> {
            let Ok(repo) = self.repo() else { return Ok(false) };
            let on = repo.find_reference("HEAD")?.symbolic_target()? == Some(self.branch_ref().as_str());
            let origin = repo.find_remote("origin")?.url()? == self.url.as_str();
            let at = self.head_of(&repo)? == *commit;
            let mut all = StatusOptions::new();
            all.include_untracked(true).include_ignored(true);
            let locked = repo.path().join("index.lock").exists();
            Ok(on && origin && at && !locked && repo.statuses(Some(&mut all))?.is_empty())
        };
        look().unwrap_or(false)
    }

    fn make(&self, mirror: &Path, commit: &Sha, bare: bool) -> Result<(), GitError> {
        let objects = std::path::absolute(mirror.join("objects")).map_err(|e| disk("could not find", mirror, &e))?;
        let made = || -> Result<PathBuf, git2::Error> {
            let mut options = RepositoryInitOptions::new();
            options.bare(bare).external_template(false).initial_head(self.branch.as_str());
            let repo = Repository::init_opts(&self.dir, &options)?;
            repo.remote("origin", self.url.as_str())?;
            Ok(repo.path().to_owned())
        };
        let git = made().map_err(|e| self.unusable(&e))?;
        let write = |name: &str, text: String| {
            let path = git.join(name);
            let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            folder.and_then(|()| std::fs::write(&path, text)).map_err(|e| disk("could not write", &path, &e))
        };
        write("objects/info/alternates", format!("{}\n", objects.display()))?;
        let fill = || -> Result<String, git2::Error> {
            let borrowed = Repository::open_bare(mirror)?;
            let mut packed = std::collections::BTreeMap::new();
            for (name, id) in refs(&borrowed)? {
                let name = match name.strip_prefix("refs/heads/") {
                    Some(branch) => format!("refs/remotes/origin/{branch}"),
                    None => name,
                };
                packed.insert(name, id);
            }
            Ok(packed_text(&packed))
        };
        if !bare {
            write("packed-refs", fill().map_err(|e| self.unusable(&e))?)?;
        }
        let settle = || -> Result<(), git2::Error> {
            let repo = Repository::open(&self.dir)?;
            repo.reference(&self.branch_ref(), oid(commit), true, "clone for a job")?;
            repo.set_head(&self.branch_ref())?;
            check_out(&repo)?;
            let mut config = repo.config()?;
            config.set_str(&format!("branch.{}.remote", self.branch), "origin")?;
            config.set_str(&format!("branch.{}.merge", self.branch), &self.branch_ref())
        };
        settle().map_err(|e| self.unusable(&e))
    }

    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &Repository) -> Result<T, git2::Error> + Send + 'static,
    ) -> Result<T, GitError> {
        blocking(self.clone(), |clone| {
            let repo = clone.repo()?;
            work(clone, &repo).map_err(|e| clone.unusable(&e))
        })
        .await
    }
}

/// The working tree as the head has it, where there is one.
fn check_out(repo: &Repository) -> Result<(), git2::Error> {
    if repo.is_bare() { Ok(()) } else { repo.checkout_head(Some(CheckoutBuilder::new().force())) }
}

async fn blocking<T: Send + 'static>(
    clone: WorkClone,
    work: impl FnOnce(&WorkClone) -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let path = clone.dir.clone();
    match tokio::task::spawn_blocking(move || work(&clone)).await {
        Ok(done) => done,
        Err(e) => Err(GitError::Clone { path, words: e.to_string() }),
    }
}
