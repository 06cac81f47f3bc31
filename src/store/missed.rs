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
    /// The first.
    pub first: EventId,
    /// The last; without end for one that was given up.
    pub last: EventId,
}

impl Missed {
    /// Whether it may miss all plans since the first.
    pub fn is_open(&self) -> bool {
        self.last == WITHOUT_END
    }
}

const WITHOUT_END: EventId = EventId(u64::MAX);

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
    /// The plans that may lack apps, oldest first.
    pub fn incomplete(&self, missed: Missed) -> Result<Vec<EventId>, StoreError> {
        incomplete(&*self.table()?, missed)
    }
    /// Lets go of a note and accepts the event that makes up for what was missed: both or none.
    pub async fn make_up(&self, made: MakeUp) -> Result<Option<EventId>, StoreError> {
        self.ask(|reply| writer::Command::MakeUp(made, reply)).await
    }
}

fn incomplete(table: &Table, missed: Missed) -> Result<Vec<EventId>, StoreError> {
    let mut found = Vec::new();
    for row in table.range(keys::plan(missed.first)..=keys::plan(missed.last)) {
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

/// Notes that a plan may lack `unread`, and that it and all later ones may lack who is `given_up`: those are written
/// once.
pub(super) fn note(tx: &mut Tx, event: EventId, unread: &[AppName], given_up: &[AppName]) -> Result<(), StoreError> {
    let open = given_up.iter().map(|app| (app, WITHOUT_END));
    for (app, last) in unread.iter().map(|app| (app, event)).chain(open) {
        let before = tx.hint::<Missed>(&keys::missed(app));
        if before.is_some_and(|before| before.is_open()) {
            continue;
        }
        let first = before.map_or(event, |before| before.first);
        tx.put(keys::missed(app), &Missed { first, last })?;
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
