//! Why the demo could not be shown to its end.

use std::io;
use std::path::{Path, PathBuf};

use super::sshd::SshdError;

/// Why the demo could not be shown to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No sshd runs.
    #[error(transparent)]
    Sshd(#[from] SshdError),
    /// A program is missing.
    #[error("{program} is not installed; install it with `apt-get install {package}`")]
    Missing {
        /// `git`, `ssh` or `perl`.
        program: &'static str,
        /// Debian's package that has it.
        package: &'static str,
    },
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// What it said last.
        said: String,
    },
    /// A file or folder of the demo could not be written or read.
    #[error("{}: {source}; the demo needs it", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something of ours that others would have to have broken.
    #[error("the demo's {what} can't be used: {why}")]
    Own {
        /// What it is.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The daemon does not run.
    #[error("the daemon did not start: {0}")]
    Daemon(String),
    /// The daemon did not answer as it should.
    #[error("{url}: {why}; the daemon's log is {}", .log.display())]
    Http {
        /// What was asked for.
        url: String,
        /// What happened.
        why: String,
        /// Where to look.
        log: PathBuf,
    },
    /// It ran, but not all of what was to be seen was seen.
    #[error("not all of it was seen:\n{}", .0.iter().map(|m| format!("  - {m}")).collect::<Vec<_>>().join("\n"))]
    Unseen(Vec<String>),
    /// A person or the system ended it before its end.
    #[error("ended by a signal before everything was seen")]
    Interrupted,
    /// What is left could not be removed.
    #[error("{} could not be removed: {source}; remove it yourself", .path.display())]
    Left {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DemoError {
    /// For `map_err`: an I/O error about `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}
