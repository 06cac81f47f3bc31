//! An app with two instances: the new one started beside the old, nginx switched to it once it is well, the old one
//! stopped once its last request is answered. The way back is the same, to the commit before.
//!
//! Idempotent: the host is asked after every move, and says what is next ([`Instances::next`]). Nothing is kept here, so
//! that a daemon that is killed between two moves, or in one, goes on with the next.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::turn::{Cut, OPERATION, PATIENCE, Turn, again, check};
use crate::host::instances::{Goal, Instances, Next, Serves, Serving, instance_of};
use crate::host::{Check, Error, Remote};
use crate::model::{App, Entry, UnitName, ZeroDowntime};

/// So many moves lead anywhere; after more somebody else moves there too.
const MOVES: usize = 12;
/// How often it is asked who still speaks to an instance.
const EVERY: Duration = Duration::from_millis(500);

/// The two instances that an app has, and the unit that they are of.
pub(super) fn instances(app: &App) -> Option<(&ZeroDowntime, &UnitName)> {
    app.zero_downtime.as_ref().zip(app.service.as_ref().map(|service| &service.name))
}

impl Turn<'_> {
    pub(super) fn instances(&self) -> Option<(&ZeroDowntime, &UnitName)> {
        instances(self.app)
    }

    pub(super) async fn look(&self, zero: &ZeroDowntime, unit: &UnitName) -> Result<Instances, Error> {
        again!(self, |remote| remote.instances(&self.folder, unit, zero))
    }

    /// Moves the requests to an instance as is wanted, the commit's tree being there.
    pub(super) async fn switch(&self, zero: &ZeroDowntime, unit: &UnitName, mut goal: Goal) -> Result<(), Cut> {
        for _ in 0..MOVES {
            let seen = self.look(zero, unit).await?;
            let next = seen.next(goal);
            self.set_unswitched(match next {
                Next::Install => self.is_unswitched(),
                Next::Start(_) | Next::Switch(_) => true,
                Next::Settle(_) | Next::Retire(_) | Next::Done(_) | Next::Stay => false,
            });
            match next {
                Next::Install => {
                    let (host, path) = (&self.host.name, format!("/etc/nginx/airplanes/{unit}.server"));
                    let said = format!("{path} is not there on {host}; `airplanes host install {}`", self.app.name);
                    return Err(Error::NotReady { said }.into());
                }
                Next::Settle(port) => {
                    self.log.line(&format!("a switch was cut off; nginx is told again: {unit}@{port}"));
                    again!(self, |remote| remote.switch(unit, port))?;
                }
                Next::Start(port) => {
                    let invocation = seen.at(port).and_then(|one| one.unit.invocation_id.clone());
                    self.append(Entry::HostRestarting { host: self.host.name.clone(), invocation }).await?;
                    self.log.line(&format!("$ systemctl restart {unit}@{port}"));
                    again!(self, |remote| remote.start_instance(&self.folder, unit, port, &self.to))?;
                    goal = Goal::Instance(port);
                }
                Next::Switch(port) => {
                    self.wait_until_well(&instance_of(unit, port), Some(port), None).await?;
                    self.log.line(&format!("switching nginx to {unit}@{port}"));
                    again!(self, |remote| remote.switch(unit, port))?;
                }
                Next::Retire(port) => {
                    // With its requests now: while the old one is there, the way back is another switch.
                    if let Some(Serves::Instance(serving)) = seen.who_serves() {
                        self.wait_until_well(&instance_of(unit, serving), Some(serving), Some(Duration::ZERO)).await?;
                    }
                    if seen.is_up(port) || seen.plain.is_some() {
                        self.drain(zero, unit, port).await?;
                    }
                    self.log.line(&format!("stopping {unit}@{port}"));
                    again!(self, |remote| remote.retire(unit, port))?;
                }
                Next::Done(port) => {
                    let instance = instance_of(unit, port);
                    self.wait_until_well(&instance, Some(port), Some(Duration::ZERO)).await?;
                    again!(self, |remote| remote.mark_live(&self.folder, &self.to))?;
                    self.log.line(&format!("live at {} as {instance}", self.to));
                    return Ok(());
                }
                Next::Stay => {
                    let port = seen.plain.and_then(|plain| plain.port);
                    self.wait_until_well(unit, port, Some(Duration::ZERO)).await?;
                    again!(self, |remote| remote.mark_live(&self.folder, &self.to))?;
                    self.log.line(&format!("live at {} as {unit}, as before", self.to));
                    return Ok(());
                }
            }
        }
        let said = format!("{unit} on {} is switched by somebody else too; see who, and deploy again", self.host.name);
        Err(Error::Install { said }.into())
    }

    /// Waits until a unit that listens at a port is well, and has been for the app's own time or `stable`.
    async fn wait_until_well(&self, unit: &UnitName, port: Option<u16>, stable: Option<Duration>) -> Result<(), Error> {
        let health = port.and_then(|port| self.app.health_at(self.host, Some(port)));
        let check = check(self.app, self.host, &self.folder, health.as_deref(), &self.to, Some(unit));
        let check = Check { stable: stable.unwrap_or(check.stable), ..check };
        // It looks again and again by itself.
        let (never, mut said) = (CancellationToken::new(), |bytes: &[u8]| self.log.bytes(bytes));
        let mut remote =
            Remote { hosts: &self.hosts, host: self.host, timeout: OPERATION, cancel: &never, log: &mut said };
        remote.wait_until_well(&check).await.map(drop)
    }

    /// Waits until nobody speaks to an instance any more, nor a worker of nginx is left that might; as long as it may take.
    async fn drain(&self, zero: &ZeroDowntime, unit: &UnitName, port: u16) -> Result<(), Error> {
        let begun = Instant::now();
        let mut told = String::new();
        loop {
            let seen = self.look(zero, unit).await?;
            let connections = seen.at(port).filter(|one| one.unit.is_active()).map_or(0, |one| one.connections);
            if connections == 0 && seen.old_workers == 0 {
                return Ok(());
            }
            let left = format!("{connections} connections and {} old workers of nginx", seen.old_workers);
            if begun.elapsed() >= zero.drain {
                let seconds = zero.drain.as_secs_f32();
                self.log.line(&format!("{unit}@{port} still has {left} after {seconds} s, and is stopped with them"));
                return Ok(());
            }
            if told != left {
                self.log.line(&format!("{unit}@{port} has {left}"));
                told = left;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Where requests go after a switch that failed, in words; and the instance that it was for.
    pub(super) async fn of_instances(&self, zero: &ZeroDowntime, unit: &UnitName) -> (String, Option<UnitName>) {
        let Ok(seen) = self.look(zero, unit).await else { return (String::new(), None) };
        let spare = instance_of(unit, seen.spare());
        let serving = match (seen.who_serves(), seen.serving) {
            (Some(Serves::Plain), _) => return (format!("; requests go to {unit}"), Some(spare)),
            (_, Serving::Nobody) => return (String::new(), None),
            (_, Serving::Port(port) | Serving::CutOff(port)) => port,
        };
        let is_new = !self.is_unswitched() && seen.at(serving).is_some_and(|one| one.runs == Some(self.to));
        let serving = instance_of(unit, serving);
        (format!("; requests go to {serving}"), Some(if is_new { serving } else { spare }))
    }
}
