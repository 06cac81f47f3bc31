//! What comes next for a server, done and journaled, until it is at rest.
//!
//! Each step first looks at the provider, then acts: a step that was begun before a crash is begun again.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, contact, keys};
use crate::cloud::{Cloud, CloudError, Machine, MachineState, Order};
use crate::model::server::Price;
use crate::model::{HostName, ServerEntry, ServerId, ServerState};
use crate::ssh;
use crate::store::StoreError;

/// How many times a provider is asked to make one server.
const ATTEMPTS: u32 = 3;
/// The longest pause after a call that went badly, where the provider does not say how long.
const LONGEST: Duration = Duration::from_secs(60);
/// How often in a row a server that was made may be unknown to its provider: some tell of it a little late.
const MISSES: u32 = 8;
/// What the key that logs in is called at a provider.
const KEY_NAME: &str = "airplanes";
/// How long what is journaled of a failure may be, in characters.
const REASON: usize = 1000;

/// Why a step was not done.
enum Stop {
    /// Somebody wants something else, or the daemon ends: the server is looked at again.
    Moved,
    /// It goes no further.
    Failed(String),
}

impl From<CloudError> for Stop {
    fn from(error: CloudError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<keys::KeyError> for Stop {
    fn from(error: keys::KeyError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a step leads to; nothing means that it is looked at again.
type Next = Result<Vec<ServerEntry>, Stop>;

impl Inner {
    /// Looks after a server, unless a task does already.
    pub(super) fn tend(self: &Arc<Self>, id: ServerId) {
        let is_new = self.tended.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        if is_new && !self.stop.is_cancelled() {
            let inner = self.clone();
            self.tasks.spawn(async move { inner.run(id).await });
        }
    }

    async fn run(&self, id: ServerId) {
        loop {
            while let Some(state) = self.under_way(id) {
                self.step(&state).await;
            }
            // Who asks for something meanwhile finds either this task, which looks once more, or none.
            let mut tended = self.tended.lock().unwrap_or_else(PoisonError::into_inner);
            if self.under_way(id).is_none() {
                tended.remove(&id);
                return;
            }
        }
    }

    fn under_way(&self, id: ServerId) -> Option<Arc<ServerState>> {
        if self.stop.is_cancelled() {
            return None;
        }
        self.store.servers().get(&id).filter(|state| !state.phase().is_at_rest()).cloned()
    }

    async fn step(&self, state: &ServerState) {
        let next = tokio::select! {
            next = self.next(state) => next,
            // What was asked of a provider is journaled, and looked for at the next start.
            () = self.stop.cancelled() => return,
        };
        let entries = match next {
            Ok(entries) => entries,
            Err(Stop::Moved) => return,
            Err(Stop::Failed(reason)) => {
                tracing::warn!(server = %state.spec.name, %reason, "it goes no further");
                vec![ServerEntry::Failed { reason: reason.chars().take(REASON).collect() }]
            }
        };
        if entries.is_empty() {
            return;
        }
        // Entries of its own may have been made on the way; somebody else's word makes it look again.
        let is_same = |now: &&Arc<ServerState>| now.destroying == state.destroying;
        let Some(now) = self.store.servers().get(&state.id).filter(is_same).cloned() else { return };
        match self.append(&now, entries).await {
            Ok(_) | Err(StoreError::ServerMoved(_)) => {}
            Err(error) => {
                tracing::error!(server = %state.spec.name, %error, "what happened could not be written down: it is looked at again");
                tokio::time::sleep(self.pace.looks[1]).await;
            }
        }
    }

    async fn next(&self, state: &ServerState) -> Next {
        let cloud = self.cloud(state.spec.provider).map_err(|e| Stop::Failed(e.to_string()))?;
        if state.destroying.is_some() {
            return self.tear_down(state, &cloud).await;
        }
        let folder = keys::folder(&self.folder, state);
        match state {
            ServerState { ssh_key: None, made: None, .. } => self.register(state, &cloud).await,
            _ if state.host_key.is_none() || (state.is_free() && !keys::is_there(&folder)) => {
                let public = keys::make(&folder, state.spec.name.as_str()).await?;
                Ok(vec![ServerEntry::HostKey { public }])
            }
            ServerState { made: None, .. } => self.make(state, &cloud).await,
            ServerState { made: Some((id, _)), address: None, .. } => self.runs(state, &cloud, *id).await,
            ServerState { address: Some(address), .. } => self.answers(state, address, &folder).await,
        }
    }

    async fn register(&self, state: &ServerState, cloud: &Cloud) -> Next {
        let (cloud, public) = (&cloud, &self.public_key().await?);
        let key = self.patiently(state, self.pace.calls, || cloud.register(KEY_NAME, public)).await?;
        Ok(vec![ServerEntry::KeyRegistered { key }])
    }

    /// The key that logs in, as authorized_keys has it.
    async fn public_key(&self) -> Result<String, Stop> {
        let identity: Option<PathBuf> = self.in_force.load().config.ssh.identity.clone();
        let identity = identity.ok_or_else(|| Stop::Failed(super::ServersError::NoIdentity.to_string()))?;
        let public = ssh::public_key(&identity).await.map_err(|e| Stop::Failed(e.to_string()))?;
        Ok(keys::two_words(&public))
    }

    /// Looks for it, and has it made if it is certain that it is not there.
    async fn make(&self, state: &ServerState, cloud: &Cloud) -> Next {
        if let Some(there) = self.adopted(state, cloud).await? {
            return Ok(there);
        }
        if state.may_be_made {
            let reason = self.settled(state, cloud).await?;
            return Ok(reason.unwrap_or_else(|there| there));
        }
        if state.attempts >= ATTEMPTS {
            let why = format!("{} was asked for it {ATTEMPTS} times, and none came of it", state.spec.provider);
            return Err(Stop::Failed(format!("{why}; try again: airplanes server create {}", state.spec.name)));
        }
        let price = self.patiently(state, self.pace.calls, || cloud.offer(&state.spec)).await?;
        let public = state.host_key.clone().unwrap_or_default();
        let order = Order {
            spec: state.spec.clone(),
            tag: state.tag(),
            ssh_key: state.ssh_key.clone().unwrap_or_default(),
            public_key: self.public_key().await?,
            user_data: keys::user_data(&keys::folder(&self.folder, state), &public)?,
        };
        let asked = self.append(state, vec![ServerEntry::Creating]).await.map_err(|error| match error {
            StoreError::ServerMoved(_) => Stop::Moved,
            other => Stop::Failed(other.to_string()),
        })?;
        self.note(state.id, Some(format!("{} is asked to make it", state.spec.provider)));
        self.ask(&asked, cloud, &order, price).await
    }

    /// Asks the provider, which is journaled, and says what came of it.
    async fn ask(&self, state: &ServerState, cloud: &Cloud, order: &Order, price: Option<Price>) -> Next {
        let until = Instant::now() + self.pace.calls;
        let error = loop {
            match cloud.create(order).await {
                Ok(machine) => return Ok(vec![created(&machine, false, price)]),
                Err(error) if error.is_passing() && !error.may_have_happened() => {
                    self.wait_as_told(state, &error, LONGEST, until).await?;
                }
                Err(error) => break error,
            }
        };
        tracing::warn!(server = %state.spec.name, %error, "it was not made, or this is not known");
        if error.may_have_happened() {
            self.note(state.id, Some(format!("{error}; what came of it is looked for")));
            return Ok(Vec::new());
        }
        // Where names are unique, it may be refused because it is there.
        if cloud.refuses_twins()
            && let Some(there) = self.adopted(state, cloud).await?
        {
            return Ok(there);
        }
        let reason: String = error.to_string().chars().take(REASON).collect();
        Ok(vec![ServerEntry::NotCreated { reason: reason.clone() }, ServerEntry::Failed { reason }])
    }

    /// What is there of it already.
    async fn adopted(&self, state: &ServerState, cloud: &Cloud) -> Result<Option<Vec<ServerEntry>>, Stop> {
        let tag = state.tag();
        let mut found = self.patiently(state, self.pace.calls, || cloud.find(&state.spec, &tag)).await?;
        if let Some(id) = found.foreign {
            let (name, provider) = (state.spec.name.clone(), state.spec.provider);
            return Err(Stop::Failed(super::ServersError::Foreign { name, provider, id }.to_string()));
        }
        found.ours.sort_by_key(|machine| machine.id);
        let Some(first) = found.ours.first() else { return Ok(None) };
        if let [_, others @ ..] = found.ours.as_slice()
            && !others.is_empty()
        {
            let ids: Vec<u64> = others.iter().map(|machine| machine.id).collect();
            tracing::error!(server = %state.spec.name, first = first.id, others = ?ids, "the provider made more than one of one call: the first is taken, and `server destroy` destroys all");
        }
        let price = cloud.offer(&state.spec).await.ok().flatten();
        Ok(Some(vec![created(first, true, price)]))
    }

    /// Waits until a call that was not answered can come to nothing more: `Err` if the server turns up.
    async fn settled(
        &self,
        state: &ServerState,
        cloud: &Cloud,
    ) -> Result<Result<Vec<ServerEntry>, Vec<ServerEntry>>, Stop> {
        let until = Instant::now() + if cloud.refuses_twins() { Duration::ZERO } else { self.pace.settle };
        while Instant::now() < until {
            let left = until.duration_since(Instant::now()).as_secs();
            let provider = state.spec.provider;
            self.note(state.id, Some(format!("{provider} did not answer; in {left} s it is asked again")));
            self.pause(state, self.pace.looks[1].min(until.duration_since(Instant::now()))).await?;
            if let Some(there) = self.adopted(state, cloud).await? {
                return Ok(Err(there));
            }
        }
        let reason = "the call was not answered, and nothing with its tag is there".to_owned();
        Ok(Ok(vec![ServerEntry::NotCreated { reason }]))
    }

    /// Until the provider says that it runs.
    async fn runs(&self, state: &ServerState, cloud: &Cloud, id: u64) -> Next {
        let (provider, name) = (state.spec.provider, &state.spec.name);
        let until = Instant::now() + self.pace.runs;
        let (mut pause, mut misses) = (self.pace.looks[0], 0);
        loop {
            let looked = self.patiently(state, self.pace.calls, || cloud.look(id)).await?;
            misses = if looked.is_none() { misses + 1 } else { 0 };
            match looked {
                Some(Machine { state: MachineState::Running, address: Some(address), .. }) => {
                    return Ok(vec![ServerEntry::Running { address }]);
                }
                Some(Machine { state: MachineState::Broken(word), .. }) => {
                    return Err(Stop::Failed(format!(
                        "{provider} says of server {id}: {word}; look at it there, or: airplanes server destroy {name}"
                    )));
                }
                Some(Machine { state: MachineState::Starting(word), .. }) => {
                    self.note(state.id, Some(format!("{provider} says: {word}")));
                }
                Some(_) => self.note(state.id, Some(format!("{provider} gave it no public address yet"))),
                None if misses >= MISSES => {
                    return Err(Stop::Failed(format!(
                        "{provider} knows no server {id} any more; if it was destroyed there: airplanes server destroy {name}"
                    )));
                }
                None => {}
            }
            if Instant::now() >= until {
                return Err(Stop::Failed(format!(
                    "server {id} did not run within {} minutes; look at it at {provider}, then wait again with \
                     `airplanes server create {name} …`, or: airplanes server destroy {name}",
                    self.pace.runs.as_secs() / 60
                )));
            }
            self.pause(state, pause).await?;
            pause = (pause * 2).min(self.pace.looks[1]);
        }
    }

    /// Until it lets us in, by the key that it was given.
    async fn answers(&self, state: &ServerState, address: &HostName, folder: &std::path::Path) -> Next {
        let until = Instant::now() + self.pace.answers;
        let mut pause = self.pace.looks[0];
        loop {
            let ssh = self.in_force.load().config.ssh.clone();
            let Err(silent) = contact::try_once((state, address), folder, &ssh, self.pace, &self.stop).await else {
                // What was only for this is gone before it is said to be ready.
                keys::remove(folder).map_err(|source| keys::KeyError::Io { path: folder.to_owned(), source })?;
                return Ok(vec![ServerEntry::Reachable]);
            };
            self.moved(state)?;
            if !silent.is_passing || Instant::now() >= until {
                return Err(Stop::Failed(format!(
                    "it runs at {address}, and did not let us in: {}; wait again with `airplanes server create {} …`, \
                     or: airplanes server destroy {}",
                    silent.why, state.spec.name, state.spec.name
                )));
            }
            self.note(state.id, Some(format!("it does not let us in yet: {}", silent.why)));
            self.pause(state, pause).await?;
            pause = (pause * 2).min(self.pace.looks[1]);
        }
    }

    /// Destroys all that carries its tag, until nothing does.
    async fn tear_down(&self, state: &ServerState, cloud: &Cloud) -> Next {
        let (provider, tag) = (state.spec.provider, state.tag());
        let begun = Instant::now();
        let mut gone: Vec<u64> = Vec::new();
        let mut pause = self.pace.looks[0];
        loop {
            let found = self.patiently(state, self.pace.goes, || cloud.find(&state.spec, &tag)).await?;
            let mut ids: Vec<u64> = found.ours.iter().map(|machine| machine.id).collect();
            if let Some((id, _)) = state.made.filter(|(id, _)| !ids.contains(id)) {
                // It may be on its way out, or somebody took its tag away.
                match self.patiently(state, self.pace.goes, || cloud.look(id)).await? {
                    Some(machine) if machine.tags.contains(&tag) || gone.contains(&id) => ids.push(id),
                    Some(_) => {
                        return Err(Stop::Failed(format!(
                            "server {id} at {provider} does not carry the tag {tag} any more, so it is left alone; \
                             destroy it there, then run this again"
                        )));
                    }
                    None => {}
                }
            }
            let may_come = state.may_be_made && state.made.is_none() && begun.elapsed() < self.pace.settle;
            if ids.is_empty() && !may_come {
                break;
            }
            for id in ids {
                if !gone.contains(&id) {
                    self.note(state.id, Some(format!("{provider} is asked to destroy server {id}")));
                    self.patiently(state, self.pace.goes, || cloud.destroy(id)).await?;
                    gone.push(id);
                }
            }
            if begun.elapsed() >= self.pace.goes {
                return Err(Stop::Failed(format!("{provider} still has it; look at it there, then run this again")));
            }
            self.pause(state, pause).await?;
            pause = (pause * 2).min(self.pace.looks[1]);
        }
        let folder = keys::folder(&self.folder, state);
        keys::remove(&folder).map_err(|source| keys::KeyError::Io { path: folder, source })?;
        Ok(vec![ServerEntry::Destroyed { servers: gone }])
    }

    /// A call until it is answered: further and further apart, or as the provider says.
    async fn patiently<T, F: Future<Output = Result<T, CloudError>>>(
        &self,
        state: &ServerState,
        limit: Duration,
        call: impl Fn() -> F,
    ) -> Result<T, Stop> {
        let until = Instant::now() + limit;
        let mut pause = self.pace.looks[0];
        loop {
            match call().await {
                Err(error) if error.is_passing() => self.wait_as_told(state, &error, pause, until).await?,
                answered => return Ok(answered?),
            }
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Waits after a call that went badly: as long as the provider says, else for `pause`.
    async fn wait_as_told(
        &self,
        state: &ServerState,
        error: &CloudError,
        pause: Duration,
        until: Instant,
    ) -> Result<(), Stop> {
        let wait = error.wait().unwrap_or(pause);
        if Instant::now() + wait >= until {
            let told =
                if error.wait().is_some() { format!("; it wants {} s of rest", wait.as_secs()) } else { String::new() };
            return Err(Stop::Failed(format!("{error}{told}; try again later")));
        }
        self.note(state.id, Some(format!("{error}; it is asked again in {} s", wait.as_secs_f32().ceil())));
        self.pause(state, wait).await
    }

    /// Waits, unless somebody wants something else of the server.
    async fn pause(&self, state: &ServerState, wait: Duration) -> Result<(), Stop> {
        let until = Instant::now() + wait;
        let mut news = self.news.subscribe();
        loop {
            self.moved(state)?;
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                () = self.stop.cancelled() => return Err(Stop::Moved),
                // Its sender is ours.
                _ = news.changed() => {}
            }
        }
    }

    fn moved(&self, state: &ServerState) -> Result<(), Stop> {
        let is_same = self.store.servers().get(&state.id).is_some_and(|now| now.seq == state.seq);
        if is_same { Ok(()) } else { Err(Stop::Moved) }
    }
}

fn created(machine: &Machine, adopted: bool, price: Option<Price>) -> ServerEntry {
    ServerEntry::Created { server: machine.id, adopted, price: machine.price.or(price) }
}
