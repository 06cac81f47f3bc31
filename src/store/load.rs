//! A job from its journal. One that can't be read becomes a parked job, which holds its app until a person looks:
//! it is never dropped, and never guessed at.

use super::rows::EventRow;
use super::table::Table;
use super::tx::{decode, get};
use super::{StoreError, keys};
use crate::model::{App, Cause, JobId, JobState, Outcome, PlanRow, Record, RepoUrl, Trigger, Why};

/// The job that its journal makes; parked where an entry can't be read or can't follow those before it. Errs only
/// where the disk can't be read or nothing at all is known of the job.
pub(super) fn load_job(table: &Table, id: JobId) -> Result<JobState, StoreError> {
    let mut state: Option<JobState> = None;
    let mut fault = None;
    for row in table.prefix(&keys::records(id)) {
        let (key, value) = row?;
        if let Err(error) = fold(&mut state, id, &key, &value) {
            fault = Some(error);
            break;
        }
    }
    let error = match (state, fault) {
        (Some(state), None) => return Ok(state),
        (Some(state), Some(error)) => return Ok(park(state, &error)),
        (None, error) => error,
    };
    let error = error.unwrap_or(StoreError::NotOpen(id));
    // Its plan still knows the app.
    let Some(row) = get::<PlanRow>(table, &keys::plan_row(id.event, id.index))? else { return Err(error) };
    let event = get::<EventRow>(table, &keys::event(id.event)).ok().flatten();
    Ok(park(stub(id, row, event), &error))
}

fn fold(state: &mut Option<JobState>, id: JobId, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let bad = |why: String| StoreError::Row { key: key.escape_ascii().to_string(), why };
    let next = state.as_ref().map_or(1, |s| s.seq + 1);
    if keys::seq(key) != Some(next) {
        return Err(bad(format!("entry {next} of the journal is missing")));
    }
    let record: Record = decode(key, value)?;
    let folded = match state {
        None => JobState::create(id, &record).map(|new| *state = Some(new)),
        Some(state) => state.apply(&record),
    };
    folded.map_err(|why| StoreError::Fold { job: id, why })
}

fn park(mut state: JobState, error: &StoreError) -> JobState {
    let (id, app) = (state.id, &state.app.name);
    tracing::error!(job = %id, %app, %error, "parked: its journal can't be read; `airplanes cancel {id}` lets its app go on");
    state.ended = Some((state.created_at, Outcome::Parked, error.to_string()));
    state
}

/// What is left of a job whose first entry is gone: its app's name, and that it is there.
fn stub(id: JobId, row: PlanRow, event: Option<EventRow>) -> JobState {
    let at = event.map(|e| e.event.at).unwrap_or_default();
    let app = App { trigger: Trigger::Manual, ..App::bare(row.app, RepoUrl::unknown()) };
    let why = Why::Asked { by: "an entry that can't be read".to_owned() };
    let (after, targets, tags) = (Vec::new(), Vec::new(), Vec::new());
    let cause = Cause { plan: id.event, at, why, wave: row.wave, after, targets, tags, dropped: None };
    JobState::unreadable(id, app, cause)
}
