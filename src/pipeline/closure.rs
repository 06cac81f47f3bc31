//! The git dependencies that a build will ask for, transitive ones too, brought into mirrors, so that its own git
//! needs no key and no network for them.

use std::collections::{BTreeMap, BTreeSet};

use super::Inner;
use super::steps::{StepError, Work, say};
use crate::deps::{self, Coord};
use crate::git::{Rev, WorkClone};
use crate::model::{RepoId, RepoUrl, Sha};
use crate::process::LogFile;

/// How many commits of dependencies are read at the most.
const MOST: usize = 2000;

impl Inner {
    /// The text of the build's git configuration. A dependency that can't be mirrored is told and left to the build's
    /// own git.
    pub(super) async fn build_git_config(
        &self,
        work: &Work,
        clone: &WorkClone,
        commit: Sha,
        log: &mut LogFile,
    ) -> Result<String, StepError> {
        let git = work.rooms().git.clone();
        let mut urls: BTreeMap<RepoId, BTreeSet<RepoUrl>> = BTreeMap::new();
        let mut failed: BTreeSet<RepoId> = BTreeSet::new();
        let mut seen: BTreeSet<(RepoId, Sha, String)> = BTreeSet::new();
        let mut queue: Vec<Coord> = Vec::new();
        for file in deps::FILES {
            if let Some(bytes) = clone.read_file(file).await.map_err(|e| work.git(e))? {
                queue.extend(coords(&bytes));
            }
        }
        while let Some(coord) = queue.pop() {
            let Some(url) = coord.repo_url() else { continue };
            let repo = url.id();
            if failed.contains(&repo) || seen.len() >= MOST {
                continue;
            }
            let rev = match coord.full_sha() {
                Some(sha) => Rev::Sha(sha),
                None => match coord.tag() {
                    Some(tag) => Rev::Tag(tag.to_owned()),
                    None => continue,
                },
            };
            let known_by = self.url_of(&repo).unwrap_or_else(|| url.clone());
            let mut found = git.resolve(&repo, rev.clone()).await.ok().flatten();
            if found.is_none() {
                match git.fetch(&known_by, &work.stop).await {
                    Ok(_) => found = git.resolve(&repo, rev).await.ok().flatten(),
                    Err(error) if work.stop.is_cancelled() => return Err(work.git(error)),
                    Err(error) => {
                        say(log, format!("note: not mirrored, so the build's own git has to reach it: {error}"))
                            .await?;
                        failed.insert(repo);
                        continue;
                    }
                }
            }
            let all = urls.entry(repo.clone()).or_default();
            all.insert(url);
            all.insert(known_by);
            let root = coord.deps_root().unwrap_or_default().trim_matches('/').to_owned();
            let Some(sha) = found else { continue };
            if seen.insert((repo.clone(), sha, root.clone())) {
                let path = if root.is_empty() { "deps.edn".to_owned() } else { format!("{root}/deps.edn") };
                if let Ok(Some(bytes)) = git.read_file(&repo, sha, &path).await {
                    queue.extend(coords(&bytes));
                }
            }
        }
        tracing::debug!(%commit, repositories = urls.len(), "dependencies are mirrored for the build");
        let repos: Vec<(RepoId, Vec<RepoUrl>)> =
            urls.into_iter().map(|(repo, urls)| (repo, urls.into_iter().collect())).collect();
        Ok(git.build_git_config(&repos))
    }
}

/// The coordinates in a file. One that can't be read has none: the build itself will say what is wrong with it.
fn coords(bytes: &[u8]) -> Vec<Coord> {
    let scanned = std::str::from_utf8(bytes).ok().and_then(|text| deps::scan(text).ok());
    scanned.map(|file| file.live().map(|(_, coord)| coord.clone()).collect()).unwrap_or_default()
}
