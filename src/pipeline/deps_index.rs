//! What each app depends on, as its deps.edn of the last commit we saw says: read from mirrors, kept in the store,
//! held in the planner's graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::unread::AGAIN_AT_LAST;
use super::{Inner, unpoison};
use crate::bumps::{self, Asking, BumpsError, Tree, at};
use crate::deps;
use crate::git::GitError;
use crate::model::{App, AppName, Branch, Bump, Follows, JobState, Lib, Push, RepoId, RepoUrl, Sha, Track};
use crate::planner::Known;
use crate::store::{AppIndex, DepRow, StoreError};

/// How many apps of one git host are read at once.
const AT_ONCE: usize = 4;
/// How many repositories are looked into at once, for nobody who waits.
pub(super) const LOOKERS: usize = 2;
/// How many of our own commits are gone back over.
const OURS: usize = 50;

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
            if was != Some(&app) {
                self.may_owe(&name);
            }
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
                    && (app.branch.is_some() || self.default_told(&index.repo).is_none_or(|told| told == index.branch))
                    && same_track
                    && files_of(&app) == index.files
                    && is_as_told(&app, &index)
                    && !self.is_behind(&index)
            };
            if !app.update || index.is_some_and(is_good) {
                unread.is_known(&name);
            } else {
                unread.begin_anew(&name, Instant::now());
            }
            graph.put_app(app);
        }
        unread.keep(|name| graph.app(name).is_some());
    }

    /// The url by which an app of deploy.edn names a repository: the one that keys and tokens are set up for.
    pub(super) fn url_of(&self, repo: &RepoId) -> Option<RepoUrl> {
        unpoison(self.graph.read()).apps_in(repo).next().map(|app| app.git_url.clone())
    }
    /// The branches that apps of deploy.edn follow in a repository; none stands for its default branch.
    pub(super) fn branches_of(&self, repo: &RepoId) -> Vec<Option<Branch>> {
        unpoison(self.graph.read()).apps_in(repo).map(|app| app.branch.clone()).collect()
    }

    /// The heads that a repository's branches were last known to have, also of those that were deleted since; of a branch
    /// that nobody told of, the commit at which an app was seen on it.
    pub(super) fn had(&self, repo: &RepoId) -> BTreeMap<Branch, Sha> {
        let mut had = self.store.accepted_heads(repo).unwrap_or_default();
        let dependents: Vec<AppName> =
            unpoison(self.graph.read()).dependents(repo).map(|app| app.name.clone()).collect();
        for app in dependents {
            let deps = self.store.index(&app).ok().flatten().map(|index| index.deps).unwrap_or_default();
            for dep in deps.into_iter().filter(|dep| dep.repo == *repo) {
                if let (Follows::Seen(branch), Some(at)) = (dep.follows, dep.at) {
                    had.entry(branch).or_insert(at);
                }
            }
        }
        had
    }

    /// Whether a branch has moved since what is known of it was read, other than by commits of ours, which change nothing
    /// but shas.
    fn is_behind(&self, index: &AppIndex) -> bool {
        let ours = |from: Sha, to: Sha| -> Result<bool, StoreError> {
            let mut at = from;
            for _ in 0..OURS {
                if at == to {
                    return Ok(true);
                }
                let Some(own) = self.store.own_commit(&at)? else { return Ok(false) };
                let Some((_, base)) = self.store.job(own.job)?.and_then(|job| job.base.clone()) else {
                    return Ok(false);
                };
                at = base;
            }
            Ok(false)
        };
        let is_behind = || match self.store.accepted_head(&index.repo, &index.branch)? {
            Some(head) => Ok(!ours(head, index.sha)? && !ours(index.sha, head)?),
            None => Ok(false),
        };
        is_behind().unwrap_or_else(|error: StoreError| {
            tracing::error!(repo = %index.repo, %error, "what apps there depend on is read again");
            true
        })
    }

    /// Begins to read the apps whose dependencies are not known yet, in the background.
    pub(super) fn start_reading(self: &Arc<Self>) {
        let graph = unpoison(self.graph.read());
        let due = unpoison(self.unread.lock()).take_due(Instant::now());
        for name in due {
            let Some(app) = graph.app(&name).cloned() else { continue };
            let inner = self.clone();
            let turns = unpoison(self.readers.lock())
                .entry(app.git_url.parts().host.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)))
                .clone();
            self.tasks.spawn(async move {
                let permit = turns.acquire().await;
                let read = inner.read_app(&app).await;
                drop(permit);
                if let Err(error) = &read
                    && !inner.ending.is_cancelled()
                {
                    tracing::warn!(app = %app.name, %error, "what the app depends on is not known");
                }
                let failed = read.err().map(|error| error.to_string());
                unpoison(inner.unread.lock()).ended(&app.name, failed, Instant::now());
                inner.reads.send_modify(|n| *n += 1);
            });
        }
    }

    /// Waits for the readings under way, but for none longer than is bearable: a remote that hangs holds up nobody's
    /// plan for long.
    pub(super) async fn await_reading(&self) {
        let mut reads = self.reads.subscribe();
        loop {
            let Some(left) = unpoison(self.unread.lock()).patience(Instant::now()) else { return };
            tokio::select! {
                _ = reads.changed() => {}
                () = tokio::time::sleep(left) => {}
                () = self.ending.cancelled() => return,
            }
        }
    }

    /// Whether it is not known what an app depends on.
    pub(super) fn is_unread(&self, app: &AppName) -> bool {
        unpoison(self.unread.lock()).has(app)
    }
    /// Why it is not known what apps depend on, in words.
    pub(super) fn unread_notes(&self) -> Vec<String> {
        unpoison(self.unread.lock()).notes()
    }
    /// Apps that are to be read anew, whatever is known of them.
    pub(super) fn doubt(&self, apps: impl IntoIterator<Item = AppName>) {
        let graph = unpoison(self.graph.read());
        let mut unread = unpoison(self.unread.lock());
        for app in apps.into_iter().filter(|app| graph.app(app).is_some_and(|app| app.update)) {
            unread.doubt(&app, Instant::now());
        }
    }

    async fn read_app(self: &Arc<Self>, app: &App) -> Result<(), IndexError> {
        let (git, begun) = (self.rooms.load().git.clone(), Instant::now());
        let fetched = git.fetch(&app.git_url, &self.ending).await?;
        let branch = app.branch.clone().or(fetched.heads.head_branch);
        let head = branch.as_ref().and_then(|branch| fetched.heads.branches.get(branch).copied());
        let (Some(branch), Some(head)) = (branch, head) else {
            return Err(IndexError::File(format!("{} does not have the app's branch", app.git_url)));
        };
        self.index_app(app, &branch, head, begun).await
    }

    /// Keeps what an app's deps.edn says at a commit that the mirror has, which a look at the remote that began at `begun`
    /// found.
    pub(super) async fn index_app(
        self: &Arc<Self>,
        app: &App,
        branch: &Branch,
        sha: Sha,
        begun: Instant,
    ) -> Result<(), IndexError> {
        let mut unseen = self.index_at(app, branch, sha, begun).await?;
        unseen.retain(|repo, _| !self.was_out_of_reach(repo));
        if !unseen.is_empty() {
            let (inner, app, branch) = (self.clone(), app.clone(), branch.clone());
            self.tasks.spawn(async move { inner.look_at_unseen(&app, (&branch, sha, begun), unseen).await });
        }
        Ok(())
    }

    /// Makes the mirrors of repositories that nobody has looked into, which tell the branches that the app's shas are
    /// on. What can't be asked is asked by whoever needs it next.
    async fn look_at_unseen(
        &self,
        app: &App,
        (branch, sha, begun): (&Branch, Sha, Instant),
        unseen: BTreeMap<RepoId, RepoUrl>,
    ) {
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
        if let Err(error) = self.index_at(app, branch, sha, begun).await {
            tracing::debug!(app = %app.name, %error, "what moves the app's dependencies is not known");
        }
    }

    /// Whether a repository could not be looked into of late: then it is left alone.
    fn was_out_of_reach(&self, repo: &RepoId) -> bool {
        unpoison(self.unseen.lock()).get(repo).is_some_and(|at| at.elapsed() < AGAIN_AT_LAST)
    }

    /// Gives the repositories of whose branches nothing is known yet.
    async fn index_at(
        &self,
        app: &App,
        branch: &Branch,
        sha: Sha,
        begun: Instant,
    ) -> Result<BTreeMap<RepoId, RepoUrl>, IndexError> {
        let rooms = self.rooms.load_full();
        let asking = Asking { git: &rooms.git, url_of: &|repo| self.url_of(repo), stop: &self.ending };
        let (mut deps, mut unseen) = (BTreeSet::new(), BTreeMap::new());
        let before = self.store.index(&app.name)?;
        let tree = Tree::Commit { git: &rooms.git, repo: &app.repo(), sha };
        for file in tree.files(&app.updates).await? {
            let scanned = deps::scan(&file.text).map_err(|e| IndexError::File(at(&file.path, &file.text, &e)))?;
            for (_, coord) in scanned.live() {
                let (Some(lib), Some(url)) = (coord.lib.clone(), coord.repo_url()) else { continue };
                let (repo, at) = (url.id(), coord.full_sha());
                let seen = before.as_ref().and_then(|index| index.seen_on(&lib, &repo));
                // Before: a mirror that is made meanwhile for somebody else has not been asked.
                let is_there = rooms.git.path(&repo).exists();
                let follows = asking.follows(coord, &app.updates.track, &|repo| self.branches_of(repo), seen).await;
                if matches!(follows, Follows::Unknown | Follows::Seen(_)) && !is_there {
                    unseen.insert(repo.clone(), url.clone());
                }
                let tag = coord.tag().map(str::to_owned);
                let follows =
                    self.seen_before(app, &lib, &repo, at).filter(|_| follows == Follows::Unknown).unwrap_or(follows);
                let stays = (follows == Follows::Nothing).then(|| coord.stays()).flatten();
                let root = bumps::root_of(coord);
                deps.insert(DepRow { lib, repo, url: Some(url), follows, at, tag, stays, root });
            }
        }
        let (branch, files) = (branch.clone(), files_of(app));
        let index = AppIndex { repo: app.repo(), branch, sha, files, deps: deps.into_iter().collect() };
        if let Some(kept) = self.know(app, index, begun) {
            kept.await?;
        }
        Ok(unseen)
    }

    /// The branch that a commit was on when somebody looked last: where none has it any more, that tells what became of
    /// it.
    fn seen_before(&self, app: &App, lib: &Lib, repo: &RepoId, at: Option<Sha>) -> Option<Follows> {
        let index = self.store.index(&app.name).ok().flatten()?;
        index.branch_of(lib, repo, at?).map(Follows::Seen)
    }

    /// The planner goes by it from here on, if no later look has told it more. Gives the writing of it, which has begun:
    /// the store gets what is known in the order in which it is known.
    fn know(
        &self,
        app: &App,
        index: AppIndex,
        begun: Instant,
    ) -> Option<impl Future<Output = Result<(), StoreError>> + use<>> {
        let mut graph = unpoison(self.graph.write());
        // An edit of deploy.edn may have made it another app meanwhile.
        let same = |now: &App| {
            now.repo() == index.repo
                && has_branch(now, &index.branch)
                && now.updates.track == app.updates.track
                && files_of(now) == index.files
        };
        if !graph.app(&app.name).is_some_and(same) || !unpoison(self.unread.lock()).settle(&app.name, begun) {
            return None;
        }
        graph.put_known(&app.name, known(&index));
        let is_kept = self.store.index(&app.name).is_ok_and(|before| before.as_ref() == Some(&index));
        let kept = (!is_kept).then(|| self.store.put_index(app.name.clone(), index));
        drop(graph);
        self.reads.send_modify(|n| *n += 1);
        kept
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
        if let Some(kept) = self.know(&job.app, index, Instant::now()) {
            kept.await?;
        }
        Ok(())
    }

    /// Apps whose branch a push has moved may depend on others from now on: who plans after it reads them first.
    pub(super) fn doubt_residents(&self, push: &Push, default: Option<&Branch>) {
        let graph = unpoison(self.graph.read());
        let mut unread = unpoison(self.unread.lock());
        for app in push.repos().iter().flat_map(|repo| graph.apps_in(repo)).filter(|app| app.update) {
            let read = graph.read_at(&app.name);
            let branch = graph.lives_on(app, default.or(push.default_branch.as_ref()));
            let is_its = branch.is_none_or(|branch| *branch == push.branch);
            if is_its && read.is_some_and(|(_, sha)| *sha != push.after) {
                unread.doubt(&app.name, Instant::now());
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
        // What has a tag moves by tags, whatever is tracked.
        (_, follows) if dep.tag.is_some() => *follows == Follows::Tags,
        (Some(Track::Branch(told)), follows) => matches!(follows, Follows::Branch(branch) if branch == told),
        (Some(Track::Tags), follows) => *follows == Follows::Tags,
        (None, follows) => !matches!(follows, Follows::Branch(_)),
    })
}

/// An index as the planner needs it.
fn known(index: &AppIndex) -> Known {
    let mut deps: BTreeMap<RepoId, Vec<Follows>> = BTreeMap::new();
    let mut roots: BTreeMap<RepoId, BTreeSet<String>> = BTreeMap::new();
    let whole: BTreeSet<&RepoId> = index.deps.iter().filter(|dep| dep.root.is_none()).map(|dep| &dep.repo).collect();
    for dep in &index.deps {
        if let Some(root) = dep.root.clone().filter(|_| !whole.contains(&dep.repo)) {
            roots.entry(dep.repo.clone()).or_default().insert(root);
        }
        let follows = deps.entry(dep.repo.clone()).or_default();
        if !follows.contains(&dep.follows) {
            follows.push(dep.follows.clone());
        }
    }
    Known { at: Some((index.branch.clone(), index.sha)), deps, roots }
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
