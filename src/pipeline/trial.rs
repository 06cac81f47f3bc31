//! One build of an app, tried out: in a folder of its own, with files and stand-ins that nobody else sees. Must never
//! push, journal or record anything, nor write to a mirror; what it leaves in its folder goes with that.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::steps::{build, say};
use crate::bumps::{Asking, BumpsError, Tree};
use crate::git::{GitError, Mirrors, Stamp};
use crate::model::{App, Branch, JobId, Sha};
use crate::process::{LogFile, ProcessError};
use crate::runner::{Build, BuildOutcome, Limit};

/// What a commit that is only tried out says.
pub(super) const MESSAGE: &str = "Tried out by airplanes, and pushed nowhere\n";

/// What a build is tried with.
pub(super) struct Trial<'a> {
    pub inner: &'a Inner,
    pub app: &'a App,
    /// What the runner knows it by.
    pub id: JobId,
    /// The mirrors, with what stands in for them.
    pub git: &'a Mirrors,
    /// What the build may read beside mirrors: what stand-ins borrow from.
    pub reads: &'a [PathBuf],
    pub branch: &'a Branch,
    pub base: Sha,
    /// The files that differ from the base's.
    pub files: &'a [(String, Vec<u8>)],
    pub folder: &'a Path,
    pub stop: &'a CancellationToken,
}

/// How it ended.
pub(super) enum Tried {
    Builds,
    Breaks { error: String, exit_code: Option<i32> },
}

/// Why it can't be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrialError {
    #[error("it was stopped")]
    Stopped,
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Bumps(#[from] BumpsError),
    #[error("{0}")]
    Folder(String),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("could not write in {}: {source}", .folder.display())]
    Disk { folder: PathBuf, source: std::io::Error },
}

/// Who makes commits that are only tried out, and when.
pub(super) fn stamp(git: &Mirrors) -> Stamp {
    let now = Timestamp::now();
    Stamp { author: git.config().author.clone(), time: Timestamp::from_second(now.as_second()).unwrap_or(now) }
}

impl Trial<'_> {
    /// All of the app's build, in a fresh clone.
    pub async fn build(&self, log: &mut LogFile) -> Result<Tried, TrialError> {
        self.clear().await?;
        let done = self.build_there(log).await;
        self.clear().await?;
        log.settle().await?;
        if self.stop.is_cancelled() { Err(TrialError::Stopped) } else { done }
    }

    async fn build_there(&self, log: &mut LogFile) -> Result<Tried, TrialError> {
        let disk = |source| TrialError::Disk { folder: self.folder.to_owned(), source };
        let (dir, tmp, git_config) =
            (self.folder.join("clone"), self.folder.join("tmp"), self.folder.join("gitconfig"));
        tokio::fs::create_dir_all(&tmp).await.map_err(disk)?;
        let clone = self.git.clone_for_job(&self.app.git_url, self.branch, self.base, &dir).await?;
        let sha = match self.files {
            [] => self.base,
            files => clone.commit(files, MESSAGE, &stamp(self.git)).await?,
        };
        build::begins_in(&dir, self.app).map_err(TrialError::Folder)?;
        let own = self.app.repo();
        let tree = Tree::Commit { git: self.git, repo: &own, sha: self.base };
        let mut files = tree.files(&self.app.updates).await?;
        for file in &mut files {
            if let Some((_, bytes)) = self.files.iter().find(|(path, _)| *path == file.path) {
                file.text = String::from_utf8_lossy(bytes).into_owned();
            }
        }
        let asking = Asking { git: self.git, url_of: &|repo| self.inner.url_of(repo), stop: self.stop };
        let preflight = asking.preflight(&files, (&own, self.base)).await?;
        for (_, error) in &preflight.left {
            say(log, format!("note: not mirrored, so the build's own git has to reach it: {error}")).await?;
        }
        tokio::fs::write(&git_config, preflight.git_config(self.git)).await.map_err(disk)?;
        let own = [self.git.path(&own), git_config.clone()];
        let reads = [&preflight.mirrors(self.git)[..], self.reads, &own].concat();
        let mut left = self.app.build_timeout;
        for step in &self.app.build {
            say(log, format!("$ {}", step.run)).await?;
            let build = Build {
                job: self.id,
                app: &self.app.name,
                sha,
                step,
                dir: &dir,
                directory: self.app.updates.directory.as_deref(),
                tmp: &tmp,
                reads: &reads,
                git_config: Some(&git_config),
                total: left,
                silence: self.app.build_silence,
            };
            let began = tokio::time::Instant::now();
            let mut outcome = self.inner.rooms.load_full().runner.run(build, log, self.stop).await?;
            left = left.saturating_sub(began.elapsed());
            if let BuildOutcome::TimedOut { limit: Limit::Total, after } = &mut outcome {
                *after = self.app.build_timeout;
            }
            let exit_code = match outcome {
                BuildOutcome::Done => continue,
                BuildOutcome::Canceled => return Err(TrialError::Stopped),
                BuildOutcome::Failed { exit_code } => Some(exit_code),
                BuildOutcome::Signaled { signal } => Some(128 + signal),
                BuildOutcome::TimedOut { .. } | BuildOutcome::OutOfMemory { .. } => None,
            };
            say(log, format!("[{outcome}]")).await?;
            let error = match &step.name {
                Some(name) => format!("{name}: {outcome}"),
                None => outcome.to_string(),
            };
            return Ok(Tried::Breaks { error, exit_code });
        }
        Ok(Tried::Builds)
    }

    async fn clear(&self) -> Result<(), TrialError> {
        let path = self.folder.to_owned();
        let removed = tokio::task::spawn_blocking(move || crate::process::remove(&path)).await;
        let removed = removed.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        removed.map_err(|source| TrialError::Disk { folder: self.folder.to_owned(), source })
    }
}
