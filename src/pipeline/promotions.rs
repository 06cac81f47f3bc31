//! Promotions: what one environment of an app runs, brought to the next by a person's word. The hosts are asked what they
//! run, and nothing is built: one build, one commit, one file. What is done is a job like any other that only brings a
//! commit to hosts; when its turn comes it is looked once more whether that is still what is run.

use std::time::Duration;

use futures_util::future::join_all;

use super::drift::judge;
use super::rollbacks::{Shown, named, names_of};
use super::{Inner, Pipeline, PipelineError, windows};
use crate::host::instances::Observed;
use crate::host::{Check, MarkerState, Remote};
use crate::model::api::{PromotionView, RolloutView, Submitted};
use crate::model::provenance::Drift;
use crate::model::rollout::{Because, Carried};
use crate::model::{App, AppName, Environment, FileSum, Host, JobState, Progress, Sha};
use crate::store::StoreError;

/// How long a host may take to say what it runs, and how long to say that it is well.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const WELL_WITHIN: Duration = Duration::from_secs(5);

impl Pipeline {
    /// What a promotion would do. Asks the hosts whose commit it is, and changes nothing.
    pub async fn promotion_plan(&self, app: &AppName, to: Option<&str>) -> Result<PromotionView, PipelineError> {
        let entry = self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        let (from, to) = between(&entry, to)?;
        let (carried, mut notes) = self.inner.to_promote(&entry, (from, to), "").await?;
        notes.extend(windows::closed(&entry, |host| to.hosts.contains(host)));
        let mut rollout = RolloutView::of(&entry, |host| to.hosts.contains(host));
        rollout.held = self.inner.stopped_by(app).map(|hold| hold.to_string());
        let live = to.hosts.first().map(|host| self.inner.left_at(&entry, host)).transpose()?.flatten();
        Ok(PromotionView {
            app: app.clone(),
            from: from.name.clone(),
            to: to.name.clone(),
            manual: to.manual,
            commit: carried.commit,
            of: carried.of,
            live,
            notes,
            rollout,
        })
    }

    /// Promotes what one environment runs to the one after it. Returns once it is planned.
    pub async fn promote(
        &self,
        app: &AppName,
        to: Option<&str>,
        shown: Shown,
        by: &str,
    ) -> Result<Submitted, PipelineError> {
        let entry = self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        let way = between(&entry, to)?;
        if let Some(hold) = self.inner.stopped_by(app) {
            return Err(PipelineError::Held(Box::new(hold)));
        }
        let by: String = by.chars().take(100).collect();
        let (carried, _) = self.inner.to_promote(&entry, way, &by).await?;
        if shown.commit.is_some_and(|commit| commit != carried.commit) {
            let (from, commit) = (&way.0.name, carried.commit.short());
            return Err(PipelineError::Changed(format!(
                "{from} of {app} runs {commit} by now, and not what was shown"
            )));
        }
        self.carry(app, carried).await
    }
}

/// From where to where: to the one that is named, or to the only one that somebody can mean.
fn between<'a>(app: &'a App, to: Option<&str>) -> Result<(&'a Environment, &'a Environment), PipelineError> {
    let refuse = |why: String| Err(PipelineError::Senseless(why));
    let manual: Vec<&Environment> = app.environments.iter().filter(|environment| environment.manual).collect();
    let to = match (to, manual.as_slice(), app.environments.as_slice()) {
        (Some(name), ..) => named(app, name)?,
        (None, [only], _) => *only,
        (None, [], [_, only]) => only,
        (None, _, []) => {
            let why = "has no environments: `:environments` in deploy.edn makes them, and `airplanes deploy` brings an app \
                       to all its hosts";
            return refuse(format!("{} {why}", app.name));
        }
        (None, ..) => return refuse(format!("say where {} goes: --to {}", app.name, names_of(app))),
    };
    match app.before(&to.name) {
        Some(from) => Ok((from, to)),
        None => {
            let (app, to) = (&app.name, &to.name);
            refuse(format!("no environment of {app} is before {to}: `airplanes deploy {app}` brings it what is built"))
        }
    }
}

/// What a host runs: a commit, and the file of it, where that is one of a build's.
type Runs = (Sha, Option<FileSum>);

/// Whether what is wanted is that file, as far as anybody knows which is wanted.
fn is_file(wanted: &Option<FileSum>, file: &Option<FileSum>) -> bool {
    wanted.as_ref().is_none_or(|wanted| file.as_ref().is_some_and(|file| file.is(wanted)))
}

fn words(commit: &Sha, file: Option<&FileSum>) -> String {
    file.map_or_else(|| commit.short(), |file| format!("{} (its file {})", commit.short(), file.short()))
}

impl Inner {
    /// What an environment runs, as a rollout to the next one; and what a person should know of it.
    async fn to_promote(
        &self,
        app: &App,
        (from, to): (&Environment, &Environment),
        by: &str,
    ) -> Result<(Carried, Vec<String>), PipelineError> {
        let refuse = |why: String| Err(PipelineError::Senseless(why));
        let (commit, file) = match self.runs_in(app, from).await {
            Ok(runs) => runs,
            Err(why) => {
                let (name, from) = (&app.name, &from.name);
                return refuse(format!(
                    "{from} of {name} is not one commit that is well, so there is nothing to promote: {why}"
                ));
            }
        };
        let was_there = |job: &&JobState| {
            let done = |host: &crate::model::HostState| host.state == Progress::Done && from.hosts.contains(&host.name);
            job.commit() == Some(commit) && is_file(&job.sum, &file) && job.hosts.iter().any(done)
        };
        let jobs = self.jobs_in(&app.name, from)?;
        let job = jobs.iter().map(|job| &**job).find(was_there);
        let Some((job, (branch, _))) = job.and_then(|job| Some((job, job.base.clone()?))) else {
            return refuse(format!(
                "{} runs {}, which no job of {} that is still known has brought there: `airplanes deploy {2}` brings what is \
                 built",
                from.name,
                words(&commit, file.as_ref()),
                app.name
            ));
        };
        let mut notes = Vec::new();
        if self.store.last_good_in(&app.name, &to.name)?.is_some_and(|good| good.sha == commit) {
            notes.push(format!("it did well in {} already", to.name));
        }
        let taken_back = |job: &&JobState| match job.carried().map(|carried| &carried.because) {
            Some(Because::Rollback { bad }) => *bad == commit,
            _ => job.commit() == Some(commit) && job.rolling_back.is_some(),
        };
        if let Some(job) = self.jobs_in(&app.name, to)?.iter().map(|job| &**job).find(taken_back) {
            notes.push(format!("it was taken back from {} before, by job {}", to.name, job.id));
        }
        let of = job.carried().map_or(job.id, |carried| carried.of);
        let because = Because::Promote { from: from.name.clone(), to: to.name.clone() };
        let (hosts, sum) = (to.hosts.clone(), job.sum.clone());
        Ok((Carried { of, commit, sum, branch, hosts, because, by: by.to_owned() }, notes))
    }

    /// Why a promotion has no use any more, as it is about to start: others may have gone before. None of another job.
    pub(super) async fn is_outdated(&self, job: &JobState) -> Result<Option<String>, StoreError> {
        let Some((carried, Because::Promote { from, to })) = job.carried().map(|carried| (carried, &carried.because))
        else {
            return Ok(None);
        };
        let Some(app) = self.app(&job.app.name) else { return Ok(None) };
        let Some(environment) = app.environment(from) else {
            return Ok(Some(format!("{} has no environment {from} any more", app.name)));
        };
        let now = match self.runs_in(&app, environment).await {
            Ok((commit, file)) if commit == carried.commit && is_file(&carried.sum, &file) => return Ok(None),
            Ok((commit, file)) => format!("{from} runs {} by now", words(&commit, file.as_ref())),
            Err(why) => format!("{from} is not one commit that is well by now: {why}"),
        };
        let (was, name) = (words(&carried.commit, carried.sum.as_ref()), &app.name);
        Ok(Some(format!("{to} was to get {was}, and {now}; `airplanes promote {name} --to {to}` asks again")))
    }

    /// The commit that all hosts of an environment are live and well at, as they say themselves, and the file of it.
    async fn runs_in(&self, app: &App, environment: &Environment) -> Result<Runs, String> {
        let hosts = app.hosts.iter().filter(|host| environment.hosts.contains(&host.name));
        let looks = hosts.map(async |host| (host, self.runs_well(app, host).await));
        let looked = join_all(looks).await;
        let bad: Vec<String> =
            looked.iter().filter_map(|(host, seen)| Some(format!("{}: {}", host.name, seen.as_ref().err()?))).collect();
        if !bad.is_empty() {
            return Err(bad.join("; "));
        }
        let at: Vec<(&Host, Runs)> = looked.into_iter().filter_map(|(host, seen)| Some((host, seen.ok()?))).collect();
        let Some((_, first)) = at.first() else { return Err("it has no hosts".to_owned()) };
        if at.iter().all(|(_, runs)| runs.0 == first.0 && is_file(&first.1, &runs.1)) {
            return Ok(first.clone());
        }
        let told = at.iter().map(|(host, (sha, file))| format!("{} runs {}", host.name, words(sha, file.as_ref())));
        Err(told.collect::<Vec<_>>().join(", "))
    }

    /// What a host runs, if it is well.
    async fn runs_well(&self, app: &App, host: &Host) -> Result<Runs, String> {
        let (rooms, mut quiet) = (self.rooms.load_full(), |_: &[u8]| ());
        let mut remote =
            Remote { hosts: &rooms.hosts, host, timeout: ANSWERED_WITHIN, cancel: &self.ending, log: &mut quiet };
        let folder = app.folder_on(host).ok_or("it has no :working-directory")?;
        let late = |_| format!("it did not answer within {} s", ANSWERED_WITHIN.as_secs());
        let seen = tokio::time::timeout(ANSWERED_WITHIN, remote.observe_app(app, &folder)).await.map_err(late)?;
        let Observed { state: seen, unit, port } = seen.map_err(|error| self.masked(&app.name, &error.to_string()))?;
        if let (Some(marker), Some(head)) = (&seen.marker, seen.head)
            && (marker.state, marker.sha == head) == (MarkerState::Live, false)
        {
            let (head, brought) = (head.short(), marker.sha.short());
            return Err(format!("it is at {head}, and what was brought there is {brought}: somebody has moved it"));
        }
        match (judge(&seen, seen.head, true), seen.head) {
            ((Drift::InStep, _), Some(sha)) => {
                let health = app.health_at(host, port);
                let check = Check {
                    working_directory: &folder,
                    sha: &sha,
                    unit: unit.as_ref(),
                    health: health.as_deref(),
                    timeout: WELL_WITHIN,
                    stable: Duration::ZERO,
                };
                let well = tokio::time::timeout(ANSWERED_WITHIN, remote.wait_until_well(&check)).await.map_err(late)?;
                well.map_err(|error| self.masked(&app.name, &error.to_string())).map(|_| (sha, seen.sum))
            }
            ((state, why), _) => {
                Err(why.map_or_else(|| state.as_str().to_owned(), |why| format!("{}: {why}", state.as_str())))
            }
        }
    }
}
