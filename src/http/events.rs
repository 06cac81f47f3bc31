//! `/jobs/ID/events`: a job's journal as Server-Sent Events, from any place on, then as it is written.
//!
//! An event's id is the entry's place in the journal, so `Last-Event-ID` resumes without a gap, also after the daemon
//! was restarted. The stream subscribes first and looks then: nothing falls between.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::ApiError;
use super::query::Named;
use super::{Context, jobs};
use crate::model::api::JobView;
use crate::model::inbox::JobEvent;
use crate::model::{JobId, JobState, Outcome, Record};
use crate::store::{Change, Store, StoreError};

/// `GET /jobs/ID/events`. A caller that has seen the end is answered 204, which tells browsers not to come back.
pub(super) async fn stream(
    State(context): State<Context>,
    Named(id): Named<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let seen = match headers.get("last-event-id").map(|v| v.to_str().unwrap_or_default().trim()) {
        None | Some("") => 0,
        Some(text) => text.parse().map_err(|_| ApiError::bad_request("Last-Event-ID is not a number"))?,
    };
    let changes = context.door.store.changes();
    let job = jobs::find(&context, &id).await?;
    if job.ended.is_some() && seen >= job.seq {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if job.outcome() == Some(Outcome::Parked) {
        return Err(ApiError::new(StatusCode::CONFLICT, "parked", "the job's journal can't be read")
            .hint("`airplanes cancel` lets its app go on"));
    }
    let (sender, receiver) = mpsc::channel(16);
    let follower = Follower { context: context.clone(), id: job.id, seen, sender };
    tokio::spawn(follower.run(changes));
    let keep_alive = KeepAlive::new().interval(context.door.limits.keep_alive);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}

/// The stream ends before its job does: the caller went away, or the journal can't be read, which is in the log.
struct Stop;

impl From<ApiError> for Stop {
    fn from(_: ApiError) -> Self {
        Self
    }
}

struct Follower {
    context: Context,
    id: JobId,
    /// The place of the last entry that was sent.
    seen: u64,
    sender: mpsc::Sender<Result<Event, Infallible>>,
}

impl Follower {
    async fn run(mut self, changes: Receiver<Change>) {
        let shutdown = self.context.shutdown.clone();
        let sender = self.sender.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sender.closed() => {}
            // Early or not: a caller that wants more comes back with the last id that it saw.
            _ = self.follow(changes) => {}
        }
    }

    async fn follow(&mut self, mut changes: Receiver<Change>) -> Result<(), Stop> {
        let mut ended = self.catch_up().await?;
        while !ended {
            match changes.recv().await {
                Ok(change) if change.job != self.id || change.seq <= self.seen => {}
                Ok(change) if change.seq == self.seen + 1 => {
                    self.send(change.seq, &change.record, &change.state).await?;
                    ended = change.state.ended.is_some();
                }
                // Something is missing in between: the journal has it.
                Ok(_) | Err(RecvError::Lagged(_)) => ended = self.catch_up().await?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Sends what the journal has and the caller has not. True if the job has ended.
    async fn catch_up(&mut self) -> Result<bool, Stop> {
        let (id, seen) = (self.id, self.seen);
        let told = self.context.look(move |store| replay(store, id, seen)).await?;
        for (seq, record, state) in &told.entries {
            self.send(*seq, record, state).await?;
        }
        Ok(told.ended)
    }

    async fn send(&mut self, seq: u64, record: &Record, state: &JobState) -> Result<(), Stop> {
        let data = JobEvent { at: record.at, entry: record.entry.clone(), job: JobView::of(state) };
        let event = Event::default().id(seq.to_string()).event(record.entry.word());
        let event = event.json_data(&data).map_err(|e| ApiError::internal(&e))?;
        self.sender.send(Ok(event)).await.map_err(|_| Stop)?;
        self.seen = seq;
        Ok(())
    }
}

struct Told {
    entries: Vec<(u64, Record, JobState)>,
    ended: bool,
}

/// The journal's entries after `seen`, each with the job after it.
fn replay(store: &Store, id: JobId, seen: u64) -> Result<Told, StoreError> {
    let mut entries = Vec::new();
    let mut state: Option<JobState> = None;
    for (seq, record) in store.records(id, 0)? {
        let fold = match &mut state {
            None => JobState::create(id, &record).map(|new| state = Some(new)),
            Some(state) => state.apply(&record),
        };
        fold.map_err(|why| StoreError::Fold { job: id, why })?;
        if let Some(state) = &state
            && seq > seen
        {
            entries.push((seq, record, state.clone()));
        }
    }
    Ok(Told { entries, ended: state.is_some_and(|s| s.ended.is_some()) })
}
