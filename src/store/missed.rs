//! Apps that plans may lack, since nobody could read what they depend on: noted with the plan, until they have been read
//! and what they missed is made up for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::State;
use super::table::Table;
use super::tx::{Tx, decode};
use super::{Store, StoreError, keys, writer};
use crate::model::{AppName, EventId, EventKind, InvalidName, PlanHead};

/// The plans that an app may be missing from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// The first. Of those since, the ones that are told to be incomplete.
    pub first: EventId,
    /// Whether it was given up: then it may miss all of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}

/// What becomes of a note, once its app has been read.
#[derive(Debug, Clone)]
pub struct MakeUp {
    /// The app.
    pub app: AppName,
    /// The note as it was looked at. A newer one stays.
    pub missed: Missed,
    /// In whose name the app is run, if it is.
    pub by: Option<String>,
}

impl Store {
    /// The apps that plans may lack.
    pub fn missed(&self) -> Result<Vec<(AppName, Missed)>, StoreError> {
        let bad = |key: &[u8], error: InvalidName| StoreError::Row {
            key: key.escape_ascii().to_string(),
            why: error.to_string(),
        };
        let rows = self.table()?;
        let rows = rows.prefix(&[keys::MISSED]).map(|row| {
            let (key, value) = row?;
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            Ok((AppName::new(name).map_err(|e| bad(&key, e))?, decode(&key, &value)?))
        });
        rows.collect()
    }
    /// The plans since `first` that may lack apps, oldest first.
    pub fn incomplete(&self, first: EventId) -> Result<Vec<EventId>, StoreError> {
        incomplete(&*self.table()?, first)
    }
    /// Lets go of a note and accepts the event that makes up for what was missed: both or none.
    pub async fn make_up(&self, made: MakeUp) -> Result<Option<EventId>, StoreError> {
        self.ask(|reply| writer::Command::MakeUp(made, reply)).await
    }
}

fn incomplete(table: &Table, first: EventId) -> Result<Vec<EventId>, StoreError> {
    let mut found = Vec::new();
    for row in table.range(keys::plan(first)..=keys::plan(EventId(u64::MAX))) {
        let (key, value) = row?;
        // One that can't be read keeps no other from being made up for.
        match decode::<PlanHead>(&key, &value) {
            Ok(head) if head.incomplete => found.push(head.id),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "what apps missed of a plan is not known"),
        }
    }
    Ok(found)
}

/// Notes that a plan may lack apps: once each, and once more when one of them is given up.
pub(super) fn note(tx: &mut Tx, event: EventId, unread: &[AppName], given_up: &[AppName]) -> Result<(), StoreError> {
    for (app, given_up) in unread.iter().map(|app| (app, false)).chain(given_up.iter().map(|app| (app, true))) {
        let before = tx.hint::<Missed>(&keys::missed(app));
        if before.is_some_and(|before| before.given_up || !given_up) {
            continue;
        }
        let first = before.map_or(event, |before| before.first);
        tx.put(keys::missed(app), &Missed { first, given_up })?;
    }
    Ok(())
}

impl State {
    pub(super) fn make_up(&mut self, tx: &mut Tx, made: MakeUp, now: Timestamp) -> Result<Option<EventId>, StoreError> {
        let MakeUp { app, missed, by } = made;
        if tx.get::<Missed>(&keys::missed(&app))? != Some(missed) {
            return Ok(None);
        }
        tx.delete(keys::missed(&app));
        let what = |by| EventKind::Deploy { app, by, makes_up: false };
        by.map(|by| self.submit(tx, what(by), now)).transpose()
    }
}
