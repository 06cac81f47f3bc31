//! What `doctor` and `hook test` find: one value a check, the same for HTTP and the command line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// As it should be.
    Ok,
    /// It works, and a person should look at it.
    Warning,
    /// It does not work, or will not.
    Failed,
    /// There is nothing to look at, or no way to tell.
    Skipped,
}

impl Finding {
    /// Its word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What it belongs to: `machine`, `web`, `git github.com/acme/shop`, `host web-1`, `app shop`.
    pub group: String,
    /// What was looked at: `push`, `sudo`, `disk`.
    pub name: String,
    /// How it came out.
    pub finding: Finding,
    /// What was seen, in words.
    pub detail: String,
    /// The command that mends it, or where there is none what a person has to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Check {
    /// A check that came out well.
    pub fn ok(group: impl Into<String>, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { group: group.into(), name: name.into(), finding: Finding::Ok, detail: detail.into(), mend: None }
    }
    /// One that did not, with what mends it.
    pub fn failed(
        group: impl Into<String>,
        name: impl Into<String>,
        detail: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { finding: Finding::Failed, mend: Some(mend.into()), ..Self::ok(group, name, detail) }
    }
    /// One that works and is worth a look.
    pub fn warning(
        group: impl Into<String>,
        name: impl Into<String>,
        detail: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { finding: Finding::Warning, ..Self::failed(group, name, detail, mend) }
    }
    /// One that there is no telling of.
    pub fn skipped(group: impl Into<String>, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { finding: Finding::Skipped, ..Self::ok(group, name, detail) }
    }
}

/// All that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckUp {
    /// Whether no check failed.
    pub well: bool,
    /// The checks, in order.
    pub checks: Vec<Check>,
}

impl CheckUp {
    /// The sum of these.
    pub fn of(checks: Vec<Check>) -> Self {
        Self { well: checks.iter().all(|check| check.finding != Finding::Failed), checks }
    }
}

/// One line of an examination while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DoctorLine {
    /// A check that is done.
    Check(Check),
    /// The last line: all of it was looked at.
    End {
        /// Whether no check failed.
        well: bool,
    },
}

/// A body for `POST /doctor/hook`: call the daemon as an app's forge would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookTest {
    /// The app whose repository the call is about.
    pub app: super::AppName,
    /// A push of the branch's present head, in place of a ping.
    #[serde(default)]
    pub push: bool,
    /// The forge, where the repository's url does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<super::Forge>,
}

/// The webhook calls of one forge that were refused since the daemon started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalView {
    /// Whose hook was called.
    pub forge: super::Forge,
    /// How many.
    pub count: u64,
    /// When the last one came.
    pub last_at: Timestamp,
    /// Why it was refused, as the log has it.
    pub last_reason: String,
}
