//! Reading a body that anyone may send: capped in size, in time, and in what all callers together may hold.

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use std::sync::Arc;
use std::time::Duration;

use super::answer::ApiError;

/// What GitHub caps a payload at, and so what a hook takes.
pub(super) const HOOK_LIMIT: usize = 25 * 1024 * 1024;
/// What all unfinished bodies together may hold: a caller need not be known to send one.
const BUDGET: usize = 4 * HOOK_LIMIT;
/// Bodies that say they are at most so long have a budget of the same size of their own: who fills the other with long
/// ones holds up no push.
const SHORT: usize = 1 << 20;

/// How much room is made for a body before it is there, at the most: a push is seldom longer.
const BELIEVED: usize = 32 << 10;

/// The memory that bodies are read into.
#[derive(Clone)]
pub(super) struct Bodies {
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    time: Duration,
}

/// A body, and its share of the budget for as long as it is held.
pub(super) struct Whole {
    pub bytes: Vec<u8>,
    _share: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Each body must be there within `time`.
    pub fn new(time: Duration) -> Self {
        Self { short: Arc::new(Semaphore::new(BUDGET)), long: Arc::new(Semaphore::new(BUDGET)), time }
    }

    /// Reads all of it, or says why not. A length that is too large is refused before anything is read.
    pub async fn read(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<Whole, ApiError> {
        let too_large = || {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("the body is over {limit} bytes"))
                .hint("no forge sends a push that large; check what calls this url")
        };
        let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let whole = tokio::time::timeout(self.time, self.collect(body, limit, declared));
        match whole.await {
            Ok(Ok(Some(whole))) => Ok(whole),
            Ok(Ok(None)) => Err(too_large()),
            Ok(Err(why)) => Err(ApiError::bad_request(format!("the body broke off: {why}"))),
            Err(_) => {
                let message = format!("the body was not there after {} seconds", self.time.as_secs());
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message))
            }
        }
    }

    /// None if it is over the limit.
    async fn collect(
        &self,
        mut body: Body,
        limit: usize,
        declared: Option<usize>,
    ) -> Result<Option<Whole>, axum::Error> {
        // What a caller says is believed only so far.
        let mut whole = Whole { bytes: Vec::with_capacity(declared.unwrap_or(0).min(BELIEVED)), _share: None };
        // A body is never longer than was said: hyper ends it there.
        let budget = if declared.is_some_and(|length| length <= SHORT) { &self.short } else { &self.long };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > limit - whole.bytes.len() {
                return Ok(None);
            }
            let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let Ok(share) = budget.clone().acquire_many_owned(size).await else { return Ok(None) };
            match &mut whole._share {
                Some(held) => held.merge(share),
                none => *none = Some(share),
            }
            whole.bytes.extend_from_slice(&data);
        }
        Ok(Some(whole))
    }
}
