//! A person's word by a push: a coordinate that they put back to a commit which what stood there descends from. It is
//! held where they put it, since the next bump would undo that, and let go of when a person moves it on. Changes holds
//! only.
//!
//! Idempotent: a hold that is there is left as it is.

use std::collections::BTreeMap;

use super::{StepError, Work, say};
use crate::bumps::{File, Tree};
use crate::deps;
use crate::git::{Mirrors, Rev};
use crate::model::hold::{Hold, HoldKind};
use crate::model::{Branch, JobState, Lib, RepoId, RepoUrl, Sha, Why};
use crate::process::LogFile;
use crate::store::{JobFilter, Release};

/// So many of an app's newest jobs are looked through for the last that looked.
const JOBS: usize = 50;

/// Where a library stands in a file: once for each coordinate of it, in order.
type Places = BTreeMap<(String, Lib), Vec<Place>>;

struct Place {
    repo: RepoId,
    url: RepoUrl,
    /// The tag or sha, as it is written.
    text: String,
    sha: Option<Sha>,
    /// Whether a bump may move it.
    may_move: bool,
}

/// Looks at what `base`, with these files of a job's app, takes back.
pub(super) async fn look(
    work: &Work,
    job: &JobState,
    base: Sha,
    files: &[File],
    log: &mut LogFile,
) -> Result<(), StepError> {
    let (app, rooms) = (&job.app, work.rooms());
    let now = places(files);
    let_go(work, job, &now, log).await?;
    for commit in earlier(work, job, base)? {
        let tree = Tree::Commit { git: &rooms.git, repo: &app.repo(), sha: commit };
        // What can't be read tells of nothing that was put back.
        let Ok(files) = tree.files(&app.updates).await else { continue };
        for ((file, lib), was) in places(&files) {
            let Some(is) = now.get(&(file, lib.clone())).filter(|is| is.len() == was.len()) else { continue };
            let is_other = |was: &Place, is: &Place| is.may_move && was.repo == is.repo && was.text != is.text;
            for (was, is) in was.iter().zip(is).filter(|(was, is)| is_other(was, is)) {
                let holds = work.inner.store.holds();
                let held = holds.get(&(app.name.clone(), Some(lib.clone())));
                if held.and_then(Hold::made_by_itself).is_some() {
                    break;
                }
                let (from, to) = (commit_of(&rooms.git, was).await, commit_of(&rooms.git, is).await);
                let (Some(from), Some(to)) = (from, to) else { continue };
                if from == to || !rooms.git.is_ancestor(&is.repo, to, from).await.unwrap_or(false) {
                    continue;
                }
                let hold = Hold::of_moved_back(app.name.clone(), lib.clone(), (from, to), base);
                let words = hold.to_string();
                work.inner.store.put_hold(hold).await?;
                tracing::info!(app = %app.name, "{words}");
                say(log, format!("note: {words}")).await?;
                work.inner.tick();
            }
        }
    }
    Ok(())
}

/// Lets go of holds of libraries that were put back and that a person has moved on since. What was kept back meanwhile is
/// the job's to bring, or made up for by one of its own.
async fn let_go(work: &Work, job: &JobState, now: &Places, log: &mut LogFile) -> Result<(), StepError> {
    let (app, git) = (&job.app.name, work.rooms().git.clone());
    let holds = work.inner.store.holds();
    let of_app = holds.values().filter(|hold| hold.app == *app).filter_map(Hold::made_by_itself);
    for (hold, back) in of_app.filter_map(|hold| match &hold.kind {
        HoldKind::MovedBack { to, .. } => Some((hold, *to)),
        _ => None,
    }) {
        let (mut all, mut any) = (true, false);
        for place in now.iter().filter(|((_, lib), _)| hold.lib.as_ref() == Some(lib)).flat_map(|(_, places)| places) {
            let mut sha = commit_of(&git, place).await;
            let known = match sha {
                Some(sha) => git.contains(&place.repo, sha).await.unwrap_or(false),
                None => false,
            };
            if !known {
                let url = work.inner.url_of(&place.repo).unwrap_or_else(|| place.url.clone());
                // Where it can't be told, the hold stays.
                drop(git.fetch(&url, &work.stop).await);
                sha = commit_of(&git, place).await;
            }
            any = true;
            all &= match sha {
                Some(sha) => sha != back && git.is_ancestor(&place.repo, back, sha).await.unwrap_or(false),
                None => false,
            };
        }
        if any && all {
            if job.bumps_all() {
                let held = (app.clone(), hold.lib.clone());
                work.inner.store.release(Release { held, id: hold.id, catch_up: None }).await?;
                work.inner.tick();
            } else {
                work.inner.release(hold, "a push that moved a library on").await?;
            }
            tracing::info!(%app, "moved on by a person, so no longer so: {hold}");
            say(log, format!("note: moved on by a person, so no longer so: {hold}")).await?;
        }
    }
    Ok(())
}

/// The commits of the app's branch that are known from before: what the newest job that looked at it left there, and what
/// was there before the first of the pushes that this one is for. One that `base` does not stand on counts as well:
/// somebody has pushed over it.
fn earlier(work: &Work, job: &JobState, base: Sha) -> Result<Vec<Sha>, StepError> {
    let (repo, (branch, _)) = (job.app.repo(), work.base()?);
    let pushed = job.live_causes().find_map(|cause| match cause.why {
        Why::OwnPush { before, .. } => before,
        _ => None,
    });
    // Also a younger one: others go on while a job waits for people to merge.
    let filter = JobFilter { app: Some(job.app.name.clone()), limit: JOBS, ..Default::default() };
    let left = |other: &JobState| {
        let is_alike = |on: &Branch| other.id != job.id && *on == branch && other.app.repo() == repo;
        let (_, base) = other.base.as_ref().filter(|(on, _)| is_alike(on))?;
        other.updated.as_ref().map(|_| other.published.unwrap_or(*base))
    };
    let last = work.inner.store.jobs(&filter)?.iter().find_map(|job| left(job));
    let mut found: Vec<Sha> = [pushed, last].into_iter().flatten().filter(|commit| *commit != base).collect();
    found.dedup();
    Ok(found)
}

fn places(files: &[File]) -> Places {
    let mut found = Places::new();
    for file in files {
        let Ok(scanned) = deps::scan(&file.text) else { continue };
        for (_, coord) in scanned.live() {
            let (Some(lib), Some(url)) = (&coord.lib, coord.repo_url()) else { continue };
            let Some(text) = coord.tag().or(coord.sha()) else { continue };
            let (sha, may_move) = (coord.full_sha(), coord.is_movable());
            let place = Place { repo: url.id(), url, text: text.to_owned(), sha, may_move };
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
