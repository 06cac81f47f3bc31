//! Update: the shas in deps.edn moved to what the job's causes published, and one commit with all of it in the job's
//! private clone. Nothing leaves this machine.
//!
//! Idempotent: the commit is a function of the base, the bumps and the time, all of which are journaled.

use std::sync::Arc;

use jiff::Timestamp;

use super::{StepError, Work, due, rollout, say};
use crate::bumps::{self, Preflight};
use crate::deps;
use crate::git::{Stamp, WorkClone, message};
use crate::host::HostState;
use crate::model::{AppName, Bump, Entry, Outcome, Publish, Sha, Step, StepResult, Why};
use crate::pipeline::culprit;
use crate::pipeline::explain::LEFT_ALONE;
use crate::pipeline::lease::BranchLease;
use crate::store::OwnCommit;

pub(in crate::pipeline) async fn run(work: &mut Work) -> Result<StepResult, StepError> {
    let (branch, base) = work.base()?;
    work.take_branch(&branch).await?;
    work.bring_base(base).await?;
    let mut log = work.log(&Step::Update).await?;
    let app = work.job.app.clone();
    if app.updates.publish == Publish::PullRequest
        && work.job.races > 0
        && let Err(error) = work.inner.close_what_was_left(&work.job, &branch).await
    {
        say(&mut log, format!("note: whether an earlier pull request is open still is not known: {error}")).await?;
    }
    let (due, preflight) = due::due(work, base, &mut log).await?;
    let bumps = culprit::narrowed(work, due.bumps.clone()).await?;
    for narrowed in &work.job.narrowed {
        say(&mut log, format!("{LEFT_ALONE}{narrowed}")).await?;
    }
    work.preflight = (bumps == due.bumps).then(|| Arc::new(preflight));
    let git = work.rooms().git.clone();
    let repo = app.repo();
    let parent = git.commit_info(&repo, base).await.map_err(|e| work.git(e))?;
    // Whole seconds: git keeps no more.
    let time = Timestamp::from_second(work.job.event_time().max(parent.time).as_second());
    let time = time.map_err(|e| StepError::failed(format!("the commit {base} has a time out of range: {e}")))?;
    let lost = told(&due.kept, |kept| kept.why.is_lost());
    let left_alone = (!lost.is_empty()).then_some(Entry::LeftAlone { why: lost });
    if bumps.is_empty() {
        let tree = git.tree_id(&repo, base).await.map_err(|e| work.git(e))?.to_string();
        let is_told = |kept: &bumps::Kept| match kept.why {
            bumps::Stays::Pinned => false,
            bumps::Stays::Apart(_) => true,
            _ => kept.named || kept.why.is_lost(),
        };
        let reason = match told(&due.kept, is_told) {
            _ if !app.update => ":update? is not set".to_owned(),
            told if told.is_empty() => match made_by_another(work, base)? {
                Some(other) => format!("what is due is there already: {} is of {other}", base.short()),
                None => "nothing is due".to_owned(),
            },
            told => told,
        };
        work.preflight(&[]).await?;
        let updated = Entry::Updated { commit: base, tree, time, bumps };
        let skipped = StepResult::Skipped { reason: reason.clone() };
        let unchanged = if work.job.races == 0 { unchanged(work, base).await? } else { None };
        if let Some(seen) = unchanged {
            let is = if app.hosts.is_empty() { "was taken in" } else { "is what runs" };
            let reason = format!("{} {is} already, and {reason}", base.short());
            say(&mut log, &reason).await?;
            log.settle().await?;
            let artifact = seen.sum.map(|sum| Entry::Artifact { sum });
            let ends = [
                Entry::StepFinished { step: Step::Update, result: skipped },
                Entry::Published { commit: base },
                Entry::Ended { outcome: Outcome::Unchanged, reason },
            ];
            work.append([updated].into_iter().chain(artifact).chain(ends).collect()).await?;
            return Err(StepError::Over);
        }
        work.append(left_alone.into_iter().chain([updated]).collect()).await?;
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
    work.preflight(&bumps).await?;
    let updated = Entry::Updated { commit, tree, time, bumps };
    work.append(left_alone.into_iter().chain([updated]).collect()).await?;
    Ok(StepResult::Done)
}

/// What stays and why, in words, each once.
fn told(kept: &[bumps::Kept], is_told: impl Fn(&bumps::Kept) -> bool) -> String {
    let mut told: Vec<String> = Vec::new();
    for kept in kept.iter().filter(|kept| is_told(kept)) {
        let words = kept.to_string();
        if !told.contains(&words) {
            told.push(words);
        }
    }
    told.join("; ")
}

/// Whether there is nothing to do at all, with how its hosts are: every one runs the base and is well, or without hosts, it
/// was built.
async fn unchanged(work: &Work, base: Sha) -> Result<Option<HostState>, StepError> {
    if work.job.app.hosts.is_empty() {
        return Ok(was_built(work, base).await?.then(HostState::default));
    }
    let live = rollout::live_everywhere(work, base).await;
    // A look that was cut short has seen nothing.
    if work.stop.is_cancelled() { Err(work.stopped()) } else { Ok(live) }
}

async fn was_built(work: &Work, base: Sha) -> Result<bool, StepError> {
    let app = &work.job.app;
    let good = work.inner.store.last_good(&app.name)?;
    if good.as_ref().is_some_and(|good| good.sha == base) {
        return Ok(true);
    }
    // Another app of the repository may have made the bump: then it is not built here yet.
    if made_by_another(work, base)?.is_some() || work.job.live_causes().any(|c| c.why != Why::Dependency) {
        return Ok(false);
    }
    match good {
        // Nor is it where someone has pushed since.
        Some(good) if work.rooms().git.contains(&app.repo(), good.sha).await.unwrap_or(false) => {
            Ok(work.files(good.sha).await? == work.files(base).await?)
        }
        _ => Ok(true),
    }
}

/// The app that a commit was made for, if it is one of ours for another app than the job's.
fn made_by_another(work: &Work, commit: Sha) -> Result<Option<AppName>, StepError> {
    let made_by = match work.inner.store.own_commit(&commit)? {
        Some(OwnCommit { past: Some(past), .. }) => Some(past.app),
        Some(own) => work.inner.store.job(own.job)?.map(|job| job.app.name.clone()),
        None => None,
    };
    Ok(made_by.filter(|app| *app != work.job.app.name))
}

impl Work {
    /// What preflight found of the base with these bumps, which is what it is built with; kept with the job. Looked at
    /// again after a restart.
    pub(super) async fn preflight(&mut self, bumps: &[Bump]) -> Result<Arc<Preflight>, StepError> {
        let found = match &self.preflight {
            Some(found) => found.clone(),
            None => {
                let (_, base) = self.base()?;
                self.bring_base(base).await?;
                let mut files = due::counting(self, &self.job.app, base).await?;
                for file in &mut files {
                    let edited = deps::replay(&file.text, &file.path, bumps);
                    file.text = edited.map_err(|e| StepError::failed(format!("{}: {e}", file.path)))?;
                }
                Arc::new(due::preflight(self, &files, base).await?)
            }
        };
        self.record_closure(&found).await?;
        self.preflight = Some(found.clone());
        Ok(found)
    }
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
