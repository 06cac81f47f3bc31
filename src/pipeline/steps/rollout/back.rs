//! The way back: hosts that a rollout changed and that go back to what they ran, since too many of it failed.
//!
//! Idempotent like a turn: the way back is journaled before anything moves, and its restart with the unit's InvocationID.
//! Nobody cancels it; the daemon's end leaves it where it is, and the next daemon goes on.

use super::super::{StepError, Work};
use super::turn::{Cut, Turn, Way, close_log, open_log};
use crate::host::HostState;
use crate::model::{Entry, Host, HostResult, Progress, Sha};

/// Brings one host back.
pub(super) async fn back(work: &Work, host: &Host) -> Result<HostResult, StepError> {
    let log = open_log(work, host).await?;
    let state = work.inner.store.job(work.job.id)?.and_then(|job| job.host(&host.name).cloned());
    let was = state.as_ref().and_then(|state| state.error.clone());
    let after = |said: String| match &was {
        Some(was) => format!("{was}; on the way back: {said}"),
        None => format!("on the way back: {said}"),
    };
    if !state.as_ref().is_some_and(|state| state.back.is_some() && state.state == Progress::Running) {
        work.inner.store.append(work.job.id, vec![Entry::HostReturning { host: host.name.clone() }]).await?;
    }
    let result = match state.and_then(|state| state.previous).filter(|previous| Some(*previous) != work.job.published) {
        None => {
            let said = "nothing is known that it ran before, so it stays as it is".to_owned();
            log.line(&said);
            HostResult::Failed { error: after(said) }
        }
        Some(previous) => {
            let turn = Turn::new(work, host, previous, &log)?;
            match turn.alone(Way::Back).await {
                Ok(result) => result,
                Err(Cut::Step(error)) => return Err(error),
                Err(Cut::Host(error)) => {
                    let mut text = work.inner.masked(&error.to_string());
                    log.line(&text);
                    if error.is_unreachable() {
                        text.push_str("; what it ran comes back to it once it can be reached");
                        HostResult::Unreachable { error: after(text) }
                    } else {
                        text.push_str(&turn.last_lines().await);
                        HostResult::Failed { error: after(text) }
                    }
                }
            }
        }
    };
    close_log(work, host, log).await;
    Ok(result)
}

impl Turn<'_> {
    pub(super) async fn back(&self) -> Result<(), Cut> {
        let before = self.state();
        self.log.line(&format!("going back to {}", self.to));
        let seen = self.observe().await?;
        let kept = self.work.kept(self.to).await;
        let moved = self.bring(seen.head, kept.as_ref()).await?;
        if let Some((zero, unit)) = self.instances() {
            return self.switch(zero, unit, false).await;
        }
        let back = before.as_ref().and_then(|state| state.back.clone()).unwrap_or_default();
        let forward = before.and_then(|state| state.restarting);
        if self.restart.is_some() && (back.restarting || !self.still_runs(&seen, forward.as_ref())) {
            let invocation = match back.restarting && !moved {
                true => back.invocation,
                false => self.journal_restart(&seen).await?,
            };
            self.restart(invocation.as_deref()).await?;
        }
        self.verify().await
    }

    /// Whether the unit has not been started anew since before the rollout: it runs what it ran, and is let be. What a
    /// command of the app's own started is not known.
    fn still_runs(&self, seen: &HostState, forward: Option<&Option<String>>) -> bool {
        let Some(unit) = seen.unit.as_ref().filter(|_| self.unit().is_some()) else { return false };
        unit.is_active() && forward.is_none_or(|before| *before == unit.invocation_id)
    }
}

/// How a rollout that was rolled back stands, in words: which hosts are back, and which are not.
pub(super) fn words(job: &crate::model::JobState) -> String {
    let named = |wanted: &dyn Fn(&crate::model::HostState) -> bool| {
        let hosts: Vec<String> = job
            .hosts
            .iter()
            .filter(|host| wanted(host))
            .map(|host| match host.previous.map(|sha: Sha| sha.short()) {
                Some(previous) => format!("{} ({previous})", host.name),
                None => host.name.to_string(),
            })
            .collect();
        hosts.join(", ")
    };
    let back = named(&|host| host.state == Progress::RolledBack);
    let left = named(&|host| host.touched);
    match (back.is_empty(), left.is_empty()) {
        (true, _) => format!("no host is back at what it ran: look at {left}"),
        (false, true) => format!("back at what they ran: {back}"),
        (false, false) => format!("back at what they ran: {back}; look at {left}"),
    }
}
