//! The daemon's own backups: one a day, a few of them kept in the state folder, for the day on which the store is
//! damaged and nobody made any.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// How often is looked whether one is due.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// Until `stop`, which waits for no backup. The first is made at once, if it is due.
pub(super) async fn run(store: Store, state: PathBuf, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let store = store.clone();
        let made = tokio::task::spawn_blocking(move || store.daily_backup());
        let made = tokio::select! {
            made = made => made,
            () = stop.cancelled() => {
                // It is made on a thread that ends with the process. Without its name it can't become a backup, and
                // nothing of it is left.
                let _ = std::fs::remove_file(state.join("backups/unfinished"));
                return;
            }
        };
        match made {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(made))) => tracing::info!(file = %made.display(), "the daily backup is made"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the daily backup could not be made; it is tried again in an hour")
            }
            Err(error) => tracing::warn!(%error, "the daily backup broke off"),
        }
    }
}
