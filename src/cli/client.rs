//! The daemon over HTTP, and nothing else: sled admits one process, so the command line never opens the store.

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::address::Address;
use super::error::CliError;
use super::output::say;
use crate::model::api::{ErrorBody, ErrorView, JobList, JobView};
use crate::model::check::DoctorLine;
use crate::model::{AppName, JobId};

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the daemon may say nothing. Streams of events are kept alive more often than that, and no check of its
/// doctor takes longer.
const SILENCE: Duration = Duration::from_secs(90);

/// How long it may take to begin an answer that is a matter of looking.
const PROMPT: Duration = Duration::from_secs(15);
/// After how long a person is told what is waited for.
const WORD: Duration = Duration::from_secs(3);

/// A way to the daemon.
pub(super) struct Client {
    http: reqwest::Client,
    address: Address,
}

/// A part of a log.
pub(super) struct LogPart {
    pub bytes: Vec<u8>,
    pub next: u64,
    pub complete: bool,
}

/// Lines of JSON that come one by one.
pub(super) struct Lines<'a> {
    client: &'a Client,
    response: Response,
    buffer: Vec<u8>,
}

impl Lines<'_> {
    /// The next one.
    pub async fn next(&mut self) -> Result<Option<DoctorLine>, CliError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let strange = |e: serde_json::Error| CliError::Strange {
                    url: self.client.address.url.clone(),
                    why: e.to_string(),
                };
                return serde_json::from_slice(&line).map(Some).map_err(strange);
            }
            match self.response.chunk().await.map_err(|e| self.client.broken(&e))? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

impl Client {
    pub fn new(address: Address) -> Result<Self, CliError> {
        // Another part of the process may have installed it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let agent = concat!("airplanes/", env!("CARGO_PKG_VERSION"));
        let mut http = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).user_agent(agent);
        if address.is_this_machine() {
            // A proxy can't reach this machine's loopback, and would be shown the token.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|e| CliError::other(format!("no HTTP client could be made: {e}")))?;
        Ok(Self { http, address })
    }

    /// A page as the daemon wrote it, in the form that `accept` names.
    pub async fn page(&self, path: &[&str], query: &[(&str, String)], accept: &str) -> Result<String, CliError> {
        let call = self.call(Method::GET, path, query)?.header(ACCEPT, accept);
        self.prompt(call).await?.text().await.map_err(|e| self.broken(&e))
    }
    /// A page's value.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, CliError> {
        let response = self.prompt(self.call(Method::GET, path, query)?).await?;
        self.value(response).await
    }
    /// A page's value that the daemon has to ask others for.
    pub async fn ask<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, CliError> {
        let response = self.send(self.call(Method::GET, path, query)?).await?;
        self.value(response).await
    }
    /// What an action answers.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, CliError> {
        self.post_with(path, &[], body).await
    }
    /// What an action answers that takes a query.
    pub async fn post_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, CliError> {
        let mut call = self.call(Method::POST, path, query)?;
        if let Some(body) = body {
            call = call.json(body);
        }
        let response = self.send(call).await?;
        self.value(response).await
    }
    /// What putting something in its place answers.
    pub async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &(impl Serialize + Sync)) -> Result<T, CliError> {
        let response = self.send(self.call(Method::PUT, path, &[])?.json(body)).await?;
        self.value(response).await
    }
    /// What taking something away answers.
    pub async fn delete<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, CliError> {
        let response = self.send(self.call(Method::DELETE, path, query)?).await?;
        self.value(response).await
    }

    /// What an action without a body answers to a query, as the daemon wrote it.
    pub async fn post_page(&self, path: &[&str], query: &[(&str, String)], accept: &str) -> Result<String, CliError> {
        let call = self.call(Method::POST, path, query)?.header(ACCEPT, accept);
        self.send(call).await?.text().await.map_err(|e| self.broken(&e))
    }

    /// A job.
    pub async fn job(&self, id: JobId) -> Result<JobView, CliError> {
        self.get(&["jobs", &id.to_string()], &[]).await
    }

    /// The id that was typed: `last` is the newest job.
    pub async fn job_id(&self, text: &str) -> Result<JobId, CliError> {
        if text != "last" {
            return Ok(text.parse()?);
        }
        let list: JobList = self.get(&["jobs"], &[("limit", "1".to_owned())]).await?;
        let newest = list.jobs.first().map(|job| job.id);
        newest.ok_or_else(|| CliError::other("there is no job yet, so none is the last"))
    }

    /// The job that is meant: an id, `last`, or an app's name for its newest one.
    pub async fn job_named(&self, text: &str) -> Result<JobId, CliError> {
        if text == "last" || text.parse::<JobId>().is_ok() {
            return self.job_id(text).await;
        }
        let Ok(app) = AppName::new(text) else {
            let message =
                format!("`{text}` is neither a job's id, like 1jq3m8x2k4a0c-000, nor `last`, nor an app's name");
            return Err(CliError::usage(message, "`airplanes jobs` lists jobs, `airplanes apps` lists apps"));
        };
        self.newest_job(&app).await?.ok_or_else(|| no_job(&app))
    }

    /// The newest job of an app.
    pub async fn newest_job(&self, app: &AppName) -> Result<Option<JobId>, CliError> {
        let query = [("app", app.to_string()), ("limit", "1".to_owned())];
        let list: JobList = self.get(&["jobs"], &query).await?;
        Ok(list.jobs.first().map(|job| job.id))
    }

    /// A log's bytes from an offset.
    pub async fn log(&self, id: JobId, step: &str, attempt: Option<u32>, offset: u64) -> Result<LogPart, CliError> {
        let id = id.to_string();
        let path: Vec<&str> = ["jobs", &id, "logs"].into_iter().chain(step.split('/')).collect();
        let mut query = vec![("offset", offset.to_string())];
        query.extend(attempt.map(|attempt| ("attempt", attempt.to_string())));
        let response = self.prompt(self.call(Method::GET, &path, &query)?).await?;
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let next = header("next-offset").and_then(|v| v.parse().ok());
        let complete = header("complete") == Some("true");
        let bytes = response.bytes().await.map_err(|e| self.broken(&e))?.to_vec();
        Ok(LogPart { next: next.unwrap_or(offset + bytes.len() as u64), bytes, complete })
    }

    /// A job's events after the one with that place.
    pub async fn events(&self, id: JobId, seen: u64) -> Result<Response, CliError> {
        let call = self.call(Method::GET, &["jobs", &id.to_string(), "events"], &[])?;
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", seen.into());
        self.prompt(call.headers(headers)).await
    }

    /// What the daemon finds, as it finds it.
    pub async fn lines(&self, path: &[&str], query: &[(&str, String)]) -> Result<Lines<'_>, CliError> {
        self.read_lines(self.call(Method::GET, path, query)?).await
    }

    /// What the daemon finds when it does something, as it finds it.
    pub async fn post_lines(&self, path: &[&str], body: &(impl Serialize + Sync)) -> Result<Lines<'_>, CliError> {
        self.read_lines(self.call(Method::POST, path, &[])?.json(body)).await
    }

    async fn read_lines(&self, call: RequestBuilder) -> Result<Lines<'_>, CliError> {
        let response = self.send(call.header(ACCEPT, "application/x-ndjson")).await?;
        Ok(Lines { client: self, response, buffer: Vec::new() })
    }

    /// The daemon's state, as one stream.
    pub async fn backup(&self, logs: bool) -> Result<Response, CliError> {
        self.send(self.call(Method::GET, &["backup"], &[("logs", logs.to_string())])?).await
    }

    fn call(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Result<RequestBuilder, CliError> {
        let wrong = |why: String| CliError::usage(why, "give --url or AIRPLANES_URL like http://127.0.0.1:8787");
        let mut url: Url =
            self.address.url.parse().map_err(|e| wrong(format!("`{}` is not a url: {e}", self.address.url)))?;
        url.path_segments_mut()
            .map_err(|()| wrong(format!("`{}` can't have a path", self.address.url)))?
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut call = self.http.request(method, url);
        if let Some(token) = &self.address.token {
            // The header is marked as sensitive by reqwest itself.
            call = call.bearer_auth(String::from_utf8_lossy(token.expose()));
        }
        Ok(call)
    }

    /// As `send`, for what is answered at once by a daemon that is well.
    async fn prompt(&self, call: RequestBuilder) -> Result<Response, CliError> {
        let silent = |_| {
            let why = format!(
                "nothing came for {} s; it may be stopped (SIGSTOP), or its machine overloaded",
                PROMPT.as_secs()
            );
            CliError::Unreachable { url: self.address.url.clone(), why }
        };
        tokio::time::timeout(PROMPT, self.send(call)).await.map_err(silent)?
    }

    async fn send(&self, call: RequestBuilder) -> Result<Response, CliError> {
        let mut sending = std::pin::pin!(call.send());
        let response = match tokio::time::timeout(WORD, &mut sending).await {
            Ok(response) => response,
            Err(_) => {
                say(&format!("waiting for the daemon at {} …", self.address.url));
                sending.await
            }
        };
        let response = response.map_err(|e| self.broken(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let error = match serde_json::from_str::<ErrorBody>(&text) {
            Ok(body) => body.error,
            Err(_) => ErrorView {
                code: "strange".to_owned(),
                message: format!("{} answered {status}", self.address.url),
                hint: Some("is that an airplanes daemon?".to_owned()),
            },
        };
        let mut error = error;
        if status == 401 && self.address.token.is_none() {
            error.hint = Some(self.address.why_no_token.clone());
        }
        Err(CliError::Answer { status: status.as_u16(), error })
    }

    async fn value<T: DeserializeOwned>(&self, response: Response) -> Result<T, CliError> {
        let text = response.text().await.map_err(|e| self.broken(&e))?;
        let strange = |e: serde_json::Error| CliError::Strange { url: self.address.url.clone(), why: e.to_string() };
        serde_json::from_str(&text).map_err(strange)
    }

    /// reqwest's error, down to the cause that says something.
    pub fn broken(&self, error: &reqwest::Error) -> CliError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        CliError::Unreachable { url: self.address.url.clone(), why: cause.to_string() }
    }
}

/// The error for an app that has no job, or is none.
pub(super) fn no_job(app: &AppName) -> CliError {
    CliError::Other {
        message: format!("{app} has no job"),
        hint: Some(format!("`airplanes deploy {app}` makes its first; `airplanes apps` lists the apps")),
    }
}
