//! The HTTP door: webhooks in; status, jobs, logs and live events out.
//!
//! hyper speaks HTTP/1.1, axum's router finds the handler; each file here is one group of routes, and `answer` gives
//! all of them one shape. What a path names is parsed into the model's types before anything is looked up.
//!
//! Must never touch git, ssh or a runner: it reads the store and asks the pipeline and the doctor. Must never answer a
//! webhook with 2xx before the store has it on disk, nor tell a caller without a token the name of anything.

mod answer;
mod apps;
mod auth;
mod backup;
mod body;
mod deliveries;
mod doctor;
mod error;
mod events;
mod gc;
mod holds;
mod hooks;
mod impact;
mod jobs;
mod logs;
mod metrics;
mod notify;
mod plans;
mod provenance;
mod query;
mod refusals;
mod repos;
mod router;
mod secrets;
mod server;
mod servers;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use error::HttpError;
pub use server::serve;

use crate::config::Loaded;
use crate::model::{Forge, ForgeSecrets, Secret};
use crate::notify::Notify;
use crate::pipeline::Pipeline;
use crate::reconcile::Reconcile;
use crate::servers::Servers;
use crate::store::{Store, StoreError};
use crate::upkeep::Upkeep;

/// What the door stands in front of. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    /// What is accepted and done.
    pub store: Store,
    /// What sets things in motion.
    pub pipeline: Pipeline,
    /// What cleans up.
    pub upkeep: Upkeep,
    /// What looks at remotes.
    pub reconcile: Reconcile,
    /// What makes servers.
    pub servers: Servers,
    /// What authenticates webhooks; swapped when config.edn changes.
    pub forges: Arc<ArcSwap<BTreeMap<Forge, ForgeSecrets>>>,
    /// What is wrong with the last edit of the configuration, while an older one is in force.
    pub config_fault: Arc<ArcSwapOption<String>>,
    /// The daemon's config file.
    pub config: PathBuf,
    /// The configuration in force.
    pub in_force: Arc<ArcSwap<Loaded>>,
    /// What tells people.
    pub notify: Notify,
    /// The operator's token.
    pub token: Arc<Secret>,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// Its version.
    pub version: &'static str,
    /// How long callers may take.
    pub limits: Limits,
}

/// How long a caller may take. All of them are for callers that need not be known.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From a connection's first byte to the end of the headers, and between two requests.
    pub headers: Duration,
    /// For a request's body.
    pub body: Duration,
    /// For requests under way at shutdown.
    pub drain: Duration,
    /// Between two comments that keep a stream of events alive.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(10),
            body: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// What handlers share. Each call has a clone or two of it.
#[derive(Clone)]
struct Context(Arc<Shared>);

struct Shared {
    door: Door,
    metrics: Arc<metrics::Metrics>,
    bodies: body::Bodies,
    refusals: refusals::Refusals,
    backups: backup::Turn,
    /// Where it is served.
    address: SocketAddr,
    shutdown: CancellationToken,
}

impl std::ops::Deref for Context {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Context {
    /// Reads the store where that may block.
    async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, answer::ApiError> {
        let store = self.door.store.clone();
        let result = tokio::task::spawn_blocking(move || read(&store)).await;
        result.map_err(|panic| answer::ApiError::internal(&panic))?.map_err(Into::into)
    }
}
