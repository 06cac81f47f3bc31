//! Pull requests (GitLab: merge requests) as all hosts have them.

use super::alike::Pull;
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
    /// It can be merged, or why not.
    Open(Result<(), NotYet>),
    /// It was merged; the commit that its branch got, where the host says that.
    Merged(Option<Sha>),
    /// It was closed and not merged.
    Closed,
}

/// Why an open pull request can't be merged now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// Its branch has moved on, and may only be given what stands on its head. GitHub says "behind", where branches are
    /// to be up to date before merging; GitLab "need_rebase", where it merges by moving the branch or keeps its history
    /// straight; Gitea only refuses to merge it.
    #[error("its host merges only what stands on the branch's head")]
    Behind,
    /// Something else, in words.
    #[error("{0}")]
    Because(String),
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
    /// Those that were found, newest first. Those of forks are not ours, whatever their branch is called.
    pub fn found(&self, head: &Branch, base: &Branch, reply: &Reply) -> Result<Vec<PullRequest>, ApiError> {
        match self.forge.kind {
            ApiKind::Github | ApiKind::Gitea => {
                let all: Vec<Pull> = self.read(reply)?;
                Ok(all.into_iter().filter(|pull| pull.is_of(head, base)).map(Pull::into).collect())
            }
            ApiKind::Gitlab => {
                let all: Vec<gitlab::MergeRequest> = self.read(reply)?;
                Ok(all
                    .into_iter()
                    .filter(|request| request.is_of(head, base))
                    .map(gitlab::MergeRequest::into)
                    .collect())
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

    /// Merges one, if its head is still that commit.
    pub fn merge(&self, number: u64, sha: Sha) -> ApiCall {
        match self.forge.kind {
            ApiKind::Github => github::merge(self, number, sha),
            ApiKind::Gitlab => gitlab::merge(self, number, sha),
            ApiKind::Gitea => gitea::merge(self, number, sha),
        }
    }
    /// Whether it was merged; else why it could not be yet.
    pub fn merged(&self, reply: &Reply) -> Result<Result<(), NotYet>, ApiError> {
        match reply.status {
            405 if gitea::is_behind(reply) && self.forge.kind == ApiKind::Gitea => Ok(Err(NotYet::Behind)),
            // Not mergeable now (GitLab also: not yet looked at), or its head has moved.
            405 | 406 | 409 | 422 => {
                let words = format!("{} refused to merge it with {}{}", self.host, reply.status, self.said(reply));
                Ok(Err(NotYet::Because(words)))
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
