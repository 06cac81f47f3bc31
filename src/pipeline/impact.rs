//! Who would break if a commit were merged: its dependents are built with it, in waves, in folders of their own. One
//! such question is worked on at a time, one build at a time, and only in a slot that no job waits for.
//!
//! Must never commit to a repository that anyone else sees, push, journal, or touch what is known of apps. All of it
//! is in memory: a restart forgets it, and says so to who asks.

mod apps;
mod report;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::requests::api;
use super::slots::Permit;
use super::{Inner, Pipeline, PipelineError, TRIALS, trial, unpoison};
use crate::git::Merged;
use crate::model::impact::{ImpactQuery, ImpactState, ImpactView, TrialState, TrialView};
use crate::model::{AppName, Branch, Draft, Event, ImpactId, Planned, Push, RepoUrl, Sha};
use crate::planner::{self, Moved};
use apps::Standing;

/// So many may wait for their turn, and so many are remembered.
const WAITING: usize = 8;
const REMEMBERED: usize = 20;
/// How long who asks for news is kept waiting for it.
const NEWS_WITHIN: Duration = Duration::from_secs(10);
/// How often a free slot is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The questions, newest last.
#[derive(Default)]
pub(super) struct Impacts {
    asked: Mutex<Vec<Arc<Question>>>,
    turn: tokio::sync::Mutex<()>,
}

/// One of them.
struct Question {
    query: ImpactQuery,
    url: RepoUrl,
    branch: Option<Branch>,
    folder: PathBuf,
    stop: CancellationToken,
    view: watch::Sender<ImpactView>,
}

impl Question {
    fn edit(&self, edit: impl FnOnce(&mut ImpactView)) {
        self.view.send_modify(|view| {
            edit(view);
            view.changes += 1;
        });
    }
    fn edit_app(&self, name: &AppName, edit: impl FnOnce(&mut TrialView)) {
        self.edit(|view| {
            if let Some(app) = view.apps.iter_mut().find(|app| app.app == *name) {
                edit(app);
                app.changed = view.changes + 1;
            }
        });
    }
    fn note(&self, text: String) {
        self.edit(|view| view.notes.push(text));
    }
    fn is_over(&self) -> bool {
        self.view.borrow().state.is_over()
    }
}

impl Pipeline {
    /// Begins to find out who would break. What is known is given by [`Pipeline::impact`].
    pub async fn ask_impact(&self, query: ImpactQuery) -> Result<ImpactView, PipelineError> {
        let inner = &self.inner;
        if inner.ending.is_cancelled() {
            return Err(PipelineError::Ending);
        }
        let (mut url, branch) = inner.place_of(&query.repo)?;
        // The url that keys are set up for, if the repository is known by one.
        let known = self.remotes_now().await?.get(&url.id()).cloned();
        url = known.and_then(|remote| remote.url).unwrap_or(url);
        if let Some(app) = query.app.as_ref().filter(|app| inner.app(app).is_none()) {
            return Err(self.no_such_app(app));
        }
        if query.report && api(&inner.rooms.load(), &url.id()).is_err() {
            return Err(PipelineError::NoApi(url.id()));
        }
        let id = new_id();
        let view = ImpactView {
            id,
            repo: url.id(),
            branch: query.branch.clone(),
            sha: None,
            onto: None,
            tried: None,
            state: ImpactState::Waiting,
            error: None,
            asked_at: Timestamp::now(),
            finished_at: None,
            changes: 0,
            apps: Vec::new(),
            notes: Vec::new(),
        };
        let asked = Arc::new(Question {
            query,
            url,
            branch,
            folder: inner.state.join("work").join(format!("{TRIALS}impact-{id}")),
            stop: inner.ending.child_token(),
            view: watch::Sender::new(view.clone()),
        });
        {
            let mut all = unpoison(inner.impacts.asked.lock());
            if all.iter().filter(|asked| !asked.is_over()).count() >= WAITING {
                return Err(PipelineError::Busy(WAITING));
            }
            while all.len() >= REMEMBERED
                && let Some(oldest) = all.iter().position(|asked| asked.is_over())
            {
                all.remove(oldest);
            }
            all.push(asked.clone());
        }
        let inner = inner.clone();
        self.inner.tasks.spawn(async move { inner.answer_impact(asked).await });
        Ok(view)
    }

    /// What is known of a question. With `seen`, waits a while for more changes than that, and tells of those alone.
    pub async fn impact(&self, id: ImpactId, seen: Option<u64>) -> Result<ImpactView, PipelineError> {
        let mut news = self.asked(id)?.view.subscribe();
        if let Some(seen) = seen {
            let more = news.wait_for(|view| view.changes > seen || view.state.is_over());
            // Late, or gone with the daemon: as it is then.
            let _ = tokio::time::timeout(NEWS_WITHIN, more).await;
        }
        let view = news.borrow().clone();
        Ok(match seen {
            Some(seen) => view.since(seen),
            None => view,
        })
    }

    /// Ends one: a build under way is ended.
    pub async fn cancel_impact(&self, id: ImpactId) -> Result<ImpactView, PipelineError> {
        let asked = self.asked(id)?;
        asked.stop.cancel();
        let mut news = asked.view.subscribe();
        let _ = tokio::time::timeout(NEWS_WITHIN, news.wait_for(|view| view.state.is_over())).await;
        Ok(news.borrow().clone())
    }

    /// Whether a folder is one in which something is being tried out.
    pub fn is_tried_in(&self, folder: &Path) -> bool {
        unpoison(self.inner.impacts.asked.lock()).iter().any(|asked| asked.folder == folder && !asked.is_over())
    }

    fn asked(&self, id: ImpactId) -> Result<Arc<Question>, PipelineError> {
        let all = unpoison(self.inner.impacts.asked.lock());
        all.iter().find(|asked| asked.view.borrow().id == id).cloned().ok_or(PipelineError::NoSuchImpact(id))
    }
}

/// Sorts by time, and is another one after a restart.
fn new_id() -> ImpactId {
    let mut bytes = [0; 4];
    // Without randomness two questions of one millisecond would be taken for one.
    let _ = getrandom::fill(&mut bytes);
    let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    ImpactId(millis << 20 | u64::from(u32::from_le_bytes(bytes) & 0xf_ffff))
}

impl Inner {
    async fn answer_impact(self: Arc<Self>, asked: Arc<Question>) {
        let turn = tokio::select! {
            turn = self.impacts.turn.lock() => Some(turn),
            () = asked.stop.cancelled() => None,
        };
        let mut done = Ok(());
        if turn.is_some() {
            asked.edit(|view| view.state = ImpactState::Running);
            let (inner, working) = (self.clone(), asked.clone());
            let work = tokio::spawn(async move { inner.find_impact(&working).await });
            done = work.await.unwrap_or_else(|panic| {
                tracing::error!(%panic, "finding out who would break panicked, which is a bug");
                Err("it came to an end that it should not; the daemon's log says more".to_owned())
            });
            let folder = asked.folder.clone();
            let removed = tokio::task::spawn_blocking(move || crate::process::remove(&folder)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(folder = %asked.folder.display(), %error, "what was tried out could not be removed");
            }
        }
        self.report_end(&asked, &done).await;
        asked.edit(|view| {
            view.finished_at = Some(Timestamp::now());
            view.state = match done {
                _ if asked.stop.is_cancelled() => ImpactState::Canceled,
                Ok(()) => ImpactState::Done,
                Err(_) => ImpactState::Failed,
            };
            view.error = done.err().filter(|_| view.state == ImpactState::Failed);
        });
        let view = asked.view.borrow();
        let breaks = view.of(TrialState::Breaks).count();
        tracing::info!(impact = %view.id, repo = %view.repo, branch = %view.branch, state = ?view.state, breaks, "looked who would break");
    }

    async fn find_impact(self: &Arc<Self>, asked: &Question) -> Result<(), String> {
        let mut standing = Standing::default();
        let (onto, tried, default) = self.find_commit(asked, &mut standing).await?;
        self.report_begin(asked).await;
        self.start_reading();
        self.await_reading().await;
        let moved = Moved::Branch { name: Some(onto.clone()), is_default: default.as_ref().map(|b| *b == onto) };
        let draft = self.draft_of_merge(asked, &onto, tried, default);
        self.lay_out(asked, &draft, &moved);
        standing.at(asked.url.id(), tried, moved);
        asked.edit(|view| view.notes.extend(self.unread_notes()));
        let names: BTreeSet<AppName> = asked.view.borrow().apps.iter().map(|app| app.app.clone()).collect();
        for (index, planned) in draft.apps.iter().enumerate().filter(|(_, planned)| names.contains(&planned.app.name)) {
            if asked.stop.is_cancelled() {
                return Ok(());
            }
            self.judge(asked, index, planned, &mut standing).await;
        }
        Ok(())
    }

    /// The branch that it would be merged into, the commit that apps would get, and the default branch. The remote is
    /// asked.
    async fn find_commit(
        &self,
        asked: &Question,
        standing: &mut Standing,
    ) -> Result<(Branch, Sha, Option<Branch>), String> {
        let (git, repo) = (self.rooms.load().git.clone(), asked.url.id());
        let said = |error: crate::git::GitError| error.to_string();
        let heads = git.fetch(&asked.url, &asked.stop).await.map_err(said)?.heads;
        let name = &asked.query.branch;
        let sha = match heads.branches.iter().find(|(branch, _)| branch.as_str() == name) {
            Some((_, sha)) => *sha,
            None => {
                let sha = self.commit_of(&git, &asked.url, name).await.map_err(|error| {
                    let known: Vec<&str> = heads.branches.keys().map(Branch::as_str).take(20).collect();
                    format!("{repo} has no branch {name}; it has {}. {error}", known.join(", "))
                })?;
                if git.branches_with(&repo, sha).await.map_err(said)?.is_empty() {
                    return Err(format!("no branch of {repo} has the commit {sha}: is it pushed?"));
                }
                sha
            }
        };
        let default = heads.head_branch;
        let onto = asked.query.onto.clone().or_else(|| asked.branch.clone()).or_else(|| default.clone());
        let onto = onto.ok_or_else(|| format!("the default branch of {repo} is not known: say --onto BRANCH"))?;
        let head = heads.branches.get(&onto).copied();
        let head = head.ok_or_else(|| format!("{repo} has no branch {onto} to merge it into"))?;
        asked.edit(|view| (view.sha, view.onto) = (Some(sha), Some(onto.clone())));
        let mut tried = sha;
        if git.is_ancestor(&repo, sha, head).await.map_err(said)? {
            asked.note(format!("{} is in {onto} already", sha.short()));
        } else if !git.is_ancestor(&repo, head, sha).await.map_err(said)? {
            let dir = asked.folder.join("merged.git");
            let place = (&asked.url, &onto, head);
            match git.merge_beside(place, &dir, sha, &trial::stamp(&git)).await.map_err(said)? {
                Merged::Commit(merged) => {
                    asked.note(format!("{onto} has moved on since: what merging it into {} makes is tried", head.short()));
                    standing.stand_in(&git, repo, dir);
                    tried = merged;
                }
                Merged::Conflict(files) => asked.note(format!(
                    "it can't be merged into {onto} as it is, since both have changed {}: it is tried without what is new there",
                    files.join(", ")
                )),
            }
        }
        asked.edit(|view| view.tried = Some(tried));
        Ok((onto, tried, default))
    }

    /// The plan that a push of the commit to the branch would make.
    fn draft_of_merge(&self, asked: &Question, onto: &Branch, tried: Sha, default: Option<Branch>) -> Draft {
        let event = Event::pretended(Push {
            urls: vec![asked.url.clone()],
            branch: onto.clone(),
            before: None,
            after: tried,
            default_branch: default,
            pusher: None,
            subject: None,
        });
        let graph = unpoison(self.graph.read());
        planner::plan(&graph, &event, &planner::Context::default())
    }

    /// The apps of the plan that are to be tried, and those that depend on the repository and are not in it.
    fn lay_out(&self, asked: &Question, draft: &Draft, moved: &Moved) {
        let mut only: Option<BTreeSet<&AppName>> = asked.query.app.as_ref().map(|app| [app].into());
        // Each comes after those whose commits it takes.
        for planned in draft.apps.iter().rev() {
            if let Some(only) = only.as_mut().filter(|only| only.contains(&planned.app.name)) {
                only.extend(&planned.after);
            }
        }
        let is_asked = |app: &AppName| only.as_ref().is_none_or(|only| only.contains(app));
        let row = |app: &AppName, state, why| TrialView {
            app: app.clone(),
            wave: 0,
            changed: 0,
            after: Vec::new(),
            state,
            why,
            exit_code: None,
            bumps: Vec::new(),
            log: None,
        };
        let to_try = |planned: &Planned| TrialView {
            wave: planned.wave,
            after: planned.after.clone(),
            ..row(&planned.app.name, TrialState::Waiting, None)
        };
        let mut apps: Vec<TrialView> =
            draft.apps.iter().filter(|planned| is_asked(&planned.app.name)).map(to_try).collect();
        let planned: BTreeSet<AppName> = draft.apps.iter().map(|planned| planned.app.name.clone()).collect();
        let out = {
            let graph = unpoison(self.graph.read());
            let mut out = planner::left_out(&graph, &[(asked.url.id(), moved.clone())], &[], &planned);
            // Who lives there is no dependent.
            out.retain(|app, _| graph.app(app).is_some_and(|app| app.repo() != asked.url.id()));
            out
        };
        let out = out.into_iter().filter(|(app, _)| is_asked(app));
        apps.extend(out.map(|(app, why)| row(&app, TrialState::NotAffected, Some(why))));
        if let Some(app) = &asked.query.app
            && !apps.iter().any(|row| row.app == *app)
        {
            let why = format!("as far as is known it does not depend on {}", asked.url.id());
            apps.push(row(app, TrialState::NotAffected, Some(why)));
        }
        asked.edit(|view| {
            view.apps = apps;
            view.apps.iter_mut().for_each(|app| app.changed = view.changes + 1);
            if only.is_none() {
                view.notes.extend(draft.notes.iter().filter(|_| !draft.apps.is_empty()).cloned());
            }
        });
    }

    /// A slot among the builds that no job waits for, once there is room on the disk too. None if it was stopped.
    async fn spare_slot(&self, stop: &CancellationToken) -> Option<Permit> {
        let mut changes = self.store.changes();
        loop {
            if self.low().is_none()
                && let Some(slot) = self.slots.try_acquire("a trial of `impact`")
            {
                return Some(slot);
            }
            tokio::select! {
                _ = changes.recv() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return None,
            }
        }
    }
}
