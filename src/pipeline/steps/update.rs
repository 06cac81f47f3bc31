//! Update: the shas in deps.edn moved to what the job's causes published, and one commit with all of it in the job's
//! private clone. Nothing leaves this machine.
//!
//! Idempotent: the commit is a function of the base, the bumps and the time, all of which are journaled.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{StepError, Work, prepare, rollout, say};
use crate::bumps::{self, Asking, Due, Rules, Want};
use crate::deps;
use crate::git::{Rev, Stamp, WorkClone, message};
use crate::model::{Branch, Bump, Entry, Outcome, Publish, RepoId, RepoUrl, Sha, Step, StepResult, Target, Why};
use crate::pipeline::explain::LEFT_ALONE;
use crate::pipeline::lease::BranchLease;
use crate::process::LogFile;
use crate::store::OwnCommit;

pub(in crate::pipeline) async fn run(work: &mut Work) -> Result<StepResult, StepError> {
    let (branch, base) = work.base()?;
    work.take_branch(&branch).await?;
    work.bring_base(base).await?;
    let mut log = work.log(&Step::Update).await?;
    let app = work.job.app.clone();
    let due = if app.update { due(work, base, &mut log).await? } else { Due::default() };
    let bumps = due.bumps;
    let git = work.rooms().git.clone();
    let repo = app.repo();
    let parent = git.commit_info(&repo, base).await.map_err(|e| work.git(e))?;
    // Whole seconds: git keeps no more.
    let time = Timestamp::from_second(work.job.event_time().max(parent.time).as_second());
    let time = time.map_err(|e| StepError::failed(format!("the commit {base} has a time out of range: {e}")))?;
    if bumps.is_empty() {
        let tree = git.tree_id(&repo, base).await.map_err(|e| work.git(e))?.to_string();
        let reason = match told(&due.kept) {
            _ if !app.update => ":update? is not set".to_owned(),
            told if told.is_empty() => "nothing is due".to_owned(),
            told => told,
        };
        record(work, base, &[]).await?;
        let updated = Entry::Updated { commit: base, tree, time, bumps };
        let skipped = StepResult::Skipped { reason: reason.clone() };
        if work.job.races == 0 && is_unchanged(work, base).await? {
            let is = if app.hosts.is_empty() { "was taken in" } else { "is what runs" };
            let reason = format!("{} {is} already, and {reason}", base.short());
            say(&mut log, &reason).await?;
            log.settle().await?;
            work.append(vec![
                updated,
                Entry::StepFinished { step: Step::Update, result: skipped },
                Entry::Published { commit: base },
                Entry::Ended { outcome: Outcome::Unchanged, reason },
            ])
            .await?;
            return Err(StepError::Over);
        }
        work.append(vec![updated]).await?;
        return Ok(skipped);
    }
    let clone = work.bare().await?;
    let files = apply(work, &clone, &bumps).await?;
    let commit = commit(work, &clone, &files, &bumps, time).await?;
    let tree = clone.tree_id(commit).await.map_err(|e| work.git(e))?.to_string();
    for bump in &bumps {
        say(&mut log, format!("{}: {} {} -> {}", bump.file, bump.lib, bump.from, bump.to)).await?;
    }
    say(&mut log, format!("committed {commit}")).await?;
    log.settle().await?;
    record(work, base, &files).await?;
    work.append(vec![Entry::Updated { commit, tree, time, bumps }]).await?;
    Ok(StepResult::Done)
}

/// Keeps what the commit will be built with: that of the base's files, but for those that were edited.
async fn record(work: &Work, base: Sha, edited: &[(String, Vec<u8>)]) -> Result<(), StepError> {
    let mut texts: Vec<String> = edited.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
    // What can't be read is the build's to tell.
    let files = work.files(base).await.unwrap_or_default();
    let unedited = files.into_iter().filter(|file| !edited.iter().any(|(edited, _)| *edited == file.path));
    texts.extend(unedited.map(|file| file.text));
    work.record_closure(&texts).await
}

/// Why what moved is not bumped, in words, each once.
fn told(kept: &[bumps::Kept]) -> String {
    let mut told: Vec<String> = Vec::new();
    for kept in kept.iter().filter(|kept| kept.named && !matches!(kept.why, bumps::Why::Pinned)) {
        let words = kept.to_string();
        if !told.contains(&words) {
            told.push(words);
        }
    }
    told.join("; ")
}

/// Whether there is nothing to do at all: every host runs the base and is well, or without hosts, it was built.
async fn is_unchanged(work: &Work, base: Sha) -> Result<bool, StepError> {
    let app = &work.job.app;
    if !app.hosts.is_empty() {
        let live = rollout::is_live_everywhere(work, base).await;
        // A look that was cut short has seen nothing.
        return if work.stop.is_cancelled() { Err(work.stopped()) } else { Ok(live) };
    }
    if work.inner.store.last_good(&app.name)?.is_some_and(|good| good.sha == base) {
        return Ok(true);
    }
    // Another app of the repository may have made the bump: then it is not built here yet.
    let others = match work.inner.store.own_commit(&base)? {
        Some(OwnCommit { past: Some(past), .. }) => past.app != app.name,
        Some(own) => work.inner.store.job(own.job)?.is_some_and(|job| job.app.name != app.name),
        None => false,
    };
    Ok(!others && work.job.live_causes().all(|c| c.why == Why::Dependency))
}

/// A commit that a cause names.
enum Named {
    /// It was pushed.
    Pushed(Target),
    /// An upstream of ours has published it, on this branch.
    Published(Sha, Option<Branch>),
}

/// The bumps that are due on `base`.
async fn due(work: &mut Work, base: Sha, log: &mut LogFile) -> Result<Due, StepError> {
    let app = work.job.app.clone();
    let files = work.files(base).await?;
    let wants = wants(work, &files, log).await?;
    // What a person pushed or asked for goes live at once, and not when somebody merges what is due besides.
    let by_push = app.updates.publish == Publish::Push;
    let all = by_push && work.job.live_causes().any(|c| c.why.bumps_all());
    let (inner, rooms, own) = (work.inner.clone(), work.rooms(), app.repo());
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
    for kept in &due.kept {
        say(log, format!("{LEFT_ALONE}{kept}")).await?;
    }
    if !due.bumps.is_empty() {
        look_ahead(work, &asking, &files, &due, base, log).await?;
    }
    Ok(due)
}

/// What tools.deps would refuse ends the job here, before a build: if it came with the bumps. What was there before is
/// told, and the build will see what it makes of it.
async fn look_ahead(
    work: &Work,
    asking: &Asking<'_>,
    files: &[bumps::File],
    due: &Due,
    base: Sha,
    log: &mut LogFile,
) -> Result<(), StepError> {
    let own = work.job.app.repo();
    let edited = |file: &bumps::File| due.files.iter().find(|new| new.path == file.path).unwrap_or(file).clone();
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
async fn wants(work: &Work, files: &[bumps::File], log: &mut LogFile) -> Result<HashMap<RepoId, Want>, StepError> {
    // Oldest first.
    let mut named: HashMap<RepoId, Vec<Named>> = HashMap::new();
    for cause in work.job.live_causes() {
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
        let tags: Vec<String> = tags_of(work, &repo);
        for tag in &tags {
            prepare::wait_for_tag(work, log, &url, tag).await?;
        }
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
fn tags_of(work: &Work, repo: &RepoId) -> Vec<String> {
    let tags = work.job.live_causes().flat_map(|cause| &cause.tags);
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

/// What the files say that the build's dependencies are read from: those of the base, with the bumps made.
pub(in crate::pipeline) async fn built_files(work: &Work) -> Result<Vec<bumps::File>, StepError> {
    let (_, base) = work.base()?;
    work.bring_base(base).await?;
    let bumps = work.job.updated.as_ref().map(|updated| updated.bumps.as_slice()).unwrap_or_default();
    let mut files = work.files(base).await?;
    for file in &mut files {
        let edited = deps::replay(&file.text, &file.path, bumps);
        file.text = edited.map_err(|e| StepError::failed(format!("{}: {e}", file.path)))?;
    }
    Ok(files)
}

/// The files with the bumps made, from the clone's head.
pub(super) async fn apply(work: &Work, clone: &WorkClone, bumps: &[Bump]) -> Result<Vec<(String, Vec<u8>)>, StepError> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for bump in bumps {
        let file = &bump.file;
        if files.iter().any(|(done, _)| done == file) {
            continue;
        }
        let bytes = clone.read_file(file).await.map_err(|e| work.git(e))?.unwrap_or_default();
        let source = String::from_utf8(bytes).map_err(|_| StepError::failed(format!("{file} is not UTF-8")))?;
        let edited = deps::replay(&source, file, bumps);
        let edited = edited.map_err(|e| StepError::failed(format!("{file}: {e}")))?;
        files.push((file.clone(), edited.into_bytes()));
    }
    Ok(files)
}

/// One commit with all of it.
pub(super) async fn commit(
    work: &Work,
    clone: &WorkClone,
    files: &[(String, Vec<u8>)],
    bumps: &[Bump],
    time: Timestamp,
) -> Result<Sha, StepError> {
    let lease: Option<&BranchLease> = work.branch_lease.as_ref();
    if lease.is_none() {
        return Err(StepError::Retry("the lease on the branch was lost".to_owned()));
    }
    let mut told: Vec<&Bump> = Vec::new();
    for bump in bumps {
        if !told.iter().any(|b| (&b.lib, &b.from, &b.to) == (&bump.lib, &bump.from, &bump.to)) {
            told.push(bump);
        }
    }
    let subject = subject(bumps);
    let lines: Vec<(&str, &str, &str)> =
        told.iter().map(|b| (b.lib.as_str(), b.from.as_str(), b.to.as_str())).collect();
    let stamp = Stamp { author: work.rooms().git.config().author.clone(), time };
    clone.commit(files, &message(&subject, work.job.id, &lines), &stamp).await.map_err(|e| work.git(e))
}

/// What a commit or a pull request with these bumps is called.
pub(super) fn subject(bumps: &[Bump]) -> String {
    let mut libs: Vec<&str> = Vec::new();
    for bump in bumps {
        if !libs.contains(&bump.lib.as_str()) {
            libs.push(bump.lib.as_str());
        }
    }
    match libs.as_slice() {
        [lib] => format!("Update {lib}"),
        [one, two] => format!("Update {one} and {two}"),
        libs => format!("Update {} dependencies", libs.len()),
    }
}
