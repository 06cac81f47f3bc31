//! A notice as a mail: plain text, threaded by the trouble that it is about, through the user's own mail server.

use std::time::{Duration, SystemTime};

use lettre::message::header::{self, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as Encryption, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::words;
use crate::config::{Smtp, Tls};
use crate::model::Notice;

/// How long each turn of the conversation may take.
const TURN: Duration = Duration::from_secs(10);
/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum MailError {
    #[error("there is no `:smtp` in config.edn any more")]
    NoServer,
    #[error("the mail can't be written: {0}")]
    Write(String),
    #[error("the mail server {server} does not take it: {why}")]
    Refused { server: String, why: String },
    #[error("the mail server {server} can't be talked to: {why}")]
    Unreachable { server: String, why: String },
}

impl MailError {
    /// Whether a second attempt will hardly do better.
    pub fn is_refusal(&self) -> bool {
        matches!(self, MailError::Refused { .. } | MailError::Write(_))
    }
}

/// The header that keeps vacation notices away (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }
    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }
    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The id of a notice's mail: the same in every attempt.
fn message_id(notice: &str, from: &Address) -> String {
    format!("<{notice}@{}>", from.domain())
}

fn message(to: &str, smtp: &Smtp, notice: &Notice) -> Result<Message, MailError> {
    let wrong = |what: &str, e: &dyn std::fmt::Display| MailError::Write(format!("{what}: {e}"));
    let from: Address = smtp.from.parse().map_err(|e| wrong(":from", &e))?;
    let to: Address = to.parse().map_err(|e| wrong(":email", &e))?;
    let at = u64::try_from(notice.at.as_second()).unwrap_or(0);
    let mark = if notice.event.is_trouble() { "✘" } else { "✔" };
    let mut builder = Message::builder()
        .from(Mailbox::new(Some("airplanes".to_owned()), from.clone()))
        .to(Mailbox::new(None, to))
        .subject(format!("{mark} {}", notice.title))
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(at))
        .message_id(Some(message_id(&notice.id, &from)))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    if let Some(last) = notice.earlier.last() {
        let all: Vec<String> = notice.earlier.iter().map(|id| message_id(id, &from)).collect();
        builder = builder.in_reply_to(message_id(last, &from)).references(all.join(" "));
    }
    builder.body(format!("{}\n\n{}\n", notice.title, words::body(notice))).map_err(|e| wrong("the message", &e))
}

/// The mail as it would go over the wire.
pub(super) fn written(to: &str, smtp: Option<&Smtp>, notice: &Notice) -> Result<String, MailError> {
    let mail = message(to, smtp.ok_or(MailError::NoServer)?, notice)?;
    Ok(String::from_utf8_lossy(&mail.formatted()).into_owned())
}

/// Sends it, and gives the server's last word.
pub(super) async fn send(to: &str, smtp: Option<&Smtp>, notice: &Notice) -> Result<String, MailError> {
    let smtp = smtp.ok_or(MailError::NoServer)?;
    let mail = message(to, smtp, notice)?;
    let server = format!("{}:{}", smtp.host, smtp.port);
    let unreachable = |why: String| MailError::Unreachable { server: server.clone(), why };
    let encryption = match smtp.tls {
        Tls::None => Encryption::None,
        tls => {
            let parameters = TlsParameters::new_rustls(smtp.host.clone()).map_err(|e| unreachable(e.to_string()))?;
            if tls == Tls::Implicit { Encryption::Wrapper(parameters) } else { Encryption::Required(parameters) }
        }
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .tls(encryption)
        .timeout(Some(TURN));
    if let Some((user, password)) = &smtp.login {
        let password = String::from_utf8_lossy(password.expose()).into_owned();
        transport = transport.credentials(Credentials::new(user.clone(), password));
    }
    let transport = transport.build();
    let sending = transport.send(mail);
    match tokio::time::timeout(TIMEOUT, sending).await {
        Ok(Ok(response)) => {
            let said: Vec<&str> = response.message().collect();
            Ok(format!("{} {}", response.code(), said.join(" ")).trim().to_owned())
        }
        Ok(Err(error)) if error.is_permanent() => Err(MailError::Refused { server, why: cause(&error) }),
        Ok(Err(error)) => Err(unreachable(cause(&error))),
        Err(_) => Err(unreachable(format!("no end within {} seconds", TIMEOUT.as_secs()))),
    }
}

/// An error with its causes.
fn cause(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}
