//! One bare mirror per repository: made at first use, fetched into, checked, made anew when it is damaged.
//!
//! No object is ever removed from a mirror: a branch that was rewritten leaves its old commits there, since job
//! clones and builds read them. Upkeep has git join packs (`maintain`), and nothing is pruned. Refs follow the remote, in
//! both directions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use git2::{Direction, ErrorClass, FetchOptions, ObjectType, Repository};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::asked::Asked;
use super::config::GitConfig;
use super::error::GitError;
use super::folder::folder_name;
use super::maintain::mark_used;
use super::read::known_heads;
use super::remote::{Heads, Listing, Talk, proxy};
use super::task;
use crate::model::{RepoId, RepoUrl};

/// The file beside the mirrors with what only libgit2 is told.
const SETTINGS: &str = "libgit2.config";
/// It syncs what it writes to disk, and follows no redirect to another host, which would be sent the token too: its
/// `false` means other hosts only, where git's own means all redirects.
const SETTINGS_TEXT: &str = "# For libgit2 alone: git itself has core.fsync and warns of this one, in build logs.\n\
                             [core]\n\tfsyncObjectFiles = true\n[http]\n\tfollowRedirects = false\n";

/// How many packs a mirror may have before they are joined.
const PACKS_MAX: usize = 50;

/// All mirrors of one state directory. Cheap to clone; there is one per process.
#[derive(Clone)]
pub struct Mirrors {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub config: GitConfig,
    slots: Arc<Mutex<HashMap<RepoId, Slot>>>,
    /// When each remote was last asked for a fetch that went well.
    fetched: Arc<Mutex<HashMap<RepoId, Instant>>>,
    /// The remotes that are being asked.
    pub(super) asked: Asked,
    /// Repositories that stand in for mirrors.
    pub(super) instead: BTreeMap<RepoId, PathBuf>,
}

/// The lock of one mirror, and what is known of its health.
pub(super) type Slot = Arc<tokio::sync::Mutex<Health>>;

/// What this process knows of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// Not looked at yet: a killed run may have left locks or half of it.
    Unchecked,
    /// Looked at, or made by us.
    Sound,
}

/// What a fetch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The remote's heads, all of which the mirror now has.
    pub heads: Heads,
    /// Whether anything was new.
    pub changed: bool,
    /// Whether the mirror had been damaged and was made anew.
    pub remade: bool,
}

impl Mirrors {
    /// The mirrors under `config.state`. Also tells libgit2 its time-outs, which are the process's: the first wins.
    pub fn new(config: GitConfig) -> Result<Self, GitError> {
        task::set_timeouts(config.connect_timeout, config.silence);
        let root = config.state.join("mirrors");
        std::fs::create_dir_all(&root).map_err(|e| disk("could not make the folder", &root, &e))?;
        let settings = root.join(SETTINGS);
        std::fs::write(&settings, SETTINGS_TEXT).map_err(|e| disk("could not write", &settings, &e))?;
        let (slots, fetched, asked, instead) = (Arc::default(), Arc::default(), Asked::default(), BTreeMap::new());
        Ok(Self { inner: Arc::new(Inner { config, slots, fetched, asked, instead }) })
    }

    /// The same mirrors under another configuration: the locks that keep two jobs apart are shared with `self`.
    pub fn reconfigured(&self, config: GitConfig) -> Self {
        self.with(config, BTreeMap::new())
    }

    pub(super) fn with(&self, config: GitConfig, instead: BTreeMap<RepoId, PathBuf>) -> Self {
        let (slots, fetched, asked) = (self.inner.slots.clone(), self.inner.fetched.clone(), self.inner.asked.clone());
        Self { inner: Arc::new(Inner { config, slots, fetched, asked, instead }) }
    }

    /// The configuration they were made with.
    pub fn config(&self) -> &GitConfig {
        &self.inner.config
    }

    /// Where the mirror of `repo` is, whether it is made yet or not.
    pub fn path(&self, repo: &RepoId) -> PathBuf {
        if let Some(stand_in) = self.inner.instead.get(repo) {
            return stand_in.clone();
        }
        self.inner.config.state.join("mirrors").join(folder_name(repo))
    }

    /// The remote's heads, by asking it. Nothing is cloned.
    pub async fn heads(&self, url: &RepoUrl, stop: &CancellationToken) -> Result<Heads, GitError> {
        let (inner, asked) = (self.inner.clone(), url.clone());
        let what = format!("listing the branches of {url}");
        let _asked = self.inner.asked.begin(&url.id());
        task::run(what, self.inner.config.deadline, stop, async {}, move |(), halt| {
            Ok(Talk::new(&inner.config, &asked, halt)?.list()?.heads())
        })
        .await
    }

    /// Brings the mirror of the repository at `url` up to date: what is new only, and nothing if nothing is. Makes
    /// the mirror at first use, and anew if it is damaged.
    pub async fn fetch(&self, url: &RepoUrl, stop: &CancellationToken) -> Result<Fetched, GitError> {
        self.fetch_since(url, None, stop).await
    }

    /// As [`Mirrors::fetch`], but what a fetch that began at `since` or later found is good enough: then nothing is
    /// asked. One that is under way is waited for.
    pub async fn fetch_since(
        &self,
        url: &RepoUrl,
        since: Option<Instant>,
        stop: &CancellationToken,
    ) -> Result<Fetched, GitError> {
        if self.inner.instead.contains_key(&url.id()) {
            return Ok(Fetched { heads: self.known_heads(&url.id()).await?, changed: false, remade: false });
        }
        let (inner, asked, repo) = (self.inner.clone(), url.clone(), url.id());
        let dir = self.path(&repo);
        let _asked = self.inner.asked.begin(&repo);
        let lock = self.slot(&repo).lock_owned();
        task::run(format!("the fetch of {url}"), self.inner.config.deadline, stop, lock, move |mut slot, halt| {
            let last = || inner.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = last().get(&repo).is_some_and(|at| since.is_some_and(|since| *at >= since));
            if is_fresh && *slot == Health::Sound && !suspect_mark(&dir).exists() {
                let heads = known_heads(&open(&dir)?).map_err(|e| damaged(&dir, &e))?;
                return Ok(Fetched { heads, changed: false, remade: false });
            }
            let began = Instant::now();
            let talk = Talk::new(&inner.config, &asked, halt)?;
            let fetched = bring_up(&dir, &talk, &mut slot)?;
            mark_used(&dir);
            last().insert(repo, began);
            Ok(fetched)
        })
        .await
    }

    /// Notes that a mirror turned out damaged while it was read: the next fetch makes it anew.
    pub(super) fn doubt(&self, repo: &RepoId) {
        let path = self.path(repo);
        if let Err(error) = std::fs::write(suspect_mark(&path), b"") {
            tracing::warn!(mirror = %path.display(), %error, "a damaged mirror could not be marked; remove it by hand");
        }
    }

    pub(super) fn slot(&self, repo: &RepoId) -> Slot {
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(repo.clone()).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(Health::Unchecked))).clone()
    }
}

/// A fetch while the lock is held.
fn bring_up(dir: &Path, talk: &Talk, slot: &mut OwnedMutexGuard<Health>) -> Result<Fetched, GitError> {
    let mut sound = **slot == Health::Sound;
    if !sound {
        // Killed runs of this daemon leave these; there is one daemon per state directory, and we hold the lock.
        sweep(dir);
        sound = match check(dir) {
            Ok(()) => {
                join_packs(dir);
                true
            }
            Err(words) => {
                if dir.exists() {
                    tracing::warn!(mirror = %dir.display(), words, "a mirror is damaged and is made anew");
                }
                false
            }
        };
    }
    if sound && !suspect_mark(dir).exists() {
        **slot = Health::Sound;
        match fetch_into(dir, talk) {
            Err(GitError::Mirror { words, .. }) => {
                tracing::warn!(mirror = %dir.display(), words, "a mirror turned out damaged and is made anew");
            }
            done => return done,
        }
    }
    **slot = Health::Unchecked;
    let fetched = remake(dir, talk)?;
    **slot = Health::Sound;
    Ok(fetched)
}

/// Clones beside, then swaps. The old one is set aside until the next time, and stays in place if the remote fails.
fn remake(dir: &Path, talk: &Talk) -> Result<Fetched, GitError> {
    let beside = |ending: &str| {
        let mut name = dir.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (fresh, broken) = (beside(".new"), beside(".broken"));
    remove(&fresh)?;
    init(&fresh)?;
    let fetched = fetch_into(&fresh, talk)?;
    let remade = dir.exists();
    if remade {
        remove(&broken)?;
        std::fs::rename(dir, &broken).map_err(|e| disk("could not set aside", dir, &e))?;
    }
    std::fs::rename(&fresh, dir).map_err(|e| disk("could not put in place", dir, &e))?;
    let _ = std::fs::remove_file(suspect_mark(dir));
    if let Some(parent) = dir.parent().and_then(|parent| std::fs::File::open(parent).ok()) {
        let _ = parent.sync_all();
    }
    Ok(Fetched { changed: true, remade, ..fetched })
}

fn init(dir: &Path) -> Result<(), GitError> {
    let made = || -> Result<(), git2::Error> {
        let repo = Repository::init_bare(dir)?;
        let mut config = repo.config()?;
        // For git itself; libgit2 is told when it opens the mirror.
        config.set_str("core.fsync", "committed")?;
        config.set_bool("core.logAllRefUpdates", false)?;
        // Job clones and builds depend on every object: git's own commands must not tidy up either.
        config.set_i32("gc.auto", 0)?;
        config.set_str("gc.pruneExpire", "never")?;
        config.set_bool("receive.autogc", false)?;
        config.set_bool("maintenance.auto", false)?;
        Ok(())
    };
    made().map_err(|e| damaged(dir, &e))
}

fn fetch_into(dir: &Path, talk: &Talk) -> Result<Fetched, GitError> {
    let repo = open(dir)?;
    let mut remote = repo.remote_anonymous(&talk.url).map_err(|e| talk.fail(e))?;
    let mut connection =
        remote.connect_auth(Direction::Fetch, Some(talk.callbacks()), Some(proxy())).map_err(|e| talk.fail(e))?;
    let listing = Listing::of(connection.list().map_err(|e| talk.fail(e))?);
    let heads = listing.heads();
    let here = refs(&repo).map_err(|e| damaged(dir, &e))?;
    if here == listing.refs {
        follow_head(&repo, &listing).map_err(|e| damaged(dir, &e))?;
        return Ok(Fetched { heads, changed: false, remade: false });
    }
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(talk.callbacks())
        .proxy_options(proxy())
        .update_fetchhead(false)
        .download_tags(git2::AutotagOption::None);
    // What is here is told to the remote as had, so it had better be whole.
    check(dir).map_err(|words| GitError::Mirror { path: dir.to_owned(), words })?;
    let packs_before = packs(dir);
    let specs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
    connection.remote().download(&specs, Some(&mut options)).map_err(|e| match e.class() {
        _ if talk.is_halted() => talk.fail(e),
        ErrorClass::Odb | ErrorClass::Zlib | ErrorClass::Object | ErrorClass::Reference | ErrorClass::Indexer => {
            damaged(dir, &e)
        }
        _ => talk.fail(e),
    })?;
    drop(connection);
    sync_new_packs(dir, &packs_before)?;
    if here.is_empty() {
        // All at once: a sync for each of a thousand tags would take a disk many seconds.
        let path = dir.join("packed-refs");
        let put = || {
            let mut file = std::fs::File::create(&path)?;
            file.write_all(packed(&listing.refs).as_bytes())?;
            file.sync_all()
        };
        put().map_err(|e| disk("could not write", &path, &e))?;
        follow_head(&repo, &listing).map_err(|e| damaged(dir, &e))?;
        return Ok(Fetched { heads, changed: true, remade: false });
    }
    let put = || -> Result<(), git2::Error> {
        // First what is gone, so that `a` can make way for `a/b`.
        for name in here.keys().filter(|name| !listing.refs.contains_key(*name)) {
            repo.find_reference(name)?.delete()?;
        }
        for (name, oid) in listing.refs.iter().filter(|(name, oid)| here.get(*name) != Some(oid)) {
            repo.reference(name, *oid, true, "fetch")?;
        }
        follow_head(&repo, &listing)
    };
    put().map_err(|e| damaged(dir, &e))?;
    Ok(Fetched { heads, changed: true, remade: false })
}

/// libgit2 syncs loose objects and refs, but not packs that it writes: a ref must not be on disk before them.
pub(super) fn sync_new_packs(dir: &Path, before: &BTreeSet<PathBuf>) -> Result<(), GitError> {
    let folder = dir.join("objects/pack");
    for path in packs(dir).difference(before).map(PathBuf::as_path).chain([folder.as_path()]) {
        std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(|e| disk("could not sync", path, &e))?;
    }
    Ok(())
}

/// The files of the mirror's packs.
pub(super) fn packs(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(dir.join("objects/pack")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn follow_head(repo: &Repository, listing: &Listing) -> Result<(), git2::Error> {
    match &listing.head {
        Some(head) if repo.find_reference("HEAD")?.symbolic_target().ok().flatten() != Some(head.as_str()) => {
            repo.set_head(head)
        }
        _ => Ok(()),
    }
}

/// The mirror's branches and tags.
pub(super) fn refs(repo: &Repository) -> Result<BTreeMap<String, git2::Oid>, git2::Error> {
    let mut found = BTreeMap::new();
    for reference in repo.references()? {
        let reference = reference?;
        if let (Ok(name), Some(target)) = (reference.name(), reference.target())
            && (name.starts_with("refs/heads/") || name.starts_with("refs/tags/"))
        {
            found.insert(name.to_owned(), target);
        }
    }
    Ok(found)
}

/// Refs as the text of a `packed-refs` file, which wants them sorted.
pub(super) fn packed(refs: &BTreeMap<String, git2::Oid>) -> String {
    refs.iter().map(|(name, id)| format!("{id} {name}\n")).collect()
}

/// Opens a mirror, and nothing above it.
pub(super) fn open(dir: &Path) -> Result<Repository, GitError> {
    let opened = || -> Result<Repository, git2::Error> {
        let repo = Repository::open_bare(dir)?;
        if let Some(root) = dir.parent() {
            settle(&repo, root)?;
        }
        Ok(repo)
    };
    opened().map_err(|e| damaged(dir, &e))
}

/// Tells libgit2 the settings that stand in the mirrors' folder `root`.
pub(super) fn settle(repo: &Repository, root: &Path) -> Result<(), git2::Error> {
    repo.config()?.add_file(&root.join(SETTINGS), git2::ConfigLevel::App, true)
}

pub(super) fn damaged(dir: &Path, error: &git2::Error) -> GitError {
    GitError::Mirror { path: dir.to_owned(), words: error.message().to_owned() }
}

pub(super) fn disk(what: &'static str, path: &Path, error: &std::io::Error) -> GitError {
    GitError::Disk { what, path: path.to_owned(), words: error.to_string() }
}

/// Removes a folder, if it is there.
pub(super) fn remove(dir: &Path) -> Result<(), GitError> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(disk("could not remove", dir, &e)),
        _ => Ok(()),
    }
}

/// The file that says a mirror was found damaged while it was read.
pub(super) fn suspect_mark(dir: &Path) -> PathBuf {
    dir.join("airplanes-suspect")
}

/// Removes what a killed run leaves in a mirror: locks, and packs that were being received.
pub(super) fn sweep(dir: &Path) {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if name.ends_with(".lock")
                || (folder.ends_with("objects/pack")
                    && ["pack_", "tmp_", ".tmp-"].iter().any(|start| name.starts_with(start)))
            {
                tracing::info!(file = %path.display(), "swept what a killed run left");
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Whether a mirror is whole as far as can be told without reading all of it: it opens, each pack is as long as its
/// index says, and every ref leads to a commit whose tree is there.
pub(super) fn check(dir: &Path) -> Result<(), String> {
    let repo = Repository::open_bare(dir).map_err(|e| e.message().to_owned())?;
    for path in packs(dir) {
        if path.extension().is_some_and(|ending| ending == "idx") {
            check_pack(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    for (name, oid) in refs(&repo).map_err(|e| e.message().to_owned())? {
        let object = repo.find_object(oid, None).map_err(|e| format!("{name}: {}", e.message()))?;
        // A tag may lead to a tree or a file, which is odd but whole.
        if let Ok(commit) = object.peel(ObjectType::Commit) {
            let tree = commit.as_commit().map(git2::Commit::tree);
            tree.transpose().map_err(|e| format!("{name}: {}", e.message()))?;
        } else if name.starts_with("refs/heads/") {
            return Err(format!("{name} is not a commit"));
        }
    }
    Ok(())
}

/// Each fetch leaves a pack, and a reader looks into each. Past [`PACKS_MAX`] they are joined by git itself (libgit2
/// can't), at first use in a process, when hardly anyone reads. What is unreachable is kept too: no object is lost.
fn join_packs(dir: &Path) {
    let count = packs(dir).iter().filter(|path| path.extension().is_some_and(|ending| ending == "pack")).count();
    if count <= PACKS_MAX {
        return;
    }
    let done = std::process::Command::new("git")
        .arg("--git-dir")
        .arg(dir)
        .args(["repack", "-a", "-d", "-k", "-q"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(std::process::Stdio::null())
        .output();
    match done {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            tracing::warn!(mirror = %dir.display(), words, "packs could not be joined; reading gets slower");
        }
        Err(error) => tracing::warn!(mirror = %dir.display(), %error, "git could not be run to join packs"),
    }
}

/// A pack ends in its own digest, and its index repeats it 20 bytes before the end.
fn check_pack(index: &Path) -> Result<(), String> {
    use std::io::{Read, Seek, SeekFrom};
    let tail = |path: &Path, back: i64| -> std::io::Result<[u8; 20]> {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::End(-back))?;
        let mut bytes = [0; 20];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    let pack = index.with_extension("pack");
    let (said, found) = (tail(index, 40), tail(&pack, 20));
    match (said, found) {
        (Ok(said), Ok(found)) if said == found => Ok(()),
        (Ok(_), Ok(_)) => Err("its pack is cut short or another".to_owned()),
        (Err(e), _) | (_, Err(e)) => Err(e.to_string()),
    }
}
