//! What each app depends on, as its deps.edn of the last commit we saw says: read from mirrors, kept in the store,
//! held in the planner's graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, unpoison};
use crate::bumps::{Asking, BumpsError, Tree, at};
use crate::deps;
use crate::git::GitError;
use crate::model::{App, AppName, Branch, Bump, Follows, JobState, Push, RepoId, RepoUrl, Sha, Track, Why};
use crate::planner::Known;
use crate::store::{AppIndex, DepRow, StoreError};

/// How many apps are read at once.
pub(super) const AT_ONCE: usize = 4;
/// How many repositories are looked into at once, for nobody who waits.
pub(super) const LOOKERS: usize = 2;
/// How long an app that could not be read is left alone, the first time; twice as long each time after.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long at most.
const AGAIN_AT_LAST: Duration = Duration::from_secs(3600);
/// How long a plan waits for an app to be read.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it waits for one that could not be read before: its remote holds up nobody twice.
const LITTLE_PATIENCE: Duration = Duration::from_secs(2);

/// An app that is to be bumped and whose dependencies are not known.
pub(super) enum Unread {
    /// No one has looked yet.
    New,
    /// It is being read.
    Reading {
        /// Since when; none while it waits for others.
        since: Option<Instant>,
        /// How often it could not be read before.
        failures: u32,
    },
    /// It could not be read.
    Failed {
        /// When.
        at: Instant,
        /// Why.
        why: String,
        /// How often, one after another.
        failures: u32,
    },
}

impl Unread {
    /// How much longer a plan waits for it, if at all.
    fn patience(&self) -> Option<Duration> {
        let Unread::Reading { since, failures } = self else { return None };
        let patience = if *failures == 0 { PATIENCE } else { LITTLE_PATIENCE };
        let left = patience.checked_sub(since.map_or(Duration::ZERO, |since| since.elapsed()));
        left.filter(|left| !left.is_zero())
    }
}

/// Why an app's dependencies are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that can't be read; the text says which, and where in it.
    #[error("{0}")]
    File(String),
}

impl From<BumpsError> for IndexError {
    fn from(error: BumpsError) -> Self {
        match error {
            BumpsError::Git(error) => IndexError::Git(error),
            error => IndexError::File(error.to_string()),
        }
    }
}

impl Inner {
    /// The apps of deploy.edn, in place of those before.
    pub(super) fn set_apps(&self, apps: BTreeMap<AppName, App>) {
        let print = print(&apps);
        let mut graph = unpoison(self.graph.write());
        self.store.know_apps(print);
        let mut unread = unpoison(self.unread.lock());
        let gone: Vec<AppName> = graph.apps().map(|a| a.name.clone()).filter(|name| !apps.contains_key(name)).collect();
        for name in gone {
            graph.remove_app(&name);
        }
        for (name, app) in apps {
            let was = graph.app(&name);
            if was.is_some_and(|was| reads_alike(was, &app)) {
                // What is known of it stays known, also what the store is only about to have.
                graph.put_app(app);
                continue;
            }
            let same_track = was.is_none_or(|was| was.updates.track == app.updates.track);
            let index = self.store.index(&name).unwrap_or_else(|error| {
                tracing::error!(app = %name, %error, "what the app depends on is read again");
                None
            });
            let index = index.filter(|index| index.repo == app.repo());
            graph.put_known(&name, index.as_ref().map(known).unwrap_or_default());
            let is_good = |index: AppIndex| {
                has_branch(&app, &index.branch)
                    && same_track
                    && files_of(&app) == index.files
                    && is_as_told(&app, &index)
            };
            if !app.update || index.is_some_and(is_good) {
                unread.remove(&name);
            } else if !matches!(unread.get(&name), Some(Unread::Reading { .. })) {
                unread.insert(name, Unread::New);
            }
            graph.put_app(app);
        }
        unread.retain(|name, _| graph.app(name).is_some());
    }

    /// The url by which an app of deploy.edn names a repository: the one that keys and tokens are set up for.
    pub(super) fn url_of(&self, repo: &RepoId) -> Option<RepoUrl> {
        unpoison(self.graph.read()).apps_in(repo).next().map(|app| app.git_url.clone())
    }
    /// The branches that apps of deploy.edn follow in a repository; none stands for its default branch.
    pub(super) fn branches_of(&self, repo: &RepoId) -> Vec<Option<Branch>> {
        unpoison(self.graph.read()).apps_in(repo).map(|app| app.branch.clone()).collect()
    }

    /// The apps that live in a repository.
    pub(super) fn apps_in(&self, repo: &RepoId) -> Vec<AppName> {
        unpoison(self.graph.read()).apps_in(repo).map(|app| app.name.clone()).collect()
    }

    /// The heads that a repository's branches were last known to have, also of those that were deleted since.
    pub(super) fn had(&self, repo: &RepoId) -> BTreeMap<Branch, Sha> {
        self.store.accepted_heads(repo).unwrap_or_default()
    }

    /// Begins to read the apps whose dependencies are not known yet, in the background.
    pub(super) fn start_reading(self: &Arc<Self>) {
        let graph = unpoison(self.graph.read());
        for (name, unread) in unpoison(self.unread.lock()).iter_mut() {
            let failures = match unread {
                Unread::Reading { .. } => continue,
                Unread::Failed { at, failures, .. } => {
                    let pause = AGAIN_AFTER.saturating_mul(1 << (*failures - 1).min(20)).min(AGAIN_AT_LAST);
                    if at.elapsed() < pause {
                        continue;
                    }
                    *failures
                }
                Unread::New => 0,
            };
            let Some(app) = graph.app(name).cloned() else { continue };
            *unread = Unread::Reading { since: None, failures };
            let inner = self.clone();
            self.tasks.spawn(async move {
                let permit = inner.readers.acquire().await;
                if let Some(unread) = unpoison(inner.unread.lock()).get_mut(&app.name) {
                    *unread = Unread::Reading { since: Some(Instant::now()), failures };
                }
                let read = inner.read_app(&app).await;
                drop(permit);
                if let Err(error) = &read
                    && !inner.ending.is_cancelled()
                {
                    tracing::warn!(app = %app.name, %error, "what the app depends on is not known");
                }
                // It is not there any more if it is known, or is no app any more.
                if let Some(unread) = unpoison(inner.unread.lock()).get_mut(&app.name) {
                    *unread = match read {
                        Ok(()) => Unread::New,
                        Err(error) => {
                            Unread::Failed { at: Instant::now(), why: error.to_string(), failures: failures + 1 }
                        }
                    };
                }
                inner.reads.send_modify(|n| *n += 1);
            });
        }
    }

    /// Waits for the readings under way, but for none longer than is bearable: a remote that hangs holds up nobody's
    /// plan for long.
    pub(super) async fn await_reading(&self) {
        let mut reads = self.reads.subscribe();
        loop {
            let Some(longest) = unpoison(self.unread.lock()).values().filter_map(Unread::patience).max() else {
                return;
            };
            tokio::select! {
                _ = reads.changed() => {}
                () = tokio::time::sleep(longest) => {}
                () = self.ending.cancelled() => return,
            }
        }
    }

    /// Each app whose dependencies are not known, and why in words.
    pub(super) fn unread_notes(&self) -> Vec<(AppName, String)> {
        let note = |(name, unread): (&AppName, &Unread)| {
            let note = match unread {
                Unread::Failed { why, .. } => format!("what {name} depends on is not known: {why}"),
                _ => format!("what {name} depends on is not known yet: its remote has not answered so far"),
            };
            (name.clone(), note)
        };
        let mut notes: Vec<(AppName, String)> = unpoison(self.unread.lock()).iter().map(note).collect();
        notes.sort();
        notes
    }
    /// Whether it is not known what an app depends on.
    pub(super) fn is_unread(&self, app: &AppName) -> bool {
        unpoison(self.unread.lock()).contains_key(app)
    }
    /// Apps that are to be read anew, whatever is known of them.
    pub(super) fn doubt(&self, apps: impl IntoIterator<Item = AppName>) {
        let graph = unpoison(self.graph.read());
        let mut unread = unpoison(self.unread.lock());
        for app in apps.into_iter().filter(|app| graph.app(app).is_some_and(|app| app.update)) {
            unread.entry(app).or_insert(Unread::New);
        }
    }

    async fn read_app(self: &Arc<Self>, app: &App) -> Result<(), IndexError> {
        let git = self.rooms.load().git.clone();
        let fetched = git.fetch(&app.git_url, &self.ending).await?;
        let branch = app.branch.clone().or(fetched.heads.head_branch);
        let head = branch.as_ref().and_then(|branch| fetched.heads.branches.get(branch).copied());
        let (Some(branch), Some(head)) = (branch, head) else {
            return Err(IndexError::File(format!("{} does not have the app's branch", app.git_url)));
        };
        self.index_app(app, &branch, head).await
    }

    /// Keeps what an app's deps.edn says at a commit that the mirror has.
    pub(super) async fn index_app(self: &Arc<Self>, app: &App, branch: &Branch, sha: Sha) -> Result<(), IndexError> {
        let mut unseen = self.index_at(app, branch, sha).await?;
        unseen.retain(|repo, _| !self.was_out_of_reach(repo));
        if !unseen.is_empty() {
            let (inner, app, branch) = (self.clone(), app.clone(), branch.clone());
            self.tasks.spawn(async move { inner.look_at_unseen(&app, &branch, sha, unseen).await });
        }
        Ok(())
    }

    /// Makes the mirrors of repositories that nobody has looked into, which tell the branches that the app's shas are
    /// on. What can't be asked is asked by whoever needs it next.
    async fn look_at_unseen(&self, app: &App, branch: &Branch, sha: Sha, unseen: BTreeMap<RepoId, RepoUrl>) {
        let git = self.rooms.load().git.clone();
        for (repo, url) in unseen {
            let url = self.url_of(&repo).unwrap_or(url);
            let Ok(_turn) = self.lookers.acquire().await else { return };
            if !git.path(&repo).exists()
                && !self.was_out_of_reach(&repo)
                && let Err(error) = git.fetch(&url, &self.ending).await
            {
                tracing::debug!(app = %app.name, %url, %error, "not looked into");
                unpoison(self.unseen.lock()).insert(repo, Instant::now());
            }
        }
        // Someone may have read a newer commit meanwhile.
        let is_newest =
            unpoison(self.graph.read()).read_at(&app.name).is_some_and(|read| *read == (branch.clone(), sha));
        if is_newest && let Err(error) = self.index_at(app, branch, sha).await {
            tracing::debug!(app = %app.name, %error, "what moves the app's dependencies is not known");
        }
    }

    /// Whether a repository could not be looked into of late: then it is left alone.
    fn was_out_of_reach(&self, repo: &RepoId) -> bool {
        unpoison(self.unseen.lock()).get(repo).is_some_and(|at| at.elapsed() < AGAIN_AT_LAST)
    }

    /// Gives the repositories of whose branches nothing is known yet.
    async fn index_at(&self, app: &App, branch: &Branch, sha: Sha) -> Result<BTreeMap<RepoId, RepoUrl>, IndexError> {
        let before = self.store.index(&app.name).unwrap_or_else(|error| {
            tracing::error!(app = %app.name, %error, "what was known of the app can't be read");
            None
        });
        let rooms = self.rooms.load_full();
        let asking = Asking { git: &rooms.git, url_of: &|repo| self.url_of(repo), stop: &self.ending };
        let (mut deps, mut unseen) = (BTreeSet::new(), BTreeMap::new());
        let tree = Tree::Commit { git: &rooms.git, repo: &app.repo(), sha };
        for file in tree.files(&app.updates).await? {
            let scanned = deps::scan(&file.text).map_err(|e| IndexError::File(at(&file.path, &file.text, &e)))?;
            for (_, coord) in scanned.live() {
                let (Some(lib), Some(url)) = (coord.lib.clone(), coord.repo_url()) else { continue };
                let (repo, at) = (url.id(), coord.full_sha());
                let follows = asking.follows(coord, &app.updates.track, &|repo| self.branches_of(repo)).await;
                if follows == Follows::Unknown && !rooms.git.path(&repo).exists() {
                    unseen.insert(repo.clone(), url.clone());
                }
                let tag = coord.tag().map(str::to_owned);
                deps.insert(DepRow { lib, repo, url: Some(url), follows, at, tag });
            }
        }
        let (branch, files) = (branch.clone(), files_of(app));
        let index = AppIndex { repo: app.repo(), branch, sha, files, deps: deps.into_iter().collect() };
        self.know(app, index.clone());
        if before.is_none_or(|before| before != index) {
            self.store.put_index(app.name.clone(), index).await?;
        }
        Ok(unseen)
    }

    /// The planner goes by it from here on.
    fn know(&self, app: &App, index: AppIndex) {
        let mut graph = unpoison(self.graph.write());
        // An edit of deploy.edn may have made it another app meanwhile.
        let same = |now: &App| {
            now.repo() == index.repo
                && has_branch(now, &index.branch)
                && now.updates.track == app.updates.track
                && files_of(now) == index.files
        };
        if graph.app(&app.name).is_some_and(same) {
            graph.put_known(&app.name, known(&index));
            unpoison(self.unread.lock()).remove(&app.name);
            drop(graph);
            self.reads.send_modify(|n| *n += 1);
        }
    }

    /// What a job has published is what its app says from now on: nothing but the bumped shas is another.
    pub(super) async fn index_published(&self, job: &JobState) -> Result<(), IndexError> {
        let (Some(commit), Some(updated)) = (job.published, &job.updated) else { return Ok(()) };
        let Some(mut index) = self.store.index(&job.app.name)? else { return Ok(()) };
        let is_its = job.base.as_ref().is_some_and(|(branch, sha)| (branch, sha) == (&index.branch, &index.sha));
        if commit == index.sha || index.repo != job.app.repo() || !is_its {
            return Ok(());
        }
        index.sha = commit;
        for dep in &mut index.deps {
            let moved = |bump: &&Bump| {
                let stands =
                    dep.tag.as_ref().map_or_else(|| bump.from.parse::<Sha>().ok() == dep.at, |tag| bump.from == *tag);
                stands && (&bump.lib, &bump.repo) == (&dep.lib, &dep.repo)
            };
            let Some(bump) = updated.bumps.iter().find(moved) else { continue };
            match (&bump.to.parse(), &bump.sha) {
                (Ok(to), None) => dep.at = Some(*to),
                (_, sha) => {
                    dep.tag = Some(bump.to.clone());
                    dep.at = sha.as_ref().and_then(|(_, after)| after.parse().ok());
                }
            }
        }
        index.deps.sort();
        index.deps.dedup();
        self.know(&job.app, index.clone());
        Ok(self.store.put_index(job.app.name.clone(), index).await?)
    }

    /// As `doubt_residents`, for the pushes of jobs that were planned by the daemon before this one.
    pub(super) fn doubt_planned(&self) {
        let graph = unpoison(self.graph.read());
        let mut unread = unpoison(self.unread.lock());
        for job in self.store.open_jobs() {
            let pushed = job.live_causes().find_map(|cause| match cause.why {
                Why::OwnPush { after, .. } => Some(after),
                _ => None,
            });
            let read = graph.read_at(&job.app.name).map(|(_, sha)| *sha);
            if job.base.is_none() && job.app.update && read.is_some() && pushed.is_some_and(|sha| Some(sha) != read) {
                unread.entry(job.app.name.clone()).or_insert(Unread::New);
            }
        }
    }

    /// Apps whose branch a push has moved may depend on others from now on: who plans after it reads them first.
    pub(super) fn doubt_residents(&self, push: &Push, default: Option<&Branch>) {
        let graph = unpoison(self.graph.read());
        let mut unread = unpoison(self.unread.lock());
        for app in push.repos().iter().flat_map(|repo| graph.apps_in(repo)).filter(|app| app.update) {
            let read = graph.read_at(&app.name);
            let branch = graph.lives_on(app, push.default_branch.as_ref().or(default));
            let is_its = branch.is_none_or(|branch| *branch == push.branch);
            if is_its && read.is_some_and(|(_, sha)| *sha != push.after) {
                unread.entry(app.name.clone()).or_insert(Unread::New);
            }
        }
    }
}

/// Whether the same is read for two entries of an app.
fn reads_alike(one: &App, other: &App) -> bool {
    let reads = |app: &App| (app.repo(), app.branch.clone(), app.update, app.updates.track.clone(), files_of(app));
    reads(one) == reads(other)
}

/// Which files an app's entry says are read.
fn files_of(app: &App) -> (Option<String>, Vec<String>) {
    (app.updates.directory.clone(), app.updates.deps_files.clone())
}

/// Whether what was read of a branch is what the app follows.
fn has_branch(app: &App, read: &Branch) -> bool {
    app.branch.as_ref().is_none_or(|branch| branch == read)
}

/// Whether what is known goes by what the app's entry says of its libraries now.
fn is_as_told(app: &App, index: &AppIndex) -> bool {
    index.deps.iter().all(|dep| match (app.updates.track.get(&dep.lib), &dep.follows) {
        (_, Follows::Nothing) => true,
        (Some(Track::Branch(told)), follows) => matches!(follows, Follows::Branch(branch) if branch == told),
        (Some(Track::Tags), follows) => *follows == Follows::Tags,
        (None, follows) => !matches!(follows, Follows::Branch(_)),
    })
}

/// An index as the planner needs it.
fn known(index: &AppIndex) -> Known {
    let mut deps: BTreeMap<RepoId, Vec<Follows>> = BTreeMap::new();
    for dep in &index.deps {
        let follows = deps.entry(dep.repo.clone()).or_default();
        if !follows.contains(&dep.follows) {
            follows.push(dep.follows.clone());
        }
    }
    Known { at: Some((index.branch.clone(), index.sha)), deps }
}

/// A number that is another one when the apps are others.
fn print(apps: &BTreeMap<AppName, App>) -> u64 {
    use sha2::{Digest as _, Sha256};
    let mut digest = Sha256::new();
    for app in apps.values() {
        // Plain data always has a JSON form; an app that had none would only not count.
        digest.update(serde_json::to_vec(app).unwrap_or_default());
    }
    digest.finalize().iter().take(8).fold(0, |print, byte| (print << 8) | u64::from(*byte))
}
