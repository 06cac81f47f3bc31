//! What is served of environments, and of rollouts that are still to be: by a deploy, a rollback, a promotion.

use serde::{Deserialize, Serialize};

use crate::model::app::App;
use crate::model::environment::Environment;
use crate::model::id::JobId;
use crate::model::names::{AppName, EnvName, HostName, Sha};
use crate::model::rollout::Rollout;

/// An environment of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentView {
    /// Its name.
    pub name: EnvName,
    /// Its hosts.
    pub hosts: Vec<HostName>,
    /// `auto`: what is built gets there. `manual`: only what a person promotes.
    pub promote: String,
    /// When a rollout that nobody asked for may begin there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// What did well there last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Sha>,
}

impl EnvironmentView {
    pub(super) fn of(environment: &Environment) -> Self {
        let promote = if environment.manual { "manual" } else { "auto" };
        let Environment { name, hosts, .. } = environment;
        let window = environment.window.as_ref().map(ToString::to_string);
        Self { name: name.clone(), hosts: hosts.clone(), promote: promote.to_owned(), window, live: None }
    }
}

/// How a rollout of an app would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutView {
    /// The app.
    pub app: AppName,
    /// What did well last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Sha>,
    /// The hosts, batch by batch, if all can be reached.
    pub batches: Vec<Vec<HostName>>,
    /// The environment of each batch; none where the app has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<EnvName>,
    /// What ends it, what it waits for, and what is done then, in words.
    pub notes: Vec<String>,
    /// The hold that keeps the app where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// How it is written in deploy.edn, with its defaults.
    pub rollout: Rollout,
}

impl RolloutView {
    /// Of the app as deploy.edn has it, to those of its hosts that are meant.
    pub fn of(app: &App, is_meant: impl Fn(&HostName) -> bool) -> Self {
        let meant: Vec<&HostName> = app.hosts.iter().map(|host| &host.name).filter(|name| is_meant(name)).collect();
        let (mut batches, mut environments, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut plan = |rollout: &Rollout, hosts: &[&HostName], environment: Option<&EnvName>| {
            let window = hosts.first().and_then(|host| app.window_on(host));
            let window = window.map(|window| format!("what nobody asked for begins in its window, {window}"));
            let mut left = hosts.iter().map(|name| (*name).clone());
            let sizes = rollout.sizes(hosts.len());
            environments.extend(sizes.iter().filter_map(|_| environment.cloned()));
            batches.extend(sizes.into_iter().map(|size| left.by_ref().take(size).collect::<Vec<_>>()));
            // Only a person brings anything again to one that is promoted to by hand.
            let holds = !environment.and_then(|name| app.environment(name)).is_some_and(|there| there.manual);
            let words = if hosts.is_empty() { Vec::new() } else { rollout.words(holds) };
            notes.extend(words.into_iter().chain(window).map(|words| match environment {
                Some(name) => format!("{name}: {words}"),
                None => words,
            }));
        };
        if app.environments.is_empty() {
            plan(&app.rollout, &meant, None);
        }
        for environment in &app.environments {
            let hosts: Vec<&HostName> = meant.iter().filter(|name| environment.hosts.contains(name)).copied().collect();
            plan(&environment.rollout, &hosts, Some(&environment.name));
        }
        if let Some(zero) = app.zero_downtime.as_ref().filter(|_| !meant.is_empty()) {
            let ([one, other], drain) = (zero.ports, zero.drain.as_secs_f32());
            notes.push(format!(
                "a host switches to its other instance (at {one} or {other}) once that is well; the old one has {drain} s to \
                 answer what it was asked"
            ));
        }
        let rollout = app.rollout.clone();
        Self { app: app.name.clone(), live: None, batches, environments, notes, held: None, rollout }
    }
}

/// What a rollback would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackView {
    /// The app.
    pub app: AppName,
    /// The environment of it, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvName>,
    /// What is live.
    pub from: Sha,
    /// What would be.
    pub to: Sha,
    /// The job that built it.
    pub of: JobId,
    /// The app's jobs that would be canceled for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancels: Vec<JobId>,
    /// Jobs since then whose `:migrate` has run and is not `:reversible?`: what it changed stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrated: Vec<JobId>,
    /// How it would get to the hosts.
    pub rollout: RolloutView,
}

impl RollbackView {
    /// What it does not undo, in words; none if there is nothing.
    pub fn warning(&self) -> Option<String> {
        let jobs: Vec<String> = self.migrated.iter().map(|job| job.to_string()).collect();
        let (to, jobs) = (self.to.short(), (!jobs.is_empty()).then(|| jobs.join(", "))?);
        Some(format!(":migrate has run since {to} was live (job {jobs}), and what it changed is not taken back"))
    }
}

/// What a promotion would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionView {
    /// The app.
    pub app: AppName,
    /// The environment whose commit it is.
    pub from: EnvName,
    /// The one that would get it.
    pub to: EnvName,
    /// Whether only people promote to that one.
    pub manual: bool,
    /// What runs in the first.
    pub commit: Sha,
    /// The job that built it.
    pub of: JobId,
    /// What did well in the second last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Sha>,
    /// What a person should know, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How it would get to the hosts.
    pub rollout: RolloutView,
}
