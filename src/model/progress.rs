//! How far the parts of a job are: its steps, its hosts, and what update made. The fold keeps them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bump::Bump;
use super::id::JobId;
use super::job::Step;
use super::names::{Branch, FileSum, HostName, Lib, Sha};
use super::url::RepoId;

/// Where a step or a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Its turn has not come.
    Pending,
    /// Under way.
    Running,
    /// Its effect is there.
    Done,
    /// It failed.
    Failed,
    /// A host that could not be reached.
    Unreachable,
    /// A host that is back at what it ran.
    RolledBack,
    /// There was nothing to do, or its turn never came.
    Skipped,
}

impl Progress {
    /// Done, or nothing to do.
    pub fn is_settled_well(self) -> bool {
        matches!(self, Progress::Done | Progress::Skipped)
    }
}

/// One step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    /// Which.
    pub step: Step,
    /// Where it is.
    pub state: Progress,
    /// How often it has been begun.
    pub attempt: u32,
    /// How often it ended in an error; interruptions do not count.
    pub errors: u32,
    /// When this attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What went wrong, or why it was skipped.
    pub error: Option<String>,
    /// A build's exit code.
    pub exit_code: Option<i32>,
}

/// One host of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Which.
    pub name: HostName,
    /// Where it is.
    pub state: Progress,
    /// What its working directory had when the job came.
    pub previous: Option<Sha>,
    /// And which file of it, where that is one of a build's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_sum: Option<FileSum>,
    /// The unit's InvocationID from before the restart, once one is about to be made.
    pub restarting: Option<Option<String>>,
    /// Whether `:prepare` has done well there; none if it has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<bool>,
    /// Whether the job replaced what the app runs by there: unit, sites, credentials. The host has what was there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub installed: bool,
    /// Whether the job changed anything on it.
    pub changed: bool,
    /// Whether it may not be as it was: its turn began, and is not known to have left it alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub touched: bool,
    /// Whether somebody else's lock kept the job from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    /// Set once it is on its way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
    /// What went wrong, or why it was skipped.
    pub error: Option<String>,
}

/// A host's way back to what it ran.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Back {
    /// Whether its restart on the way back is about to be made, or was.
    pub restarting: bool,
    /// The unit's InvocationID from before that; none if it had not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
}

/// A run of `:migrate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Where.
    pub host: HostName,
    /// Whether it did well; it may have run in part if not.
    pub done: bool,
}

/// Update's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// The commit to build; the base itself where there was nothing to bump.
    pub commit: Sha,
    /// Its tree.
    pub tree: String,
    /// Its time.
    pub time: Timestamp,
    /// What was changed.
    pub bumps: Vec<Bump>,
}

/// What the names of our pull requests' branches begin with: a plan's id follows.
pub const REQUESTS: &str = "airplanes/";

/// A pull request that carries the job's commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its number on the forge.
    pub number: u64,
    /// Its page.
    pub url: String,
    /// The branch that it is of.
    pub branch: Branch,
    /// The commit that the job has built; it offers that, or one with the same tree.
    pub commit: Sha,
    /// Set if it was opened by another app's job of the same repository, which made the same change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<JobId>,
}

/// What a search for the first bad commit has found: how far the job may move a dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowed {
    /// The library.
    pub lib: Lib,
    /// The sha (or tag) that it moves from.
    pub from: String,
    /// The last with which the build does not fail; `from` where there is none.
    pub good: String,
    /// The first with which it does.
    pub bad: String,
    /// Whose that is; none where it was not found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub culprit: Option<Culprit>,
}

/// The first bad commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Culprit {
    /// Its repository.
    pub repo: RepoId,
    /// It.
    pub sha: Sha,
    /// Its author.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
}

impl fmt::Display for Narrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| text.parse::<Sha>().map_or_else(|_| text.to_owned(), |sha| sha.short());
        write!(f, "{} {}", self.lib, short(&self.bad))?;
        if let Some(Culprit { sha, author, subject, .. }) = &self.culprit {
            // A tag is no commit's name.
            if self.bad.parse::<Sha>().is_err() {
                write!(f, " ({})", sha.short())?;
            }
            write!(f, " by {author}, \"{subject}\",")?;
        }
        let stays = if self.good == self.from { "stays at" } else { "moves to" };
        write!(f, " breaks the build, so it {stays} {}", short(&self.good))
    }
}
