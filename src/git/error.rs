//! What can go wrong with git, in words: what happened, to which remote or folder, and what to do next.

use std::path::PathBuf;

use crate::model::{Branch, Sha};

/// The command that shows a host's key and records it. `host` is as known_hosts writes it.
fn trust(host: &str) -> String {
    match host.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((name, port)) if !name.contains(':') => format!("airplanes host trust {name}:{port}"),
        Some(_) => format!("airplanes host trust '{host}'"),
        None => format!("airplanes host trust {host}"),
    }
}

/// Why something with git did not work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GitError {
    /// The remote does not let us in, or not that far.
    #[error("{remote} did not let us in: {words}")]
    Auth {
        /// The url.
        remote: String,
        /// What was tried, what the remote said, what to do.
        words: String,
    },
    /// No known_hosts file names the host: nobody has said yet that it may be trusted.
    #[error(
        "the ssh host {host} of {remote} is not known: it showed {shown}, and {files} does not name it; \
         compare that with what the host's owner publishes, then trust it with `{}`",
        trust(host)
    )]
    HostUnknown {
        /// As known_hosts writes it: `host` or `[host]:port`.
        host: String,
        /// The url.
        remote: String,
        /// The files that were asked.
        files: String,
        /// Type and SHA256 fingerprint of the key that it showed.
        shown: String,
    },
    /// known_hosts names the host with another key: it was reinstalled, or someone is in between.
    #[error(
        "the ssh host {host} of {remote} showed a CHANGED key, {shown}, but {at} has another; nothing was sent; \
         if its owner confirms the new key: `{} --replace`",
        trust(host)
    )]
    HostChanged {
        /// As known_hosts writes it.
        host: String,
        /// The url.
        remote: String,
        /// `file:line` of the entry that disagrees.
        at: String,
        /// Type and SHA256 fingerprint of the key that it showed.
        shown: String,
    },
    /// There is no repository at the url, or none that our key or token may see.
    #[error("no repository at {remote}: {words}; check the url, and that the key or token for it may read it")]
    NotFound {
        /// The url.
        remote: String,
        /// What the remote said.
        words: String,
    },
    /// It lies on this machine, where those who may push to an app have no business.
    #[error("{remote} is not read: it is a path on the daemon's own machine, and {words}")]
    Closed {
        /// The url.
        remote: String,
        /// Why that is closed.
        words: &'static str,
    },
    /// The remote could not be reached, or the talk broke off.
    #[error("could not talk to {remote}: {words}; see that it is up and reachable from here")]
    Network {
        /// The url.
        remote: String,
        /// What libgit2 or the remote said.
        words: String,
    },
    /// It took longer than it may.
    #[error("{what} took longer than {seconds} s and was given up; see that the remote is up and reachable from here")]
    TimedOut {
        /// `fetch of URL`, in words.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Someone asked for an end.
    #[error("{what} was canceled")]
    Canceled {
        /// What was under way.
        what: String,
    },
    /// A mirror that has not been made yet was asked.
    #[error("there is no mirror of {repo} yet: it is made by the first fetch")]
    NoMirror {
        /// The repository.
        repo: String,
    },
    /// A mirror does not have a commit.
    #[error("{repo} has no commit {wanted}; it was never pushed, or only to another repository")]
    NoCommit {
        /// The repository.
        repo: String,
        /// The commit.
        wanted: String,
    },
    /// A mirror's files are damaged or can't be used. The next fetch makes it anew.
    #[error("the mirror {} can't be used: {words}; the next fetch makes it anew", .path.display())]
    Mirror {
        /// The mirror's folder.
        path: PathBuf,
        /// What is wrong with it.
        words: String,
    },
    /// A job's private clone can't be made or used.
    #[error("the clone {} can't be used: {words}; a retry makes it anew", .path.display())]
    Clone {
        /// The clone's folder.
        path: PathBuf,
        /// What is wrong with it.
        words: String,
    },
    /// The disk said no.
    #[error("{what} {}: {words}", .path.display())]
    Disk {
        /// `could not make`, in words.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        words: String,
    },
    /// A key, a token or a known_hosts file of the configuration can't be used.
    #[error("{0}")]
    Config(String),
    /// libgit2 could not go on, in a way of which nothing better can be said.
    #[error("{what} failed: {words}")]
    Other {
        /// What was under way.
        what: String,
        /// What libgit2 said.
        words: String,
    },
}

impl GitError {
    /// Whether the same call may work a little later with nothing changed by a person.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::TimedOut { .. } | Self::Mirror { .. } | Self::Clone { .. })
    }
}

/// Why a push did not put our commit on the remote's branch.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PushError {
    /// Someone else's commit is there, or was being written at that moment. Fetch, apply the edit to theirs, try again.
    #[error("{remote} has moved on {branch} meanwhile ({}); nothing was overwritten", head_words(.head))]
    Faster {
        /// The url.
        remote: String,
        /// The branch.
        branch: Branch,
        /// Its head as it is there now, where it could be asked.
        head: Option<Sha>,
    },
    /// A hook or a rule of the remote refused it. Trying again does not help.
    #[error("{remote} refused the push to {branch}: {words}; its rules must allow it, or the branch be another")]
    Refused {
        /// The url.
        remote: String,
        /// The branch.
        branch: Branch,
        /// The status and what the hook printed.
        words: String,
    },
    /// It did not come to that.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl PushError {
    /// Whether the very same push may work a little later. `Faster` is not that: the edit must be applied again first.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Git(e) if e.is_retryable())
    }
}

fn head_words(head: &Option<Sha>) -> String {
    match head {
        Some(head) => format!("its head is {}", head.short()),
        None => "its head could not be asked".to_owned(),
    }
}
