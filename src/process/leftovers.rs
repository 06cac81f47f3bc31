//! What a killed daemon's children leave: recorded before they start, found and ended by the next daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ProcessError;
use super::group::{Group, Stat, boot};
use crate::files;
use crate::model::JobId;

/// The format of a record.
const VERSION: u32 = 1;
/// Leftovers have no one to talk to: they get this long to end by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// Records of what runs, `JOB.pid` in one folder of the state directory.
#[derive(Debug, Clone)]
pub struct Leftovers {
    folder: PathBuf,
}

/// A build that a killed daemon left, and that has been ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Whose it was.
    pub job: JobId,
    /// How many processes of it were still alive.
    pub processes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    job: JobId,
    mark: String,
    boot: String,
    /// The child's pid and start time; absent if the daemon died between recording and starting it.
    leader: Option<(i32, u64)>,
}

/// A record on disk. It stays there, for the next daemon, unless [`Recorded::close`] takes it away.
#[derive(Debug)]
pub(super) struct Recorded {
    path: PathBuf,
    record: Record,
}

impl Leftovers {
    /// The records of `state`, in its folder `builds`.
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("builds") }
    }

    /// Ends what a killed daemon's builds left and forgets them. Call it at start, before any job runs, while no other
    /// daemon has this state directory. A process is only touched if its pid and start time, or its mark, are recorded.
    ///
    /// Running it again does nothing. Records it could not close stay for the next time.
    pub async fn sweep(&self) -> Result<Vec<Swept>, ProcessError> {
        let failed = |path: &Path, source| ProcessError::Record { path: path.to_owned(), source };
        let mut swept = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
            Err(error) => return Err(failed(&self.folder, error)),
        };
        for entry in entries {
            let path = entry.map_err(|source| failed(&self.folder, source))?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                Some("pid") => {
                    let text = fs::read(&path).map_err(|source| failed(&path, source))?;
                    match serde_json::from_slice::<Record>(&text) {
                        Ok(record) if record.version == VERSION => {
                            let processes = record.end().await?;
                            swept.push(Swept { job: record.job, processes });
                        }
                        // Written to a new file and renamed, so this is not ours, or not of this version.
                        _ => tracing::warn!(path = %path.display(), "not a record of a build; removed unread"),
                    }
                }
                Some("new") => {}
                _ => continue,
            }
            fs::remove_file(&path).map_err(|source| failed(&path, source))?;
        }
        Ok(swept)
    }

    /// Writes down that `job` is about to start something under a new mark.
    pub(super) fn record(&self, job: JobId) -> Result<Recorded, ProcessError> {
        let path = self.folder.join(format!("{job}.pid"));
        let mut mark = [0u8; 16];
        if let Err(error) = getrandom::fill(&mut mark) {
            return Err(ProcessError::Record { path, source: io::Error::other(error.to_string()) });
        }
        let mark = format!("{:032x}", u128::from_be_bytes(mark));
        let record = Record { version: VERSION, job, mark, boot: boot(), leader: None };
        let recorded = Recorded { path, record };
        recorded.write()?;
        Ok(recorded)
    }
}

impl Record {
    /// Pids count only if the leader is still the process that was recorded: once it is gone its number is anybody's.
    async fn end(&self) -> Result<usize, ProcessError> {
        if self.boot != boot() {
            return Ok(0);
        }
        let leader = self.leader.filter(|(pid, start)| Stat::of(*pid).is_some_and(|stat| stat.start == *start));
        // What was in a cgroup ended with it, when the daemon took its own.
        Group { leader, mark: self.mark.clone(), cgroup: None }.end(GRACE).await
    }
}

impl Recorded {
    /// The value of the mark.
    pub fn mark(&self) -> &str {
        &self.record.mark
    }

    /// Adds the child, as soon as it has a pid.
    pub fn started(&mut self, leader: (i32, u64)) -> Result<(), ProcessError> {
        self.record.leader = Some(leader);
        self.write()
    }

    /// Everything is gone: there is nothing left to find. A record that stays by accident finds nothing by its mark.
    pub fn close(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the record of a build that is over");
        }
    }

    /// A record is whole or absent.
    fn write(&self) -> Result<(), ProcessError> {
        let written = || -> io::Result<()> {
            fs::create_dir_all(files::folder_of(&self.path))?;
            files::write(&self.path, &serde_json::to_vec(&self.record)?)
        };
        written().map_err(|source| ProcessError::Record { path: self.path.clone(), source })
    }
}
