//! The files that builds made for hosts (`:artifact`): kept in the state folder by app and by their sha256, which the job
//! that built one has in its journal: hosts that were away, rollbacks and later environments get the very bytes that were
//! built once, also where the same commit was built again since.
//!
//! Must never keep what a link leads to (a build made it, and would be sent what it may not read), nor let a file have its
//! name before all of it is on disk. In the flow: the build keeps, the rollout sends, upkeep removes what nobody may need.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use sha2::{Digest, Sha256};

use super::{Inner, Pipeline, unpoison};
use crate::files::{self, crash};
use crate::model::rollout::Artifact;
use crate::model::upkeep::Bytes;
use crate::model::{App, AppName, FileSum, HostName, Progress, hex};
use crate::store::StoreError;

/// What is kept of a build is not removed before this: a job may be about to need it.
const YOUNG: Duration = Duration::from_secs(3600);

/// Why a file could not be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArtifactError {
    /// The build did not make it.
    #[error(
        "the build did well and left no file {path}, which :artifact names ({why}); see the build's log, or correct \
         :artifact in deploy.edn"
    )]
    NotMade {
        /// From the folder in which the build's commands begin.
        path: String,
        /// What is there instead.
        why: String,
    },
    /// Keeping it would leave too little room.
    #[error(
        "{path}, which :artifact names, has {} and keeping it would leave less than :disk {{:min-free}} asks for, \
         {} are free beyond that: make room (`airplanes gc`), or see what the build put into it; then deploy again",
        Bytes(*.size),
        Bytes(*.room)
    )]
    NoRoom {
        /// As `NotMade`'s.
        path: String,
        /// In bytes.
        size: u64,
        /// How many bytes there are.
        room: u64,
    },
    /// The state folder.
    #[error("{path} could not be kept in the state folder: {source}; see that its disk has room")]
    Keep {
        /// As `NotMade`'s.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A file that a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its name in a release.
    pub name: String,
    /// Of all its bytes.
    pub sum: FileSum,
    /// How many they are.
    pub size: u64,
    /// Where it is: in a folder of its sum, by its name.
    pub file: PathBuf,
}

/// The folder of an app's kept files.
fn folder(state: &Path, app: &AppName) -> PathBuf {
    // A name has no `~`.
    state.join("artifacts").join(app.as_str().replace('/', "~"))
}

/// Keeps a file that a build left in its clone, beside those of earlier builds. Blocks.
///
/// `room` is how many bytes it may have. Idempotent: the same file is kept in the same place; killed anywhere, it is kept or
/// it is not.
pub(super) fn keep(
    state: &Path,
    app: &App,
    artifact: &Artifact,
    clone: &Path,
    room: u64,
) -> Result<Kept, ArtifactError> {
    let path = match &app.updates.directory {
        Some(directory) => format!("{directory}/{}", artifact.path),
        None => artifact.path.clone(),
    };
    let not_made = |why: String| ArtifactError::NotMade { path: path.clone(), why };
    let mut made = open_inside(clone, &path).map_err(|why| not_made(why.to_string()))?;
    // The copy has no holes.
    let size = made.metadata().map_err(|why| not_made(why.to_string()))?.len();
    if size > room {
        return Err(ArtifactError::NoRoom { path, size, room });
    }
    let folder = folder(state, &app.name);
    let part = folder.join("part.new");
    let mut keep = || -> io::Result<Kept> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let (sum, size) = copy(&mut made, &mut file)?;
        crash::at("artifact-copied");
        let own = folder.join(sum.as_str());
        DirBuilder::new().recursive(true).mode(0o700).create(&own)?;
        let name = artifact.name().to_owned();
        let file_there = own.join(&name);
        files::put(&file, &part, &file_there)?;
        for folder in own.ancestors().take(4) {
            files::sync(folder)?;
        }
        // The same bytes under the name that they had before.
        for other in fs::read_dir(&own)?.flatten().map(|entry| entry.path()) {
            if other != file_there {
                fs::remove_file(other)?;
            }
        }
        Ok(Kept { name, sum, size, file: file_there })
    };
    keep().map_err(|source| {
        // It may be what filled the disk.
        let _ = fs::remove_file(&part);
        ArtifactError::Keep { path: path.clone(), source }
    })
}

/// The file with that sum, or that begins so; none if it is not kept, or not any more. Blocks, not for long.
pub(super) fn find(state: &Path, app: &AppName, sum: &FileSum) -> io::Result<Option<Kept>> {
    let entries = match fs::read_dir(folder(state, app)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(sum) = sum_of(&path).filter(|kept| kept.is(sum)) else { continue };
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let (name, size) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
                return Ok(Some(Kept { name, sum, size, file: entry.path() }));
            }
        }
    }
    Ok(None)
}

/// Which file lies in a folder, by its name.
fn sum_of(folder: &Path) -> Option<FileSum> {
    folder.file_name()?.to_str()?.parse().ok()
}

/// A regular file below `root`, by no link.
fn open_inside(root: &Path, path: &str) -> io::Result<File> {
    let folder = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let last = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = open(root, folder, Mode::empty())?;
    let (folders, name) = path.rsplit_once('/').map_or((None, path), |(folders, name)| (Some(folders), name));
    let linked = |error: nix::Error| match error {
        nix::Error::ELOOP => io::Error::other("it is a link, and links are not followed: copy the file"),
        nix::Error::ENOTDIR => io::Error::other("a folder of it is none, or is a link"),
        error => error.into(),
    };
    for part in folders.into_iter().flat_map(|folders| folders.split('/')) {
        at = openat(&at, part, folder, Mode::empty()).map_err(linked)?;
    }
    let file = File::from(openat(&at, name, last, Mode::empty()).map_err(linked)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// The sha256 and the size of what was copied.
fn copy(from: &mut File, to: &mut File) -> io::Result<(FileSum, u64)> {
    let (mut sum, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok((FileSum::new(hex(sum.finalize())).map_err(io::Error::other)?, size)),
            read => {
                sum.update(&buffer[..read]);
                to.write_all(&buffer[..read])?;
                size += u64::try_from(read).unwrap_or(u64::MAX);
            }
        }
    }
}

impl Pipeline {
    /// The folders of kept files that nothing may need any more: no job under way, no host, and no rollback to what
    /// hosts keep too.
    pub fn spare_artifacts(&self) -> Result<Vec<PathBuf>, StoreError> {
        let children = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        // Listed first: what comes later is not in question.
        let is_old = |path: &PathBuf| {
            let modified = path.symlink_metadata().and_then(|meta| meta.modified());
            modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > YOUNG))
        };
        let folders = children(&self.inner.state.join("artifacts"));
        let kept: Vec<PathBuf> = folders.iter().flat_map(|folder| children(folder)).filter(is_old).collect();
        let mut needed: Vec<(PathBuf, FileSum)> = Vec::new();
        let apps: Vec<App> = unpoison(self.inner.graph.read()).apps().cloned().collect();
        for app in &apps {
            let folder = folder(&self.inner.state, &app.name);
            needed.extend(self.inner.files_needed(app)?.into_iter().map(|sum| (folder.clone(), sum)));
        }
        for job in self.inner.store.open_jobs() {
            needed.extend(job.sum.clone().map(|sum| (folder(&self.inner.state, &job.app.name), sum)));
        }
        let is_needed = |path: &PathBuf| {
            let sum = sum_of(path);
            let is_it = |sum: &FileSum| needed.iter().any(|(folder, one)| path.starts_with(folder) && one.is(sum));
            sum.as_ref().is_some_and(is_it)
        };
        Ok(kept.into_iter().filter(|path| !is_needed(path)).collect())
    }
}

impl Inner {
    /// The files that hosts run, or may be brought back to.
    fn files_needed(&self, app: &App) -> Result<BTreeSet<FileSum>, StoreError> {
        let mut needed = BTreeSet::new();
        let Some(artifact) = app.rollout.ship.artifact() else { return Ok(needed) };
        let most = usize::try_from(artifact.keep).unwrap_or(usize::MAX).saturating_add(1);
        let jobs = match app.environments.as_slice() {
            [] => vec![self.jobs_of(&app.name)?],
            some => some.iter().map(|there| self.jobs_in(&app.name, there)).collect::<Result<_, _>>()?,
        };
        for jobs in jobs {
            // A rollback to a commit takes the file that it was live with last.
            let mut newest = BTreeSet::new();
            let mut seen = BTreeSet::new();
            for job in jobs {
                let done: BTreeSet<HostName> = job
                    .hosts
                    .iter()
                    .filter(|host| host.state == Progress::Done)
                    .map(|host| host.name.clone())
                    .collect();
                let Some(sum) = job.sum.clone().filter(|_| !done.is_empty()) else { continue };
                // The newest job of a host says what it runs.
                if !done.is_subset(&seen) {
                    seen.extend(done);
                    needed.insert(sum.clone());
                }
                if newest.len() < most && newest.insert(job.commit()) {
                    needed.insert(sum);
                }
            }
        }
        Ok(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_below_the_clone_is_kept_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (clone, state) = (folder.path().join("clone"), folder.path().join("state"));
        fs::create_dir_all(clone.join("target")).unwrap();
        fs::create_dir_all(&state).unwrap();
        fs::write(folder.path().join("secret"), "a secret").unwrap();
        let url = crate::model::RepoUrl::new("/srv/shop.git").unwrap();
        let app = App::bare(AppName::new("anna/shop").unwrap(), url);
        let artifact = Artifact { path: "target/app.jar".to_owned(), keep: 5 };
        let keep = || keep(&state, &app, &artifact, &clone, u64::MAX);
        let why = |error: ArtifactError| error.to_string();
        assert!(why(keep().unwrap_err()).contains("left no file target/app.jar"));
        std::os::unix::fs::symlink("../../secret", clone.join("target/app.jar")).unwrap();
        assert!(why(keep().unwrap_err()).contains("links are not followed"));
        fs::remove_file(clone.join("target/app.jar")).unwrap();
        fs::create_dir(clone.join("target/app.jar")).unwrap();
        assert!(why(keep().unwrap_err()).contains("no regular file"));
        fs::remove_dir_all(clone.join("target")).unwrap();
        std::os::unix::fs::symlink("..", clone.join("target")).unwrap();
        fs::write(folder.path().join("app.jar"), "elsewhere").unwrap();
        assert!(why(keep().unwrap_err()).contains("is a link"));
        fs::remove_file(clone.join("target")).unwrap();
        fs::create_dir(clone.join("target")).unwrap();
        for (n, text) in ["one", "another", "one"].into_iter().enumerate() {
            fs::write(clone.join("target/app.jar"), text).unwrap();
            let kept = keep().unwrap();
            assert_eq!((fs::read_to_string(&kept.file).unwrap(), &*kept.name), (text.to_owned(), "app.jar"));
            assert_eq!(find(&state, &app.name, &kept.sum).unwrap(), Some(kept));
            assert_eq!(fs::read_dir(state.join("artifacts/anna~shop")).unwrap().count(), 2.min(n + 1));
        }
        assert_eq!(find(&state, &app.name, &FileSum::new("0".repeat(64)).unwrap()).unwrap(), None);
        // What can't be looked at is not gone.
        let sum = FileSum::new("1".repeat(64)).unwrap();
        fs::write(state.join("artifacts/anna~shop").join(sum.as_str()), "no folder").unwrap();
        assert!(find(&state, &app.name, &sum).is_err());
    }
}
