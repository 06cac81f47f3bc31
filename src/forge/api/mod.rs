//! What is asked of a git host's API, and what its answers mean. One file per kind.
//!
//! An [`Api`] builds an [`ApiCall`]; `net` makes it and brings the [`Reply`], which the method of the same name reads.
//! Must never do I/O, or let a token be seen: it stands in the call's credential alone, and is cut out of what a
//! host says.

mod alike;
mod checks;
mod gitea;
mod github;
mod gitlab;
mod requests;

use std::fmt;
use std::time::Duration;

use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{ApiKind, ForgeApi};
use crate::model::{RepoId, Secret, Sha};

pub use checks::{Check, CheckPage, Checks, Demanded};
pub use requests::{Life, NotYet, Proposal, PullRequest};

/// How long a host is left alone that has too many calls and does not say for how long.
const LIMITED: Duration = Duration::from_secs(60);

/// A call to be made.
#[derive(Debug, Clone)]
pub struct ApiCall {
    /// The method.
    pub method: Method,
    /// The url; holds no secret.
    pub url: String,
    /// The header that lets us in.
    pub credential: (&'static str, Secret),
    /// Other headers.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, where there is a body.
    pub body: Option<Vec<u8>>,
}

/// What was answered, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// How long we are to leave the host alone: it says so, or its limit for us is used up.
    pub wait: Option<Duration>,
}

/// Why an answer is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// It may go better later.
    #[error("{host} does not take calls now: it answered {status}{said}")]
    Busy {
        /// The host.
        host: String,
        /// The status.
        status: u16,
        /// What it said, after a colon.
        said: String,
        /// How long it wants to be left alone.
        wait: Option<Duration>,
    },
    /// The token does not let us in: it is for the operator to mend.
    #[error("{host} answered {status} to the token {token}{said}; see that it is valid and may do this, in :forges")]
    Token {
        /// The host.
        host: String,
        /// The status.
        status: u16,
        /// The token's name.
        token: String,
        /// What it said, after a colon.
        said: String,
    },
    /// It was understood and refused.
    #[error("{host} refused this with {status}{said}{hint}")]
    Refused {
        /// The host.
        host: String,
        /// The status.
        status: u16,
        /// What it said, after a colon.
        said: String,
        /// What to look at.
        hint: &'static str,
    },
    /// It is not what that API answers.
    #[error("{host} answered what its API does not: {why}; see that :kind and :api in :forges are right")]
    Odd {
        /// The host.
        host: String,
        /// What is wrong.
        why: String,
    },
}

impl ApiError {
    /// Whether the same call may be answered otherwise later, or once the operator has mended something.
    pub fn is_passing(&self) -> bool {
        !matches!(self, ApiError::Refused { .. })
    }
    /// Whether another repository of the host may fare better: a token may be for some of them only, and one that has
    /// moved answers what its API does not.
    pub fn is_of_one_repository(&self) -> bool {
        matches!(self, ApiError::Token { status: 403, .. } | ApiError::Odd { .. })
    }
    /// How long the host wants to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            ApiError::Busy { wait, .. } => *wait,
            _ => None,
        }
    }
}

/// What a commit's status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// It went well.
    Success,
    /// It did not.
    Failure,
    /// It was broken off.
    Error,
}

/// A commit's status. One with the same commit and context takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Status {
    /// The commit.
    pub sha: Sha,
    /// What it says.
    pub mark: Mark,
    /// Whose it is: `airplanes/shop`.
    pub context: String,
    /// The same for people; at most 140 characters.
    pub description: String,
    /// Where more is to be read.
    pub url: Option<String>,
}

/// How long a status' description may be, in characters: GitHub refuses more.
pub const DESCRIPTION: usize = 140;

/// One line that fits into a status.
pub fn description(words: &str) -> String {
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= DESCRIPTION {
        return line;
    }
    line.chars().take(DESCRIPTION - 1).chain(['…']).collect()
}

/// The API of one repository's host.
#[derive(Debug, Clone)]
pub struct Api<'c> {
    forge: &'c ForgeApi,
    host: &'c str,
    /// The path of the repository below its host.
    path: &'c str,
}

impl<'c> Api<'c> {
    /// The API for a repository; none if its path is not one of a project.
    pub fn of(forge: &'c ForgeApi, repo: &'c RepoId) -> Option<Self> {
        let (host, path) = repo.as_str().split_once('/')?;
        path.contains('/').then_some(Self { forge, host, path })
    }

    /// The host, for people.
    pub fn host(&self) -> &str {
        self.host
    }
    /// How long others' checks may take to appear.
    pub fn checks_within(&self) -> Duration {
        self.forge.checks_within
    }

    /// The repository itself: whether the token lets us in.
    pub fn project(&self) -> ApiCall {
        match self.forge.kind {
            ApiKind::Github => github::project(self),
            ApiKind::Gitlab => gitlab::project(self),
            ApiKind::Gitea => gitea::project(self),
        }
    }
    /// Whether a call did what it should.
    pub fn done(&self, reply: &Reply) -> Result<(), ApiError> {
        self.good(reply).map(|_| ())
    }

    /// A commit's status.
    pub fn status(&self, status: &Status) -> ApiCall {
        match self.forge.kind {
            ApiKind::Github => github::status(self, status),
            ApiKind::Gitlab => gitlab::status(self, status),
            ApiKind::Gitea => gitea::status(self, status),
        }
    }
    /// Whether it was taken.
    pub fn status_taken(&self, reply: &Reply) -> Result<(), ApiError> {
        if self.forge.kind == ApiKind::Gitlab && gitlab::is_status_already(reply) {
            return Ok(());
        }
        self.good(reply).map(|_| ())
    }

    /// `OWNER/NAME`, the last two parts of the path: a host may serve its repositories below a folder.
    fn owner_and_name(&self) -> String {
        let mut parts = self.path.rsplit('/');
        let (name, owner) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{}/{}", encoded(owner), encoded(name))
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        credential: (&'static str, &str),
        headers: &[(&'static str, &'static str)],
        body: Option<Value>,
    ) -> ApiCall {
        let token = &self.forge.token;
        let value = [credential.1.as_bytes(), token.expose()].concat();
        ApiCall {
            method,
            url: format!("{}{path}", self.forge.api),
            credential: (credential.0, Secret::new(token.name(), value)),
            headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            body: body.map(|body| body.to_string().into_bytes()),
        }
    }

    /// The body of an answer that is good.
    fn good<'r>(&self, reply: &'r Reply) -> Result<&'r [u8], ApiError> {
        let (host, status, said) = (self.host.to_owned(), reply.status, self.said(reply));
        let hint = match status {
            200..=299 => return Ok(&reply.body),
            401 => return Err(self.token(reply)),
            // GitHub says so of a limit, too; of some without a word on how long.
            403 if is_limit(&said) => {
                let wait = Some(reply.wait.unwrap_or(LIMITED));
                return Err(ApiError::Busy { host, status, said, wait });
            }
            403 if reply.wait.is_none() => return Err(self.token(reply)),
            403 | 408 | 425 | 429 | 500..=599 => return Err(ApiError::Busy { host, status, said, wait: reply.wait }),
            404 => "; it is not there, or the token in :forges may not see it",
            _ => "",
        };
        Err(ApiError::Refused { host, status, said, hint })
    }

    fn token(&self, reply: &Reply) -> ApiError {
        let (host, token) = (self.host.to_owned(), self.forge.token.name().to_owned());
        ApiError::Token { host, status: reply.status, token, said: self.said(reply) }
    }

    /// A good answer as what it should be.
    fn read<T: DeserializeOwned>(&self, reply: &Reply) -> Result<T, ApiError> {
        let body = self.good(reply)?;
        serde_json::from_slice(body).map_err(|e| ApiError::Odd { host: self.host.to_owned(), why: e.to_string() })
    }

    /// What the host said of a refusal, in one line after a colon, without the token.
    fn said(&self, reply: &Reply) -> String {
        let words = match serde_json::from_slice::<Value>(&reply.body) {
            Ok(body) => said_in(&body),
            // A page of HTML says nothing that its status does not.
            Err(_) => String::new(),
        };
        let token = String::from_utf8_lossy(self.forge.token.expose()).into_owned();
        let words = words.replace(&token, "***");
        let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        if line.is_empty() { line } else { format!(": {line}") }
    }
}

/// Whether a refusal is for too many calls.
fn is_limit(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("rate limit") || said.contains("abuse")
}

/// What an error's JSON says: `message` or `error`, and what stands in `errors`.
fn said_in(body: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let message = body.get("message").or_else(|| body.get("error")).map(text).unwrap_or_default();
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    let errors: Vec<String> = errors.map(|error| error.get("message").map_or_else(|| text(error), text)).collect();
    if errors.is_empty() { message } else { format!("{message} ({})", errors.join("; ")) }
}

/// A text as one part of a url's path or query.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mark::Pending => "pending",
            Mark::Running => "running",
            Mark::Success => "success",
            Mark::Failure => "failure",
            Mark::Error => "error",
        })
    }
}
