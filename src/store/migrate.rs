//! From an earlier format to this one: a step for each, from row to rows, over a copy of the store that then takes
//! its place. A backup of what was is written first.
//!
//! A new format means: one more step here, one more in [`FORMAT`], and a store of the format before as a fixture of
//! `tests/it/store/formats.rs`. Must never change a store in place: an older daemon must be able to go on with it.

use super::{StoreError, keys};

/// The format of the rows that this daemon writes.
///
/// 1: the first. 2: jobs of the past may be missing (`forget`): an older daemon would take a push that a forgotten job
/// answered for a new one, and a commit that it made for somebody else's. 3: rows may be in the log before sled, where
/// an older daemon would not look for them; what is known of an app's dependencies may take several rows, and so may
/// the bumps of a commit; there are entries, events and rows that an older one does not know.
pub(super) const FORMAT: u32 = 3;
/// The oldest that it can bring here.
const OLDEST: u32 = 1;

/// A row: its key and its value.
pub(super) type Row = (Vec<u8>, Vec<u8>);
/// What a row of one format is in the next.
type Step = fn(Row) -> Vec<Row>;

/// The step from format `OLDEST + i` to the one after it.
const STEPS: [Step; (FORMAT - OLDEST) as usize] = [only_the_number, index_in_parts];

/// What a row may refer to, or where it is, has changed, not how it is written.
fn only_the_number(row: Row) -> Vec<Row> {
    vec![row]
}

/// What is known of an app's dependencies was one row, and is the first of as many as it needs; jobs had no places among
/// the rollouts of their app, and have those of their events now.
fn index_in_parts((mut key, value): Row) -> Vec<Row> {
    if key.first() == Some(&keys::INDEX) {
        key.extend_from_slice(&[0, 0, 0]);
    }
    let id = key.len().checked_sub(10).filter(|_| key.first() == Some(&keys::APP_JOB));
    let place = id.map(|id| ([&[keys::ROLLOUT], &key[1..id + 8], &key[id..]].concat(), Vec::new()));
    [(key, value)].into_iter().chain(place).collect()
}

/// The rows that a row of that format is now.
pub(super) fn bring(from: u32, row: Row) -> Result<Vec<Row>, StoreError> {
    let steps = from.checked_sub(OLDEST).and_then(|skip| STEPS.get(skip as usize..));
    let Some(steps) = steps else {
        let why = format!("format {from} is older than any that this daemon knows; {OLDEST} is the oldest");
        return Err(StoreError::Row { key: row.0.escape_ascii().to_string(), why });
    };
    Ok(steps.iter().fold(vec![row], |rows, step| rows.into_iter().flat_map(step).collect()))
}
