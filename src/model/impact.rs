//! Who would break if a commit were merged: the question, and what trying it out has shown so far.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bump::Bump;
use super::id::ImpactId;
use super::names::{AppName, Branch, Sha};
use super::url::RepoId;

/// The question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImpactQuery {
    /// An app of deploy.edn, or a repository's url or identity.
    pub repo: String,
    /// A branch of it that is not merged, or a commit of one in full.
    pub branch: String,
    /// The branch that it would be merged into; none means the app's, or the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onto: Option<Branch>,
    /// Only this app, and those whose commits it would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Whether the commit gets a status on its git host.
    #[serde(default)]
    pub report: bool,
}

/// What is known so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImpactView {
    /// Which.
    pub id: ImpactId,
    /// The repository.
    pub repo: RepoId,
    /// The branch, or the commit that was asked about.
    pub branch: String,
    /// The commit, once it is known.
    pub sha: Option<Sha>,
    /// The branch that it would be merged into, once it is known.
    pub onto: Option<Branch>,
    /// What apps are built with: the commit, or what merging it would make.
    pub tried: Option<Sha>,
    /// `waiting` for another one to end, `running`, `done`, `failed` or `canceled`.
    pub state: ImpactState,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How often anything has changed in here: `?seen=` waits for more.
    pub changes: u64,
    /// The apps, in the order in which they are tried; those that are not affected come last. Where `?seen=` was said,
    /// only those that have changed since.
    pub apps: Vec<TrialView>,
    /// What there is to say besides.
    pub notes: Vec<String>,
}

impl ImpactView {
    /// The apps that a state is true of.
    pub fn of(&self, state: TrialState) -> impl Iterator<Item = &TrialView> {
        self.apps.iter().filter(move |app| app.state == state)
    }
    /// What is newer than `seen` of it.
    pub fn since(mut self, seen: u64) -> Self {
        self.apps.retain(|app| app.changed > seen);
        self
    }
    /// With what is newer.
    pub fn with(self, newer: ImpactView) -> Self {
        let mut apps = self.apps;
        for app in newer.apps {
            match apps.iter_mut().find(|old| old.app == app.app) {
                Some(old) => *old = app,
                None => apps.push(app),
            }
        }
        Self { apps, ..newer }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImpactState {
    /// Another one is under way.
    Waiting,
    /// Under way.
    Running,
    /// All that can be known is.
    Done,
    /// It could not be found out.
    Failed,
    /// A person, or the daemon's end, ended it.
    Canceled,
}

impl ImpactState {
    /// Whether nothing more will come.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// One app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialView {
    /// Which.
    pub app: AppName,
    /// Its wave.
    pub wave: u16,
    /// Of all changes, the last that was its own.
    #[serde(default)]
    pub changed: u64,
    /// The apps whose commits it would take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<AppName>,
    /// How it is.
    pub state: TrialState,
    /// Why, in words.
    pub why: Option<String>,
    /// The build's exit code, if it ended with one that is not 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What would move in its files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bumps: Vec<Bump>,
    /// The end of what a build that failed printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// How an app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialState {
    /// Its turn has not come.
    Waiting,
    /// It is being built.
    Building,
    /// It builds.
    Builds,
    /// It would break.
    Breaks,
    /// Its build fails without the change too.
    BrokenBefore,
    /// Something that it depends on breaks or could not be tried: it would not get that far.
    Downstream,
    /// It would not take the change.
    NotAffected,
    /// It could not be tried.
    Unknown,
}

impl TrialState {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Building => "building",
            Self::Builds => "builds",
            Self::Breaks => "breaks",
            Self::BrokenBefore => "broken-before",
            Self::Downstream => "downstream",
            Self::NotAffected => "not-affected",
            Self::Unknown => "unknown",
        }
    }
}
