//! Why a job ran and why it ended as it did, and what an event did and left, gathered for people.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bump::Bump;
use super::id::{EventId, JobId};
use super::inbox::EventJob;
use super::names::{AppName, Sha};

/// `GET /jobs/ID/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainView {
    /// The job.
    pub job: JobId,
    /// Its app.
    pub app: AppName,
    /// Its state.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// Who holds its app or libraries of it now, and why, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// Why it is there, oldest first.
    pub causes: Vec<CauseExplained>,
    /// What it bumped.
    pub bumps: Vec<Bump>,
    /// Dependencies that stay where they are, and why.
    pub left_alone: Vec<String>,
}

/// One reason for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseExplained {
    /// The event, and so the plan.
    pub event: EventId,
    /// When it was accepted.
    pub at: Timestamp,
    /// What happened, who did it, in words.
    pub what: String,
    /// Why that concerns this app, in words.
    pub why: String,
    /// Its wave in that plan.
    pub wave: u16,
    /// The jobs that it waited for there.
    pub waited_for: Vec<Upstream>,
    /// Why it no longer counts.
    pub dropped: Option<String>,
    /// What the planner noted.
    pub notes: Vec<String>,
    /// Apps that depend on what moved and are not in the plan, and why, as far as it is known today.
    pub left_out: Vec<LeftOut>,
}

/// `GET /events/ID/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventExplained {
    /// The event.
    pub event: EventId,
    /// When it was accepted.
    pub at: Timestamp,
    /// What happened, who did it, in words.
    pub what: String,
    /// Whether it has a plan already.
    pub is_planned: bool,
    /// The earlier event of the same push that did not end well.
    pub again: Option<EventId>,
    /// The jobs that it made or joined, by wave.
    pub jobs: Vec<EventJob>,
    /// What the planner noted.
    pub notes: Vec<String>,
    /// Apps that depend on what moved, directly or through those of the plan, and are not in the plan, and why, as far
    /// as it is known today.
    pub left_out: Vec<LeftOut>,
}

/// A job that another waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its app.
    pub app: AppName,
    /// The job.
    pub job: JobId,
    /// Its state.
    pub state: String,
    /// What it has published.
    pub published: Option<Sha>,
}

/// An app that is not in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The app.
    pub app: AppName,
    /// Why.
    pub why: String,
}
