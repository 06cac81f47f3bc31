//! The API of Gitea and Forgejo, version 1.

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::alike::{proposal_body, status_body};
use super::requests::plain;
use super::{Api, ApiCall, Check, CheckPage, Proposal, Reply, Status, encoded};
use crate::model::{Branch, Sha};

fn call(api: &Api<'_>, method: Method, rest: &str, body: Option<Value>) -> ApiCall {
    let path = format!("/repos/{}{rest}", api.owner_and_name());
    api.call(method, &path, ("authorization", "token "), &[("accept", "application/json")], body)
}

pub(super) fn project(api: &Api<'_>) -> ApiCall {
    call(api, Method::GET, "", None)
}

pub(super) fn status(api: &Api<'_>, status: &Status) -> ApiCall {
    call(api, Method::POST, &format!("/statuses/{}", status.sha), Some(status_body(status)))
}

/// There is no asking for one branch's that old versions know: ours is among the newest.
pub(super) fn find(api: &Api<'_>) -> ApiCall {
    call(api, Method::GET, "/pulls?state=all&sort=recentupdate&limit=50", None)
}

pub(super) fn open(api: &Api<'_>, proposal: &Proposal) -> ApiCall {
    call(api, Method::POST, "/pulls", Some(proposal_body(proposal)))
}

pub(super) fn look(api: &Api<'_>, number: u64) -> ApiCall {
    call(api, Method::GET, &format!("/pulls/{number}"), None)
}

/// The newest status of each context.
pub(super) fn checks(api: &Api<'_>, sha: Sha, page: usize) -> ApiCall {
    call(api, Method::GET, &format!("/commits/{sha}/status?limit=50&page={page}"), None)
}

#[derive(Debug, Deserialize)]
pub(super) struct Combined {
    statuses: Option<Vec<CommitStatus>>,
}

#[derive(Debug, Deserialize)]
struct CommitStatus {
    context: String,
    status: String,
}

impl Combined {
    pub(super) fn page(self) -> CheckPage {
        let check = |status: CommitStatus| {
            let well = matches!(status.status.as_str(), "success" | "warning" | "skipped");
            Check { name: plain(&status.context), well: (status.status != "pending").then_some(well) }
        };
        let checks: Vec<Check> = self.statuses.into_iter().flatten().map(check).collect();
        // How many a page has is for its server to say: one with none is the last.
        CheckPage { more: !checks.is_empty(), checks }
    }
}

pub(super) fn branch(api: &Api<'_>, base: &Branch) -> ApiCall {
    call(api, Method::GET, &format!("/branches/{}", encoded(base.as_str())), None)
}

#[derive(Debug, Deserialize)]
pub(super) struct Protection {
    #[serde(default)]
    enable_status_check: bool,
    #[serde(default)]
    status_check_contexts: Option<Vec<String>>,
}

impl Protection {
    pub(super) fn demands_checks(&self) -> bool {
        self.enable_status_check
    }
    pub(super) fn names(self) -> Vec<String> {
        let names = self.status_check_contexts.filter(|_| self.enable_status_check).unwrap_or_default();
        names.iter().map(|name| plain(name)).collect()
    }
}

/// Whether a merge was refused since the branch has moved on ("block merge if pull request is outdated"): the pull
/// request itself does not say so. In the words of Gitea's services/pull/merge.go, which Forgejo has kept.
pub(super) fn is_behind(reply: &Reply) -> bool {
    String::from_utf8_lossy(&reply.body).contains("head branch is behind the base branch")
}

pub(super) fn merge(api: &Api<'_>, number: u64, sha: Sha) -> ApiCall {
    let body = json!({ "Do": "merge", "head_commit_id": sha });
    call(api, Method::POST, &format!("/pulls/{number}/merge"), Some(body))
}

pub(super) fn close(api: &Api<'_>, number: u64, comment: &str) -> [ApiCall; 2] {
    [
        call(api, Method::PATCH, &format!("/pulls/{number}"), Some(json!({ "state": "closed" }))),
        call(api, Method::POST, &format!("/issues/{number}/comments"), Some(json!({ "body": comment }))),
    ]
}
