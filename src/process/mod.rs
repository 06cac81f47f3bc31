//! Children under control: each in a session of its own, its output on disk before anyone hears of it, and nothing of
//! it left when it is over.
//!
//! `runner` says what to run; this room runs it. Output goes through a masker into a [`LogFile`], followers read that
//! file by offset. Time-outs use the monotonic clock. A child is over when its process has ended *and* everything it
//! started has: its group, its session, what left both but still carries the mark in its environment, and where there are
//! cgroups, whatever it did.
//!
//! Must never leave a process behind without saying so, signal a process it did not start (a recycled pid), pass the
//! daemon's own environment on, or keep output in memory.

mod call;
mod cgroup;
mod group;
mod leftovers;
mod log;
mod machine;
mod mask;
mod removal;
mod run;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use call::{Called, call};
pub use cgroup::{Cgroup, Cgroups, OutOfMemory, Share};
pub use leftovers::{Leftovers, Swept};
pub use log::LogFile;
pub use machine::Machine;
pub use mask::Masker;
pub use removal::remove;
pub use run::run;

/// The variable that marks everything a child starts. Its value is random, and new for each run.
pub const MARK: &str = "AIRPLANES_RUN";

/// What to run: an argv, never a shell string.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program, looked up in the `PATH` of `env` if it holds no slash.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The folder it runs in.
    pub dir: PathBuf,
    /// Its whole environment but for the mark: nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The cgroup that it joins as it starts: whatever is in there is part of it.
    pub cgroup: Option<PathBuf>,
}

/// How long a child may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For all of it.
    pub total: Duration,
    /// Without printing anything.
    pub silence: Duration,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long the output is still read once the child has ended but something it started holds the pipe open.
    pub linger: Duration,
}

impl Limits {
    /// Five seconds between SIGTERM and SIGKILL, two for what the child left behind.
    pub fn new(total: Duration, silence: Duration) -> Self {
        Self { total, silence, grace: Duration::from_secs(5), linger: Duration::from_secs(2) }
    }
}

/// How a child ended. In every case everything it started is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal that we did not send.
    Signaled(i32),
    /// We ended it: it ran for longer than this.
    TotalTimeout(Duration),
    /// We ended it: it printed nothing for longer than this.
    SilenceTimeout(Duration),
    /// We ended it because we were asked to.
    Canceled,
}

/// What went wrong with running a child, as opposed to a child that failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It never ran.
    #[error("could not start `{program}` in {}: {source}; see that the program is in PATH and the folder exists", dir.display())]
    Start {
        /// The program.
        program: String,
        /// Where it was to run.
        dir: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The log could not be written for want of space. The child has been ended.
    #[error("the disk is full: {} could not be written, so the command was ended; free some space and run it again", path.display())]
    DiskFull {
        /// The log.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The log could not be written for another reason. The child has been ended.
    #[error("could not write the log {}: {source}; see that the folder is there and the daemon may write it", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The record by which a later daemon would find the child could not be written or read, so nothing was started.
    #[error("could not keep {}: {source}; see that the state directory is there, writable and not full", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The child's cgroup could not be made, so nothing was started.
    #[error("could not make a cgroup for job {job}: {source}; a restart of the daemon takes its cgroup anew")]
    Cgroup {
        /// Whose it was to be.
        job: crate::model::JobId,
        /// The system's word.
        source: io::Error,
    },
    /// The system refused to tell about the child.
    #[error("lost sight of the command: {source}; it has been killed, run it again")]
    Lost {
        /// The system's word.
        source: io::Error,
    },
    /// Not even SIGKILL ended these.
    #[error(
        "processes {pids:?} did not end {} s after SIGKILL; `ps -o pid,stat,wchan,args -p PID` shows what they wait for \
         (D is a disk or a network mount)", group::CONFIRM.as_secs()
    )]
    Survivors {
        /// Their pids.
        pids: Vec<i32>,
    },
}

impl ProcessError {
    fn log(path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            _ => Self::Log { path, source },
        }
    }
}
