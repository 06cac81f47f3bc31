//! The care of mirrors: which there are, when each was last used, whether git has something to join in it, and how one
//! that nobody needs goes.
//!
//! git's own maintenance joins packs and refs; it is told never to prune, since job clones and builds read a mirror's
//! objects through alternates. What calls it runs the process; here is only what it is called with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;

use super::error::GitError;
use super::folder::folder_name;
use super::mirror::{Health, Mirrors, check, disk, remove, sweep};
use crate::model::{RepoId, RepoUrl};

/// The file in a mirror that says when it was last used, in seconds since 1970. In words and not as the file's own
/// time, which a restored backup does not keep.
const USED: &str = "airplanes-used";
/// How stale that may be, in seconds: it is not written at every use.
const STALE: i64 = 86_400;
/// From so many packs on they are joined: each fetch leaves one, and a reader looks into each.
const PACKS: usize = 20;
/// From so many refs in files of their own on they are packed.
const LOOSE_REFS: usize = 200;
/// git tells the number of loose objects by this one of 256 folders, and so do we: 8 there are about 2000.
const LOOSE_IN_ONE: usize = 8;

/// What git is told besides its task. Nothing is pruned, nothing goes on in the background, large packs stay as they
/// are, and one thread is enough.
const TOLD: [&str; 9] = [
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    "gc.pruneExpire=never",
    "gc.worktreePruneExpire=never",
    "gc.cruftPacks=true",
    "gc.bigPackThreshold=1g",
    "pack.threads=1",
    "pack.windowMemory=64m",
    "core.fsync=committed",
];

/// A mirror that is held: no fetch goes into it meanwhile. Readers are not kept out.
pub struct HeldMirror {
    /// Its folder.
    pub dir: PathBuf,
    slot: OwnedMutexGuard<Health>,
}

impl Mirrors {
    /// The mirrors that are there.
    pub fn all(&self) -> Result<Vec<RepoId>, GitError> {
        let root = self.config().state.join("mirrors");
        let entries = std::fs::read_dir(&root).map_err(|e| disk("could not list", &root, &e))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut repos: Vec<RepoId> = names.filter_map(|name| repo_of(&name)).collect();
        repos.sort();
        Ok(repos)
    }

    /// Notes that a mirror is of use. Writes once a day at the most.
    pub fn mark_used(&self, repo: &RepoId) {
        mark_used(&self.path(repo));
    }

    /// When it was last of use. One that does not say so is noted as of now.
    pub fn used_at(&self, repo: &RepoId) -> Timestamp {
        let dir = self.path(repo);
        read_used(&dir).unwrap_or_else(|| {
            mark_used(&dir);
            Timestamp::now()
        })
    }

    /// Whether git has something to join in it.
    pub fn is_worn(&self, repo: &RepoId) -> bool {
        let dir = self.path(repo);
        let packs = count(&dir.join("objects/pack"), |name| name.ends_with(".pack"));
        packs >= PACKS || count(&dir.join("objects/17"), |_| true) >= LOOSE_IN_ONE || loose_refs(&dir) >= LOOSE_REFS
    }

    /// Keeps fetches out of a mirror. None if it is damaged: the next fetch makes it anew.
    pub async fn hold(&self, repo: &RepoId) -> Option<HeldMirror> {
        let (dir, slot) = (self.path(repo), self.slot(repo));
        let mut slot = slot.lock_owned().await;
        if *slot == Health::Unchecked {
            sweep(&dir);
            check(&dir).ok()?;
            *slot = Health::Sound;
        }
        Some(HeldMirror { dir, slot })
    }

    /// What a killed run left beside the mirrors: clones that were not finished, and damaged ones set aside. One whose
    /// mirror is being fetched is not named.
    pub fn rests(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.config().state.join("mirrors")).into_iter().flatten().flatten();
        let is_rest = |entry: &std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let mirror = [".git.new", ".git.broken", ".git.gone"].iter().find_map(|end| name.strip_suffix(end))?;
            let repo = repo_of(&format!("{mirror}.git"));
            let is_free = repo.is_none_or(|repo| self.slot(&repo).try_lock_owned().is_ok());
            is_free.then(|| entry.path())
        };
        entries.filter_map(|entry| is_rest(&entry)).collect()
    }
}

impl HeldMirror {
    /// git's arguments for its maintenance.
    pub fn maintenance(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--git-dir".into(), self.dir.clone().into()];
        args.extend(TOLD.into_iter().flat_map(|told| [OsString::from("-c"), told.into()]));
        args.extend(["maintenance", "run", "--quiet", "--task=pack-refs", "--task=gc"].map(Into::into));
        args
    }

    /// Removes it. The next fetch makes it anew.
    pub fn remove(mut self) -> Result<(), GitError> {
        *self.slot = Health::Unchecked;
        let mut gone = self.dir.clone().into_os_string();
        gone.push(".gone");
        let gone = PathBuf::from(gone);
        remove(&gone)?;
        // First away from its name, at once and whole.
        std::fs::rename(&self.dir, &gone).map_err(|e| disk("could not set aside", &self.dir, &e))?;
        remove(&gone)
    }
}

/// Notes that the mirror in `dir` is of use.
pub(super) fn mark_used(dir: &Path) {
    let now = Timestamp::now().as_second();
    if read_used(dir).is_some_and(|at| (now - at.as_second()).abs() < STALE) {
        return;
    }
    // Not there yet, or a full disk: it is noted the next time.
    let _ = std::fs::write(dir.join(USED), format!("{now}\n"));
}

fn read_used(dir: &Path) -> Option<Timestamp> {
    let text = std::fs::read_to_string(dir.join(USED)).ok()?;
    Timestamp::from_second(text.trim().parse().ok()?).ok()
}

/// The repository whose mirror is in the folder of that name. None for what is no mirror, and for a name so long that
/// it ends in a digest.
fn repo_of(folder: &str) -> Option<RepoId> {
    let mut rest = folder.strip_suffix(".git")?;
    let mut bytes = Vec::new();
    while let Some((plain, escaped)) = rest.split_once('+') {
        bytes.extend_from_slice(plain.as_bytes());
        rest = match escaped.strip_prefix('+') {
            Some(rest) => {
                bytes.push(b'/');
                rest
            }
            None => {
                bytes.push(u8::from_str_radix(escaped.get(..2)?, 16).ok()?);
                escaped.get(2..)?
            }
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    let text = String::from_utf8(bytes).ok()?;
    let urls = [format!("https://{text}"), format!("file://{text}"), text];
    let repos = urls.into_iter().filter_map(|url| RepoUrl::new(url).ok()).map(|url| url.id());
    repos.into_iter().find(|repo| folder_name(repo) == folder)
}

fn count(folder: &Path, wanted: impl Fn(&str) -> bool) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(&wanted)).count()
}

fn loose_refs(dir: &Path) -> usize {
    let (mut folders, mut files) = (vec![dir.join("refs")], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => files += 1,
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrors_folder_leads_back_to_its_repository() {
        for url in ["git@github.com:acme/snow.git", "https://h.example:8080/a/b%20c", "file:///tmp/r/app.git", "/a/ü"]
        {
            let repo = RepoUrl::new(url).unwrap().id();
            assert_eq!(repo_of(&folder_name(&repo)).as_ref(), Some(&repo), "{url}");
        }
        for other in ["libgit2.config", "github.com++acme++snow.git.new", "a+zz.git"] {
            assert_eq!(repo_of(other), None, "{other}");
        }
    }
}
