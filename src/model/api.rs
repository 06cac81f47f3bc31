//! What HTTP serves and the CLI reads: one set of types for both. Times are RFC 3339 in UTC; states are the words of
//! `Outcome` and `Progress`, and `queued running waiting` for a job under way.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::app::{App, Trigger};
use super::bump::Bump;
use super::environment::Environment;
use super::fold::JobState;
use super::hold::Hold;
use super::id::{EventId, JobId};
use super::job::Step;
use super::names::{AppName, Branch, EnvName, HostName, Sha};
use super::plan::{Target, Why};
use super::progress::{HostState, Narrowed, Progress};
use super::repo::LastSeenView;
use super::url::{RepoId, RepoUrl};

mod rollouts;
pub use rollouts::{EnvironmentView, PromotionView, RollbackView, RolloutView};

/// An error as every route gives it: `{"error": {...}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorView,
}

/// What went wrong, for scripts and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// A stable word: `not-found`, `unauthorized`.
    pub code: String,
    /// What happened, to what.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// `app`.
    pub kind: String,
    /// Its app.
    pub app: AppName,
    /// `queued running waiting`, or how it ended.
    pub state: String,
    /// Why it is in that state, in words.
    pub reason: Option<String>,
    /// The newest event that it answers.
    pub event: EventId,
    /// Every reason why it is there.
    pub causes: Vec<CauseView>,
    /// Its wave in its newest plan.
    pub wave: u16,
    /// The jobs that it waits for.
    pub waits_for: Vec<JobId>,
    /// The branch that it works on, once it is known.
    pub branch: Option<Branch>,
    /// The commit that it builds and rolls out, once it is known.
    pub sha: Option<Sha>,
    /// The branch's head that it stands on.
    pub previous_sha: Option<Sha>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
    /// Its hosts, in order.
    pub hosts: Vec<HostView>,
    /// The environments of these, in order; none where the app has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<EnvName>,
    /// What it bumped.
    pub bumps: Vec<Bump>,
    /// What it did not take since the build broke with it, and whose that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrowed: Vec<Narrowed>,
    /// The job that built the commit, where this one only brings it to hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<JobId>,
    /// How many entries its journal has; the id of its last server-sent event.
    pub seq: u64,
}

/// One reason for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseView {
    /// The event, and so the plan.
    pub event: EventId,
    /// `own-push`, `dependency` or `asked`.
    pub why: String,
    /// Repositories that moved, and where to.
    pub targets: Vec<Target>,
    /// Why it no longer counts.
    pub dropped: Option<String>,
}

/// A step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// `prepare`, `update`, `build`, `build/NAME`, `publish`, `rollout`.
    pub name: Step,
    /// Where it is.
    pub state: Progress,
    /// How often it was begun.
    pub attempt: u32,
    /// When this attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// A build's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What went wrong, or why it was skipped.
    pub error: Option<String>,
}

/// A host of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: HostName,
    /// The environment that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvName>,
    /// Where it is.
    pub state: Progress,
    /// While it runs: what is done there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    /// What it runs, as far as this job saw it.
    pub sha: Option<Sha>,
    /// What it ran before.
    pub previous_sha: Option<Sha>,
    /// What went wrong.
    pub error: Option<String>,
    /// Whether that is somebody else's lock.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
}

impl JobView {
    /// The job as the API gives it.
    pub fn of(job: &JobState) -> Self {
        let (state, reason) = state_of(job);
        let newest = job.causes.iter().max_by_key(|c| c.plan);
        let commit = job.commit();
        let causes = job.causes.iter().map(|c| CauseView {
            event: c.plan,
            why: match &c.why {
                Why::OwnPush { .. } => "own-push",
                Why::Dependency => "dependency",
                Why::Asked { .. } => "asked",
                Why::Rollout(carried) => carried.because.word(),
            }
            .to_owned(),
            targets: c.targets.clone(),
            dropped: c.dropped.clone(),
        });
        let steps = job.steps.iter().map(|s| StepView {
            name: s.step.clone(),
            state: s.state,
            attempt: s.attempt,
            started_at: s.started_at,
            finished_at: s.finished_at,
            exit_code: s.exit_code,
            error: s.error.clone(),
        });
        let hosts = job.hosts.iter().map(|h| HostView {
            name: h.name.clone(),
            environment: job.app.environment_of(&h.name).map(|environment| environment.name.clone()),
            state: h.state,
            doing: doing(h).map(str::to_owned),
            sha: match h.state {
                Progress::Done => commit,
                Progress::RolledBack => h.previous,
                _ => None,
            },
            previous_sha: h.previous,
            error: h.error.clone(),
            locked: h.locked,
        });
        let mut waits_for: Vec<JobId> =
            if job.started { Vec::new() } else { job.live_causes().flat_map(|c| c.after.iter().copied()).collect() };
        waits_for.sort();
        waits_for.dedup();
        Self {
            id: job.id,
            kind: "app".to_owned(),
            app: job.app.name.clone(),
            state: state.to_owned(),
            reason,
            event: newest.map_or(job.id.event, |c| c.plan),
            causes: causes.collect(),
            wave: newest.map_or(0, |c| c.wave),
            waits_for,
            branch: job.base.as_ref().map(|(branch, _)| branch.clone()),
            sha: commit,
            previous_sha: job.base.as_ref().map(|(_, sha)| *sha),
            created_at: job.created_at,
            finished_at: job.ended.as_ref().map(|(at, _, _)| *at),
            steps: steps.collect(),
            hosts: hosts.collect(),
            environments: names(job.app.environments_of(job.hosts.iter().map(|host| &host.name))),
            bumps: job.updated.as_ref().map(|u| u.bumps.clone()).unwrap_or_default(),
            narrowed: job.narrowed.clone(),
            of: job.carried().map(|carried| carried.of),
            seq: job.seq,
        }
    }
    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.finished_at.is_some()
    }
}

fn names(environments: Vec<&Environment>) -> Vec<EnvName> {
    environments.into_iter().map(|environment| environment.name.clone()).collect()
}

/// What is done on a host, if anything is.
fn doing(host: &HostState) -> Option<&'static str> {
    if host.state == Progress::Pending {
        return host.prepared.map(|done| if done { "prepared" } else { "preparing" });
    }
    let doing = match (&host.back, &host.restarting) {
        (Some(back), _) if back.restarting => "restarting what it ran, until healthy",
        (Some(_), _) => "going back to what it ran",
        (None, Some(_)) => "restarting, until healthy",
        (None, None) => "getting the commit",
    };
    (host.state == Progress::Running).then_some(doing)
}

/// A job's state in the API's word, and why. What lists, counts and metrics say of a job is this.
pub fn state_of(job: &JobState) -> (&'static str, Option<String>) {
    if let Some((_, outcome, reason)) = &job.ended {
        return (outcome.as_str(), Some(reason.clone()));
    }
    if let Some(by) = &job.canceling {
        return ("running", Some(format!("being canceled by {by}")));
    }
    if let Some(request) = job.requested.as_ref().filter(|_| job.waits_for_merge()) {
        return ("waiting", Some(format!("for pull request {}: {}", request.number, request.url)));
    }
    if let Some((_, waiting)) = job.waiting.as_ref().filter(|_| job.ended.is_none()) {
        return ("waiting", Some(waiting.to_string()));
    }
    if job.started {
        return ("running", job.running_step().map(|s| format!("in {}", s.step)));
    }
    if job.live_causes().any(|cause| !cause.after.is_empty()) {
        return ("waiting", Some("for the apps that it depends on".to_owned()));
    }
    ("queued", Some("for its turn".to_owned()))
}

/// A page of jobs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// What to give as `before=` for the next page.
    pub next: Option<JobId>,
}

/// An app as deploy.edn has it, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppView {
    /// Its name.
    pub name: AppName,
    /// Its repository.
    pub git_url: RepoUrl,
    /// Its branch, where deploy.edn names one.
    pub branch: Option<Branch>,
    /// Its folder in the repository, where that is not the root.
    #[serde(default)]
    pub directory: Option<String>,
    /// Whether its git dependencies are bumped.
    pub update: bool,
    /// What starts a job.
    pub trigger: Trigger,
    /// Its hosts.
    pub hosts: Vec<HostName>,
    /// Its environments, in order; none where its hosts are one group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<EnvironmentView>,
    /// The repositories that it depends on, as far as known.
    pub depends_on: Vec<RepoId>,
    /// The urls of those that its deps.edn names by one of ssh, as far as known.
    #[serde(default)]
    pub depends_on_ssh: Vec<RepoUrl>,
    /// What of it is held: it, and libraries of it.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// How its repository was last heard of.
    #[serde(default)]
    pub last_seen: Option<LastSeenView>,
    /// Its newest job.
    pub last_job: Option<JobId>,
    /// That job's state.
    pub last_state: Option<String>,
}

/// A body for `POST /plans`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanQuery {
    /// A repository's url, identity (`github.com/acme/snow`), or the name of an app.
    pub repo: String,
    /// The branch; the default branch if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// The commit that would be pushed: its digits, the first of them, or a tag of it. Whatever it may be if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
}

/// What a push would set in motion. Nothing of it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// The repository.
    pub repo: RepoId,
    /// The apps in the order they would run.
    pub apps: Vec<PlannedView>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// One app of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedView {
    /// The app.
    pub app: AppName,
    /// Its wave.
    pub wave: u16,
    /// The apps whose commits it waits for.
    pub after: Vec<AppName>,
    /// Why it would run.
    pub why: String,
    /// Where it would be rolled out to.
    pub hosts: Vec<HostName>,
    /// The environments of these, in order; none where the app has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<EnvName>,
    /// The job that has not started and would take this on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<JobId>,
    /// The lines that would change.
    #[serde(default)]
    pub bumps: Vec<PlannedBump>,
    /// Coordinates of what moves that would stay.
    #[serde(default)]
    pub kept: Vec<KeptView>,
    /// What tools.deps would refuse of it, so that its job fails before it builds.
    #[serde(default)]
    pub refused: Vec<String>,
}

/// A line that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBump {
    /// The library, as the file has it.
    pub lib: String,
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// What stands there: a sha or a tag.
    pub from: String,
    /// What would: a sha, a tag, or in words what is not there yet.
    pub to: String,
}

/// A coordinate that would stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptView {
    /// The library, as the file has it.
    pub lib: String,
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// What an action that starts a job answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The event that was made.
    pub event: EventId,
    /// The job that it made or joined.
    pub job: JobId,
    /// Whether it joined a job that was there and had not started.
    pub joined: bool,
    /// Jobs of the app that were canceled for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canceled: Vec<JobId>,
    /// What a person should know, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl AppView {
    /// The app without what only the store knows.
    pub fn of(app: &App) -> Self {
        Self {
            name: app.name.clone(),
            git_url: app.git_url.clone(),
            branch: app.branch.clone(),
            directory: app.updates.directory.clone(),
            update: app.update,
            trigger: app.trigger,
            hosts: app.hosts.iter().map(|h| h.name.clone()).collect(),
            environments: app.environments.iter().map(EnvironmentView::of).collect(),
            depends_on: Vec::new(),
            depends_on_ssh: Vec::new(),
            holds: Vec::new(),
            last_seen: None,
            last_job: None,
            last_state: None,
        }
    }
}
