//! Holds: someone's word that an app, or one of its libraries, stays where it is. They are data in the store; a pin is
//! in deps.edn, and what to follow is in deploy.edn.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fold::JobState;
use super::id::{EventId, HoldId, JobId};
use super::names::{AppName, Lib, Sha};
use super::plan::Why;
use super::rollout::Because;
use super::url::RepoId;

/// A hold. There is one at the most for an app, and one for each of its libraries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its id: another hold in its place has another.
    pub id: HoldId,
    /// The app.
    pub app: AppName,
    /// Its library; none where the app itself is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lib: Option<Lib>,
    /// Why, in a person's words; at most 300 characters.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// It ends by itself once what the app would take from there is this commit or descends from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_descendant_of: Option<Descendant>,
    /// What made it.
    pub kind: HoldKind,
    /// The hold made by itself that a person's was put over: it is in force again when that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beneath: Option<Box<Hold>>,
}

/// A commit that others descend from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descendant {
    /// Its repository.
    pub repo: RepoId,
    /// It.
    pub sha: Sha,
}

/// What made a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HoldKind {
    /// A person.
    Manual,
    /// A rollback: it stops bumps and not people, and ends with a push that descends from the bad commit.
    Rollback {
        /// The commit that was rolled back.
        bad: Sha,
        /// The job that did.
        job: JobId,
        /// What rollbacks had taken back before, whose holds this one is in place of, the last first: nothing of that is
        /// an answer to the bad commit.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        before: Vec<Sha>,
    },
    /// A person's push that put a library back: no bump undoes that. It ends with a push of a person that moves the
    /// library on.
    MovedBack {
        /// Where it was.
        from: Sha,
        /// Where the person has put it.
        to: Sha,
    },
}

impl Hold {
    /// The hold that a rollback makes, before the store has given it an id.
    pub fn of_rollback(app: AppName, bad: Sha, job: JobId, reason: &str, at: Timestamp) -> Self {
        Self {
            id: HoldId(0),
            app,
            lib: None,
            reason: reason.chars().take(REASON).collect(),
            by: "a rollback".to_owned(),
            at,
            until: None,
            until_descendant_of: None,
            kind: HoldKind::Rollback { bad, job, before: Vec::new() },
            beneath: None,
        }
    }
    /// The hold that a push makes which puts a library back, before the store has given it an id: from where to where,
    /// and the app's commit that has it.
    pub fn of_moved_back(app: AppName, lib: Lib, (from, to): (Sha, Sha), commit: Sha) -> Self {
        let reason = format!(
            "moved back from {} to {} in {}; `airplanes hold {app} {lib} --release` lets it move on",
            from.short(),
            to.short(),
            commit.short()
        );
        Self {
            id: HoldId(0),
            app,
            lib: Some(lib),
            reason: reason.chars().take(REASON).collect(),
            by: "a person's push".to_owned(),
            at: Timestamp::now(),
            until: None,
            until_descendant_of: None,
            kind: HoldKind::MovedBack { from, to },
            beneath: None,
        }
    }
    /// The hold in it that nobody asked for, which a rollback or a push has made: itself, or the one that it was put
    /// over.
    pub fn made_by_itself(&self) -> Option<&Hold> {
        match self.kind {
            HoldKind::Manual => self.beneath.as_deref(),
            HoldKind::Rollback { .. } | HoldKind::MovedBack { .. } => Some(self),
        }
    }
    /// Whether nothing of the app runs at all.
    pub fn stops_all(&self) -> bool {
        self.lib.is_none() && self.kind == HoldKind::Manual
    }
    /// Whether the app is not run because something that it depends on moved.
    pub fn stops_cascades(&self) -> bool {
        self.lib.is_none()
    }
    /// Whether a job that runs leaves that library where it is.
    pub fn stops_bump(&self, lib: &Lib) -> bool {
        match &self.lib {
            Some(held) => held == lib,
            None => self.made_by_itself().is_some(),
        }
    }
    /// Whether a job of the app that has not started is not to start.
    pub fn stops(&self, job: &JobState) -> bool {
        // A rollback is a person's word about what is live now.
        if job.carried().is_some_and(|carried| matches!(carried.because, Because::Rollback { .. })) {
            return false;
        }
        let by_people = job.live_causes().any(|cause| cause.why != Why::Dependency);
        self.stops_all() || (self.stops_cascades() && !by_people)
    }
    /// Whether its time has come.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// How long a reason may be, in characters.
pub const REASON: usize = 300;

/// `shop is held by operator since 2026-11-22 17:00Z: the fix is not in (until …)`.
impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.lib {
            Some(lib) => write!(f, "{lib} of {}", self.app)?,
            None => write!(f, "{}", self.app)?,
        }
        write!(f, " is held by {} since {}: {}", self.by, self.at.strftime("%Y-%m-%d %H:%MZ"), self.reason)?;
        if let Some(until) = self.until {
            write!(f, " (until {})", until.strftime("%Y-%m-%d %H:%MZ"))?;
        }
        if let Some(Descendant { repo, sha }) = &self.until_descendant_of {
            write!(f, " (until {} of {repo} or a descendant is pushed)", sha.short())?;
        }
        let is_over = self.beneath.is_some();
        match &self.made_by_itself().unwrap_or(self).kind {
            HoldKind::Rollback { bad, before, .. } => {
                let over = if is_over { "over a rollback's, " } else { "" };
                write!(f, " ({over}until a push that descends from {}", bad.short())?;
                let before: Vec<String> = before.iter().map(Sha::short).collect();
                if !before.is_empty() {
                    write!(f, " and is no part of what was rolled back before, {}", before.join(", "))?;
                }
                write!(f, ")")
            }
            HoldKind::MovedBack { to, .. } if is_over => {
                write!(f, " (over a push's, which moved it back to {})", to.short())
            }
            HoldKind::MovedBack { .. } | HoldKind::Manual => Ok(()),
        }
    }
}

/// A body for `PUT /apps/APP/hold`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// The library, by its name or its repository; the app itself if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lib: Option<String>,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The commit with which it ends by itself: of the library's repository, or of the app's. The first digits do for one
    /// that is pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_descendant_of: Option<String>,
}

/// A hold that was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// It.
    #[serde(flatten)]
    pub hold: Hold,
    /// The hold that it takes the place of, with all that was said of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Hold>,
    /// What a person should know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// All holds, by app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldList {
    /// The holds.
    pub holds: Vec<Hold>,
    /// Always none: the page has all of them.
    pub next: Option<String>,
}

/// A hold that was let go of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// It.
    pub hold: Hold,
    /// The event that makes up for what it kept back; none where another hold keeps the app, or the app runs only when a
    /// person says so.
    pub event: Option<EventId>,
}
