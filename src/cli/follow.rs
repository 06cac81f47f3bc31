//! Following a job by its server-sent events, across restarts of the daemon.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::time::sleep;

use super::client::Client;
use super::error::CliError;
use super::output::say;
use crate::model::JobId;
use crate::model::api::JobView;
use crate::model::inbox::JobEvent;

/// How long the daemon may be gone before we give up. A restart takes less.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// An event larger than this is not one of ours.
const MAX_EVENT: usize = 8 << 20;

/// Tells every entry of the job's journal, those of before too, and gives the job as it ended.
pub(super) async fn follow(client: &Client, id: JobId, mut tell: impl FnMut(&JobEvent)) -> Result<JobView, CliError> {
    let mut seen = 0;
    let mut absence = Absence::default();
    loop {
        let before = seen;
        let mut heard = |event: &JobEvent| {
            absence.over();
            tell(event);
        };
        match read(client, id, &mut seen, &mut heard).await {
            Ok(Some(job)) => return Ok(job),
            Err(error @ CliError::Unreachable { .. }) if before == 0 && seen == 0 => return Err(error),
            // It was there until now.
            _ if seen > before => {}
            // The stream ended before the job: the daemon is on its way out, or its store is at fault.
            Ok(None) => absence.goes_on(CliError::other("the daemon's stream of events ends again and again"))?,
            Err(error @ (CliError::Unreachable { .. } | CliError::Answer { status: 503, .. })) => {
                absence.goes_on(error)?;
            }
            Err(error) => return Err(error),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// The daemon is gone: said once, borne for a while, and said when it is over.
#[derive(Default)]
pub(super) struct Absence {
    since: Option<Instant>,
}

impl Absence {
    /// It does not answer still; an error if that has gone on for too long.
    pub fn goes_on(&mut self, error: CliError) -> Result<(), CliError> {
        match self.since {
            Some(since) if since.elapsed() >= PATIENCE => return Err(error),
            Some(_) => {}
            None => {
                self.since = Some(Instant::now());
                say(&format!("{error}; trying again for {} s", PATIENCE.as_secs()));
            }
        }
        Ok(())
    }
    /// It answers.
    pub fn over(&mut self) {
        if self.since.take().is_some() {
            say("the daemon answers again");
        }
    }
}

/// One stream. `Some` if the job has ended.
async fn read(
    client: &Client,
    id: JobId,
    seen: &mut u64,
    tell: &mut impl FnMut(&JobEvent),
) -> Result<Option<JobView>, CliError> {
    let response = client.events(id, *seen).await?;
    if response.status() == 204 {
        return client.job(id).await.map(Some);
    }
    let mut stream = response.bytes_stream();
    let mut buffer = Vec::new();
    while let Some(bytes) = stream.next().await {
        buffer.extend_from_slice(&bytes.map_err(|e| client.broken(&e))?);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = buffer.drain(..end + 2).collect();
            let Some((place, event)) = parse(&event)? else { continue };
            *seen = place;
            tell(&event);
            if event.job.has_ended() {
                return Ok(Some(event.job));
            }
        }
        if buffer.len() > MAX_EVENT {
            return Err(CliError::other("the daemon's stream of events is not one"));
        }
    }
    Ok(None)
}

/// An event and its place in the journal. None for a comment.
fn parse(event: &[u8]) -> Result<Option<(u64, JobEvent)>, CliError> {
    let strange = |why: String| CliError::other(format!("an event of the daemon can't be read: {why}"));
    let text = std::str::from_utf8(event).map_err(|e| strange(e.to_string()))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    let (Some(id), Some(data)) = (field("id:"), field("data:")) else { return Ok(None) };
    let id = id.parse().map_err(|_| strange(format!("its id is `{id}`")))?;
    Ok(Some((id, serde_json::from_str(data).map_err(|e| strange(e.to_string()))?)))
}
