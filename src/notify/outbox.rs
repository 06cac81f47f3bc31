//! Notices on their way: one at a time on each way, in order, with growing pauses where a way fails, and given up when
//! that has gone on for too long. A slow or dead way holds up no other.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::Outgoing;
use crate::model::notice::WayView;

/// Where a notice is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// In memory alone: it tells that the store takes nothing.
    Memory(u64),
    /// In the store.
    Stored(u64),
}

/// How ways that fail are tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The first pause; each next one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long a notice is tried.
    pub keep: Duration,
    /// How often a notice that the other side refuses is tried.
    pub refusals: u32,
}

/// How one way is.
#[derive(Debug, Default)]
struct WayState {
    busy: bool,
    failures: u32,
    /// How often it refused the notice that is at its head.
    refused: u32,
    next: Option<Instant>,
    told_at: Option<Timestamp>,
    error: Option<String>,
    given_up: usize,
}

/// What an attempt met.
pub(super) struct Attempt {
    pub print: String,
    pub place: Place,
    pub result: Result<String, Failure>,
}

/// An attempt that failed.
pub(super) struct Failure {
    pub why: String,
    pub refused: bool,
    pub retry_after: Option<Duration>,
}

/// The notices on their way.
pub(super) struct Outbox {
    patience: Patience,
    rows: BTreeMap<Place, Outgoing>,
    ways: HashMap<String, WayState>,
    memory: u64,
    /// What has changed and is not in the store yet.
    pub moved: BTreeMap<u64, Option<Outgoing>>,
}

impl Outbox {
    pub fn new(patience: Patience, stored: Vec<(u64, Outgoing)>) -> Self {
        let rows = stored.into_iter().map(|(place, outgoing)| (Place::Stored(place), outgoing)).collect();
        Self { patience, rows, ways: HashMap::new(), memory: 0, moved: BTreeMap::new() }
    }

    /// A notice that is in the store.
    pub fn stored(&mut self, place: u64, outgoing: Outgoing) {
        self.rows.insert(Place::Stored(place), outgoing);
    }
    /// A notice that can't be.
    pub fn in_memory(&mut self, outgoing: Outgoing) {
        self.memory += 1;
        self.rows.insert(Place::Memory(self.memory), outgoing);
    }

    /// Forgets ways that are no longer configured: nobody waits for what was on its way to them.
    pub fn keep_ways(&mut self, is_way: impl Fn(&str) -> bool) {
        let mut changed = Vec::new();
        for (place, row) in &mut self.rows {
            let before = row.left.len();
            row.left.retain(|print| is_way(print));
            if row.left.len() != before {
                tracing::info!(notice = %row.notice.title, "not told to a way that is no longer configured");
                changed.push(*place);
            }
        }
        changed.into_iter().for_each(|place| self.settle_row(place));
        self.ways.retain(|print, state| state.busy || is_way(print));
    }

    /// What a way has to be given next, if it is its time; it is busy then until `settle`.
    pub fn take(&mut self, print: &str, now: Instant) -> Option<(Place, Outgoing)> {
        let state = self.ways.entry(print.to_owned()).or_default();
        if state.busy || state.next.is_some_and(|next| next > now) {
            return None;
        }
        let (place, row) = self.rows.iter().find(|(_, row)| row.left.iter().any(|left| left == print))?;
        state.busy = true;
        Some((*place, row.clone()))
    }

    /// When the next way that failed is to be tried again.
    pub fn next(&self) -> Option<Instant> {
        let waits = |print: &String| self.rows.values().any(|row| row.left.contains(print));
        let free = self.ways.iter().filter(|(print, state)| !state.busy && waits(print));
        free.filter_map(|(_, state)| state.next).min()
    }

    /// Takes in what an attempt met.
    pub fn settle(&mut self, way: &str, attempt: Attempt, now: Instant, clock: Timestamp) {
        let Attempt { print, place, result } = attempt;
        let state = self.ways.entry(print.clone()).or_default();
        state.busy = false;
        let title = self.rows.get(&place).map(|row| row.notice.title.clone()).unwrap_or_default();
        match result {
            Ok(answer) => {
                tracing::info!(%way, notice = %title, %answer, "told");
                *state = WayState { told_at: Some(clock), given_up: state.given_up, ..WayState::default() };
                self.done(place, &print);
            }
            Err(failure) => {
                state.failures += 1;
                state.refused += u32::from(failure.refused);
                let doubled = self.patience.first.saturating_mul(1 << (state.failures - 1).min(20));
                let pause = doubled.min(self.patience.longest).max(failure.retry_after.unwrap_or_default());
                let pause = pause.min(Duration::from_secs(3600).max(self.patience.longest));
                state.next = Some(now + pause);
                state.error = Some(failure.why.clone());
                tracing::warn!(%way, notice = %title, error = %failure.why, again_in = ?pause, "a notice was not taken");
                let refused = state.refused >= self.patience.refusals;
                let mut given_up: Vec<Place> = self.too_old(&print, clock);
                if refused && !given_up.contains(&place) {
                    given_up.push(place);
                }
                for place in given_up {
                    let title = self.rows.get(&place).map(|row| row.notice.title.clone()).unwrap_or_default();
                    tracing::error!(%way, notice = %title, error = %failure.why, "given up: nobody was told this way");
                    let state = self.ways.entry(print.clone()).or_default();
                    state.given_up += 1;
                    state.refused = 0;
                    self.done(place, &print);
                }
            }
        }
    }

    fn too_old(&self, print: &str, clock: Timestamp) -> Vec<Place> {
        let keep = jiff::SignedDuration::try_from(self.patience.keep).unwrap_or(jiff::SignedDuration::MAX);
        let is_old = |row: &Outgoing| clock.duration_since(row.notice.at) > keep;
        let mine = self.rows.iter().filter(|(_, row)| row.left.iter().any(|left| left == print) && is_old(row));
        mine.map(|(place, _)| *place).collect()
    }

    fn done(&mut self, place: Place, print: &str) {
        if let Some(row) = self.rows.get_mut(&place) {
            row.left.retain(|left| left != print);
        }
        self.settle_row(place);
    }

    /// A row without a way left goes; the store hears of every change.
    fn settle_row(&mut self, place: Place) {
        let Some(row) = self.rows.get(&place) else { return };
        let left = (!row.left.is_empty()).then(|| row.clone());
        if left.is_none() {
            self.rows.remove(&place);
        }
        if let Place::Stored(number) = place {
            self.moved.insert(number, left);
        }
    }

    /// How a way is, for `/status`.
    pub fn view(&self, way: String, print: &str) -> WayView {
        let waiting = self.rows.values().filter(|row| row.left.iter().any(|left| left == print)).count();
        let state = self.ways.get(print);
        WayView {
            way,
            waiting,
            told_at: state.and_then(|state| state.told_at),
            error: state.and_then(|state| state.error.clone()),
            given_up: state.map_or(0, |state| state.given_up),
        }
    }
}
