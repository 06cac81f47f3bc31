//! A branch's own line of commits: what was pushed or merged to it, one after the other, from mirrors.

use super::error::GitError;
use super::mirror::Mirrors;
use super::read::descends;
use super::remote::{oid, sha};
use crate::model::{RepoId, Sha};

/// How many are looked at.
const MOST: usize = 10_000;

impl Mirrors {
    /// The commits that `to` has by way of first parents and that descend from `from`, oldest first: `to` is the last,
    /// and `from` is not among them.
    pub async fn first_parents(&self, repo: &RepoId, from: Sha, to: Sha) -> Result<Vec<Sha>, GitError> {
        self.read(repo, move |repo| {
            let mut line = Vec::new();
            let mut next = Some(repo.find_commit(oid(&to))?);
            let mut is_on_it = false;
            while let Some(commit) = next.take().filter(|_| line.len() < MOST) {
                if commit.id() == oid(&from) {
                    is_on_it = true;
                    break;
                }
                line.push(commit.id());
                next = commit.parents().next();
            }
            if !is_on_it {
                // Merged in: what came after the merge has it, and what came before has not.
                let (mut has, mut lacks) = (0, line.len());
                while has < lacks {
                    let middle = has + (lacks - has) / 2;
                    if descends(repo, line[middle], oid(&from))? { has = middle + 1 } else { lacks = middle }
                }
                line.truncate(has);
            }
            line.reverse();
            Ok(line.into_iter().filter_map(sha).collect())
        })
        .await
    }
}
