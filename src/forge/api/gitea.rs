//! The API of Gitea and Forgejo, version 1.

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::github::{proposal_body, status_body};
use super::{Api, ApiCall, Proposal, Status};
use crate::model::Sha;

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

pub(super) fn checks(api: &Api<'_>, sha: Sha) -> ApiCall {
    call(api, Method::GET, &format!("/commits/{sha}/status?limit=100"), None)
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
    pub(super) fn into_checks(self) -> impl Iterator<Item = (String, Option<bool>)> {
        self.statuses.into_iter().flatten().map(|status| {
            let well = matches!(status.status.as_str(), "success" | "warning" | "skipped");
            (status.context, (status.status != "pending").then_some(well))
        })
    }
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
