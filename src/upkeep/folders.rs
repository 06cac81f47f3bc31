//! What ended jobs and killed daemons left: clones of jobs that are not under way, and files that were to be renamed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::UpkeepError;
use super::round::{Round, Sum};
use crate::pipeline::TRIALS;
use crate::process;

/// How old a file must be that was to be renamed: no write takes so long.
const FORGOTTEN: Duration = Duration::from_secs(3600);

impl Round {
    pub(super) async fn sweep_folders(&mut self) {
        self.doing("folders of jobs that have ended");
        // Listed first: a job that begins now is under way by then.
        let folders = children(&self.inner.state.join("work"));
        let open: Vec<String> = self.inner.store.open_jobs().iter().map(|job| job.id.to_string()).collect();
        let is_open = |path: &PathBuf| path.file_name().is_some_and(|name| open.iter().any(|id| name == id.as_str()));
        let is_trial = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            name.starts_with(TRIALS) && (!is_forgotten(path) || self.inner.pipeline.is_tried_in(path))
        };
        let ended = folders.into_iter().filter(|path| !is_open(path) && !is_trial(path)).collect();
        // A store that can't be read knows of no job.
        if self.inner.store.fault().is_none() {
            self.remove_all("work", ended).await;
        }
        self.doing("what killed daemons left");
        let mut rests = self.inner.pipeline.rooms().git.rests();
        let state = &self.inner.state;
        let is_rest = |path: &PathBuf| path.extension().is_some_and(|end| end == "new") && is_forgotten(path);
        rests.extend(children(state).into_iter().chain(children(&state.join("builds"))).filter(is_rest));
        self.remove_all("leftovers", rests).await;
    }

    pub(super) async fn sweep_artifacts(&mut self) {
        self.doing("files of builds that no host needs any more");
        // A store that can't be read knows of no job.
        if self.inner.store.fault().is_some() {
            return;
        }
        let pipeline = self.inner.pipeline.clone();
        match tokio::task::spawn_blocking(move || pipeline.spare_artifacts()).await {
            Ok(Ok(spare)) => self.remove_all("artifacts", spare).await,
            Ok(Err(error)) => self.fault(error.into()),
            Err(panic) => tracing::error!(%panic, "what builds left could not be looked at"),
        }
    }

    async fn remove_all(&mut self, kind: &str, paths: Vec<PathBuf>) {
        let dry_run = self.dry_run;
        let work = move || {
            let (mut sum, mut faults) = (Sum::default(), Vec::new());
            for path in paths {
                let bytes = size(&path);
                match if dry_run { Ok(()) } else { remove(&path) } {
                    Ok(()) => sum.add(bytes),
                    Err(fault) => faults.push(fault),
                }
            }
            (sum, faults)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok((sum, faults)) => {
                faults.into_iter().for_each(|fault| self.fault(fault));
                self.done(kind, sum);
            }
            Err(panic) => tracing::error!(%panic, "folders could not be removed"),
        }
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn is_forgotten(path: &Path) -> bool {
    let modified = path.symlink_metadata().and_then(|meta| meta.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > FORGOTTEN))
}

/// The bytes that a file, or a folder with all in it, takes on its disk. Links are not followed.
pub(super) fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let (mut paths, mut bytes) = (vec![path.to_owned()], 0);
    while let Some(path) = paths.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            paths.extend(children(&path));
        }
    }
    bytes
}

/// Removes a file, or a folder with all in it; one that is gone is fine.
pub(super) fn remove(path: &Path) -> Result<(), UpkeepError> {
    let why = |error: std::io::Error| UpkeepError::Remove { path: path.display().to_string(), why: error.to_string() };
    process::remove(path).map_err(why)
}
