//! A log file: masked, appended, and announced once the bytes can be read from the file.

use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::{Masker, ProcessError};

/// How much of what a command prints is kept, in bytes.
const MOST: u64 = 64 << 20;

/// An append-only log. Followers hold a receiver of its length and read the file up to there.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    masker: Masker,
    length: watch::Sender<u64>,
    /// It holds as much as it may of what commands print.
    full: bool,
}

impl LogFile {
    /// Opens or creates it (mode 0600) with its folder, and goes on at its end.
    pub async fn open(path: impl Into<PathBuf>, masker: Masker) -> Result<Self, ProcessError> {
        let path = path.into();
        let opened = async {
            if let Some(folder) = path.parent() {
                tokio::fs::create_dir_all(folder).await?;
            }
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).await?;
            let length = file.metadata().await?.len();
            Ok((file, length))
        };
        match opened.await {
            Ok((file, length)) => {
                Ok(Self { path, file, masker, length: watch::Sender::new(length), full: length >= MOST })
            }
            Err(source) => Err(ProcessError::log(&path, source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes can be read from the file.
    pub fn length(&self) -> u64 {
        *self.length.borrow()
    }

    /// The length as it grows. The channel closes when the log is dropped: nothing follows then.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.length.subscribe()
    }

    /// Appends, masked. What may be the beginning of a secret is held back until more comes, or [`LogFile::settle`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ProcessError> {
        let masked = self.masker.push(bytes);
        self.append(&masked).await
    }

    /// Appends what a command prints, as [`LogFile::write`] does. Of a command that prints without end the beginning is
    /// kept, and a line that says so; the command is not held up.
    pub async fn write_output(&mut self, bytes: &[u8]) -> Result<(), ProcessError> {
        if self.full {
            return Ok(());
        }
        let room = usize::try_from(MOST.saturating_sub(self.length())).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return self.write(bytes).await;
        }
        self.full = true;
        self.write(&bytes[..room]).await?;
        // It could be the beginning of a secret, whose end is not looked at any more.
        self.masker.forget();
        let line = format!("\n[more than {} MB: what follows is not kept, and the command goes on]\n", MOST >> 20);
        self.append(line.as_bytes()).await
    }

    /// Appends what was held back, since no more will come, and sees all of it onto the disk.
    pub async fn settle(&mut self) -> Result<(), ProcessError> {
        let rest = self.masker.finish();
        self.append(&rest).await?;
        self.file.sync_data().await.map_err(|source| ProcessError::log(&self.path, source))
    }

    async fn append(&mut self, bytes: &[u8]) -> Result<(), ProcessError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = async {
            self.file.write_all(bytes).await?;
            self.file.flush().await
        };
        written.await.map_err(|source| ProcessError::log(&self.path, source))?;
        self.length.send_modify(|length| *length += bytes.len() as u64);
        Ok(())
    }
}
