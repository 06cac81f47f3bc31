//! What `/metrics` counts, in Prometheus' text format. Counters begin at zero with the daemon; gauges are read from
//! the store when they are asked for.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::answer::ApiError;
use super::{Context, Door, status};
use crate::model::event::Answer;
use crate::model::hold::HoldKind;
use crate::model::{Entry, Forge, Outcome};
use crate::store::Store;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByForge {
    forge: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAnswer {
    forge: &'static str,
    answer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

/// The numbers and the registry that writes them.
pub(super) struct Metrics {
    registry: Registry,
    ended: Family<ByOutcome, Counter>,
    open: Family<ByState, Gauge>,
    unplanned: Gauge,
    store_up: Gauge,
    disk_free: Gauge,
    disk_total: Gauge,
    no_room: Gauge,
    holds: Family<ByKind, Gauge>,
    upkeep_at: Gauge,
    upkeep_faults: Gauge,
    deliveries: Family<ByAnswer, Counter>,
    refused: Family<ByForge, Counter>,
    hooks: Family<ByForge, Histogram, fn() -> Histogram>,
}

impl Metrics {
    pub fn new() -> Self {
        let buckets: fn() -> Histogram =
            || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let mut metrics = Self {
            registry: Registry::with_prefix("airplanes"),
            ended: Family::default(),
            open: Family::default(),
            unplanned: Gauge::default(),
            store_up: Gauge::default(),
            disk_free: Gauge::default(),
            disk_total: Gauge::default(),
            no_room: Gauge::default(),
            holds: Family::default(),
            upkeep_at: Gauge::default(),
            upkeep_faults: Gauge::default(),
            deliveries: Family::default(),
            refused: Family::default(),
            hooks: Family::new_with_constructor(buckets),
        };
        let registry = &mut metrics.registry;
        registry.register("jobs_ended", "Jobs that ended since the daemon started", metrics.ended.clone());
        registry.register("jobs_open", "Jobs that have not ended", metrics.open.clone());
        registry.register("events_unplanned", "Accepted events without a plan yet", metrics.unplanned.clone());
        registry.register("store_up", "1 if the store takes writes", metrics.store_up.clone());
        let help = "Free bytes of the state directory's disk";
        registry.register_with_unit("disk_free", help, Unit::Bytes, metrics.disk_free.clone());
        let help = "All bytes of the state directory's disk";
        registry.register_with_unit("disk_total", help, Unit::Bytes, metrics.disk_total.clone());
        registry.register("jobs_without_room", "Jobs that wait for room on the disk", metrics.no_room.clone());
        registry.register("holds", "What is held, by what made the hold", metrics.holds.clone());
        let help = "When the last round of upkeep ended; 0 if there was none since the daemon started";
        registry.register_with_unit("upkeep_ended", help, Unit::Seconds, metrics.upkeep_at.clone());
        let help = "What the last round of upkeep could not do";
        registry.register("upkeep_faults", help, metrics.upkeep_faults.clone());
        registry.register("deliveries", "Authentic webhook calls by their answer", metrics.deliveries.clone());
        registry.register("signature_refusals", "Webhook calls that were not authentic", metrics.refused.clone());
        let help = "Time from a webhook call's first byte of body to its answer";
        registry.register_with_unit("hook_duration", help, Unit::Seconds, metrics.hooks.clone());
        // Every series is there from the start, so that a rate over the first event is right.
        for outcome in Outcome::ALL {
            drop(metrics.ended.get_or_create(&ByOutcome { outcome: outcome.as_str() }));
        }
        for forge in Forge::ALL {
            drop(metrics.refused.get_or_create(&ByForge { forge: forge.as_str() }));
        }
        metrics
    }

    /// An authentic call was answered.
    pub fn delivery(&self, forge: Forge, answer: &Answer) {
        let answer = match answer {
            Answer::Accepted { .. } => "accepted",
            Answer::Ignored { .. } => "ignored",
            Answer::Duplicate { .. } => "duplicate",
        };
        self.deliveries.get_or_create(&ByAnswer { forge: forge.as_str(), answer }).inc();
    }
    /// A call's signature was refused.
    pub fn refused(&self, forge: Forge) {
        self.refused.get_or_create(&ByForge { forge: forge.as_str() }).inc();
    }
    /// A call to a hook was answered, however.
    pub fn hook_took(&self, forge: Forge, time: Duration) {
        self.hooks.get_or_create(&ByForge { forge: forge.as_str() }).observe(time.as_secs_f64());
    }

    /// Counts the ends of jobs until `shutdown`.
    pub async fn follow(&self, store: &Store, shutdown: CancellationToken) {
        let mut changes = store.changes();
        loop {
            let change = tokio::select! {
                () = shutdown.cancelled() => return,
                change = changes.recv() => change,
            };
            match change {
                Ok(change) => {
                    if let Entry::Ended { outcome, .. } = &change.record.entry {
                        self.ended.get_or_create(&ByOutcome { outcome: outcome.as_str() }).inc();
                    }
                }
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "jobs_ended misses some entries"),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn text(&self, door: &Door) -> Result<String, std::fmt::Error> {
        let store = &door.store;
        let counts = status::counts(store, 0);
        for (state, count) in [
            ("queued", counts.queued),
            ("waiting", counts.waiting),
            ("running", counts.running),
            ("parked", counts.parked),
        ] {
            self.open.get_or_create(&ByState { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.unplanned.set(i64::try_from(counts.unplanned).unwrap_or(i64::MAX));
        self.store_up.set(i64::from(store.fault().is_none()));
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        if let Ok(disk) = door.pipeline.disk() {
            self.disk_free.set(whole(disk.free));
            self.disk_total.set(whole(disk.total));
        }
        self.no_room.set(whole(door.pipeline.count_without_room() as u64));
        let holds = door.pipeline.holds();
        let count = |is_it: fn(&HoldKind) -> bool| holds.iter().filter(|hold| is_it(&hold.kind)).count();
        for (kind, count) in [
            ("manual", count(|kind| matches!(kind, HoldKind::Manual))),
            ("rollback", count(|kind| matches!(kind, HoldKind::Rollback { .. }))),
            ("moved-back", count(|kind| matches!(kind, HoldKind::MovedBack { .. }))),
        ] {
            self.holds.get_or_create(&ByKind { kind }).set(whole(count as u64));
        }
        if let Some(round) = door.upkeep.latest()
            && let Some(at) = round.finished_at
        {
            self.upkeep_at.set(at.as_second());
            self.upkeep_faults.set(whole(round.faults.len() as u64));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(context): State<Context>) -> Result<Response, ApiError> {
    let text = context.metrics.text(&context.door).map_err(|e| ApiError::internal(&e))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
