//! What HTTP tells of deliveries and of the daemon itself; the rest of the API's shapes are in `api`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::api::{AppView, JobView};
use super::check::RefusalView;
use super::event::Forge;
use super::id::{DeliveryId, EventId, JobId};
use super::job::Entry;
use super::names::{AppName, Branch, Sha};
use super::notice::NotifyView;
use super::upkeep::DiskView;
use super::url::RepoId;

/// What a webhook call is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookAnswer {
    /// The call's id here.
    pub delivery: DeliveryId,
    /// `accepted`, `ignored` or `duplicate`.
    pub status: String,
    /// The first event that it made, or the one that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// All events that it made: one for each branch that moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventId>,
    /// Why nothing was made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A page of deliveries, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryList {
    /// The deliveries.
    pub deliveries: Vec<DeliveryView>,
    /// What to give as `before=` for the next page.
    pub next: Option<DeliveryId>,
}

/// One authentic webhook call, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Its id here.
    pub id: DeliveryId,
    /// When it came.
    pub at: Timestamp,
    /// Who called.
    pub forge: Forge,
    /// The forge's own id for the call.
    pub forge_id: Option<String>,
    /// The forge's word for the event.
    pub event: String,
    /// The repository, if the payload names one.
    pub repo: Option<RepoId>,
    /// `accepted`, `ignored` or `duplicate`.
    pub status: String,
    /// Why it was ignored, or why it is a duplicate.
    pub reason: Option<String>,
    /// The event that a duplicate repeats.
    pub duplicate_of: Option<EventId>,
    /// The events that an accepted one made.
    pub events: Vec<EventView>,
}

/// An event, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Its id.
    pub id: EventId,
    /// `accepted` (no plan yet), `planned` (jobs under way) or `closed`.
    pub state: String,
    /// The branch that moved.
    pub branch: Option<Branch>,
    /// The tag that is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Its head before.
    pub before: Option<Sha>,
    /// Its head now.
    pub after: Option<Sha>,
    /// The head commit's subject.
    pub subject: Option<String>,
    /// Who pushed.
    pub pusher: Option<String>,
    /// The earlier event of the same push that did not end well.
    pub again: Option<EventId>,
    /// What the planner noted: why nothing is done, cycles, apps that can't be read.
    pub notes: Vec<String>,
    /// The jobs that it made or joined, in order.
    pub jobs: Vec<EventJob>,
}

/// A job of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventJob {
    /// The app.
    pub app: AppName,
    /// The job.
    pub id: JobId,
    /// Its wave in the event's plan.
    pub wave: u16,
    /// Its state, in the words of jobs.
    pub state: String,
}

/// The apps of deploy.edn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppList {
    /// The apps.
    pub apps: Vec<AppView>,
    /// Always none: they fit one page.
    pub next: Option<AppName>,
}

/// One server-sent event of `/jobs/ID/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// When it was written.
    pub at: Timestamp,
    /// The journal's entry.
    pub entry: Entry,
    /// The job after it.
    pub job: JobView,
}

/// The one-page summary. Without a token only what names nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The daemon's version.
    pub version: String,
    /// Since when it is up.
    pub up_since: Timestamp,
    /// Whether it can keep what it accepts.
    pub store: StoreView,
    /// What is wrong with the last edit of the configuration, while an older one is in force; for those with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_fault: Option<String>,
    /// The state directory's disk; for those with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskView>,
    /// How people are told; for those with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<NotifyView>,
    /// The webhook calls that were refused since the start, by forge; for those with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals: Option<Vec<RefusalView>>,
    /// How builds run here; for those with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builds: Option<BuildsView>,
    /// How many of each.
    pub counts: Counts,
    /// The apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<AppView>>,
    /// The jobs under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Vec<JobView>>,
    /// The last deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Vec<DeliveryView>>,
}

/// How builds run on the daemon's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildsView {
    /// How many at once.
    pub at_once: usize,
    /// What each may take of the machine, in words.
    pub each: Option<String>,
    /// What builds are not kept from or not limited in here, and why, in words.
    pub lacking: Vec<String>,
}

/// The store's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreView {
    /// `ok` or `fault`.
    pub state: String,
    /// Since when it takes no writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why, for those with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How many of each there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Apps in deploy.edn.
    pub apps: usize,
    /// Events that have no plan yet.
    pub unplanned: usize,
    /// Jobs that wait for their turn.
    pub queued: usize,
    /// Jobs that wait for others.
    pub waiting: usize,
    /// Jobs at work.
    pub running: usize,
    /// Jobs whose journal can't be read.
    pub parked: usize,
}
