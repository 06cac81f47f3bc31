//! What the user wrote, typed: apps and hosts. `config` makes these; a plan stores an `App` as it was then, so
//! nothing here holds a secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::names::{AppName, Branch, HostName};
use super::rollout::Rollout;
use super::service::{Postgres, Service, Site, ZeroDowntime};
use super::updates::Updates;
use super::url::{RepoId, RepoUrl};
use super::window::Window;

/// What starts a job for an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// Pushes to its own branch and to the repositories it depends on.
    #[default]
    PushAny,
    /// Pushes to its own branch only.
    Push,
    /// Only a person's `deploy`.
    Manual,
}

/// Where an app's build runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runner {
    /// On this machine, as a child of the daemon.
    #[default]
    Local,
}

/// One command of a build, by `sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStep {
    /// Its name in logs and urls; `None` where `:build` is one command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The command.
    pub run: String,
}

/// A check that the app answers, asked on the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// http or https url as the host sees it, as written; see [`App::health_on`].
    pub url: String,
    /// How long it must go on answering.
    pub stable: Duration,
    /// How long it may take to begin.
    pub timeout: Duration,
}

/// A server an app runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its key in `:hosts`, or its address where deploy.edn only gives `:ip`.
    pub name: HostName,
    /// IP address or DNS name.
    pub address: HostName,
    /// sshd's port.
    pub port: u16,
    /// Who to log in as.
    pub user: String,
}

impl Host {
    /// A text of the user's with `{host}` and `{address}` in it as this host's own.
    pub fn fill_in(&self, text: &str) -> String {
        text.replace("{host}", self.name.as_str()).replace("{address}", self.address.as_str())
    }
}

/// One entry of deploy.edn with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its key in deploy.edn.
    pub name: AppName,
    /// `:git-url`.
    pub git_url: RepoUrl,
    /// `:branch`; none means the remote's HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// Whether its git dependencies are bumped.
    pub update: bool,
    /// What starts a job.
    pub trigger: Trigger,
    /// Its build's commands in order; none means there is nothing to build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build: Vec<BuildStep>,
    /// How long all of its build may take.
    pub build_timeout: Duration,
    /// How long its build may print nothing.
    pub build_silence: Duration,
    /// The absolute path of its clone on each host, as written; see [`App::folder_on`]. Present if there are hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Its hosts, in the order they are rolled out to, those of all its environments; none for a library.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Host>,
    /// Its environments in order; none where its hosts are one group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<Environment>,
    /// The unit to restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// The sites that nginx serves for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nginx: Vec<Site>,
    /// How its instances take turns, if it has two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_downtime: Option<ZeroDowntime>,
    /// Its database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// The app's own command to restart it, by the host's shell, instead of `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// How its health is asked, where no environment has a way of its own; see [`App::health_of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Where its build runs.
    pub runner: Runner,
    /// How it follows its dependencies.
    #[serde(default, skip_serializing_if = "Updates::is_default")]
    pub updates: Updates,
    /// How a commit is brought to its hosts, where no environment has a way of its own; see [`App::rollout_on`].
    #[serde(default, skip_serializing_if = "Rollout::is_default")]
    pub rollout: Rollout,
    /// When a rollout that nobody asked for may begin, where no environment says it; see [`App::window_on`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

impl App {
    /// An entry that says no more than its name and where it is.
    pub fn bare(name: AppName, git_url: RepoUrl) -> Self {
        Self {
            name,
            git_url,
            branch: None,
            update: false,
            trigger: Trigger::default(),
            build: Vec::new(),
            build_timeout: Duration::from_secs(60),
            build_silence: Duration::from_secs(60),
            working_directory: None,
            hosts: Vec::new(),
            environments: Vec::new(),
            service: None,
            nginx: Vec::new(),
            zero_downtime: None,
            postgres: None,
            restart: None,
            health: None,
            runner: Runner::default(),
            updates: Updates::default(),
            rollout: Rollout::default(),
            window: None,
        }
    }
    /// The branch that it is built from: its entry's, or its repository's default one, if anyone knows that.
    pub fn lives_on<'a>(&'a self, default: Option<&'a Branch>) -> Option<&'a Branch> {
        self.branch.as_ref().or(default)
    }
    /// Its repository's identity.
    pub fn repo(&self) -> RepoId {
        self.git_url.id()
    }
    /// Its clone's folder on `host`: in `:working-directory` `{host}` stands for the host's name and `{address}` for
    /// its address, for hosts that share a file system.
    pub fn folder_on(&self, host: &Host) -> Option<String> {
        self.working_directory.as_deref().map(|folder| host.fill_in(folder))
    }
}
