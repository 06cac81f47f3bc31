//! Update: the shas in deps.edn moved to what the job's causes published, and one commit with all of it in the job's
//! private clone. Nothing leaves this machine.
//!
//! Idempotent: the commit is a function of the base, the bumps and the time, all of which are journaled.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{StepError, Work, prepare, rollout, say};
use crate::deps::{self, Coord};
use crate::git::{Rev, Stamp, WorkClone, message};
use crate::model::{Branch, Bump, Entry, Outcome, RepoId, RepoUrl, Sha, Step, StepResult, Target, Why};
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
        let reason = match (app.update, due.kept.is_empty()) {
            (false, _) => ":update? is not set".to_owned(),
            (true, true) => "nothing is due".to_owned(),
            (true, false) => due.kept.join("; "),
        };
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
    work.append(vec![Entry::Updated { commit, tree, time, bumps }]).await?;
    Ok(StepResult::Done)
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

/// What is known of where a repository should be bumped to.
#[derive(Default)]
struct Wanted {
    /// What the causes name, oldest first. If there is any, not getting there is an error.
    named: Vec<Named>,
    /// Which commit it is, once it was asked for and if it can be told; the mirror has it.
    sha: Option<Option<Sha>>,
}

/// A commit that a cause names.
enum Named {
    /// It was pushed.
    Pushed(Target),
    /// An upstream of ours has published it.
    Published(Sha),
}

/// What update has found.
#[derive(Default)]
struct Due {
    bumps: Vec<Bump>,
    /// Why a dependency that moved is not bumped, in words.
    kept: Vec<String>,
}

/// The bumps that are due on `base`.
async fn due(work: &mut Work, base: Sha, log: &mut LogFile) -> Result<Due, StepError> {
    let app = work.job.app.clone();
    let mut wanted: HashMap<RepoId, Wanted> = HashMap::new();
    for cause in work.job.live_causes() {
        for target in &cause.targets {
            wanted.entry(target.repo.clone()).or_default().named.push(Named::Pushed(target.clone()));
        }
        for up in &cause.after {
            if let Some(upstream) = work.inner.store.job(*up)?
                && let Some(sha) = upstream.published
            {
                wanted.entry(upstream.app.repo()).or_default().named.push(Named::Published(sha));
            }
        }
    }
    let all = work.job.live_causes().any(|c| c.why.bumps_all());
    let mut due = Due::default();
    for file in deps::FILES {
        let Some(source) = work.inner.read_text(&app.repo(), base, file).await.map_err(|e| work.index(e))? else {
            continue;
        };
        let scanned =
            deps::scan(&source).map_err(|e| StepError::failed(crate::pipeline::deps_index::at(file, &source, &e)))?;
        let mut moves: HashMap<(String, RepoId), Sha> = HashMap::new();
        for (_, coord) in scanned.live() {
            let Some((lib, url, current)) = movable(coord, log).await? else { continue };
            let repo = url.id();
            if repo == app.repo() || (!all && !wanted.contains_key(&repo)) {
                continue;
            }
            let url = work.inner.url_of(&repo).unwrap_or(url);
            let entry = wanted.entry(repo.clone()).or_default();
            let is_named = !entry.named.is_empty();
            let Some(want) = resolve(work, log, &repo, &url, entry).await? else { continue };
            let why = match relation(work, &repo, &url, current, want).await? {
                Relation::Older => {
                    moves.insert((current.to_string(), repo), want);
                    continue;
                }
                Relation::Same => continue,
                Relation::Newer => {
                    format!("{lib} stays at {}, which is newer than {}", current.short(), want.short())
                }
                Relation::Rewound => format!(
                    "{lib} stays at {}, which {repo} has taken back: its branch is at {}. Set the sha by hand if the app is to go back",
                    current.short(),
                    want.short()
                ),
                Relation::Elsewhere(branch) => {
                    format!("{lib} stays at {} of branch {branch}, which {} is not on", current.short(), want.short())
                }
                Relation::Rewritten(why) if is_named => {
                    return Err(StepError::failed(format!("{lib} in {file}: {why}")));
                }
                Relation::Rewritten(why) => format!("{lib} in {file}: {why}"),
            };
            say(log, format!("left alone: {why}")).await?;
            if is_named && !due.kept.contains(&why) {
                due.kept.push(why);
            }
        }
        let update = deps::plan_update(&source, file, |coord| {
            let key = (coord.sha()?.to_owned(), coord.repo_url()?.id());
            if coord.tag().is_some() {
                return None;
            }
            Some(deps::Target { sha: *moves.get(&key)?, tag: None, unique: 0 })
        });
        due.bumps.extend(update.map_err(|e| StepError::failed(format!("{file}: {e}")))?.bumps);
    }
    Ok(due)
}

/// A coordinate that follows a branch: its library, where it is, and the commit it stands at.
async fn movable(coord: &Coord<'_>, log: &mut LogFile) -> Result<Option<(String, RepoUrl, Sha)>, StepError> {
    let name = coord.lib_text.as_deref().unwrap_or_default().to_owned();
    if let Some(problem) = coord.problem() {
        say(log, format!("left alone: {problem}")).await?;
        return Ok(None);
    }
    if !coord.is_movable() {
        say(log, format!("left alone: {name} is pinned")).await?;
        return Ok(None);
    }
    if let Some(tag) = coord.tag() {
        say(log, format!("left alone: {name} is at tag {tag}")).await?;
        return Ok(None);
    }
    Ok(coord.repo_url().zip(coord.full_sha()).map(|(url, sha)| (name, url, sha)))
}

/// Where a repository should be bumped to, with its mirror at hand. None if it can't be told and need not be.
async fn resolve(
    work: &Work,
    log: &mut LogFile,
    repo: &RepoId,
    url: &RepoUrl,
    wanted: &mut Wanted,
) -> Result<Option<Sha>, StepError> {
    if let Some(known) = wanted.sha {
        return Ok(known);
    }
    let found = look(work, log, repo, url, wanted).await?;
    wanted.sha = Some(found);
    Ok(found)
}

async fn look(
    work: &Work,
    log: &mut LogFile,
    repo: &RepoId,
    url: &RepoUrl,
    wanted: &Wanted,
) -> Result<Option<Sha>, StepError> {
    let git = work.rooms().git.clone();
    if let Some((newest, earlier)) = wanted.named.split_last() {
        let want = match newest {
            Named::Published(sha) => {
                if !git.contains(repo, *sha).await.unwrap_or(false) {
                    git.fetch(url, &work.stop).await.map_err(|e| work.git(e))?;
                }
                *sha
            }
            Named::Pushed(t) => {
                let mut want = prepare::wait_for(work, log, url, &t.branch, t.before, t.after, true).await?;
                // A redelivery is the newest that came and not the newest that was pushed.
                let head = git.resolve(repo, Rev::Branch(t.branch.clone())).await.map_err(|e| work.git(e))?;
                for named in earlier {
                    if let (Named::Pushed(other), Some(head)) = (named, head)
                        && other.branch == t.branch
                        && git.is_ancestor(repo, want, other.after).await.map_err(|e| work.git(e))?
                        && git.is_ancestor(repo, other.after, head).await.map_err(|e| work.git(e))?
                    {
                        want = other.after;
                    }
                }
                want
            }
        };
        return Ok(Some(want));
    }
    let fetched = match git.fetch(url, &work.stop).await {
        Ok(fetched) => fetched,
        Err(error) if work.stop.is_cancelled() => return Err(work.git(error)),
        Err(error) => {
            say(log, format!("left alone: {error}")).await?;
            return Ok(None);
        }
    };
    let branch = work.inner.branch_of(repo).or(fetched.heads.head_branch);
    let head = branch.and_then(|branch| fetched.heads.branches.get(&branch).copied());
    if head.is_none() {
        say(log, format!("left alone: {url} has no default branch")).await?;
    }
    Ok(head)
}

enum Relation {
    Same,
    Older,
    Newer,
    /// It is newer, and on no branch any more.
    Rewound,
    /// It is on this other branch.
    Elsewhere(Branch),
    /// It is on no branch at all; why, and what to do.
    Rewritten(String),
}

/// How the commit that stands in deps.edn is related to the wanted one.
async fn relation(work: &Work, repo: &RepoId, url: &RepoUrl, current: Sha, want: Sha) -> Result<Relation, StepError> {
    if current == want {
        return Ok(Relation::Same);
    }
    let git = work.rooms().git.clone();
    let mut known = git.contains(repo, current).await.map_err(|e| work.git(e))?;
    if !known {
        // Newer than our last look at the library, perhaps.
        git.fetch(url, &work.stop).await.map_err(|e| work.git(e))?;
        known = git.contains(repo, current).await.map_err(|e| work.git(e))?;
    }
    if !known {
        return Ok(Relation::Rewritten(format!(
            "{current} is not in {repo} (any more): its history was rewritten, or it was never pushed. Set the sha by hand once, to {want} if that is meant"
        )));
    }
    if git.is_ancestor(repo, current, want).await.map_err(|e| work.git(e))? {
        return Ok(Relation::Older);
    }
    let is_newer = git.is_ancestor(repo, want, current).await.map_err(|e| work.git(e))?;
    match git.branches_with(repo, current).await.map_err(|e| work.git(e))?.into_iter().next() {
        Some(_) if is_newer => return Ok(Relation::Newer),
        None if is_newer => return Ok(Relation::Rewound),
        Some(branch) => return Ok(Relation::Elsewhere(branch)),
        None => {}
    }
    Ok(Relation::Rewritten(format!(
        "{current} is on no branch of {repo} any more, and not an ancestor of {want}: its history was rewritten. Set the sha by hand once, to {want} if that is meant"
    )))
}

/// The files with the bumps made, from the clone's head.
pub(super) async fn apply(work: &Work, clone: &WorkClone, bumps: &[Bump]) -> Result<Vec<(String, Vec<u8>)>, StepError> {
    let mut files = Vec::new();
    for file in deps::FILES {
        if !bumps.iter().any(|b| b.file == file) {
            continue;
        }
        let bytes = clone.read_file(file).await.map_err(|e| work.git(e))?.unwrap_or_default();
        let source = String::from_utf8(bytes).map_err(|_| StepError::failed(format!("{file} is not UTF-8")))?;
        let update = deps::plan_update(&source, file, |coord| {
            let bump = bumps.iter().find(|b| {
                b.file == file
                    && coord.lib.as_ref() == Some(&b.lib)
                    && coord.sha() == Some(&b.from)
                    && coord.repo_url().is_some_and(|url| url.id() == b.repo)
            })?;
            Some(deps::Target { sha: bump.to.parse().ok()?, tag: None, unique: 0 })
        });
        let edited = update.map_err(|e| e.to_string()).and_then(|u| u.edit.apply(&source).map_err(|e| e.to_string()));
        let edited = edited.map_err(|e| StepError::failed(format!("{file}: {e}")))?;
        files.push((file.to_owned(), edited.into_bytes()));
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
    let mut libs: Vec<&str> = told.iter().map(|b| b.lib.as_str()).collect();
    libs.dedup();
    let subject = match libs.as_slice() {
        [lib] => format!("Update {lib}"),
        [one, two] => format!("Update {one} and {two}"),
        libs => format!("Update {} dependencies", libs.len()),
    };
    let lines: Vec<(&str, &str, &str)> =
        told.iter().map(|b| (b.lib.as_str(), b.from.as_str(), b.to.as_str())).collect();
    let stamp = Stamp { author: work.rooms().git.config().author.clone(), time };
    clone.commit(files, &message(&subject, work.job.id, &lines), &stamp).await.map_err(|e| work.git(e))
}
