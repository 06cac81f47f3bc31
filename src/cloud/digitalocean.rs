//! DigitalOcean's API, version 2. Names are not unique there, so a server is found by its tag alone.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cloud, CloudError, Found, Machine, MachineState, Order, PAGES, TAG, absent, is_same_key, public};
use crate::forge::api::encoded;
use crate::model::server::Price;
use crate::model::{Provider, ServerSpec};

/// How many of a list come at once: as many as it gives.
const PAGE: usize = 200;

#[derive(Deserialize)]
struct Droplet {
    id: u64,
    status: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    networks: Networks,
    #[serde(default)]
    size: Option<Size>,
}

#[derive(Deserialize, Default)]
struct Networks {
    #[serde(default)]
    v4: Vec<Network>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    ip_address: String,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Size {
    slug: String,
    price_hourly: Option<f64>,
    price_monthly: Option<f64>,
}

impl Size {
    fn price(&self) -> Option<Price> {
        Some(Price { hourly: self.price_hourly?, monthly: self.price_monthly? })
    }
}

impl From<Droplet> for Machine {
    fn from(droplet: Droplet) -> Self {
        let state = match droplet.status.as_str() {
            "active" => MachineState::Running,
            "new" | "off" => MachineState::Starting(droplet.status),
            _ => MachineState::Broken(droplet.status),
        };
        let mut addresses = droplet.networks.v4.iter().filter(|network| network.kind == "public");
        let address = addresses.find_map(|network| public(&network.ip_address));
        let price = droplet.size.as_ref().and_then(Size::price);
        Machine { id: droplet.id, tags: droplet.tags, state, address, price }
    }
}

#[derive(Deserialize)]
struct OneDroplet {
    droplet: Droplet,
}

#[derive(Deserialize)]
struct Droplets {
    droplets: Vec<Droplet>,
}

#[derive(Deserialize)]
struct Key {
    id: u64,
    #[serde(default)]
    public_key: String,
}

#[derive(Deserialize)]
struct Keys {
    ssh_keys: Vec<Key>,
}

#[derive(Deserialize)]
struct OneKey {
    ssh_key: Key,
}

#[derive(Deserialize)]
struct Regions {
    regions: Vec<Region>,
}

#[derive(Deserialize)]
struct Region {
    slug: String,
    available: bool,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    sizes: Vec<String>,
}

#[derive(Deserialize)]
struct Sizes {
    sizes: Vec<Size>,
}

#[derive(Deserialize)]
struct Actions {
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    status: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct AnyImage {}

pub(super) async fn offer(cloud: &Cloud, spec: &ServerSpec) -> Result<Option<Price>, CloudError> {
    let lacks = |what: String, hint: &str| CloudError::NotOffered {
        provider: Provider::Digitalocean,
        what,
        hint: hint.to_owned(),
    };
    let regions: Regions = cloud.get(&format!("/v2/regions?per_page={PAGE}")).await?;
    let Some(region) = regions.regions.iter().find(|region| region.slug == spec.region.as_str()) else {
        return Err(lacks(format!("has no region `{}`", spec.region), "its regions are at /v2/regions of its API"));
    };
    if !region.available {
        return Err(lacks(format!("takes no new servers in `{}` now", spec.region), "take another region"));
    }
    if !region.features.iter().any(|has| has == "metadata") {
        let what = format!("has no metadata service in the region `{}`", spec.region);
        return Err(lacks(what, "without it the server can't be given its host key: take another region"));
    }
    if !region.sizes.iter().any(|size| size == spec.kind.as_str()) {
        let what = format!("has no type `{}` in the region `{}`", spec.kind, spec.region);
        return Err(lacks(what, "its sizes are at /v2/sizes of its API, and each region names those that it has"));
    }
    let image = format!("/v2/images/{}", encoded(spec.image.as_str()));
    if absent(cloud.get::<AnyImage>(&image).await.map(Some), None)?.is_none() {
        return Err(lacks(format!("has no image `{}`", spec.image), "an image is written like debian-12-x64"));
    }
    // What can't be told beforehand is told by the server itself, once it is there.
    let sizes = cloud.get::<Sizes>(&format!("/v2/sizes?per_page={PAGE}")).await;
    let sizes = sizes.inspect_err(|error| tracing::debug!(%error, "no prices")).map(|sizes| sizes.sizes);
    let mut sizes = sizes.unwrap_or_default().into_iter();
    Ok(sizes.find(|size| size.slug == spec.kind.as_str()).and_then(|size| size.price()))
}

pub(super) async fn register(cloud: &Cloud, name: &str, public: &str) -> Result<String, CloudError> {
    for page in 1..=PAGES {
        let keys: Keys = cloud.get(&format!("/v2/account/keys?page={page}&per_page={PAGE}")).await?;
        if let Some(key) = keys.ssh_keys.iter().find(|key| is_same_key(&key.public_key, public)) {
            return Ok(key.id.to_string());
        }
        if keys.ssh_keys.len() < PAGE {
            break;
        }
    }
    let key: OneKey = cloud.post("/v2/account/keys", json!({ "name": name, "public_key": public })).await?;
    Ok(key.ssh_key.id.to_string())
}

pub(super) async fn find(cloud: &Cloud, tag: &str) -> Result<Found, CloudError> {
    let path = format!("/v2/droplets?tag_name={}&per_page={PAGE}", encoded(tag));
    let found: Droplets = cloud.get(&path).await?;
    let machines = found.droplets.into_iter().map(Machine::from);
    Ok(Found { ours: machines.filter(|machine| machine.tags.iter().any(|has| has == tag)).collect(), foreign: None })
}

pub(super) async fn create(cloud: &Cloud, order: &Order) -> Result<Machine, CloudError> {
    let Order { spec, tag, ssh_key, user_data, .. } = order;
    // Its own images have names, those of the account have numbers.
    let number = |text: &str| text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
    let body = json!({
        "name": spec.name, "region": spec.region, "size": spec.kind, "image": number(spec.image.as_str()),
        "tags": [TAG, tag], "ssh_keys": [number(ssh_key)],
        "user_data": String::from_utf8_lossy(user_data.expose()),
    });
    cloud.post::<OneDroplet>("/v2/droplets", body).await.map(|one| one.droplet.into())
}

/// A droplet whose creation went wrong stays `new`: only its actions tell.
pub(super) async fn look(cloud: &Cloud, id: u64) -> Result<Machine, CloudError> {
    let machine: Machine = cloud.get::<OneDroplet>(&format!("/v2/droplets/{id}")).await?.droplet.into();
    if matches!(&machine.state, MachineState::Starting(word) if word == "new") {
        let actions: Actions = cloud.get(&format!("/v2/droplets/{id}/actions?per_page={PAGE}")).await?;
        if actions.actions.iter().any(|action| action.kind == "create" && action.status == "errored") {
            return Ok(Machine { state: MachineState::Broken("errored while it was created".to_owned()), ..machine });
        }
    }
    Ok(machine)
}

/// `{"id": "unprocessable_entity", "message": "Region is not available"}`
pub(super) fn said(body: &Value) -> String {
    let text = |key| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match text("message") {
        message if message.is_empty() => text("id"),
        message => message,
    }
}
