//! GitHub's REST API, as of 2022-11-28.

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::alike::{proposal_body, status_body};
use super::requests::plain;
use super::{Api, ApiCall, Check, CheckPage, Proposal, Status, encoded};
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

pub(super) fn find(api: &Api<'_>, head: &Branch, base: &Branch) -> ApiCall {
    let owner = api.owner_and_name();
    let owner = owner.split('/').next().unwrap_or_default();
    let (head, base) = (encoded(head.as_str()), encoded(base.as_str()));
    call(api, Method::GET, &format!("/pulls?state=all&head={owner}:{head}&base={base}"), None)
}

pub(super) fn open(api: &Api<'_>, proposal: &Proposal) -> ApiCall {
    call(api, Method::POST, "/pulls", Some(proposal_body(proposal)))
}

pub(super) fn look(api: &Api<'_>, number: u64) -> ApiCall {
    call(api, Method::GET, &format!("/pulls/{number}"), None)
}

/// The two lists of a commit's checks.
pub(super) const CHECKS: [&str; 2] = ["status", "check-runs"];

pub(super) fn checks(api: &Api<'_>, list: usize, sha: Sha, page: usize) -> ApiCall {
    let what = CHECKS.get(list).copied().unwrap_or(CHECKS[0]);
    call(api, Method::GET, &format!("/commits/{sha}/{what}?per_page=100&page={page}"), None)
}

#[derive(Debug, Deserialize)]
pub(super) struct Checked {
    total_count: usize,
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
    pub(super) fn page(self, before: usize) -> CheckPage {
        let status = |status: CommitStatus| {
            let well = (status.state != "pending").then_some(status.state == "success");
            Check { name: plain(&status.context), well }
        };
        let run = |run: CheckRun| {
            let well = run.conclusion.map(|how| matches!(how.as_str(), "success" | "neutral" | "skipped"));
            Check { name: plain(&run.name), well }
        };
        let runs = self.check_runs.into_iter().map(run);
        let checks: Vec<Check> = self.statuses.into_iter().map(status).chain(runs).collect();
        let more = !checks.is_empty() && before + checks.len() < self.total_count;
        CheckPage { checks, more }
    }
}

/// Branches are protected in two ways: by themselves, and by rules for many.
pub(super) fn demanded(api: &Api<'_>, base: &Branch) -> Vec<ApiCall> {
    let base = encoded(base.as_str());
    let ask = |path: String| call(api, Method::GET, &path, None);
    vec![ask(format!("/branches/{base}")), ask(format!("/rules/branches/{base}?per_page=100"))]
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Protection {
    Rules(Vec<Rule>),
    Branch {
        #[serde(default)]
        protection: Option<OfBranch>,
    },
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct OfBranch {
    #[serde(default)]
    required_status_checks: Option<Required>,
}

#[derive(Debug, Default, Deserialize)]
struct Required {
    #[serde(default)]
    contexts: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    #[serde(default)]
    parameters: Option<Parameters>,
}

#[derive(Debug, Deserialize)]
struct Parameters {
    #[serde(default)]
    required_status_checks: Vec<RuleCheck>,
}

#[derive(Debug, Deserialize)]
struct RuleCheck {
    context: String,
}

impl Protection {
    pub(super) fn names(self) -> Vec<String> {
        let names: Vec<String> = match self {
            Protection::Branch { protection } => {
                protection.unwrap_or_default().required_status_checks.unwrap_or_default().contexts
            }
            Protection::Rules(rules) => {
                let parameters = rules.into_iter().filter_map(|rule| rule.parameters);
                parameters.flat_map(|p| p.required_status_checks).map(|check| check.context).collect()
            }
        };
        names.iter().map(|name| plain(name)).collect()
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
