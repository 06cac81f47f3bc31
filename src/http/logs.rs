//! `/jobs/ID/logs/STEP`: a log's bytes from an offset. What is asked for is a step or a host of that job, never a path.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answer::ApiError;
use super::query::{Asked, Named};
use super::{Context, jobs};
use crate::model::JobState;
use crate::pipeline::CULPRIT;

/// How many bytes one answer holds at the most.
const CHUNK: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    offset: Option<u64>,
    attempt: Option<u32>,
}

/// `GET /jobs/ID/logs/STEP?offset=&attempt=`. `Next-Offset` is where to go on; with `Complete: true` nothing follows.
pub(super) async fn log(
    State(context): State<Context>,
    Named((id, step)): Named<(String, String)>,
    Asked(query): Asked<Query>,
) -> Result<Response, ApiError> {
    let job = jobs::find(&context, &id).await?;
    check(&job, &step)?;
    let offset = query.offset.unwrap_or(0);
    let pipeline = context.door.pipeline.clone();
    let read = tokio::task::spawn_blocking(move || {
        // Asked before the file is read: what is complete by then can't have grown when it is.
        let complete = pipeline.log_complete(job.id, &step, query.attempt);
        let path = pipeline.log_path(job.id, &step, query.attempt);
        path.map_or_else(|| Ok(Slice::nothing_yet()), |path| Slice::read(path, offset)).map(|s| (s, complete))
    });
    let read = read.await.map_err(|e| ApiError::internal(&e))?;
    let (slice, complete) = read.map_err(|e| ApiError::internal(&format_args!("a log can't be read: {e}")))?;
    if offset > slice.length {
        let message = format!("the log has {} bytes, so none from {offset} on", slice.length);
        return Err(ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "offset", message));
    }
    let next = offset + slice.bytes.len() as u64;
    let complete = complete && next == slice.length;
    let mut response = slice.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("next-offset", HeaderValue::from(next));
    headers.insert("complete", HeaderValue::from_static(if complete { "true" } else { "false" }));
    if let Some(attempt) = slice.attempt {
        headers.insert("attempt", HeaderValue::from(attempt));
    }
    Ok(response)
}

/// Refuses what is neither a step of the job nor `rollout/HOST` of one of its hosts.
fn check(job: &JobState, step: &str) -> Result<(), ApiError> {
    let steps = job.steps.iter().map(|s| s.step.to_string());
    let hosts = job.hosts.iter().map(|h| format!("rollout/{}", h.name));
    let known: Vec<String> = steps.chain(hosts).collect();
    // Builds of a search for the commit that broke one.
    let is_culprit = step.strip_prefix(CULPRIT).is_some_and(|n| n.parse::<u32>().is_ok());
    if is_culprit || known.iter().any(|name| name == step) {
        return Ok(());
    }
    Err(ApiError::not_found(format!("job {} has no such step", job.id)).hint(format!("it has {}", known.join(", "))))
}

/// A part of a log, and how long all of it is.
struct Slice {
    bytes: Vec<u8>,
    length: u64,
    attempt: Option<u32>,
}

impl Slice {
    /// The step has not written anything, and may never.
    fn nothing_yet() -> Self {
        Self { bytes: Vec::new(), length: 0, attempt: None }
    }

    fn read(path: PathBuf, offset: u64) -> std::io::Result<Self> {
        let attempt = path.extension().and_then(|e| e.to_str()?.parse().ok());
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        if offset < length {
            file.seek(SeekFrom::Start(offset))?;
            file.take((length - offset).min(CHUNK)).read_to_end(&mut bytes)?;
        }
        Ok(Self { bytes, length, attempt })
    }
}
