//! GitLab. A webhook there has a signing token (Standard Webhooks), a secret token that is sent as it is, or both.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::payload::{self, Commit, Maybe, Meaning, Ref};
use super::signature::{Call, white_space};
use super::{Refused, standard};
use crate::model::{Branch, ForgeSecrets, Push, RepoUrl, TagPush};

pub(super) const EVENT: [&str; 1] = ["X-Gitlab-Event"];
/// Never `X-Gitlab-Event-UUID`, which hooks that set off each other share.
pub(super) const DELIVERY: [&str; 2] = ["Idempotency-Key", "webhook-id"];
pub(super) const TOKEN: &str = "X-Gitlab-Token";

/// A call that carries a signature is judged by it if there is a signing token to do so, and a bad signature is not
/// made good by a token. (`webhook-id` and `webhook-timestamp` alone mean nothing: newer GitLabs always send them.)
pub(super) fn verify<'b>(call: Call<'_, 'b>, secrets: &ForgeSecrets, now: Timestamp) -> Result<Cow<'b, [u8]>, Refused> {
    let signed = call.headers.contains_key(standard::SIGNATURE);
    let has_token = call.headers.contains_key(TOKEN);
    if signed && (!secrets.signing_tokens.is_empty() || !has_token) {
        standard::verify(call, &secrets.signing_tokens, now)?;
    } else {
        token(call, secrets)?;
    }
    Ok(Cow::Borrowed(call.body))
}

fn token(call: Call<'_, '_>, secrets: &ForgeSecrets) -> Result<(), Refused> {
    if secrets.secrets.is_empty() && !secrets.signing_tokens.is_empty() {
        return Err(call.refuse(format!(
            "the header {} is missing, and config.edn has a :signing-token but no :secret; {}",
            standard::SIGNATURE,
            call.why_missing()
        )));
    }
    let usable = call.usable(":secret", &secrets.secrets)?;
    let Some(given) = call.headers.get(TOKEN).map(|value| value.as_bytes()) else {
        return Err(call.missing(TOKEN));
    };
    if given.is_empty() {
        return Err(call.refuse(format!(
            "the header {TOKEN} is empty; the webhook has no secret token on the gitlab side: set the same one there"
        )));
    }
    if usable.iter().any(|secret| secret.matches(given)) {
        return Ok(());
    }
    let trimmed = |s: &&&crate::model::Secret| subtle::ConstantTimeEq::ct_eq(s.expose().trim_ascii(), given).into();
    let is_signing = secrets.signing_tokens.iter().find(|token| token.matches(given));
    let cause = match usable.iter().find(trimmed) {
        Some(secret) => white_space(secret),
        None if let Some(token) = is_signing => format!(
            "it is {}, a signing token: on the gitlab side it belongs into the field \"Signing token\", and :secret into \
             \"Secret token\"",
            token.name()
        ),
        None => format!("the secret token on the gitlab side is another, and has {} bytes", given.len()),
    };
    Err(call.mismatch(TOKEN, None, &usable, &cause))
}

#[derive(Deserialize)]
struct Kind {
    object_kind: Option<String>,
    event_name: Option<String>,
    #[serde(default)]
    project: Maybe<Project>,
    #[serde(default)]
    repository: Maybe<Repository>,
}

#[derive(Deserialize)]
struct Payload {
    r#ref: String,
    before: Option<String>,
    after: String,
    checkout_sha: Option<String>,
    #[serde(default)]
    project: Maybe<Project>,
    #[serde(default)]
    repository: Maybe<Repository>,
    user_username: Option<String>,
    user_name: Option<String>,
    #[serde(default)]
    commits: Maybe<Vec<Commit>>,
}

#[derive(Deserialize)]
struct Project {
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
    web_url: Option<String>,
    default_branch: Option<String>,
}

/// What older GitLabs have instead of `project`.
#[derive(Deserialize)]
struct Repository {
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
    url: Option<String>,
    homepage: Option<String>,
}

fn urls(project: Option<&Project>, repository: Option<Repository>) -> Vec<RepoUrl> {
    let project = project.map(|p| [&p.git_http_url, &p.git_ssh_url, &p.web_url]);
    let repository = repository.as_ref().map(|r| [&r.git_http_url, &r.git_ssh_url, &r.url, &r.homepage]);
    payload::urls(project.into_iter().flatten().chain(repository.into_iter().flatten()))
}

pub(super) fn parse(event: &str, text: &str) -> Result<Meaning, Refused> {
    let payload: Kind = payload::read(&format!("gitlab {event}"), text)?;
    let told = payload.event_name.or(payload.object_kind).unwrap_or_default();
    // A system hook carries pushes too; the payload says which event it is.
    let kind = match event {
        "Push Hook" => "push",
        "Tag Push Hook" => "tag_push",
        "System Hook" => told.as_str(),
        _ => "",
    };
    if kind == "push" || kind == "tag_push" {
        return push(text);
    }
    let urls = urls(payload.project.known().as_ref(), payload.repository.known());
    let reason = match (event, kind) {
        ("System Hook", kind) => {
            format!("the event is System Hook {}; only push is acted on", payload::clean(kind, 100))
        }
        _ => format!("the event is {event}; only Push Hook and Tag Push Hook are acted on"),
    };
    Ok(Meaning::ignored(&urls, reason))
}

fn push(text: &str) -> Result<Meaning, Refused> {
    let payload: Payload = payload::read("gitlab push", text)?;
    let project = payload.project.known();
    let urls = urls(project.as_ref(), payload.repository.known());
    let pusher = payload.user_username.or(payload.user_name).map(|name| payload::clean(&name, 100));
    match payload::moved(&payload.r#ref, payload.before.as_deref(), &payload.after)? {
        Ref::Ignored { reason } => Ok(Meaning::ignored(&urls, reason)),
        Ref::Branch { branch, before, after } => {
            let push = Push {
                urls: payload::some(urls.clone())?,
                branch,
                before,
                after,
                default_branch: project.and_then(|p| p.default_branch).and_then(|b| Branch::new(b).ok()),
                pusher,
                subject: payload::subject_of(payload.commits.known().unwrap_or_default(), after),
            };
            Ok(Meaning::moved(&urls, vec![push], Vec::new()))
        }
        Ref::Tag { tag, after } => {
            let commit = payload.checkout_sha.and_then(|sha| sha.parse().ok());
            let tag = TagPush { urls: payload::some(urls.clone())?, tag, after, commit, pusher };
            Ok(Meaning::moved(&urls, Vec::new(), vec![tag]))
        }
    }
}
