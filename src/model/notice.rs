//! What people are told: notices, what they are about, and how their delivery stands. A notice's JSON is what webhooks
//! and commands get, so its shape is a contract: fields may be added, and none ever changes its meaning.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::Forge;
use super::id::{EventId, JobId};
use super::names::{AppName, Branch, InvalidName, Sha};
use super::url::RepoId;

/// The version of a notice's shape.
pub const NOTICE_VERSION: u8 = 1;

/// What can be in trouble and well again. Written `app/NAME`, `job/ID`, `disk`, `store`, `webhooks/FORGE`, `config`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Topic {
    /// An app: its last job did not end well.
    App(AppName),
    /// A job whose journal can't be read.
    Job(JobId),
    /// The state folder's disk.
    Disk,
    /// The store.
    Store,
    /// A forge that used to send webhooks.
    Webhooks(Forge),
    /// The configuration's last edit.
    Config,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::App(name) => write!(f, "app/{name}"),
            Topic::Job(id) => write!(f, "job/{id}"),
            Topic::Disk => f.pad("disk"),
            Topic::Store => f.pad("store"),
            Topic::Webhooks(forge) => write!(f, "webhooks/{}", forge.as_str()),
            Topic::Config => f.pad("config"),
        }
    }
}
impl From<Topic> for String {
    fn from(topic: Topic) -> String {
        topic.to_string()
    }
}
impl TryFrom<String> for Topic {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        let forge = |name: &str| Forge::ALL.into_iter().find(|forge| forge.as_str() == name);
        match text.split_once('/') {
            Some(("app", name)) => return AppName::new(name).map(Topic::App),
            Some(("job", id)) => return id.parse().map(Topic::Job),
            Some(("webhooks", name)) => {
                if let Some(forge) = forge(name) {
                    return Ok(Topic::Webhooks(forge));
                }
            }
            None if text == "disk" => return Ok(Topic::Disk),
            None if text == "store" => return Ok(Topic::Store),
            None if text == "config" => return Ok(Topic::Config),
            _ => {}
        }
        Err(InvalidName::new("topic", &text, "it is none of app/NAME, job/ID, disk, store, webhooks/FORGE, config"))
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// Jobs of these apps did not end well.
    #[serde(rename = "app.failed")]
    AppFailed,
    /// Jobs of these apps went on without commits of dependencies that break their builds.
    #[serde(rename = "app.narrowed")]
    AppNarrowed,
    /// A job of each of these apps ended well, after one had not.
    #[serde(rename = "app.recovered")]
    AppRecovered,
    /// A job's journal can't be read.
    #[serde(rename = "job.parked")]
    JobParked,
    /// It was let go of.
    #[serde(rename = "job.released")]
    JobReleased,
    /// Less is free than `:disk {:min-free}`.
    #[serde(rename = "disk.low")]
    DiskLow,
    /// There is room again.
    #[serde(rename = "disk.well")]
    DiskWell,
    /// The store takes no writes.
    #[serde(rename = "store.fault")]
    StoreFault,
    /// It does again.
    #[serde(rename = "store.well")]
    StoreWell,
    /// A forge that used to send has sent nothing for long.
    #[serde(rename = "webhooks.silent")]
    WebhooksSilent,
    /// It sends again.
    #[serde(rename = "webhooks.back")]
    WebhooksBack,
    /// An edit of the configuration is not in force.
    #[serde(rename = "config.refused")]
    ConfigRefused,
    /// What the files say is in force again.
    #[serde(rename = "config.well")]
    ConfigWell,
    /// Somebody tries the ways.
    #[serde(rename = "test")]
    Test,
}

impl Happening {
    /// Its word everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Happening::AppFailed => "app.failed",
            Happening::AppNarrowed => "app.narrowed",
            Happening::AppRecovered => "app.recovered",
            Happening::JobParked => "job.parked",
            Happening::JobReleased => "job.released",
            Happening::DiskLow => "disk.low",
            Happening::DiskWell => "disk.well",
            Happening::StoreFault => "store.fault",
            Happening::StoreWell => "store.well",
            Happening::WebhooksSilent => "webhooks.silent",
            Happening::WebhooksBack => "webhooks.back",
            Happening::ConfigRefused => "config.refused",
            Happening::ConfigWell => "config.well",
            Happening::Test => "test",
        }
    }
    /// Whether a trouble begins with it.
    pub fn is_trouble(self) -> bool {
        use Happening::{AppFailed, AppNarrowed, ConfigRefused, DiskLow, JobParked, StoreFault, WebhooksSilent};
        matches!(self, AppFailed | AppNarrowed | JobParked | DiskLow | StoreFault | WebhooksSilent | ConfigRefused)
    }
}

/// One thing that people are told. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The shape's version, 1.
    pub version: u8,
    /// Its id: the same in every attempt and every way, so that a receiver can drop what it has.
    pub id: String,
    /// When it was found.
    pub at: Timestamp,
    /// What happened.
    pub event: Happening,
    /// All of it in one line.
    pub title: String,
    /// What is wrong, for what has no apps; may have several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do next.
    pub next: String,
    /// Where to look, if `:url` is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The push or request that set it in motion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<NoticePush>,
    /// The apps that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<NoticeApp>,
    /// How many more there are: a notice lists twenty.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_apps: usize,
    /// Apps that were not begun since what they depend on failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<AppName>,
    /// Ids of earlier notices about the same trouble, which this one deepens or ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// One app of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeApp {
    /// The app.
    pub app: AppName,
    /// The job.
    pub job: JobId,
    /// How the job ended.
    pub state: String,
    /// The step that failed; a host's as `rollout/HOST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Its error's first lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last lines of that step's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The commit that was built or rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Sha>,
    /// The job's page, if `:url` is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What set it in motion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticePush {
    /// The event here.
    pub event: EventId,
    /// The repository that moved; none if a person asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoId>,
    /// Its branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// Its new head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<Sha>,
    /// Who pushed or asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The head commit's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// A trouble that people were told of and that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// The causes that were told: another one is told too.
    pub causes: Vec<String>,
    /// The events whose jobs failed, newest last; of a trouble that no event made, none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventId>,
    /// The ids of the notices that told of it.
    pub notices: Vec<String>,
}

/// A notice on its way: kept until every way has it, or has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The notice.
    pub notice: Notice,
    /// The ways that do not have it yet, by their prints.
    pub left: Vec<String>,
}

/// How notices are told, for `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyView {
    /// The ways of `:notify`, in order.
    pub ways: Vec<WayView>,
    /// The dead-man url, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_man: Option<DeadManView>,
}

/// One way of telling.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WayView {
    /// `webhook hooks.example.com`, `email ops@example.com`, `command /usr/local/bin/page`.
    pub way: String,
    /// How many notices wait.
    pub waiting: usize,
    /// When it last took one, since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
    /// What its last attempt met, if that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many notices were given up since the daemon started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given_up: usize,
}

/// The dead-man url.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeadManView {
    /// Its host.
    pub host: String,
    /// When it was last called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_at: Option<Timestamp>,
    /// Why it is not called, or why calling it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What `POST /notify/test` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestView {
    /// Each way and what came of it.
    pub ways: Vec<TestedWay>,
}

/// One way that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestedWay {
    /// As in `/status`.
    pub way: String,
    /// What was sent, as it was sent: JSON, or a mail.
    pub message: String,
    /// What it answered; none if nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Why it does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_survive_text() {
        for text in ["app/shop", "app/jane/shop", "job/1jq3m8x2k4a0c-000", "disk", "store", "webhooks/gitlab", "config"]
        {
            assert_eq!(Topic::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        assert!(Topic::try_from("disc".to_owned()).is_err());
    }
}
