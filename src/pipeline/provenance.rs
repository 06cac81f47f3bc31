//! Provenance: the git closure that each job is built with, and what can be told from it: who runs a commit, and who
//! lacks it. As tools.deps decides it: what an app names itself wins, else the descendant of two commits does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::named::digits;
use super::steps::{StepError, Work};
use super::{Inner, Pipeline, PipelineError, unpoison};
use crate::bumps::Preflight;
use crate::deps;
use crate::git::Mirrors;
use crate::model::provenance::{LacksView, Locked, MissingView, RunsView, UnknownView, WhereView};
use crate::model::{App, AppName, EnvName, Environment, Follows, HostName, JobId, Lib, Outcome, RepoId, Sha};
use crate::store::{JobFilter, LastGood, StoreError};

/// How many remotes are fetched at once for a commit that nobody has needed so far, and how long that may take.
const FETCHES: usize = 8;
const FETCHED_WITHIN: Duration = Duration::from_secs(60);
/// How soon they are all asked again: most commits that nobody has are mistyped.
const SEARCHED_AGAIN: Duration = Duration::from_secs(30);
/// So many of an app's newest jobs are looked through for hosts that they have brought elsewhere.
const NEWER: usize = 200;
/// So many are, for what is published.
const NEWEST: usize = 20;

impl Work {
    /// Keeps what the job's commit is built with, as preflight found it.
    pub(super) async fn record_closure(&self, found: &Preflight) -> Result<(), StepError> {
        let lib = |name: &String| Lib::new(name).ok();
        let locked = |locked: &deps::Chosen| {
            let (repo, sha) = (locked.place.repo.clone(), locked.place.sha);
            Some(Locked { lib: lib(&locked.lib)?, repo, sha, via: locked.via.last().and_then(lib) })
        };
        let mut closure: Vec<Locked> = Vec::new();
        for locked in found.libs.iter().filter_map(locked) {
            if !closure.iter().any(|known| (&known.lib, known.sha) == (&locked.lib, locked.sha)) {
                closure.push(locked);
            }
        }
        self.inner.store.put_closure(self.job.id, closure).await?;
        Ok(())
    }
}

/// All remotes were asked.
pub(super) struct Searched {
    at: Instant,
    /// What came of it, in words.
    asked: String,
}

/// What a job left an app at, or some of its hosts.
struct Left {
    app: App,
    job: JobId,
    at: Timestamp,
    commit: Sha,
    /// The hosts that are there still: no later job has brought them elsewhere. All of one environment.
    hosts: Vec<HostName>,
    closure: Option<Vec<Locked>>,
}

impl Inner {
    /// What all apps were left at; those that nothing was brought to are told apart.
    fn left(&self) -> Result<(Vec<Left>, Vec<UnknownView>), StoreError> {
        let apps: Vec<App> = unpoison(self.graph.read()).apps().cloned().collect();
        let (mut left, mut unknown) = (Vec::new(), Vec::new());
        for app in apps {
            let name = app.name.clone();
            let of_app = self.left_of(app)?;
            if of_app.is_empty() {
                unknown.push(UnknownView { app: name, why: "no job of it has ended well yet".to_owned() });
            }
            left.extend(of_app);
        }
        Ok((left, unknown))
    }

    /// The last good job of an app, and newer ones that have brought some of its hosts elsewhere; where it has environments,
    /// older ones too, until all hosts are found.
    fn left_of(&self, app: App) -> Result<Vec<Left>, StoreError> {
        let good = self.store.last_good(&app.name)?;
        let (mut left, mut settled) = (Vec::new(), BTreeSet::new());
        let mut was_good = false;
        for job in self.newest_of(&app.name, NEWER)? {
            let job = job?;
            was_good |= good.as_ref().is_some_and(|good| good.brought_by() == job.id);
            let there = job.hosts.iter().filter(|host| job.has_left(host)).map(|host| &host.name);
            let hosts: Vec<HostName> = there.filter(|host| settled.insert((*host).clone())).cloned().collect();
            if let Some(commit) = job.commit().filter(|_| !hosts.is_empty()) {
                let at = job.ended.as_ref().map_or(job.created_at, |(at, ..)| *at);
                // Who built it knows what it was built with.
                let closure = self.store.closure(job.carried().map_or(job.id, |carried| carried.of))?;
                for hosts in by_environment(&app, hosts) {
                    left.push(Left { app: app.clone(), job: job.id, at, commit, hosts, closure: closure.clone() });
                }
            }
            let is_whole = app.hosts.iter().all(|host| settled.contains(&host.name));
            // Hosts that were away for the last good one are where an older one left them.
            let is_past = was_good && !job.is_catch_up() && job.outcome().is_some_and(Outcome::is_well);
            if if app.environments.is_empty() { is_past } else { is_whole } {
                break;
            }
        }
        if let Some(LastGood { job, sha, at, .. }) = good.filter(|_| left.is_empty()) {
            let closure = self.store.closure(job)?;
            left.push(Left { app, job, at, commit: sha, hosts: Vec::new(), closure });
        }
        Ok(left)
    }
}

/// Hosts of an app, those of each environment apart.
fn by_environment(app: &App, hosts: Vec<HostName>) -> Vec<Vec<HostName>> {
    let mut groups: Vec<(Option<&EnvName>, Vec<HostName>)> = Vec::new();
    for host in hosts {
        let environment = app.environment_of(&host).map(|environment| &environment.name);
        match groups.iter_mut().find(|(name, _)| *name == environment) {
            Some((_, hosts)) => hosts.push(host),
            None => groups.push((environment, vec![host])),
        }
    }
    groups.into_iter().map(|(_, hosts)| hosts).collect()
}

impl Left {
    fn environment(&self) -> Option<&Environment> {
        self.hosts.first().and_then(|host| self.app.environment_of(host))
    }
}

fn unrecorded(app: &AppName) -> UnknownView {
    let why = format!("its last good job is of an older daemon: `airplanes deploy {app}` looks");
    UnknownView { app: app.clone(), why }
}

impl Pipeline {
    /// The apps that were built with a library (or a repository), at a commit whose first digits are `sha`.
    pub async fn runs(&self, lib: &str, sha: Option<&str>) -> Result<WhereView, PipelineError> {
        let refuse = |why: String| Err(PipelineError::Senseless(why));
        let sha = sha.map(digits).transpose()?;
        let view = self.recorded(lib, sha.as_deref())?;
        let Some(sha) = sha.filter(|sha| sha.len() < 40) else { return Ok(view) };
        let found: BTreeSet<(&RepoId, Sha)> = view.runs.iter().map(|run| (&run.locked.repo, run.locked.sha)).collect();
        if found.len() > 1 {
            let found: Vec<String> = found.iter().map(|(_, sha)| sha.to_string()).collect();
            return refuse(format!("`{sha}` is ambiguous, it may be {}: give more digits", found.join(" or ")));
        }
        for (repo, found) in found {
            // A mirror that can't be read tells of no other.
            let digits = self.rooms().git.unique_len(repo, found, sha.len()).await.unwrap_or(sha.len());
            if digits > sha.len() {
                return refuse(format!("`{sha}` is ambiguous in {repo}: give {digits} digits"));
            }
        }
        Ok(view)
    }

    fn recorded(&self, lib: &str, sha: Option<&str>) -> Result<WhereView, PipelineError> {
        let (named, repo) = (Lib::new(lib).ok(), self.repo_named(lib).ok());
        let (left, mut unknown) = self.inner.left()?;
        let mut runs = Vec::new();
        for left in left {
            let Some(closure) = &left.closure else {
                unknown.push(unrecorded(&left.app.name));
                continue;
            };
            let is_it = |locked: &&Locked| {
                (named.as_ref() == Some(&locked.lib)
                    || locked.repo.as_str() == lib
                    || Some(&locked.repo) == repo.as_ref())
                    && sha.is_none_or(|sha| locked.sha.to_string().starts_with(sha))
            };
            for locked in closure.iter().filter(is_it) {
                let Left { job, at, commit, .. } = left;
                let (app, hosts) = (left.app.name.clone(), left.hosts.clone());
                let environment = left.environment().map(|environment| environment.name.clone());
                runs.push(RunsView { app, job, at, commit, locked: locked.clone(), environment, hosts });
            }
        }
        Ok(WhereView { runs, unknown })
    }

    /// The apps that were built without a commit, of those that have its repository in them.
    pub async fn missing(&self, sha: &str) -> Result<MissingView, PipelineError> {
        let (git, sha) = (self.rooms().git.clone(), digits(sha)?);
        let (repo, sha) = match self.home_of(&git, &sha).await? {
            Some(found) => found,
            None => {
                // It may be newer than what anyone has needed so far.
                let asked = self.search(&git).await?;
                self.home_of(&git, &sha).await?.ok_or(PipelineError::NoSuchCommit { sha, asked })?
            }
        };
        let (left, mut unknown) = self.inner.left()?;
        let (mut have, mut missing) = (Vec::new(), Vec::new());
        for left in left {
            let app = left.app.name.clone();
            let mut at: Vec<(Option<Lib>, Sha)> = Vec::new();
            if left.app.repo() == repo {
                at.push((None, left.commit));
            }
            match &left.closure {
                Some(closure) => {
                    let there = closure.iter().filter(|locked| locked.repo == repo);
                    at.extend(there.map(|locked| (Some(locked.lib.clone()), locked.sha)));
                }
                None if at.is_empty() => unknown.push(unrecorded(&app)),
                None => {}
            }
            let before = missing.len();
            for (lib, has) in &at {
                if git.is_ancestor(&repo, sha, *has).await.unwrap_or(false) {
                    continue;
                }
                let older = git.is_ancestor(&repo, *has, sha).await.unwrap_or(false);
                let why = match left.environment().filter(|environment| environment.manual) {
                    Some(Environment { name, .. }) => {
                        format!("what is promoted gets to {name}: `airplanes promote {app} --to {name}`")
                    }
                    None => {
                        match self.published_with(&git, &app, &repo, sha).await?.filter(|(job, _)| *job != left.job) {
                            Some((_, commit)) => {
                                let commit = commit.short();
                                format!(
                                    "{commit}, which is published, has it: `airplanes deploy {app}` brings it there"
                                )
                            }
                            None => self.why_missing(&left.app, lib.as_ref(), older)?,
                        }
                    }
                };
                let (app, lib, hosts) = (app.clone(), lib.clone(), left.hosts.clone());
                let environment = left.environment().map(|environment| environment.name.clone());
                missing.push(LacksView { app, lib, has: *has, environment, hosts, why });
            }
            if !at.is_empty() && missing.len() == before && !have.contains(&app) {
                have.push(app);
            }
        }
        // Of an app with environments some may have it, and others not.
        have.retain(|app| !missing.iter().any(|lacks| lacks.app == *app && lacks.environment.is_none()));
        Ok(MissingView { repo, sha, have, missing, unknown })
    }

    /// The newest job that has published the app, with what, if a commit was in it.
    async fn published_with(
        &self,
        git: &Mirrors,
        app: &AppName,
        repo: &RepoId,
        sha: Sha,
    ) -> Result<Option<(JobId, Sha)>, StoreError> {
        let filter = JobFilter { app: Some(app.clone()), limit: NEWEST, ..JobFilter::default() };
        let jobs = self.inner.store.jobs(&filter)?;
        let mut built = jobs.iter().filter(|job| job.carried().is_none());
        let Some((job, commit)) = built.find_map(|job| Some((job.id, job.published?))) else { return Ok(None) };
        for locked in self.inner.store.closure(job)?.iter().flatten().filter(|locked| locked.repo == *repo) {
            if git.is_ancestor(repo, sha, locked.sha).await.unwrap_or(false) {
                return Ok(Some((job, commit)));
            }
        }
        Ok(None)
    }

    /// The repository whose mirror has a commit of these first digits, and the commit.
    async fn home_of(&self, git: &Mirrors, digits: &str) -> Result<Option<(RepoId, Sha)>, PipelineError> {
        let sha = match digits.parse() {
            Ok(sha) => sha,
            Err(_) => match self.inner.commits_named(git, self.repos(), digits).await?.first() {
                Some(sha) => *sha,
                None => return Ok(None),
            },
        };
        for repo in self.repos() {
            if git.contains(&repo, sha).await.unwrap_or(false) {
                return Ok(Some((repo, sha)));
            }
        }
        Ok(None)
    }

    /// Brings all mirrors up to date, as far as their remotes answer in time, and says which did. Not if that was done
    /// a moment ago.
    async fn search(&self, git: &Mirrors) -> Result<String, PipelineError> {
        // One after the other: who waited finds it done.
        let mut searched = self.inner.searched.lock().await;
        if let Some(searched) = searched.as_ref().filter(|searched| searched.at.elapsed() < SEARCHED_AGAIN) {
            let (ago, left) = (searched.at.elapsed(), SEARCHED_AGAIN.saturating_sub(searched.at.elapsed()));
            let (ago, left, asked) = (ago.as_secs(), left.as_secs() + 1, &searched.asked);
            return Ok(format!("{asked}, {ago} s ago; they are asked again in {left} s"));
        }
        let places = Arc::new(Semaphore::new(FETCHES));
        let mut fetches = JoinSet::new();
        let mut silent: BTreeSet<RepoId> = BTreeSet::new();
        for url in self.remotes_now().await?.values().filter_map(|remote| remote.url.clone()) {
            silent.insert(url.id());
            let (git, stop, places) = (git.clone(), self.inner.ending.clone(), places.clone());
            fetches.spawn(async move {
                let _place = places.acquire_owned().await;
                match git.fetch(&url, &stop).await {
                    Ok(_) => Some(url.id()),
                    Err(error) => {
                        tracing::debug!(%url, %error, "not looked into");
                        None
                    }
                }
            });
        }
        let all = fetches.len();
        // Those that are late are ended as the set is dropped.
        let ask = async {
            while let Some(asked) = fetches.join_next().await {
                if let Ok(Some(repo)) = asked {
                    silent.remove(&repo);
                }
            }
        };
        drop(tokio::time::timeout(FETCHED_WITHIN, ask).await);
        let some: Vec<&str> = silent.iter().take(3).map(RepoId::as_str).collect();
        let asked = match silent.len() {
            0 => format!("all {all} remotes were asked"),
            n if n > some.len() => {
                format!(
                    "{} of {all} remotes were asked: {} and {} more did not answer",
                    all - n,
                    some.join(", "),
                    n - some.len()
                )
            }
            n => format!("{} of {all} remotes were asked: {} did not answer", all - n, some.join(", ")),
        };
        *searched = Some(Searched { at: Instant::now(), asked: asked.clone() });
        Ok(asked)
    }

    fn why_missing(&self, app: &App, lib: Option<&Lib>, older: bool) -> Result<String, PipelineError> {
        let name = &app.name;
        if let Some(hold) = self.inner.stopped_by(name) {
            return Ok(hold.to_string());
        }
        let Some(lib) = lib else { return Ok(format!("`airplanes deploy {name}` brings it, if it is on its branch")) };
        if let Some(words) = self.inner.held_lib(name, lib) {
            return Ok(words);
        }
        let index = self.inner.store.index(name)?;
        let own = index.iter().flat_map(|index| &index.deps).find(|dep| dep.lib == *lib);
        Ok(match own {
            _ if !older => "it is on another line of commits: a person has to say".to_owned(),
            Some(dep) if dep.follows == Follows::Nothing => "it is pinned in its deps.edn".to_owned(),
            Some(_) if !app.update => ":update? is not set: a person has to bump it".to_owned(),
            Some(_) => format!("a bump brings it: `airplanes deploy {name}`"),
            None => "another library brings it: that one has to be bumped first".to_owned(),
        })
    }
}
