//! One round: each kind in its turn, told as it goes. A kind that fails is told and the next one is begun.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Inner, UpkeepError};
use crate::model::upkeep::{GcKind, GcView};

/// A round under way.
pub(super) struct Round {
    pub(super) inner: Arc<Inner>,
    pub(super) dry_run: bool,
    view: GcView,
}

/// How many and how many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl Sum {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

impl Round {
    pub(super) fn new(inner: Arc<Inner>, dry_run: bool, by: &str) -> Self {
        let view = GcView {
            dry_run,
            by: by.to_owned(),
            started_at: Timestamp::now(),
            finished_at: None,
            doing: None,
            kinds: Vec::new(),
            faults: Vec::new(),
            disk_before: inner.pipeline.disk().ok(),
            disk_after: None,
        };
        let round = Self { inner, dry_run, view };
        round.tell();
        round
    }

    pub(super) async fn run(mut self) {
        self.forget_the_past().await;
        self.sweep_folders().await;
        self.sweep_artifacts().await;
        self.care_for_mirrors().await;
        self.view.doing = None;
        self.view.disk_after = self.inner.pipeline.disk().ok();
        self.view.finished_at = Some(Timestamp::now());
        let (items, bytes) = (self.view.kinds.iter().map(|kind| kind.count).sum::<u64>(), self.view.bytes());
        if !self.dry_run && (items > 0 || !self.view.faults.is_empty()) {
            tracing::info!(items, bytes, faults = self.view.faults.len(), by = %self.view.by, "upkeep is done");
        }
        self.tell();
    }

    /// Whether the daemon is ending.
    pub(super) fn is_over(&self) -> bool {
        self.inner.stop.is_cancelled()
    }
    /// What it is at.
    pub(super) fn doing(&mut self, what: impl Into<String>) {
        self.view.doing = Some(what.into());
        self.tell();
    }
    /// What came of a kind.
    pub(super) fn done(&mut self, kind: &str, sum: Sum) {
        self.view.kinds.push(GcKind { kind: kind.to_owned(), count: sum.count, bytes: sum.bytes });
        self.tell();
    }
    /// What could not be done.
    pub(super) fn fault(&mut self, error: UpkeepError) {
        if !self.is_over() {
            tracing::warn!(%error, "upkeep");
            self.view.faults.push(error.to_string());
        }
    }
    fn tell(&self) {
        self.inner.latest.store(Some(Arc::new(self.view.clone())));
    }
}
