//! While an app is built its hosts are not idle: those that fetch by themselves fetch what its branch has already, over a
//! connection that is there then, so that their turn needs no handshake any more.
//!
//! Nothing depends on it: a host that was not reached, where somebody holds the lock or the fetch failed fetches in its turn.
//! Only what a clone keeps beside its files is changed. It has ended before the rollout looks at any host.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::Work;
use super::turn::holder;
use crate::host::Remote;
use crate::host::lock::alone;
use crate::model::rollout::Ship;

/// How long a fetch ahead may take.
const WITHIN: Duration = Duration::from_secs(600);

/// The fetches under way.
#[derive(Default)]
pub(in crate::pipeline) struct Ahead {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Ahead {
    /// Ends what is under way, on the hosts too.
    pub(super) async fn end(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            // It tells of its own errors.
            let _ = task.await;
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Begins to fetch on the job's hosts, once a job.
pub(in crate::pipeline::steps) fn fetch_ahead(work: &mut Work) {
    let Some((branch, sha)) = work.job.base.clone() else { return };
    if work.job.app.rollout.ship != Ship::Pull || !work.ahead.tasks.is_empty() {
        return;
    }
    let rooms = work.rooms();
    work.ahead.stop = work.stop.child_token();
    for host in super::hosts(&work.job) {
        let Some(folder) = work.job.app.folder_on(&host) else { continue };
        let (hosts, stop) = (alone(&rooms.hosts, &host, &folder, &holder(work)), work.ahead.stop.clone());
        let branch = branch.clone();
        work.ahead.tasks.push(work.inner.tasks.spawn(async move {
            let mut quiet = |_: &[u8]| ();
            let mut remote = Remote { hosts: &hosts, host: &host, timeout: WITHIN, cancel: &stop, log: &mut quiet };
            if let Err(error) = remote.fetch_ahead(&folder, &branch, &sha).await {
                tracing::debug!(host = %host.name, %error, "not fetched in advance");
            }
            hosts.hang_up().await;
        }));
    }
}
