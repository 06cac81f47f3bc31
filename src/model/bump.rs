//! One dependency's move from one commit to another, as a commit's trailers and a job's page tell it.

use serde::{Deserialize, Serialize};

use super::names::Lib;
use super::url::RepoId;

/// A bump of one git dependency in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bump {
    /// The library.
    pub lib: Lib,
    /// The file it stands in, from the repository's root.
    pub file: String,
    /// The library's repository.
    pub repo: RepoId,
    /// The sha (or tag) before, as it was written.
    pub from: String,
    /// The sha (or tag) now, as it is written.
    pub to: String,
    /// Where `from` and `to` are tags: the sha's digits beside them, as they were written and as they are. The commit is
    /// made again from this after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<(String, String)>,
}
