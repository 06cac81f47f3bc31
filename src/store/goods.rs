//! What did well last: of an app, and in each of its environments. Written with the end of each job that did.

use jiff::Timestamp;

use super::rows::LastGood;
use super::tx::{Tx, decode, get};
use super::{Store, StoreError, keys};
use crate::model::{App, AppName, EnvName, Environment, HostName, JobState};

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

/// Keeps where a job has left its app, and each of its environments, where its commit is live. A host that catches up says
/// nothing about the others, and may get what only it ran.
pub(super) fn keep(tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
    let Some(sha) = job.commit().filter(|_| !job.is_catch_up()) else { return Ok(()) };
    // Who built it knows what it was built with.
    let of = job.carried().map(|carried| carried.of);
    let by = of.map(|_| job.id);
    let good = |before| LastGood { job: of.unwrap_or(job.id), sha, at: now, by, before };
    let there = job.app.environments_of(job.hosts.iter().map(|host| &host.name));
    let is_live = |there: &Environment| job.was_live_on(|host| there.hosts.contains(host));
    let is_first_live = match job.app.environments.first() {
        Some(first) => there.contains(&first) && is_live(first),
        None => job.was_live_on(|_| true),
    };
    if is_first_live {
        tx.put(keys::last_good(&job.app.name), &good(Vec::new()))?;
    }
    for environment in there.into_iter().filter(|there| is_live(there)) {
        let key = keys::last_good_in(&job.app.name, &environment.name);
        let before = match tx.hint::<LastGood>(&key) {
            Some(was) if was.sha == sha => was.before,
            Some(was) => [was.job].into_iter().chain(was.by).collect(),
            None => Vec::new(),
        };
        tx.put(key, &good(before))?;
    }
    Ok(())
}
