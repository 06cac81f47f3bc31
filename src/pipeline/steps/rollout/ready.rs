//! Before any host is touched: `:prepare` on every host, and then `:migrate`, once and on one of them, both in the new
//! commit's files, which lie beside what runs.
//!
//! A host where `:prepare` fails counts as one that preflight has refused; begun again after a crash it runs again where it
//! had not ended.

use tokio_util::sync::CancellationToken;

use super::super::{StepError, Work, say};
use super::side_by_side::{Met, each};
use super::turn::{Cut, OPERATION, Turn, close_log, open_log};
use super::{hosts, migration, now};
use crate::host::{Error, Remote};
use crate::model::{Entry, Host, HostName, HostState, JobState, Progress, Sha};
use crate::process::LogFile;

/// Both, where the app has them and no turn has begun among the hosts that go with these: those of their environment. Whether
/// there was something to do.
pub(super) async fn run(work: &mut Work, log: &mut LogFile, to: Sha, hosts: &[HostName]) -> Result<bool, StepError> {
    let names = beside(&work.job, hosts);
    let is_begun = |host: &HostState| host.touched || host.state == Progress::Running;
    if work.job.hosts.iter().any(|host| names.contains(&host.name) && is_begun(host)) {
        return Ok(false);
    }
    if work.job.migrations.iter().any(|migration| names.contains(&migration.host)) {
        return Ok(false);
    }
    let mut unprepared = waiting(work, &names);
    unprepared.retain(|host| work.job.host(&host.name).is_some_and(|host| host.prepared != Some(true)));
    if work.job.app.rollout.prepare.is_some() && !unprepared.is_empty() {
        prepare(work, log, to, unprepared).await?;
        return Ok(true);
    }
    if work.job.app.rollout.migrate.is_some() {
        migration::run(work, log, to, &names).await?;
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
pub(super) fn waiting(work: &Work, names: &[HostName]) -> Vec<Host> {
    let is_waiting = |host: &Host| {
        let pending = work.job.host(&host.name).is_some_and(|host| host.state == Progress::Pending);
        pending && names.contains(&host.name) && !work.away.contains(&host.name)
    };
    hosts(&work.job).into_iter().filter(is_waiting).collect()
}

async fn prepare(work: &mut Work, log: &mut LogFile, to: Sha, all: Vec<Host>) -> Result<(), StepError> {
    let parallel = all.first().map_or(1, |host| work.job.app.rollout_on(&host.name).parallel);
    let at_once = usize::try_from(parallel).unwrap_or(1).max(1);
    let (met, stopped) = {
        let work: &Work = work;
        let begin = |host: &Host| Ok((!work.stop.is_cancelled()).then(|| format!("{}: preparing", host.name)));
        let act = |host| async move { Ok((host, prepare_one(work, host, to).await?)) };
        each(Some(&mut *log), &all, at_once, begin, act, |_: &(&Host, Met)| None).await
    };
    work.job = now(work)?;
    // What is known of those that came to their end is kept, whatever ended the rest.
    for (host, met) in met {
        pass_by(work, log, host, met).await?;
    }
    stopped?;
    if work.stop.is_cancelled() { Err(work.stopped()) } else { Ok(()) }
}

async fn prepare_one(work: &Work, host: &Host, to: Sha) -> Result<Met, StepError> {
    let prepared = async {
        let log = open_log(work, host).await?;
        let turn = Turn::new(work, host, to, &log)?;
        let result = turn.locked(turn.prepare()).await;
        if let Err(Cut::Host(error)) = &result {
            log.line(&work.masked(&error.to_string()));
        }
        close_log(work, host, log).await;
        result
    };
    Met::of(work, host, prepared.await)
}

/// Nothing was done to the host: it is tried again in its turn if it is only away, and else its turn does not come.
pub(super) async fn pass_by(work: &mut Work, log: &mut LogFile, host: &Host, met: Met) -> Result<(), StepError> {
    if let Some(why) = met.why() {
        say(log, format!("{}: {why}", host.name)).await?;
    }
    match met {
        Met::Fit => {}
        Met::Away(_) => work.away.push(host.name.clone()),
        Met::Ends(result) => work.append(vec![Entry::HostFinished { host: host.name.clone(), result }]).await?,
    }
    Ok(())
}

impl Turn<'_> {
    /// Runs `:prepare`, if there is one, in the commit's files beside what runs.
    pub async fn prepare(&self) -> Result<(), Cut> {
        let Some(command) = &self.app.rollout.prepare else { return Ok(()) };
        self.append(Entry::HostPreparing { host: self.host.name.clone() }).await?;
        self.meets_no_migration().await?;
        let folder = self.stage().await?;
        self.log.line(&format!("$ {command}   (in {folder})"));
        self.command("prepare", &folder, command).await?;
        Ok(self.append(Entry::HostPrepared { host: self.host.name.clone() }).await?)
    }

    /// Once: whoever lost the connection does not know how far it came.
    async fn command(&self, what: &'static str, folder: &str, command: &str) -> Result<(), Error> {
        let (never, mut said) = (CancellationToken::new(), |bytes: &[u8]| self.log.bytes(bytes));
        let mut remote =
            Remote { hosts: &self.hosts, host: self.host, timeout: OPERATION, cancel: &never, log: &mut said };
        remote.command(what, folder, command).await
    }
}
