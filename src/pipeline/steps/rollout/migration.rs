//! `:migrate`: once a job, or once for each environment of it, on the first host that is there, before any host is touched.
//!
//! It never runs twice in a job. It is journaled before it begins and after it has done well, and the host itself notes both,
//! and runs it on its own: a lost connection, a killed daemon or a new one look at it again. Once begun it is looked at to its
//! end, whoever cancels. Where the host too can't say how it ended, the job fails and says so.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{StepError, Work, say};
use super::ready::{pass_by, waiting};
use super::side_by_side::Met;
use super::turn::{Cut, OPERATION, PATIENCE, Turn, again, close_log, open_log};
use super::{batches, hosts, installs, now};
use crate::host::migration::{By, Looked, Migrating};
use crate::host::{Error, Remote};
use crate::model::rollout::MIGRATION;
use crate::model::{Entry, Host, HostName, HostResult, JobState, Progress, Sha};
use crate::process::LogFile;

/// How often it is looked at, at first and at most.
const EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// So much longer than it may take is tried to see its end, where the host can't be reached.
const GRACE: Duration = Duration::from_secs(600);
/// How long it may take to begin.
const BEGINS: Duration = Duration::from_secs(120);

/// Runs it on the first of an environment's hosts that is there.
pub(super) async fn run(work: &mut Work, log: &mut LogFile, to: Sha, names: &[HostName]) -> Result<(), StepError> {
    while let Some(host) = waiting(work, names).into_iter().next() {
        if work.stop.is_cancelled() {
            return Err(work.stopped());
        }
        say(log, format!("{}: running :migrate", host.name)).await?;
        match on(work, log, to, &host).await? {
            None => return Ok(()),
            Some(error) => {
                let met = Met::by(work, &host, &error);
                pass_by(work, log, &host, met).await?;
            }
        }
        if batches::over(&work.job).is_some() {
            return Ok(());
        }
    }
    // Who comes back in its turn would run what was not migrated for.
    let is_meant = |host: &&crate::model::HostState| host.state == Progress::Pending && names.contains(&host.name);
    let pending = work.job.hosts.iter().filter(is_meant);
    let error = "it could not be reached when :migrate was to run".to_owned();
    let result = HostResult::Unreachable { error };
    let entries = pending.map(|host| Entry::HostFinished { host: host.name.clone(), result: result.clone() }).collect();
    Ok(work.append(entries).await?)
}

/// Sees to the end of one that an earlier attempt has begun, before anything else is done.
pub(super) async fn end_begun(work: &mut Work, log: &mut LogFile, to: Sha) -> Result<(), StepError> {
    let Some(begun) = work.job.migrations.iter().find(|migration| !migration.done) else { return Ok(()) };
    let Some(host) = hosts(&work.job).into_iter().find(|host| host.name == begun.host) else { return Ok(()) };
    say(log, format!("{}: looking what became of :migrate", host.name)).await?;
    on(work, log, to, &host).await.map(drop)
}

/// Runs it on a host; why it was not begun there, if so.
async fn on(work: &mut Work, log: &mut LogFile, to: Sha, host: &Host) -> Result<Option<Error>, StepError> {
    let Some(command) = work.job.app.rollout.migrate.clone() else { return Ok(None) };
    let host_log = open_log(work, host).await?;
    let turn = Turn::new(work, host, to, &host_log)?;
    let result = turn.locked(turn.migrate(&command)).await;
    if let Err(Cut::Host(error)) = &result {
        host_log.line(&work.masked(&error.to_string()));
    }
    close_log(work, host, host_log).await;
    work.job = now(work)?;
    match result {
        Ok(()) => {
            say(log, format!("{}: :migrate did well", host.name)).await?;
            Ok(None)
        }
        Err(Cut::Step(error)) => Err(error),
        Err(Cut::Host(error)) if is_begun(&work.job, &host.name) => {
            let (text, left) = (work.masked(&error.to_string()), left(&work.job, &host.name));
            Err(StepError::failed(format!(
                "{text}. {left}. Look at what it left in the database; the next deploy runs it again"
            )))
        }
        Err(Cut::Host(error)) => Ok(Some(error)),
    }
}

fn is_begun(job: &JobState, host: &HostName) -> bool {
    job.migrations.iter().any(|migration| migration.host == *host)
}

/// What was not touched, in words: the hosts of other environments may have been.
fn left(job: &JobState, host: &HostName) -> String {
    match job.app.environment_of(host).filter(|_| job.hosts.iter().any(|host| host.changed)) {
        Some(environment) => format!("Nothing of {} was restarted", environment.name),
        None => "Nothing was restarted".to_owned(),
    }
}

/// Whether the hosts stay with the new commit though too many failed: what they ran may not run with what was migrated.
pub(super) fn stays(job: &JobState) -> bool {
    !job.migrations.is_empty() && !job.app.rollout.reversible
}

impl Turn<'_> {
    /// Begins it, if the host says that it has not begun, and looks at it until it has ended.
    async fn migrate(&self, command: &str) -> Result<(), Cut> {
        let name = &self.host.name;
        let shell = By::Shell { working_directory: &self.folder, command };
        let is_ours = self.is_unit_ours();
        let mut by = if is_ours { By::Unit(self.app) } else { shell };
        let mut is_begun = is_begun(&self.work.job, name);
        let (mut folder, mut from, mut is_lost, mut tries) = (None::<(String, Instant)>, 0, false, 0);
        let since = Instant::now();
        loop {
            let looked = self.look_at_migration(by, folder.as_ref().map(|(folder, _)| folder.as_str()), from).await;
            match looked {
                Ok(looked) => {
                    (from, is_lost) = (looked.at, false);
                    if looked.more {
                        continue;
                    }
                    match (looked.migrating, &folder) {
                        (Migrating::Not, None) => {
                            let to = self.stage().await?;
                            self.place_migration(by, &to, command).await?;
                            if !is_begun {
                                self.append(Entry::Migrating { host: name.clone() }).await?;
                                is_begun = true;
                            }
                            folder = Some((to, Instant::now()));
                            continue;
                        }
                        (Migrating::Not, Some((_, begun))) if begun.elapsed() > BEGINS => {
                            let said = format!(
                                ":migrate could not be begun on {name}; see `journalctl -e` there, then deploy again"
                            );
                            return Err(Error::NotReady { said }.into());
                        }
                        (Migrating::Not | Migrating::Running, _) => {}
                        (Migrating::Done, _) => {
                            return Ok(self.append(Entry::Migrated { host: name.clone() }).await?);
                        }
                        (Migrating::Failed { how, said }, _) => {
                            return Err(Error::Command { host: name.to_string(), what: "migrate", how, said }.into());
                        }
                        (Migrating::Lost, _) => return Err(self.unseen("").into()),
                    }
                }
                // The daemon's end is not its.
                Err(_) if self.work.inner.ending.is_cancelled() => {}
                // A unit that somebody else made, on a host that was not set up.
                Err(Error::NoProgram { said }) if is_ours && self.is_foreign().await? => {
                    self.log.line(&format!("{said}; :migrate runs as {}", self.host.user));
                    by = shell;
                    continue;
                }
                Err(error) if is_begun && (error.is_retryable() || error.is_unreachable()) => {
                    if since.elapsed() > MIGRATION + GRACE || self.work.cancel.is_cancelled() {
                        return Err(self.unseen(&format!(" ({})", self.work.masked(&error.to_string()))).into());
                    }
                    if !std::mem::replace(&mut is_lost, true) {
                        self.log.line(&format!("{error}; :migrate goes on there, and is looked at again"));
                    }
                }
                Err(error) if !is_begun && error.is_retryable() && tries + 1 < self.tries() => {
                    tries += 1;
                    self.log.line(&format!("{error}; trying again"));
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = tokio::time::sleep((since.elapsed() / 10).clamp(EVERY.0, EVERY.1)) => {}
                () = self.work.inner.ending.cancelled() => return Err(StepError::Ending.into()),
            }
        }
    }

    /// Refuses while the `:migrate` of another job runs there: it works in the files that a new commit's would take the
    /// place of.
    pub(super) async fn meets_no_migration(&self) -> Result<(), Error> {
        let Some(command) = &self.app.rollout.migrate else { return Ok(()) };
        let job = self.work.job.id;
        let shell = By::Shell { working_directory: &self.folder, command };
        if self.is_unit_ours() {
            match again!(self, |remote| remote.migration(By::Unit(self.app), job, None, 0)) {
                Err(Error::NoProgram { .. }) => {}
                looked => return looked.map(drop),
            }
        }
        again!(self, |remote| remote.migration(shell, job, None, 0)).map(drop)
    }

    fn is_unit_ours(&self) -> bool {
        self.app.service.as_ref().is_some_and(|service| service.exec_start.is_some())
    }

    async fn look_at_migration(&self, by: By<'_>, begin: Option<&str>, from: u64) -> Result<Looked, Error> {
        let mut said = |bytes: &[u8]| self.log.bytes(bytes);
        let (hosts, cancel) = (&self.hosts, &self.work.inner.ending);
        let mut remote = Remote { hosts, host: self.host, timeout: OPERATION, cancel, log: &mut said };
        remote.migration(by, self.work.job.id, begin, from).await
    }

    async fn place_migration(&self, by: By<'_>, folder: &str, command: &str) -> Result<(), Cut> {
        let wanted = match by {
            By::Unit(_) => installs::for_migration(self.work, self.host, (folder, command))?,
            By::Shell { .. } => None,
        };
        let Some(wanted) = wanted else {
            self.log.line(&format!("$ {command}   (in {folder})"));
            return Ok(());
        };
        self.log.line(&format!("$ {command}   (in {folder}, as the unit airplanes-migrate-{})", wanted.unit));
        Ok(again!(self, |remote| remote.place_migration(&wanted))?)
    }

    async fn is_foreign(&self) -> Result<bool, Error> {
        Ok(self.observe().await?.unit.is_some_and(|unit| !unit.is_missing()))
    }

    fn unseen(&self, why: &str) -> StepError {
        let (host, left) = (&self.host.name, left(&self.work.job, &self.host.name));
        StepError::failed(format!(
            ":migrate was begun on {host} and nobody saw its end{why}: it may have run, in whole or in part. {left}. Look at the \
             host's log and at the database; the next deploy runs it again"
        ))
    }
}
