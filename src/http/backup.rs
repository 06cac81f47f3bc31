//! `/backup`: the daemon's own state as one file, while it goes on.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::Context;
use super::answer::ApiError;
use super::query::Asked;
use crate::store::StoreError;

/// How many bytes are handed on at once.
const CHUNK: usize = 64 << 10;
/// How long a caller may take none of them: meanwhile the daemon keeps what changes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many bytes a second a caller has to take on the whole, beyond that: else it could hold the one turn for ever.
const SLOWEST: u64 = 64 << 10;

/// The right to take a backup: one at a time, since each holds a thread for as long as its caller takes.
#[derive(Clone)]
pub(super) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    fn take(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            ApiError::new(StatusCode::CONFLICT, "busy", "another backup is being taken")
                .hint("ask again when that one is done")
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    #[serde(default = "yes")]
    logs: bool,
}

fn yes() -> bool {
    true
}

/// `GET /backup?logs=`. A body that breaks off is no backup: its last part says that it is whole.
pub(super) async fn stream(
    State(context): State<Context>,
    Asked(Query { logs }): Asked<Query>,
) -> Result<Response, ApiError> {
    let store = context.door.store.clone();
    if let Some(fault) = store.fault() {
        return Err(StoreError::Unavailable { path: String::new(), why: fault.why }.into());
    }
    let turn = context.backups.take()?;
    let (sender, receiver) = mpsc::channel(4);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let (chunk, pace) = (Vec::with_capacity(CHUNK), Pace::default());
        let out = Chunks { sender: sender.clone(), runtime: runtime.clone(), chunk, pace };
        if let Err(error) = store.backup(logs, out) {
            tracing::error!(%error, "a backup broke off");
            let broken = io::Error::other("the backup broke off; the daemon's log says why");
            // A body that just stopped would look whole. Who is gone needs not be told.
            let _ = runtime.block_on(sender.send_timeout(Err(broken), PATIENCE));
        }
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"backup.airplanes\"")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

/// Hands on what is written to it, in chunks, as fast as the caller takes them.
struct Chunks {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
    runtime: Handle,
    chunk: Vec<u8>,
    pace: Pace,
}

/// How fast the caller is.
#[derive(Default)]
struct Pace {
    /// What it has taken, in bytes.
    taken: u64,
    /// How long it was waited for.
    waited: Duration,
}

impl Pace {
    /// How long it is waited for now.
    fn patience(&self) -> Duration {
        let earned = PATIENCE + Duration::from_secs(self.taken / SLOWEST);
        earned.saturating_sub(self.waited).min(PATIENCE)
    }
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        let (length, begun) = (chunk.len() as u64, Instant::now());
        let sent = self.runtime.block_on(self.sender.send_timeout(Ok(chunk), self.pace.patience()));
        self.pace.waited += begun.elapsed();
        match sent {
            Ok(()) => {
                self.pace.taken += length;
                Ok(())
            }
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(io::Error::other("the caller takes it too slowly, or not at all"))
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(io::Error::other("the caller went away")),
        }
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_takes_a_bit_now_and_then_has_no_turn_for_ever_and_a_slow_line_has_time() {
        let ends = |bytes_a_second: u64| {
            let mut pace = Pace::default();
            let wait = Duration::from_secs(CHUNK as u64).div_f64(bytes_a_second as f64);
            for chunk in 0..100_000 {
                if wait > pace.patience() {
                    return Some(chunk);
                }
                pace.taken += CHUNK as u64;
                pace.waited += wait;
            }
            None
        };
        assert_eq!(ends(1 << 10), Some(0), "a chunk a minute");
        let chunks = ends(3 << 10).expect("a chunk every 21 seconds is too slow");
        assert!(chunks < 5, "{chunks}");
        assert!(ends(60 << 10).is_some_and(|chunks| chunks < 1_000));
        assert_eq!(ends(65 << 10), None);
        assert_eq!(ends(100 << 20), None);
    }
}
