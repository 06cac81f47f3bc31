//! The slots among the builds, and who has them: so many build at once. Values that functions hold; they end when they are
//! dropped, and with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::unpoison;

type Holders = Arc<Mutex<BTreeMap<u64, String>>>;

/// All slots.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    holders: Holders,
}

/// One of them.
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    holders: Holders,
    key: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        unpoison(self.holders.lock()).remove(&self.key);
    }
}

impl Slots {
    pub fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), holders: Holders::default() }
    }
    /// One of them, once it is free: waiters are served in the order they came. `who` is what others are told.
    pub async fn acquire(&self, who: &str) -> Option<Permit> {
        // It is never closed.
        let permit = self.free.clone().acquire_owned().await.ok()?;
        Some(self.note(permit, who))
    }
    /// One of them if it is free and nobody waits for it.
    pub fn try_acquire(&self, who: &str) -> Option<Permit> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(self.note(permit, who))
    }
    /// Who has one, the longest first.
    pub fn holders(&self) -> Vec<String> {
        unpoison(self.holders.lock()).values().cloned().collect()
    }
    fn note(&self, permit: OwnedSemaphorePermit, who: &str) -> Permit {
        let mut holders = unpoison(self.holders.lock());
        let key = holders.last_key_value().map_or(0, |(key, _)| key + 1);
        holders.insert(key, who.to_owned());
        Permit { _permit: permit, holders: self.holders.clone(), key }
    }
}
