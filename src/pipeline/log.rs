//! Step logs: plain files, `logs/JOB/STEP.ATTEMPT`, on disk before anyone is told. A host's is under `rollout/HOST`.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::model::{HostName, JobId, Step};
use crate::process::{LogFile, Masker, ProcessError};

/// Where the logs are.
#[derive(Debug, Clone)]
pub struct Logs {
    root: PathBuf,
}

impl Logs {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) async fn step(
        &self,
        job: JobId,
        step: &Step,
        attempt: u32,
        masker: Masker,
    ) -> Result<LogFile, ProcessError> {
        LogFile::open(self.file(job, &step.to_string(), attempt), masker).await
    }

    /// The log of something that is no step of its own.
    pub(super) async fn other(
        &self,
        job: JobId,
        name: &str,
        attempt: u32,
        masker: Masker,
    ) -> Result<LogFile, ProcessError> {
        LogFile::open(self.file(job, name, attempt), masker).await
    }

    /// A host's log, and how to write to it from code that can't wait.
    pub(super) async fn host(
        &self,
        job: JobId,
        host: &HostName,
        attempt: u32,
        masker: Masker,
    ) -> Result<HostLog, ProcessError> {
        let mut file = LogFile::open(self.file(job, &format!("rollout/{host}"), attempt), masker).await?;
        let (sender, mut lines) = mpsc::unbounded_channel::<Vec<u8>>();
        let writer = tokio::spawn(async move {
            while let Some(bytes) = lines.recv().await {
                file.write_output(&bytes).await?;
            }
            file.settle().await
        });
        Ok(HostLog { sender, writer })
    }

    fn file(&self, job: JobId, step: &str, attempt: u32) -> PathBuf {
        self.root.join(job.to_string()).join(format!("{step}.{attempt}"))
    }

    /// The file of a step's log, if it is there. Names that could leave the folder find nothing.
    pub(super) fn find(&self, job: JobId, step: &str, attempt: Option<u32>) -> Option<PathBuf> {
        let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
        if !step.split('/').all(is_plain) || step.split('/').count() > 2 {
            return None;
        }
        if let Some(attempt) = attempt {
            return Some(self.file(job, step, attempt)).filter(|path| path.is_file());
        }
        let first = self.file(job, step, 1);
        let (folder, name) = (first.parent()?, first.file_name()?.to_str()?.strip_suffix(".1")?.to_owned());
        let attempts = std::fs::read_dir(folder).ok()?.flatten().filter_map(|entry| {
            entry.file_name().to_str()?.strip_prefix(&name)?.strip_prefix('.')?.parse::<u32>().ok()
        });
        attempts.max().map(|attempt| self.file(job, step, attempt))
    }
}

/// A host's log under way.
pub(super) struct HostLog {
    sender: mpsc::UnboundedSender<Vec<u8>>,
    writer: JoinHandle<Result<(), ProcessError>>,
}

impl HostLog {
    pub(super) fn line(&self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }
    pub(super) fn bytes(&self, bytes: &[u8]) {
        // The writer ends early only on a full disk; its error is told at `close`.
        let _ = self.sender.send(bytes.to_vec());
    }
    pub(super) async fn close(self) -> Result<(), ProcessError> {
        drop(self.sender);
        match self.writer.await {
            Ok(result) => result,
            Err(_) => Ok(()),
        }
    }
}
