//! What people are told: jobs that have ended and were not looked at yet, the troubles that are known, and notices on
//! their way. A job's mark is written in the batch that ends it, so no end is missed, however often the daemon dies.

use jiff::Timestamp;

use super::state::State;
use super::tx::{Tx, decode, fits};
use super::{Store, StoreError, keys, writer};
use crate::model::{JobId, JobState, Outgoing, Topic, Trouble};

/// One decision about what to tell, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct Telling {
    /// Marks of ended jobs that are done with.
    pub judged: Vec<u64>,
    /// Troubles as they are now; none where they are over.
    pub troubles: Vec<(Topic, Option<Trouble>)>,
    /// New notices.
    pub outgoing: Vec<Outgoing>,
    /// Notices as they are now, by their places; none where every way is done with them.
    pub moved: Vec<(u64, Option<Outgoing>)>,
    /// Whether to write a sign of life: what fails if the store takes no writes.
    pub alive: bool,
}

impl Telling {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.judged.is_empty()
            && self.troubles.is_empty()
            && self.outgoing.is_empty()
            && self.moved.is_empty()
            && !self.alive
    }
}

impl Store {
    /// The marks of jobs that have ended and were not judged yet, oldest first. One that can't be read is no job's.
    pub fn unjudged(&self, limit: usize) -> Result<Vec<(u64, JobId)>, StoreError> {
        let table = self.table()?;
        let rows = table.prefix(&[keys::ENDED]).take(limit).map(|row| {
            let (key, value) = row?;
            // Nobody would be told of anything any more if it were an error.
            Ok((keys::number(&key).unwrap_or(0), decode(&key, &value).unwrap_or(JobId::NONE)))
        });
        rows.collect()
    }
    /// The troubles that people were told of.
    pub fn troubles(&self) -> Result<Vec<(Topic, Trouble)>, StoreError> {
        let table = self.table()?;
        let mut troubles = Vec::new();
        for row in table.prefix(&[keys::TROUBLE]) {
            let (key, value) = row?;
            let topic = key.get(1..).and_then(|text| String::from_utf8(text.to_vec()).ok());
            let topic = topic.and_then(|text| Topic::try_from(text).ok());
            match (topic, decode::<Trouble>(&key, &value)) {
                (Some(topic), Ok(trouble)) => troubles.push((topic, trouble)),
                // To tell it once more does no harm.
                _ => {
                    tracing::error!(key = %key.escape_ascii(), "a trouble that was told can't be read and is forgotten")
                }
            }
        }
        Ok(troubles)
    }
    /// Notices that some way does not have yet, by their places, oldest first.
    pub fn outgoing(&self) -> Result<Vec<(u64, Outgoing)>, StoreError> {
        let table = self.table()?;
        let mut notices = Vec::new();
        for row in table.prefix(&[keys::OUTGOING]) {
            let (key, value) = row?;
            match decode::<Outgoing>(&key, &value) {
                Ok(notice) => notices.push((keys::number(&key).unwrap_or(0), notice)),
                Err(error) => tracing::error!(%error, "a notice can't be read and is not told"),
            }
        }
        Ok(notices)
    }
    /// Keeps a decision about what to tell; gives the new notices' places.
    pub async fn tell(&self, telling: Telling) -> Result<Vec<u64>, StoreError> {
        self.ask(|reply| writer::Command::Tell(telling, reply)).await
    }
}

impl State {
    /// A job has ended: it is to be looked at.
    pub(super) fn mark_ended(&mut self, tx: &mut Tx, job: &JobState, now: Timestamp) -> Result<(), StoreError> {
        let id = self.next_id(now);
        tx.put(keys::ended(id), &job.id)
    }

    pub(super) fn tell(&mut self, tx: &mut Tx, telling: Telling, now: Timestamp) -> Result<Vec<u64>, StoreError> {
        for outgoing in &telling.outgoing {
            fits(outgoing.notice.id.as_bytes(), outgoing)?;
        }
        for mark in telling.judged {
            tx.delete(keys::ended(mark));
        }
        for (topic, trouble) in telling.troubles {
            match trouble {
                Some(trouble) => tx.put(keys::trouble(&topic), &trouble)?,
                None => tx.delete(keys::trouble(&topic)),
            }
        }
        for (place, outgoing) in telling.moved {
            match outgoing {
                Some(outgoing) => tx.put(keys::outgoing(place), &outgoing)?,
                None => tx.delete(keys::outgoing(place)),
            }
        }
        let mut places = Vec::new();
        for outgoing in telling.outgoing {
            let place = self.next_id(now);
            tx.put(keys::outgoing(place), &outgoing)?;
            places.push(place);
        }
        if telling.alive {
            tx.put(keys::ALIVE.to_vec(), &now)?;
        }
        Ok(places)
    }
}
