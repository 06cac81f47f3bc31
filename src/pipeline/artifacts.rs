//! The files that builds made for hosts (`:artifact`): kept in the state folder by app and by the tree that was built, so
//! that hosts that were away, rollbacks and later environments get the very bytes that were built once.
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
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Inner, Pipeline, unpoison};
use crate::files::{self, crash};
use crate::model::rollout::Artifact;
use crate::model::{App, AppName, HostName, JobState, Progress, hex};
use crate::store::StoreError;

/// What is kept of a build is not removed before this: a job may be about to need it.
const YOUNG: Duration = Duration::from_secs(3600);
/// What stands beside a kept file.
const ABOUT: &str = "about.json";

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Its name in a release.
    pub name: String,
    /// Of all its bytes.
    pub sha256: String,
    /// How many they are.
    pub size: u64,
    /// Where it is.
    #[serde(skip)]
    pub file: PathBuf,
}

/// The folder of an app's kept files.
fn folder(state: &Path, app: &AppName) -> PathBuf {
    // A name has no `~`.
    state.join("artifacts").join(app.as_str().replace('/', "~"))
}

/// Keeps a file that a build of `tree` left in its clone, in place of one of an earlier build. Blocks.
///
/// Idempotent: the same file is kept under the same name; killed anywhere, what was kept before is, or this is.
pub(super) fn keep(
    state: &Path,
    app: &App,
    artifact: &Artifact,
    tree: &str,
    clone: &Path,
) -> Result<Kept, ArtifactError> {
    let path = match &app.updates.directory {
        Some(directory) => format!("{directory}/{}", artifact.path),
        None => artifact.path.clone(),
    };
    let not_made = |why: String| ArtifactError::NotMade { path: path.clone(), why };
    let mut made = open_inside(clone, &path).map_err(|why| not_made(why.to_string()))?;
    let mut keep = || -> io::Result<Kept> {
        let folder = folder(state, &app.name).join(tree);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let part = folder.join("part.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let (sha256, size) = copy(&mut made, &mut file)?;
        crash::at("artifact-copied");
        let at = folder.join(&sha256);
        files::put(&file, &part, &at)?;
        let kept = Kept { name: artifact.name().to_owned(), sha256, size, file: at };
        // Plain data always has a JSON form.
        files::write(&folder.join(ABOUT), serde_json::to_string(&kept).unwrap_or_default().as_bytes())?;
        for folder in folder.ancestors().take(4) {
            files::sync(folder)?;
        }
        for other in fs::read_dir(&folder)?.flatten().map(|entry| entry.path()) {
            if other != kept.file && other.file_name().is_some_and(|name| name != ABOUT) {
                fs::remove_file(other)?;
            }
        }
        Ok(kept)
    };
    keep().map_err(|source| ArtifactError::Keep { path: path.clone(), source })
}

/// The file that was kept of a tree; none if there is none any more. Blocks, not for long.
pub(super) fn find(state: &Path, app: &AppName, tree: &str) -> Option<Kept> {
    let folder = folder(state, app).join(tree);
    let kept: Kept = serde_json::from_slice(&fs::read(folder.join(ABOUT)).ok()?).ok()?;
    let file = folder.join(&kept.sha256);
    file.is_file().then_some(Kept { file, ..kept })
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
fn copy(from: &mut File, to: &mut File) -> io::Result<(String, u64)> {
    let (mut sum, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok((hex(sum.finalize()), size)),
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
        let trees: Vec<PathBuf> = folders.iter().flat_map(|folder| children(folder)).filter(is_old).collect();
        let mut needed = BTreeSet::new();
        let apps: Vec<App> = unpoison(self.inner.graph.read()).apps().cloned().collect();
        for app in &apps {
            let folder = folder(&self.inner.state, &app.name);
            needed.extend(self.inner.trees_needed(app)?.into_iter().map(|tree| folder.join(tree)));
        }
        for job in self.inner.store.open_jobs() {
            let tree = self.inner.tree_of(&job)?;
            needed.extend(tree.map(|tree| folder(&self.inner.state, &job.app.name).join(tree)));
        }
        Ok(trees.into_iter().filter(|tree| !needed.contains(tree)).collect())
    }
}

impl Inner {
    /// The trees whose file hosts run, or may be brought back to.
    fn trees_needed(&self, app: &App) -> Result<BTreeSet<String>, StoreError> {
        let mut needed = BTreeSet::new();
        let Some(artifact) = app.rollout.ship.artifact() else { return Ok(needed) };
        let most = usize::try_from(artifact.keep).unwrap_or(usize::MAX).saturating_add(1);
        let jobs = match app.environments.as_slice() {
            [] => vec![self.jobs_of(&app.name)?],
            some => some.iter().map(|there| self.jobs_in(&app.name, there)).collect::<Result<_, _>>()?,
        };
        for jobs in jobs {
            let mut newest: BTreeSet<String> = BTreeSet::new();
            let mut seen = BTreeSet::new();
            for job in jobs {
                let done: BTreeSet<HostName> = job
                    .hosts
                    .iter()
                    .filter(|host| host.state == Progress::Done)
                    .map(|host| host.name.clone())
                    .collect();
                let Some(tree) = self.tree_of(&job)?.filter(|_| !done.is_empty()) else { continue };
                // The newest job of a host says what it runs.
                if !done.is_subset(&seen) {
                    seen.extend(done);
                    needed.insert(tree.clone());
                }
                if newest.len() < most {
                    newest.insert(tree);
                }
            }
            needed.extend(newest);
        }
        Ok(needed)
    }

    /// The tree that a job built, or that it carries.
    fn tree_of(&self, job: &JobState) -> Result<Option<String>, StoreError> {
        let of = match job.carried() {
            Some(carried) => self.store.job(carried.of)?,
            None => None,
        };
        let updated = of.as_deref().unwrap_or(job).updated.as_ref();
        Ok(updated.map(|updated| updated.tree.clone()))
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
        let keep = || keep(&state, &app, &artifact, "abc", &clone);
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
        for text in ["one", "another"] {
            fs::write(clone.join("target/app.jar"), text).unwrap();
            let kept = keep().unwrap();
            assert_eq!((fs::read_to_string(&kept.file).unwrap(), &*kept.name), (text.to_owned(), "app.jar"));
            assert_eq!(find(&state, &app.name, "abc"), Some(kept));
            assert_eq!(fs::read_dir(state.join("artifacts/anna~shop/abc")).unwrap().count(), 2);
        }
        assert_eq!(find(&state, &app.name, "abd"), None);
    }
}
