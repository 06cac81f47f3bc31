//! What GitHub's API and Gitea's have alike: the bodies of statuses and pull requests, and a pull request as they show it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::requests::plain;
use super::{Life, Mark, NotYet, Proposal, PullRequest, Status};
use crate::model::{Branch, Sha};

pub(super) fn status_body(status: &Status) -> Value {
    let state = match status.mark {
        Mark::Pending | Mark::Running => "pending",
        Mark::Success => "success",
        Mark::Failure => "failure",
        Mark::Error => "error",
    };
    let mut body = json!({ "state": state, "context": status.context, "description": status.description });
    if let Some(url) = &status.url {
        body["target_url"] = json!(url);
    }
    body
}

pub(super) fn proposal_body(proposal: &Proposal) -> Value {
    let Proposal { head, base, title, body } = proposal;
    json!({ "head": head, "base": base, "title": title, "body": body })
}

/// A pull request.
#[derive(Debug, Deserialize)]
pub(super) struct Pull {
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
    head: End,
    base: End,
}

/// What a pull request is of, and what it is for.
#[derive(Debug, Deserialize)]
struct End {
    #[serde(rename = "ref")]
    name: String,
    #[serde(default)]
    sha: Option<Sha>,
    /// None where that repository is gone.
    #[serde(default)]
    repo: Option<Repo>,
}

#[derive(Debug, Deserialize)]
struct Repo {
    id: u64,
}

impl Pull {
    /// Whether it is of that branch of the repository itself: a fork may have one of the same name.
    pub fn is_of(&self, head: &Branch, base: &Branch) -> bool {
        let id = |end: &End| end.repo.as_ref().map(|repo| repo.id);
        self.head.name == head.as_str()
            && self.base.name == base.as_str()
            && id(&self.head).is_some()
            && id(&self.head) == id(&self.base)
    }
}

impl From<Pull> for PullRequest {
    fn from(pull: Pull) -> Self {
        let because = |words: &str| Err(NotYet::Because(words.to_owned()));
        let ready = match (pull.mergeable, pull.mergeable_state.as_deref()) {
            _ if pull.draft => because("it is a draft"),
            (Some(false), _) => because("it can't be merged as it is: does it conflict with its base?"),
            (None, _) => because("its host has not yet looked whether it can be merged"),
            (Some(true), None | Some("clean" | "unstable" | "has_hooks")) => Ok(()),
            (Some(true), Some("behind")) => Err(NotYet::Behind),
            (Some(true), Some(state)) => because(&format!("its host says that it is {}", plain(state))),
        };
        let state = match pull.state.as_str() {
            _ if pull.merged == Some(true) || pull.merged_at.is_some() => Life::Merged(pull.merge_commit_sha),
            "open" => Life::Open(ready),
            _ => Life::Closed,
        };
        PullRequest { number: pull.number, url: plain(&pull.html_url), state, head: pull.head.sha }
    }
}
