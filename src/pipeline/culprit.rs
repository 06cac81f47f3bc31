//! Which commit of a dependency broke a build: `:bisect? true`. The app as it was has to build; then one repository
//! after the other is moved, those that others depend on first, and where the build breaks the first bad commit is
//! searched for, along first parents or tags. What builds is journaled as how far the job may go, and the job goes on.
//!
//! Nothing is journaled before the end: a search that was interrupted begins again with the build that failed. It works
//! in the job's slot, under its leases, and pushes nothing.

mod moves;

use super::steps::{StepError, Work, say};
use super::trial::{Trial, TrialError, Tried};
use crate::git::CommitInfo;
use crate::model::{Bump, Culprit, Narrowed};
use crate::process::{LogFile, ProcessError};
pub(super) use moves::narrowed;
use moves::{Line, lines};

/// What the names of the logs of the builds of a search begin with.
pub const LOGS: &str = "culprit/";
/// How many builds a search may take.
const BUILDS: u32 = 12;
/// How much of an author's name and of a subject is kept.
const TEXT: usize = 120;

/// Looks for what broke the build that has just failed, if the app's entry asks for it and there is anything to look
/// for. Gives the error that the step ends in.
pub(super) async fn look(work: &mut Work, error: String, exit_code: Option<i32>, log: &mut LogFile) -> StepError {
    let plain = |error| StepError::Failed { error, exit_code };
    let bumps = work.job.updated.as_ref().map(|updated| updated.bumps.clone()).unwrap_or_default();
    if !work.job.app.updates.bisect || bumps.is_empty() {
        return plain(error);
    }
    match search(work, &bumps, log).await {
        Ok(Found::None(why)) => plain(format!("{error}; {why}")),
        Ok(Found::Nothing) => StepError::Retry(format!("{error}; with the same dependencies it builds now")),
        Ok(Found::Bad(found)) => {
            let words: Vec<String> = found.iter().map(ToString::to_string).collect();
            let error = format!("{error}; {}", words.join("; "));
            // Where nothing may move there is nothing to go on with.
            let stays = |bump: &Bump| {
                let narrowed = found.iter().find(|n| (&n.lib, &n.from) == (&bump.lib, &bump.from));
                narrowed.is_some_and(|narrowed| narrowed.good == narrowed.from)
            };
            if bumps.iter().all(stays) { plain(error) } else { StepError::Narrowed { error, exit_code, found } }
        }
        Err(TrialError::Stopped) => work.stopped(),
        Err(_) if work.stop.is_cancelled() => work.stopped(),
        Err(why) => plain(format!("{error}; what broke it could not be looked for: {why}")),
    }
}

/// What a search comes to.
enum Found {
    /// That it is none of the new dependencies, in words.
    None(String),
    /// That nothing breaks it: it fails now and then.
    Nothing,
    /// How far each may move that may not move all the way.
    Bad(Vec<Narrowed>),
}

/// A search under way.
struct Search<'a> {
    work: &'a Work,
    lines: Vec<Line>,
    builds: u32,
    log: &'a mut LogFile,
}

async fn search(work: &Work, bumps: &[Bump], log: &mut LogFile) -> Result<Found, TrialError> {
    let lines = lines(work, bumps).await?;
    let commits: usize = lines.iter().map(|line| line.steps.len()).sum();
    tell(log, format!("looking for what broke it among {commits} commits of dependencies")).await?;
    let mut search = Search { work, lines, builds: 0, log };
    // How many steps of its line each goes.
    let mut at = vec![0; search.lines.len()];
    if !search.builds(&at).await? {
        return Ok(Found::None(
            "it was broken before: without the new dependencies it does not build either".to_owned(),
        ));
    }
    let mut bad = vec![None; at.len()];
    let mut whole = true;
    for n in 0..at.len() {
        let all = search.lines[n].steps.len();
        if search.builds >= BUILDS {
            whole = false;
            break;
        }
        // With all of them at their newest it fails: the job has seen that.
        let is_last = n + 1 == at.len() && bad.iter().all(Option::is_none);
        let newest = with(&at, n, all);
        if !is_last && search.builds(&newest).await? {
            at = newest;
            continue;
        }
        let (mut good, mut worse) = (0, all);
        while worse - good > 1 && search.builds < BUILDS {
            let middle = good + (worse - good) / 2;
            if search.builds(&with(&at, n, middle)).await? { good = middle } else { worse = middle }
        }
        // Against the newest speaks only the job's own build, and some builds fail now and then.
        if is_last && worse == all && search.builds < BUILDS && search.builds(&newest).await? {
            at = newest;
            continue;
        }
        whole = whole && worse - good == 1;
        at[n] = good;
        bad[n] = Some((worse, worse - good == 1));
    }
    let took = format!("looked for it in {} builds", search.builds);
    tell(search.log, if whole { took } else { format!("{took}, which is as many as it may take") }).await?;
    if search.lines.iter().zip(&at).all(|(line, at)| *at == line.steps.len()) {
        return Ok(Found::Nothing);
    }
    let mut found = Vec::new();
    for (n, line) in search.lines.iter().enumerate().filter(|(n, line)| at[*n] < line.steps.len()) {
        let (worse, is_first) = bad[n].unwrap_or((line.steps.len(), false));
        let culprit = if is_first { culprit(work, line, worse).await? } else { None };
        for (_, bump) in &line.bumps {
            let good = line.at(work, bump, at[n]).await?.map_or_else(|| bump.from.clone(), |good| good.to);
            let bad = line.at(work, bump, worse).await?.map_or_else(|| bump.to.clone(), |bad| bad.to);
            let (lib, from) = (bump.lib.clone(), bump.from.clone());
            let narrowed = Narrowed { lib, from, good, bad, culprit: culprit.clone() };
            if !found.contains(&narrowed) {
                found.push(narrowed);
            }
        }
    }
    Ok(Found::Bad(found))
}

fn with(at: &[usize], n: usize, step: usize) -> Vec<usize> {
    let mut at = at.to_vec();
    at[n] = step;
    at
}

/// Whose the step of a line is.
async fn culprit(work: &Work, line: &Line, step: usize) -> Result<Option<Culprit>, TrialError> {
    let Some(sha) = step.checked_sub(1).and_then(|n| line.steps.get(n)).map(|step| step.sha) else { return Ok(None) };
    let CommitInfo { author, subject, .. } = work.rooms().git.commit_info(&line.repo, sha).await?;
    let short = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT).collect();
    Ok(Some(Culprit { repo: line.repo.clone(), sha, author: short(author), subject: short(subject) }))
}

impl Search<'_> {
    /// Whether the app builds with each dependency that far along its line.
    async fn builds(&mut self, at: &[usize]) -> Result<bool, TrialError> {
        let work = self.work;
        let mut bumps = Vec::new();
        for (line, step) in self.lines.iter().zip(at) {
            for (n, bump) in &line.bumps {
                bumps.extend(line.at(work, bump, *step).await?.map(|bump| (*n, bump)));
            }
        }
        bumps.sort_by_key(|(n, _)| *n);
        let bumps: Vec<Bump> = bumps.into_iter().map(|(_, bump)| bump).collect();
        let (branch, base) = work.job.base.clone().ok_or(TrialError::Stopped)?;
        let files = moves::edited(work, base, &bumps).await?;
        self.builds += 1;
        let step = format!("{LOGS}{}", self.builds);
        let words: Vec<String> = self.lines.iter().zip(at).map(|(line, step)| line.words(*step)).collect();
        tell(self.log, format!("{step}: {}", words.join(", "))).await?;
        let attempt = work.job.running_step().map_or(1, |step| step.attempt);
        let mut log = work.inner.logs.other(work.job.id, &step, attempt, work.masker()).await?;
        let trial = Trial {
            inner: &work.inner,
            app: &work.job.app,
            id: work.job.id,
            git: &work.rooms().git.clone(),
            reads: &[],
            branch: &branch,
            base,
            files: &files,
            folder: &work.inner.work_folder(work.job.id).join("culprit"),
            stop: &work.stop,
        };
        let tried = trial.build(&mut log).await?;
        let (well, words) = match tried {
            Tried::Builds => (true, "it builds".to_owned()),
            Tried::Breaks { error, .. } => (false, error),
        };
        tell(self.log, format!("{step}: {words}")).await?;
        Ok(well)
    }
}

async fn tell(log: &mut LogFile, text: String) -> Result<(), ProcessError> {
    say(log, text).await?;
    log.settle().await
}
