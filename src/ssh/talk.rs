//! A conversation: one session on a host in which many scripts run, one after the other. A turn asks a host ten things, and
//! a session for each would cost more than most of the answers.
//!
//! On the host a shell reads calls from its standard input and runs each in a process group of its own. Its input's end,
//! because we closed it or because the connection is gone, ends the call in hand (TERM, after five seconds KILL), and
//! then the conversation. So a call that is out of time or canceled ends the conversation; the next call opens another.
//!
//! A conversation may open with a script that runs in its own shell. What that holds, like a lock on a descriptor, the
//! kernel lets go of when the shell ends, however it ends; the calls do not inherit it.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::error::{Error, label};
use super::hosts::{Hosts, Key};
use super::run::{Call, Channel, Feed, Output, nul, read, token};
use crate::model::Host;

/// The shell on the host. What it says of itself is in the file.
const LOOP: &str = include_str!("talk.sh");

/// How long an opening may take.
const OPENING: Duration = Duration::from_secs(60);
/// How long the host gets to see that we hung up.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// A conversation with a host, open or not.
#[derive(Debug)]
pub(super) struct Talk {
    with: Key,
    opening: Call,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    channel: Channel,
    token: String,
    calls: u32,
    _places: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Talk {
    pub(super) fn new(with: Key, opening: Option<Call>) -> Self {
        let nothing = || Call { what: "begin", script: "", args: Vec::new() };
        Self { with, opening: opening.unwrap_or_else(nothing), open: Mutex::default() }
    }

    pub(super) fn is_with(&self, host: &Key) -> bool {
        self.with == *host
    }

    /// Runs a call, in the conversation if it stands and else in a new one.
    pub(super) async fn run(
        &self,
        hosts: &Hosts,
        host: &Host,
        call: &Call,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Output, Error> {
        if call.args.iter().any(|arg| arg.contains('\0')) {
            return Err(nul(host));
        }
        let mut slot = self.open.lock().await;
        if let Some(refused) = self.stand(&mut slot, hosts, host, timeout, cancel, log).await?.filter(is_refused) {
            return Ok(refused);
        }
        // Taken out: whoever drops this future ends the call, and so the conversation.
        let Some(mut open) = slot.take() else { return Err(Error::Lost { host: label(host), what: call.what }) };
        open.calls += 1;
        let mark = format!("{}.{}", open.token, open.calls);
        let feed = Feed::Held(framed(open.calls, call, &open.token));
        let followed = open.channel.follow((host, call.what), feed, &mark, timeout, cancel, log).await;
        let goes_on = followed.is_whole() && open.channel.stdin.is_some();
        let result = followed.settle(&hosts.line(host), &open.channel).await;
        if goes_on {
            *slot = Some(open);
        }
        result
    }

    /// Sees that the conversation stands; what its opening answered if it does not.
    pub(super) async fn ensure(
        &self,
        hosts: &Hosts,
        host: &Host,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Option<Output>, Error> {
        Ok(self.begin(hosts, host, timeout, cancel, log).await?.filter(is_refused))
    }

    /// Opens it, if it is not; what the opening answered if that was now.
    pub(super) async fn begin(
        &self,
        hosts: &Hosts,
        host: &Host,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Option<Output>, Error> {
        let mut slot = self.open.lock().await;
        self.stand(&mut slot, hosts, host, timeout, cancel, log).await
    }

    async fn stand(
        &self,
        slot: &mut Option<Open>,
        hosts: &Hosts,
        host: &Host,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Option<Output>, Error> {
        if let Some(open) = slot {
            // Between calls nothing is said: an end is all that can have come.
            let mut buffer = [0; 256];
            if read(&mut open.channel.stdout, &mut buffer).now_or_never() != Some(0) {
                return Ok(None);
            }
            tracing::debug!(host = %host.name, "the conversation was lost");
            *slot = None;
        }
        let (what, timeout) = (self.opening.what, timeout.min(OPENING));
        let line = hosts.line(host);
        let places = async {
            // Neither is ever closed.
            Some((line.long.clone().acquire_owned().await.ok()?, line.sessions.clone().acquire_owned().await.ok()?))
        };
        let places = tokio::select! {
            places = places => places,
            () = cancel.cancelled() => return Err(Error::Canceled { host: label(host), what, ended: true }),
        };
        let Some(places) = places else { return Err(Error::Lost { host: label(host), what }) };
        let token = token();
        let mut channel = hosts.open(host, &line, (LOOP, &self.opening), &token, timeout, cancel).await?;
        let mark = format!("{token}.0");
        let followed = channel.follow((host, what), Feed::Held(Vec::new()), &mark, timeout, cancel, log).await;
        let output = followed.settle(&line, &channel).await?;
        if !is_refused(&output) {
            *slot = Some(Open { channel, token, calls: 0, _places: places });
        }
        Ok(Some(output))
    }

    pub(super) async fn hang_up(&self) {
        let Some(mut open) = self.open.lock().await.take() else { return };
        open.channel.stdin = None;
        let _ = tokio::time::timeout(SEEN_WITHIN, ended(&mut open.channel)).await;
    }

    pub(super) async fn lost(&self) {
        if let Some(open) = &mut *self.open.lock().await {
            ended(&mut open.channel).await;
        }
    }
}

/// Whether the opening has ended the conversation.
fn is_refused(opening: &Output) -> bool {
    opening.status != 0
}

async fn ended(channel: &mut Channel) {
    let mut buffer = [0; 256];
    while read(&mut channel.stdout, &mut buffer).await != 0 {}
}

/// A call as the shell reads it: its arguments quoted, byte for byte.
fn framed(number: u32, call: &Call, token: &str) -> Vec<u8> {
    let args: String = call.args.iter().map(|arg| format!(" '{}'", arg.replace('\'', r"'\''"))).collect();
    let text = format!("set --{args}\n{}\n#{token}", call.script);
    format!("{number} {}\n{text}", text.len()).into_bytes()
}
