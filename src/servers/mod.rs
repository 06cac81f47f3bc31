//! Servers from nothing to the first login: asked for, made, waited for, and destroyed when someone says so.
//!
//! Each server has a journal of its own in the store ([`crate::model::server`]), and one task that does what comes next
//! in it and journals that, before and after each effect. The daemon's start takes up all that are not at rest. What may
//! have happened at the provider, and was not answered, is looked for by the server's tag before anything is asked again:
//! a kill at any point neither makes a second server nor forgets one.
//!
//! The key that a server shows is made here and given to it with its first start, so that nobody has to trust the first
//! answer. Its private half lies in the state folder until the server has shown it.
//!
//! Must never ask a provider for a server before that is on disk, make anything while it is not known what an earlier
//! call did, or destroy what does not carry the server's own tag.

mod contact;
mod error;
mod keys;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cloud::Cloud;
use crate::config::Loaded;
use crate::model::server::{ServerPhase, ServerPlan, ServerView};
use crate::model::{Provider, ServerEntry, ServerId, ServerName, ServerSpec, ServerState};
use crate::net::Http;
use crate::store::{Store, StoreError};

pub use error::ServersError;

/// How long who asks for news is kept waiting for it: less than what the command line takes for silence.
const NEWS_WITHIN: Duration = Duration::from_secs(2);
/// Who a new server is logged in to as: no other user is there yet.
pub const USER: &str = "root";

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first pause between two looks, and the longest.
    pub looks: [Duration; 2],
    /// How long a call that was not answered may still come to something at the provider.
    pub settle: Duration,
    /// How long a provider may take calls badly, with all its pauses.
    pub calls: Duration,
    /// How long a server may take until it runs.
    pub runs: Duration,
    /// How long it may take from there until it lets us in.
    pub answers: Duration,
    /// How long it may take to destroy one.
    pub goes: Duration,
    /// The port of its sshd.
    pub port: u16,
}

impl Default for Pace {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            looks: [Duration::from_millis(250), Duration::from_secs(4)],
            settle: Duration::from_secs(45),
            calls: minutes(30),
            runs: minutes(15),
            answers: minutes(10),
            goes: minutes(15),
            port: 22,
        }
    }
}

/// What servers need.
pub struct Setup {
    /// Their journals.
    pub store: Store,
    /// The configuration in force.
    pub in_force: Arc<ArcSwap<Loaded>>,
    /// The HTTP client.
    pub http: Http,
    /// The daemon's state folder.
    pub state: PathBuf,
    /// How long things may take.
    pub pace: Pace,
}

/// A handle on all servers; clones share it.
#[derive(Clone)]
pub struct Servers {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    in_force: Arc<ArcSwap<Loaded>>,
    http: Http,
    folder: PathBuf,
    pace: Pace,
    /// What each is at, for people.
    notes: Mutex<BTreeMap<ServerId, String>>,
    /// Those that a task looks after.
    tended: Mutex<BTreeSet<ServerId>>,
    /// Ticks with each change.
    news: watch::Sender<u64>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Servers {
    /// Takes up all servers that are not at rest, until `stop`.
    pub fn start(setup: Setup, stop: CancellationToken) -> Self {
        let Setup { store, in_force, http, state, pace } = setup;
        let inner = Arc::new(Inner {
            store,
            in_force,
            http,
            folder: state.join("servers"),
            pace,
            notes: Mutex::default(),
            tended: Mutex::default(),
            news: watch::Sender::new(0),
            stop,
            tasks: TaskTracker::new(),
        });
        for server in inner.store.servers().values().filter(|server| !server.phase().is_at_rest()) {
            tracing::info!(server = %server.spec.name, state = %server.phase(), "taken up where it was left");
            inner.tend(server.id);
        }
        Self { inner }
    }

    /// Waits until no task touches a provider or a server any more, after `stop`.
    pub async fn end(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Asks for a server. One of that name that was asked for already is the one, and goes on if it had failed.
    pub async fn create(&self, spec: ServerSpec, by: &str) -> Result<ServerView, ServersError> {
        let inner = &self.inner;
        inner.check(&spec)?;
        let there = inner.store.ask_for_server(spec.clone(), by.to_owned()).await?;
        let phase = there.phase();
        let state = match phase {
            ServerPhase::Destroying => return Err(ServersError::Going(spec.name)),
            ServerPhase::Failed if spec == there.spec || there.is_free() => {
                let again = ServerEntry::Again { spec, by: by.to_owned() };
                inner.append(&there, vec![again]).await?
            }
            _ if spec != there.spec => return Err(ServersError::Other(Box::new(there.spec.clone()))),
            _ => there,
        };
        inner.changed();
        inner.tend(state.id);
        Ok(inner.view(&state))
    }

    /// What `create` would do, asked of the provider without changing anything there.
    pub async fn plan(&self, spec: ServerSpec) -> Result<ServerPlan, ServersError> {
        let inner = &self.inner;
        inner.check(&spec)?;
        if let Some(there) = inner.store.server(&spec.name) {
            if spec != there.spec {
                return Err(ServersError::Other(Box::new(there.spec.clone())));
            }
            let steps = vec![format!("nothing new: {} was asked for already, and is {}", spec.name, there.phase())];
            return Ok(ServerPlan { spec, steps, price: there.price });
        }
        let cloud = inner.cloud(spec.provider)?;
        let price = cloud.offer(&spec).await?;
        if cloud.refuses_twins()
            && let Some(foreign) = cloud.find(&spec, crate::cloud::TAG).await?.foreign
        {
            return Err(ServersError::Foreign { name: spec.name, provider: spec.provider, id: foreign });
        }
        let steps = vec![
            format!("register the public key of :ssh {{:identity}} with {}, if it is not there", spec.provider),
            "make a host key, which the server is given with its first start".to_owned(),
            format!("create {} ({}, {}) in {}", spec.name, spec.kind, spec.image, spec.region),
            "wait until it runs, and until it lets us in over ssh with that host key".to_owned(),
            "record its host key in known_hosts, and it in :hosts".to_owned(),
        ];
        Ok(ServerPlan { spec, steps, price })
    }

    /// Has a server destroyed, whatever it is at.
    pub async fn destroy(&self, name: &ServerName, by: &str) -> Result<ServerView, ServersError> {
        let inner = &self.inner;
        loop {
            let there = inner.store.server(name).ok_or_else(|| ServersError::None(name.clone()))?;
            if there.phase() == ServerPhase::Destroying {
                return Ok(inner.view(&there));
            }
            inner.cloud(there.spec.provider)?;
            match inner.append(&there, vec![ServerEntry::Destroying { by: by.to_owned() }]).await {
                // Its task was faster: it is looked at again.
                Err(StoreError::ServerMoved(_)) => {}
                done => {
                    let state = done?;
                    inner.tend(state.id);
                    return Ok(inner.view(&state));
                }
            }
        }
    }

    /// All servers that are not gone, by name.
    pub fn list(&self) -> Vec<ServerView> {
        let servers = self.inner.store.servers();
        let there = servers.values().filter(|server| server.phase() != ServerPhase::Destroyed);
        let mut views: Vec<ServerView> = there.map(|server| self.inner.view(server)).collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    /// The newest server of that name. With `seen`, waits a while for more changes than that.
    pub async fn one(&self, name: &ServerName, seen: Option<u64>) -> Result<ServerView, ServersError> {
        let mut news = self.inner.news.subscribe();
        if let Some(seen) = seen {
            // Late, or gone with the daemon: as it is then.
            let _ = tokio::time::timeout(NEWS_WITHIN, news.wait_for(|changes| *changes > seen)).await;
        }
        let servers = self.inner.store.servers();
        let newest = servers.values().rev().find(|server| server.spec.name == *name);
        newest.map(|server| self.inner.view(server)).ok_or_else(|| ServersError::None(name.clone()))
    }
}

impl Inner {
    /// What has to be set up before a server can be made.
    fn check(&self, spec: &ServerSpec) -> Result<(), ServersError> {
        self.cloud(spec.provider)?;
        // One that was made here may have left its entry.
        let was_ours = self.store.servers().values().any(|server| server.spec.name == spec.name);
        let hosts = &self.in_force.load().config.hosts;
        let named = hosts.iter().find(|(name, _)| name.as_str() == spec.name.as_str());
        if let Some((_, host)) = named.filter(|_| !was_ours) {
            return Err(ServersError::Named { name: spec.name.clone(), address: host.address.to_string() });
        }
        if self.in_force.load().config.ssh.identity.is_none() { Err(ServersError::NoIdentity) } else { Ok(()) }
    }

    fn cloud(&self, provider: Provider) -> Result<Cloud, ServersError> {
        let access = self.in_force.load().config.providers.get(&provider).cloned();
        let access = access.ok_or(ServersError::NoProvider(provider))?;
        Ok(Cloud::new(provider, access, self.http.clone()))
    }

    async fn append(&self, seen: &ServerState, entries: Vec<ServerEntry>) -> Result<Arc<ServerState>, StoreError> {
        let state = self.store.append_to_server(seen, entries).await?;
        tracing::info!(server = %state.spec.name, state = %state.phase(), "a server changed");
        self.note(state.id, None);
        Ok(state)
    }

    /// What a server is at, for people.
    fn note(&self, id: ServerId, note: Option<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &note {
            Some(note) => notes.insert(id, note.clone()),
            None => notes.remove(&id),
        };
        drop(notes);
        if note.is_none() || before != note {
            self.changed();
        }
    }

    fn changed(&self) {
        self.news.send_modify(|changes| *changes += 1);
    }

    fn view(&self, state: &ServerState) -> ServerView {
        let spec = &state.spec;
        let loaded = self.in_force.load();
        let is_it = |host: &crate::model::Host| {
            host.name.as_str() == spec.name.as_str() || Some(&host.address) == state.address.as_ref()
        };
        let apps = loaded.apps.values().filter(|app| app.hosts.iter().any(is_it));
        let note = self.notes.lock().unwrap_or_else(PoisonError::into_inner).get(&state.id).cloned();
        ServerView {
            id: state.id,
            name: spec.name.clone(),
            kind: "server".to_owned(),
            provider: spec.provider,
            region: spec.region.clone(),
            size: spec.kind.clone(),
            image: spec.image.clone(),
            state: state.phase(),
            reason: state.failed.clone(),
            note,
            server: state.made.map(|(id, _)| id),
            adopted: state.made.is_some_and(|(_, adopted)| adopted),
            address: state.address.clone(),
            user: USER.to_owned(),
            host_key: state.host_key.clone(),
            price: state.price,
            apps: apps.map(|app| app.name.clone()).collect(),
            created_at: state.asked_at,
            changed_at: state.changed_at,
            changes: *self.news.borrow(),
        }
    }
}
