//! Which of the apps of one repository a push leaves alone, by what it touches. What can't be told concerns all: to run
//! once more does no harm, to miss does.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Inner, unpoison};
use crate::bumps::Tree;
use crate::deps::glob;
use crate::git::Mirrors;
use crate::model::{App, AppName, Branch, JobState, Push, Sha, Trigger};
use crate::store::{JobFilter, StoreError};

/// How long a push waits for the repository's mirror to have it.
const WITHIN: Duration = Duration::from_secs(20);
/// How many of an app's jobs are looked through for the last that looked at its branch.
const JOBS: usize = 5;

/// What of a repository concerns an app.
enum Part {
    /// What these globs cover.
    Globs(Vec<String>),
    /// What lies in these folders.
    Folders(BTreeSet<String>),
}

impl Part {
    fn has(&self, path: &str) -> bool {
        match self {
            Part::Globs(globs) => globs.iter().any(|glob| glob::covers(glob, path)),
            Part::Folders(folders) => folders.iter().any(|folder| {
                folder.is_empty() || path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }),
        }
    }
}

impl Inner {
    /// The apps on a pushed branch that only a part of the repository concerns, if it can be told what was pushed.
    fn with_parts(&self, push: &Push, default: Option<&Branch>) -> Vec<App> {
        // Of a new branch nobody knows what is new.
        if push.before.is_none() {
            return Vec::new();
        }
        let is_its = |app: &&App| {
            let branch = app.lives_on(default);
            has_part(app) && app.trigger != Trigger::Manual && branch.is_none_or(|branch| *branch == push.branch)
        };
        let graph = unpoison(self.graph.read());
        push.repos().iter().flat_map(|repo| graph.apps_in(repo)).filter(is_its).cloned().collect()
    }

    /// Whether it matters to apps what a push touches: then the mirror is to have it before the push is planned.
    pub(super) fn has_parts(&self, push: &Push) -> bool {
        !self.with_parts(push, push.default_branch.as_ref()).is_empty()
    }

    /// Brings what was pushed to the mirror, where it matters what it touches.
    pub(super) async fn bring_parts(&self, push: &Push) {
        let parts = self.with_parts(push, push.default_branch.as_ref());
        let Some(first) = parts.first() else { return };
        let git = self.rooms.load().git.clone();
        if !git.contains(&first.repo(), push.after).await.unwrap_or(false) {
            let fetched = tokio::time::timeout(WITHIN, git.fetch(&first.git_url, &self.ending)).await;
            if !matches!(fetched, Ok(Ok(_))) {
                tracing::info!(url = %first.git_url, "what a push touches is not known, so it concerns all apps there");
            }
        }
    }

    /// The apps on the branch whose part of the repository a push leaves alone, as far as the mirror tells.
    pub(super) async fn untouched(
        &self,
        push: &Push,
        default: Option<&Branch>,
    ) -> Result<BTreeSet<AppName>, StoreError> {
        self.untouched_since(push, default, true).await
    }

    /// The same, and whether what an app's last job saw counts, too.
    pub(super) async fn untouched_since(
        &self,
        push: &Push,
        default: Option<&Branch>,
        counts_last: bool,
    ) -> Result<BTreeSet<AppName>, StoreError> {
        let mut untouched = BTreeSet::new();
        let (Some(before), residents) = (push.before, self.with_parts(push, default)) else { return Ok(untouched) };
        let git = self.rooms.load().git.clone();
        for app in residents {
            let last = if counts_last { self.last_seen_by(&app)? } else { None }.unwrap_or(before);
            if is_untouched(&git, &app, &[before, last], push.after).await {
                untouched.insert(app.name);
            }
        }
        Ok(untouched)
    }

    /// The commit that an app's last job left it at, or looked at: what came since may not have been told of.
    fn last_seen_by(&self, app: &App) -> Result<Option<Sha>, StoreError> {
        let filter = JobFilter { app: Some(app.name.clone()), limit: JOBS, ..JobFilter::default() };
        let seen = |job: &JobState| {
            // One that only carries a commit to hosts has not looked at the branch.
            let of_this = job.app.repo() == app.repo() && job.app.branch == app.branch && job.carried().is_none();
            job.published.or(job.base.as_ref().map(|(_, sha)| *sha)).filter(|_| of_this)
        };
        Ok(self.store.jobs(&filter)?.iter().find_map(|job| seen(job.as_ref())))
    }
}

/// Whether only a part of its repository concerns an app.
pub(super) fn has_part(app: &App) -> bool {
    app.updates.directory.is_some() || !app.updates.paths.is_empty()
}

/// Whether nothing of an app differs between any of `olds` and `new`.
pub(super) async fn is_untouched(git: &Mirrors, app: &App, olds: &[Sha], new: Sha) -> bool {
    let repo = app.repo();
    for old in olds {
        let Ok(Some(paths)) = git.changed_paths(&repo, *old, new).await else { return false };
        let part = if app.updates.paths.is_empty() {
            // Also what it used to have.
            let mut folders = BTreeSet::new();
            for sha in [*old, new] {
                let Ok(found) = (Tree::Commit { git, repo: &repo, sha }).folders(&app.updates).await else {
                    return false;
                };
                folders.extend(found);
            }
            Part::Folders(folders)
        } else {
            Part::Globs(app.updates.paths.clone())
        };
        if paths.iter().any(|path| part.has(path)) {
            return false;
        }
    }
    true
}
