//! A job's journal: the entries, the words for its steps and its end. What they add up to is `fold`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::app::App;
use super::bump::Bump;
use super::id::{JobId, PlanId};
use super::names::{Branch, FileSum, HostName, InvalidName, Sha};
use super::plan::{TagTarget, Target, Why};
use super::progress::{Narrowed, Request};
use super::window::Waiting;

/// How a job ended. Final is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every host reports the sha and is healthy.
    Succeeded,
    /// There was nothing to do.
    Unchanged,
    /// Some hosts run the new commit, and some do not.
    Partial,
    /// Hosts that were changed are back at what they ran.
    RolledBack,
    /// It ended before any host was done.
    Failed,
    /// A person ended it, or its app was taken away.
    Canceled,
    /// What it waited for failed, or something newer has taken its place: also where it had brought its commit to some hosts.
    Skipped,
    /// Its journal can't be read; it holds its app until a person looks.
    Parked,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 8] = [
        Outcome::Succeeded,
        Outcome::Unchanged,
        Outcome::Partial,
        Outcome::RolledBack,
        Outcome::Failed,
        Outcome::Canceled,
        Outcome::Skipped,
        Outcome::Parked,
    ];
    /// Its word everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Unchanged => "unchanged",
            Outcome::Partial => "partial",
            Outcome::RolledBack => "rolled-back",
            Outcome::Failed => "failed",
            Outcome::Canceled => "canceled",
            Outcome::Skipped => "skipped",
            Outcome::Parked => "parked",
        }
    }
    /// Whether nothing is left to be done for the event.
    pub fn is_well(self) -> bool {
        matches!(self, Outcome::Succeeded | Outcome::Unchanged)
    }
}

/// A step of a job. Written `prepare`, `update`, `build` or `build/NAME`, `publish`, `rollout`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Step {
    /// Look at remotes, mirrors and hosts; choose the commit to stand on.
    Prepare,
    /// Edit deps.edn and commit in a private clone.
    Update,
    /// Run one command of the build there.
    Build(Option<String>),
    /// Push the commit.
    Publish,
    /// Bring it to the hosts.
    Rollout,
}

impl Step {
    /// The steps of `app`'s jobs, in order.
    pub fn all(app: &App) -> Vec<Step> {
        let mut steps = vec![Step::Prepare, Step::Update];
        steps.extend(app.build.iter().map(|b| Step::Build(b.name.clone())));
        steps.push(Step::Publish);
        if !app.hosts.is_empty() {
            steps.push(Step::Rollout);
        }
        steps
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Prepare => f.pad("prepare"),
            Step::Update => f.pad("update"),
            Step::Build(None) => f.pad("build"),
            Step::Build(Some(name)) => f.pad(&format!("build/{name}")),
            Step::Publish => f.pad("publish"),
            Step::Rollout => f.pad("rollout"),
        }
    }
}
impl From<Step> for String {
    fn from(step: Step) -> String {
        step.to_string()
    }
}
impl TryFrom<String> for Step {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Ok(match text.as_str() {
            "prepare" => Step::Prepare,
            "update" => Step::Update,
            "build" => Step::Build(None),
            "publish" => Step::Publish,
            "rollout" => Step::Rollout,
            other => match other.strip_prefix("build/") {
                Some(name) if !name.is_empty() => Step::Build(Some(name.to_owned())),
                _ => {
                    return Err(InvalidName::new(
                        "step",
                        other,
                        "it is none of prepare, update, build, publish, rollout",
                    ));
                }
            },
        })
    }
}

/// How a step ended, this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum StepResult {
    /// Its effect is there.
    Done,
    /// There was nothing for it to do.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It failed.
    Failed {
        /// What happened, to what, and what to do next.
        error: String,
        /// A build's exit code, where it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Whether it will be tried again.
        retry: bool,
    },
}

/// How a host ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum HostResult {
    /// It reports the sha and is healthy.
    Done {
        /// Whether anything was changed to get there.
        changed: bool,
    },
    /// It could be reached, and failed.
    Failed {
        /// What happened, with the unit's last lines.
        error: String,
    },
    /// It could be reached, and was left as it was.
    Refused {
        /// Why.
        error: String,
        /// Whether somebody else holds its lock.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        locked: bool,
    },
    /// It could not be reached.
    Unreachable {
        /// In the transport's words.
        error: String,
    },
    /// It was not its turn any more.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It is back at what it ran, and healthy.
    RolledBack,
    /// It failed before the new instance had a request, and is what it was, whatever becomes of the others.
    PutBack {
        /// What happened, with the unit's last lines.
        error: String,
    },
}

/// Why a job is there: one plan's reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The plan, and so the event.
    pub plan: PlanId,
    /// When the event was accepted.
    pub at: Timestamp,
    /// Why the app was in that plan.
    pub why: Why,
    /// Its wave there.
    pub wave: u16,
    /// The jobs whose published commits it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<JobId>,
    /// Repositories that moved and that it depends on directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Tags that are new and that it follows directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagTarget>,
    /// Set when an upstream of that plan failed: the cause no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

/// One transition of a job. Each is on disk before the next thing happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The first: what it is for. The app is as deploy.edn had it then.
    Created {
        /// The app's entry.
        app: Box<App>,
        /// Why it is there.
        cause: Cause,
    },
    /// A newer event wants the same, before it started.
    Joined {
        /// The app's entry at the newer plan.
        app: Box<App>,
        /// The newer reason.
        cause: Cause,
    },
    /// An upstream of that plan failed.
    CauseDropped {
        /// The plan.
        plan: PlanId,
        /// What failed.
        reason: String,
    },
    /// It has its lease and its slot.
    Started,
    /// The daemon found it under way when it started.
    Resumed,
    /// A step begins.
    StepStarted {
        /// Which.
        step: Step,
    },
    /// Prepare's result: the commit that all else stands on.
    Based {
        /// The app's branch.
        branch: Branch,
        /// Its head.
        sha: Sha,
    },
    /// A part of update's bumps: so many that one row would be too long. `Updated` follows in the same write.
    Bumped {
        /// The next of them.
        bumps: Vec<Bump>,
    },
    /// Update's result. `commit` is the base itself where there was nothing to bump.
    Updated {
        /// The commit to build.
        commit: Sha,
        /// Its tree: what was built is told by this.
        tree: String,
        /// The commit's time.
        time: Timestamp,
        /// What was changed, but for what `Bumped` told.
        bumps: Vec<Bump>,
    },
    /// What update left alone though it moved, or though what it followed is no more.
    LeftAlone {
        /// Why, in words.
        why: String,
    },
    /// A build failed, and which commit of a dependency broke it was found: update begins again with the last good one.
    Narrowed(Narrowed),
    /// Someone was faster: update, build and publish begin again on their head.
    Raced {
        /// The remote's head.
        head: Sha,
    },
    /// The push is about to be made.
    Publishing {
        /// What is pushed.
        commit: Sha,
    },
    /// A pull request carries it. Again: it was changed.
    Requested(Request),
    /// The pull request was merged: what the branch has of it.
    Merged {
        /// A commit with the tree that was built.
        commit: Sha,
    },
    /// The remote has it.
    Published {
        /// What it has.
        commit: Sha,
    },
    /// A step ended.
    StepFinished {
        /// Which.
        step: Step,
        /// How.
        result: StepResult,
    },
    /// A host's turn begins; what it ran is noted before anything changes.
    HostStarted {
        /// Which.
        host: HostName,
        /// What its working directory had.
        previous: Option<Sha>,
        /// And which file of it, where that is one of a build's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sum: Option<FileSum>,
    },
    /// Its tree is at the commit, and its unit is about to be restarted.
    HostRestarting {
        /// Which.
        host: HostName,
        /// The unit's InvocationID before: another one means that the restart happened.
        invocation: Option<String>,
    },
    /// Too many hosts failed: those that were changed go back to what they ran.
    RollingBack {
        /// What failed.
        reason: String,
    },
    /// A host's way back begins; what it is restarted for from here on is what it ran before.
    HostReturning {
        /// Which.
        host: HostName,
    },
    /// A host's turn ended, or its way back.
    HostFinished {
        /// Which.
        host: HostName,
        /// How.
        result: HostResult,
    },
    /// A person asked for its end.
    Canceling {
        /// Who.
        by: String,
    },
    /// The last.
    Ended {
        /// How.
        outcome: Outcome,
        /// Why, in words.
        reason: String,
    },
    /// What the app runs by on a host is about to be replaced: unit, sites, credentials. The host keeps what was there.
    HostInstalling {
        /// Which.
        host: HostName,
    },
    /// `:prepare` is about to run on a host, beside what that runs.
    HostPreparing {
        /// Which.
        host: HostName,
    },
    /// It did well there.
    HostPrepared {
        /// Which.
        host: HostName,
    },
    /// `:migrate` is about to run on a host: at most once a job, or once for each environment of it.
    Migrating {
        /// Which.
        host: HostName,
    },
    /// It did well.
    Migrated {
        /// On which.
        host: HostName,
    },
    /// Nobody asked for it now: its rollout goes on when a window opens.
    Waiting(Waiting),
    /// Which file hosts get of its commit: one that its build made, and that is kept, or the one that they all run.
    Artifact {
        /// Its sha256.
        sum: FileSum,
    },
}

impl Entry {
    /// Its word in journals and events.
    pub fn word(&self) -> &'static str {
        match self {
            Entry::Created { .. } => "created",
            Entry::Joined { .. } => "joined",
            Entry::CauseDropped { .. } => "cause-dropped",
            Entry::Started => "started",
            Entry::Resumed => "resumed",
            Entry::StepStarted { .. } => "step-started",
            Entry::Based { .. } => "based",
            Entry::Bumped { .. } => "bumped",
            Entry::Updated { .. } => "updated",
            Entry::LeftAlone { .. } => "left-alone",
            Entry::Narrowed(_) => "narrowed",
            Entry::Raced { .. } => "raced",
            Entry::Publishing { .. } => "publishing",
            Entry::Requested(_) => "requested",
            Entry::Merged { .. } => "merged",
            Entry::Published { .. } => "published",
            Entry::StepFinished { .. } => "step-finished",
            Entry::HostStarted { .. } => "host-started",
            Entry::HostRestarting { .. } => "host-restarting",
            Entry::RollingBack { .. } => "rolling-back",
            Entry::HostReturning { .. } => "host-returning",
            Entry::HostFinished { .. } => "host-finished",
            Entry::Canceling { .. } => "canceling",
            Entry::Ended { .. } => "ended",
            Entry::HostInstalling { .. } => "host-installing",
            Entry::HostPreparing { .. } => "host-preparing",
            Entry::HostPrepared { .. } => "host-prepared",
            Entry::Migrating { .. } => "migrating",
            Entry::Migrated { .. } => "migrated",
            Entry::Waiting(_) => "waiting",
            Entry::Artifact { .. } => "artifact",
        }
    }

    /// The entry with its errors and reasons cut to `longest` bytes: what was said first and what was said last.
    pub fn with_short_texts(mut self, longest: usize) -> Self {
        let text = match &mut self {
            Entry::StepFinished { result: StepResult::Failed { error: text, .. }, .. }
            | Entry::StepFinished { result: StepResult::Skipped { reason: text }, .. }
            | Entry::HostFinished { result: HostResult::Failed { error: text }, .. }
            | Entry::HostFinished { result: HostResult::Refused { error: text, .. }, .. }
            | Entry::HostFinished { result: HostResult::PutBack { error: text }, .. }
            | Entry::HostFinished { result: HostResult::Unreachable { error: text }, .. }
            | Entry::RollingBack { reason: text }
            | Entry::HostFinished { result: HostResult::Skipped { reason: text }, .. }
            | Entry::CauseDropped { reason: text, .. }
            | Entry::LeftAlone { why: text }
            | Entry::Canceling { by: text }
            | Entry::Ended { reason: text, .. } => text,
            _ => return self,
        };
        if text.len() > longest {
            let whole = |at: &usize| text.is_char_boundary(*at);
            let head = (0..=longest / 3).rev().find(whole).unwrap_or(0);
            let tail = (text.len() - longest / 2..text.len()).find(whole).unwrap_or(text.len());
            *text = format!("{} […] {}", &text[..head], &text[tail..]);
        }
        self
    }
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The format's version.
    pub v: u8,
    /// When, by the wall clock: for people, not for order.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub entry: Entry,
}

/// The version of `Record` that this daemon writes.
pub const RECORD_VERSION: u8 = 1;
