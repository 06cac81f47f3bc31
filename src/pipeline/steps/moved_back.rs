//! A person's word by a push: a coordinate that a bump of ours had moved on, and that they put back. It is held where
//! they put it, since the next bump would undo that, and let go of when a person moves it on. Changes holds only.
//!
//! Idempotent: a hold that is there is left as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{StepError, Work, say};
use crate::bumps::{File, Tree};
use crate::deps;
use crate::git::{Mirrors, Rev};
use crate::model::hold::{Hold, HoldKind};
use crate::model::{Lib, RepoId, RepoUrl, Sha, Why};
use crate::process::LogFile;
use crate::store::{JobFilter, Release, StoreError};

/// So many of an app's newest jobs are looked through for the one before and for the bump that was taken back.
const JOBS: usize = 50;

/// Where a library stands in a file: once for each coordinate of it, in order.
type Places = BTreeMap<(String, Lib), Vec<Place>>;

struct Place {
    repo: RepoId,
    url: RepoUrl,
    /// The tag or sha, as it is written.
    text: String,
    sha: Option<Sha>,
}

/// Looks at what `base`, with these files, takes back of our bumps.
pub(super) async fn look(work: &Work, base: Sha, files: &[File], log: &mut LogFile) -> Result<(), StepError> {
    let (app, rooms) = (&work.job.app, work.rooms());
    let now = places(files);
    let_go(work, &rooms.git, &now, log).await?;
    let mut ours: Option<BTreeSet<(String, Lib, String)>> = None;
    for commit in earlier(work, base).await? {
        let tree = Tree::Commit { git: &rooms.git, repo: &app.repo(), sha: commit };
        // What can't be read tells of nothing that was put back.
        let Ok(files) = tree.files(&app.updates).await else { continue };
        for ((file, lib), was) in places(&files) {
            let Some(is) = now.get(&(file.clone(), lib.clone())).filter(|is| is.len() == was.len()) else { continue };
            for (was, is) in was.iter().zip(is).filter(|(was, is)| was.repo == is.repo && was.text != is.text) {
                if work.inner.store.holds().contains_key(&(app.name.clone(), Some(lib.clone()))) {
                    break;
                }
                let ours = match &ours {
                    Some(ours) => ours,
                    None => ours.insert(bumped(work)?),
                };
                let (from, to) = (commit_of(&rooms.git, was).await, commit_of(&rooms.git, is).await);
                let (Some(from), Some(to)) = (from, to) else { continue };
                if from == to
                    || !ours.contains(&(file.clone(), lib.clone(), was.text.clone()))
                    || !rooms.git.is_ancestor(&is.repo, to, from).await.unwrap_or(false)
                {
                    continue;
                }
                let hold = Hold::of_moved_back(app.name.clone(), lib.clone(), (from, to), base);
                let hold = work.inner.store.put_hold(hold).await?;
                tracing::info!(app = %app.name, "{hold}");
                say(log, format!("note: {hold}")).await?;
                work.inner.tick();
            }
        }
    }
    Ok(())
}

/// Lets go of holds of libraries that were put back and that a person has moved on since.
async fn let_go(work: &Work, git: &Mirrors, now: &Places, log: &mut LogFile) -> Result<(), StepError> {
    let app = &work.job.app.name;
    let holds = work.inner.store.holds();
    let of_app = holds.values().filter(|hold| hold.app == *app);
    for (hold, back) in of_app.filter_map(|hold| match &hold.kind {
        HoldKind::MovedBack { to, .. } => Some((hold, *to)),
        _ => None,
    }) {
        let (mut all, mut any) = (true, false);
        for place in now.iter().filter(|((_, lib), _)| hold.lib.as_ref() == Some(lib)).flat_map(|(_, places)| places) {
            let mut sha = commit_of(git, place).await;
            let known = match sha {
                Some(sha) => git.contains(&place.repo, sha).await.unwrap_or(false),
                None => false,
            };
            if !known {
                let url = work.inner.url_of(&place.repo).unwrap_or_else(|| place.url.clone());
                // Where it can't be told, the hold stays.
                drop(git.fetch(&url, &work.stop).await);
                sha = commit_of(git, place).await;
            }
            let Some(sha) = sha else { return Ok(()) };
            any = true;
            all &= sha != back && git.is_ancestor(&place.repo, back, sha).await.unwrap_or(false);
        }
        if any && all {
            let held = (app.clone(), hold.lib.clone());
            work.inner.store.release(Release { held, id: hold.id, catch_up: None }).await?;
            tracing::info!(%app, "moved on by a person, so no longer so: {hold}");
            say(log, format!("note: moved on by a person, so no longer so: {hold}")).await?;
            work.inner.tick();
        }
    }
    Ok(())
}

/// The commits of the app that `base` stands on and that are known from before: what its last job left, and what was
/// there before the first of the pushes that this one is for.
async fn earlier(work: &Work, base: Sha) -> Result<Vec<Sha>, StepError> {
    let (app, git) = (&work.job.app, work.rooms().git.clone());
    let pushed = work.job.live_causes().find_map(|cause| match cause.why {
        Why::OwnPush { before, .. } => before,
        _ => None,
    });
    let filter =
        JobFilter { app: Some(app.name.clone()), before: Some(work.job.id), limit: JOBS, ..Default::default() };
    let jobs = work.inner.store.jobs(&filter)?;
    let last = jobs.iter().find_map(|job| job.published.or(job.base.as_ref().map(|(_, sha)| *sha)));
    let mut found = Vec::new();
    for commit in [pushed, last].into_iter().flatten().filter(|commit| *commit != base) {
        if !found.contains(&commit) && git.is_ancestor(&app.repo(), commit, base).await.map_err(|e| work.git(e))? {
            found.push(commit);
        }
    }
    Ok(found)
}

/// Where the newest jobs of the repository's apps have moved libraries to: the file, the library, and what stands there.
fn bumped(work: &Work) -> Result<BTreeSet<(String, Lib, String)>, StoreError> {
    let mut found = BTreeSet::new();
    for app in work.inner.apps_in(&work.job.app.repo()) {
        let filter = JobFilter { app: Some(app), limit: JOBS, ..Default::default() };
        for job in work.inner.store.jobs(&filter)?.iter().filter(|job| job.published.is_some()) {
            let bumps = job.updated.iter().flat_map(|updated| &updated.bumps);
            found.extend(bumps.map(|bump| (bump.file.clone(), bump.lib.clone(), bump.to.clone())));
        }
    }
    Ok(found)
}

fn places(files: &[File]) -> Places {
    let mut found = Places::new();
    for file in files {
        let Ok(scanned) = deps::scan(&file.text) else { continue };
        for (_, coord) in scanned.live() {
            let (Some(lib), Some(url)) = (&coord.lib, coord.repo_url()) else { continue };
            let Some(text) = coord.tag().or(coord.sha()) else { continue };
            let place = Place { repo: url.id(), url, text: text.to_owned(), sha: coord.full_sha() };
            found.entry((file.path.clone(), lib.clone())).or_default().push(place);
        }
    }
    found
}

async fn commit_of(git: &Mirrors, place: &Place) -> Option<Sha> {
    match place.sha {
        Some(sha) => Some(sha),
        None => git.resolve(&place.repo, Rev::Tag(place.text.clone())).await.ok().flatten(),
    }
}
