//! Leases: the right to work on an app, and from update to publish on a branch of a repository. Values that
//! functions demand; they end when they are dropped, and with the process.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::OwnedMutexGuard;

use super::unpoison;
use crate::model::{AppName, Branch, RepoId};

type Locks<K> = Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>;

/// All leases of the daemon. Waiters are served in the order they came.
#[derive(Default)]
pub(super) struct Leases {
    apps: Locks<AppName>,
    branches: Locks<(RepoId, Branch)>,
}

/// The right to work on an app.
pub(super) struct AppLease {
    _guard: OwnedMutexGuard<()>,
}

/// The right to edit, build and publish a branch of a repository.
pub(super) struct BranchLease {
    _guard: OwnedMutexGuard<()>,
}

impl Leases {
    pub(super) async fn app(&self, app: &AppName) -> AppLease {
        AppLease { _guard: lock(&self.apps, app.clone()).lock_owned().await }
    }
    /// The branch's lease if no one has it.
    pub(super) fn branch_now(&self, repo: &RepoId, branch: &Branch) -> Option<BranchLease> {
        let guard = lock(&self.branches, (repo.clone(), branch.clone())).try_lock_owned().ok()?;
        Some(BranchLease { _guard: guard })
    }
    pub(super) async fn branch(&self, repo: &RepoId, branch: &Branch) -> BranchLease {
        BranchLease { _guard: lock(&self.branches, (repo.clone(), branch.clone())).lock_owned().await }
    }
}

/// The key's lock. Locks that no one holds or waits for are forgotten.
fn lock<K: Hash + Eq>(locks: &Locks<K>, key: K) -> Arc<tokio::sync::Mutex<()>> {
    let mut locks = unpoison(locks.lock());
    if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
        return lock;
    }
    locks.retain(|_, lock| lock.strong_count() > 0);
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    locks.insert(key, Arc::downgrade(&lock));
    lock
}
