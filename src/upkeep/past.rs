//! What `:keep` does not keep: ended jobs with their journals and logs, and events and deliveries of long ago.
//!
//! First the rows, then the logs: a log without its job is found by the next round, a job without its log would be a
//! lie. Small groups, each waited for, so that webhooks come in between.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::UpkeepError;
use super::folders::{remove, size};
use super::round::{Round, Sum};
use crate::config::Keep;
use crate::model::JobId;
use crate::store::{Forget, Old, Retention, StoreError};

/// How many rows' worth goes at once: a job has some thirty.
const JOBS: usize = 8;
const ROWS: usize = 100;
/// Between two groups, so that the disk is others' most of the time.
const REST: Duration = Duration::from_millis(5);
/// Forges redeliver for some days: so long what came in is remembered, whatever `:days` says.
const REDELIVERED_FOR: u32 = 7;

const DAY: i64 = 86_400;

fn retention(keep: Keep, now: Timestamp) -> Retention {
    let before =
        |days: u32| now.checked_sub(SignedDuration::from_secs(i64::from(days) * DAY)).unwrap_or(Timestamp::MIN);
    Retention {
        jobs: keep.jobs.max(1),
        jobs_since: before(keep.days),
        events_since: before(keep.days.max(REDELIVERED_FOR)),
    }
}

impl Round {
    pub(super) async fn forget_the_past(&mut self) {
        self.doing("what :keep does not keep");
        let keep = retention(self.inner.in_force.load().config.keep, Timestamp::now());
        let store = self.inner.store.clone();
        let old = match tokio::task::spawn_blocking(move || store.old(&keep)).await {
            Ok(Ok(old)) => old,
            Ok(Err(error)) => return self.fault(error.into()),
            Err(panic) => return tracing::error!(%panic, "the old rows could not be found"),
        };
        let Old { jobs, events, deliveries } = old;
        let gone = self.forget_all("jobs", &jobs, JOBS, Forget::Jobs).await;
        self.forget_all("events", &events, ROWS, Forget::Events).await;
        self.forget_all("deliveries", &deliveries, ROWS, Forget::Deliveries).await;
        self.remove_logs(gone, keep.jobs_since).await;
    }

    /// Lets go of a kind, group by group; gives what went, or would go.
    async fn forget_all<Id: Copy>(
        &mut self,
        kind: &str,
        old: &[(Id, u64)],
        at_once: usize,
        forget: fn(Vec<Id>) -> Forget,
    ) -> Vec<Id> {
        let mut sum = Sum::default();
        let mut gone = Vec::with_capacity(old.len());
        for group in old.chunks(at_once) {
            if self.is_over() {
                break;
            }
            let places = if self.dry_run {
                (0..group.len()).collect()
            } else {
                match self.inner.store.forget(forget(group.iter().map(|(id, _)| *id).collect())).await {
                    Ok(places) => places,
                    Err(error) => {
                        self.fault(error.into());
                        break;
                    }
                }
            };
            for (id, bytes) in places.into_iter().filter_map(|place| group.get(place)) {
                sum.add(*bytes);
                gone.push(*id);
            }
            if !self.dry_run {
                tokio::time::sleep(REST).await;
            }
        }
        self.done(kind, sum);
        gone
    }

    /// The logs of jobs that went, and those that an earlier round did not get to: of jobs that the store does not
    /// know and that are older than `since`. Younger ones stay, in case a backup of the store is put back.
    async fn remove_logs(&mut self, gone: Vec<JobId>, since: Timestamp) {
        self.doing("logs of jobs that are not kept");
        let (root, store, dry_run) = (self.inner.state.join("logs"), self.inner.store.clone(), self.dry_run);
        let work = move || -> Result<(Sum, Vec<UpkeepError>), StoreError> {
            let (mut sum, mut faults) = (Sum::default(), Vec::new());
            let gone: std::collections::HashSet<JobId> = gone.into_iter().collect();
            for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
                let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<JobId>().ok()) else { continue };
                // An id is milliseconds since 1970 and a count.
                let at = Timestamp::from_millisecond((id.event.0 >> 20) as i64).unwrap_or(Timestamp::MAX);
                if !gone.contains(&id) && (at >= since || store.job(id)?.is_some()) {
                    continue;
                }
                let bytes = size(&entry.path());
                match if dry_run { Ok(()) } else { remove(&entry.path()) } {
                    Ok(()) => sum.add(bytes),
                    Err(error) => faults.push(error),
                }
            }
            Ok((sum, faults))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok((sum, faults))) => {
                faults.into_iter().for_each(|fault| self.fault(fault));
                self.done("logs", sum);
            }
            Ok(Err(error)) => self.fault(error.into()),
            Err(panic) => tracing::error!(%panic, "logs could not be removed"),
        }
    }
}
