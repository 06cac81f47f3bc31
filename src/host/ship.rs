//! Ways to ship that ask nothing of the host's own access to the forge: files that are sent to it, and releases that are
//! put in force by one rename.

use std::borrow::Cow;
use std::path::Path;

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::calls;
use super::error::Error;
use super::ops::{Brought, Remote, Subject};
use crate::model::{Branch, FileSum, RepoUrl, Sha, hex};
use crate::ssh::Call;

/// A release of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release<'a> {
    /// The commit that it was built from.
    pub sha: &'a Sha,
    /// The file's name in it.
    pub name: &'a str,
    /// The file's sha256, where it is known: each file of a commit is a release of its own.
    pub sum: Option<&'a FileSum>,
    /// How many releases before it stay.
    pub keep: u32,
}

/// What a release's folder is called: the commit, and how the sum of its file begins.
pub(super) fn release_name(sha: &Sha, sum: Option<&FileSum>) -> String {
    sum.map_or_else(|| sha.to_string(), |sum| format!("{sha}-{}", sum.short()))
}

/// Where a host has a commit from that it may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The repository that it was cloned from.
    Origin,
    /// A bundle that it was sent.
    Bundle(&'a str),
    /// A bundle, in base64, that comes along with the call itself.
    Along {
        /// At most what one argument of a program holds.
        bundle: &'a str,
        /// Whether the host asks where it was cloned from if the bundle does not do.
        or_origin: bool,
    },
    /// Nowhere: it has it.
    Itself,
}

impl<'a> Source<'a> {
    /// As its script has it.
    pub(super) fn word(self) -> Cow<'a, str> {
        match self {
            Source::Origin => "".into(),
            Source::Bundle(file) => file.into(),
            Source::Along { bundle, or_origin } => format!("{}{bundle}", if or_origin { '+' } else { '=' }).into(),
            Source::Itself => "-".into(),
        }
    }
}

impl Remote<'_> {
    /// Sends a file, and says where it is on the host: at `name` if that is absolute, else below the user's cache. It is
    /// there whole, with its sha256 compared, or not at all. Idempotent: one that is there is not sent again.
    pub async fn send(&mut self, file: &Path, name: &str) -> Result<String, Error> {
        let unread = |source| Error::File { path: file.to_owned(), source };
        let sum = sha256(file).await.map_err(unread)?;
        let input = tokio::fs::File::open(file).await.map_err(unread)?;
        let call = calls::receive(name, &sum);
        let output = self.hosts.send(self.host, &call, input, self.timeout, self.cancel, self.log).await?;
        let answer = self.read(&call, Subject::path(name), output)?;
        Ok(answer.get("at").unwrap_or(name).to_owned())
    }

    /// Puts a release in force: `current` in the working directory leads to it afterwards. Its file is where
    /// [`Remote::send`] put it, or none for one that is there already. Refuses a folder that holds anything but releases.
    /// `ours` are kept whatever their age, so that there is a way back.
    ///
    /// Idempotent: the marker says `moving` before anything moves, and a run that was interrupted is ended by the next.
    pub async fn place(
        &mut self,
        working_directory: &str,
        release: &Release<'_>,
        sent: Option<&str>,
        ours: &[(Sha, Option<FileSum>)],
    ) -> Result<Brought, Error> {
        let call = calls::place(working_directory, release, sent, false, ours);
        let subject = Subject { path: working_directory, unit: "", sha: Some(release.sha) };
        let answer = self.ask(&call, subject).await?;
        Ok(Brought { from: answer.sha("from"), moved: answer.get("moved") == Some("yes") })
    }

    /// As [`Remote::place`], but what is in force stays so; gives the release's folder.
    pub async fn place_beside(
        &mut self,
        working_directory: &str,
        release: &Release<'_>,
        sent: Option<&str>,
    ) -> Result<String, Error> {
        let call = calls::place(working_directory, release, sent, true, &[]);
        self.folder(&call, working_directory, release.sha).await
    }

    /// Brings the commit to a clone without moving that, and its files into a folder of their own, which is given.
    /// Idempotent: what was there of an earlier one is made anew.
    pub async fn stage(
        &mut self,
        working_directory: &str,
        url: &RepoUrl,
        branch: &Branch,
        sha: &Sha,
        source: Source<'_>,
    ) -> Result<String, Error> {
        let call = calls::stage(working_directory, url, branch, sha, source);
        self.folder(&call, working_directory, sha).await
    }

    async fn folder(&mut self, call: &Call, working_directory: &str, sha: &Sha) -> Result<String, Error> {
        let answer = self.ask(call, Subject { path: working_directory, unit: "", sha: Some(sha) }).await?;
        Ok(answer.get("at").unwrap_or(working_directory).to_owned())
    }

    /// Runs a command of the app's own in a folder: `what` names it. As often as it is called.
    pub async fn command(&mut self, what: &'static str, folder: &str, command: &str) -> Result<(), Error> {
        self.ask(&calls::command(what, folder, command), Subject::path(folder)).await.map(drop)
    }
}

async fn sha256(file: &Path) -> std::io::Result<String> {
    let mut file = tokio::fs::File::open(file).await?;
    let (mut sum, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(hex(sum.finalize())),
            read => sum.update(&buffer[..read]),
        }
    }
}
