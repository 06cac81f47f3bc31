//! Reading from mirrors without a checkout. It never asks a remote: fetch first.

use std::path::Path;

use git2::{ErrorClass, ErrorCode, FileMode, ObjectType, Oid, Repository};
use jiff::Timestamp;

use super::error::GitError;
use super::mirror::{Mirrors, check, damaged, open};
use super::remote::{Heads, oid, sha};
use crate::model::{Branch, RepoId, Sha};

/// What names a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rev {
    /// A branch's head in the mirror.
    Branch(Branch),
    /// A tag; annotated ones are peeled.
    Tag(String),
    /// A full id: is it there?
    Sha(Sha),
}

/// What begins with some digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// One commit.
    One(Sha),
    /// Several objects.
    Many,
    /// No commit.
    None,
}

/// A commit, for people and for time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub sha: Sha,
    /// Its parents.
    pub parents: Vec<Sha>,
    /// The first line of its message.
    pub subject: String,
    /// Its author's name.
    pub author: String,
    /// Its author's email.
    pub email: String,
    /// When it was committed.
    pub time: Timestamp,
}

/// What a merge would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merging {
    /// It brings something.
    Clean,
    /// It brings nothing that is not there.
    Nothing,
    /// Both have changed the same.
    Conflict,
}

/// A file larger than this is not read into memory.
const FILE_MAX: usize = 16 * 1024 * 1024;

impl Mirrors {
    /// The commit that `rev` names in the mirror, or none.
    pub async fn resolve(&self, repo: &RepoId, rev: Rev) -> Result<Option<Sha>, GitError> {
        self.read(repo, move |repo| {
            let found = match &rev {
                Rev::Branch(branch) => absent(repo.refname_to_id(&format!("refs/heads/{branch}")))?,
                Rev::Tag(tag) => absent(repo.refname_to_id(&format!("refs/tags/{tag}")))?,
                Rev::Sha(sha) => Some(oid(sha)),
            };
            if let Some(object) = found.map(|id| absent(repo.find_object(id, None))).transpose()?.flatten() {
                return Ok(absent(object.peel(ObjectType::Commit))?.and_then(|commit| sha(commit.id())));
            }
            match (rev, found) {
                (Rev::Branch(_) | Rev::Tag(_), None) => Ok(None),
                _ => whole(repo).map(|()| None),
            }
        })
        .await
    }

    /// The commit whose first digits these are.
    pub async fn begins_with(&self, repo: &RepoId, digits: &str) -> Result<Begins, GitError> {
        let digits = digits.to_owned();
        self.read(repo, move |repo| match repo.find_commit_by_prefix(&digits) {
            Ok(commit) => Ok(sha(commit.id()).map_or(Begins::None, Begins::One)),
            Err(error) if error.code() == ErrorCode::Ambiguous => Ok(Begins::Many),
            Err(error) => absent::<()>(Err(error)).map(|_| Begins::None),
        })
        .await
    }

    /// The branch that the remote's HEAD named at the last fetch, if the remote has it.
    pub async fn head_branch(&self, repo: &RepoId) -> Result<Option<Branch>, GitError> {
        self.read(repo, |repo| {
            let head = repo.find_reference("HEAD")?;
            let Some(name) = head.symbolic_target().ok().flatten() else { return Ok(None) };
            let there = absent(repo.refname_to_id(name))?.is_some();
            Ok(name.strip_prefix("refs/heads/").filter(|_| there).and_then(|name| Branch::new(name).ok()))
        })
        .await
    }

    /// The branches and tags that the mirror has, as the last fetch found them at the remote.
    pub async fn known_heads(&self, repo: &RepoId) -> Result<Heads, GitError> {
        self.read(repo, known_heads).await
    }

    /// Whether the mirror has the commit.
    pub async fn contains(&self, repo: &RepoId, commit: Sha) -> Result<bool, GitError> {
        Ok(self.resolve(repo, Rev::Sha(commit)).await?.is_some())
    }

    /// Whether `old` is `new` or one of its ancestors. False if the mirror lacks either.
    pub async fn is_ancestor(&self, repo: &RepoId, old: Sha, new: Sha) -> Result<bool, GitError> {
        self.read(repo, move |repo| descends(repo, oid(&new), oid(&old))).await
    }

    /// The branches whose history holds the commit, in the order of their names.
    pub async fn branches_with(&self, repo: &RepoId, commit: Sha) -> Result<Vec<Branch>, GitError> {
        self.read(repo, move |repo| {
            let mut with = Vec::new();
            for (name, head) in super::mirror::refs(repo)? {
                if let Some(branch) = name.strip_prefix("refs/heads/").and_then(|name| Branch::new(name).ok())
                    && descends(repo, head, oid(&commit))?
                {
                    with.push(branch);
                }
            }
            Ok(with)
        })
        .await
    }

    /// How many digits of `commit`, from `least` on, name it and nothing else in the repository: no other object, and no
    /// branch or tag of that name.
    pub async fn unique_len(&self, repo: &RepoId, commit: Sha, least: usize) -> Result<usize, GitError> {
        self.read(repo, move |repo| {
            let (odb, full) = (repo.odb()?, commit.to_string());
            for len in least.clamp(4, 40)..40 {
                let names_a_ref = || {
                    let named = |kind: &str| absent(repo.refname_to_id(&format!("refs/{kind}/{}", &full[..len])));
                    Ok::<bool, git2::Error>(named("heads")?.is_some() || named("tags")?.is_some())
                };
                // More than one object is an error that `absent` takes for none.
                if absent(odb.exists_prefix(oid(&commit), len))?.is_some() && !names_a_ref()? {
                    return Ok(len);
                }
            }
            Ok(40)
        })
        .await
    }

    /// Whether a commit has a file or a folder of that name.
    pub async fn has_path(&self, repo: &RepoId, commit: Sha, path: &str) -> Result<bool, GitError> {
        let path = path.to_owned();
        self.read(repo, move |repo| {
            let tree = repo.find_commit(oid(&commit))?.tree()?;
            Ok(absent(tree.get_path(Path::new(&path)))?.is_some())
        })
        .await
    }

    /// A file's bytes at a commit. None if there is no such file; a symlink or a folder is none.
    pub async fn read_file(&self, repo: &RepoId, commit: Sha, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        let path = path.to_owned();
        self.read(repo, move |repo| {
            let tree = repo.find_commit(oid(&commit))?.tree()?;
            let Some(entry) = absent(tree.get_path(Path::new(&path)))? else { return Ok(None) };
            if !is_file(entry.filemode()) {
                return Ok(None);
            }
            let (size, _) = repo.odb()?.read_header(entry.id())?;
            if size > FILE_MAX {
                return Err(git2::Error::from_str(&format!("{path} has {size} bytes, too many to be read")));
            }
            Ok(Some(repo.find_blob(entry.id())?.content().to_vec()))
        })
        .await
    }

    /// What there is to say of a commit.
    pub async fn commit_info(&self, repo: &RepoId, commit: Sha) -> Result<CommitInfo, GitError> {
        self.read(repo, move |repo| info(&repo.find_commit(oid(&commit))?)).await
    }

    /// The id of a commit's tree: equal trees hold equal files.
    pub async fn tree_id(&self, repo: &RepoId, commit: Sha) -> Result<Sha, GitError> {
        self.read(repo, move |repo| tree_of(repo, &commit)).await
    }

    /// What merging one commit into another would come to. Nothing of it is kept.
    pub async fn merging(&self, repo: &RepoId, into: Sha, from: Sha) -> Result<Merging, GitError> {
        self.read(repo, move |repo| {
            // What a merge writes goes nowhere.
            let odb = repo.odb()?;
            let _nowhere = odb.add_new_mempack_backend(1000)?;
            let (into, from) = (repo.find_commit(oid(&into))?, repo.find_commit(oid(&from))?);
            let index = repo.merge_commits(&into, &from, None)?;
            if index.has_conflicts() {
                return Ok(Merging::Conflict);
            }
            let changes = repo.diff_tree_to_index(Some(&into.tree()?), Some(&index), None)?;
            Ok(if changes.deltas().len() == 0 { Merging::Nothing } else { Merging::Clean })
        })
        .await
    }

    /// Reads on a blocking thread. Damage that comes to light is noted for the next fetch.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        repo: &RepoId,
        work: impl FnOnce(&Repository) -> Result<T, git2::Error> + Send + 'static,
    ) -> Result<T, GitError> {
        let (mirrors, id, dir) = (self.clone(), repo.clone(), self.path(repo));
        let reading = move || {
            if !dir.exists() {
                return Err(GitError::NoMirror { repo: id.to_string() });
            }
            let opened = open(&dir)?;
            let done = work(&opened).map_err(|e| match (e.class(), e.code()) {
                // A commit that was never here, or one that is gone with its pack?
                (ErrorClass::Odb | ErrorClass::Object, ErrorCode::NotFound) => match check(&dir) {
                    Ok(()) => GitError::NoCommit { repo: id.to_string(), wanted: e.message().to_owned() },
                    Err(words) => GitError::Mirror { path: dir.clone(), words },
                },
                (ErrorClass::Odb | ErrorClass::Object | ErrorClass::Zlib | ErrorClass::Reference, _) => {
                    damaged(&dir, &e)
                }
                _ => GitError::Other { what: format!("reading {id}"), words: e.message().to_owned() },
            });
            if matches!(done, Err(GitError::Mirror { .. })) {
                mirrors.doubt(&id);
            }
            done
        };
        match tokio::task::spawn_blocking(reading).await {
            Ok(done) => done,
            Err(e) => Err(GitError::Other { what: format!("reading {repo}"), words: e.to_string() }),
        }
    }
}

/// An error if the mirror is damaged: then "not there" means nothing.
fn whole(repo: &Repository) -> Result<(), git2::Error> {
    check(repo.path()).map_err(|words| git2::Error::new(ErrorCode::GenericError, ErrorClass::Odb, words))
}

/// The branches and tags of a mirror.
pub(super) fn known_heads(repo: &Repository) -> Result<Heads, git2::Error> {
    let mut heads = Heads::default();
    let head = repo.find_reference("HEAD")?;
    let head = head.symbolic_target().ok().flatten().and_then(|name| name.strip_prefix("refs/heads/"));
    for (name, id) in super::mirror::refs(repo)? {
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            let Some((branch, at)) = Branch::new(branch).ok().zip(sha(id)) else { continue };
            heads.branches.insert(branch, at);
        } else if let Some(tag) = name.strip_prefix("refs/tags/") {
            let commit = absent(repo.find_object(id, None))?.map(|object| absent(object.peel(ObjectType::Commit)));
            let Some(at) = commit.transpose()?.flatten().and_then(|commit| sha(commit.id())) else { continue };
            heads.tags.insert(tag.to_owned(), at);
        }
    }
    heads.head_branch = head.and_then(|name| Branch::new(name).ok()).filter(|b| heads.branches.contains_key(b));
    Ok(heads)
}

/// Makes none of "not found" and its kin.
pub(super) fn absent<T>(result: Result<T, git2::Error>) -> Result<Option<T>, git2::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e)
            if matches!(
                e.code(),
                ErrorCode::NotFound | ErrorCode::Ambiguous | ErrorCode::InvalidSpec | ErrorCode::Peel
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Whether `old` is `new` or one of its ancestors, as far as `repo` knows both.
pub(super) fn descends(repo: &Repository, new: Oid, old: Oid) -> Result<bool, git2::Error> {
    let both = absent(repo.find_commit(new))?.is_some() && absent(repo.find_commit(old))?.is_some();
    Ok(both && (new == old || repo.graph_descendant_of(new, old)?))
}

/// The id of a commit's tree.
pub(super) fn tree_of(repo: &Repository, commit: &Sha) -> Result<Sha, git2::Error> {
    let id = repo.find_commit(oid(commit))?.tree_id();
    sha(id).ok_or_else(|| git2::Error::from_str("the tree's id is zero"))
}

fn info(commit: &git2::Commit<'_>) -> Result<CommitInfo, git2::Error> {
    let author = commit.author();
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let subject = commit.summary_bytes().map(lossy).unwrap_or_default();
    Ok(CommitInfo {
        sha: sha(commit.id()).ok_or_else(|| git2::Error::from_str("the commit's id is zero"))?,
        parents: commit.parent_ids().filter_map(sha).collect(),
        subject,
        author: lossy(author.name_bytes()),
        email: lossy(author.email_bytes()),
        time: Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

/// Whether a tree entry's mode is a plain file's. 0o100664 stands in old trees.
pub(super) fn is_file(mode: i32) -> bool {
    [FileMode::Blob, FileMode::BlobExecutable, FileMode::BlobGroupWritable].map(i32::from).contains(&mode)
}
