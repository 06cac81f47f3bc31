//! What a job's entries add up to. `JobState::apply` is the only way a state comes about; an entry that can't follow
//! those before it is refused, when it is written and when it is read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::app::App;
use super::bump::Bump;
use super::id::JobId;
use super::job::{Cause, Entry, Outcome, RECORD_VERSION, Record, Step, StepResult};
use super::names::{Branch, FileSum, HostName, Sha};
use super::plan::Why;
use super::progress::{HostState, Migration, Narrowed, Progress, Request, StepState, Updated};
use super::window::Waiting;

mod hosts;
mod layout;
mod meaning;

/// An entry that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The journal does not begin as it must.
    #[error("a journal begins with `created`, once")]
    NotCreated,
    /// Something was written after the end.
    #[error("the job has ended as {}: final is final", .0.as_str())]
    Ended(Outcome),
    /// The job has started, so it can't gain or lose causes; or has not, so it can't work.
    #[error("`{entry}` can't follow: the job has{} started", if *.started { "" } else { " not" })]
    Start {
        /// The entry's word.
        entry: &'static str,
        /// Whether it has.
        started: bool,
    },
    /// A step out of order.
    #[error("`{entry}` can't follow: {why}")]
    Order {
        /// The entry's word.
        entry: &'static str,
        /// Which order it breaks.
        why: String,
    },
    /// A newer daemon wrote it.
    #[error("entry version {0} is newer than this daemon's {RECORD_VERSION}: run the daemon that wrote it")]
    Version(u8),
}

/// A job, as its entries make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// Which.
    pub id: JobId,
    /// Its app's entry in deploy.edn, as the newest of its plans had it.
    pub app: App,
    /// Why it is there, in the order the reasons came.
    pub causes: Vec<Cause>,
    /// When its first entry was written.
    pub created_at: Timestamp,
    /// Whether it has had its lease and slot.
    pub started: bool,
    /// When it ended, and how and why.
    pub ended: Option<(Timestamp, Outcome, String)>,
    /// Its steps, in order.
    pub steps: Vec<StepState>,
    /// Its hosts, in order.
    pub hosts: Vec<HostState>,
    /// The branch and the commit that it stands on.
    pub base: Option<(Branch, Sha)>,
    /// The bumps that were told ahead of `updated`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bumped: Vec<Bump>,
    /// What update made of it.
    pub updated: Option<Updated>,
    /// What update left alone, and why, where that is for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<String>,
    /// How far dependencies may move, after builds that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrowed: Vec<Narrowed>,
    /// The tree that was built.
    pub built: Option<String>,
    /// The file that was made of it for hosts (`:artifact`), or the one that it brings to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<FileSum>,
    /// The pull request that carries the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Request>,
    /// What the remote has from us, or has had all along.
    pub published: Option<Sha>,
    /// The runs of `:migrate` that have begun: at most one, or one an environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migration>,
    /// The window that its rollout waits for, and since when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<(Timestamp, Waiting)>,
    /// Why the hosts that it changed go back to what they ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_back: Option<String>,
    /// Who asked for its end.
    pub canceling: Option<String>,
    /// How often the daemon found it under way, since a step last ended.
    pub interruptions: u32,
    /// How often someone was faster.
    pub races: u32,
    /// How many entries there are.
    pub seq: u64,
}

impl JobState {
    /// The state after the first entry, which must be `Created`.
    pub fn create(id: JobId, record: &Record) -> Result<Self, FoldError> {
        check_version(record)?;
        let Entry::Created { app, cause } = &record.entry else { return Err(FoldError::NotCreated) };
        Ok(Self::new(id, (**app).clone(), cause.clone(), record.at))
    }

    /// What stands for a job whose first entry is lost: the store parks it.
    pub fn unreadable(id: JobId, app: App, cause: Cause) -> Self {
        let at = cause.at;
        Self::new(id, app, cause, at)
    }

    fn new(id: JobId, app: App, cause: Cause, created_at: Timestamp) -> Self {
        let mut state = Self {
            id,
            app,
            causes: vec![cause],
            created_at,
            started: false,
            ended: None,
            steps: Vec::new(),
            hosts: Vec::new(),
            base: None,
            bumped: Vec::new(),
            updated: None,
            left_alone: None,
            narrowed: Vec::new(),
            built: None,
            sum: None,
            requested: None,
            published: None,
            migrations: Vec::new(),
            waiting: None,
            rolling_back: None,
            canceling: None,
            interruptions: 0,
            races: 0,
            seq: 1,
        };
        state.lay_out();
        state
    }

    /// Folds a whole journal.
    pub fn of<'a>(id: JobId, records: impl IntoIterator<Item = &'a Record>) -> Result<Self, FoldError> {
        let mut records = records.into_iter();
        let mut state = Self::create(id, records.next().ok_or(FoldError::NotCreated)?)?;
        for record in records {
            state.apply(record)?;
        }
        Ok(state)
    }

    /// The next entry. On an error the state is as it was.
    pub fn apply(&mut self, record: &Record) -> Result<(), FoldError> {
        check_version(record)?;
        if let Some((_, outcome, _)) = &self.ended {
            return Err(FoldError::Ended(*outcome));
        }
        let at = record.at;
        match &record.entry {
            Entry::Created { .. } => return Err(FoldError::NotCreated),
            Entry::Joined { app, cause } => {
                self.must_be_started(false, "joined")?;
                if app.name != self.app.name {
                    return Err(order("joined", format!("the job is {}'s, not {}'s", self.app.name, app.name)));
                }
                if self.carried().is_some() || matches!(cause.why, Why::Rollout(_)) {
                    return Err(order("joined", "a rollout without a build is a job of its own".into()));
                }
                if self.causes.iter().any(|c| c.plan == cause.plan) {
                    return Err(order("joined", format!("the job is in plan {} already", cause.plan)));
                }
                self.app = (**app).clone();
                self.causes.push(cause.clone());
                self.lay_out();
            }
            Entry::CauseDropped { plan, reason } => {
                self.must_be_started(false, "cause-dropped")?;
                let cause = self.causes.iter_mut().find(|c| c.plan == *plan && c.dropped.is_none());
                let cause = cause.ok_or_else(|| order("cause-dropped", "the job has no such cause".into()))?;
                cause.dropped = Some(reason.clone());
            }
            Entry::Started => {
                self.must_be_started(false, "started")?;
                if self.live_causes().next().is_none() {
                    return Err(order("started", "no cause is left".into()));
                }
                self.started = true;
            }
            Entry::Resumed => {
                self.must_be_started(true, "resumed")?;
                // Who waits for people sees many restarts.
                self.interruptions += u32::from(!self.lets_others());
                // Half a build is none: what it left in its clone is not to be trusted.
                let builds = || self.steps.iter().filter(|s| matches!(s.step, Step::Build(_)));
                if builds().any(|s| !s.state.is_settled_well()) {
                    for step in self.steps.iter_mut().filter(|s| matches!(s.step, Step::Build(_))) {
                        step.state = Progress::Pending;
                    }
                }
            }
            Entry::StepStarted { step } => self.start_step(step, at)?,
            Entry::StepFinished { step, result } => self.finish_step(step, result, at)?,
            Entry::Based { branch, sha } => {
                self.must_run("based", &Step::Prepare)?;
                self.base = Some((branch.clone(), *sha));
            }
            Entry::Bumped { bumps } => {
                self.must_run("bumped", &Step::Update)?;
                self.bumped.extend_from_slice(bumps);
            }
            Entry::Updated { commit, tree, time, bumps } => {
                self.must_run("updated", &Step::Update)?;
                let bumps = [std::mem::take(&mut self.bumped), bumps.clone()].concat();
                self.updated = Some(Updated { commit: *commit, tree: tree.clone(), time: *time, bumps });
            }
            Entry::LeftAlone { why } => {
                self.must_run("left-alone", &Step::Update)?;
                self.left_alone = Some(why.clone());
            }
            Entry::Narrowed(narrowed) => {
                self.must_be_started(true, "narrowed")?;
                let failed = |s: &StepState| matches!(s.step, Step::Build(_)) && s.state == Progress::Failed;
                let begun = |s: &StepState| s.step == Step::Update && s.state == Progress::Pending;
                let is_more = !self.narrowed.is_empty() && self.updated.is_none() && self.steps.iter().any(begun);
                if !self.steps.iter().any(failed) && !is_more {
                    return Err(order("narrowed", "no build has failed".into()));
                }
                self.narrowed.push(narrowed.clone());
                self.update_again();
            }
            Entry::Raced { head } => {
                self.must_run("raced", &Step::Publish)?;
                if let Some((_, sha)) = &mut self.base {
                    *sha = *head;
                }
                (self.requested, self.published) = (None, None);
                self.races += 1;
                self.update_again();
            }
            Entry::Publishing { commit } => {
                self.must_run("publishing", &Step::Publish)?;
                if self.updated.as_ref().map(|u| u.commit) != Some(*commit) {
                    return Err(order("publishing", "it is not the commit that was built".into()));
                }
            }
            Entry::Requested(request) => {
                self.must_run("requested", &Step::Publish)?;
                if self.updated.as_ref().map(|u| u.commit) != Some(request.commit) {
                    return Err(order("requested", "it is not the commit that was built".into()));
                }
                self.requested = Some(request.clone());
            }
            Entry::Merged { commit } => {
                self.must_run("merged", &Step::Publish)?;
                if self.requested.is_none() {
                    return Err(order("merged", "there is no pull request".into()));
                }
                self.published = Some(*commit);
            }
            Entry::Published { commit } => {
                self.must_be_started(true, "published")?;
                if self.updated.as_ref().map(|u| u.commit) != Some(*commit) {
                    return Err(order("published", "it is not the commit that was built".into()));
                }
                // The remote has had the base all along.
                if self.base.as_ref().map(|(_, sha)| sha) != Some(commit) {
                    self.must_run("published", &Step::Publish)?;
                }
                self.published = Some(*commit);
            }
            Entry::HostStarted { host, previous, sum } => self.start_host(host, *previous, sum)?,
            Entry::HostRestarting { host, invocation } => self.restart_host(host, invocation)?,
            Entry::HostInstalling { host } => self.install_host(host)?,
            Entry::HostPreparing { host } => self.prepare_host("host-preparing", host, false)?,
            Entry::HostPrepared { host } => self.prepare_host("host-prepared", host, true)?,
            Entry::Migrating { host } => {
                self.begin_migration(host)?;
                self.waiting = None;
            }
            Entry::Migrated { host } => self.end_migration(host)?,
            Entry::RollingBack { reason } => self.roll_back(reason)?,
            Entry::HostReturning { host } => self.return_host(host)?,
            Entry::HostFinished { host, result } => self.finish_host(host, result)?,
            Entry::Waiting(waiting) => {
                self.must_run("waiting", &Step::Rollout)?;
                let since = self.waiting.take().map_or(at, |(since, _)| since);
                self.waiting = Some((since, waiting.clone()));
            }
            Entry::Artifact { sum } => {
                let is_its_time = |running: &StepState| matches!(running.step, Step::Update | Step::Build(_));
                if !self.running_step().is_some_and(is_its_time) {
                    return Err(order("artifact", "neither update nor a build is under way".into()));
                }
                self.sum = Some(sum.clone());
            }
            Entry::Canceling { by } => self.canceling = Some(by.clone()),
            Entry::Ended { outcome, reason } => {
                if *outcome == Outcome::Parked {
                    return Err(order("ended", "only a journal that can't be read is parked".into()));
                }
                if outcome.is_well() {
                    let failed = |p: Progress| matches!(p, Progress::Failed | Progress::Unreachable);
                    if self.steps.iter().any(|s| failed(s.state)) || self.hosts.iter().any(|h| failed(h.state)) {
                        return Err(order("ended", format!("something failed, so it is not {}", outcome.as_str())));
                    }
                }
                if *outcome == Outcome::Unchanged
                    && let Some(host) = self.hosts.iter().find(|h| h.changed)
                {
                    return Err(order("ended", format!("{} was changed, so it is not unchanged", host.name)));
                }
                if *outcome == Outcome::Succeeded {
                    self.must_be_started(true, "ended")?;
                    if let Some(step) = self.steps.iter().find(|s| !s.state.is_settled_well()) {
                        return Err(order("ended", format!("{} is not done, so it has not succeeded", step.step)));
                    }
                    if let Some(host) = self.hosts.iter().find(|h| h.state != Progress::Done) {
                        return Err(order("ended", format!("{} is not done, so it has not succeeded", host.name)));
                    }
                }
                for step in self.steps.iter_mut().filter(|s| s.state == Progress::Pending) {
                    step.state = Progress::Skipped;
                }
                for step in self.steps.iter_mut().filter(|s| s.state == Progress::Running) {
                    step.state = Progress::Failed;
                    step.finished_at = Some(at);
                    step.error = Some(reason.clone());
                }
                for host in self.hosts.iter_mut().filter(|h| h.state == Progress::Pending) {
                    host.state = Progress::Skipped;
                }
                for host in self.hosts.iter_mut().filter(|h| h.state == Progress::Running) {
                    host.state = Progress::Failed;
                    host.error = Some(reason.clone());
                }
                self.waiting = None;
                self.ended = Some((at, *outcome, reason.clone()));
            }
        }
        self.seq += 1;
        Ok(())
    }

    /// The causes that still count.
    pub fn live_causes(&self) -> impl Iterator<Item = &Cause> {
        self.causes.iter().filter(|c| c.dropped.is_none())
    }
    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.ended.as_ref().map(|(_, outcome, _)| *outcome)
    }
    /// The step that is under way.
    pub fn running_step(&self) -> Option<&StepState> {
        self.steps.iter().find(|s| s.state == Progress::Running)
    }
    /// A step's state.
    pub fn step(&self, step: &Step) -> Option<&StepState> {
        self.steps.iter().find(|s| s.step == *step)
    }
    /// A host's state.
    pub fn host(&self, name: &HostName) -> Option<&HostState> {
        self.hosts.iter().find(|h| h.name == *name)
    }
    /// The commit that it builds and rolls out, once it is known.
    pub fn commit(&self) -> Option<Sha> {
        self.published.or(self.updated.as_ref().map(|u| u.commit))
    }
    /// When the newest of its events was accepted.
    pub fn event_time(&self) -> Timestamp {
        self.live_causes().map(|c| c.at).max().unwrap_or(self.created_at)
    }

    /// All between prepare and rollout begins again.
    fn update_again(&mut self) {
        self.updated = None;
        for step in &mut self.steps {
            if !matches!(step.step, Step::Prepare | Step::Rollout) {
                step.state = Progress::Pending;
            }
        }
    }

    fn start_step(&mut self, step: &Step, at: Timestamp) -> Result<(), FoldError> {
        self.must_be_started(true, "step-started")?;
        let index = self.index("step-started", step)?;
        if let Some(earlier) = self.steps[..index].iter().find(|s| !s.state.is_settled_well()) {
            return Err(order("step-started", format!("{} is not done", earlier.step)));
        }
        if self.steps[index].state.is_settled_well() {
            return Err(order("step-started", format!("{step} is done")));
        }
        if *step == Step::Update {
            self.bumped.clear();
            self.left_alone = None;
        }
        let state = &mut self.steps[index];
        state.state = Progress::Running;
        state.attempt += 1;
        state.started_at = Some(at);
        state.finished_at = None;
        state.error = None;
        state.exit_code = None;
        Ok(())
    }

    fn finish_step(&mut self, step: &Step, result: &StepResult, at: Timestamp) -> Result<(), FoldError> {
        self.must_be_started(true, "step-finished")?;
        let index = self.index("step-finished", step)?;
        if self.steps[index].state != Progress::Running {
            return Err(order("step-finished", format!("{step} is not under way")));
        }
        let missing = match (step, result) {
            (_, StepResult::Failed { .. }) => None,
            (Step::Prepare, _) if self.base.is_none() => Some("no base is known"),
            (Step::Update, _) if self.updated.is_none() => Some("no commit is known"),
            (Step::Publish, _) if self.published.is_none() => Some("nothing was published"),
            (Step::Rollout, StepResult::Done) if self.hosts.iter().any(|h| h.state != Progress::Done) => {
                Some("a host is not done")
            }
            _ => None,
        };
        if let Some(why) = missing {
            return Err(order("step-finished", why.into()));
        }
        let state = &mut self.steps[index];
        state.finished_at = Some(at);
        (state.state, state.error) = match result {
            StepResult::Done => (Progress::Done, None),
            StepResult::Skipped { reason } => (Progress::Skipped, Some(reason.clone())),
            StepResult::Failed { error, exit_code, .. } => {
                state.errors += 1;
                state.exit_code = *exit_code;
                (Progress::Failed, Some(error.clone()))
            }
        };
        if matches!(step, Step::Build(_)) && state.state == Progress::Done {
            state.exit_code = Some(0);
            let all = self.steps.iter().filter(|s| matches!(s.step, Step::Build(_))).all(|s| s.state.is_settled_well());
            if all {
                self.built = self.updated.as_ref().map(|u| u.tree.clone());
            }
        }
        self.interruptions = 0;
        Ok(())
    }

    fn index(&self, entry: &'static str, step: &Step) -> Result<usize, FoldError> {
        let found = self.steps.iter().position(|s| s.step == *step);
        found.ok_or_else(|| order(entry, format!("the job has no step {step}")))
    }
    fn must_be_started(&self, want: bool, entry: &'static str) -> Result<(), FoldError> {
        if self.started == want { Ok(()) } else { Err(FoldError::Start { entry, started: self.started }) }
    }
    fn must_run(&self, entry: &'static str, step: &Step) -> Result<(), FoldError> {
        match self.running_step() {
            Some(running) if running.step == *step => Ok(()),
            _ => Err(order(entry, format!("{step} is not under way"))),
        }
    }
}

fn order(entry: &'static str, why: String) -> FoldError {
    FoldError::Order { entry, why }
}

fn check_version(record: &Record) -> Result<(), FoldError> {
    if record.v > RECORD_VERSION { Err(FoldError::Version(record.v)) } else { Ok(()) }
}
