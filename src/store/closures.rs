//! What jobs were built with: some rows a job, which go with it.

use super::state::State;
use super::tx::{Tx, decode};
use super::{Store, StoreError, keys, writer};
use crate::model::JobId;
use crate::model::provenance::Locked;

/// How many dependencies stand in a row.
const PART: usize = 50;

impl Store {
    /// Keeps what a job is built with, in place of what was known before.
    pub async fn put_closure(&self, job: JobId, closure: Vec<Locked>) -> Result<(), StoreError> {
        self.ask(|reply| writer::Command::PutClosure(job, closure, reply)).await
    }
    /// What a job was built with; none where nobody looked, as in jobs of older daemons.
    pub fn closure(&self, job: JobId) -> Result<Option<Vec<Locked>>, StoreError> {
        let mut closure = None;
        for row in self.table()?.prefix(&keys::closure(job)) {
            let (key, value) = row?;
            closure.get_or_insert_with(Vec::new).extend(decode::<Vec<Locked>>(&key, &value)?);
        }
        Ok(closure)
    }
}

impl State {
    pub(super) fn put_closure(&mut self, tx: &mut Tx, job: JobId, closure: &[Locked]) -> Result<(), StoreError> {
        forget_closure(tx, job)?;
        // One row at least: a job that is built with nothing is known.
        let parts = closure.chunks(PART).chain(closure.is_empty().then_some(closure));
        for (index, part) in (0u16..).zip(parts) {
            tx.put(keys::closure_part(job, index), &part)?;
        }
        Ok(())
    }
}

/// Lets go of what a job was built with.
pub(super) fn forget_closure(tx: &mut Tx, job: JobId) -> Result<(), StoreError> {
    for (key, _) in tx.rows(&keys::closure(job))? {
        tx.delete(key.to_vec());
    }
    Ok(())
}
