//! What the service manager is told: that the daemon is ready, what it is at, that it is alive, that it ends.
//!
//! Outside of systemd nothing is said. Must never say that the daemon is alive when it is not: the word is given by a
//! task of the runtime, and only after the store's writer has answered it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sd_notify::NotifyState;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Daemon;
use crate::model::{JobState, Outcome, Progress};
use crate::store::Store;

/// How often it is looked at, at the least.
const EVERY: Duration = Duration::from_secs(5);
/// How many jobs the status line names.
const NAMED: usize = 3;

/// Webhooks are taken. From here on the service manager hears of the daemon as often as it wants to.
pub(super) fn ready(daemon: &Daemon) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let within = sd_notify::watchdog_enabled();
    let alive = Alive {
        store: daemon.store.clone(),
        config_fault: daemon.config_fault.clone(),
        stop: daemon.stop.clone(),
        every: within.map_or(EVERY, |within| EVERY.min(within / 3)),
    };
    tell(&[NotifyState::Ready, NotifyState::Status(&alive.status())]);
    // It ends with the runtime: the watchdog wants to hear of a daemon that drains, too.
    tokio::spawn(alive.run());
}

/// The configuration is read again, until this is dropped.
pub(super) fn reloading() -> Reloading {
    // systemd wants to know when it began; no clock, no word.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
    Reloading
}

/// While the configuration is read again.
pub(super) struct Reloading;

impl Drop for Reloading {
    fn drop(&mut self) {
        tell(&[NotifyState::Ready]);
    }
}

/// The daemon ends.
pub(super) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("ending: what touches a remote or a host reaches a boundary first"),
    ]);
}

fn tell(what: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "systemd could not be told how the daemon is");
    }
}

struct Alive {
    store: Store,
    config_fault: Arc<ArcSwapOption<String>>,
    stop: CancellationToken,
    every: Duration,
}

impl Alive {
    async fn run(self) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut changes = self.store.changes();
        let mut told = String::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = changes.recv() => if let Err(RecvError::Closed) = changed { return },
            }
            // No limit of its own: while there is no answer the word is not given, and systemd counts.
            if self.store.answers().await.is_err() {
                return;
            }
            let status = self.status();
            if status != told && !self.stop.is_cancelled() {
                tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
                told = status;
            } else {
                tell(&[NotifyState::Watchdog]);
            }
        }
    }

    /// One line for `systemctl status`.
    fn status(&self) -> String {
        if let Some(fault) = self.store.fault() {
            let why = fault.why.lines().next().unwrap_or_default();
            return format!("the store takes no writes since {:.0}: {why}", fault.since);
        }
        let jobs: Vec<_> =
            self.store.open_jobs().into_iter().filter(|job| job.outcome() != Some(Outcome::Parked)).collect();
        let under_way = under_way(&jobs);
        match *self.config_fault.load() {
            Some(_) => format!("the last edit of the configuration is not in force; {under_way}"),
            None => under_way,
        }
    }
}

fn under_way(jobs: &[Arc<JobState>]) -> String {
    let at = |job: &JobState| {
        let running = job.steps.iter().find(|step| step.state == Progress::Running);
        format!("{} ({})", job.app.name, running.map_or("waiting".to_owned(), |step| step.step.to_string()))
    };
    let mut named: Vec<String> = jobs.iter().take(NAMED).map(|job| at(job)).collect();
    if jobs.len() > NAMED {
        named.push(format!("{} more", jobs.len() - NAMED));
    }
    match jobs.len() {
        0 => "no job under way".to_owned(),
        1 => format!("1 job under way: {}", named.join("")),
        more => format!("{more} jobs under way: {}", named.join(", ")),
    }
}
