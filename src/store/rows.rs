//! The rows that only the store knows, and those that the planner asks it to keep.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::url::Transport;
use crate::model::{AppName, Branch, Event, EventId, Follows, JobId, Lib, RepoId, RepoUrl, Sha};

/// Where an event is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// On disk, and no more.
    Accepted,
    /// It has a plan, and some of its jobs have not ended.
    Planned,
    /// All that it set in motion has ended.
    Closed,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// The event.
    pub event: Event,
    /// Where it is.
    pub state: EventState,
    /// Once a job of its plan is no longer kept: whether all of them had ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well: Option<bool>,
}

/// The last that was accepted for a ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub after: Sha,
    /// None where it was there already when the ref was looked at for the first time.
    pub event: Option<EventId>,
}

/// When anything was last heard of a repository, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastSeen {
    /// When a webhook last told of a push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Timestamp>,
    /// When its branches were last listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Timestamp>,
    /// Whether it is known which tags it has.
    #[serde(default)]
    pub tags: bool,
    /// Its default branch, as the last listing found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Branch>,
}

/// A commit that a job of ours made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCommit {
    /// The job.
    pub job: JobId,
    /// What is left to know of the job when it is no longer kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Past>,
}

/// What its commit still says of a job that is no longer kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The job's app.
    pub app: AppName,
    /// The apps that were planned with it.
    pub apps: Vec<AppName>,
}

/// The last job of an app that ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    /// The job that built it.
    pub job: JobId,
    /// The commit that it left its app at.
    pub sha: Sha,
    /// When.
    pub at: Timestamp,
    /// The job that brought it there, if that is another. Rows of older daemons have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<JobId>,
    /// In an environment, the jobs that built and brought the commit that was there before: what a rollback goes back to,
    /// however much went to others since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<JobId>,
}

impl LastGood {
    /// The job that brought it there.
    pub fn brought_by(&self) -> JobId {
        self.by.unwrap_or(self.job)
    }
    /// Whether what is there, or the way back from it, can't be told without that job.
    pub fn needs(&self, job: JobId) -> bool {
        self.job == job || self.by == Some(job) || self.before.contains(&job)
    }
}

/// One git dependency of an app, as the planner needs it: one row for each coordinate that differs, since an alias may
/// have another sha.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DepRow {
    /// The library.
    pub lib: Lib,
    /// Its repository.
    pub repo: RepoId,
    /// The url that it is named by. Rows of older daemons have it only where it is ssh's.
    #[serde(default, alias = "ssh_url", skip_serializing_if = "Option::is_none")]
    pub url: Option<RepoUrl>,
    /// What moves it.
    #[serde(default)]
    pub follows: Follows,
    /// The commit that it stands at, where that is a full sha.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Sha>,
    /// The tag that it stands at, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Why nothing moves it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<String>,
    /// The folder of the repository that the library is in, where it says one that is not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

impl DepRow {
    /// The url that it is named by, where that is ssh's: then a key is needed.
    pub fn ssh_url(&self) -> Option<&RepoUrl> {
        self.url.as_ref().filter(|url| url.parts().transport == Transport::Ssh)
    }
}

/// What is known of an app's dependencies, from the deps.edn of the commit `sha`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppIndex {
    /// The app's repository; another one in deploy.edn makes this stale.
    pub repo: RepoId,
    /// The branch that was read.
    pub branch: Branch,
    /// The commit that was read.
    pub sha: Sha,
    /// Which of its files were, as the app's entry said then: its `:directory` and `:deps-files`.
    #[serde(default)]
    pub files: (Option<String>, Vec<String>),
    /// Its git dependencies, each once.
    pub deps: Vec<DepRow>,
}

impl AppIndex {
    /// The branch that a library's sha was seen on, and the sha.
    pub fn seen_on(&self, lib: &Lib, repo: &RepoId) -> Option<(&Branch, Option<Sha>)> {
        self.deps.iter().find_map(|dep| match &dep.follows {
            Follows::Seen(branch) if dep.lib == *lib && dep.repo == *repo => Some((branch, dep.at)),
            _ => None,
        })
    }
    /// The branch that this sha of a library was seen on.
    pub fn branch_of(&self, lib: &Lib, repo: &RepoId, at: Sha) -> Option<Branch> {
        let is_it = |dep: &&DepRow| (&dep.lib, &dep.repo, dep.at) == (lib, repo, Some(at));
        self.deps.iter().filter(is_it).find_map(|dep| match &dep.follows {
            Follows::Seen(branch) => Some(branch.clone()),
            _ => None,
        })
    }
}
