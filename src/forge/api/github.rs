//! GitHub's REST API, as of 2022-11-28.

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, ApiCall, Mark, Proposal, Status, encoded};
use crate::model::{Branch, Sha};

const HEADERS: [(&str, &str); 2] = [("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")];

fn call(api: &Api<'_>, method: Method, rest: &str, body: Option<Value>) -> ApiCall {
    let path = format!("/repos/{}{rest}", api.owner_and_name());
    api.call(method, &path, ("authorization", "Bearer "), &HEADERS, body)
}

pub(super) fn project(api: &Api<'_>) -> ApiCall {
    call(api, Method::GET, "", None)
}

pub(super) fn status(api: &Api<'_>, status: &Status) -> ApiCall {
    call(api, Method::POST, &format!("/statuses/{}", status.sha), Some(status_body(status)))
}

/// Gitea takes the same.
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

pub(super) fn find(api: &Api<'_>, head: &Branch, base: &Branch) -> ApiCall {
    let owner = api.owner_and_name();
    let owner = owner.split('/').next().unwrap_or_default();
    let (head, base) = (encoded(head.as_str()), encoded(base.as_str()));
    call(api, Method::GET, &format!("/pulls?state=all&head={owner}:{head}&base={base}"), None)
}

/// Gitea takes the same.
pub(super) fn proposal_body(proposal: &Proposal) -> Value {
    let Proposal { head, base, title, body } = proposal;
    json!({ "head": head, "base": base, "title": title, "body": body })
}

pub(super) fn open(api: &Api<'_>, proposal: &Proposal) -> ApiCall {
    call(api, Method::POST, "/pulls", Some(proposal_body(proposal)))
}

pub(super) fn look(api: &Api<'_>, number: u64) -> ApiCall {
    call(api, Method::GET, &format!("/pulls/{number}"), None)
}

/// Statuses are one thing there, and check runs another.
pub(super) fn checks(api: &Api<'_>, sha: Sha) -> Vec<ApiCall> {
    let ask = |what: &str| call(api, Method::GET, &format!("/commits/{sha}/{what}?per_page=100"), None);
    vec![ask("status"), ask("check-runs")]
}

#[derive(Debug, Deserialize)]
pub(super) struct Checked {
    #[serde(default)]
    statuses: Vec<CommitStatus>,
    #[serde(default)]
    check_runs: Vec<CheckRun>,
}

#[derive(Debug, Deserialize)]
struct CommitStatus {
    context: String,
    state: String,
}

#[derive(Debug, Deserialize)]
struct CheckRun {
    name: String,
    conclusion: Option<String>,
}

impl Checked {
    pub(super) fn into_checks(self) -> impl Iterator<Item = (String, Option<bool>)> {
        let status = |status: CommitStatus| {
            let well = (status.state != "pending").then_some(status.state == "success");
            (status.context, well)
        };
        let run = |run: CheckRun| {
            let well = run.conclusion.map(|how| matches!(how.as_str(), "success" | "neutral" | "skipped"));
            (run.name, well)
        };
        self.statuses.into_iter().map(status).chain(self.check_runs.into_iter().map(run))
    }
}

pub(super) fn merge(api: &Api<'_>, number: u64, sha: Sha) -> ApiCall {
    call(api, Method::PUT, &format!("/pulls/{number}/merge"), Some(json!({ "sha": sha })))
}

pub(super) fn close(api: &Api<'_>, number: u64, comment: &str) -> [ApiCall; 2] {
    [
        call(api, Method::PATCH, &format!("/pulls/{number}"), Some(json!({ "state": "closed" }))),
        call(api, Method::POST, &format!("/issues/{number}/comments"), Some(json!({ "body": comment }))),
    ]
}
