//! Build: one command of the app's `:build` in the job's clone, with history, at the commit that will be pushed.
//!
//! Begun again after a crash: the whole build runs anew in a fresh clone (the fold sets its steps back), since half
//! a build is none. What a killed daemon's build left running was ended at start.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::{StepError, Work, rollout, say};
use crate::model::{App, Step, StepResult};
use crate::pipeline::culprit;
use crate::runner::{Build, BuildOutcome, Limit};

pub(in crate::pipeline) async fn run(work: &mut Work, name: Option<&str>) -> Result<StepResult, StepError> {
    let step = Step::Build(name.map(str::to_owned));
    let (branch, _) = work.base()?;
    work.take_branch(&branch).await?;
    let app = work.job.app.clone();
    let Some(index) = app.build.iter().position(|b| b.name.as_deref() == name) else {
        return Err(StepError::failed(format!("{} has no build step {step} any more", app.name)));
    };
    let Some(updated) = work.job.updated.clone() else {
        return Err(StepError::failed("update has left no commit; deploy the app again"));
    };
    if work.job.built.as_deref() == Some(updated.tree.as_str()) {
        return Ok(StepResult::Skipped { reason: "this tree was built before the push was overtaken".to_owned() });
    }
    work.take_slot().await?;
    let mut log = work.log(&step).await?;
    let first = index == 0;
    let folder = work.inner.work_folder(work.job.id);
    let (dir, tmp, git_config) = (work.clone_folder(), folder.join("tmp"), folder.join("gitconfig"));
    // Later steps find what the earlier ones left; a build that was interrupted begins with its first.
    if first {
        rollout::fetch_ahead(work);
        work.clone_to_build().await?;
        let preflight = work.preflight(&updated.bumps).await?;
        for (_, error) in &preflight.left {
            say(&mut log, format!("note: not mirrored, so the build's own git has to reach it: {error}")).await?;
        }
        let git = work.rooms().git.clone();
        work.clear(&tmp).await?;
        let written = async {
            tokio::fs::create_dir_all(&tmp).await?;
            tokio::fs::write(&git_config, preflight.git_config(&git)).await
        };
        written.await.map_err(|e| StepError::Retry(format!("could not write in {}: {e}", folder.display())))?;
        // Its own mirror too: the clone borrows from it.
        work.reads = preflight.mirrors(&git);
        work.reads.extend([git.path(&app.repo()), git_config.clone()]);
        work.building = Duration::ZERO;
    }
    begins_in(&dir, &app).map_err(StepError::failed)?;
    let build = Build {
        job: work.job.id,
        app: &app.name,
        sha: updated.commit,
        step: &app.build[index],
        dir: &dir,
        directory: app.updates.directory.as_deref(),
        tmp: &tmp,
        reads: &work.reads,
        git_config: Some(&git_config),
        total: app.build_timeout.saturating_sub(work.building),
        silence: app.build_silence,
    };
    say(&mut log, format!("$ {}", app.build[index].run)).await?;
    let began = Instant::now();
    let outcome = work.rooms().runner.run(build, &mut log, &work.stop).await;
    work.building += began.elapsed();
    let mut outcome = outcome.map_err(|e| StepError::Retry(e.to_string()))?;
    if let BuildOutcome::TimedOut { limit: Limit::Total, after } = &mut outcome {
        // The limit that the user set, not what the steps before had left of it.
        *after = app.build_timeout;
    }
    say(&mut log, format!("[{} after {:.1} s]", ended(&outcome), began.elapsed().as_secs_f64())).await?;
    if outcome == BuildOutcome::Done
        && index + 1 == app.build.len()
        && let Some(said) = work.keep_artifact().await?
    {
        say(&mut log, said).await?;
    }
    log.settle().await?;
    let exit_code = match outcome {
        BuildOutcome::Done => {
            if index + 1 == app.build.len() {
                work.slot.give_back();
            }
            return Ok(StepResult::Done);
        }
        BuildOutcome::Canceled => return Err(work.stopped()),
        BuildOutcome::Failed { exit_code } => Some(exit_code),
        BuildOutcome::Signaled { signal } => Some(128 + signal),
        BuildOutcome::TimedOut { .. } | BuildOutcome::OutOfMemory { .. } => None,
    };
    Err(culprit::look(work, outcome.to_string(), exit_code, &mut log).await)
}

/// The folder that the commands begin in has to be one of the clone.
pub(in crate::pipeline) fn begins_in(clone: &Path, app: &App) -> Result<(), String> {
    let Some(directory) = &app.updates.directory else { return Ok(()) };
    let real = |path: &Path| path.canonicalize().ok().filter(|path| path.is_dir());
    match (real(clone), real(&clone.join(directory))) {
        (Some(clone), Some(folder)) if folder.starts_with(&clone) => Ok(()),
        _ => Err(format!(
            "the repository has no folder {directory}, which :directory of {} names; correct it in deploy.edn",
            app.name
        )),
    }
}

fn ended(outcome: &BuildOutcome) -> String {
    match outcome {
        BuildOutcome::Done => "done".to_owned(),
        other => other.to_string(),
    }
}
