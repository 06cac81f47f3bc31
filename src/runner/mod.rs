//! Where a build runs. `pipeline` hands over one step of one job's build and gets its end; [`Local`] runs it as a
//! child of the daemon, through `process`.
//!
//! Must never give a build the daemon's own environment: the operator's token, webhook secrets, an ssh agent and
//! systemd's credentials stay behind. What a build gets is listed in [`local`].

pub mod cell;
pub mod local;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::upkeep::Bytes;
use crate::model::{AppName, BuildStep, JobId, Sha};
use crate::process::{LogFile, ProcessError};

pub use local::{Local, clean_env};

/// The places a build can run.
#[derive(Debug, Clone)]
pub enum Runner {
    /// On this machine.
    Local(Local),
}

/// One step of one job's build.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The job.
    pub job: JobId,
    /// Its app.
    pub app: &'a AppName,
    /// The commit that is built.
    pub sha: Sha,
    /// The command.
    pub step: &'a BuildStep,
    /// The clone it runs in, all of which it may write.
    pub dir: &'a Path,
    /// The folder of the clone that its command begins in; none for the clone itself.
    pub directory: Option<&'a str>,
    /// The job's folder for temporary files.
    pub tmp: &'a Path,
    /// What it may read of the daemon's own folders: its git configuration, and mirrors.
    pub reads: &'a [PathBuf],
    /// The git configuration that points dependencies at our mirrors, for `GIT_CONFIG_GLOBAL`.
    pub git_config: Option<&'a Path>,
    /// How long it may take: what the steps before it left of the app's time-out.
    pub total: Duration,
    /// How long it may print nothing.
    pub silence: Duration,
}

/// How a step ended. Its `Display` is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildOutcome {
    /// Exit code 0.
    Done,
    /// Another exit code.
    Failed {
        /// The code.
        exit_code: i32,
    },
    /// A signal that was not ours ended it.
    Signaled {
        /// Its number.
        signal: i32,
    },
    /// It took too long and was ended.
    TimedOut {
        /// Which limit it met.
        limit: Limit,
        /// The limit.
        after: Duration,
    },
    /// The kernel ended it for want of memory.
    OutOfMemory {
        /// The limit that it met, in bytes; none if it was the machine that had no more.
        limit: Option<u64>,
    },
    /// It was ended because someone canceled the job.
    Canceled,
}

/// The two limits of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `:timeout`
    Total,
    /// `:silence`
    Silence,
}

impl fmt::Display for BuildOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Done => write!(f, "the build is done"),
            Self::Failed { exit_code: 126 } => write!(f, "the build failed: exit code 126 (not executable)"),
            Self::Failed { exit_code: 127 } => {
                write!(f, "the build failed: exit code 127 (a command is not installed here, or not in PATH)")
            }
            Self::Failed { exit_code } => write!(f, "the build failed: exit code {exit_code}"),
            Self::Signaled { signal } => {
                let name = nix::sys::signal::Signal::try_from(signal).map_or("a signal", |signal| signal.as_str());
                let hint = if signal == 9 { "; `dmesg` tells whether the machine ran out of memory" } else { "" };
                write!(f, "the build was killed from outside: {name} ({signal}){hint}")
            }
            Self::TimedOut { limit: Limit::Total, after } => {
                write!(f, "the build was ended: it took longer than {}; :timeout allows more", words(after))
            }
            Self::TimedOut { limit: Limit::Silence, after } => {
                let after = words(after);
                write!(f, "the build was ended: it printed nothing for {after}; :silence allows more")
            }
            Self::OutOfMemory { limit: Some(limit) } => {
                let limit = Bytes(limit);
                write!(f, "the build was killed: it used more than {limit} of memory; :builds {{:memory}} allows more")
            }
            Self::OutOfMemory { limit: None } => {
                write!(f, "the build was killed: the machine ran out of memory; `dmesg` tells who used it")
            }
            Self::Canceled => write!(f, "the build was canceled"),
        }
    }
}

fn words(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 1000 != 0 => format!("{millis} ms"),
        millis if millis % 60_000 != 0 => format!("{} s", millis / 1000),
        millis => format!("{} min", millis / 60_000),
    }
}

impl Runner {
    /// What each build may take, in words, and what it is not kept from or limited in here. None where nothing is.
    pub fn kept(&self) -> Option<(Option<String>, Vec<String>)> {
        match self {
            Self::Local(local) => local.kept(),
        }
    }

    /// Runs one step to its end, its output in `log`. Nothing of it is alive afterwards.
    pub async fn run(
        &self,
        build: Build<'_>,
        log: &mut LogFile,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, ProcessError> {
        match self {
            Self::Local(local) => local.run(build, log, cancel).await,
        }
    }
}
