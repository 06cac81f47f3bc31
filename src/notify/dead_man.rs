//! The dead-man url: called while all is well, and not otherwise. Somebody else tells people when the calls stop.
//!
//! Well means: the store takes a write just now, and no event has waited long for its plan.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::model::notice::DeadManView;
use crate::net;
use crate::store::Telling;

/// How long the store may take to keep a sign of life.
const STORE: Duration = Duration::from_secs(30);

/// Until `stop`.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut called: Option<Instant> = None;
    loop {
        let loaded = shared.setup.in_force.load_full();
        let look = Instant::now() + shared.setup.pace.look;
        let mut next = look;
        match &loaded.config.notify.dead_man {
            None => {
                shared.dead_man.store(None);
                called = None;
            }
            Some(dead_man) => {
                let due = called.map(|called| called + dead_man.every);
                if due.is_none_or(|due| due <= Instant::now()) {
                    called = Some(Instant::now());
                    let url = String::from_utf8_lossy(dead_man.url.expose()).into_owned();
                    let result = match well(&shared).await {
                        Ok(()) => shared.means.http.get(&url).await.map(drop).map_err(|e| e.to_string()),
                        Err(why) => Err(format!("not called, since {why}")),
                    };
                    shared.note(net::host(&url), result);
                }
                next = next.min(called.unwrap_or(look) + dead_man.every);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
    }
}

/// Whether all is well, or why not.
async fn well(shared: &Shared) -> Result<(), String> {
    let store = &shared.setup.store;
    match timeout(STORE, store.tell(Telling { alive: true, ..Telling::default() })).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("the store kept nothing within {} s", STORE.as_secs())),
    }
    let oldest = store.unplanned().into_iter().map(|event| event.at).min();
    match oldest.map(|at| Timestamp::now().duration_since(at)) {
        Some(waits) if waits.unsigned_abs() > shared.setup.pace.plan => {
            Err(format!("an event has waited {} minutes for its plan", waits.as_mins()))
        }
        _ => Ok(()),
    }
}

impl Shared {
    fn note(&self, host: String, result: Result<(), String>) {
        let last = self.dead_man.load_full();
        let mut view = DeadManView { host, called_at: last.as_ref().and_then(|view| view.called_at), error: None };
        match result {
            Ok(()) => view.called_at = Some(Timestamp::now()),
            Err(error) => {
                // Once, and not every few minutes.
                if last.is_none_or(|last| last.error.is_none()) {
                    tracing::warn!(%error, "the dead-man url");
                }
                view.error = Some(error);
            }
        }
        self.dead_man.store(Some(Arc::new(view)));
    }
}
