//! Pull requests (GitLab: merge requests) as all hosts have them.

use serde::Deserialize;

use super::{Api, ApiCall, ApiError, Reply, gitea, github, gitlab};
use crate::config::ApiKind;
use crate::model::{Branch, Sha};

/// What is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The branch that it is of.
    pub head: Branch,
    /// The branch that it is for.
    pub base: Branch,
    /// Its title.
    pub title: String,
    /// Its text, in Markdown.
    pub body: String,
}

/// A pull request as its host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Its page.
    pub url: String,
    /// Where it is in its life.
    pub state: Life,
    /// The commit that it offers.
    pub head: Option<Sha>,
}

/// Where a pull request is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It can be merged, or why not, in words.
    Open(Result<(), String>),
    /// It was merged; the commit that its branch got, where the host says that.
    Merged(Option<Sha>),
    /// It was closed and not merged.
    Closed,
}

/// What a commit's checks say, but for our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checks {
    /// There are none.
    None,
    /// One is under way.
    Waiting(String),
    /// All went well.
    Good,
    /// One did not.
    Bad(String),
}

/// Contexts of statuses that are ours begin so.
const OURS: &str = "airplanes/";

impl Checks {
    /// From the names of checks, and whether each went well: none as long as it is under way.
    fn of(checks: impl Iterator<Item = (String, Option<bool>)>) -> Self {
        let mut all = Checks::None;
        for (name, well) in checks.filter(|(name, _)| !name.starts_with(OURS)) {
            let name = plain(&name);
            all = match (well, all) {
                (Some(false), _) => return Checks::Bad(name),
                (None, _) => Checks::Waiting(name),
                (Some(true), Checks::None) => Checks::Good,
                (Some(true), all) => all,
            };
        }
        all
    }
}

impl Api<'_> {
    /// The newest pull requests of a branch.
    pub fn find(&self, head: &Branch, base: &Branch) -> ApiCall {
        match self.forge.kind {
            ApiKind::Github => github::find(self, head, base),
            ApiKind::Gitlab => gitlab::find(self, head, base),
            ApiKind::Gitea => gitea::find(self),
        }
    }
    /// Those that were found, newest first.
    pub fn found(&self, head: &Branch, reply: &Reply) -> Result<Vec<PullRequest>, ApiError> {
        match self.forge.kind {
            ApiKind::Github | ApiKind::Gitea => {
                let all: Vec<Pull> = self.read(reply)?;
                Ok(all.into_iter().filter(|pull| pull.head.name == head.as_str()).map(Pull::into).collect())
            }
            ApiKind::Gitlab => {
                let all: Vec<gitlab::MergeRequest> = self.read(reply)?;
                Ok(all.into_iter().map(gitlab::MergeRequest::into).collect())
            }
        }
    }

    /// Opens one.
    pub fn open(&self, proposal: &Proposal) -> ApiCall {
        match self.forge.kind {
            ApiKind::Github => github::open(self, proposal),
            ApiKind::Gitlab => gitlab::open(self, proposal),
            ApiKind::Gitea => gitea::open(self, proposal),
        }
    }
    /// One pull request as it is now.
    pub fn look(&self, number: u64) -> ApiCall {
        match self.forge.kind {
            ApiKind::Github => github::look(self, number),
            ApiKind::Gitlab => gitlab::look(self, number),
            ApiKind::Gitea => gitea::look(self, number),
        }
    }
    /// The pull request that was opened or looked at.
    pub fn seen(&self, reply: &Reply) -> Result<PullRequest, ApiError> {
        match self.forge.kind {
            ApiKind::Github | ApiKind::Gitea => self.read::<Pull>(reply).map(Pull::into),
            ApiKind::Gitlab => self.read::<gitlab::MergeRequest>(reply).map(gitlab::MergeRequest::into),
        }
    }

    /// The calls that ask for a commit's checks.
    pub fn checks(&self, sha: Sha) -> Vec<ApiCall> {
        match self.forge.kind {
            ApiKind::Github => github::checks(self, sha),
            ApiKind::Gitlab => vec![gitlab::checks(self, sha)],
            ApiKind::Gitea => vec![gitea::checks(self, sha)],
        }
    }
    /// What the answers to all of them say.
    pub fn checked(&self, replies: &[Reply]) -> Result<Checks, ApiError> {
        let mut all = Vec::new();
        for reply in replies {
            match self.forge.kind {
                ApiKind::Github => all.extend(self.read::<github::Checked>(reply)?.into_checks()),
                ApiKind::Gitlab => {
                    all.extend(self.read::<Vec<gitlab::CommitStatus>>(reply)?.into_iter().map(Into::into));
                }
                ApiKind::Gitea => all.extend(self.read::<gitea::Combined>(reply)?.into_checks()),
            }
        }
        Ok(Checks::of(all.into_iter()))
    }

    /// Merges one, if its head is still that commit.
    pub fn merge(&self, number: u64, sha: Sha) -> ApiCall {
        match self.forge.kind {
            ApiKind::Github => github::merge(self, number, sha),
            ApiKind::Gitlab => gitlab::merge(self, number, sha),
            ApiKind::Gitea => gitea::merge(self, number, sha),
        }
    }
    /// Whether it was merged; else why it could not be yet, in words.
    pub fn merged(&self, reply: &Reply) -> Result<Result<(), String>, ApiError> {
        match reply.status {
            // Not mergeable now (GitLab also: not yet looked at), or its head has moved.
            405 | 406 | 409 | 422 => {
                Ok(Err(format!("{} refused to merge it with {}{}", self.host, reply.status, self.said(reply))))
            }
            _ => self.good(reply).map(|_| Ok(())),
        }
    }

    /// The call that closes one, and the one that says a last word.
    pub fn close(&self, number: u64, comment: &str) -> [ApiCall; 2] {
        match self.forge.kind {
            ApiKind::Github => github::close(self, number, comment),
            ApiKind::Gitlab => gitlab::close(self, number, comment),
            ApiKind::Gitea => gitea::close(self, number, comment),
        }
    }
}

/// A host's words as they may be stored and shown.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

/// As GitHub and Gitea have it.
#[derive(Debug, Deserialize)]
struct Pull {
    number: u64,
    html_url: String,
    state: String,
    /// Not in lists of GitHub.
    #[serde(default)]
    merged: Option<bool>,
    #[serde(default)]
    merged_at: Option<String>,
    #[serde(default)]
    merge_commit_sha: Option<Sha>,
    #[serde(default)]
    mergeable: Option<bool>,
    /// GitHub's.
    #[serde(default)]
    mergeable_state: Option<String>,
    #[serde(default)]
    draft: bool,
    head: Head,
}

#[derive(Debug, Deserialize)]
struct Head {
    #[serde(rename = "ref")]
    name: String,
    sha: Sha,
}

impl From<Pull> for PullRequest {
    fn from(pull: Pull) -> Self {
        let ready = match (pull.mergeable, pull.mergeable_state.as_deref()) {
            _ if pull.draft => Err("it is a draft".to_owned()),
            (Some(false), _) => Err("it can't be merged as it is: does it conflict with its base?".to_owned()),
            (None, _) => Err("its host has not yet looked whether it can be merged".to_owned()),
            (Some(true), None | Some("clean" | "unstable" | "has_hooks")) => Ok(()),
            (Some(true), Some(state)) => Err(format!("its host says that it is {}", plain(state))),
        };
        let state = match pull.state.as_str() {
            _ if pull.merged == Some(true) || pull.merged_at.is_some() => Life::Merged(pull.merge_commit_sha),
            "open" => Life::Open(ready),
            _ => Life::Closed,
        };
        PullRequest { number: pull.number, url: plain(&pull.html_url), state, head: Some(pull.head.sha) }
    }
}
