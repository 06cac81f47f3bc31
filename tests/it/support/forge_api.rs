//! A stand-in for a git host's API: GitHub's, GitLab's or Gitea's. It checks the method, path, credential and body of
//! every call as the real one would, and answers as the real one does, or as it is told. What it takes for wrong is
//! kept, and fails the test that looks.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::forge_pulls::{Check, Pull};

/// The token that every stand-in wants.
pub const TOKEN: &str = "tok-0123456789-of-tests";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Github,
    Gitlab,
    Gitea,
}

pub const KINDS: [Kind; 3] = [Kind::Github, Kind::Gitlab, Kind::Gitea];

/// How a call is answered in place of what is right.
#[derive(Debug, Clone)]
pub enum Next {
    /// A status, with what that host says then. The token is in it, as no host should do.
    Status(u16),
    /// A status and a header.
    With(u16, &'static str, String),
    /// A status, headers and a message.
    Says(u16, Vec<(String, String)>, &'static str),
    /// 200 with a body of so many bytes.
    Long(usize),
    /// What is right, after all.
    Right,
    /// It is done, and the answer breaks off.
    Dropped,
    /// Nothing, for as long as anybody waits.
    Silence,
}

/// A status that a commit was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub repo: String,
    pub sha: String,
    pub context: String,
    pub state: String,
    pub description: String,
    pub url: Option<String>,
}

#[derive(Default)]
pub struct Heard {
    pub calls: Vec<String>,
    pub told: Vec<Told>,
    pub pulls: Vec<Pull>,
    pub checks: Vec<Check>,
    /// Repositories whose calls are refused, and with which status.
    pub refused: Vec<(String, u16)>,
    /// The checks that branches demand.
    pub demands: Vec<String>,
    /// Whether only what stands on a branch's head may be merged into it.
    pub strict: bool,
    pub wrong: Vec<String>,
    pub next: VecDeque<Next>,
}

#[derive(Clone)]
pub struct ForgeApi {
    pub kind: Kind,
    pub address: SocketAddr,
    /// Where its repositories lie.
    pub repos: PathBuf,
    heard: Arc<Mutex<Heard>>,
}

impl ForgeApi {
    pub async fn start(kind: Kind, repos: PathBuf) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self { kind, address: listener.local_addr().unwrap(), repos, heard: Arc::default() };
        let router = Router::new().fallback(hear).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        api
    }
    /// Where the API is.
    pub fn base(&self) -> String {
        match self.kind {
            Kind::Github => format!("http://{}", self.address),
            Kind::Gitlab => format!("http://{}/api/v4", self.address),
            Kind::Gitea => format!("http://{}/api/v1", self.address),
        }
    }
    /// `:url`, and `:forges` for the git host of a world.
    pub fn config(&self) -> String {
        format!(":url \"https://deploy.example.com\" :forges {{{}}}", self.entry("127.0.0.2"))
    }
    /// An entry of `:forges`.
    pub fn entry(&self, prefix: &str) -> String {
        let kind = format!("{:?}", self.kind).to_lowercase();
        format!("\"{prefix}\" {{:kind :{kind} :api \"{}\" :token \"{TOKEN}\"}}", self.base())
    }
    /// What the next calls are answered.
    pub fn will(&self, next: impl IntoIterator<Item = Next>) {
        self.heard().next.extend(next);
    }
    /// Every call of a repository is refused from now on; with 200 no longer.
    pub fn refuse(&self, repo: &str, status: u16) {
        let mut heard = self.heard();
        heard.refused.retain(|(name, _)| name != repo);
        heard.refused.extend((status != 200).then(|| (repo.to_owned(), status)));
    }
    fn refuses(&self, repo: &str) -> Option<u16> {
        self.heard().refused.iter().find(|(name, _)| name == repo).map(|(_, status)| *status)
    }
    pub fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }
    /// What a commit was told in a context so far, oldest first.
    pub fn told(&self, repo: &str, sha: &str, context: &str) -> Vec<Told> {
        let heard = self.heard();
        assert!(heard.wrong.is_empty(), "{:#?}", heard.wrong);
        let is_it =
            |told: &&Told| (told.repo.as_str(), told.sha.as_str(), told.context.as_str()) == (repo, sha, context);
        heard.told.iter().filter(is_it).cloned().collect()
    }
    /// Waits until a commit is told a state, and gives all that it was told.
    pub async fn until(&self, repo: &str, sha: &str, context: &str, state: &str) -> Vec<Told> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let told = self.told(repo, sha, context);
            if told.last().is_some_and(|last| last.state == state) {
                return told;
            }
            // No lock is held while others are waited for.
            let all = self.heard().told.clone();
            assert!(Instant::now() < deadline, "{sha} of {repo} was not told {state}: {all:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A call, taken apart.
pub struct Call {
    pub method: Method,
    /// Below the repository.
    pub rest: String,
    pub query: Vec<(String, String)>,
    pub repo: String,
    pub body: Value,
}

async fn hear(State(api): State<ForgeApi>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let next = api.heard().next.pop_front();
    api.heard().calls.push(format!("{method} {uri}"));
    match next {
        Some(Next::Silence) => return std::future::pending().await,
        Some(Next::Status(status)) => return refusal(status, []),
        Some(Next::With(status, name, value)) => return refusal(status, [(name, value)]),
        Some(Next::Says(status, headers, message)) => {
            let mut answer =
                (StatusCode::from_u16(status).unwrap(), axum::Json(json!({ "message": message }))).into_response();
            for (name, value) in headers {
                answer.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            return answer;
        }
        Some(Next::Long(bytes)) => return Response::new(Body::from(vec![b' '; bytes])),
        Some(Next::Dropped | Next::Right) | None => {}
    }
    let answer = match checked(&api, method, &uri, &headers, &body) {
        Ok(call) if let Some(status) = api.refuses(&call.repo) => return refusal(status, []),
        Ok(call) => super::forge_answers::answer(&api, &call),
        Err((status, wrong)) => {
            api.heard().wrong.push(format!("{uri}: {wrong}"));
            (status, json!({ "message": wrong }))
        }
    };
    if matches!(next, Some(Next::Dropped)) {
        let broken: Result<Bytes, std::io::Error> = Err(std::io::Error::other("dropped"));
        return Response::new(Body::from_stream(futures_util::stream::iter([broken])));
    }
    (StatusCode::from_u16(answer.0).unwrap(), axum::Json(answer.1)).into_response()
}

fn refusal<const N: usize>(status: u16, headers: [(&'static str, String); N]) -> Response {
    let body = json!({ "message": format!("no, {TOKEN}"), "errors": [{ "message": "and that is why" }] });
    let mut response = (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// The call, if the real host would look into it.
fn checked(api: &ForgeApi, method: Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Call, (u16, String)> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (name, value) = match api.kind {
        Kind::Github => ("authorization", format!("Bearer {TOKEN}")),
        Kind::Gitlab => ("private-token", TOKEN.to_owned()),
        Kind::Gitea => ("authorization", format!("token {TOKEN}")),
    };
    if header(name) != value {
        return Err((401, format!("no good {name}")));
    }
    if !header("user-agent").starts_with("airplanes/") {
        return Err((403, "no user agent".to_owned()));
    }
    if api.kind == Kind::Github
        && (header("x-github-api-version") != "2022-11-28" || header("accept") != "application/vnd.github+json")
    {
        return Err((400, "no version".to_owned()));
    }
    let has_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
    if has_body && header("content-type") != "application/json" {
        return Err((415, "no JSON".to_owned()));
    }
    let body = match body {
        [] => Value::Null,
        body => serde_json::from_slice(body).map_err(|e| (400, e.to_string()))?,
    };
    let lost = || (404, "no such path".to_owned());
    let (repo, rest) = match api.kind {
        Kind::Gitlab => {
            let rest = uri.path().strip_prefix("/api/v4/projects/").ok_or_else(lost)?;
            let (project, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let project = decoded(project);
            // All of the path is the project's.
            if !project.starts_with("tmp/") && !project.contains("repos/") {
                return Err(lost());
            }
            (project.rsplit('/').next().unwrap_or_default().to_owned(), rest.to_owned())
        }
        kind => {
            let prefix = if kind == Kind::Gitea { "/api/v1/repos/" } else { "/repos/" };
            let rest = uri.path().strip_prefix(prefix).ok_or_else(lost)?;
            let mut parts = rest.splitn(3, '/');
            let (owner, name, rest) = (parts.next(), parts.next(), parts.next());
            match (owner, name, rest) {
                (Some("repos"), Some(name), rest) => (name.to_owned(), rest.unwrap_or_default().to_owned()),
                _ => return Err(lost()),
            }
        }
    };
    let query = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(key, value)| (key.to_owned(), decoded(value))).collect();
    Ok(Call { method, rest, query, repo, body })
}

pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
