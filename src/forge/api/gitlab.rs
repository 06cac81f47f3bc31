//! GitLab's REST API, version 4.

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::requests::plain;
use super::{Api, ApiCall, Check, CheckPage, Life, Mark, NotYet, Proposal, PullRequest, Reply, Status, encoded};
use crate::model::{Branch, Sha};

fn call(api: &Api<'_>, method: Method, rest: &str, body: Option<Value>) -> ApiCall {
    let path = format!("/projects/{}{rest}", encoded(api.path));
    api.call(method, &path, ("private-token", ""), &[("accept", "application/json")], body)
}

pub(super) fn project(api: &Api<'_>) -> ApiCall {
    call(api, Method::GET, "", None)
}

pub(super) fn status(api: &Api<'_>, status: &Status) -> ApiCall {
    let state = match status.mark {
        Mark::Pending => "pending",
        Mark::Running => "running",
        Mark::Success => "success",
        Mark::Failure => "failed",
        Mark::Error => "canceled",
    };
    let mut body = json!({ "state": state, "name": status.context, "description": status.description });
    if let Some(url) = &status.url {
        body["target_url"] = json!(url);
    }
    call(api, Method::POST, &format!("/statuses/{}", status.sha), Some(body))
}

/// A status that is there already is refused as a transition to itself.
pub(super) fn is_status_already(reply: &Reply) -> bool {
    reply.status == 400 && String::from_utf8_lossy(&reply.body).contains("Cannot transition status")
}

pub(super) fn find(api: &Api<'_>, head: &Branch, base: &Branch) -> ApiCall {
    let (head, base) = (encoded(head.as_str()), encoded(base.as_str()));
    call(api, Method::GET, &format!("/merge_requests?state=all&source_branch={head}&target_branch={base}"), None)
}

pub(super) fn open(api: &Api<'_>, proposal: &Proposal) -> ApiCall {
    let Proposal { head, base, title, body } = proposal;
    let body = json!({ "source_branch": head, "target_branch": base, "title": title, "description": body });
    call(api, Method::POST, "/merge_requests", Some(body))
}

pub(super) fn look(api: &Api<'_>, number: u64) -> ApiCall {
    call(api, Method::GET, &format!("/merge_requests/{number}"), None)
}

/// How many a page has.
const PAGE: usize = 100;

/// Jobs of its pipelines are among them.
pub(super) fn checks(api: &Api<'_>, sha: Sha, page: usize) -> ApiCall {
    call(api, Method::GET, &format!("/repository/commits/{sha}/statuses?per_page={PAGE}&page={page}"), None)
}

#[derive(Debug, Deserialize)]
pub(super) struct CommitStatus {
    name: String,
    status: String,
    #[serde(default)]
    allow_failure: bool,
}

pub(super) fn check_page(statuses: Vec<CommitStatus>) -> CheckPage {
    let more = statuses.len() >= PAGE;
    let check = |status: CommitStatus| {
        let well = match status.status.as_str() {
            "success" | "skipped" | "manual" => Some(true),
            "failed" | "canceled" => Some(status.allow_failure),
            _ => None,
        };
        Check { name: plain(&status.name), well }
    };
    CheckPage { checks: statuses.into_iter().map(check).collect(), more }
}

/// What a project says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Project {
    #[serde(default)]
    only_allow_merge_if_pipeline_succeeds: Option<bool>,
}

impl Project {
    pub(super) fn demands_checks(&self) -> bool {
        self.only_allow_merge_if_pipeline_succeeds == Some(true)
    }
}

pub(super) fn merge(api: &Api<'_>, number: u64, sha: Sha) -> ApiCall {
    call(api, Method::PUT, &format!("/merge_requests/{number}/merge"), Some(json!({ "sha": sha })))
}

pub(super) fn close(api: &Api<'_>, number: u64, comment: &str) -> [ApiCall; 2] {
    let path = format!("/merge_requests/{number}");
    [
        call(api, Method::PUT, &path, Some(json!({ "state_event": "close" }))),
        call(api, Method::POST, &format!("{path}/notes"), Some(json!({ "body": comment }))),
    ]
}

#[derive(Debug, Deserialize)]
pub(super) struct MergeRequest {
    iid: u64,
    source_branch: String,
    target_branch: String,
    /// None where that project is gone.
    #[serde(default)]
    source_project_id: Option<u64>,
    target_project_id: u64,
    web_url: String,
    state: String,
    #[serde(default)]
    sha: Option<Sha>,
    #[serde(default)]
    merge_commit_sha: Option<Sha>,
    #[serde(default)]
    squash_commit_sha: Option<Sha>,
    #[serde(default)]
    detailed_merge_status: Option<String>,
}

impl MergeRequest {
    /// Whether it is of that branch of the project itself: a fork may have one of the same name.
    pub(super) fn is_of(&self, head: &Branch, base: &Branch) -> bool {
        self.source_branch == head.as_str()
            && self.target_branch == base.as_str()
            && self.source_project_id == Some(self.target_project_id)
    }
}

impl From<MergeRequest> for PullRequest {
    fn from(request: MergeRequest) -> Self {
        let because = |words: &str| Err(NotYet::Because(words.to_owned()));
        let ready = match request.detailed_merge_status.as_deref() {
            Some("mergeable") => Ok(()),
            Some("need_rebase") => Err(NotYet::Behind),
            Some(state) => because(&format!("its host says that it is {}", plain(state).replace('_', " "))),
            None => because("its host has not yet looked whether it can be merged"),
        };
        let state = match request.state.as_str() {
            // Merged by moving the branch, it has no commit but its own.
            "merged" => Life::Merged(request.merge_commit_sha.or(request.squash_commit_sha).or(request.sha)),
            "opened" => Life::Open(ready),
            // For the moment in which it is merged.
            "locked" => Life::Open(because("its host has locked it")),
            _ => Life::Closed,
        };
        PullRequest { number: request.iid, url: plain(&request.web_url), state, head: request.sha }
    }
}
