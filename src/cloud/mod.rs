//! Who makes servers: Linode and DigitalOcean, one file each. What is asked of their APIs, and what their answers mean.
//!
//! A [`Cloud`] makes one call after the other through `net`, and says of each that failed whether it may have happened
//! all the same, which is what its caller has to know before it asks again. Neither API knows a call that was repeated, so
//! every server carries a tag of ours by which it is found.
//!
//! Must never repeat a call by itself, decide to make or to destroy anything, or show a token or what a server is given
//! at its first start (`user_data`), which holds its host key.

mod digitalocean;
mod error;
mod linode;

use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::ProviderApi;
use crate::forge::api::{ApiCall, Reply};
use crate::model::server::Price;
use crate::model::{HostName, Provider, Secret, ServerSpec};
use crate::net::Http;

pub use error::CloudError;

/// What all of our servers carry, beside the tag that each has for itself.
pub const TAG: &str = "airplanes";
/// How many pages of a list are read.
const PAGES: u32 = 50;

/// A server that is to be made.
#[derive(Debug, Clone)]
pub struct Order {
    /// What was asked for.
    pub spec: ServerSpec,
    /// What tells it from all others.
    pub tag: String,
    /// The provider's id of the key that logs in.
    pub ssh_key: String,
    /// The same key, as authorized_keys has it.
    pub public_key: String,
    /// What cloud-init reads at its first start.
    pub user_data: Secret,
}

/// A server, as its provider tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// The provider's id.
    pub id: u64,
    /// Its tags.
    pub tags: Vec<String>,
    /// How it is.
    pub state: MachineState,
    /// Its public address, once it has one.
    pub address: Option<HostName>,
    /// What it costs, where that is told.
    pub price: Option<Price>,
}

/// How a server is, as its provider tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineState {
    /// On its way, in the provider's word.
    Starting(String),
    /// It runs.
    Running,
    /// It will not run by itself, in the provider's word.
    Broken(String),
}

/// What is there under a server's tag or name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Those that carry the tag; more than one only if the provider made two of one call.
    pub ours: Vec<Machine>,
    /// One that has the name, where names are unique, and is not ours.
    pub foreign: Option<u64>,
}

/// A provider, and the way to it.
#[derive(Debug, Clone)]
pub struct Cloud {
    provider: Provider,
    access: ProviderApi,
    http: Http,
}

impl Cloud {
    /// The provider behind an API.
    pub fn new(provider: Provider, access: ProviderApi, http: Http) -> Self {
        Self { provider, access, http }
    }

    /// Whether the provider refuses a second server of one name, so that one that was asked for twice is made once.
    pub fn refuses_twins(&self) -> bool {
        self.provider == Provider::Linode
    }

    /// What the provider says of what is wanted, before it is made: that it has the region, type and image, that they go
    /// together, and what it costs. Reads only.
    pub async fn offer(&self, spec: &ServerSpec) -> Result<Option<Price>, CloudError> {
        match self.provider {
            Provider::Linode => linode::offer(self, spec).await,
            Provider::Digitalocean => digitalocean::offer(self, spec).await,
        }
    }
    /// The provider's id of a public key. It is registered unless it is there; a key is told by itself, not by its name.
    pub async fn register(&self, name: &str, public: &str) -> Result<String, CloudError> {
        match self.provider {
            Provider::Linode => linode::register(self, name, public).await,
            Provider::Digitalocean => digitalocean::register(self, name, public).await,
        }
    }
    /// What is there of a server.
    pub async fn find(&self, spec: &ServerSpec, tag: &str) -> Result<Found, CloudError> {
        match self.provider {
            Provider::Linode => linode::find(self, spec, tag).await,
            Provider::Digitalocean => digitalocean::find(self, tag).await,
        }
    }
    /// Asks for a server to be made. What is answered is not yet a server that runs.
    pub async fn create(&self, order: &Order) -> Result<Machine, CloudError> {
        match self.provider {
            Provider::Linode => linode::create(self, order).await,
            Provider::Digitalocean => digitalocean::create(self, order).await,
        }
    }
    /// How a server is; none if it is not there.
    pub async fn look(&self, id: u64) -> Result<Option<Machine>, CloudError> {
        let looked = match self.provider {
            Provider::Linode => linode::look(self, id).await,
            Provider::Digitalocean => digitalocean::look(self, id).await,
        };
        absent(looked.map(Some), None)
    }
    /// Destroys a server. One that is not there is as good.
    pub async fn destroy(&self, id: u64) -> Result<(), CloudError> {
        let path = match self.provider {
            Provider::Linode => format!("/v4/linode/instances/{id}"),
            Provider::Digitalocean => format!("/v2/droplets/{id}"),
        };
        absent(self.ask::<Empty>(Method::DELETE, &path, &[], None).await.map(drop), ())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CloudError> {
        self.ask(Method::GET, path, &[], None).await
    }
    async fn post<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T, CloudError> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    /// One call, and its answer as what it should be.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Option<Value>,
    ) -> Result<T, CloudError> {
        let token = &self.access.token;
        let mut all = vec![("accept", "application/json".to_owned())];
        all.extend_from_slice(headers);
        let call = ApiCall {
            method,
            url: format!("{}{path}", self.access.api),
            credential: ("authorization", Secret::new(token.name(), [b"Bearer ", token.expose()].concat())),
            headers: all,
            body: body.map(|body| body.to_string().into_bytes()),
        };
        let reply = self.http.call(&call).await?;
        self.good(&reply)?;
        // A deletion is answered with nothing.
        let body: &[u8] = if reply.body.is_empty() { b"{}" } else { &reply.body };
        serde_json::from_slice(body).map_err(|e| CloudError::Odd {
            provider: self.provider,
            path: path.to_owned(),
            why: e.to_string(),
        })
    }

    fn good(&self, reply: &Reply) -> Result<(), CloudError> {
        let (provider, status, said) = (self.provider, reply.status, self.said(reply));
        let token = self.access.token.name().to_owned();
        match status {
            200..=299 => Ok(()),
            401 | 403 if reply.wait.is_none() => Err(CloudError::Token { provider, status, token, said }),
            403 | 408 | 425 | 429 | 500..=599 => Err(CloudError::Busy { provider, status, said, wait: reply.wait }),
            _ => Err(CloudError::Refused { provider, status, said }),
        }
    }

    /// What the provider said of a refusal, after a colon, in one line and without the token.
    fn said(&self, reply: &Reply) -> String {
        let words = match serde_json::from_slice::<Value>(&reply.body) {
            Ok(body) => match self.provider {
                Provider::Linode => linode::said(&body),
                Provider::Digitalocean => digitalocean::said(&body),
            },
            // A page of HTML says nothing that its status does not.
            Err(_) => String::new(),
        };
        let token = String::from_utf8_lossy(self.access.token.expose()).into_owned();
        let words = words.replace(&token, "***");
        let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        if line.is_empty() { line } else { format!(": {line}") }
    }
}

/// An answer that nobody reads.
#[derive(serde::Deserialize)]
struct Empty {}

/// A 404 as an answer like any other.
fn absent<T>(result: Result<T, CloudError>, none: T) -> Result<T, CloudError> {
    match result {
        Err(CloudError::Refused { status: 404, .. }) => Ok(none),
        other => other,
    }
}

/// Whether two lines are one public key: what stands after it is a comment.
fn is_same_key(one: &str, other: &str) -> bool {
    let key = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    key(one) == key(other)
}

/// An address, if it can be reached from anywhere.
fn public(address: &str) -> Option<HostName> {
    let ip: std::net::IpAddr = address.parse().ok()?;
    let is_private = matches!(ip, std::net::IpAddr::V4(ip) if ip.is_private() || ip.is_link_local());
    if is_private { None } else { HostName::new(address).ok() }
}
