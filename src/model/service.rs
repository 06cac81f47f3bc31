//! How an app runs on its hosts: its systemd unit, the sites that nginx serves it as, and its database. As the user wrote
//! it; what becomes of it is `render`'s and `host`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::{CredentialName, HostName, PgName, UnitName};

/// A systemd unit that the app runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The unit's name without `.service`.
    pub name: UnitName,
    /// `Description=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `ExecStart=`, in systemd's own syntax. With it the unit is ours to install; without it somebody else made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_start: Option<String>,
    /// `User=`; none runs it as a user of its own that systemd makes up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `WorkingDirectory=`, where it is not the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// `Environment=`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The secrets of `airplanes secret set` that it gets, by `LoadCredential=`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<CredentialName>,
    /// `MemoryMax=`, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// `Restart=`.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_default")]
    pub restart: RestartPolicy,
    /// Folders that it may write, beside its state folder `/var/lib/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
}

impl Service {
    /// A unit that somebody else made.
    pub fn named(name: UnitName) -> Self {
        Self {
            name,
            description: None,
            exec_start: None,
            user: None,
            working_directory: None,
            environment: BTreeMap::new(),
            secrets: Vec::new(),
            memory: None,
            restart: RestartPolicy::default(),
            write: Vec::new(),
        }
    }
}

/// What systemd does when the app has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It is started again, however it ended.
    #[default]
    Always,
    /// Only if it failed.
    OnFailure,
    /// It is left.
    No,
}

impl RestartPolicy {
    /// As systemd writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::No => "no",
        }
    }
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A site that nginx serves for the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// `server_name`.
    pub host: HostName,
    /// Further names of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<HostName>,
    /// Where the app listens; none where it has two instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// On which address.
    pub ip: HostName,
    /// Whether connections may become websockets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub websocket: bool,
    /// How large a request may be, in bytes; nginx's own limit is 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<u64>,
    /// Its certificate; none serves it over plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Certificate>,
}

/// Where a site's certificate is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certificate {
    /// certbot gets it, and renews it, from Let's Encrypt.
    Certbot {
        /// Who is told when it is about to run out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<String>,
    },
    /// It lies on the host.
    Files {
        /// The certificate with its chain.
        certificate: String,
        /// Its key.
        key: String,
    },
}

/// An app that runs twice while it is deployed: the new instance is started beside the old, which goes once nginx sends its
/// requests to the new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZeroDowntime {
    /// Where the instances listen, each on one of them: `{port}`.
    pub ports: [u16; 2],
    /// How long the old one may take to answer what it was asked.
    pub drain: Duration,
}

/// A database of the app's own, in the PostgreSQL of its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postgres {
    /// Its name.
    pub database: PgName,
    /// Its owner, whom the app logs in as.
    pub role: PgName,
}
