//! Running a script on a host, and ending it there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use openssh::{Child, ChildStderr, ChildStdin, ChildStdout, Session, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{Cause, Error, label};
use super::hosts::{Hosts, Line};
use super::stream::{Keep, Stream};
use crate::model::Host;

/// Runs the script `$2` in a process group of its own and watches its own standard input: when that closes, because
/// we closed it or because the connection is gone, the group is ended (TERM, after five seconds KILL). A line with
/// the token `$1` on both streams says that the script has ended, and how: its exit code, 98 if it was ended, 97 if it
/// would not go. The line is needed since an exit status can overtake the output before it.
/// The forms are those that both dash and bash take: dash refuses `kill -- -PGID`.
const WRAPPER: &str = r#"exec 3<&0 </dev/null
T=$1 S=$2; shift 2
setsid sh -c "$S" airplanes "$@" 3<&- & P=$!
(
  read -r _ <&3
  trap '' TERM
  until kill -0 "-$P" || ! kill -0 "$P"; do sleep 0.1; done
  n=0
  while kill -0 "-$P"; do
    if [ "$n" -lt 50 ]; then kill -TERM "-$P"; elif [ "$n" -lt 100 ]; then kill -KILL "-$P"; else exit 1; fi
    n=$((n + 1)); sleep 0.1
  done
  exit 0
) >/dev/null 2>&1 & W=$!
wait "$P" 2>/dev/null; R=$?
kill "$W" 2>/dev/null
wait "$W" 2>/dev/null
case $? in 0) R=98 ;; 1) R=97 ;; esac
printf '\n%s %s\n' "$T" "$R" >&2
printf '\n%s %s\n' "$T" "$R""#;

/// Runs the script `$2` with what we send as its standard input, and ends with the same lines. It can't be told to end:
/// its input ends early instead, and a script that takes input has to know how much it should have had.
const FEEDER: &str = r#"T=$1 S=$2; shift 2
sh -c "$S" airplanes "$@"; R=$?
printf '\n%s %s\n' "$T" "$R" >&2
printf '\n%s %s\n' "$T" "$R""#;

/// The wrapper's word for a script that it ended.
const ENDED: i32 = 98;
/// How long the host gets to confirm that a script was ended: the wrapper's ten seconds, and the way there and back.
const CONFIRM: Duration = Duration::from_secs(15);
/// How long a connection may take to open a session: longer than a dead one takes to be noticed.
const OPEN: Duration = Duration::from_secs(20);
/// Bytes of standard output that are kept: answers are small.
const ANSWER: usize = 1 << 20;
/// Bytes of standard error that are kept, for the error's text; the log has had all of it.
const WORDS: usize = 32 << 10;

/// A script with its arguments: what is done on a host. Building one does nothing, so tests can compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name in errors and logs: `restart`.
    pub what: &'static str,
    /// POSIX sh, constant; it finds its arguments in `$1` and so on.
    pub script: &'static str,
    /// The positional arguments. They reach the script byte for byte, whatever they hold, but for NUL.
    pub args: Vec<String>,
}

/// What a script gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 and a signal's number if a signal ended it.
    pub status: i32,
    /// Its answer, the first MiB.
    pub stdout: Vec<u8>,
    /// Its words, the last 32 KiB or a little more.
    pub stderr: Vec<u8>,
    /// Whether there was more of either than is here.
    pub cut: bool,
}

impl Output {
    /// The answer as text.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }
}

/// Why waiting for the script stopped before it ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Timeout,
    Cancel,
}

/// What a script gets as its standard input. Held open, its end is the sign to the wrapper that the script is to end.
pub(super) enum Feed {
    /// These bytes, and then it is held open.
    Held(Vec<u8>),
    /// A file, from where it stands to its end.
    File(tokio::fs::File),
}

impl Hosts {
    /// Runs a call on a host, connecting first if need be. What the script writes to standard error goes to `log` as
    /// it comes. Any exit code is an `Ok`.
    ///
    /// `timeout` counts from when the script is asked for, not from the connect. Out of time, or canceled, the script
    /// is ended on the host before this returns. Dropping the future ends it too, but nobody sees it end.
    pub async fn run(
        &self,
        host: &Host,
        call: &Call,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Output, Error> {
        match self.talk_with(host) {
            Some(talk) => talk.run(self, host, call, timeout, cancel, log).await,
            None => self.carry(host, call, Feed::Held(Vec::new()), timeout, cancel, log).await,
        }
    }

    /// The same with `input` as the script's standard input, from where it stands to its end. Out of time, canceled or
    /// with the connection lost, the script's input ends early: it has to compare what came with what it was to get.
    /// It has a session of its own, beside the conversation if there is one.
    pub async fn send(
        &self,
        host: &Host,
        call: &Call,
        input: tokio::fs::File,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Output, Error> {
        if let Some(talk) = self.talk_with(host)
            && let Some(refused) = talk.ensure(self, host, timeout, cancel, log).await?
        {
            return Ok(refused);
        }
        self.carry(host, call, Feed::File(input), timeout, cancel, log).await
    }

    async fn carry(
        &self,
        host: &Host,
        call: &Call,
        feed: Feed,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Output, Error> {
        let line = self.line(host);
        let canceled = || Error::Canceled { host: label(host), what: call.what, ended: true };
        let _turn = tokio::select! {
            turn = line.sessions.acquire() => turn,
            () = cancel.cancelled() => return Err(canceled()),
        };
        let token = token();
        let wrapper = if matches!(feed, Feed::File(_)) { FEEDER } else { WRAPPER };
        let mut channel = self.open(host, &line, (wrapper, call), &token, timeout, cancel).await?;
        channel.follow((host, call.what), feed, &token, timeout, cancel, log).await.settle(&line, &channel).await
    }

    /// Starts the script; on a connection that turns out to be dead, on a new one.
    pub(super) async fn open(
        &self,
        host: &Host,
        line: &Line,
        (wrapper, call): (&str, &Call),
        token: &str,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<Channel, Error> {
        let limit = timeout.min(OPEN);
        let mut tries = 0;
        loop {
            tries += 1;
            let session = self.session(host, line, cancel).await?;
            let mut command = session.clone().arc_command("sh");
            command.args(["-c", wrapper, "airplanes", token, call.script]).args(&call.args);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let spawned = tokio::select! {
                spawned = tokio::time::timeout(limit, command.spawn()) => spawned,
                () = cancel.cancelled() => {
                    return Err(Error::Canceled { host: label(host), what: call.what, ended: false });
                }
            };
            let gone = |cause, said: String| Error::Unreachable { host: label(host), cause, said };
            let hung = spawned.is_err();
            let error = match spawned {
                Ok(Ok(mut child)) => {
                    let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
                    return Ok(Channel { session, _child: child, stdin, stdout, stderr });
                }
                Ok(Err(openssh::Error::InvalidCommand)) => return Err(nul(host)),
                Ok(Err(error)) => gone(Cause::Dropped, format!("its connection takes no session: {error}")),
                Err(_) => gone(Cause::TimedOut, format!("its connection opened no session in {limit:?}")),
            };
            let alive = !hung && is_alive(&session).await;
            if !alive {
                line.forget(&session).await;
            }
            tracing::debug!(host = %host.name, %error, alive, tries, "no session");
            // Nothing was started: sshd refused (MaxSessions is set low there), or the connection was dead.
            if tries == 4 {
                return Err(error);
            }
            if alive {
                tokio::time::sleep(Duration::from_millis(100 << tries)).await;
            }
        }
    }
}

/// What no command line can hold.
pub(super) fn nul(host: &Host) -> Error {
    Error::BadHost { host: label(host), why: "a path or command for it holds a NUL byte" }
}

/// A session on a host, with the streams of what runs in it.
#[derive(Debug)]
pub(super) struct Channel {
    session: Arc<Session>,
    _child: Child<Arc<Session>>,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

/// A script that was followed to its end, or until nobody waits for it any more.
pub(super) struct Followed<'a> {
    host: &'a Host,
    what: &'static str,
    timeout: Duration,
    stopped: Option<Stop>,
    out: Stream,
    err: Stream,
}

impl Channel {
    /// Reads until both streams have the line with the token, or have ended. Out of time or canceled, it tells the
    /// wrapper to end the script and gives it [`CONFIRM`] to say so.
    pub(super) async fn follow<'a>(
        &mut self,
        (host, what): (&'a Host, &'static str),
        feed: Feed,
        token: &str,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Followed<'a> {
        let (mut out, mut err) = (Stream::new(token, Keep::Head(ANSWER)), Stream::new(token, Keep::Tail(WORDS)));
        let mut stdin = self.stdin.take();
        let mut feeding: Option<Pin<Box<dyn Future<Output = Option<ChildStdin>> + Send>>> =
            Some(Box::pin(async move {
                match feed {
                    Feed::Held(bytes) => stdin.as_mut()?.write_all(&bytes).await.ok().and(stdin),
                    // A script that ends without all of it says why.
                    Feed::File(mut file) => tokio::io::copy(&mut file, stdin.as_mut()?).await.ok().and(None),
                }
            }));
        let (mut out_buffer, mut err_buffer) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        let deadline = tokio::time::sleep_until(Instant::now() + timeout);
        tokio::pin!(deadline);
        let mut stopped = None;
        while !(out.done() && err.done()) {
            let stop = tokio::select! {
                read = read(&mut self.stdout, &mut out_buffer), if !out.done() => {
                    out.push(&out_buffer[..read], &mut |_| ());
                    continue;
                }
                read = read(&mut self.stderr, &mut err_buffer), if !err.done() => {
                    err.push(&err_buffer[..read], log);
                    continue;
                }
                held = fed(&mut feeding), if feeding.is_some() => {
                    (self.stdin, feeding) = (held, None);
                    continue;
                }
                () = cancel.cancelled(), if stopped.is_none() => Stop::Cancel,
                () = &mut deadline => Stop::Timeout,
            };
            if stopped.is_some() {
                break;
            }
            tracing::debug!(host = %host.name, what, "ending the remote script");
            stopped = Some(stop);
            (self.stdin, feeding) = (None, None);
            deadline.as_mut().reset(Instant::now() + CONFIRM);
        }
        // Its end may have come before anybody looked whether it had read all.
        if let Some(held) = feeding.and_then(FutureExt::now_or_never) {
            self.stdin = held;
        }
        Followed { host, what, timeout, stopped, out, err }
    }
}

impl Followed<'_> {
    /// Whether it came to its own end.
    pub(super) fn is_whole(&self) -> bool {
        self.stopped.is_none() && self.out.status().is_some() && self.err.status().is_some()
    }

    /// What it gave back. A connection that does not say how it ended is not to be trusted.
    pub(super) async fn settle(self, line: &Line, channel: &Channel) -> Result<Output, Error> {
        let Followed { host, what, timeout, stopped, out, err } = self;
        let status = out.status();
        // Neither an end nor, within its time, a sign of one.
        if status.is_none() && (stopped.is_some() || !is_alive(&channel.session).await) {
            line.forget(&channel.session).await;
        }
        let ended = status.is_some_and(|code| code != 97);
        match (stopped, status) {
            (Some(Stop::Timeout), Some(code)) if code != ENDED && code != 97 => {}
            (Some(Stop::Timeout), _) => {
                return Err(Error::TimedOut { host: label(host), what, after: timeout, ended });
            }
            (Some(Stop::Cancel), _) => return Err(Error::Canceled { host: label(host), what, ended }),
            (None, _) => {}
        }
        match status {
            Some(status) => {
                let ((stdout, cut_out), (stderr, cut_err)) = (out.into_kept(), err.into_kept());
                Ok(Output { status, stdout, stderr, cut: cut_out || cut_err })
            }
            None => Err(Error::Lost { host: label(host), what }),
        }
    }
}

/// The feed's end: standard input again where it is held.
async fn fed(feed: &mut Option<Pin<Box<dyn Future<Output = Option<ChildStdin>> + Send>>>) -> Option<ChildStdin> {
    match feed {
        Some(feed) => feed.await,
        None => None,
    }
}

/// Some bytes; none at the end, or when the connection's process is gone.
pub(super) async fn read(from: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match from {
        Some(stream) => stream.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

async fn is_alive(session: &Session) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(2), session.check()).await, Ok(Ok(())))
}

/// What marks the end of this run's streams: no script can print it by accident.
pub(super) fn token() -> String {
    let mut bytes = [0; 12];
    // Without randomness the time still tells the runs apart.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = jiff::Timestamp::now().as_nanosecond().to_le_bytes()[..12].try_into().unwrap_or_default();
    }
    format!("airplanes-{}", crate::model::hex(bytes))
}
