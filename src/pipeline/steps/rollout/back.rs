//! The way back: hosts that a rollout changed and that go back to what they ran, since too many of it failed: to the commit,
//! and to the unit, sites and credentials that the rollout has replaced.
//!
//! Idempotent like a turn: the way back is journaled before anything moves, and its restart with the unit's InvocationID.
//! Nobody cancels it, and it needs neither the repository nor its mirror; the daemon's end leaves it where it is, and the
//! next daemon goes on.

use super::super::{StepError, Work};
use super::turn::{Cut, Turn, close_log, open_log};
use super::{migration, now};
use crate::host::HostState;
use crate::host::install::BroughtBack;
use crate::host::instances::Goal;
use crate::model::{Entry, Host, HostResult, Progress, Sha};

/// Brings one host back.
pub(super) async fn back(work: &Work, host: &Host) -> Result<HostResult, StepError> {
    let state = work.inner.store.job(work.job.id)?.and_then(|job| job.host(&host.name).cloned());
    let was = state.as_ref().and_then(|state| state.error.clone());
    let after = |said: String| match &was {
        Some(was) => format!("{was}; on the way back: {said}"),
        None => format!("on the way back: {said}"),
    };
    if !state.as_ref().is_some_and(|state| state.back.is_some() && state.state == Progress::Running) {
        work.inner.store.append(work.job.id, vec![Entry::HostReturning { host: host.name.clone() }]).await?;
    }
    let log = open_log(work, host).await?;
    let is_installed = state.as_ref().is_some_and(|state| state.installed);
    let sum = state.as_ref().and_then(|state| state.previous_sum.clone());
    // The same commit may have been built again.
    let is_same_file = work.job.sum.as_ref().is_none_or(|ours| sum.as_ref().is_some_and(|sum| sum.is(ours)));
    let previous = match state.and_then(|state| state.previous) {
        None => Err("nothing is known that it ran before, so it stays as it is"),
        Some(previous) if Some(previous) == work.job.published && is_same_file && !is_installed => {
            Err("it ran this commit before, and by the same unit and secrets, so it stays as it is")
        }
        Some(previous) => Ok(previous),
    };
    let result = match previous {
        Err(said) => {
            log.line(said);
            HostResult::Failed { error: after(said.to_owned()) }
        }
        Ok(previous) => {
            let mut turn = Turn::new(work, host, previous, &log)?;
            turn.sum = sum;
            match turn.locked(turn.back()).await {
                Ok(()) => HostResult::RolledBack,
                Err(Cut::Step(error)) => return Err(error),
                Err(Cut::Host(error)) => {
                    let mut text = work.masked(&error.to_string());
                    log.line(&text);
                    if error.is_unreachable() {
                        text.push_str("; what it ran comes back to it once it can be reached");
                        HostResult::Unreachable { error: after(text) }
                    } else {
                        let (said, lines) = turn.last_lines().await;
                        text.push_str(&(said + &lines));
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
    /// Puts back there and then what a turn has changed that failed before the requests went to a new instance, whatever
    /// `:on-failure` says of the other hosts: what has the requests would be started anew by the files that lie there. Gives
    /// what came of it, in words; none where it is not so, nobody has the requests, or what ran before may not be started
    /// any more.
    pub(super) async fn put_back(&self) -> Result<Option<Result<String, String>>, StepError> {
        let (Some((zero, unit)), true) = (self.instances(), self.is_unswitched()) else { return Ok(None) };
        let job = now(self.work)?;
        if migration::stays(&job) {
            return Ok(None);
        }
        let before = job.host(&self.host.name).and_then(|state| Some((state.previous?, state.previous_sum.clone())));
        let Some((previous, sum)) = before else { return Ok(None) };
        let serves = self.look(zero, unit).await.is_ok_and(|seen| seen.who_serves().is_some());
        self.hosts.hang_up().await;
        if !serves {
            return Ok(None);
        }
        let mut turn = Turn::new(self.work, self.host, previous, self.log)?;
        turn.sum = sum;
        Ok(Some(match turn.locked(turn.back()).await {
            Ok(()) => Ok(format!("; no request was sent to the new instance, and all is back at {}", previous.short())),
            Err(Cut::Step(error)) => return Err(error),
            Err(Cut::Host(error)) => Err(format!("; on the way back: {}", self.work.masked(&error.to_string()))),
        }))
    }

    pub(super) async fn back(&self) -> Result<(), Cut> {
        let before = self.state();
        self.log.line(&format!("going back to {}", self.to));
        let seen = self.observe().await?;
        let moved = self.bring(seen.head).await?;
        let brought = match before.as_ref().is_some_and(|state| state.installed) {
            true => self.bring_back().await?,
            false => BroughtBack::default(),
        };
        if let Some((zero, unit)) = self.instances() {
            let goal = if brought.newer { Goal::Anew } else { Goal::Back(self.to) };
            return self.switch(zero, unit, goal).await;
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
