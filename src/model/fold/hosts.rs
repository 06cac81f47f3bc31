//! What a host's entries do to its state. Must never let a host's turn end that has not begun its rollout.

use super::{FoldError, JobState, order};
use crate::model::job::{HostResult, Step};
use crate::model::names::{FileSum, HostName, Sha};
use crate::model::progress::{Back, HostState, Migration, Progress};

impl JobState {
    pub(super) fn start_host(
        &mut self,
        name: &HostName,
        previous: Option<Sha>,
        sum: &Option<FileSum>,
    ) -> Result<(), FoldError> {
        self.must_run("host-started", &Step::Rollout)?;
        let host = self.host_mut("host-started", name)?;
        // A second attempt finds what the first one put there: that is not what it ran before.
        if host.state != Progress::Running && host.previous.is_none() && host.restarting.is_none() {
            (host.previous, host.previous_sum) = (previous, sum.clone());
        }
        host.state = Progress::Running;
        host.touched = true;
        host.locked = false;
        host.error = None;
        // Its window is open: from here on it lets no other job have its app.
        self.waiting = None;
        Ok(())
    }

    pub(super) fn install_host(&mut self, name: &HostName) -> Result<(), FoldError> {
        self.must_run("host-installing", &Step::Rollout)?;
        let host = self.host_mut("host-installing", name)?;
        if host.state != Progress::Running || host.back.is_some() {
            return Err(order("host-installing", format!("{name}'s turn is not under way")));
        }
        host.installed = true;
        host.changed = true;
        Ok(())
    }

    pub(super) fn prepare_host(&mut self, entry: &'static str, name: &HostName, done: bool) -> Result<(), FoldError> {
        self.must_run(entry, &Step::Rollout)?;
        let host = self.host_mut(entry, name)?;
        if !matches!(host.state, Progress::Pending | Progress::Running) || host.prepared == Some(true) {
            return Err(order(entry, format!("{name} is past that")));
        }
        if done && host.prepared.is_none() {
            return Err(order(entry, format!("{name} has not begun that")));
        }
        host.prepared = Some(done);
        self.waiting = None;
        Ok(())
    }

    pub(super) fn begin_migration(&mut self, name: &HostName) -> Result<(), FoldError> {
        self.must_run("migrating", &Step::Rollout)?;
        let environment = |name: &HostName| self.app.environment_of(name).map(|environment| &environment.name);
        let is_beside = |other: &HostName| environment(other) == environment(name);
        if self.migrations.iter().any(|migration| is_beside(&migration.host)) {
            return Err(order("migrating", "it has begun before, and is not begun twice".into()));
        }
        if let Some(host) = self.hosts.iter().find(|host| host.touched && is_beside(&host.name)) {
            return Err(order("migrating", format!("{} was touched already", host.name)));
        }
        self.host_mut("migrating", name)?;
        self.migrations.push(Migration { host: name.clone(), done: false });
        Ok(())
    }

    pub(super) fn end_migration(&mut self, name: &HostName) -> Result<(), FoldError> {
        self.must_run("migrated", &Step::Rollout)?;
        match self.migrations.last_mut() {
            Some(migration) if migration.host == *name && !migration.done => migration.done = true,
            _ => return Err(order("migrated", format!("it is not under way on {name}"))),
        }
        self.interruptions = 0;
        Ok(())
    }

    pub(super) fn roll_back(&mut self, reason: &str) -> Result<(), FoldError> {
        self.must_run("rolling-back", &Step::Rollout)?;
        if self.rolling_back.is_some() {
            return Err(order("rolling-back", "it is under way".into()));
        }
        self.rolling_back = Some(reason.to_owned());
        Ok(())
    }

    pub(super) fn return_host(&mut self, name: &HostName) -> Result<(), FoldError> {
        self.must_run("host-returning", &Step::Rollout)?;
        if self.rolling_back.is_none() {
            return Err(order("host-returning", "nothing is rolled back".into()));
        }
        let host = self.host_mut("host-returning", name)?;
        if !host.touched {
            return Err(order("host-returning", format!("{name} is as it was")));
        }
        host.state = Progress::Running;
        host.back = Some(Back::default());
        Ok(())
    }

    pub(super) fn restart_host(&mut self, name: &HostName, invocation: &Option<String>) -> Result<(), FoldError> {
        self.must_run("host-restarting", &Step::Rollout)?;
        let host = self.host_mut("host-restarting", name)?;
        if host.state != Progress::Running {
            return Err(order("host-restarting", format!("{name}'s turn has not begun")));
        }
        match &mut host.back {
            Some(back) => *back = Back { restarting: true, invocation: invocation.clone() },
            None => host.restarting = Some(invocation.clone()),
        }
        host.changed = true;
        Ok(())
    }

    pub(super) fn finish_host(&mut self, name: &HostName, result: &HostResult) -> Result<(), FoldError> {
        self.must_run("host-finished", &Step::Rollout)?;
        let host = self.host_mut("host-finished", name)?;
        if host.state == Progress::Done && !matches!(result, HostResult::Done { .. }) {
            return Err(order("host-finished", format!("{name} is done")));
        }
        if *result == HostResult::RolledBack && (host.back.is_none() || host.state != Progress::Running) {
            return Err(order("host-finished", format!("{name} is not on its way back")));
        }
        let is_put_back = matches!(result, HostResult::PutBack { .. });
        if is_put_back && (host.back.is_some() || host.state != Progress::Running) {
            return Err(order("host-finished", format!("{name}'s turn is not under way")));
        }
        (host.state, host.error) = match result {
            HostResult::Done { changed } => {
                host.changed |= *changed;
                host.touched &= host.changed;
                (Progress::Done, None)
            }
            HostResult::Failed { error } => (Progress::Failed, Some(error.clone())),
            HostResult::Refused { error, locked } => {
                host.locked = *locked;
                // What an earlier attempt changed it does not undo.
                host.touched = host.changed;
                (Progress::Failed, Some(error.clone()))
            }
            HostResult::RolledBack => {
                host.touched = false;
                (Progress::RolledBack, host.error.take())
            }
            HostResult::PutBack { error } => {
                (host.changed, host.touched) = (false, false);
                (Progress::RolledBack, Some(error.clone()))
            }
            HostResult::Unreachable { error } => (Progress::Unreachable, Some(error.clone())),
            HostResult::Skipped { reason } => (Progress::Skipped, Some(reason.clone())),
        };
        self.interruptions = 0;
        self.waiting = None;
        Ok(())
    }

    fn host_mut(&mut self, entry: &'static str, name: &HostName) -> Result<&mut HostState, FoldError> {
        let found = self.hosts.iter_mut().find(|h| h.name == *name);
        found.ok_or_else(|| order(entry, format!("the job has no host {name}")))
    }
}
