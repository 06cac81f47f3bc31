//! One child from start to gone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessSession, ResetSigmask};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::group::{Group, Stat};
use super::leftovers::Recorded;
use super::{Command, Ended, Leftovers, Limits, LogFile, MARK, ProcessError};
use crate::model::JobId;

/// How much is read, masked and written at a time: what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// How long the pipe is read when nothing that we know of can write to it any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs `command` for `job` until it and everything it started is gone, with its output (stdout and stderr in the
/// order they were written) in `log`.
///
/// Errors are about running it; a command that fails is an `Ok`. Dropping the future kills the command too, but only
/// the next [`Leftovers::sweep`] confirms it.
pub async fn run(
    command: Command,
    limits: Limits,
    job: JobId,
    leftovers: &Leftovers,
    log: &mut LogFile,
    cancel: &CancellationToken,
) -> Result<Ended, ProcessError> {
    if cancel.is_cancelled() {
        return Ok(Ended::Canceled);
    }
    let mut child = Running::start(command, job, leftovers)?;
    let result = child.watch(limits, log, cancel).await;
    let ended = child.end(limits, log).await;
    let settled = log.settle().await;
    // In this order: what went wrong first is the cause of the rest.
    let outcome = result?;
    let status = ended?;
    settled?;
    Ok(match outcome {
        Some(by_us) => by_us,
        None => match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited(code),
            (None, signal) => Ended::Signaled(signal.unwrap_or(0)),
        },
    })
}

/// A child that has not been seen to be gone. Dropped as such, it is killed, and its record stays.
struct Running {
    child: Box<dyn ChildWrapper>,
    output: pipe::Receiver,
    /// The output has not ended.
    open: bool,
    group: Group,
    recorded: Option<Recorded>,
    started: Instant,
}

impl Running {
    fn start(command: Command, job: JobId, leftovers: &Leftovers) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start {
            program: command.program.to_string_lossy().into_owned(),
            dir: command.dir.clone(),
            source,
        };
        // One pipe for both, so that their order is kept.
        let (reader, stdout) = io::pipe().map_err(failed)?;
        let stderr = stdout.try_clone().map_err(failed)?;
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(failed)?;
        let mut recorded = leftovers.record(job)?;
        let mut wrap = CommandWrap::with_new(&command.program, |inner| {
            inner
                .args(&command.args)
                .current_dir(&command.dir)
                .env_clear()
                .envs(command.env.iter().map(|(name, value)| (name, value)))
                .env(MARK, recorded.mark())
                .stdin(Stdio::null())
                .stdout(stdout)
                .stderr(stderr);
        });
        let spawned = wrap.wrap(ProcessSession).wrap(ResetSigmask).wrap(KillOnDrop).spawn();
        // It holds our ends of the pipe: while they are open, the output never ends.
        drop(wrap);
        let child = match spawned {
            Ok(child) => child,
            Err(source) => {
                recorded.close();
                return Err(failed(source));
            }
        };
        // Not reaped yet, so /proc has it.
        let leader = child.id().and_then(|pid| Stat::of(pid as i32)).map(|stat| (stat.pid, stat.start));
        let group = Group { leader, mark: recorded.mark().to_owned(), cgroup: command.cgroup };
        let noted = match leader {
            Some(leader) => recorded.started(leader),
            None => Err(ProcessError::Lost { source: io::Error::other("/proc does not show it") }),
        };
        let running = Self { child, output, open: true, group, recorded: Some(recorded), started: Instant::now() };
        // If it could not be noted, dropping it here kills it.
        noted.map(|()| running)
    }

    /// Moves output until the child ends (`None`) or has to be ended, and why.
    async fn watch(
        &mut self,
        limits: Limits,
        log: &mut LogFile,
        cancel: &CancellationToken,
    ) -> Result<Option<Ended>, ProcessError> {
        let total = self.started + limits.total;
        let mut silent = self.started + limits.silence;
        let mut linger: Option<Instant> = None;
        let mut buffer = vec![0; CHUNK];
        loop {
            if linger.is_some() && !self.open {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(Some(Ended::Canceled)),
                () = sleep_until(linger.unwrap_or(total)) => {
                    return Ok(linger.is_none().then_some(Ended::TotalTimeout(limits.total)));
                }
                status = self.child.wait(), if linger.is_none() => {
                    status.map_err(|source| ProcessError::Lost { source })?;
                    linger = Some(Instant::now() + limits.linger);
                }
                read = self.output.read(&mut buffer), if self.open => {
                    let read = read.map_err(|source| ProcessError::Lost { source })?;
                    self.open = read > 0;
                    log.write_output(&buffer[..read]).await?;
                    silent = Instant::now() + limits.silence;
                }
                () = sleep_until(silent), if linger.is_none() => {
                    return Ok(Some(Ended::SilenceTimeout(limits.silence)));
                }
            }
        }
    }

    /// Ends whatever of it is alive, takes its last words, and confirms.
    async fn end(&mut self, limits: Limits, log: &mut LogFile) -> Result<ExitStatus, ProcessError> {
        let group = self.group.clone();
        let mut ending = std::pin::pin!(group.end(limits.grace));
        let mut last_words = Ok(());
        let mut buffer = vec![0; CHUNK];
        // What is being ended may still have something to say, and must not be stuck saying it. Once it is gone, what
        // is left in the pipe is read too; not for ever, in case something we can't see holds it open.
        let mut until: Option<Instant> = None;
        while until.is_none() || self.open {
            tokio::select! {
                biased;
                ended = &mut ending, if until.is_none() => {
                    ended?;
                    until = Some(Instant::now() + LAST_WORDS);
                }
                () = sleep_until(until.unwrap_or(self.started)), if until.is_some() => break,
                read = self.output.read(&mut buffer), if self.open => {
                    let read = read.unwrap_or(0);
                    self.open = read > 0;
                    if last_words.is_ok() {
                        last_words = log.write_output(&buffer[..read]).await;
                    }
                }
            }
        }
        let status = self.child.wait().await.map_err(|source| ProcessError::Lost { source })?;
        if let Some(recorded) = self.recorded.take() {
            recorded.close();
        }
        last_words.map(|()| status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.recorded.is_some() {
            self.group.kill_now();
        }
    }
}
