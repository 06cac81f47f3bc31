//! What update has to bring to the files of a commit: the commits that the job's causes name, where they are due, and
//! what is due for other apps of the repository that the same plan runs. Moves nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{StepError, Work, prepare, say};
use crate::bumps::{self, Asking, Due, Rules, Tree, Want};
use crate::git::Rev;
use crate::model::{Branch, EventId, JobState, RepoId, RepoUrl, Sha, Target};
use crate::pipeline::explain::LEFT_ALONE;
use crate::process::LogFile;

/// A commit that a cause names.
enum Named {
    /// It was pushed.
    Pushed(Target),
    /// An upstream of ours has published it, on this branch.
    Published(Sha, Option<Branch>),
}

/// The bumps that are due on `base`: the job's own, and if there are any, those of the apps beside it that are due in
/// the same plan, so that they are one commit. Those find them there when it is their turn.
pub(super) async fn due(work: &Work, base: Sha, log: &mut LogFile) -> Result<Due, StepError> {
    let mut due = of(work, &work.job, base, &[], log).await?;
    if due.bumps.is_empty() {
        return Ok(due);
    }
    for job in beside(work).await? {
        let name = &job.app.name;
        match of(work, &job, base, &due.files, log).await {
            Ok(more) if more.bumps.is_empty() => {}
            Ok(more) => {
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
    Ok(due)
}

/// The jobs of other apps on the branch that a plan of this one's has too, and that have all they wait for.
async fn beside(work: &Work) -> Result<Vec<Arc<JobState>>, StepError> {
    let (branch, _) = work.base()?;
    let repo = work.job.app.repo();
    let default = work.rooms().git.head_branch(&repo).await.map_err(|e| work.git(e))?;
    let plans: BTreeSet<EventId> = work.job.live_causes().map(|cause| cause.plan).collect();
    let mut found = Vec::new();
    for job in work.inner.store.open_jobs() {
        let on = job.app.branch.as_ref().or(default.as_ref());
        let is_open = job.ended.is_none() && job.canceling.is_none() && job.published.is_none();
        if job.id == work.job.id || job.app.repo() != repo || on != Some(&branch) || !job.app.update || !is_open {
            continue;
        }
        let shares = job.live_causes().any(|cause| plans.contains(&cause.plan));
        let alike = job.app.updates.publish == work.job.app.updates.publish;
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

/// What is due for the app of one job, but for files that have been `edited` for another.
async fn of(
    work: &Work,
    job: &JobState,
    base: Sha,
    edited: &[bumps::File],
    log: &mut LogFile,
) -> Result<Due, StepError> {
    let app = &job.app;
    let (inner, rooms, own) = (work.inner.clone(), work.rooms(), app.repo());
    let tree = Tree::Commit { git: &rooms.git, repo: &own, sha: base };
    let counting = tree.files(&app.updates).await.map_err(|error| work.bumps(error))?;
    let is_edited = |file: &bumps::File| edited.iter().any(|edited| edited.path == file.path);
    let files: Vec<bumps::File> = counting.iter().filter(|file| !is_edited(file)).cloned().collect();
    let wants = wants(work, job, &files, log).await?;
    let all = job.bumps_all();
    let asking = Asking { git: &rooms.git, url_of: &|repo| inner.url_of(repo), stop: &work.stop };
    let rules = Rules {
        wants: &wants,
        all,
        track: &app.updates.track,
        held: &|lib| inner.held_lib(&app.name, lib),
        own: Some(&own),
        lives_on: &|repo| inner.branches_of(repo),
    };
    let due = asking.due(&files, &rules).await.map_err(|error| work.bumps(error))?;
    for kept in due.kept.iter().filter(|_| job.id == work.job.id) {
        say(log, format!("{LEFT_ALONE}{kept}")).await?;
    }
    if !due.bumps.is_empty() {
        let new = [due.files.as_slice(), edited].concat();
        look_ahead(work, &asking, &counting, &new, base, log).await?;
    }
    Ok(due)
}

/// What tools.deps would refuse ends the job here, before a build: if it came with the bumps. What was there before is
/// told, and the build will see what it makes of it.
async fn look_ahead(
    work: &Work,
    asking: &Asking<'_>,
    files: &[bumps::File],
    new: &[bumps::File],
    base: Sha,
    log: &mut LogFile,
) -> Result<(), StepError> {
    let own = work.job.app.repo();
    let edited = |file: &bumps::File| new.iter().find(|new| new.path == file.path).unwrap_or(file).clone();
    let edited: Vec<bumps::File> = files.iter().map(edited).collect();
    let after = asking.preflight(&edited, (&own, base)).await.map_err(|error| work.bumps(error))?;
    for words in &after.unknown {
        say(log, format!("note: not looked at before the build: {words}")).await?;
    }
    if after.faults.is_empty() {
        return Ok(());
    }
    let before = asking.preflight(files, (&own, base)).await.map_err(|error| work.bumps(error))?;
    let new = after.new_faults(&before);
    for fault in after.faults.iter().filter(|fault| !new.contains(fault)) {
        say(log, format!("note: tools.deps will refuse this, as it did before: {fault}")).await?;
    }
    if new.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = new.iter().map(ToString::to_string).collect();
    Err(StepError::failed(format!("tools.deps would refuse what the bumps make: {}", words.join("; "))))
}

/// The commits that the job's causes want, of the repositories that `files` may be bumped to: each is in its mirror.
async fn wants(
    work: &Work,
    job: &JobState,
    files: &[bumps::File],
    log: &mut LogFile,
) -> Result<HashMap<RepoId, Want>, StepError> {
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
        let Some(named) = named.get(&repo) else {
            if !tags.is_empty() {
                wants.insert(repo, Want::Tag);
            }
            continue;
        };
        if let Some(want) = want(work, log, &url, named).await? {
            wants.insert(repo, want);
        }
    }
    Ok(wants)
}

/// The tags of a repository that causes name.
fn tags_of(job: &JobState, repo: &RepoId) -> Vec<String> {
    let tags = job.live_causes().flat_map(|cause| &cause.tags);
    tags.filter(|tag| tag.repo == *repo).map(|tag| tag.tag.clone()).collect()
}

/// The newest commit that causes name of a repository, once its mirror has it.
async fn want(work: &Work, log: &mut LogFile, url: &RepoUrl, named: &[Named]) -> Result<Option<Want>, StepError> {
    let (git, repo) = (work.rooms().git.clone(), url.id());
    let Some((newest, earlier)) = named.split_last() else { return Ok(None) };
    match newest {
        Named::Published(sha, branch) => {
            if !git.contains(&repo, *sha).await.unwrap_or(false) {
                git.fetch(url, &work.stop).await.map_err(|e| work.git(e))?;
            }
            Ok(Some(Want::Commit { sha: *sha, branch: branch.clone() }))
        }
        Named::Pushed(t) => {
            let mut sha = prepare::wait_for(work, log, url, &t.branch, t.before, t.after, true).await?;
            // A redelivery is the newest that came and not the newest that was pushed.
            let head = git.resolve(&repo, Rev::Branch(t.branch.clone())).await.map_err(|e| work.git(e))?;
            for named in earlier {
                if let (Named::Pushed(other), Some(head)) = (named, head)
                    && other.branch == t.branch
                    && git.is_ancestor(&repo, sha, other.after).await.map_err(|e| work.git(e))?
                    && git.is_ancestor(&repo, other.after, head).await.map_err(|e| work.git(e))?
                {
                    sha = other.after;
                }
            }
            Ok(Some(Want::Commit { sha, branch: Some(t.branch.clone()) }))
        }
    }
}
