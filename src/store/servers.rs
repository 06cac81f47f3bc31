//! The journals of servers: few, so the states of all of them are in memory too.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::state::State;
use super::table::Table;
use super::tx::{Tx, decode};
use super::{Store, StoreError, keys, writer};
use crate::model::server::{SERVER_RECORD_VERSION, ServerPhase, ServerRecord};
use crate::model::{ServerEntry, ServerId, ServerName, ServerSpec, ServerState};

/// All of them, those that are gone too.
pub type Servers = BTreeMap<ServerId, Arc<ServerState>>;

impl Store {
    /// Asks for a server, on disk when this returns: a new one, or the one of that name that is not gone.
    pub async fn ask_for_server(&self, spec: ServerSpec, by: String) -> Result<Arc<ServerState>, StoreError> {
        self.ask(|reply| writer::Command::AskForServer(spec, by, reply)).await
    }
    /// Appends to a server's journal, all or nothing, if it is still as the caller saw it; `ServerMoved` if not.
    pub async fn append_to_server(
        &self,
        seen: &ServerState,
        entries: Vec<ServerEntry>,
    ) -> Result<Arc<ServerState>, StoreError> {
        self.ask(|reply| writer::Command::AppendToServer(seen.id, seen.seq, entries, reply)).await
    }
    /// All servers.
    pub fn servers(&self) -> Arc<Servers> {
        self.shared.servers.load_full()
    }
    /// The server of that name that is not gone.
    pub fn server(&self, name: &ServerName) -> Option<Arc<ServerState>> {
        named(&self.servers(), name).cloned()
    }
}

fn named<'s>(servers: &'s Servers, name: &ServerName) -> Option<&'s Arc<ServerState>> {
    servers.values().find(|server| server.spec.name == *name && server.phase() != ServerPhase::Destroyed)
}

/// The servers on disk. One whose journal can't be read is said and left: its rows stay.
pub(super) fn load(table: &Table) -> Result<Servers, StoreError> {
    let mut servers = Servers::new();
    let mut broken = None;
    for row in table.prefix(&[keys::SERVER]) {
        let (key, value) = row?;
        let Some(id) = keys::number(&key).map(ServerId) else { continue };
        if broken == Some(id) {
            continue;
        }
        let fault = |why| StoreError::Server { server: id, why };
        let state = decode::<ServerRecord>(&key, &value).and_then(|record| match servers.remove(&id) {
            None => ServerState::create(id, &record).map_err(fault),
            Some(state) => Arc::unwrap_or_clone(state).apply(&record).map_err(fault),
        });
        match state {
            Ok(state) => drop(servers.insert(id, Arc::new(state))),
            Err(error) => {
                tracing::error!(server = %id, %error, "a server's journal can't be read: it is looked after no more");
                broken = Some(id);
            }
        }
    }
    Ok(servers)
}

impl State {
    pub(super) fn ask_for_server(
        &mut self,
        tx: &mut Tx,
        spec: ServerSpec,
        by: String,
        now: Timestamp,
    ) -> Result<Arc<ServerState>, StoreError> {
        if let Some(there) = named(&self.servers, &spec.name) {
            return Ok(there.clone());
        }
        let id = ServerId(self.next_id(now));
        let record = ServerRecord { v: SERVER_RECORD_VERSION, at: now, entry: ServerEntry::Asked { spec, by } };
        let state = ServerState::create(id, &record).map_err(|why| StoreError::Server { server: id, why })?;
        tx.put(keys::server(id, 1), &record)?;
        Ok(self.keep_server(state))
    }

    pub(super) fn append_to_server(
        &mut self,
        tx: &mut Tx,
        id: ServerId,
        seen: u64,
        entries: Vec<ServerEntry>,
        now: Timestamp,
    ) -> Result<Arc<ServerState>, StoreError> {
        let there = self.servers.get(&id).filter(|server| server.seq == seen);
        let mut state = there.map(|state| ServerState::clone(state)).ok_or(StoreError::ServerMoved(id))?;
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let record = ServerRecord { v: SERVER_RECORD_VERSION, at: now, entry };
            state = state.apply(&record).map_err(|why| StoreError::Server { server: id, why })?;
            rows.push((keys::server(id, state.seq), record));
        }
        for (key, record) in rows {
            tx.put(key, &record)?;
        }
        Ok(self.keep_server(state))
    }

    fn keep_server(&mut self, state: ServerState) -> Arc<ServerState> {
        let state = Arc::new(state);
        Arc::make_mut(&mut self.servers).insert(state.id, state.clone());
        self.told.servers = true;
        state
    }
}
