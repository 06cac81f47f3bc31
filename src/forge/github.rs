//! GitHub and GitHub Enterprise. Signs the raw body, form posts too.

use std::borrow::Cow;

use serde::Deserialize;

use super::payload::{self, Commit, Maybe, Meaning, Ref};
use super::signature::Call;
use super::{Refused, form};
use crate::model::{Branch, ForgeSecrets, Push, RepoUrl, TagPush};

pub(super) const EVENT: [&str; 1] = ["X-GitHub-Event"];
pub(super) const DELIVERY: [&str; 1] = ["X-GitHub-Delivery"];
pub(super) const SIGNATURE: &str = "X-Hub-Signature-256";

pub(super) fn verify<'b>(call: Call<'_, 'b>, secrets: &ForgeSecrets) -> Result<Cow<'b, [u8]>, Refused> {
    call.check_hex(SIGNATURE, "sha256=", call.body, &secrets.secrets)?;
    if !form::is_form(call.headers) {
        return Ok(Cow::Borrowed(call.body));
    }
    form::payload(call.body)
        .map(Cow::Owned)
        .ok_or_else(|| Refused::malformed("the body is a form without the field `payload`"))
}

/// A repository as GitHub and Gitea describe it.
#[derive(Deserialize)]
pub(super) struct Repository {
    clone_url: Option<String>,
    ssh_url: Option<String>,
    git_url: Option<String>,
    html_url: Option<String>,
    default_branch: Option<String>,
}

impl Repository {
    pub fn urls(&self) -> Vec<RepoUrl> {
        payload::urls([&self.clone_url, &self.ssh_url, &self.git_url, &self.html_url])
    }
}

#[derive(Deserialize)]
struct Payload {
    r#ref: String,
    before: Option<String>,
    after: String,
    repository: Repository,
    #[serde(default)]
    pusher: Maybe<Person>,
    #[serde(default)]
    head_commit: Maybe<Commit>,
    #[serde(default)]
    commits: Maybe<Vec<Commit>>,
}

/// GitHub's pusher has `name`, Gitea's `login`, Gogs' `username`.
#[derive(Deserialize)]
struct Person {
    login: Option<String>,
    username: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Other {
    #[serde(default)]
    repository: Maybe<Repository>,
}

pub(super) fn parse(event: &str, text: &str) -> Result<Meaning, Refused> {
    match event {
        "push" => push("github push", text),
        "ping" => other("github ping", text, "a ping: the webhook reaches this daemon"),
        _ => other(&format!("github {event}"), text, &format!("the event is {event}; only push is acted on")),
    }
}

/// A push as GitHub and Gitea tell it.
pub(super) fn push(what: &str, text: &str) -> Result<Meaning, Refused> {
    let payload: Payload = payload::read(what, text)?;
    let urls = payload.repository.urls();
    let pusher = payload.pusher.known().and_then(|p| p.login.or(p.username).or(p.name));
    let pusher = pusher.map(|name| payload::clean(&name, 100));
    match payload::moved(&payload.r#ref, payload.before.as_deref(), &payload.after)? {
        Ref::Ignored { reason } => Ok(Meaning::ignored(&urls, reason)),
        Ref::Branch { branch, before, after } => {
            let commits = payload.head_commit.known().into_iter().chain(payload.commits.known().unwrap_or_default());
            let push = Push {
                urls: payload::some(urls.clone())?,
                branch,
                before,
                after,
                default_branch: payload.repository.default_branch.and_then(|b| Branch::new(b).ok()),
                pusher,
                subject: payload::subject_of(commits, after),
            };
            Ok(Meaning::moved(&urls, vec![push], Vec::new()))
        }
        Ref::Tag { tag, after } => {
            let commit = payload.head_commit.known().and_then(|commit| commit.id.parse().ok());
            let tag = TagPush { urls: payload::some(urls.clone())?, tag, after, commit, pusher };
            Ok(Meaning::moved(&urls, Vec::new(), vec![tag]))
        }
    }
}

/// Anything that is not a push: only its repository is of interest.
pub(super) fn other(what: &str, text: &str, reason: &str) -> Result<Meaning, Refused> {
    let payload: Other = payload::read(what, text)?;
    let urls = payload.repository.known().map(|repository| repository.urls()).unwrap_or_default();
    Ok(Meaning::ignored(&urls, reason))
}
