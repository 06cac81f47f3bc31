//! Webhooks: from a request's raw bytes and headers to what they mean. One file per git host. And what is asked of git
//! hosts: `api`.
//!
//! The signature is checked first, over the bytes as they came and in constant time; only then is anything parsed.
//! What the caller is told about a refusal and what the operator is told are two messages: the caller's gives away
//! nothing, the operator's says which header, which secret and the likely cause.
//!
//! Must never do I/O, read a clock (`now` is given), know which apps exist, or put a secret's bytes into a message.
//! The endpoint decides which forge is meant, never the headers: Gitea also sends GitHub's.

pub mod api;
mod bitbucket;
mod form;
mod gitea;
mod github;
mod gitlab;
pub mod pages;
mod payload;
mod sample;
mod signature;
mod standard;

use std::borrow::Cow;

use hyper::HeaderMap;
use jiff::Timestamp;

pub use crate::model::ForgeSecrets;
use crate::model::{Forge, Push, RepoId, TagPush};
pub use sample::{ping_headers, ping_payload, push_headers, push_payload, sign, sign_standard, tag_payload};

/// What every caller with a bad signature is told.
pub const NOT_AUTHENTIC: &str = "the webhook's signature was not accepted; the daemon's log says why";

/// An authentic call and what it means: all of a `model::Delivery` that the request itself can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Who called.
    pub forge: Forge,
    /// The forge's own id for the call; at most 200 characters.
    pub forge_id: Option<String>,
    /// The forge's word for the event: `push`, `Tag Push Hook`, `repo:push`; at most 200 characters.
    pub event: String,
    /// The repository, if the payload names one.
    pub repo: Option<RepoId>,
    /// What it means.
    pub parsed: Parsed,
}

/// What an authentic call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Branches that moved and tags that are new, in the payload's order. There is at least one.
    Moved {
        /// The branches.
        pushes: Vec<Push>,
        /// The tags.
        tags: Vec<TagPush>,
    },
    /// Nothing for this daemon.
    Ignored {
        /// Why, in words for a person.
        reason: String,
    },
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not authentic: 401.
    #[error("{caller}")]
    Signature {
        /// For the answer: gives nothing away.
        caller: &'static str,
        /// For the log: header, secrets by name and length, bytes, likely cause.
        operator: String,
    },
    /// It is authentic but can't be understood: 400.
    #[error("{message}")]
    Malformed {
        /// For the answer and the log.
        message: String,
    },
}

impl Refused {
    fn malformed(message: impl Into<String>) -> Self {
        Self::Malformed { message: message.into() }
    }
}

/// Checks the signature, then says what the call means. `now` is the daemon's clock; only Standard Webhooks uses it.
pub fn receive(
    forge: Forge,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &ForgeSecrets,
    now: Timestamp,
) -> Result<Received, Refused> {
    let payload = verify(forge, headers, body, secrets, now)?;
    parse(forge, headers, &payload)
}

/// Checks that `body` is authentic and gives the JSON in it, taken out of the form if it was posted as one.
pub fn verify<'b>(
    forge: Forge,
    headers: &HeaderMap,
    body: &'b [u8],
    secrets: &ForgeSecrets,
    now: Timestamp,
) -> Result<Cow<'b, [u8]>, Refused> {
    let call = signature::Call { forge, headers, body };
    match forge {
        Forge::Github => github::verify(call, secrets),
        Forge::Gitlab => gitlab::verify(call, secrets, now),
        Forge::Gitea => gitea::verify(call, secrets),
        Forge::Bitbucket => bitbucket::verify(call, secrets),
    }
}

/// The forge's own id for a call, as its headers have it: nothing vouches for it before it is verified.
pub fn delivery_id(forge: Forge, headers: &HeaderMap) -> Option<String> {
    first_of(headers, id_headers(forge))
}

fn id_headers(forge: Forge) -> &'static [&'static str] {
    match forge {
        Forge::Github => &github::DELIVERY,
        Forge::Gitlab => &gitlab::DELIVERY,
        Forge::Gitea => &gitea::DELIVERY,
        Forge::Bitbucket => &bitbucket::DELIVERY,
    }
}

/// What an authentic payload means. The caller has verified it.
pub fn parse(forge: Forge, headers: &HeaderMap, payload: &[u8]) -> Result<Received, Refused> {
    let event_headers: &[&str] = match forge {
        Forge::Github => &github::EVENT,
        Forge::Gitlab => &gitlab::EVENT,
        Forge::Gitea => &gitea::EVENT,
        Forge::Bitbucket => &bitbucket::EVENT,
    };
    let Some(event) = first_of(headers, event_headers) else {
        return Err(Refused::malformed(format!(
            "no {} header: this does not look like a webhook of {}",
            event_headers[0],
            forge.as_str()
        )));
    };
    let text = payload::text(payload)?;
    let meaning = match forge {
        Forge::Github => github::parse(&event, text),
        Forge::Gitlab => gitlab::parse(&event, text),
        Forge::Gitea => gitea::parse(&event, text),
        Forge::Bitbucket => bitbucket::parse(&event, text),
    }?;
    let forge_id = delivery_id(forge, headers);
    Ok(Received { forge, forge_id, event, repo: meaning.repo, parsed: meaning.parsed })
}

/// The first of these headers that is there and not empty, cut to a length that can be stored and shown.
fn first_of(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .find(|value| !value.is_empty())
        .map(|value| payload::clean(value, 200))
}
