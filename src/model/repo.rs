//! What HTTP tells of repositories: who follows them, when anything was last heard of them, and what a look at their
//! remotes finds.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{EventId, JobId};
use super::names::{AppName, Branch, Lib, Sha};
use super::url::{RepoId, RepoUrl};

/// A page of repositories, by identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoList {
    /// The repositories.
    pub repos: Vec<RepoView>,
    /// Always none: the page has all of them.
    pub next: Option<String>,
}

/// A repository that apps live in or depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoView {
    /// The repository.
    pub repo: RepoId,
    /// The url that it is listed by; none where no file that was read so far has one.
    pub url: Option<RepoUrl>,
    /// The apps that live in it.
    pub apps: Vec<AppName>,
    /// The apps that depend on it.
    pub dependents: Vec<AppName>,
    /// How it was last heard of.
    pub last_seen: Option<LastSeenView>,
    /// When a webhook last told of a push.
    pub webhook_at: Option<Timestamp>,
    /// When its branches were last listed.
    pub poll_at: Option<Timestamp>,
    /// When they are listed next; none while `:poll` is false.
    pub next: Option<Timestamp>,
    /// Branches that apps follow and that its remote does not have.
    pub gone: Vec<Branch>,
    /// The apps that have not what is at the head of the branch they follow.
    #[serde(default)]
    pub behind: Vec<BehindView>,
    /// Why it could not be listed the last time, and since when.
    pub error: Option<RepoFault>,
}

/// How something was last heard of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeenView {
    /// `webhook` or `poll`.
    pub by: SeenBy,
    /// When.
    pub at: Timestamp,
}

impl LastSeenView {
    /// The later of the two.
    pub fn of(webhook: Option<Timestamp>, poll: Option<Timestamp>) -> Option<Self> {
        let webhook = webhook.map(|at| Self { by: SeenBy::Webhook, at });
        let poll = poll.map(|at| Self { by: SeenBy::Poll, at });
        webhook.into_iter().chain(poll).max_by_key(|seen| seen.at)
    }
}

/// Who told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeenBy {
    /// Its forge.
    Webhook,
    /// Our own listing.
    Poll,
}

impl SeenBy {
    /// Its word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Poll => "poll",
        }
    }
}

/// An app that has not what is at the head of the branch it follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BehindView {
    /// The app.
    pub app: AppName,
    /// Its library.
    pub lib: Lib,
    /// The library's repository.
    pub repo: RepoId,
    /// The branch that it follows there.
    pub branch: Branch,
    /// The commit that it names.
    pub at: Sha,
    /// The branch's head, as far as known.
    pub head: Sha,
    /// A job of the app that is under way.
    pub job: Option<JobId>,
    /// How it is taken, or what keeps it.
    pub todo: String,
}

/// `shop has acme/snow at 1234567, and main is at 89abcde: airplanes deploy shop`.
impl fmt::Display for BehindView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, lib, branch, at, head, todo, .. } = self;
        write!(f, "{app} has {lib} at {}, and {branch} is at {}: {todo}", at.short(), head.short())
    }
}

/// Why a remote could not be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoFault {
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub why: String,
}

/// What asking remotes found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncView {
    /// Whether nothing was made of it.
    pub dry_run: bool,
    /// How many remotes were asked.
    pub asked: usize,
    /// The branches that had moved and nobody had told of.
    pub moved: Vec<MovedView>,
    /// The tags that were new and nobody had told of, of repositories whose tags an app follows.
    #[serde(default)]
    pub tags: Vec<NewTagView>,
    /// The apps that have not what is at the head of the branch they follow, though nothing is under way that brings it:
    /// it was there before anybody listed it, or something keeps it.
    #[serde(default)]
    pub behind: Vec<BehindView>,
    /// The remotes that could not be asked.
    pub failed: Vec<UnaskedView>,
}

/// A branch that had moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedView {
    /// The repository.
    pub repo: RepoId,
    /// The branch.
    pub branch: Branch,
    /// Its last head that was known.
    pub was: Option<Sha>,
    /// Its head.
    pub now: Sha,
    /// The event that was made of it; none in a dry run, and where a webhook was faster.
    pub event: Option<EventId>,
    /// It was there before what was known last: nothing is made of it unless the next listing says so too.
    #[serde(default)]
    pub back: bool,
}

/// A tag that was new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTagView {
    /// The repository.
    pub repo: RepoId,
    /// The tag.
    pub tag: String,
    /// The commit that it leads to.
    pub now: Sha,
    /// The event that was made of it; none in a dry run, and where a webhook was faster.
    pub event: Option<EventId>,
}

/// A remote that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnaskedView {
    /// The repository.
    pub repo: RepoId,
    /// Why, in words.
    pub error: String,
}
