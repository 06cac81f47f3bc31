//! Linode's API, version 4. Labels are unique in an account, so a server that is asked for twice is refused there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cloud, CloudError, Found, Machine, MachineState, Order, PAGES, TAG, absent, is_same_key, public};
use crate::forge::api::encoded;
use crate::model::server::Price;
use crate::model::{Provider, ServerSpec};

/// How long a key's label may be.
const LABEL: usize = 64;

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    #[serde(default)]
    pages: u32,
}

#[derive(Deserialize)]
struct Instance {
    id: u64,
    #[serde(default)]
    label: String,
    #[serde(default)]
    tags: Vec<String>,
    status: String,
    #[serde(default)]
    ipv4: Vec<String>,
}

impl From<Instance> for Machine {
    fn from(instance: Instance) -> Self {
        let state = match instance.status.as_str() {
            "running" => MachineState::Running,
            // It boots by itself once it is provisioned, so a stop in between is no end.
            "provisioning" | "booting" | "rebooting" | "offline" | "busy" | "restoring" | "cloning" | "migrating"
            | "rebuilding" => MachineState::Starting(instance.status),
            _ => MachineState::Broken(instance.status),
        };
        let address = instance.ipv4.iter().find_map(|address| public(address));
        Machine { id: instance.id, tags: instance.tags, state, address, price: None }
    }
}

#[derive(Deserialize)]
struct Key {
    id: u64,
    #[serde(default)]
    ssh_key: String,
}

#[derive(Deserialize)]
struct Capable {
    #[serde(default)]
    capabilities: Vec<String>,
}

#[derive(Deserialize)]
struct Type {
    #[serde(default)]
    price: Option<Priced>,
    #[serde(default)]
    region_prices: Vec<Priced>,
}

#[derive(Deserialize)]
struct Priced {
    #[serde(default)]
    id: String,
    hourly: Option<f64>,
    monthly: Option<f64>,
}

impl Priced {
    fn price(&self) -> Option<Price> {
        Some(Price { hourly: self.hourly?, monthly: self.monthly? })
    }
}

pub(super) async fn offer(cloud: &Cloud, spec: &ServerSpec) -> Result<Option<Price>, CloudError> {
    let lacks =
        |what: String, hint: &str| CloudError::NotOffered { provider: Provider::Linode, what, hint: hint.into() };
    let one = |kind: &str, name: &str| format!("/v4/{kind}/{}", encoded(name));
    let region = absent(cloud.get::<Capable>(&one("regions", spec.region.as_str())).await.map(Some), None)?;
    let Some(region) = region else {
        return Err(lacks(format!("has no region `{}`", spec.region), "its regions are at /v4/regions of its API"));
    };
    if !region.capabilities.iter().any(|has| has == "Metadata") {
        let what = format!("has no Metadata service in the region `{}`", spec.region);
        return Err(lacks(what, "without it the server can't be given its host key: take another region"));
    }
    let image = absent(cloud.get::<Capable>(&one("images", spec.image.as_str())).await.map(Some), None)?;
    let Some(image) = image else {
        return Err(lacks(format!("has no image `{}`", spec.image), "an image is written like linode/debian12"));
    };
    if !image.capabilities.iter().any(|has| has == "cloud-init") {
        let what = format!("does not run cloud-init in the image `{}`", spec.image);
        return Err(lacks(what, "without it the server can't be given its host key: take another image"));
    }
    let kind = absent(cloud.get::<Type>(&one("linode/types", spec.kind.as_str())).await.map(Some), None)?;
    let Some(kind) = kind else {
        return Err(lacks(format!("has no type `{}`", spec.kind), "its types are at /v4/linode/types of its API"));
    };
    let here = kind.region_prices.iter().find(|priced| priced.id == spec.region.as_str());
    Ok(here.or(kind.price.as_ref()).and_then(Priced::price))
}

pub(super) async fn register(cloud: &Cloud, name: &str, public: &str) -> Result<String, CloudError> {
    for page in 1..=PAGES {
        let keys: Page<Key> = cloud.get(&format!("/v4/profile/sshkeys?page={page}&page_size=500")).await?;
        if let Some(key) = keys.data.iter().find(|key| is_same_key(&key.ssh_key, public)) {
            return Ok(key.id.to_string());
        }
        if page >= keys.pages {
            break;
        }
    }
    let label: String = name.chars().take(LABEL).collect();
    let key: Key = cloud.post("/v4/profile/sshkeys", json!({ "label": label, "ssh_key": public })).await?;
    Ok(key.id.to_string())
}

pub(super) async fn find(cloud: &Cloud, spec: &ServerSpec, tag: &str) -> Result<Found, CloudError> {
    let filter = ("x-filter", json!({ "label": spec.name }).to_string());
    let path = "/v4/linode/instances?page_size=100";
    let page: Page<Instance> = cloud.ask(Method::GET, path, &[filter], None).await?;
    let named = page.data.into_iter().filter(|instance| instance.label == spec.name.as_str());
    let machines = named.map(Machine::from);
    let (ours, others): (Vec<_>, Vec<_>) = machines.partition(|machine| machine.tags.iter().any(|has| has == tag));
    Ok(Found { ours, foreign: others.first().map(|machine| machine.id) })
}

pub(super) async fn create(cloud: &Cloud, order: &Order) -> Result<Machine, CloudError> {
    let Order { spec, tag, public_key, user_data, .. } = order;
    let body = json!({
        "label": spec.name, "region": spec.region, "type": spec.kind, "image": spec.image, "tags": [TAG, tag],
        "authorized_keys": [public_key], "root_pass": password()?, "booted": true,
        "metadata": { "user_data": STANDARD.encode(user_data.expose()) },
    });
    cloud.post::<Instance>("/v4/linode/instances", body).await.map(Machine::from)
}

pub(super) async fn look(cloud: &Cloud, id: u64) -> Result<Machine, CloudError> {
    cloud.get::<Instance>(&format!("/v4/linode/instances/{id}")).await.map(Machine::from)
}

/// A root password, which Linode wants and nobody is to know.
fn password() -> Result<String, CloudError> {
    let mut bytes = [0; 48];
    let no_chance = |e: getrandom::Error| CloudError::NotOffered {
        provider: Provider::Linode,
        what: format!("wants a root password, and this machine has no randomness for one ({e})"),
        hint: "see that getrandom(2) works here".to_owned(),
    };
    getrandom::fill(&mut bytes).map_err(no_chance)?;
    Ok(STANDARD.encode(bytes))
}

/// `{"errors": [{"field": "region", "reason": "region is not valid"}]}`
pub(super) fn said(body: &Value) -> String {
    let one = |error: &Value| {
        let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match text("field") {
            field if field.is_empty() => text("reason"),
            field => format!("{} ({field})", text("reason")),
        }
    };
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    errors.map(one).collect::<Vec<_>>().join("; ")
}
