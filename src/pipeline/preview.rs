//! What a push would set in motion, told before anyone pushes. Must never write anything but mirrors, nor ask a remote
//! but for commits that its mirror does not have: that of the repository itself, and what preflight looks into.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::holds::HeldLibs;
use super::{Inner, Pipeline, PipelineError, unpoison};
use crate::bumps::{self, Asking, Due, File, Rules, Tree, Want};
use crate::git::Mirrors;
use crate::model::api::{KeptView, PlanQuery, PlanView, PlannedBump, PlannedView};
use crate::model::{
    App, AppName, Branch, Bump, Draft, Event, JobId, JobState, Lib, Merges, Planned, Push, RepoId, RepoUrl, Sha, Why,
};
use crate::planner::{self, Moved};
use crate::{deps, edn};

/// How long it may take to look at all lines.
const WITHIN: Duration = Duration::from_secs(20);

/// What an app would take of a repository.
struct Taking {
    repo: RepoId,
    moved: Moved,
    /// The commit, or what it will be in words.
    to: Result<Sha, String>,
}

/// The lines of an app that would change, those that would not, and what tools.deps would refuse then.
type Lines = (Vec<PlannedBump>, Vec<KeptView>, Vec<String>);

impl Pipeline {
    /// What a push to a repository would set in motion, with the lines that would change.
    pub async fn preview(&self, query: &PlanQuery) -> Result<PlanView, PipelineError> {
        let inner = &self.inner;
        let (url, sha, draft) = self.draft_of(query).await?;
        let mut notes = draft.notes;
        let published: HashMap<AppName, (RepoId, Option<Branch>)> = {
            let graph = unpoison(inner.graph.read());
            let place = |app: &App| (app.repo(), graph.lives_on(app, None).cloned());
            draft.apps.iter().map(|planned| (planned.app.name.clone(), place(&planned.app))).collect()
        };
        let mut merged: HashMap<AppName, bool> = HashMap::new();
        let deadline = tokio::time::Instant::now() + WITHIN;
        let mut apps = Vec::new();
        for planned in draft.apps {
            let taking = taking(&planned, &published, sha);
            let lines = tokio::time::timeout_at(deadline, inner.lines(&planned.app, &taking)).await;
            let lines = lines.unwrap_or_else(|_| Err(format!("it took longer than {} s", WITHIN.as_secs())));
            let (bumps, kept, refused) = lines.unwrap_or_else(|why| {
                notes.push(format!("which lines of {} would change is not known: {why}", planned.app.name));
                Lines::default()
            });
            let before = planned.after.iter().any(|up| merged.get(up).is_some_and(|merged| *merged));
            let merges = Merges::of_cause(&planned.app, &planned.why, before);
            merged.insert(planned.app.name.clone(), merges.any());
            let why = match planned.why {
                Why::OwnPush { .. } => "its own branch moved".to_owned(),
                _ if planned.after.is_empty() => "it depends on the repository".to_owned(),
                _ => "it depends on apps that run before it".to_owned(),
            };
            let hosts = planned.app.hosts.iter().map(|host| &host.name);
            apps.push(PlannedView {
                why,
                environments: planned.app.environments.iter().filter(|e| !e.manual).map(|e| e.name.clone()).collect(),
                hosts: hosts.filter(|name| planned.app.is_automatic(name)).cloned().collect(),
                joins: inner.to_join(&planned.app.name, merges),
                app: planned.app.name,
                wave: planned.wave,
                after: planned.after,
                bumps,
                kept,
                refused,
            });
        }
        notes.extend(inner.unread_notes());
        apps.sort_by(|a, b| (a.wave, &a.app).cmp(&(b.wave, &b.app)));
        Ok(PlanView { repo: url.id(), apps, notes })
    }

    async fn draft_of(&self, query: &PlanQuery) -> Result<(RepoUrl, Option<Sha>, Draft), PipelineError> {
        let inner = &self.inner;
        let (url, branch) = inner.place_of(&query.repo)?;
        let git = inner.rooms.load().git.clone();
        let sha = match &query.sha {
            Some(rev) => Some(inner.commit_of(&git, &url, rev).await?),
            None => None,
        };
        let head = git.head_branch(&url.id()).await.ok().flatten();
        let named = query.branch.clone().or(branch);
        let branch = named.clone().or_else(|| head.clone()).map_or_else(|| "main".parse(), Ok)?;
        let mut push = Push {
            urls: vec![url.clone()],
            branch: branch.clone(),
            before: None,
            after: sha.map_or_else(|| "f".repeat(40).parse(), Ok)?,
            default_branch: head.or_else(|| named.is_none().then_some(branch)),
            pusher: None,
            subject: None,
        };
        let mut context = planner::Context { held: inner.held_apps(), ..planner::Context::default() };
        if let Some(sha) = sha {
            let (before, is_new) = before(&git, &url.id(), &push.branch, sha).await;
            push.before = before;
            inner.bring_parts(&push).await;
            context.untouched = inner.untouched_since(&push, push.default_branch.as_ref(), is_new).await?;
        }
        let event = Event::pretended(push);
        let graph = unpoison(inner.graph.read());
        Ok((url, sha, planner::plan(&graph, &event, &context)))
    }
}

/// What a branch would be at before a push of that commit, as far as its mirror knows; and whether the commit would be new
/// there.
async fn before(git: &Mirrors, repo: &RepoId, branch: &Branch, sha: Sha) -> (Option<Sha>, bool) {
    let heads = git.known_heads(repo).await.ok();
    let head = heads.and_then(|heads| heads.branches.get(branch).copied());
    match head {
        Some(head) if git.is_ancestor(repo, sha, head).await.unwrap_or(false) => {
            (git.commit_info(repo, sha).await.ok().and_then(|info| info.parents.first().copied()), false)
        }
        head => (head, true),
    }
}

/// What a planned app would take, of a repository that moved and of apps before it.
fn taking(planned: &Planned, published: &HashMap<AppName, (RepoId, Option<Branch>)>, sha: Option<Sha>) -> Vec<Taking> {
    let branch = |name: Option<Branch>| Moved::Branch { name, is_default: None };
    let pushed = planned.targets.iter().map(|target| Taking {
        repo: target.repo.clone(),
        moved: branch(Some(target.branch.clone())),
        to: sha.ok_or_else(|| "what is pushed".to_owned()),
    });
    let after = planned.after.iter().filter_map(|up| {
        let (repo, on) = published.get(up)?.clone();
        Some(Taking { repo, moved: branch(on), to: Err(format!("what {up} publishes")) })
    });
    pushed.chain(after).collect()
}

impl Inner {
    /// The job that an app's next one would join, as far as can be told now.
    fn to_join(&self, app: &AppName, merges: Merges) -> Option<JobId> {
        let waits =
            |job: &JobState| !job.started && job.ended.is_none() && job.canceling.is_none() && job.carried().is_none();
        let find = |id| self.store.job(id).ok().flatten().filter(|job| job.ended.is_none());
        let jobs = self.store.open_jobs_of(app);
        let like = jobs.iter().rev().find(|job| waits(job) && Merges::of_job(job, find) == merges);
        like.map(|job| job.id)
    }

    /// The lines of an app's files, as they were last read, that would move.
    async fn lines(&self, app: &App, taking: &[Taking]) -> Result<Lines, String> {
        if !app.update || taking.is_empty() {
            return Ok(Lines::default());
        }
        let read = unpoison(self.graph.read()).read_at(&app.name).cloned();
        let (_, at) = read.ok_or("nobody has read it yet")?;
        let rooms = self.rooms.load_full();
        let tree = Tree::Commit { git: &rooms.git, repo: &app.repo(), sha: at };
        let files = tree.files(&app.updates).await.map_err(|e| e.to_string())?;
        let held = self.held_libs(&rooms.git, app, at).await.map_err(|e| e.to_string())?;
        let (mut bumps, mut kept, refused) = self.lines_to_commits(app, taking, (&files, at), &held).await?;
        let later = self.lines_to_come(app, taking, &files, &held).await?;
        bumps.extend(later.0);
        kept.extend(later.1);
        Ok((bumps, kept, refused))
    }

    /// Those that would move to a commit that is there.
    async fn lines_to_commits(
        &self,
        app: &App,
        taking: &[Taking],
        (files, at): (&[File], Sha),
        held: &HeldLibs,
    ) -> Result<Lines, String> {
        let mut wants: HashMap<RepoId, Vec<Want>> = HashMap::new();
        for taking in taking {
            if let (Ok(sha), Moved::Branch { name, .. }) = (&taking.to, &taking.moved) {
                let want = Want::Commit { sha: *sha, branch: name.clone() };
                wants.entry(taking.repo.clone()).or_default().push(want);
            }
        }
        if wants.is_empty() {
            return Ok(Lines::default());
        }
        let (rooms, own) = (self.rooms.load_full(), app.repo());
        let asking = Asking { git: &rooms.git, url_of: &|repo| self.url_of(repo), stop: &self.ending };
        let lives_on = |repo: &RepoId| self.branches_of(repo);
        let track = &app.updates.track;
        let held = |lib: &Lib, file: &str| held.why(lib, file);
        let had = |repo: &RepoId| self.had(repo);
        let lives_on = &lives_on;
        let apart = BTreeMap::new();
        let index = self.store.index(&app.name).map_err(|e| e.to_string())?;
        let rules = Rules {
            wants: &wants,
            all: false,
            apart: &apart,
            track,
            held: &held,
            own: Some(&own),
            lives_on,
            had: &had,
            seen: &|lib, repo, at| index.as_ref()?.branch_of(lib, repo, at),
        };
        let due = asking.due(files, &rules).await.map_err(|e| e.to_string())?;
        let lines = lines_of(files, &due);
        let mut refused = Vec::new();
        if !due.bumps.is_empty() {
            let (_, new) = asking.refused(files, &due.files, (&own, at)).await.map_err(|e| e.to_string())?;
            refused.extend(new.iter().map(ToString::to_string));
        }
        let bumps = due.bumps.into_iter().zip(lines).map(|(bump, line)| {
            let (lib, file) = (bump.lib.to_string(), bump.file);
            PlannedBump { lib, file, line, from: bump.from, to: bump.to }
        });
        let kept = due.kept.into_iter().filter(|kept| kept.named).map(|kept| {
            let why = kept.why.to_string();
            KeptView { lib: kept.lib, file: kept.file, line: kept.line, why }
        });
        Ok((bumps.collect(), kept.collect(), refused))
    }

    /// Those that would move to what is not there yet.
    async fn lines_to_come(
        &self,
        app: &App,
        taking: &[Taking],
        files: &[File],
        held: &HeldLibs,
    ) -> Result<Lines, String> {
        let mut lines = Lines::default();
        let rooms = self.rooms.load_full();
        let asking = Asking { git: &rooms.git, url_of: &|repo| self.url_of(repo), stop: &self.ending };
        let index = self.store.index(&app.name).map_err(|e| e.to_string())?;
        for file in files {
            let scanned = deps::scan(&file.text).map_err(|e| bumps::at(&file.path, &file.text, &e))?;
            for (_, coord) in scanned.live() {
                let Some(repo) = coord.repo() else { continue };
                let to_come: Vec<(&Moved, &String)> = taking
                    .iter()
                    .filter(|taking| taking.repo == repo)
                    .filter_map(|taking| Some((&taking.moved, taking.to.as_ref().err()?)))
                    .collect();
                if to_come.is_empty() {
                    continue;
                }
                let seen = coord.lib.as_ref().and_then(|lib| index.as_ref()?.seen_on(lib, &repo));
                let lives_on = |repo: &RepoId| self.branches_of(repo);
                let (follows, stays) = asking.moved_by(coord, &app.updates.track, &lives_on, seen).await;
                let (lib, path) = (coord.lib_text.as_deref().unwrap_or("a coordinate").to_owned(), file.path.clone());
                let line = edn::position(&file.text, coord.span.start).line;
                let held = coord.lib.as_ref().and_then(|lib| held.why(lib, &file.path));
                if let Some(why) = held.or_else(|| stays.map(|stays| stays.to_string())) {
                    lines.1.push(KeptView { lib, file: path, line, why });
                } else if let Some((_, to)) = to_come.into_iter().find(|(moved, _)| moved.concerns(&follows)) {
                    let from = coord.tag().or(coord.sha()).unwrap_or_default().to_owned();
                    lines.0.push(PlannedBump { lib, file: path, line, from, to: to.clone() });
                } else {
                    let why = coord.stays().unwrap_or_else(|| format!("it follows {}", planner::word(&follows)));
                    lines.1.push(KeptView { lib, file: path, line, why });
                }
            }
        }
        Ok(lines)
    }
}

/// The lines on which the coordinates stand that move. Several may say the same: each move is that of the next one which
/// is neither pinned nor kept.
fn lines_of(files: &[File], due: &Due) -> Vec<usize> {
    let line_of = |nth: usize, bump: &Bump| {
        let file = files.iter().find(|file| file.path == bump.file)?;
        let scanned = deps::scan(&file.text).ok()?;
        let from = Some(bump.from.as_str());
        let is_it = |coord: &&deps::Coord<'_>| {
            coord.is_movable() && coord.lib.as_ref() == Some(&bump.lib) && (coord.tag() == from || coord.sha() == from)
        };
        let lines = scanned.live().map(|(_, coord)| coord).filter(is_it);
        let lines = lines.map(|coord| edn::position(&file.text, coord.span.start).line);
        let stays = |line: &usize| due.kept.iter().any(|kept| (&kept.file, kept.line) == (&file.path, *line));
        lines.filter(|line| !stays(line)).nth(nth)
    };
    let what = |bump: &Bump| (bump.file.clone(), bump.lib.clone(), bump.from.clone());
    let mut seen: HashMap<_, usize> = HashMap::new();
    let mut next = |bump: &Bump| {
        let nth = seen.entry(what(bump)).or_default();
        *nth += 1;
        line_of(*nth - 1, bump).unwrap_or(1)
    };
    due.bumps.iter().map(&mut next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_move_is_that_of_its_own_coordinate() {
        let (old, new) = ("a".repeat(40), "b".repeat(40));
        let coord = |pin: &str| format!("acme/lib {pin} {{:git/url \"https://x.org/lib\" :git/sha \"{old}\"}}");
        let text = format!(
            "{{:aliases {{:pinned {{:extra-deps {{^:airplanes/hold\n{}}}}}\n:dev {{:extra-deps {{{}}}}}}}\n:deps {{{}}}}}",
            coord(""),
            coord(""),
            coord("")
        );
        let file = File { path: "deps.edn".to_owned(), text };
        let to = deps::To { sha: new.parse().unwrap(), tag: None, unique: 0 };
        let bumps =
            deps::plan_update(&file.text, &file.path, |coord| coord.is_movable().then(|| to.clone())).unwrap().bumps;
        let due = Due { bumps, ..Due::default() };
        assert_eq!(lines_of(&[file], &due), [3, 4]);
    }
}
