//! How an app follows its dependencies, and how what it makes of them leaves the daemon: the keys of deploy.edn beyond
//! `:update?`. All of it has a default, which is what an entry without these keys does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::{Branch, Lib};

/// How an app follows its dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Updates {
    /// `:track`: what a library's coordinate follows, where that is not what its sha is on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub track: BTreeMap<Lib, Track>,
    /// `:deps-files`: globs of the files that hold coordinates, below `directory`; none means deps.edn and bb.edn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deps_files: Vec<String>,
    /// `:directory`: the app's folder in its repository; none means the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// `:paths`: globs of what a push has to touch to concern the app; none means `directory`, or everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// `:publish`: how the commit gets onto the branch.
    pub publish: Publish,
    /// `:auto-merge?`: whether the daemon merges its own pull requests.
    pub auto_merge: bool,
    /// `:bisect?`: whether a build that fails with new dependencies looks for the commit that broke it.
    pub bisect: bool,
}

impl Updates {
    /// Whether the entry says nothing of all this.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a library's coordinate is told to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Track {
    /// That branch's head.
    Branch(Branch),
    /// The newest tag.
    Tags,
}

/// How a commit of ours gets onto the app's branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// By a push.
    #[default]
    Push,
    /// By a pull request on its forge.
    PullRequest,
}

/// What moves a coordinate of an app, as far as it was known when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Follows {
    /// Nobody has asked: any push may.
    #[default]
    Unknown,
    /// Pushes to that branch: the app's entry says so.
    Branch(Branch),
    /// Pushes to that branch, which its sha is on; or to the default one, which the branch may be merged into.
    Seen(Branch),
    /// New tags.
    Tags,
    /// Nothing: it is pinned in the file.
    Nothing,
}
