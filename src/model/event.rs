//! What reaches the daemon from outside: a delivery (one webhook call) and the events it means.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{DeliveryId, EventId};
use super::names::{AppName, Branch, Sha};
use super::rollout::Carried;
use super::url::{RepoId, RepoUrl};

/// A git host that calls us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forge {
    /// github.com or GitHub Enterprise.
    Github,
    /// gitlab.com or self-hosted.
    Gitlab,
    /// Gitea, Forgejo and Gogs.
    Gitea,
    /// Bitbucket Cloud.
    Bitbucket,
}

impl Forge {
    /// All of them, in the order of the docs.
    pub const ALL: [Forge; 4] = [Forge::Github, Forge::Gitlab, Forge::Gitea, Forge::Bitbucket];

    /// Its word in urls, config and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Forge::Github => "github",
            Forge::Gitlab => "gitlab",
            Forge::Gitea => "gitea",
            Forge::Bitbucket => "bitbucket",
        }
    }

    /// What runs a git host, by its name; none if that does not tell.
    pub fn of_host(host: &str) -> Option<Forge> {
        let host = host.split(':').next().unwrap_or(host);
        match host {
            "bitbucket.org" => Some(Forge::Bitbucket),
            "codeberg.org" => Some(Forge::Gitea),
            _ if host.contains("github") => Some(Forge::Github),
            _ if host.contains("gitlab") => Some(Forge::Gitlab),
            _ if ["gitea", "forgejo", "gogs"].iter().any(|name| host.contains(name)) => Some(Forge::Gitea),
            _ => None,
        }
    }
}

/// A branch that moved, as a forge (or a poll) tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Every url the payload gives for the repository, each form once. Never empty.
    pub urls: Vec<RepoUrl>,
    /// The branch.
    pub branch: Branch,
    /// Its head before; none for a new branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Sha>,
    /// Its head now.
    pub after: Sha,
    /// The repository's default branch, where the payload tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<Branch>,
    /// Who pushed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pusher: Option<String>,
    /// The head commit's subject, for people; at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Push {
    /// The identities of its urls, each once.
    pub fn repos(&self) -> Vec<RepoId> {
        ids(&self.urls)
    }
}

impl TagPush {
    /// The identities of its urls, each once.
    pub fn repos(&self) -> Vec<RepoId> {
        ids(&self.urls)
    }
}

fn ids(urls: &[RepoUrl]) -> Vec<RepoId> {
    let mut ids: Vec<RepoId> = urls.iter().map(RepoUrl::id).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// A tag that is new, as a forge (or a poll) tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagPush {
    /// Every url the payload gives for the repository, each form once. Never empty.
    pub urls: Vec<RepoUrl>,
    /// Its name, without `refs/tags/`.
    pub tag: String,
    /// What it points to as told: the commit or, from some forges, the tag's own object. The mirror knows better.
    pub after: Sha,
    /// The commit that it leads to, where `after` is the tag's own object and the forge tells more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Sha>,
    /// Who pushed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pusher: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventKind {
    /// A branch moved.
    Push(Push),
    /// A tag is new.
    Tag(TagPush),
    /// A person asked for an app to be deployed as its branch stands.
    Deploy {
        /// The app.
        app: AppName,
        /// Who asked, for people.
        by: String,
        /// Whether it makes up for a hold: then it comes after what is under way of the apps that it follows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        makes_up: bool,
    },
    /// Hosts of an app get a commit that was built before.
    Rollout {
        /// The app.
        app: AppName,
        /// Which, and why.
        carried: Carried,
    },
}

impl Event {
    /// A push that nobody has made, to see what it would set in motion.
    pub fn pretended(push: Push) -> Self {
        let (at, what) = (Timestamp::UNIX_EPOCH, EventKind::Push(push));
        Self { id: EventId(0), at, delivery: None, again: None, what }
    }
}

impl EventKind {
    /// Whether it is about one app alone, and nothing moved that others depend on.
    pub fn is_asked(&self) -> bool {
        matches!(self, EventKind::Deploy { .. } | EventKind::Rollout { .. })
    }
    /// Every url of the repository in which something moved.
    pub fn urls(&self) -> &[RepoUrl] {
        match self {
            EventKind::Push(push) => &push.urls,
            EventKind::Tag(tag) => &tag.urls,
            EventKind::Deploy { .. } | EventKind::Rollout { .. } => &[],
        }
    }
    /// The identities of its urls, each once.
    pub fn repos(&self) -> Vec<RepoId> {
        ids(self.urls())
    }
}

/// An accepted event. Its life is accepted, planned, closed; the store keeps which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Sorts by time.
    pub id: EventId,
    /// When it was accepted.
    pub at: Timestamp,
    /// The delivery it came with, if a webhook brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryId>,
    /// An earlier event of the same push that did not end well: only apps that it left unwell run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<EventId>,
    /// What happened.
    pub what: EventKind,
}

/// One webhook call that was authentic, and what it meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Sorts by time.
    pub id: DeliveryId,
    /// When it came.
    pub at: Timestamp,
    /// Who called.
    pub forge: Forge,
    /// The forge's own id for the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge_id: Option<String>,
    /// The forge's word for the event: `push`, `Tag Push Hook`.
    pub event: String,
    /// The repository, if the payload names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoId>,
    /// What was answered.
    pub answer: Answer,
}

/// What a delivery was answered, and so what became of it at the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Answer {
    /// 202: these events were made of it, one for each branch that moved.
    Accepted {
        /// The events, in the payload's order.
        events: Vec<EventId>,
    },
    /// 200: nothing for this daemon.
    Ignored {
        /// Why, in words.
        reason: String,
    },
    /// 200: the event is known.
    Duplicate {
        /// The event it repeats.
        of: EventId,
        /// Why it counts as the same, in words.
        reason: String,
    },
}
