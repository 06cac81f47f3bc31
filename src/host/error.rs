//! Why a host was left as it is, in words that name the files, commits and commands in question.

use std::io;
use std::path::PathBuf;

use crate::model::Sha;
use crate::ssh;

/// What an operation on a host could not do. In every case the host is as it was before, or its marker says `moving`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be reached, or the script failed, was canceled or out of time.
    #[error(transparent)]
    Ssh(#[from] ssh::Error),
    /// There is no git.
    #[error("{host} has no git; install it there (`apt-get install git`)")]
    NoGit {
        /// The host.
        host: String,
    },
    /// There is no systemd.
    #[error("{host} has no systemd; give the app a :restart command")]
    NoSystemd {
        /// The host.
        host: String,
    },
    /// The folder is something else than a clone.
    #[error("{path} on {host} is not a git repository ({said}); move it away, and the next rollout clones it anew")]
    NotGit {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// What is there.
        said: String,
    },
    /// git refuses a folder of somebody else's.
    #[error(
        "git on {host} does not touch {path}: {said}; `chown` it, or log in as its owner (:user), or trust it there with \
         `git config --global --add safe.directory {path}`"
    )]
    Owner {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// Who is who.
        said: String,
    },
    /// Someone else is at work there.
    #[error("{path} on {host} is in use: {said}")]
    Busy {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// Who it is.
        said: String,
    },
    /// Somebody else has the lock.
    #[error("{path} on {host} is locked by {said}; try again when they are done")]
    Locked {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// Who, when and why.
        said: String,
    },
    /// Tracked files were changed by hand.
    #[error("{path} on {host} has changes that are not committed: {}; commit and push them, or `git checkout` them there", names(.files))]
    Changed {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// The files.
        files: Vec<String>,
    },
    /// Files that git does not know stand where the commit has files.
    #[error("{path} on {host} has files in the way that git does not track: {}; move them away there", names(.files))]
    InTheWay {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// The files.
        files: Vec<String>,
    },
    /// HEAD is a commit that the wanted one does not contain and that we did not put there.
    #[error(
        "{path} on {host} is at {head} ({about}), which {sha} does not contain; push that commit, or `git reset` it away there"
    )]
    Diverged {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// The commit there.
        head: String,
        /// Its author, date and subject.
        about: String,
        /// The commit that was to come.
        sha: Sha,
    },
    /// The host could not fetch.
    #[error("{host} could not fetch from {origin}: {said}; try `git -C {path} fetch origin` there")]
    Fetch {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// Its remote.
        origin: String,
        /// git's words.
        said: String,
    },
    /// The host fetched, and the commit was not there.
    #[error("{origin}, the origin of {path} on {host}, does not have {sha}; is it the app's :git-url?")]
    NoCommit {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// Its remote.
        origin: String,
        /// The commit.
        sha: Sha,
    },
    /// A command of the app's own failed.
    #[error(":{what} on {host} ended {how}: {said}; the host's log has all of it")]
    Command {
        /// The host.
        host: String,
        /// Its key in deploy.edn.
        what: &'static str,
        /// `with exit code 1`
        how: String,
        /// Its last lines.
        said: String,
    },
    /// Root is needed and sudo asks.
    #[error(
        "sudo on {host} does not let us restart {unit} without a password ({said}); add to /etc/sudoers.d/airplanes there: \
         `{user} ALL=(root) NOPASSWD: /usr/bin/systemctl restart {unit}`"
    )]
    Sudo {
        /// The host.
        host: String,
        /// Who we are there.
        user: String,
        /// The unit.
        unit: String,
        /// sudo's words.
        said: String,
    },
    /// No program to ask the health url with.
    #[error("{host} can't ask the :health url: it lacks {said}; install curl there (`apt-get install curl`)")]
    NoTool {
        /// The host.
        host: String,
        /// What would do.
        said: String,
    },
    /// A file of this machine that was to be sent.
    #[error("{} can't be sent: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What came is not what was sent.
    #[error("{path} did not reach {host} whole: {said}; is its disk full?")]
    Cut {
        /// The host.
        host: String,
        /// Where it was to go.
        path: String,
        /// How much came.
        said: String,
    },
    /// Its disk is full, or does not take our files.
    #[error("{path} on {host} can't be written: {said}; see to that there, and deploy again")]
    Unwritten {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// What could not be written, and how much room there is.
        said: String,
    },
    /// No program to compare what came with what was sent.
    #[error("{host} has no sha256sum; install it there (`apt-get install coreutils`)")]
    NoSum {
        /// The host.
        host: String,
    },
    /// The folder of an `:artifact` holds something else than releases.
    #[error("{path} on {host} can't take releases: {said}; move it away, or give the app another :working-directory")]
    NotReleases {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// What is there.
        said: String,
    },
    /// A release that was to be put in force is not there, or not whole.
    #[error(
        "{path} on {host}: {said}, and the daemon does not keep it any more; go back to a newer commit, or push what it \
         holds again, which builds it anew (see :keep-releases)"
    )]
    NoRelease {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// What is not there.
        said: String,
    },
    /// The tree is not at the commit.
    #[error("{path} on {host} is at {head}, not at {sha}; someone moved it during the rollout")]
    WrongSha {
        /// The host.
        host: String,
        /// The working directory.
        path: String,
        /// The commit there.
        head: String,
        /// The commit that was to be there.
        sha: Sha,
    },
    /// It was not well in time, or not for long enough.
    #[error("{host} is not healthy at {sha} after {seconds} s: {said}")]
    Unhealthy {
        /// The host.
        host: String,
        /// The commit.
        sha: Sha,
        /// How long it was waited for.
        seconds: u64,
        /// What was seen last.
        said: String,
    },
    /// The program by which units and sites are installed can't be called. In all words.
    #[error("{said}")]
    NoProgram {
        /// What is missing, and what to do next.
        said: String,
    },
    /// A look has found that the host is not ready for what is to be done: its program is of another version, or no site of
    /// its nginx would follow a switch. In all words.
    #[error("{said}")]
    NotReady {
        /// What is the matter, and what to do next.
        said: String,
    },
    /// What is to be put there was not, or the host could not be set up. In all words.
    #[error("{said}")]
    Install {
        /// What happened, and what to do next.
        said: String,
    },
    /// The answer made no sense.
    #[error(
        "the answer of {host} to `{what}` was not understood: {text:?}; is something printing in its shell's profile?"
    )]
    Garbled {
        /// The host.
        host: String,
        /// The call.
        what: &'static str,
        /// The answer's end.
        text: String,
    },
}

impl Error {
    /// Whether trying again, with nothing changed by anyone, may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Ssh(error) => error.is_retryable(),
            Error::Busy { .. } | Error::Fetch { .. } | Error::Cut { .. } => true,
            _ => false,
        }
    }
    /// Whether the host could not be reached at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Error::Ssh(error) if error.is_unreachable())
    }
    /// Whether the operation looked, and changed nothing.
    pub fn left_it_alone(&self) -> bool {
        match self {
            Error::NoGit { .. } | Error::NoSystemd { .. } | Error::NotGit { .. } | Error::Owner { .. } => true,
            Error::Busy { .. } | Error::Changed { .. } | Error::InTheWay { .. } | Error::Diverged { .. } => true,
            Error::Fetch { .. } | Error::NoCommit { .. } | Error::File { .. } | Error::Cut { .. } => true,
            Error::NoSum { .. } | Error::NotReleases { .. } | Error::NoRelease { .. } | Error::NoProgram { .. } => true,
            Error::Locked { .. } | Error::NotReady { .. } | Error::Command { .. } => true,
            Error::Ssh(_) | Error::Sudo { .. } | Error::NoTool { .. } | Error::WrongSha { .. } => false,
            Error::Unhealthy { .. } | Error::Garbled { .. } | Error::Install { .. } | Error::Unwritten { .. } => false,
        }
    }
    /// Whether the caller canceled.
    pub fn is_canceled(&self) -> bool {
        matches!(self, Error::Ssh(error) if error.is_canceled())
    }
}

/// The first ten, and how many more.
fn names(files: &[String]) -> String {
    let shown = files.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(10) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
