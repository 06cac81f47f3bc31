//! Webhook calls whose signature was refused: told to the operator's log with the cause, counted, and remembered for
//! `/status` and `doctor`.
//!
//! Anyone can call with a wrong signature, as often as they like: after some in a minute the log gets one line for all
//! the rest of that minute. Must never tell the caller any of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::Forge;
use crate::model::check::RefusalView;

/// How many in a [`SPAN`] are logged one by one, for each forge.
const LOUD: u32 = 5;
const SPAN: Duration = Duration::from_secs(60);

/// The refusals since the start. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals {
    told: Arc<Mutex<BTreeMap<Forge, Told>>>,
}

#[derive(Debug)]
struct Told {
    count: u64,
    last_at: Timestamp,
    last_reason: String,
    /// When the present span began, and how many came in it.
    since: Instant,
    in_span: u32,
}

/// What to do about one more.
#[derive(Debug, PartialEq, Eq)]
enum Say {
    /// Log it.
    This,
    /// The first that is not: its span's end has to be told of.
    Later(Duration),
    /// Nothing.
    Nothing,
}

impl Refusals {
    /// Notes one, and logs it unless there have been many. `from` is where the call came from.
    pub fn note(&self, forge: Forge, reason: &str, delivery: Option<&str>, from: &str) {
        match self.count(forge, reason, Instant::now()) {
            Say::This => tracing::warn!(forge = forge.as_str(), delivery, from, "{reason}"),
            Say::Nothing => {}
            Say::Later(left) => {
                let refusals = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(left).await;
                    refusals.sum_up(forge);
                });
            }
        }
    }

    fn count(&self, forge: Forge, reason: &str, now: Instant) -> Say {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Told { count: 0, last_at: Timestamp::now(), last_reason: String::new(), since: now, in_span: 0 };
        let told = told.entry(forge).or_insert_with(fresh);
        if now.duration_since(told.since) >= SPAN {
            (told.since, told.in_span) = (now, 0);
        }
        told.count += 1;
        told.in_span = told.in_span.saturating_add(1);
        (told.last_at, told.last_reason) = (Timestamp::now(), reason.to_owned());
        match told.in_span {
            ..=LOUD => Say::This,
            n if n == LOUD + 1 => Say::Later(SPAN.saturating_sub(now.duration_since(told.since))),
            _ => Say::Nothing,
        }
    }

    fn sum_up(&self, forge: Forge) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // A span that has begun anew meanwhile has its own lines; this one's number is told roughly then.
        let Some(told) = told.get(&forge) else { return };
        let more = told.in_span.saturating_sub(LOUD);
        tracing::warn!(
            forge = forge.as_str(),
            more,
            in_all = told.count,
            "more webhook calls were refused within a minute than are worth a line each; the last: {}",
            told.last_reason
        );
    }

    /// What was refused, by forge.
    pub fn views(&self) -> Vec<RefusalView> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let view = |(forge, told): (&Forge, &Told)| RefusalView {
            forge: *forge,
            count: told.count,
            last_at: told.last_at,
            last_reason: told.last_reason.clone(),
        };
        told.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_one_for_the_rest_of_its_minute() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let said = |seconds: u64| refusals.count(Forge::Github, "no", start + Duration::from_secs(seconds));
        for _ in 0..LOUD {
            assert_eq!(said(0), Say::This);
        }
        assert_eq!(said(20), Say::Later(Duration::from_secs(40)));
        for _ in 0..1000 {
            assert_eq!(said(59), Say::Nothing);
        }
        // Another forge has its own, and the next minute too.
        assert_eq!(refusals.count(Forge::Gitea, "no", start), Say::This);
        assert_eq!(said(60), Say::This);
        let views = refusals.views();
        assert_eq!((views[0].forge, views[0].count), (Forge::Github, u64::from(LOUD) + 1002));
    }
}
