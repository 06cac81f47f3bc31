//! The environments of an app: groups of its hosts that get a commit one after the other, from first to last. Plain data,
//! with the one rule of who is brought where: what is built goes to the automatic ones in order, each once the one before
//! is well; one that is promoted to by hand gets what the one before it runs, and only by a person's word.
//!
//! An app without them has all its hosts in one group that has no name.

use serde::{Deserialize, Serialize};

use super::app::{App, Health, Host};
use super::names::{EnvName, HostName};
use super::rollout::{Because, Rollout};
use super::window::Window;

/// One of `:environments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Its key there.
    pub name: EnvName,
    /// Its hosts, in the order they are rolled out to; of the app's. Never empty.
    pub hosts: Vec<HostName>,
    /// `:promote :manual`: no job that builds brings anything there. So is every environment after it; the first never is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
    /// Its own way to bring a commit to hosts, or the app's.
    pub rollout: Rollout,
    /// How health is asked there: its own way, or the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// When a rollout that nobody asked for may begin there: its own window, or the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

impl App {
    /// The environment with that name.
    pub fn environment(&self, name: &EnvName) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.name == *name)
    }
    /// The environment that a host is in; none where the app has none.
    pub fn environment_of(&self, host: &HostName) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.hosts.contains(host))
    }
    /// Whether a job that builds brings its commit to that host.
    pub fn is_automatic(&self, host: &HostName) -> bool {
        self.environment_of(host).is_none_or(|environment| !environment.manual)
    }
    /// The environment before one: what that runs is what this one may get.
    pub fn before(&self, name: &EnvName) -> Option<&Environment> {
        let place = self.environments.iter().position(|environment| environment.name == *name)?;
        self.environments.get(place.checked_sub(1)?)
    }
    /// How a commit is brought to that host.
    pub fn rollout_on(&self, host: &HostName) -> &Rollout {
        self.environment_of(host).map_or(&self.rollout, |environment| &environment.rollout)
    }
    /// How the app's health is asked on that host.
    pub fn health_of(&self, host: &HostName) -> Option<&Health> {
        match self.environment_of(host) {
            Some(environment) => environment.health.as_ref(),
            None => self.health.as_ref(),
        }
    }
    /// When a rollout that nobody asked for may begin on that host; at any time if none.
    pub fn window_on(&self, host: &HostName) -> Option<&Window> {
        match self.environment_of(host) {
            Some(environment) => environment.window.as_ref(),
            None => self.window.as_ref(),
        }
    }
    /// The url to ask on `host`; in `:health {:url …}` too `{host}` and `{address}` stand for its own, for apps that
    /// listen on the host's address and not on all.
    pub fn health_on(&self, host: &Host) -> Option<String> {
        self.health_of(&host.name).map(|health| host.fill_in(&health.url))
    }
    /// The same of the instance at `port`, `{port}` in it, where the app has two.
    pub fn health_at(&self, host: &Host, port: Option<u16>) -> Option<String> {
        let url = self.health_on(host)?;
        Some(port.map_or(url.clone(), |port| url.replace("{port}", &port.to_string())))
    }
    /// The app's entry as a rollout without a build goes by: what was live before gets to every host that it can; what is
    /// promoted is as new there as what is built.
    pub fn for_carried(&self, because: &Because) -> App {
        let mut app = self.clone();
        if !matches!(because, Because::Promote { .. }) {
            // Who was away needs what the others were prepared with; what goes back was prepared when it came.
            let is_new = *because == Because::CatchUp;
            app.rollout = app.rollout.of_carried(is_new);
            for environment in &mut app.environments {
                environment.rollout = environment.rollout.clone().of_carried(is_new);
            }
        }
        app
    }
    /// The environments of these hosts, each once and in order; none where the app has none.
    pub fn environments_of<'a>(&'a self, hosts: impl IntoIterator<Item = &'a HostName>) -> Vec<&'a Environment> {
        let hosts: Vec<&HostName> = hosts.into_iter().collect();
        let has_one = |environment: &&Environment| environment.hosts.iter().any(|host| hosts.contains(&host));
        self.environments.iter().filter(has_one).collect()
    }
}
