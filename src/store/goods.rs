//! What did well last: of an app, and in each of its environments. Written with the end of each job that did.

use jiff::Timestamp;

use super::rows::LastGood;
use super::tx::{Tx, decode, get};
use super::{Store, StoreError, keys};
use crate::model::{App, AppName, EnvName, HostName, JobState, Outcome};

impl Store {
    /// The last job of an app that ended well; where it has environments, in the first of them.
    pub fn last_good(&self, app: &AppName) -> Result<Option<LastGood>, StoreError> {
        get(&*self.table()?, &keys::last_good(app))
    }
    /// The last job of an app that ended well in one of its environments.
    pub fn last_good_in(&self, app: &AppName, environment: &EnvName) -> Result<Option<LastGood>, StoreError> {
        get(&*self.table()?, &keys::last_good_in(app, environment))
    }
    /// The last job of an app that ended well on a host.
    pub fn last_good_on(&self, app: &App, host: &HostName) -> Result<Option<LastGood>, StoreError> {
        match app.environment_of(host) {
            Some(environment) => self.last_good_in(&app.name, &environment.name),
            None => self.last_good(&app.name),
        }
    }
    /// All that is the last good one of an app somewhere.
    pub fn goods(&self, app: &AppName) -> Result<Vec<LastGood>, StoreError> {
        let table = self.table()?;
        let mut goods: Vec<LastGood> = get(&table, &keys::last_good(app))?.into_iter().collect();
        for row in table.prefix(&keys::last_goods(app)) {
            let (key, value) = row?;
            goods.push(decode(&key, &value)?);
        }
        Ok(goods)
    }
}

/// Keeps where a job has left its app, if it has ended well.
pub(super) fn keep(tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
    let Some(sha) = job.commit().filter(|_| job.outcome().is_some_and(Outcome::is_well)) else { return Ok(()) };
    // Who built it knows what it was built with.
    let good = LastGood { job: job.carried().map_or(job.id, |carried| carried.of), sha, at: now };
    let there = job.app.environments_of(job.hosts.iter().map(|host| &host.name));
    if there.first() == job.app.environments.first().as_ref() {
        tx.put(keys::last_good(&job.app.name), &good)?;
    }
    for environment in there {
        tx.put(keys::last_good_in(&job.app.name, &environment.name), &good)?;
    }
    Ok(())
}
