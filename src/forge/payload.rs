//! What the forges' payloads have in common: JSON, refs, and texts for people.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Parsed, Refused};
use crate::model::{Branch, Push, RepoId, RepoUrl, Sha, TagPush};

/// What a payload means, and for which repository.
pub(super) struct Meaning {
    pub repo: Option<RepoId>,
    pub parsed: Parsed,
}

impl Meaning {
    pub fn moved(urls: &[RepoUrl], pushes: Vec<Push>, tags: Vec<TagPush>) -> Self {
        Self { repo: urls.first().map(RepoUrl::id), parsed: Parsed::Moved { pushes, tags } }
    }
    pub fn ignored(urls: &[RepoUrl], reason: impl Into<String>) -> Self {
        Self { repo: urls.first().map(RepoUrl::id), parsed: Parsed::Ignored { reason: reason.into() } }
    }
}

/// A part of a payload that is read if it has the known shape, and passed over if not.
pub(super) struct Maybe<T>(Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Skipped first: a whole push is read in a third of the time that it takes to keep all parts for a second try.
        let text = <&RawValue>::deserialize(from)?.get();
        Ok(Self(serde_json::from_str(text).ok()))
    }
}

impl<T> Maybe<T> {
    pub fn known(self) -> Option<T> {
        self.0
    }
}

/// A commit as the payloads list it.
#[derive(Deserialize)]
pub(super) struct Commit {
    pub id: String,
    pub message: String,
}

/// The body as text.
pub(super) fn text(payload: &[u8]) -> Result<&str, Refused> {
    if payload.is_empty() {
        return Err(Refused::malformed("the body is empty where a JSON payload was expected"));
    }
    std::str::from_utf8(payload)
        .map_err(|e| Refused::malformed(format!("the payload is not UTF-8 from byte {} on", e.valid_up_to())))
}

/// Reads JSON. `what` names the payload: `github push`.
pub(super) fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Refused> {
    serde_json::from_str(text).map_err(|e| {
        let shown = clean(&e.to_string(), 300);
        Refused::malformed(format!("the {what} payload can't be read: {shown}"))
    })
}

/// What a ref that moved means.
pub(super) enum Ref {
    Branch {
        branch: Branch,
        before: Option<Sha>,
        after: Sha,
    },
    /// What it leads to is its own object where it has one.
    Tag {
        tag: String,
        after: Sha,
    },
    Ignored {
        reason: String,
    },
}

/// Judges `ref`, `before` and `after` as GitHub, GitLab and Gitea give them: full names, a zero sha for none.
pub(super) fn moved(name: &str, before: Option<&str>, after: &str) -> Result<Ref, Refused> {
    if let Some(name) = name.strip_prefix("refs/tags/") {
        return tag(name, sha(after)?);
    }
    let Some(branch) = name.strip_prefix("refs/heads/") else {
        if !name.starts_with("refs/") {
            return Err(Refused::malformed(format!("`{}` is not a full ref: refs/heads/…", clean(name, 200))));
        }
        return Ok(Ref::Ignored { reason: format!("{} is not a branch", clean(name, 200)) });
    };
    let branch = Branch::new(branch).map_err(|e| Refused::malformed(e.to_string()))?;
    match sha(after)? {
        None => Ok(Ref::Ignored { reason: format!("the branch {branch} was deleted") }),
        Some(after) => Ok(Ref::Branch { branch, before: before.map(sha).transpose()?.flatten(), after }),
    }
}

/// What a tag means that leads to `after` now.
pub(super) fn tag(name: &str, after: Option<Sha>) -> Result<Ref, Refused> {
    // The rules for names of refs are the same for both.
    let tag = Branch::new(name)
        .map_err(|_| Refused::malformed(format!("`{}` is not a valid name of a tag", clean(name, 200))))?
        .to_string();
    Ok(match after {
        Some(after) => Ref::Tag { tag, after },
        None => Ref::Ignored { reason: format!("the tag {tag} was deleted") },
    })
}

/// A sha, or none for the zero sha.
pub(super) fn sha(text: &str) -> Result<Option<Sha>, Refused> {
    if text.len() >= 40 && text.bytes().all(|b| b == b'0') {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|e: crate::model::InvalidName| Refused::malformed(e.to_string()))
}

/// The urls that are valid, each form once, in this order.
pub(super) fn urls<'a>(given: impl IntoIterator<Item = &'a Option<String>>) -> Vec<RepoUrl> {
    let mut urls: Vec<RepoUrl> = Vec::new();
    for url in given.into_iter().flatten().filter_map(|text| RepoUrl::new(text.as_str()).ok()) {
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// The urls of a push, of which there has to be one.
pub(super) fn some(urls: Vec<RepoUrl>) -> Result<Vec<RepoUrl>, Refused> {
    if urls.is_empty() {
        return Err(Refused::malformed("the payload gives no valid url for its repository"));
    }
    Ok(urls)
}

/// The subject of the commit `after`, if it is listed.
pub(super) fn subject_of(commits: impl IntoIterator<Item = Commit>, after: Sha) -> Option<String> {
    let after = after.to_string();
    commits.into_iter().find(|commit| commit.id == after).map(|commit| subject(&commit.message))
}

/// The first line of a commit message, for people.
pub(super) fn subject(message: &str) -> String {
    clean(message.trim_start().lines().next().unwrap_or_default(), 200)
}

/// Text of others made safe to show: no control characters, at most `max` characters.
pub(super) fn clean(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}
