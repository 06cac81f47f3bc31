//! One way of telling, and one attempt at it: a webhook, a mail or a command.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::mail::{self, MailError};
use super::words;
use crate::config::{Smtp, Way};
use crate::forge;
use crate::model::{Notice, Secret};
use crate::net::{self, Http, NetError};
use crate::process::{self, Command, ProcessError};

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(30);
/// The longest text of a chat message: Discord takes 2,000 characters.
const CHAT: usize = 1900;

/// Why a way does not have a notice.
#[derive(Debug, thiserror::Error)]
pub(super) enum WayError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("it ended with {code}{said}; see what it wants with `airplanes notify test`")]
    Command { code: String, said: String },
    #[error("it ran for more than {} s and was ended", .0.as_secs())]
    Slow(Duration),
    #[error("the message can't be written: {0}")]
    Write(String),
}

impl WayError {
    /// Whether the other side has understood and said no: a second attempt will hardly do better.
    pub fn is_refusal(&self) -> bool {
        match self {
            WayError::Net(NetError::Refused { status, .. }) => {
                (400..500).contains(status) && !matches!(status, 408 | 425 | 429)
            }
            WayError::Net(NetError::Redirect { .. } | NetError::Url(_)) | WayError::Write(_) => true,
            WayError::Net(NetError::Unreachable { .. } | NetError::Client(_)) => false,
            WayError::Mail(error) => error.is_refusal(),
            WayError::Process(_) | WayError::Command { .. } | WayError::Slow(_) => false,
        }
    }
    /// How long the other side wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            WayError::Net(NetError::Refused { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }
}

/// What an attempt needs.
#[derive(Clone)]
pub(super) struct Means {
    pub http: Http,
    /// The environment of commands.
    pub env: Vec<(OsString, OsString)>,
}

/// Its name in logs and `/status`: no secret.
pub(super) fn name(way: &Way) -> String {
    match way {
        Way::Webhook { url, .. } => format!("webhook {}", net::host(&text(url))),
        Way::Email { to } => format!("email {to}"),
        Way::Command { argv } => format!("command {}", argv.first().map_or("", String::as_str)),
    }
}

/// By what a way is known across edits and restarts: what it leads to, but not as text.
pub(super) fn print(way: &Way) -> String {
    let target = match way {
        Way::Webhook { url, .. } => format!("webhook {}", text(url)),
        Way::Email { to } => format!("email {to}"),
        Way::Command { argv } => format!("command {}", argv.join("\0")),
    };
    let digest = Sha256::digest(target.as_bytes());
    crate::model::hex(&digest[..8])
}

fn text(url: &Secret) -> String {
    String::from_utf8_lossy(url.expose()).into_owned()
}

/// A notice as webhooks and commands get it.
#[derive(Serialize)]
struct Payload<'n> {
    #[serde(flatten)]
    notice: &'n Notice,
    /// What Slack and Mattermost show.
    text: &'n str,
    /// What Discord shows.
    content: &'n str,
    /// Discord pings nobody for what a log says.
    allowed_mentions: Mentions,
}

#[derive(Serialize)]
struct Mentions {
    parse: [&'static str; 0],
}

/// The JSON of a notice.
pub(super) fn payload(notice: &Notice) -> Result<Vec<u8>, WayError> {
    let text = chat(notice);
    let payload = Payload { notice, text: &text, content: &text, allowed_mentions: Mentions { parse: [] } };
    serde_json::to_vec(&payload).map_err(|e| WayError::Write(e.to_string()))
}

/// For chats: short, and without what would call everybody.
fn chat(notice: &Notice) -> String {
    let text = format!("{}\n{}", notice.title, words::body(notice));
    let text = text.replace("<!", "< !").replace("<@", "< @");
    let text = ["everyone", "here", "channel", "all"]
        .iter()
        .fold(text, |text, name| text.replace(&format!("@{name}"), &format!("@ {name}")));
    if text.chars().count() <= CHAT {
        return text;
    }
    // What to do stands at the end.
    let next = format!(" […]\n\nWhat to do: {}\n{}", notice.next, notice.url.as_deref().unwrap_or_default());
    let next = next.trim_end();
    let head: String = text.chars().take(CHAT.saturating_sub(next.chars().count())).collect();
    format!("{head}{next}")
}

/// One attempt. Gives what the other side said.
pub(super) async fn send(way: &Way, smtp: Option<&Smtp>, notice: &Notice, means: &Means) -> Result<String, WayError> {
    match way {
        Way::Webhook { url, secret } => {
            let body = payload(notice)?;
            let headers = headers(secret.as_ref(), notice, Timestamp::now(), &body)?;
            let answer = means.http.post_json(&text(url), headers, body).await?;
            Ok(format!("{} {}", answer.status, answer.body).trim().to_owned())
        }
        Way::Email { to } => Ok(mail::send(to, smtp, notice).await?),
        Way::Command { argv } => run(argv, notice, &means.env).await,
    }
}

/// Standard Webhooks: id, time, and HMAC-SHA256 over `ID.TIME.BODY`. Without a secret, no signature.
fn headers(secret: Option<&Secret>, notice: &Notice, now: Timestamp, body: &[u8]) -> Result<HeaderMap, WayError> {
    let mut pairs = vec![("webhook-id", notice.id.clone()), ("webhook-timestamp", now.as_second().to_string())];
    if let Some(secret) = secret {
        let token = if secret.expose().starts_with(b"whsec_") {
            secret.clone()
        } else {
            Secret::new(secret.name(), format!("whsec_{}", STANDARD.encode(secret.expose())))
        };
        let signed = forge::sign_standard(&token, &notice.id, now, body);
        pairs = signed.ok_or_else(|| WayError::Write(format!("{} is no key: whsec_ and base64", secret.name())))?;
    }
    let header = |(name, value): (&'static str, String)| {
        let value = HeaderValue::from_str(&value).map_err(|e| WayError::Write(e.to_string()))?;
        Ok((HeaderName::from_static(name), value))
    };
    pairs.into_iter().map(header).collect()
}

/// What a command finds in its environment beside the runner's clean one.
pub(super) fn command_env(notice: &Notice) -> Vec<(OsString, OsString)> {
    let app = notice.apps.first().map(|app| app.app.as_str()).unwrap_or_default();
    let pairs = [
        ("AIRPLANES_EVENT", notice.event.as_str()),
        ("AIRPLANES_TITLE", notice.title.as_str()),
        ("AIRPLANES_NOTICE", notice.id.as_str()),
        ("AIRPLANES_APP", app),
        ("AIRPLANES_LINK", notice.url.as_deref().unwrap_or_default()),
    ];
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

async fn run(argv: &[String], notice: &Notice, env: &[(OsString, OsString)]) -> Result<String, WayError> {
    let (program, args) = argv.split_first().ok_or_else(|| WayError::Write("the command is empty".to_owned()))?;
    let mut all = env.to_vec();
    all.extend(command_env(notice));
    let command = Command {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        dir: Path::new("/").to_owned(),
        env: all,
        cgroup: None,
    };
    let called = process::call(command, payload(notice)?, COMMAND).await?;
    let output = String::from_utf8_lossy(&called.output);
    let said: String = output.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    let said = said.trim();
    if !said.is_empty() {
        tracing::info!(%program, output = %said, "a notice's command printed");
    }
    if called.timed_out {
        return Err(WayError::Slow(COMMAND));
    }
    match called.code {
        Some(0) => Ok(format!("0 {said}").trim().to_owned()),
        code => {
            let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"));
            Err(WayError::Command { code, said: if said.is_empty() { String::new() } else { format!(": {said}") } })
        }
    }
}

/// What would be sent, for people.
pub(super) fn message(way: &Way, smtp: Option<&Smtp>, notice: &Notice) -> Result<String, WayError> {
    match way {
        Way::Webhook { .. } | Way::Command { .. } => Ok(String::from_utf8_lossy(&payload(notice)?).into_owned()),
        Way::Email { to } => Ok(mail::written(to, smtp, notice)?),
    }
}
