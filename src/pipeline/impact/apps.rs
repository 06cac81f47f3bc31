//! One app of the question who would break: what it would take, and whether it builds with that, and without.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::{Inner, Question};
use crate::bumps::{self, Asking, Instead, Rules, Tree};
use crate::git::{GitError, Mirrors};
use crate::model::impact::{TrialState, TrialView};
use crate::model::{App, AppName, Branch, Bump, EventId, JobId, Planned, RepoId, Sha};
use crate::pipeline::trial::{self, MESSAGE, Trial, TrialError, Tried};
use crate::planner::Moved;
use crate::process::LogFile;

/// How much of a failed build's log is shown, in bytes.
const TAIL: usize = 8 * 1024;

/// Where repositories would stand by now.
#[derive(Default)]
pub(super) struct Standing {
    instead: BTreeMap<RepoId, Instead>,
    /// The repositories with commits that no remote has.
    stand_ins: BTreeMap<RepoId, PathBuf>,
    /// The mirrors that these borrow from.
    borrowed: Vec<PathBuf>,
    /// The apps that got no commit, and why in words.
    stuck: BTreeMap<AppName, String>,
}

impl Standing {
    pub fn at(&mut self, repo: RepoId, sha: Sha, moved: Moved) {
        self.instead.insert(repo, Instead { sha, moved });
    }
    /// What an app before has committed on a branch, and where.
    fn beside(&self, repo: &RepoId, branch: &Branch) -> Option<(Sha, PathBuf)> {
        let own = self.instead.get(repo)?;
        let is_it = matches!(&own.moved, Moved::Branch { name: Some(name), .. } if name == branch);
        Some((own.sha, self.stand_ins.get(repo).filter(|_| is_it)?.clone()))
    }
    pub fn stand_in(&mut self, git: &Mirrors, repo: RepoId, dir: PathBuf) {
        self.borrowed.push(git.path(&repo));
        self.stand_ins.insert(repo, dir);
    }
}

/// What an app would be built from.
struct ToBuild {
    branch: Branch,
    /// What apps of the same repository made of the branch's head.
    base: Sha,
    /// The branch's head as it is.
    head: Sha,
    bumps: Vec<Bump>,
    files: Vec<(String, Vec<u8>)>,
}

/// What was found out of an app before its build, which is all that can be.
struct Verdict {
    state: TrialState,
    why: String,
}

impl From<GitError> for Verdict {
    fn from(error: GitError) -> Self {
        unknown(error)
    }
}

fn unknown(why: impl ToString) -> Verdict {
    Verdict { state: TrialState::Unknown, why: why.to_string() }
}

impl Inner {
    /// Tries an app, and writes what comes of it into the view.
    pub(super) async fn judge(&self, asked: &Question, index: usize, planned: &Planned, standing: &mut Standing) {
        let name = &planned.app.name;
        let verdict = match planned.after.iter().find_map(|up| standing.stuck.get(up)) {
            Some(why) => Err(Verdict { state: TrialState::Downstream, why: why.clone() }),
            None => self.try_out(asked, index, &planned.app, standing).await,
        };
        let is_resident = planned.app.repo() == asked.url.id();
        let edit: Box<dyn FnOnce(&mut TrialView) + Send> = match verdict {
            Ok(()) => return,
            Err(Verdict { state, why }) => {
                // What lives in the repository itself takes nothing away from those that depend on it.
                if state != TrialState::NotAffected && !is_resident {
                    let words = match state {
                        TrialState::Breaks => format!("{name} breaks"),
                        TrialState::BrokenBefore => format!("{name} does not build, with or without it"),
                        TrialState::Downstream => why.clone(),
                        _ => format!("{name} could not be tried"),
                    };
                    standing.stuck.insert(name.clone(), words);
                }
                Box::new(move |view| (view.state, view.why) = (state, Some(why)))
            }
        };
        if !asked.stop.is_cancelled() {
            asked.edit_app(name, edit);
        }
    }

    async fn try_out(&self, asked: &Question, index: usize, app: &App, standing: &mut Standing) -> Result<(), Verdict> {
        let plain = self.rooms.load().git.clone();
        let git = plain.with_stand_ins(standing.stand_ins.clone());
        let to_build = self.to_build(asked, app, &git, standing).await?;
        asked.edit_app(&app.name, |view| view.bumps = to_build.bumps.clone());
        let folder = asked.folder.join(index.to_string());
        if !app.build.is_empty() {
            self.build_both(asked, index, app, &to_build, (&git, &plain), standing).await?;
        }
        if !to_build.files.is_empty() {
            let (url, branch, files, stamp) = (&app.git_url, &to_build.branch, &to_build.files, trial::stamp(&plain));
            let commit = match standing.beside(&app.repo(), branch) {
                Some((_, dir)) => plain.commit_within((url, branch), &dir, files, MESSAGE, &stamp).await?,
                None => {
                    let (dir, place) = (folder.join("commit.git"), (url, branch, to_build.base));
                    let commit = plain.commit_beside(place, &dir, files, MESSAGE, &stamp).await?;
                    standing.stand_in(&plain, app.repo(), dir);
                    commit
                }
            };
            standing.at(app.repo(), commit, Moved::Branch { name: Some(to_build.branch), is_default: None });
        }
        asked.edit_app(&app.name, |view| {
            view.state = TrialState::Builds;
            view.why = app.build.is_empty().then(|| "it has no :build".to_owned());
        });
        Ok(())
    }

    /// What an app would be built from: its branch's head and the moves that would be due there.
    async fn to_build(
        &self,
        asked: &Question,
        app: &App,
        git: &Mirrors,
        standing: &Standing,
    ) -> Result<ToBuild, Verdict> {
        let repo = app.repo();
        if let Some(own) = standing.instead.get(&repo).filter(|_| repo == asked.url.id()) {
            let branch = asked.view.borrow().onto.clone();
            let branch = branch.ok_or_else(|| unknown("the branch is not known"))?;
            return Ok(ToBuild { branch, base: own.sha, head: own.sha, bumps: Vec::new(), files: Vec::new() });
        }
        let heads = self.rooms.load().git.clone().fetch(&app.git_url, &asked.stop).await?.heads;
        let branch = app.branch.clone().or(heads.head_branch);
        let there = branch.and_then(|branch| Some((heads.branches.get(&branch).copied()?, branch)));
        let Some((head, branch)) = there else {
            return Err(unknown(format!("{} does not have the app's branch", app.git_url)));
        };
        // Its neighbours have committed there before it.
        let base = standing.beside(&repo, &branch).map_or(head, |(sha, _)| sha);
        let at = async |sha| Tree::Commit { git, repo: &repo, sha }.files(&app.updates).await.map_err(unknown);
        let files = at(base).await?;
        let asking = Asking { git, url_of: &|repo| self.url_of(repo), stop: &asked.stop };
        let held = self.held_libs(git, app, base).await?;
        let index = self.store.index(&app.name).map_err(unknown)?;
        let rules = Rules {
            wants: &HashMap::new(),
            all: false,
            apart: &BTreeMap::new(),
            track: &app.updates.track,
            held: &|lib, file| held.why(lib, file),
            own: Some(&repo),
            lives_on: &|repo| self.branches_of(repo),
            had: &|repo| self.had(repo),
            seen: &|lib, repo, at| index.as_ref()?.branch_of(lib, repo, at),
        };
        let due = asking.tried(&files, &standing.instead, &rules).await.map_err(unknown)?;
        if due.bumps.is_empty() && base != head {
            // What is its as well as theirs has been bumped by them.
            let bumps = asking.tried(&at(head).await?, &standing.instead, &rules).await.map_err(unknown)?.bumps;
            if !bumps.is_empty() {
                return Ok(ToBuild { branch, base, head, bumps, files: Vec::new() });
            }
        }
        if due.bumps.is_empty() {
            let mut why: Vec<String> = due.kept.iter().map(ToString::to_string).collect();
            why.dedup();
            let nothing = || "nothing in its files would change".to_owned();
            let why = if why.is_empty() { nothing() } else { why.join("; ") };
            return Err(Verdict { state: TrialState::NotAffected, why });
        }
        let (_, new) = asking.refused(&files, &due.files, (&repo, base)).await.map_err(unknown)?;
        if !new.is_empty() {
            let new: Vec<String> = new.iter().map(ToString::to_string).collect();
            let why = format!("tools.deps would refuse it: {}", new.join("; "));
            asked.edit_app(&app.name, |view| view.bumps = due.bumps.clone());
            return Err(Verdict { state: TrialState::Breaks, why });
        }
        let bytes = |file: bumps::File| (file.path, file.text.into_bytes());
        Ok(ToBuild { branch, base, head, bumps: due.bumps, files: due.files.into_iter().map(bytes).collect() })
    }

    /// Builds an app with the change; if that breaks, without it too.
    async fn build_both(
        &self,
        asked: &Question,
        index: usize,
        app: &App,
        to_build: &ToBuild,
        (git, plain): (&Mirrors, &Mirrors),
        standing: &Standing,
    ) -> Result<(), Verdict> {
        let slot = self.spare_slot(&asked.stop).await.ok_or_else(|| unknown("it was stopped"))?;
        asked.edit_app(&app.name, |view| view.state = TrialState::Building);
        let low = u32::try_from(asked.view.borrow().id.0 & 0xffff_ffff).unwrap_or_default();
        // An id that no job has, for the runner's records: ids of jobs begin with the time, and this one in 1970.
        let id = JobId { event: EventId(low.into()), index: u16::try_from(index).unwrap_or(u16::MAX) };
        let folder = asked.folder.join(index.to_string());
        let own_base = match app.repo() == asked.url.id() {
            // What the branch has without it.
            true => plain.known_heads(&app.repo()).await?.branches.get(&to_build.branch).copied(),
            false => Some(to_build.head),
        };
        let with = Trial {
            inner: self,
            app,
            id,
            git,
            reads: &standing.borrowed,
            branch: &to_build.branch,
            base: to_build.base,
            files: &to_build.files,
            folder: &folder.join("with"),
            stop: &asked.stop,
        };
        let (tried, log) = self.tell(&with, &folder.join("with.log")).await.map_err(unknown)?;
        drop(slot);
        let Tried::Breaks { error, exit_code } = tried else { return Ok(()) };
        asked.edit_app(&app.name, |view| {
            (view.exit_code, view.log) = (exit_code, Some(log));
            view.why = Some("it breaks with it; is being built without it too".to_owned());
        });
        let Some(base) = own_base.filter(|base| !to_build.files.is_empty() || *base != to_build.base) else {
            return Err(Verdict { state: TrialState::BrokenBefore, why: error });
        };
        // Jobs that came meanwhile are first.
        let _slot = self.spare_slot(&asked.stop).await.ok_or_else(|| unknown("it was stopped"))?;
        let without = Trial { git: plain, reads: &[], base, files: &[], folder: &folder.join("without"), ..with };
        match self.tell(&without, &folder.join("without.log")).await.map_err(unknown)?.0 {
            Tried::Builds => Err(Verdict { state: TrialState::Breaks, why: error }),
            Tried::Breaks { error, .. } => {
                Err(Verdict { state: TrialState::BrokenBefore, why: format!("without it: {error}") })
            }
        }
    }

    /// A build, and the end of what it printed.
    async fn tell(&self, trial: &Trial<'_>, log: &Path) -> Result<(Tried, String), TrialError> {
        let mut file = LogFile::open(log, self.masker(&trial.app.name)).await?;
        let tried = trial.build(&mut file).await?;
        drop(file);
        let bytes = tokio::fs::read(log).await.unwrap_or_default();
        let end = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL)..]).into_owned();
        Ok((tried, end))
    }
}
