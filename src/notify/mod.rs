//! Telling people when it matters: an app's first failure and its recovery, and when the daemon itself is not well.
//!
//! ```text
//! store: a job has ended (a mark, in the same batch) ─▶ decide (pure) ─▶ store: troubles and notices ─▶ outbox ─▶ ways
//! conditions: disk, store, configuration, webhooks ────────▲
//! ```
//! What is to be told and what was told is in the store: a notice is told at least once, whenever the daemon dies, and
//! more than once only if it dies between an answer and the mark of it. Only a fault of the store itself is told from
//! memory. Each way has one attempt at a time, so that a dead one holds up neither the pipeline nor the others.
//!
//! Must never hold a job up, tell a secret, or follow a redirect.

mod conditions;
mod dead_man;
mod decide;
mod hearing;
mod mail;
mod outbox;
mod teller;
mod way;
mod words;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;
use crate::model::notice::{DeadManView, NotifyView, TestView, TestedWay, WayView};
use crate::model::{Happening, Notice, Secret};
use crate::net::{Http, NetError};
use crate::pipeline::Pipeline;
use crate::store::Store;

use decide::Holds;
use outbox::Patience;
use way::Means;
use words::Writer;

/// What keeps notices from being told at all.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The HTTP client.
    #[error("no HTTP client could be made: {0}")]
    Http(#[from] NetError),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

/// How long things may take; the defaults are what the README says.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How often conditions are looked at.
    pub look: Duration,
    /// How long an event's first failure waits for others; its later ones; recoveries.
    pub holds: [Duration; 3],
    /// How long a refused edit, or a store's fault, has to stand.
    pub standing: Duration,
    /// How long the daemon has to be up before a forge is called silent.
    pub hearing: Duration,
    /// The shortest silence of a forge that is told.
    pub silence: Duration,
    /// How long an event may be without a plan: reading an app's dependencies from a slow remote takes its time.
    pub plan: Duration,
    /// The first pause after a failed attempt, and the longest.
    pub pauses: [Duration; 2],
    /// How long a notice is tried, and how often one that the other side refuses.
    pub keep: (Duration, u32),
}

impl Default for Pace {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            look: Duration::from_secs(10),
            holds: [minutes(1), minutes(30), minutes(10)],
            standing: minutes(1),
            hearing: minutes(60),
            silence: minutes(3 * 24 * 60),
            plan: minutes(15),
            pauses: [Duration::from_secs(5), minutes(60)],
            keep: (minutes(12 * 60), 5),
        }
    }
}

/// What telling needs.
pub struct Setup {
    /// What happened, and what was told.
    pub store: Store,
    /// Logs, and whether events are planned.
    pub pipeline: Pipeline,
    /// The configuration in force.
    pub in_force: Arc<ArcSwap<Loaded>>,
    /// What is wrong with its last edit.
    pub config_fault: Arc<ArcSwapOption<String>>,
    /// The operator's token: a secret that no notice may hold.
    pub token: Secret,
    /// The environment of commands: a clean one.
    pub env: BTreeMap<OsString, OsString>,
    /// How long things may take.
    pub pace: Pace,
}

/// A handle on it; clones share it.
#[derive(Clone)]
pub struct Notify {
    shared: Arc<Shared>,
}

struct Shared {
    setup: Setup,
    means: Means,
    ways: ArcSwap<Vec<WayView>>,
    dead_man: ArcSwapOption<DeadManView>,
}

impl Notify {
    /// Begins to tell, with what the last daemon left to be told, until `stop`.
    pub fn start(setup: Setup, stop: &CancellationToken) -> Result<Self, NotifyError> {
        let means = Means { http: Http::new()?, env: setup.env.clone().into_iter().collect() };
        let shared = Arc::new(Shared { setup, means, ways: ArcSwap::default(), dead_man: ArcSwapOption::empty() });
        let teller = teller::Teller::new(shared.clone())?;
        tokio::spawn(teller.run(stop.clone()));
        tokio::spawn(dead_man::run(shared.clone(), stop.clone()));
        Ok(Self { shared })
    }

    /// How the ways are.
    pub fn view(&self) -> NotifyView {
        let dead_man = self.shared.dead_man.load().as_deref().cloned();
        NotifyView { ways: self.shared.ways.load().as_ref().clone(), dead_man }
    }

    /// Sends a test through every way at once, or only says what would be sent.
    pub async fn test(&self, dry: bool) -> TestView {
        let loaded = self.shared.setup.in_force.load_full();
        let notify = &loaded.config.notify;
        let notice = self.shared.test_notice(&loaded);
        let tried = notify.ways.iter().map(|one| {
            let (smtp, notice) = (notify.smtp.as_ref(), &notice);
            async move {
                let mut tested = TestedWay { way: way::name(one), message: String::new(), answer: None, error: None };
                match way::message(one, smtp, notice) {
                    Ok(message) => tested.message = message,
                    Err(error) => tested.error = Some(error.to_string()),
                }
                if !dry && tested.error.is_none() {
                    match way::send(one, smtp, notice, &self.shared.means).await {
                        Ok(answer) => tested.answer = Some(answer),
                        Err(error) => tested.error = Some(error.to_string()),
                    }
                }
                tested
            }
        });
        TestView { ways: futures_util::future::join_all(tried).await }
    }
}

impl Shared {
    /// What writes notices under the configuration in force.
    fn writer<'l>(&'l self, loaded: &'l Loaded) -> Writer<'l> {
        let secrets = loaded.config.secrets().chain([&self.setup.token]).collect();
        Writer { url: loaded.config.url.as_deref(), secrets, now: Timestamp::now() }
    }

    fn test_notice(&self, loaded: &Loaded) -> Notice {
        let mut notice = self.writer(loaded).notice(
            Happening::Test,
            "airplanes can tell you when something fails",
            "nothing: somebody ran `airplanes notify test`",
        );
        notice.detail = Some("This is a test. An app's first failure and its recovery would come this way.".to_owned());
        notice
    }

    fn holds(&self) -> Holds {
        let [first, later, recovery] = self.setup.pace.holds;
        Holds { first, later, recovery }
    }

    fn patience(&self) -> Patience {
        let (keep, refusals) = self.setup.pace.keep;
        let [first, longest] = self.setup.pace.pauses;
        Patience { first, longest, keep, refusals }
    }
}
