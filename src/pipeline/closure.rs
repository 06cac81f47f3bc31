//! The git dependencies that a build will ask for, transitive ones too, brought into mirrors, so that its own git
//! needs no key and no network for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::Inner;
use super::steps::{StepError, Work, say, update};
use crate::deps;
use crate::git::{GitError, Mirrors, Rev};
use crate::model::{RepoId, RepoUrl, Sha};
use crate::process::LogFile;

/// How many commits of dependencies are read at the most.
const MOST: usize = 2000;

/// What a build's own git needs to be told, and what it will be asked for.
#[derive(Debug, Default)]
pub struct Closure {
    /// The text of its git configuration: dependencies are found in the mirrors.
    pub git_config: String,
    /// The mirrors that it leads to.
    pub mirrors: Vec<PathBuf>,
    /// The dependencies, as the files name them.
    pub wanted: Vec<Wanted>,
    /// Those that could not be mirrored and are left to the build's own git, and why.
    pub left: Vec<(RepoUrl, GitError)>,
}

/// A dependency that a build will fetch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Its url as the file has it.
    pub url: RepoUrl,
    /// The commit, or the tag that stands for it.
    pub rev: String,
}

impl Closure {
    /// Brings the dependencies that `files` (deps.edn, bb.edn) name into the mirrors, and theirs. `known_by` gives the
    /// url under which keys and tokens are set up for a repository. An error only if it was canceled.
    pub async fn bring(
        git: &Mirrors,
        files: impl IntoIterator<Item = Vec<u8>>,
        known_by: impl Fn(&RepoId) -> Option<RepoUrl>,
        stop: &CancellationToken,
    ) -> Result<Self, GitError> {
        let mut urls: BTreeMap<RepoId, BTreeSet<RepoUrl>> = BTreeMap::new();
        let mut failed: BTreeSet<RepoId> = BTreeSet::new();
        let mut seen: BTreeSet<(RepoId, Sha, String)> = BTreeSet::new();
        let mut wanted: BTreeSet<Wanted> = BTreeSet::new();
        let mut left = Vec::new();
        let mut queue: Vec<Named> = files.into_iter().flat_map(|bytes| named(&bytes)).collect();
        while let Some(Named { url, rev, root }) = queue.pop() {
            let repo = url.id();
            if seen.len() >= MOST {
                continue;
            }
            wanted.insert(Wanted { url: url.clone(), rev: rev.0.clone() });
            let rev = rev.1;
            if failed.contains(&repo) {
                continue;
            }
            let known_by = known_by(&repo).unwrap_or_else(|| url.clone());
            let mut found = git.resolve(&repo, rev.clone()).await.ok().flatten();
            if found.is_some() {
                git.mark_used(&repo);
            }
            if found.is_none() {
                match git.fetch(&known_by, stop).await {
                    Ok(_) => found = git.resolve(&repo, rev).await.ok().flatten(),
                    Err(error) if stop.is_cancelled() => return Err(error),
                    Err(error) => {
                        left.push((known_by, error));
                        failed.insert(repo);
                        continue;
                    }
                }
            }
            let all = urls.entry(repo.clone()).or_default();
            all.insert(url);
            all.insert(known_by);
            let Some(sha) = found else { continue };
            if seen.insert((repo.clone(), sha, root.clone())) {
                let path = if root.is_empty() { "deps.edn".to_owned() } else { format!("{root}/deps.edn") };
                if let Ok(Some(bytes)) = git.read_file(&repo, sha, &path).await {
                    queue.extend(named(&bytes));
                }
            }
        }
        tracing::debug!(repositories = urls.len(), "dependencies are mirrored for the build");
        let repos: Vec<(RepoId, Vec<RepoUrl>)> =
            urls.into_iter().map(|(repo, urls)| (repo, urls.into_iter().collect())).collect();
        let mirrors = repos.iter().map(|(repo, _)| git.path(repo)).collect();
        let git_config = git.build_git_config(&repos);
        Ok(Self { git_config, mirrors, wanted: wanted.into_iter().collect(), left })
    }
}

impl Inner {
    /// What the job's build will ask for. A dependency that can't be mirrored is told and left to the build's own
    /// git.
    pub(super) async fn closure(&self, work: &Work, log: &mut LogFile) -> Result<Closure, StepError> {
        let git = work.rooms().git.clone();
        let files = update::built_files(work).await?;
        let texts: Vec<String> = files.into_iter().map(|file| file.text).collect();
        let files = texts.iter().map(|text| text.clone().into_bytes());
        let closure = Closure::bring(&git, files, |repo| self.url_of(repo), &work.stop).await;
        let closure = closure.map_err(|e| work.git(e))?;
        work.record_closure(&texts).await?;
        for (_, error) in &closure.left {
            say(log, format!("note: not mirrored, so the build's own git has to reach it: {error}")).await?;
        }
        Ok(closure)
    }
}

/// What a coordinate names: a commit or tag of a repository (in words, and as a mirror takes it), and the directory in
/// it whose deps.edn counts.
struct Named {
    url: RepoUrl,
    rev: (String, Rev),
    root: String,
}

/// What the coordinates in a file name. One that can't be read has none: the build itself will say what is wrong with
/// it.
fn named(bytes: &[u8]) -> Vec<Named> {
    let Some(file) = std::str::from_utf8(bytes).ok().and_then(|text| deps::scan(text).ok()) else { return Vec::new() };
    let named = |coord: &deps::Coord<'_>| {
        let sha = coord.full_sha().map(|sha| (sha.to_string(), Rev::Sha(sha)));
        let rev = sha.or_else(|| coord.tag().map(|tag| (tag.to_owned(), Rev::Tag(tag.to_owned()))))?;
        let root = coord.deps_root().unwrap_or_default().trim_matches('/').to_owned();
        Some(Named { url: coord.repo_url()?, rev, root })
    };
    file.live().filter_map(|(_, coord)| named(coord)).collect()
}
