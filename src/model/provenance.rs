//! What runs where, down to the commits of its dependencies: what a job was built with, who has a commit and who lacks
//! it, and what hosts say of themselves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::JobId;
use super::names::{AppName, EnvName, HostName, Lib, Sha};
use super::url::RepoId;

/// A git dependency that a job was built with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Locked {
    /// The library.
    pub lib: Lib,
    /// Its repository.
    pub repo: RepoId,
    /// Its commit.
    pub sha: Sha,
    /// The library that asked for it; none where the app itself does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Lib>,
}

/// Who runs a library, or a commit of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhereView {
    /// The apps that were built with it, as jobs left them: their last good ones, and newer ones that got as far as some
    /// hosts.
    pub runs: Vec<RunsView>,
    /// Apps of which it is not known, and why.
    pub unknown: Vec<UnknownView>,
}

/// An app that was built with a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsView {
    /// The app.
    pub app: AppName,
    /// The job that left it there.
    pub job: JobId,
    /// When that ended.
    pub at: Timestamp,
    /// The app's commit.
    pub commit: Sha,
    /// The dependency.
    pub locked: Locked,
    /// The environment that these are in, where the app has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvName>,
    /// The hosts that the job left at that commit. They may have moved since: `drift` asks them.
    pub hosts: Vec<HostName>,
}

/// An app of which something is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownView {
    /// The app.
    pub app: AppName,
    /// Why.
    pub why: String,
}

/// Who lacks a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingView {
    /// The repository that has the commit.
    pub repo: RepoId,
    /// The commit.
    pub sha: Sha,
    /// The apps that have it.
    pub have: Vec<AppName>,
    /// The apps that were built without it.
    pub missing: Vec<LacksView>,
    /// Apps of which it is not known, and why.
    pub unknown: Vec<UnknownView>,
}

/// An app that was built without a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LacksView {
    /// The app.
    pub app: AppName,
    /// What it was built with instead; none where the commit is of the app's own repository.
    pub lib: Option<Lib>,
    /// The commit that it has.
    pub has: Sha,
    /// The environment that these are in, where the app has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvName>,
    /// The hosts that the job left there.
    pub hosts: Vec<HostName>,
    /// What it would take, in words.
    pub why: String,
}

/// What hosts say of themselves, beside what they were left at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftView {
    /// Each host of each app.
    pub hosts: Vec<HostDrift>,
}

/// One host of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDrift {
    /// The app.
    pub app: AppName,
    /// The environment that the host is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvName>,
    /// The host.
    pub host: HostName,
    /// `in-step`, or how it differs.
    pub state: Drift,
    /// The commit that the app's last good job left.
    pub wanted: Option<Sha>,
    /// The commit that the host has.
    pub has: Option<Sha>,
    /// The job of ours that made or deployed what the host has, if one is known.
    pub job: Option<JobId>,
    /// What is to be known, in words.
    pub why: Option<String>,
}

/// How a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drift {
    /// It is where the last good job left it.
    InStep,
    /// It has another commit.
    OtherCommit,
    /// Files in its working directory were changed.
    ChangedFiles,
    /// Its tree is being moved, or was and is not verified.
    Moving,
    /// Its unit does not run.
    UnitDown,
    /// The app was never deployed there.
    NeverDeployed,
    /// It could not be asked.
    Unreachable,
}

impl Drift {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InStep => "in-step",
            Self::OtherCommit => "other-commit",
            Self::ChangedFiles => "changed-files",
            Self::Moving => "moving",
            Self::UnitDown => "unit-down",
            Self::NeverDeployed => "never-deployed",
            Self::Unreachable => "unreachable",
        }
    }
}
