//! Holds as the pipeline keeps them: who may set one, what one stops, and how one ends by itself, by its time or by git.
//! What a hold kept back is made up for by one run of its app when it ends.

mod ends;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Inner, Pipeline, PipelineError, unpoison};
use crate::bumps::{BumpsError, Tree};
use crate::git::{GitError, Mirrors};
use crate::model::hold::{Descendant, Held as Set, Hold, HoldKind, HoldRequest, REASON, Released};
use crate::model::{App, AppName, HoldId, JobState, Lib, Sha, Trigger};
use crate::planner::Held;
use crate::store::{Release, StoreError};

/// How often it is looked whether a hold's time has come, at least: the clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Pipeline {
    /// All holds, by app.
    pub fn holds(&self) -> Vec<Hold> {
        self.inner.store.holds().values().cloned().collect()
    }

    /// Holds an app or a library of it, in place of a hold that is there, of which nothing stays. Jobs that have started
    /// go on.
    pub async fn hold(&self, app: &AppName, request: HoldRequest, by: &str) -> Result<Set, PipelineError> {
        let entry = self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        let refuse = |why: String| Err(PipelineError::Senseless(why));
        let HoldRequest { lib, reason, until, until_descendant_of } = request;
        let reason: String = reason.trim().chars().take(REASON).collect();
        if reason.is_empty() {
            return refuse("a hold needs a reason, for whoever wonders in a month: --reason \"…\"".to_owned());
        }
        if until.is_some_and(|until| until <= Timestamp::now()) {
            return refuse("that time has passed: --until 2d, or a time that is still to come".to_owned());
        }
        let (mut repo, mut deps, mut named) = (entry.repo(), Vec::new(), None);
        if let Some(text) = &lib {
            if !entry.update {
                return refuse(format!(
                    "{app} is not bumped (its :update? is not set), so none of its libraries moves"
                ));
            }
            let Some(index) = self.inner.store.index(app)?.filter(|index| index.repo == repo) else {
                return refuse(format!(
                    "what {app} depends on is not known yet: ask again when `airplanes repos` has it"
                ));
            };
            let lib = self.inner.lib_named(app, text, &index.deps)?;
            deps = index.deps.into_iter().filter(|dep| dep.lib == lib).collect();
            named = Some(lib);
            repo = deps.first().map_or(repo, |dep| dep.repo.clone());
        }
        let (git, mut note) = (self.rooms().git.clone(), None);
        let sha = match until_descendant_of.as_deref().map(|text| (text, text.parse::<Sha>())) {
            None => None,
            // It may be made already and not pushed yet.
            Some((_, Ok(sha))) => {
                if !git.contains(&repo, sha).await.unwrap_or(false) {
                    note = Some(format!(
                        "{repo} has no commit {} that we know of: the hold ends once it is pushed; with one that is mistyped \
                         it does not end",
                        sha.short()
                    ));
                }
                Some(sha)
            }
            Some((text, Err(_))) => {
                let url = deps.iter().find_map(|dep| dep.url.clone()).unwrap_or_else(|| entry.git_url.clone());
                Some(self.inner.commit_of(&git, &url, text).await?)
            }
        };
        let hold = Hold {
            id: HoldId(0),
            app: app.clone(),
            lib: named,
            reason,
            by: by.chars().take(100).collect(),
            at: Timestamp::now(),
            until,
            until_descendant_of: sha.map(|sha| Descendant { repo, sha }),
            kind: HoldKind::Manual,
            beneath: None,
        };
        if self.inner.is_there(&hold, deps).await {
            return refuse(format!("that commit is there already: `airplanes deploy {app}` brings what is due"));
        }
        let there = self.inner.store.holds().get(&(app.clone(), hold.lib.clone())).cloned();
        let hold = self.inner.store.put_hold(hold).await?;
        tracing::info!(%app, "{hold}");
        self.inner.tick();
        // One that was made by itself is not replaced: it is beneath.
        let replaces = there.filter(|there| there.kind == HoldKind::Manual);
        let replaces = replaces.map(|there| Hold { beneath: None, ..there });
        Ok(Set { hold, replaces, note })
    }

    /// Lets go of a hold; its app runs once, to make up for what was kept back.
    pub async fn release(&self, app: &AppName, lib: Option<String>, by: &str) -> Result<Released, PipelineError> {
        let lib = lib.map(|text| self.held_named(app, &text)).transpose()?;
        let held = (app.clone(), lib);
        let hold = self.inner.store.holds().get(&held).cloned();
        let missing = || PipelineError::NoSuchHold { app: app.clone(), lib: held.1.clone() };
        let hold = hold.ok_or_else(missing)?;
        self.inner.release(&hold, &format!("{by}, who let go of a hold")).await?.ok_or_else(missing)
    }

    /// The library that somebody means to let go of: one that is held, though the app may not have it any more.
    fn held_named(&self, app: &AppName, text: &str) -> Result<Lib, PipelineError> {
        let is_held = |lib: &Lib| self.inner.store.holds().contains_key(&(app.clone(), Some(lib.clone())));
        let lib = Lib::new(text);
        if let Some(lib) = lib.as_ref().ok().filter(|lib| is_held(lib)) {
            return Ok(lib.clone());
        }
        let deps = self.inner.store.index(app)?.map(|index| index.deps).unwrap_or_default();
        self.inner.lib_named(app, text, &deps).or_else(|_| lib.map_err(PipelineError::from))
    }

    /// The holds of one app.
    pub(super) fn holds_of(&self, app: &AppName) -> Vec<Hold> {
        self.inner.holds_on(app)
    }
}

/// Why libraries stay where they are in the files of an app.
pub(super) struct HeldLibs {
    holds: Vec<Hold>,
    /// Those of apps beside it, and the files that count for these.
    beside: Vec<(Vec<Hold>, BTreeSet<String>)>,
}

impl HeldLibs {
    /// In words; none if nobody holds the library in that file.
    pub fn why(&self, lib: &Lib, file: &str) -> Option<String> {
        let beside = self.beside.iter().filter(|(_, files)| files.contains(file)).map(|(holds, _)| holds);
        [&self.holds].into_iter().chain(beside).find_map(|holds| why_held(holds, lib))
    }
}

/// What of an app's holds keeps a library where it is: that of the library itself before that of the app.
fn why_held(holds: &[Hold], lib: &Lib) -> Option<String> {
    holds.iter().rev().find(|hold| hold.stops_bump(lib)).map(Hold::to_string)
}

impl Inner {
    /// The hold that keeps an app from everything but what has started.
    pub(super) fn stopped_by(&self, app: &AppName) -> Option<Hold> {
        self.store.holds().get(&(app.clone(), None)).filter(|hold| hold.stops_all()).cloned()
    }

    /// The hold that ends a job which has not started.
    pub(super) fn held_back(&self, job: &JobState) -> Option<Hold> {
        let holds = self.store.holds();
        holds.get(&(job.app.name.clone(), None)).filter(|hold| !job.started && hold.stops(job)).cloned()
    }

    /// Why a library of an app stays where it is, in words.
    pub(super) fn held_lib(&self, app: &AppName, lib: &Lib) -> Option<String> {
        why_held(&self.holds_on(app), lib)
    }

    /// The holds of one app, those of its libraries last.
    fn holds_on(&self, app: &AppName) -> Vec<Hold> {
        let holds = self.store.holds();
        holds.range((app.clone(), None)..).take_while(|((name, _), _)| name == app).map(|(_, h)| h.clone()).collect()
    }

    /// What keeps libraries where they are in the files of a commit that count for an app: its holds, and those of apps
    /// beside it in the files that count for these too, since a file has one line for all.
    pub(super) async fn held_libs(&self, git: &Mirrors, app: &App, commit: Sha) -> Result<HeldLibs, GitError> {
        let (repo, holds) = (app.repo(), self.store.holds());
        let mut held = HeldLibs { holds: self.holds_on(&app.name), beside: Vec::new() };
        let names: BTreeSet<&AppName> = holds.keys().map(|(name, _)| name).filter(|name| **name != app.name).collect();
        let beside: Vec<App> = names.into_iter().filter_map(|name| self.app(name)).collect();
        let beside: Vec<App> = beside.into_iter().filter(|other| other.repo() == repo).collect();
        if beside.is_empty() {
            return Ok(held);
        }
        let default = git.head_branch(&repo).await?;
        let default = default.as_ref();
        for other in beside.into_iter().filter(|other| other.lives_on(default) == app.lives_on(default)) {
            let files = match (Tree::Commit { git, repo: &repo, sha: commit }).files(&other.updates).await {
                Ok(files) => files,
                Err(BumpsError::Git(error)) => return Err(error),
                // Its own job tells what is wrong with them.
                Err(_) => continue,
            };
            held.beside.push((self.holds_on(&other.name), files.into_iter().map(|file| file.path).collect()));
        }
        Ok(held)
    }

    /// What the planner has to know of holds.
    pub(super) fn held_apps(&self) -> BTreeMap<AppName, Held> {
        let holds = self.store.holds();
        let of_apps = holds.values().filter(|hold| hold.stops_cascades());
        of_apps.map(|hold| (hold.app.clone(), Held { words: hold.to_string(), all: hold.stops_all() })).collect()
    }

    /// Lets go of a hold; its app runs once, to make up for what was kept back, if nothing else keeps it.
    pub(super) async fn release(&self, hold: &Hold, by: &str) -> Result<Option<Released>, StoreError> {
        let held = (hold.app.clone(), hold.lib.clone());
        let runs = self.app(&hold.app).is_some_and(|app| app.trigger != Trigger::Manual);
        // Another hold may still keep the app.
        let is_kept = hold.lib.is_some() && self.store.holds().contains_key(&(hold.app.clone(), None));
        let catch_up = (runs && !is_kept).then(|| by.chars().take(100).collect());
        let released = self.store.release(Release { held, id: hold.id, catch_up }).await?;
        if released.is_some() {
            tracing::info!(app = %hold.app, by, "no longer so: {hold}");
            self.tick();
            // One of its pull requests may have waited for this.
            self.store.open_jobs_of(&hold.app).iter().for_each(|job| self.wake(job.id));
        }
        Ok(released)
    }

    /// Lets go of holds when their time has come.
    pub(super) async fn watch_holds(self: Arc<Self>) {
        let mut ticks = self.ticks.subscribe();
        loop {
            let (now, holds) = (Timestamp::now(), self.store.holds());
            for hold in holds.values().filter(|hold| hold.is_over(now)) {
                if let Err(error) = self.release(hold, "the daemon, at the end of its hold").await {
                    tracing::warn!(app = %hold.app, %error, "a hold whose time has come stays for now");
                }
            }
            let next = holds.values().filter(|hold| !hold.is_over(now)).filter_map(|hold| hold.until).min();
            let left = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
            // A little later than it is over, by whatever rounds.
            let pause = left.map_or(LOOK_EVERY, |left| (left + Duration::from_millis(5)).min(LOOK_EVERY));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = ticks.changed() => {}
                () = self.ending.cancelled() => return,
            }
        }
    }
}

impl Pipeline {
    /// The error for a name that deploy.edn does not have.
    pub(super) fn no_such_app(&self, app: &AppName) -> PipelineError {
        let near = unpoison(self.inner.graph.read()).apps().map(|a| a.name.clone()).take(20).collect();
        PipelineError::NoSuchApp { app: app.to_string(), near }
    }
}
