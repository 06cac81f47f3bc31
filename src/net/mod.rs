//! The HTTP client towards others: services that are told something, urls that are called.
//!
//! Every call has an end: ten seconds for all of it. Redirects are not followed, since what is sent may be secret and
//! was meant for the host that was named. Private addresses are allowed: much of what is told lives beside the daemon.
//! Must never keep or log a body, or show a url, which may hold a secret.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};

use crate::forge::api::{ApiCall, Reply};

/// How long a call may take, from looking the name up to the last byte that is read.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const LONGEST: usize = 500;
/// How much of an API's answer is read, in bytes.
const LONGEST_REPLY: usize = 8 << 20;

/// Why a call was not answered as it should be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NetError {
    /// It is no url that can be called.
    #[error("the url can't be called: {0}; correct it in config.edn")]
    Url(String),
    /// No call can be made at all.
    #[error("{0}; see that the machine has its certificates (apt-get install ca-certificates)")]
    Client(String),
    /// Nobody answered.
    #[error("{host} does not answer: {why}")]
    Unreachable {
        /// Who was called.
        host: String,
        /// The cause that says something.
        why: String,
    },
    /// Somebody else is to be called, which is not done.
    #[error("{host} answered {status}, a redirect, which is not followed; give the url that it leads to")]
    Redirect {
        /// Who was called.
        host: String,
        /// The status.
        status: u16,
    },
    /// It was answered, and not with success.
    #[error("{host} answered {status}{}", said(.body))]
    Refused {
        /// Who was called.
        host: String,
        /// The status.
        status: u16,
        /// The beginning of what it said, in one line.
        body: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
}

fn said(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}

/// A call that was answered with success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The beginning of what it said, in one line.
    pub body: String,
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
}

impl Http {
    /// A client with the system's roots of trust; proxies are taken from the environment.
    pub fn new() -> Result<Self, NetError> {
        // Another part of the process may have installed it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("airplanes/", env!("CARGO_PKG_VERSION")));
        Ok(Self { client: client.build().map_err(|e| NetError::Client(cause(&e)))? })
    }

    /// GET.
    pub async fn get(&self, url: &str) -> Result<Answer, NetError> {
        let url = parse(url)?;
        self.send(&url, self.client.get(url.clone())).await
    }

    /// POST of JSON.
    pub async fn post_json(&self, url: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, NetError> {
        let url = parse(url)?;
        let call = self.client.post(url.clone()).header("content-type", "application/json").headers(headers).body(body);
        self.send(&url, call).await
    }

    /// A call of a git host's or a provider's API. Whatever it answers but a redirect is its answer.
    pub async fn call(&self, call: &ApiCall) -> Result<Reply, NetError> {
        let url = parse(&call.url)?;
        let bad = |e: reqwest::header::InvalidHeaderValue| NetError::Url(format!("a header is not one: {e}"));
        let mut credential = HeaderValue::from_bytes(call.credential.1.expose()).map_err(bad)?;
        credential.set_sensitive(true);
        let mut request = self.client.request(call.method.clone(), url.clone()).header(call.credential.0, credential);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let host = host_of(&url);
        let unreachable = |e: reqwest::Error| NetError::Unreachable { host: host.clone(), why: cause(&e) };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(NetError::Redirect { host, status: status.as_u16() });
        }
        let wait = retry_after(response.headers()).or_else(|| limit_over(response.headers(), Timestamp::now()));
        let wait = wait.filter(|_| status == StatusCode::FORBIDDEN || is_busy(status));
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST_REPLY {
                let why = format!("its answer is longer than {LONGEST_REPLY} bytes");
                return Err(NetError::Unreachable { host, why });
            }
        }
        Ok(Reply { status: status.as_u16(), body, wait })
    }

    async fn send(&self, url: &Url, call: reqwest::RequestBuilder) -> Result<Answer, NetError> {
        let host = host_of(url);
        let unreachable = |e: reqwest::Error| NetError::Unreachable { host: host.clone(), why: cause(&e) };
        let mut response = call.send().await.map_err(unreachable)?;
        let status = response.status();
        let retry_after = retry_after(response.headers()).filter(|_| is_busy(status));
        let mut body = Vec::new();
        // What it says beside its status is for people: half of it will do.
        while body.len() < LONGEST
            && let Ok(Some(bytes)) = response.chunk().await
        {
            body.extend_from_slice(&bytes);
        }
        body.truncate(LONGEST);
        let body: String =
            String::from_utf8_lossy(&body).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (body, status) = (masked(url, body.trim()), status.as_u16());
        match status {
            200..=299 => Ok(Answer { status, body }),
            300..=399 => Err(NetError::Redirect { host, status }),
            _ => Err(NetError::Refused { host, status, body, retry_after }),
        }
    }
}

/// The host of a url, with its port if that is unusual: what may be shown of it.
pub fn host(url: &str) -> String {
    parse(url).map_or_else(|_| "an unreadable url".to_owned(), |url| host_of(&url))
}

/// What was said, without what may be secret of the url: many servers say "cannot POST" and the path.
fn masked(url: &Url, said: &str) -> String {
    /// Shorter parts of a path are words, and no keys.
    const KEY: usize = 8;
    let parts = url.path().split('/').chain(url.query().unwrap_or_default().split(['&', '=']));
    let login = [url.username(), url.password().unwrap_or_default()];
    let keys = parts.chain(login).filter(|part| part.len() >= KEY);
    keys.fold(said.to_owned(), |said, key| said.replace(key, "***"))
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("nowhere");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn parse(url: &str) -> Result<Url, NetError> {
    // Its error speaks of what is wrong and does not quote the url.
    url.parse().map_err(|e| NetError::Url(format!("{e}")))
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// In seconds; the form with a date is rare and left alone.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How long until a limit that is used up is renewed, as GitHub and GitLab tell it.
fn limit_over(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    let left = number("x-ratelimit-remaining").or_else(|| number("ratelimit-remaining"))?;
    let reset = number("x-ratelimit-reset").or_else(|| number("ratelimit-reset"))?;
    let until = u64::try_from(reset.checked_sub(now.as_second())?).unwrap_or(0);
    (left == 0).then_some(Duration::from_secs(until.max(1)))
}

/// The cause that says something: reqwest's own words quote the url.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} seconds", TIMEOUT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    // With nothing beneath it, reqwest's error says what it was doing and where.
    if std::ptr::eq(cause as *const dyn std::error::Error as *const u8, error as *const reqwest::Error as *const u8) {
        return "the call failed".to_owned();
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_repeats_the_url_does_not_show_its_keys() {
        let url = Url::parse("https://hooks.example.com/services/T00000001/B0/XXXXyyyyZZZZ?token=0123456789").unwrap();
        let said = masked(&url, "Cannot POST /services/T00000001/B0/XXXXyyyyZZZZ?token=0123456789");
        assert_eq!(said, "Cannot POST /***/***/B0/***?token=***");
        assert_eq!(masked(&Url::parse("https://h/").unwrap(), "no such hook"), "no such hook");
    }
}
