//! What is known of each app's dependencies, in as many rows as it needs: each says of which commit it is and how many
//! there are, so a reader between two of them knows, and reads again.

use serde::{Deserialize, Serialize};

use super::rows::{AppIndex, DepRow};
use super::tx::{Tx, decode, pieces};
use super::{Store, StoreError, keys};
use crate::model::{AppName, Branch, RepoId, Sha};

/// How often it is read again if it was being written.
const READS: usize = 10;

/// A part of an app's index, with some of the dependencies. Its fields are the index's own and not the index, flattened:
/// there are thousands of these, and that takes three times as long to read.
#[derive(Serialize, Deserialize)]
struct Part {
    /// How many there are; one of an earlier format is alone.
    #[serde(default = "alone")]
    parts: u16,
    repo: RepoId,
    branch: Branch,
    sha: Sha,
    #[serde(default)]
    files: (Option<String>, Vec<String>),
    deps: Vec<DepRow>,
}

fn alone() -> u16 {
    1
}

impl Store {
    /// What is known of an app's dependencies.
    pub fn index(&self, app: &AppName) -> Result<Option<AppIndex>, StoreError> {
        for _ in 0..READS {
            let table = self.table()?;
            let mut parts = Vec::new();
            for row in table.prefix(&keys::index(app)) {
                let (key, value) = row?;
                parts.push(decode::<Part>(&key, &value)?);
            }
            let Some(first) = parts.first() else { return Ok(None) };
            let same = |part: &Part| {
                part.parts as usize == parts.len()
                    && (&part.sha, &part.branch, &part.repo) == (&first.sha, &first.branch, &first.repo)
            };
            if parts.iter().all(same) {
                let mut parts = parts.into_iter();
                return Ok(parts.next().map(|Part { repo, branch, sha, files, mut deps, .. }| {
                    deps.extend(parts.flat_map(|part| part.deps));
                    AppIndex { repo, branch, sha, files, deps }
                }));
            }
        }
        let key = keys::index(app).escape_ascii().to_string();
        Err(StoreError::Row { key, why: "its parts are not of one commit".to_owned() })
    }
}

/// Writes an app's index in place of the one before.
pub(super) fn put(tx: &mut Tx, app: &AppName, index: AppIndex) -> Result<(), StoreError> {
    let before = tx.hint::<Part>(&keys::index_part(app, 0)).map_or(0, |part| part.parts);
    let AppIndex { repo, branch, sha, files, deps } = index;
    let pieces: Vec<&[DepRow]> = pieces(&deps);
    let parts = u16::try_from(pieces.len())
        .map_err(|_| StoreError::Row { key: app.to_string(), why: "an app of millions of dependencies".to_owned() })?;
    for (n, deps) in (0..).zip(pieces) {
        let (repo, branch, files, deps) = (repo.clone(), branch.clone(), files.clone(), deps.to_vec());
        tx.put(keys::index_part(app, n), &Part { parts, repo, branch, sha, files, deps })?;
    }
    (parts..before).for_each(|n| tx.delete(keys::index_part(app, n)));
    Ok(())
}
