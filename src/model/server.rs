//! Servers that are made for us: what was asked for, the journal of each, and the fold that is its state.
//!
//! A server is its entries; [`ServerState::apply`] refuses impossible orders. What is asked of a provider is journaled
//! before it is asked, so that after a crash it is known what may have happened there.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::ServerId;
use super::names::{AppName, CloudName, HostName, InvalidName, ServerName};

/// Who makes servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Linode, Akamai's.
    Linode,
    /// DigitalOcean.
    Digitalocean,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Linode, Self::Digitalocean];

    /// Its key in `:providers`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linode => "linode",
            Self::Digitalocean => "digitalocean",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let found = Self::ALL.into_iter().find(|provider| provider.as_str() == text);
        found.ok_or_else(|| InvalidName::new("provider", text, "it is one of linode, digitalocean"))
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// Its name.
    pub name: ServerName,
    /// Who makes it.
    pub provider: Provider,
    /// Where.
    pub region: CloudName,
    /// How large.
    #[serde(rename = "type")]
    pub kind: CloudName,
    /// With which system.
    pub image: CloudName,
}

/// What a server costs, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// An hour.
    pub hourly: f64,
    /// At most, a month.
    pub monthly: f64,
}

/// One entry of a server's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum ServerEntry {
    /// It was asked for.
    Asked {
        /// What.
        spec: ServerSpec,
        /// By whom.
        by: String,
    },
    /// The provider knows the key that hosts are logged in to with.
    KeyRegistered {
        /// The provider's id of it.
        key: String,
    },
    /// The key that the server is to show has been made. Its private half is in a file until the server has shown it.
    HostKey {
        /// Its public half, as authorized_keys has it.
        public: String,
    },
    /// The provider is about to be asked to make it.
    Creating,
    /// It is certain that the provider made none.
    NotCreated {
        /// Why not.
        reason: String,
    },
    /// It is there.
    Created {
        /// The provider's id of it.
        server: u64,
        /// It was found, not answered for: what came of an earlier call.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        adopted: bool,
        /// What it costs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        price: Option<Price>,
    },
    /// The provider says that it runs.
    Running {
        /// Its public address.
        address: HostName,
    },
    /// It lets us in over ssh, and shows the key that we made.
    Reachable,
    /// It goes no further by itself.
    Failed {
        /// Why.
        reason: String,
    },
    /// It is to go on where it failed.
    Again {
        /// As it was, unless it is certain that none was made yet.
        spec: ServerSpec,
        /// Who says so.
        by: String,
    },
    /// It is to go.
    Destroying {
        /// Who says so.
        by: String,
    },
    /// It is gone.
    Destroyed {
        /// The provider's ids of what was destroyed.
        servers: Vec<u64>,
    },
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// The format of the entry.
    pub v: u32,
    /// When.
    pub at: Timestamp,
    /// It.
    #[serde(flatten)]
    pub entry: ServerEntry,
}

/// The format of entries.
pub const SERVER_RECORD_VERSION: u32 = 1;

/// An entry that can't come where it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServerFault(pub &'static str);

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerPhase {
    /// It was asked for, and the provider was not yet asked to make it.
    Asked,
    /// The provider was asked to make it.
    Creating,
    /// It is there, and does not run yet.
    Starting,
    /// It runs, and did not yet let us in.
    Running,
    /// It is as it should be.
    Ready,
    /// It goes no further by itself.
    Failed,
    /// It is to go.
    Destroying,
    /// It is gone.
    Destroyed,
}

impl ServerPhase {
    /// Whether nothing more happens by itself.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Ready | Self::Failed | Self::Destroyed)
    }
}

impl fmt::Display for ServerPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Asked => "asked",
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        })
    }
}

/// A server: the fold of its entries.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerState {
    /// Its id; the provider has it as a tag, see [`ServerState::tag`].
    pub id: ServerId,
    /// The place of its last entry, from 1.
    pub seq: u64,
    /// What was asked for.
    pub spec: ServerSpec,
    /// By whom.
    pub by: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When its last entry was made.
    pub changed_at: Timestamp,
    /// The provider's id of the key that hosts are logged in to with.
    pub ssh_key: Option<String>,
    /// The public half of the key that it is to show.
    pub host_key: Option<String>,
    /// How many times the provider was asked to make it, since a person last asked.
    pub attempts: u32,
    /// Whether the provider may have made it, and it is not known yet.
    pub may_be_made: bool,
    /// The provider's id of it, and whether it was found rather than answered for.
    pub made: Option<(u64, bool)>,
    /// What it costs.
    pub price: Option<Price>,
    /// Its public address.
    pub address: Option<HostName>,
    /// Whether it let us in.
    pub reachable: bool,
    /// Why it goes no further.
    pub failed: Option<String>,
    /// Who wants it to go.
    pub destroying: Option<String>,
    /// Whether it is gone.
    pub destroyed: bool,
}

impl ServerState {
    /// From a journal's first entry.
    pub fn create(id: ServerId, record: &ServerRecord) -> Result<Self, ServerFault> {
        let ServerEntry::Asked { spec, by } = &record.entry else {
            return Err(ServerFault("a server's journal begins with who asked for it"));
        };
        Ok(Self {
            id,
            seq: 1,
            spec: spec.clone(),
            by: by.clone(),
            asked_at: record.at,
            changed_at: record.at,
            ssh_key: None,
            host_key: None,
            attempts: 0,
            may_be_made: false,
            made: None,
            price: None,
            address: None,
            reachable: false,
            failed: None,
            destroying: None,
            destroyed: false,
        })
    }

    /// The server after one entry more.
    pub fn apply(mut self, record: &ServerRecord) -> Result<Self, ServerFault> {
        let to = |ok: bool, why: &'static str| if ok { Ok(()) } else { Err(ServerFault(why)) };
        let phase = self.phase();
        to(!self.destroyed, "it is gone, and gone is gone")?;
        let is_under_way = !matches!(phase, ServerPhase::Failed | ServerPhase::Destroying | ServerPhase::Ready);
        match &record.entry {
            ServerEntry::Asked { .. } => return Err(ServerFault("it was asked for already")),
            ServerEntry::KeyRegistered { key } => {
                to(is_under_way && self.made.is_none(), "no key is registered for it now")?;
                self.ssh_key = Some(key.clone());
            }
            ServerEntry::HostKey { public } => {
                to(is_under_way && self.made.is_none() && !self.may_be_made, "it may have its key already")?;
                self.host_key = Some(public.clone());
            }
            ServerEntry::Creating => {
                to(is_under_way && self.ssh_key.is_some() && self.host_key.is_some(), "it has no keys yet")?;
                to(self.made.is_none() && !self.may_be_made, "it may be there already")?;
                (self.may_be_made, self.attempts) = (true, self.attempts + 1);
            }
            ServerEntry::NotCreated { .. } => {
                to(self.may_be_made && self.made.is_none(), "the provider was not asked")?;
                self.may_be_made = false;
            }
            ServerEntry::Created { server, adopted, price } => {
                to(is_under_way && self.host_key.is_some() && self.made.is_none(), "it is not being made")?;
                self.made = Some((*server, *adopted));
                self.price = price.or(self.price);
                self.may_be_made = false;
            }
            ServerEntry::Running { address } => {
                to(is_under_way && self.made.is_some(), "it is not there")?;
                self.address = Some(address.clone());
            }
            ServerEntry::Reachable => {
                to(is_under_way && self.address.is_some(), "it has no address")?;
                self.reachable = true;
            }
            ServerEntry::Failed { reason } => {
                to(!phase.is_at_rest(), "it was at rest")?;
                (self.failed, self.destroying) = (Some(reason.clone()), None);
            }
            ServerEntry::Again { spec, by } => {
                to(phase == ServerPhase::Failed, "it has not failed")?;
                to(*spec == self.spec || self.is_free(), "another one was asked for, and this one may be there")?;
                to(spec.name == self.spec.name, "it has another name")?;
                if spec.provider != self.spec.provider {
                    self.ssh_key = None;
                }
                (self.spec, self.by, self.failed, self.attempts) = (spec.clone(), by.clone(), None, 0);
            }
            ServerEntry::Destroying { by } => {
                to(phase != ServerPhase::Destroying, "it is being destroyed already")?;
                (self.destroying, self.failed) = (Some(by.clone()), None);
            }
            ServerEntry::Destroyed { .. } => {
                to(phase == ServerPhase::Destroying, "nobody wanted it to go")?;
                self.destroyed = true;
            }
        }
        self.seq += 1;
        self.changed_at = record.at;
        Ok(self)
    }

    /// Where it is.
    pub fn phase(&self) -> ServerPhase {
        match self {
            Self { destroyed: true, .. } => ServerPhase::Destroyed,
            Self { destroying: Some(_), .. } => ServerPhase::Destroying,
            Self { failed: Some(_), .. } => ServerPhase::Failed,
            Self { reachable: true, .. } => ServerPhase::Ready,
            Self { address: Some(_), .. } => ServerPhase::Running,
            Self { made: Some(_), .. } => ServerPhase::Starting,
            Self { may_be_made: true, .. } => ServerPhase::Creating,
            _ => ServerPhase::Asked,
        }
    }
    /// Whether it is certain that the provider has none.
    pub fn is_free(&self) -> bool {
        self.made.is_none() && !self.may_be_made
    }
    /// What tells it from all others at its provider.
    pub fn tag(&self) -> String {
        format!("airplanes-{}", self.id)
    }
}

/// A body for `POST /servers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRequest {
    /// What is wanted.
    #[serde(flatten)]
    pub spec: ServerSpec,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What `POST /servers` would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerPlan {
    /// What was asked for.
    #[serde(flatten)]
    pub spec: ServerSpec,
    /// What would be done, in order.
    pub steps: Vec<String>,
    /// What it would cost, where the provider says so beforehand.
    pub price: Option<Price>,
}

/// A server, as it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    /// Its id.
    pub id: ServerId,
    /// Its name.
    pub name: ServerName,
    /// Always `server`: other things that are journaled have other kinds.
    pub kind: String,
    /// Who makes it.
    pub provider: Provider,
    /// Where.
    pub region: CloudName,
    /// How large.
    #[serde(rename = "type")]
    pub size: CloudName,
    /// With which system.
    pub image: CloudName,
    /// Where it is in its life.
    pub state: ServerPhase,
    /// Why it goes no further.
    pub reason: Option<String>,
    /// What it is at, or waits for.
    pub note: Option<String>,
    /// The provider's id of it.
    pub server: Option<u64>,
    /// Whether it was found after a call that was not answered.
    pub adopted: bool,
    /// Its public address.
    pub address: Option<HostName>,
    /// The user to log in as.
    pub user: String,
    /// The key that it shows, as authorized_keys has it.
    pub host_key: Option<String>,
    /// What it costs.
    pub price: Option<Price>,
    /// The apps of deploy.edn that run on a host of its name or address.
    pub apps: Vec<AppName>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// How many changes there were, of it or of others: to wait for more.
    pub changes: u64,
}

/// All servers, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerList {
    /// The servers.
    pub servers: Vec<ServerView>,
    /// Always none: the page has all of them.
    pub next: Option<String>,
}
