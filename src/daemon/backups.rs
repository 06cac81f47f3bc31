//! The daemon's own backups: one a day, a few of them kept in the state folder, for the day on which the store is
//! damaged and nobody made any.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// How often is looked whether one is due.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// Until `stop`. The first is made at once, if it is due.
pub(super) async fn run(store: Store, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stop.cancelled() => return,
        }
        let store = store.clone();
        match tokio::task::spawn_blocking(move || store.daily_backup()).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(made))) => tracing::info!(file = %made.display(), "the daily backup is made"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the daily backup could not be made; it is tried again in an hour")
            }
            Err(error) => tracing::warn!(%error, "the daily backup broke off"),
        }
    }
}
