//! Before any host is touched: `:prepare` on every host, and then `:migrate`, once and on one of them, both in the new
//! commit's files, which lie beside what runs.
//!
//! A host where `:prepare` fails counts as one that preflight has refused; begun again after a crash it runs again where it
//! had not ended. `:migrate` never runs twice in a job: it is journaled before and after, and where its end was not seen
//! the job fails and says so.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::super::{StepError, Work, say};
use super::turn::{Cut, OPERATION, Turn, close_log, open_log};
use super::{batches, hosts, now};
use crate::host::{Error, Remote};
use crate::model::rollout::Unreachable;
use crate::model::{Entry, Host, HostName, HostResult, HostState, JobState, Progress, Sha};
use crate::process::LogFile;

/// Both, where the app has them and no turn has begun among the hosts that go with these: those of their environment. Whether
/// there was something to do.
pub(super) async fn run(work: &mut Work, log: &mut LogFile, to: Sha, hosts: &[HostName]) -> Result<bool, StepError> {
    let names = beside(&work.job, hosts);
    let is_begun = |host: &HostState| host.touched || host.state == Progress::Running;
    if work.job.hosts.iter().any(|host| names.contains(&host.name) && is_begun(host)) {
        return Ok(false);
    }
    let migration = work.job.migrations.iter().find(|migration| names.contains(&migration.host));
    if let Some(migration) = migration.filter(|migration| !migration.done) {
        return Err(StepError::failed(format!(
            ":migrate was begun on {} and nobody saw its end: it may have run, in whole or in part. Nothing was restarted \
             there. Look at the host's log and at the database; the next deploy runs it again",
            migration.host
        )));
    }
    if migration.is_some() {
        return Ok(false);
    }
    let mut unprepared = waiting(work, &names);
    unprepared.retain(|host| work.job.host(&host.name).is_some_and(|host| host.prepared != Some(true)));
    if work.job.app.rollout.prepare.is_some() && !unprepared.is_empty() {
        prepare(work, log, to, unprepared).await?;
        return Ok(true);
    }
    if work.job.app.rollout.migrate.is_some() {
        migrate(work, log, to, &names).await?;
        return Ok(true);
    }
    Ok(false)
}

/// The hosts of the same environment; all where the app has none.
fn beside(job: &JobState, hosts: &[HostName]) -> Vec<HostName> {
    let environment = |name: &HostName| job.app.environment_of(name).map(|environment| &environment.name);
    let wanted = hosts.first().and_then(environment);
    job.hosts.iter().filter(|host| environment(&host.name) == wanted).map(|host| host.name.clone()).collect()
}

/// Those of the hosts whose turn is still to come, without those that were away a moment ago.
fn waiting(work: &Work, names: &[HostName]) -> Vec<Host> {
    let is_waiting = |host: &Host| {
        let pending = work.job.host(&host.name).is_some_and(|host| host.state == Progress::Pending);
        pending && names.contains(&host.name) && !work.away.contains(&host.name)
    };
    hosts(&work.job).into_iter().filter(is_waiting).collect()
}

async fn prepare(work: &mut Work, log: &mut LogFile, to: Sha, all: Vec<Host>) -> Result<(), StepError> {
    let parallel = all.first().map_or(1, |host| work.job.app.rollout_on(&host.name).parallel);
    let at_once = usize::try_from(parallel).unwrap_or(1).max(1);
    let mut failed = Vec::new();
    {
        let work: &Work = work;
        let mut waiting = all.iter();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < at_once
                && !work.stop.is_cancelled()
                && let Some(host) = waiting.next()
            {
                say(log, format!("{}: preparing", host.name)).await?;
                under_way.push(prepare_one(work, host, to));
            }
            let Some(ended) = under_way.next().await else { break };
            failed.extend(ended?);
        }
    }
    work.job = now(work)?;
    if work.stop.is_cancelled() {
        return Err(work.stopped());
    }
    for (host, error) in failed {
        pass_by(work, log, host, &error).await?;
    }
    Ok(())
}

/// The host and its error, if there is one.
async fn prepare_one<'h>(work: &Work, host: &'h Host, to: Sha) -> Result<Option<(&'h Host, Error)>, StepError> {
    let log = open_log(work, host).await?;
    let turn = Turn::new(work, host, to, &log)?;
    let result = turn.locked(turn.prepare()).await;
    if let Err(Cut::Host(error)) = &result {
        log.line(&work.inner.masked(&error.to_string()));
    }
    close_log(work, host, log).await;
    match result {
        Ok(()) => Ok(None),
        Err(Cut::Host(error)) => Ok(Some((host, error))),
        Err(Cut::Step(error)) => Err(error),
    }
}

/// Nothing was done to the host: it is tried again in its turn if it is only away, and else its turn does not come.
async fn pass_by(work: &mut Work, log: &mut LogFile, host: &Host, error: &Error) -> Result<(), StepError> {
    let text = work.inner.masked(&error.to_string());
    say(log, format!("{}: {text}", host.name)).await?;
    let result = match error.is_unreachable() {
        true if work.job.app.rollout_on(&host.name).unreachable == Unreachable::Skip => {
            work.away.push(host.name.clone());
            return Ok(());
        }
        true => HostResult::Unreachable { error: text },
        false => HostResult::Refused { error: text, locked: matches!(error, Error::Locked { .. }) },
    };
    Ok(work.append(vec![Entry::HostFinished { host: host.name.clone(), result }]).await?)
}

async fn migrate(work: &mut Work, log: &mut LogFile, to: Sha, names: &[HostName]) -> Result<(), StepError> {
    while let Some(host) = waiting(work, names).into_iter().next() {
        if work.stop.is_cancelled() {
            return Err(work.stopped());
        }
        say(log, format!("{}: running :migrate", host.name)).await?;
        let host_log = open_log(work, &host).await?;
        let turn = Turn::new(work, &host, to, &host_log)?;
        let result = turn.locked(turn.migrate()).await;
        if let Err(Cut::Host(error)) = &result {
            host_log.line(&work.inner.masked(&error.to_string()));
        }
        close_log(work, &host, host_log).await;
        work.job = now(work)?;
        match result {
            Ok(()) => return Ok(say(log, format!("{}: :migrate did well", host.name)).await?),
            Err(Cut::Step(error)) => return Err(error),
            Err(Cut::Host(error)) if work.job.migrations.iter().any(|migration| migration.host == host.name) => {
                let text = work.inner.masked(&error.to_string());
                return Err(StepError::failed(format!(
                    "{text}. Nothing was restarted. Look at what it left in the database; the next deploy runs it again"
                )));
            }
            Err(Cut::Host(error)) => pass_by(work, log, &host, &error).await?,
        }
        if batches::over(&work.job).is_some() {
            return Ok(());
        }
    }
    // Who comes back in its turn would run what was not migrated for.
    let is_meant = |host: &&HostState| host.state == Progress::Pending && names.contains(&host.name);
    let pending = work.job.hosts.iter().filter(is_meant);
    let error = "it could not be reached when :migrate was to run".to_owned();
    let result = HostResult::Unreachable { error };
    let entries = pending.map(|host| Entry::HostFinished { host: host.name.clone(), result: result.clone() }).collect();
    Ok(work.append(entries).await?)
}

impl Turn<'_> {
    /// Runs `:prepare`, if there is one, in the commit's files beside what runs.
    pub async fn prepare(&self) -> Result<(), Cut> {
        let Some(command) = &self.app.rollout.prepare else { return Ok(()) };
        self.append(Entry::HostPreparing { host: self.host.name.clone() }).await?;
        let folder = self.stage().await?;
        self.log.line(&format!("$ {command}   (in {folder})"));
        self.command("prepare", &folder, command).await?;
        Ok(self.append(Entry::HostPrepared { host: self.host.name.clone() }).await?)
    }

    async fn migrate(&self) -> Result<(), Cut> {
        let Some(command) = &self.app.rollout.migrate else { return Ok(()) };
        let folder = self.stage().await?;
        self.append(Entry::Migrating { host: self.host.name.clone() }).await?;
        self.log.line(&format!("$ {command}   (in {folder})"));
        self.command("migrate", &folder, command).await?;
        Ok(self.append(Entry::Migrated { host: self.host.name.clone() }).await?)
    }

    /// Once: whoever lost the connection does not know how far it came.
    async fn command(&self, what: &'static str, folder: &str, command: &str) -> Result<(), Error> {
        let (rooms, never, mut said) =
            (self.work.rooms(), CancellationToken::new(), |bytes: &[u8]| self.log.bytes(bytes));
        let mut remote =
            Remote { hosts: &rooms.hosts, host: self.host, timeout: OPERATION, cancel: &never, log: &mut said };
        remote.command(what, folder, command).await
    }
}

/// Whether the hosts stay with the new commit though too many failed: what they ran may not run with what was migrated.
pub(super) fn stays(job: &JobState) -> bool {
    !job.migrations.is_empty() && !job.app.rollout.reversible
}
