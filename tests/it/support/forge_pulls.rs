//! Pull requests as the stand-ins of git hosts have them. What is merged is really merged, in the bare repository.

use axum::http::Method;
use serde_json::{Value, json};

use super::forge_answers::{Answer, wrong};
use super::forge_api::{Call, ForgeApi, Kind};
use super::world::git;

/// How a pull request is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Merge,
    Squash,
    Rebase,
}

#[derive(Debug, Clone)]
pub struct Pull {
    pub repo: String,
    pub number: u64,
    pub head: String,
    pub base: String,
    pub title: String,
    pub body: String,
    /// `open`, `closed` or `merged`.
    pub state: &'static str,
    pub offers: String,
    pub merged: Option<(How, String)>,
    pub comments: Vec<String>,
    /// Whether its branch is one of a fork.
    pub of_fork: bool,
    /// How often it was looked at.
    looks: u32,
    /// Whether its base had left it behind then, where that matters.
    is_behind: bool,
}

/// A check of somebody else's.
#[derive(Debug, Clone)]
pub struct Check {
    pub sha: String,
    pub name: String,
    /// `pending`, `success` or `failure`.
    pub state: &'static str,
}

impl ForgeApi {
    /// A repository's pull requests, oldest first.
    pub fn pulls(&self, repo: &str) -> Vec<Pull> {
        let heard = self.heard();
        assert!(heard.wrong.is_empty(), "{:#?}", heard.wrong);
        heard.pulls.iter().filter(|pull| pull.repo == repo).cloned().collect()
    }
    /// A person pushes a commit to its branch.
    pub fn push_to(&self, number: u64) {
        let mut heard = self.heard();
        let pull = heard.pulls.iter_mut().find(|pull| pull.number == number).unwrap();
        let bare = self.repos.join(format!("{}.git", pull.repo));
        let tree = git(&bare, &["rev-parse", &format!("{}^{{tree}}", pull.offers)]);
        pull.offers = git(&bare, &["commit-tree", &tree, "-p", &pull.offers, "-m", "by a person"]);
        git(&bare, &["update-ref", &format!("refs/heads/{}", pull.head), &pull.offers]);
    }
    /// A person closes one.
    pub fn close(&self, number: u64) {
        self.heard().pulls.iter_mut().find(|pull| pull.number == number).unwrap().state = "closed";
    }
    /// Merges one in the bare repository; gives what its base is at then.
    pub fn merge(&self, number: u64, how: How) -> String {
        let pull = self.heard().pulls.iter().find(|pull| pull.number == number).unwrap().clone();
        assert_eq!(pull.state, "open");
        let bare = self.repos.join(format!("{}.git", pull.repo));
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        git(at, &["clone", "-q", bare.to_str().unwrap(), "."]);
        git(at, &["checkout", "-q", "-B", "here", &format!("origin/{}", pull.base)]);
        let theirs = format!("origin/{}", pull.head);
        let title = format!("Merge pull request #{number}");
        match how {
            How::Merge => drop(git(at, &["merge", "-q", "--no-ff", "-m", &title, &theirs])),
            How::Squash => {
                git(at, &["merge", "-q", "--squash", &theirs]);
                git(at, &["commit", "-q", "-m", &title]);
            }
            How::Rebase => {
                git(at, &["checkout", "-q", "-B", "here", &theirs]);
                git(at, &["rebase", "-q", "--no-ff", &format!("origin/{}", pull.base)]);
            }
        }
        git(at, &["push", "-q", "origin", &format!("HEAD:{}", pull.base)]);
        let sha = git(at, &["rev-parse", "HEAD"]);
        let mut heard = self.heard();
        let pull = heard.pulls.iter_mut().find(|pull| pull.number == number).unwrap();
        (pull.state, pull.merged) = ("merged", Some((how, sha.clone())));
        sha
    }
    /// A check of somebody else's is so now.
    pub fn check(&self, sha: &str, name: &str, state: &'static str) {
        let mut heard = self.heard();
        heard.checks.retain(|check| (check.sha.as_str(), check.name.as_str()) != (sha, name));
        heard.checks.push(Check { sha: sha.to_owned(), name: name.to_owned(), state });
    }
    /// These are all the checks of a commit.
    pub fn checks(&self, sha: &str, all: Vec<(String, &'static str)>) {
        let mut heard = self.heard();
        heard.checks.retain(|check| check.sha != sha);
        heard.checks.extend(all.into_iter().map(|(name, state)| Check { sha: sha.to_owned(), name, state }));
    }
    /// Every branch demands this check from now on; GitLab knows only that there has to be one.
    pub fn demand(&self, name: &str) {
        self.heard().demands.push(name.to_owned());
    }
    /// Only what stands on a branch's head may be merged into it from now on.
    pub fn be_strict(&self) {
        self.heard().strict = true;
    }
    /// Somebody offers a branch of the same name from a fork.
    pub fn open_from_fork(&self, repo: &str, head: &str, base: &str) {
        let mut heard = self.heard();
        let number = heard.pulls.len() as u64 + 11;
        heard.pulls.push(Pull {
            repo: repo.to_owned(),
            number,
            head: head.to_owned(),
            base: base.to_owned(),
            title: "mine".to_owned(),
            body: String::new(),
            state: "open",
            offers: "f".repeat(40),
            merged: None,
            comments: Vec::new(),
            of_fork: true,
            looks: 0,
            is_behind: false,
        });
    }
}

/// The answer to a call about pull requests or checks; none if it is about neither.
pub fn answer(api: &ForgeApi, call: &Call) -> Option<Answer> {
    let parts: Vec<&str> = call.rest.split('/').collect();
    let gitlab = api.kind == Kind::Gitlab;
    let number = |text: &str| text.parse::<u64>().ok();
    let list = if gitlab { "merge_requests" } else { "pulls" };
    Some(match (&call.method, parts.as_slice()) {
        (&Method::GET, [""]) => {
            let demands = gitlab && !api.heard().demands.is_empty();
            (200, json!({ "id": 1, "only_allow_merge_if_pipeline_succeeds": demands }))
        }
        (&Method::GET, ["branches", _] | ["rules", "branches", _]) if !gitlab => demands(api, parts[0]),
        (&Method::GET, [what]) if *what == list => found(api, call),
        (&Method::POST, [what]) if *what == list => opened(api, call),
        (&Method::GET, [what, n]) if *what == list => match number(n).and_then(|n| looked(api, call, n)) {
            Some(pull) => (200, wire(api.kind, &pull, true)),
            None => wrong(api, call, "no such pull request"),
        },
        (method, [what, n, "merge"]) if *what == list && *method == merging(api.kind) => merged(api, call, number(n)?),
        (&Method::PUT, ["merge_requests", n]) if gitlab => closed(api, call, number(n)?, ("state_event", "close")),
        (&Method::PATCH, ["pulls", n]) if !gitlab => closed(api, call, number(n)?, ("state", "closed")),
        (&Method::POST, ["merge_requests", n, "notes"]) if gitlab => commented(api, call, number(n)?),
        (&Method::POST, ["issues", n, "comments"]) if !gitlab => commented(api, call, number(n)?),
        (&Method::GET, ["repository", "commits", sha, "statuses"]) if gitlab => checks(api, call, sha, "statuses"),
        (&Method::GET, ["commits", sha, what @ ("status" | "check-runs")]) if !gitlab => checks(api, call, sha, what),
        _ => return None,
    })
}

fn merging(kind: Kind) -> Method {
    if kind == Kind::Gitea { Method::POST } else { Method::PUT }
}

fn keys_are(call: &Call, keys: &[&str]) -> bool {
    call.body.as_object().is_some_and(|body| body.len() == keys.len() && keys.iter().all(|key| body.contains_key(*key)))
}

fn found(api: &ForgeApi, call: &Call) -> Answer {
    let query = |key: &str| call.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    if query("state").as_deref() != Some("all") {
        return wrong(api, call, "only open ones would be found");
    }
    let (head, base) = match api.kind {
        // GitHub wants the owner before it, and ignores what has none.
        Kind::Github => match query("head").and_then(|head| head.strip_prefix("repos:").map(str::to_owned)) {
            Some(head) => (Some(head), query("base")),
            None => return wrong(api, call, "no OWNER:BRANCH"),
        },
        Kind::Gitlab => (query("source_branch"), query("target_branch")),
        Kind::Gitea => (None, None),
    };
    let fits = |pull: &&Pull| {
        pull.repo == call.repo
            && head.as_ref().is_none_or(|head| pull.head == *head)
            && base.as_ref().is_none_or(|base| pull.base == *base)
    };
    let heard = api.heard();
    let pulls: Vec<Value> = heard.pulls.iter().rev().filter(fits).map(|pull| wire(api.kind, pull, false)).collect();
    (200, Value::Array(pulls))
}

fn opened(api: &ForgeApi, call: &Call) -> Answer {
    let (keys, head, base, body): (&[&str], &str, &str, &str) = match api.kind {
        Kind::Gitlab => (
            &["source_branch", "target_branch", "title", "description"],
            "source_branch",
            "target_branch",
            "description",
        ),
        _ => (&["head", "base", "title", "body"], "head", "base", "body"),
    };
    let text = |key: &str| call.body[key].as_str().map(str::to_owned);
    let (Some(head), Some(base), Some(title), Some(body), true) =
        (text(head), text(base), text("title"), text(body), keys_are(call, keys))
    else {
        return wrong(api, call, "not these keys");
    };
    let bare = api.repos.join(format!("{}.git", call.repo));
    let offers = git(&bare, &["rev-parse", &format!("refs/heads/{head}")]);
    git(&bare, &["rev-parse", &format!("refs/heads/{base}")]);
    let mut heard = api.heard();
    let same = |pull: &&Pull| (&pull.repo, &pull.head, pull.state) == (&call.repo, &head, "open");
    if heard.pulls.iter().filter(same).any(|pull| !pull.of_fork) {
        let status = if api.kind == Kind::Github { 422 } else { 409 };
        return (status, json!({ "message": "A pull request already exists" }));
    }
    let number = heard.pulls.len() as u64 + 11;
    let (repo, comments) = (call.repo.clone(), Vec::new());
    let (state, merged, of_fork, looks, is_behind) = ("open", None, false, 0, false);
    let pull =
        Pull { repo, number, head, base, title, body, state, offers, merged, comments, of_fork, looks, is_behind };
    heard.pulls.push(pull.clone());
    (201, wire(api.kind, &pull, true))
}

fn looked(api: &ForgeApi, call: &Call, number: u64) -> Option<Pull> {
    let mut heard = api.heard();
    let strict = heard.strict;
    let pull = heard.pulls.iter_mut().find(|pull| (&pull.repo, pull.number) == (&call.repo, number))?;
    pull.looks += 1;
    if strict && pull.state == "open" {
        let missing = format!("{}..refs/heads/{}", pull.offers, pull.base);
        let bare = api.repos.join(format!("{}.git", pull.repo));
        pull.is_behind = git(&bare, &["rev-list", "--count", &missing]) != "0";
    }
    Some(pull.clone())
}

fn merged(api: &ForgeApi, call: &Call, number: u64) -> Answer {
    let (keys, key): (&[&str], &str) = match api.kind {
        Kind::Gitea => (&["Do", "head_commit_id"], "head_commit_id"),
        _ => (&["sha"], "sha"),
    };
    let Some(pull) = looked(api, call, number) else { return wrong(api, call, "no such pull request") };
    if !keys_are(call, keys) || (api.kind == Kind::Gitea && call.body["Do"] != "merge") {
        return wrong(api, call, "not these keys");
    }
    if call.body[key] != pull.offers.as_str() {
        return (409, json!({ "message": "Head branch was modified" }));
    }
    if pull.state != "open" {
        return (405, json!({ "message": "Method not allowed" }));
    }
    if pull.is_behind {
        let said = match api.kind {
            Kind::Gitea => "not allowed to merge [reason: The head branch is behind the base branch]",
            Kind::Github => "Head branch is out of date. Review and try the merge again.",
            Kind::Gitlab => "405 Method Not Allowed",
        };
        return (405, json!({ "message": said }));
    }
    let sha = api.merge(number, How::Merge);
    (200, json!({ "merged": true, "sha": sha }))
}

fn closed(api: &ForgeApi, call: &Call, number: u64, (key, value): (&str, &str)) -> Answer {
    if !keys_are(call, &[key]) || call.body[key] != value {
        return wrong(api, call, "only closing is known here");
    }
    api.close(number);
    (200, json!({}))
}

fn commented(api: &ForgeApi, call: &Call, number: u64) -> Answer {
    let Some(text) = call.body["body"].as_str().filter(|_| keys_are(call, &["body"])) else {
        return wrong(api, call, "no body");
    };
    let mut heard = api.heard();
    heard.pulls.iter_mut().find(|pull| pull.number == number).unwrap().comments.push(text.to_owned());
    (201, json!({ "id": 1 }))
}

/// What branches demand. GitHub has half of it in rules.
fn demands(api: &ForgeApi, what: &str) -> Answer {
    let names = api.heard().demands.clone();
    let (own, of_rules) = names.split_at(names.len().min(1));
    let answer = match (api.kind, what) {
        (Kind::Gitea, "branches") => json!({
            "name": "main", "protected": !names.is_empty(), "enable_status_check": !names.is_empty(),
            "status_check_contexts": if names.is_empty() { Value::Null } else { json!(names) },
        }),
        (Kind::Github, "branches") => json!({
            "name": "main",
            "protection": { "enabled": !own.is_empty(), "required_status_checks": { "enforcement_level": "non_admins", "contexts": own } },
        }),
        _ if of_rules.is_empty() => json!([]),
        _ => {
            let checks: Vec<Value> = of_rules.iter().map(|name| json!({ "context": name })).collect();
            json!([
                { "type": "deletion", "ruleset_id": 1 },
                { "type": "required_status_checks", "parameters": { "required_status_checks": checks } },
            ])
        }
    };
    (200, answer)
}

/// Ours are among them, as everywhere. No page has more than that host gives.
fn checks(api: &ForgeApi, call: &Call, sha: &str, what: &str) -> Answer {
    let number = |key: &str| {
        let found = call.query.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.parse::<usize>().ok());
        found.filter(|n| *n > 0)
    };
    let size = number(if api.kind == Kind::Gitea { "limit" } else { "per_page" });
    let (Some(size), Some(page)) = (size, number("page")) else { return wrong(api, call, "no page") };
    let most = if api.kind == Kind::Gitea { 50 } else { 100 };
    let heard = api.heard();
    let theirs = heard.checks.iter().filter(|check| check.sha == sha);
    let ours = heard.told.iter().filter(|told| told.sha == sha);
    let ours: Vec<(String, String)> = ours.map(|told| (told.context.clone(), told.state.clone())).collect();
    let word = |state: &str| match state {
        "failure" if api.kind == Kind::Gitlab => "failed".to_owned(),
        state => state.to_owned(),
    };
    let status = |name: &str, state: &str| match api.kind {
        Kind::Github => json!({ "context": name, "state": state }),
        Kind::Gitea => json!({ "context": name, "status": state }),
        Kind::Gitlab => json!({ "name": name, "status": word(state), "allow_failure": false }),
    };
    let run = |check: &Check| match check.state {
        "pending" => json!({ "name": check.name, "status": "in_progress", "conclusion": null }),
        state => json!({ "name": check.name, "status": "completed", "conclusion": state }),
    };
    let all: Vec<Value> = match (api.kind, what) {
        (Kind::Github, "check-runs") => theirs.map(run).collect(),
        (Kind::Github, _) => ours.iter().map(|(name, state)| status(name, state)).collect(),
        _ => {
            let theirs = theirs.map(|check| status(&check.name, check.state));
            theirs.chain(ours.iter().map(|(name, state)| status(name, state))).collect()
        }
    };
    let count = all.len();
    let all: Vec<Value> = all.into_iter().skip((page - 1) * size.min(most)).take(size.min(most)).collect();
    let answer = match (api.kind, what) {
        (Kind::Github, "check-runs") => json!({ "total_count": count, "check_runs": all }),
        (Kind::Github, _) => json!({ "total_count": count, "state": "pending", "statuses": all }),
        (Kind::Gitea, _) => json!({ "state": "", "statuses": if all.is_empty() { Value::Null } else { json!(all) } }),
        (Kind::Gitlab, _) => json!(all),
    };
    (200, answer)
}

/// A pull request as that host shows it, in a list or by itself.
fn wire(kind: Kind, pull: &Pull, alone: bool) -> Value {
    // With what no terminal should be told.
    let url = format!("https://git.example.com/{}/pulls/{}\u{1b}", pull.repo, pull.number);
    let commit = pull.merged.as_ref().map(|(_, sha)| sha.clone());
    // A host looks whether it can be merged only once it was asked.
    let is_looked_at = pull.looks > 1;
    let (ours, theirs) = (7, if pull.of_fork { 8 } else { 7 });
    if kind == Kind::Gitlab {
        let squashed = pull.merged.as_ref().is_some_and(|(how, _)| *how == How::Squash);
        return json!({
            "id": 1000 + pull.number, "iid": pull.number, "web_url": url, "sha": pull.offers,
            "source_branch": pull.head, "target_branch": pull.base,
            "source_project_id": theirs, "target_project_id": ours,
            "state": if pull.state == "open" { "opened" } else { pull.state },
            "merge_commit_sha": if squashed { None } else { commit.clone() },
            "squash_commit_sha": if squashed { commit } else { None },
            "detailed_merge_status": match is_looked_at {
                true if pull.is_behind => "need_rebase",
                true => "mergeable",
                false => "checking",
            },
        });
    }
    let mut shown = json!({
        "id": 1000 + pull.number, "number": pull.number, "html_url": url, "title": pull.title, "body": pull.body,
        "state": if pull.state == "open" { "open" } else { "closed" },
        "merged_at": commit.as_ref().map(|_| "2026-11-22T20:00:00Z"), "merge_commit_sha": commit,
        "head": { "ref": pull.head, "sha": pull.offers, "repo": { "id": theirs } },
        "base": { "ref": pull.base, "repo": { "id": ours } },
    });
    if alone || kind == Kind::Gitea {
        shown["merged"] = json!(pull.state == "merged");
        shown["mergeable"] = match (is_looked_at, kind) {
            (false, Kind::Github) => Value::Null,
            (looked_at, _) => json!(looked_at),
        };
        shown["draft"] = json!(false);
    }
    if alone && kind == Kind::Github {
        shown["mergeable_state"] = json!(match is_looked_at {
            true if pull.is_behind => "behind",
            true => "clean",
            false => "unknown",
        });
    }
    shown
}
