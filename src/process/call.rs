//! A short command with input: what it prints is kept in memory up to a bound, and it ends within its time.

use std::process::Stdio;
use std::time::Duration;

use process_wrap::tokio::{CommandWrap, KillOnDrop, ProcessSession, ResetSigmask};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Command, ProcessError};

/// How much of what it prints is kept, in bytes.
const LONGEST: usize = 16 << 10;

/// How long its output is waited for once it has ended.
const LINGER: Duration = Duration::from_secs(1);

/// How a short command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Whether it was ended since its time was over.
    pub timed_out: bool,
    /// The beginning of what it printed, standard error after standard output.
    pub output: Vec<u8>,
}

/// Runs `command` with `input` on its standard input, for `limit` at most; then it and its session are killed. A
/// command that does not read its input is fine.
pub async fn call(command: Command, input: Vec<u8>, limit: Duration) -> Result<Called, ProcessError> {
    let failed = |source| ProcessError::Start {
        program: command.program.to_string_lossy().into_owned(),
        dir: command.dir.clone(),
        source,
    };
    let lost = |source| ProcessError::Lost { source };
    let mut wrap = CommandWrap::with_new(&command.program, |inner| {
        inner
            .args(&command.args)
            .current_dir(&command.dir)
            .env_clear()
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    });
    let mut child = wrap.wrap(ProcessSession).wrap(ResetSigmask).wrap(KillOnDrop).spawn().map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
    let write = async {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(&input).await;
        }
    };
    let (mut output, mut err) = (Vec::new(), Vec::new());
    let whole = async {
        let talk = async { tokio::join!(write, drain(stdout, &mut output), drain(stderr, &mut err)) };
        let mut talk = std::pin::pin!(talk);
        let mut ended = std::pin::pin!(child.wait());
        tokio::select! {
            _ = &mut talk => ended.await,
            status = &mut ended => {
                // Something that it left behind may hold its output open: what came until now is what it said.
                let _ = tokio::time::timeout(LINGER, talk).await;
                status
            }
        }
    };
    let ended = tokio::time::timeout(limit, whole).await;
    output.extend(err);
    output.truncate(LONGEST);
    match ended {
        Ok(status) => Ok(Called { code: status.map_err(lost)?.code(), timed_out: false, output }),
        Err(_) => {
            child.start_kill().map_err(lost)?;
            let _ = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
            Ok(Called { code: None, timed_out: true, output })
        }
    }
}

/// Reads to the end, and keeps the beginning in `kept`.
async fn drain(from: Option<impl tokio::io::AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 4096];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        let room = LONGEST.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&buffer[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(line: &str, limit: Duration) -> Called {
        let args = vec!["-c".into(), line.into()];
        let env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        let command = Command { program: "/bin/sh".into(), args, dir: "/".into(), env, cgroup: None };
        call(command, Vec::new(), limit).await.unwrap()
    }

    #[tokio::test]
    async fn what_a_command_said_is_kept_though_its_child_holds_its_output_open() {
        let long = Duration::from_secs(60);
        let called = shell("echo said; echo and told >&2; sleep 3 & exit 3", long).await;
        assert_eq!(called, Called { code: Some(3), timed_out: false, output: b"said\nand told\n".to_vec() });
    }

    #[tokio::test]
    async fn what_a_command_said_before_its_time_was_over_is_kept() {
        let called = shell("echo said; exec sleep 20", Duration::from_secs(1)).await;
        assert_eq!(called, Called { code: None, timed_out: true, output: b"said\n".to_vec() });
    }
}
