//! What update has to bring to the files of a commit: the commits that the job's causes name, where they are due, and
//! what is due for other apps of the repository that the same plan runs. Moves nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{StepError, Work, moved_back, prepare, say};
use crate::bumps::{self, Asking, BumpsError, Due, File, Preflight, Rules, Tree, Want};
use crate::git::Rev;
use crate::model::{App, Branch, EventId, JobState, RepoId, RepoUrl, Sha, Target, Why};
use crate::pipeline::explain::LEFT_ALONE;
use crate::process::LogFile;

/// A commit that a cause names.
enum Named {
    /// It was pushed.
    Pushed(Target),
    /// An upstream of ours has published it, on this branch.
    Published(Sha, Option<Branch>),
}

impl Named {
    fn sha(&self) -> Sha {
        match self {
            Named::Pushed(target) => target.after,
            Named::Published(sha, _) => *sha,
        }
    }
    fn branch(&self) -> Option<&Branch> {
        match self {
            Named::Pushed(target) => Some(&target.branch),
            Named::Published(_, branch) => branch.as_ref(),
        }
    }
}

/// The bumps that are due on `base`: the job's own, and if there are any, those of the apps beside it that are due in
/// the same plan, so that they are one commit. Those find them there when it is their turn. With what preflight says of
/// the job's app as it is then.
pub(super) async fn due(work: &Work, base: Sha, log: &mut LogFile) -> Result<(Due, Preflight), StepError> {
    let (mut due, looked) = of(work, &work.job, base, &[], log).await?;
    if due.bumps.is_empty() {
        return Ok((due, looked));
    }
    for job in beside(work).await? {
        let name = &job.app.name;
        match of(work, &job, base, &due.files, log).await {
            Ok((more, _)) if more.bumps.is_empty() => {}
            Ok((more, _)) => {
                say(log, format!("with what is due for {name}, which lives here too (job {})", job.id)).await?;
                due.bumps.extend(more.bumps);
                due.files.extend(more.files);
            }
            Err(StepError::Failed { error, .. } | StepError::Retry(error)) => {
                say(
                    log,
                    format!("note: what is due for {name}, which lives here too, is left to its own job: {error}"),
                )
                .await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((due, looked))
}

/// The files of a commit that count for an app. What can't be read of one that is not bumped is the build's to tell.
pub(super) async fn counting(work: &Work, app: &App, commit: Sha) -> Result<Vec<File>, StepError> {
    let (rooms, repo) = (work.rooms(), app.repo());
    let tree = Tree::Commit { git: &rooms.git, repo: &repo, sha: commit };
    match tree.files(&app.updates).await {
        Err(BumpsError::File(_)) if !app.update => Ok(Vec::new()),
        files => files.map_err(|error| work.bumps(error)),
    }
}

/// What tools.deps would say to files that stand on a commit of the app's repository.
pub(super) async fn preflight(work: &Work, files: &[File], commit: Sha) -> Result<Preflight, StepError> {
    let (inner, rooms, own) = (work.inner.clone(), work.rooms(), work.job.app.repo());
    let asking = Asking { git: &rooms.git, url_of: &|repo| inner.url_of(repo), stop: &work.stop };
    asking.preflight(files, (&own, commit)).await.map_err(|error| work.bumps(error))
}

/// The jobs of other apps on the branch that a plan of this one's has too, and that have all they wait for.
async fn beside(work: &Work) -> Result<Vec<Arc<JobState>>, StepError> {
    let (branch, _) = work.base()?;
    let repo = work.job.app.repo();
    let default = work.rooms().git.head_branch(&repo).await.map_err(|e| work.git(e))?;
    let plans: BTreeSet<EventId> = work.job.live_causes().map(|cause| cause.plan).collect();
    let mut found = Vec::new();
    for job in work.inner.open_jobs_in(&repo) {
        let on = job.app.lives_on(default.as_ref());
        let is_open = job.ended.is_none() && job.canceling.is_none() && job.published.is_none();
        if job.id == work.job.id || on != Some(&branch) || !job.app.update || !is_open {
            continue;
        }
        let shares = job.live_causes().any(|cause| plans.contains(&cause.plan));
        // Who merges it counts, too: what people merge of one is not to go live with what the daemon merges of another.
        let who = |app: &App| (app.updates.publish, app.updates.auto_merge);
        let alike = who(&job.app) == who(&work.job.app);
        if !shares || !alike || work.inner.held_back(&job).is_some() {
            continue;
        }
        let mut ready = true;
        for up in job.live_causes().flat_map(|cause| &cause.after) {
            ready = ready && work.inner.store.job(*up)?.is_none_or(|up| up.published.is_some());
        }
        if ready {
            found.push(job);
        }
    }
    Ok(found)
}

/// What is due for the app of one job, but for files that have been `edited` for another; and what preflight says.
async fn of(
    work: &Work,
    job: &JobState,
    base: Sha,
    edited: &[File],
    log: &mut LogFile,
) -> Result<(Due, Preflight), StepError> {
    let app = &job.app;
    let (inner, rooms, own) = (work.inner.clone(), work.rooms(), app.repo());
    let counting = counting(work, app, base).await?;
    let mut due = Due::default();
    if app.update {
        moved_back::look(work, job, base, &counting, log).await?;
        let is_edited = |file: &File| edited.iter().any(|edited| edited.path == file.path);
        let files: Vec<File> = counting.iter().filter(|file| !is_edited(file)).cloned().collect();
        let wants = wants(work, job, &files, log).await?;
        let held = inner.held_libs(&rooms.git, app, base).await.map_err(|error| work.git(error))?;
        let all = job.bumps_all();
        let apart = if all { inner.apart(job)? } else { BTreeMap::new() };
        say(log, format!("looking for what is due for {}", app.name)).await?;
        let asking = Asking { git: &rooms.git, url_of: &|repo| inner.url_of(repo), stop: &work.stop };
        let index = inner.store.index(&app.name)?;
        let rules = Rules {
            wants: &wants,
            all,
            apart: &apart,
            track: &app.updates.track,
            held: &|lib, file| held.why(lib, file),
            own: Some(&own),
            lives_on: &|repo| inner.branches_of(repo),
            had: &|repo| inner.had(repo),
            seen: &|lib, repo, at| index.as_ref()?.branch_of(lib, repo, at),
        };
        due = asking.due(&files, &rules).await.map_err(|error| work.bumps(error))?;
    }
    if job.id == work.job.id {
        for kept in &due.kept {
            say(log, format!("{LEFT_ALONE}{kept}")).await?;
        }
    } else if due.bumps.is_empty() {
        return Ok((due, Preflight::default()));
    }
    let files = bumps::edited(&counting, &[&due.files[..], edited].concat());
    let looked = look_ahead(work, job, &files, base, log).await?;
    Ok((due, looked))
}

/// What tools.deps would refuse ends the job here, before a build: if it came with what was pushed or bumped. What was
/// there before is told, and the build will see what it makes of it.
async fn look_ahead(
    work: &Work,
    job: &JobState,
    files: &[File],
    base: Sha,
    log: &mut LogFile,
) -> Result<Preflight, StepError> {
    say(log, "reading what its dependencies bring, from mirrors; those that lack a commit are fetched").await?;
    let after = preflight(work, files, base).await?;
    for words in &after.unknown {
        say(log, format!("note: not looked at before the build: {words}")).await?;
    }
    if after.faults.is_empty() {
        return Ok(after);
    }
    let known = last_known(work, job, base).await?;
    let before = preflight(work, &counting(work, &job.app, known).await?, known).await?;
    let new = after.new_faults(&before);
    for fault in after.faults.iter().filter(|fault| !new.contains(fault)) {
        say(log, format!("note: tools.deps will refuse this, as it did before: {fault}")).await?;
    }
    if new.is_empty() {
        return Ok(after);
    }
    let words: Vec<String> = new.iter().map(ToString::to_string).collect();
    Err(StepError::failed(format!("tools.deps would refuse this: {}", words.join("; "))))
}

/// The commit of the app that what is new is told by: its last good one, or what was there before its push; else `base`
/// itself.
async fn last_known(work: &Work, job: &JobState, base: Sha) -> Result<Sha, StepError> {
    let (git, repo) = (work.rooms().git.clone(), job.app.repo());
    let good = work.inner.store.last_good(&job.app.name)?.map(|good| good.sha);
    let pushed = job.live_causes().find_map(|cause| match cause.why {
        Why::OwnPush { before, .. } => before,
        _ => None,
    });
    for commit in [good, pushed].into_iter().flatten() {
        if git.contains(&repo, commit).await.map_err(|e| work.git(e))? {
            return Ok(commit);
        }
    }
    Ok(base)
}

/// The commits that the job's causes want, of the repositories that `files` may be bumped to: each is in its mirror.
async fn wants(
    work: &Work,
    job: &JobState,
    files: &[File],
    log: &mut LogFile,
) -> Result<HashMap<RepoId, Vec<Want>>, StepError> {
    // Oldest first.
    let mut named: HashMap<RepoId, Vec<Named>> = HashMap::new();
    for cause in job.live_causes() {
        for target in &cause.targets {
            named.entry(target.repo.clone()).or_default().push(Named::Pushed(target.clone()));
        }
        for up in &cause.after {
            if let Some(upstream) = work.inner.store.job(*up)?
                && let Some(sha) = upstream.published
            {
                let branch = upstream.base.as_ref().map(|(branch, _)| branch.clone());
                named.entry(upstream.app.repo()).or_default().push(Named::Published(sha, branch));
            }
        }
    }
    let movable = bumps::movable(files).map_err(|e| StepError::failed(e.to_string()))?;
    let mut wants = HashMap::new();
    for (repo, url) in movable.into_iter().filter(|(repo, _)| *repo != work.job.app.repo()) {
        let url = work.inner.url_of(&repo).unwrap_or(url);
        let tags: Vec<String> = tags_of(job, &repo);
        prepare::wait_for_tags(work, log, &url, &tags).await?;
        let named = named.get(&repo).map_or(&[][..], Vec::as_slice);
        let mut of = commits(work, log, &url, named).await?;
        if !tags.is_empty() {
            of.push(Want::Tag);
        }
        if !of.is_empty() {
            wants.insert(repo, of);
        }
    }
    Ok(wants)
}

/// The tags of a repository that causes name.
fn tags_of(job: &JobState, repo: &RepoId) -> Vec<String> {
    let tags = job.live_causes().flat_map(|cause| &cause.tags);
    tags.filter(|tag| tag.repo == *repo).map(|tag| tag.tag.clone()).collect()
}

/// The newest commit of each branch of a repository that causes name, once the mirror has it: the branch that was named
/// last is first.
async fn commits(work: &Work, log: &mut LogFile, url: &RepoUrl, named: &[Named]) -> Result<Vec<Want>, StepError> {
    let (git, repo) = (work.rooms().git.clone(), url.id());
    let mut branches: Vec<(Option<&Branch>, Vec<&Named>)> = Vec::new();
    for named in named.iter().rev() {
        match branches.iter_mut().find(|(branch, _)| *branch == named.branch()) {
            Some((_, earlier)) => earlier.push(named),
            None => branches.push((named.branch(), vec![named])),
        }
        if let Named::Published(sha, _) = named
            && !git.contains(&repo, *sha).await.unwrap_or(false)
        {
            git.fetch(url, &work.stop).await.map_err(|e| work.git(e))?;
        }
    }
    let mut wants = Vec::new();
    for (branch, named) in branches {
        let Some((newest, earlier)) = named.split_first() else { continue };
        let mut sha = match newest {
            Named::Published(sha, _) => *sha,
            Named::Pushed(t) => match prepare::wait_for(work, log, url, &t.branch, t.before, t.after, true).await? {
                Some(sha) => sha,
                None => continue,
            },
        };
        // A redelivery is the newest that came and not the newest that was pushed.
        let head = match branch {
            Some(branch) => git.resolve(&repo, Rev::Branch(branch.clone())).await.map_err(|e| work.git(e))?,
            None => None,
        };
        for other in earlier.iter().map(|named| named.sha()) {
            if let Some(head) = head
                && git.is_ancestor(&repo, sha, other).await.map_err(|e| work.git(e))?
                && git.is_ancestor(&repo, other, head).await.map_err(|e| work.git(e))?
            {
                sha = other;
            }
        }
        wants.push(Want::Commit { sha, branch: branch.cloned() });
    }
    Ok(wants)
}
