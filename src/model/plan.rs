//! What an event sets in motion. A plan never changes: it is stored as it was made, with each app's entry of that
//! moment inside the jobs that it makes or joins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::app::App;
use super::id::{JobId, PlanId};
use super::names::{AppName, Branch, Sha};
use super::rollout::Carried;
use super::url::RepoId;

/// What the names begin with in which the daemon does by itself what a person may do too.
pub const BY_ITSELF: &str = "the daemon";

/// Why an app is in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    /// Its own branch moved to this commit.
    OwnPush {
        /// The branch's head before, if it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Sha>,
        /// The head that was pushed.
        after: Sha,
    },
    /// Something it depends on moved, directly or through another app of the plan.
    Dependency,
    /// A person asked.
    Asked {
        /// Who.
        by: String,
    },
    /// Hosts are to get a commit that was built before: nothing else is done.
    Rollout(Carried),
}

/// A repository that moved, and where to: what its dependents are to be bumped to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The repository.
    pub repo: RepoId,
    /// The branch that moved.
    pub branch: Branch,
    /// Its head before the push, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Sha>,
    /// Its head.
    pub after: Sha,
}

/// A tag that is new in a repository: what coordinates that follow its tags may be bumped to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagTarget {
    /// The repository.
    pub repo: RepoId,
    /// The tag.
    pub tag: String,
    /// The commit that it was told to lead to; where it leads to in truth the mirror knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Sha>,
}

/// One app's place in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The app's entry as it was then.
    pub app: App,
    /// Why it runs.
    pub why: Why,
    /// 0 for those that wait for no other.
    pub wave: u16,
    /// Apps of this plan that it depends on directly; where it makes up for a hold, all of which it takes commits.
    pub after: Vec<AppName>,
    /// Repositories that moved and that it depends on directly, but for those in `after`.
    pub targets: Vec<Target>,
    /// Tags that are new and that it follows directly.
    pub tags: Vec<TagTarget>,
}

/// A plan before the store has given its jobs ids: what the planner makes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// The apps, each after those it depends on.
    pub apps: Vec<Planned>,
    /// What a person should know: cycles by name, apps that could not be read, why nothing is to be done.
    pub notes: Vec<String>,
    /// Apps that may be missing, since it could not be known what they depend on: those that the store has not noted yet.
    pub unread: Vec<AppName>,
    /// Whether others may be too, which it has.
    pub incomplete: bool,
    /// As `unread`, but for long already: each is run once it can be read, and the plan counts as whole without it.
    pub given_up: Vec<AppName>,
}

/// A stored plan's head; its rows are `PlanRow`s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHead {
    /// The id of the event that it answers.
    pub id: PlanId,
    /// When it was made.
    pub at: Timestamp,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How many rows it has.
    pub apps: u16,
    /// Whether apps may be missing: then a redelivery is no duplicate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// Set if it has no rows: a print of the apps there were. With other apps, a redelivery is no duplicate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nobody: Option<u64>,
}

/// One app of a stored plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRow {
    /// The app.
    pub app: AppName,
    /// Its wave.
    pub wave: u16,
    /// The job that was made for it, or that it joined.
    pub job: JobId,
}
