//! Following a job by its server-sent events, across restarts of the daemon.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::sleep;

use super::client::Client;
use super::error::CliError;
use crate::model::JobId;
use crate::model::api::JobView;
use crate::model::inbox::JobEvent;

/// How often in a row the daemon may not answer before we give up; a second apart. A restart takes less.
const PATIENCE: u32 = 30;
/// An event larger than this is not one of ours.
const MAX_EVENT: usize = 8 << 20;

/// Tells every entry of the job's journal, those of before too, and gives the job as it ended.
pub(super) async fn follow(client: &Client, id: JobId, mut tell: impl FnMut(&JobEvent)) -> Result<JobView, CliError> {
    let (mut seen, mut missed) = (0, 0);
    loop {
        let before = seen;
        match read(client, id, &mut seen, &mut tell).await {
            Ok(Some(job)) => return Ok(job),
            // The stream ended before the job: the daemon is on its way out, or its store is at fault.
            Ok(None) => {}
            Err(error @ CliError::Unreachable { .. }) if missed >= PATIENCE || before == 0 && seen == 0 => {
                return Err(error);
            }
            Err(CliError::Unreachable { .. }) => {}
            Err(CliError::Answer { status: 503, .. }) if missed < PATIENCE => {}
            Err(error) => return Err(error),
        }
        missed = if seen > before { 0 } else { missed + 1 };
        sleep(Duration::from_secs(1)).await;
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
