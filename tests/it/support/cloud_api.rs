//! A stand-in for Linode's and DigitalOcean's APIs: it keeps what was made, boots it as a real sshd that has what its user
//! data says, checks every request against the provider's published OpenAPI, and fails as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use airplanes::demo::sshd::{Sshd, SshdOptions};
use airplanes::model::Provider;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::forge_api::decoded;
use super::openapi::OpenApi;

/// The token that every stand-in wants.
pub const TOKEN: &str = "tok-0123456789-of-clouds";

/// What a call gets in place of what is right.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A status, in the provider's words. Nothing is done.
    Status(u16),
    /// 429, with so many seconds to wait.
    Limited(u64),
    /// It is done, and the answer breaks off.
    Dropped,
    /// It is not done, and the answer breaks off.
    Lost,
    /// It is done, and never answered.
    Silence,
    /// It is done, and answered with 500.
    DoneAndFailed,
}

/// A server as the stand-in has it.
pub struct Made {
    pub id: u64,
    pub name: String,
    pub tags: Vec<String>,
    pub user_data: String,
    /// How often it was looked at since: it runs from the third time on.
    pub looks: u32,
    pub sshd: Option<Sshd>,
    body: Value,
}

/// How its servers are.
#[derive(Clone)]
pub struct Ground {
    /// Where the sshds' folders go.
    pub folder: PathBuf,
    /// The private key that may log in; its public half has to be registered.
    pub identity: PathBuf,
    /// Where its servers listen.
    pub address: SocketAddr,
    /// The published OpenAPI, where the corpus is there.
    pub openapi: Option<PathBuf>,
}

#[derive(Default)]
pub struct Heard {
    pub calls: Vec<String>,
    pub wrong: Vec<String>,
    pub made: BTreeMap<u64, Made>,
    /// How many were made, whatever became of them.
    pub count: u64,
    pub keys: Vec<(u64, String)>,
    /// What the next calls that begin so are answered: `POST /v2/droplets`.
    pub faults: VecDeque<(&'static str, Fault)>,
    /// Its images do not take user data: they show a key of their own.
    pub is_deaf: bool,
    /// It says that no server ever runs.
    pub is_stuck: bool,
}

#[derive(Clone)]
pub struct CloudApi {
    pub provider: Provider,
    pub at: SocketAddr,
    ground: Ground,
    openapi: Arc<Option<OpenApi>>,
    heard: Arc<Mutex<Heard>>,
}

impl CloudApi {
    pub async fn start(provider: Provider, ground: Ground) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let openapi = Arc::new(ground.openapi.as_deref().map(OpenApi::read));
        let api = Self { provider, at, ground, openapi, heard: Arc::default() };
        let router = Router::new().fallback(hear).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        api
    }
    /// `:linode {…}`, for `:providers`.
    pub fn config(&self) -> String {
        format!(":{} {{:token \"{TOKEN}\" :api \"http://{}\"}}", self.provider, self.at)
    }
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        // An assertion that failed meanwhile has said so: its words are not to be lost among those of all who come after.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What the next calls that begin so are answered.
    pub fn will(&self, call: &'static str, fault: Fault) {
        self.heard().faults.push_back((call, fault));
    }
    /// How many calls began so.
    pub fn count(&self, call: &str) -> usize {
        self.heard().calls.iter().filter(|heard| heard.starts_with(call)).count()
    }
    /// The path that servers are made by.
    pub fn makes(&self) -> &'static str {
        match self.provider {
            Provider::Linode => "POST /v4/linode/instances",
            Provider::Digitalocean => "POST /v2/droplets",
        }
    }
    /// No call was wrong by what the provider publishes.
    pub fn is_content(&self) {
        let wrong = self.heard().wrong.clone();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    /// One that somebody else made.
    pub fn foreign(&self, name: &str) {
        let body = json!({ "label": name, "name": name, "region": "eu", "tags": [] });
        self.heard().make(name.to_owned(), String::new(), body);
    }
}

impl Heard {
    fn make(&mut self, name: String, user_data: String, body: Value) -> u64 {
        self.count += 1;
        let id = 1000 + self.count;
        let tags = body["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().unwrap().to_owned());
        let made = Made { id, name, tags: tags.collect(), user_data, looks: 0, sshd: None, body };
        self.made.insert(id, made);
        id
    }
}

type Answer = (u16, Value);

async fn hear(State(api): State<CloudApi>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let call = format!("{method} {uri}");
    let fault = {
        let mut heard = api.heard();
        heard.calls.push(call.clone());
        match heard.faults.front().is_some_and(|(at, _)| call.starts_with(at)) {
            true => heard.faults.pop_front().map(|(_, fault)| fault),
            false => None,
        }
    };
    match fault {
        Some(Fault::Status(status)) => return answered((status, words(api.provider, "you can't, tok"))),
        Some(Fault::Limited(seconds)) => {
            let mut response = answered((429, words(api.provider, "too many requests")));
            response.headers_mut().insert("retry-after", seconds.into());
            return response;
        }
        Some(Fault::Lost) => return broken(),
        _ => {}
    }
    // It starts sshds, which blocks.
    let answer = tokio::task::block_in_place(|| api.answer(&method, &uri, &headers, &body));
    match fault {
        Some(Fault::Dropped) => broken(),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::DoneAndFailed) => answered((500, words(api.provider, "something broke"))),
        _ => answered(answer),
    }
}

fn answered((status, body): Answer) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    if body.is_null() { status.into_response() } else { (status, axum::Json(body)).into_response() }
}

fn broken() -> Response {
    let broken: Result<Bytes, std::io::Error> = Err(std::io::Error::other("dropped"));
    Response::new(Body::from_stream(futures_util::stream::iter([broken])))
}

/// An error in a provider's form; it holds the token, as no provider should do.
fn words(provider: Provider, text: &str) -> Value {
    let text = text.replace("tok", TOKEN);
    match provider {
        Provider::Linode => json!({ "errors": [{ "reason": text, "field": "type" }] }),
        Provider::Digitalocean => json!({ "id": "oops", "message": text }),
    }
}

impl CloudApi {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Answer {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let query: Vec<(String, String)> = query.map(|(key, value)| (key.to_owned(), decoded(value))).collect();
        let mut wrong = Vec::new();
        if header("authorization") != format!("Bearer {TOKEN}") {
            return (401, words(self.provider, "Invalid Token"));
        }
        if !header("user-agent").starts_with("airplanes/") {
            wrong.push("no user agent".to_owned());
        }
        if !body.is_empty() && header("content-type") != "application/json" {
            wrong.push("no JSON".to_owned());
        }
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap_or_default() };
        if let Some(openapi) = &*self.openapi {
            wrong.extend(openapi.check(method.as_str(), uri.path(), &query, &body).err());
        }
        if !wrong.is_empty() {
            self.heard().wrong.push(format!("{method} {uri}: {wrong:?}"));
            return (400, words(self.provider, &wrong.join(", ")));
        }
        let parts: Vec<String> = uri.path().split('/').skip(2).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let query = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        match self.provider {
            Provider::Linode => self.linode(method.as_str(), &parts, header("x-filter"), body),
            Provider::Digitalocean => self.digitalocean(method.as_str(), &parts, query("tag_name"), body),
        }
    }

    fn linode(&self, method: &str, parts: &[&str], filter: &str, body: Value) -> Answer {
        let none = || (404, json!({ "errors": [{ "reason": "Not found" }] }));
        let page = |data: Vec<Value>| (200, json!({ "results": data.len(), "data": data, "page": 1, "pages": 1 }));
        let mut heard = self.heard();
        match (method, parts) {
            ("GET", ["regions", "eu-central"]) => (200, json!({ "id": "eu-central", "capabilities": ["Metadata"] })),
            ("GET", ["regions", "us-old"]) => (200, json!({ "id": "us-old", "capabilities": ["Linodes"] })),
            ("GET", ["images", "linode/debian12"]) => (200, json!({ "capabilities": ["cloud-init"] })),
            ("GET", ["images", "linode/old"]) => (200, json!({ "capabilities": [] })),
            ("GET", ["linode", "types", "g6-nanode-1"]) => {
                let prices = json!([{ "id": "eu-central", "hourly": 0.009, "monthly": 6.0 }]);
                (200, json!({ "price": { "hourly": 0.0075, "monthly": 5.0 }, "region_prices": prices }))
            }
            ("GET", ["profile", "sshkeys"]) => {
                page(heard.keys.iter().map(|(id, key)| json!({ "id": id, "ssh_key": key })).collect())
            }
            ("POST", ["profile", "sshkeys"]) => {
                let id = self.key(&mut heard, &body["ssh_key"]);
                (200, json!({ "id": id, "ssh_key": body["ssh_key"] }))
            }
            ("GET", ["linode", "instances"]) => {
                let label: Value = serde_json::from_str(filter).unwrap();
                let named = heard.made.values().filter(|made| label["label"] == made.name);
                page(named.map(|made| self.shown(made, heard.is_stuck)).collect())
            }
            ("POST", ["linode", "instances"]) => {
                let label = body["label"].as_str().unwrap().to_owned();
                if heard.made.values().any(|made| made.name == label) {
                    return (400, json!({ "errors": [{ "reason": "Label must be unique", "field": "label" }] }));
                }
                assert_eq!(body["authorized_keys"], json!([self.public_key()]));
                assert!(body["root_pass"].as_str().is_some_and(|word| word.len() > 40));
                let data = STANDARD.decode(body["metadata"]["user_data"].as_str().unwrap()).unwrap();
                let id = heard.make(label, String::from_utf8(data).unwrap(), body);
                (200, self.shown(&heard.made[&id], false))
            }
            (method, ["linode", "instances", id]) => match self.one(&mut heard, method, id) {
                Some(Value::Null) => (200, json!({})),
                Some(shown) => (200, shown),
                None => none(),
            },
            _ => none(),
        }
    }

    fn digitalocean(&self, method: &str, parts: &[&str], tag: Option<String>, body: Value) -> Answer {
        let none = || (404, json!({ "id": "not_found", "message": "The resource was not found." }));
        let mut heard = self.heard();
        match (method, parts) {
            ("GET", ["regions"]) => {
                let sizes = json!(["s-1vcpu-1gb"]);
                let one = |slug: &str, available: bool| json!({ "slug": slug, "available": available, "features": ["metadata"], "sizes": sizes });
                (200, json!({ "regions": [one("fra1", true), one("nyc2", false)], "meta": { "total": 2 } }))
            }
            ("GET", ["sizes"]) => (200, json!({ "sizes": [size()], "meta": { "total": 1 } })),
            ("GET", ["images", "debian-12-x64"]) => (200, json!({ "image": { "slug": "debian-12-x64" } })),
            ("GET", ["account", "keys"]) => {
                let keys: Vec<Value> =
                    heard.keys.iter().map(|(id, key)| json!({ "id": id, "public_key": key })).collect();
                (200, json!({ "meta": { "total": keys.len() }, "ssh_keys": keys }))
            }
            ("POST", ["account", "keys"]) => {
                let id = self.key(&mut heard, &body["public_key"]);
                (201, json!({ "ssh_key": { "id": id, "public_key": body["public_key"] } }))
            }
            ("GET", ["droplets"]) => {
                let tagged = heard.made.values().filter(|made| tag.as_ref().is_none_or(|tag| made.tags.contains(tag)));
                let shown: Vec<Value> = tagged.map(|made| self.shown(made, heard.is_stuck)).collect();
                (200, json!({ "meta": { "total": shown.len() }, "droplets": shown }))
            }
            ("POST", ["droplets"]) => {
                let keys: Vec<u64> = heard.keys.iter().map(|(id, _)| *id).collect();
                assert_eq!(body["ssh_keys"], json!(keys));
                let (name, data) = (body["name"].as_str().unwrap().to_owned(), body["user_data"].as_str().unwrap());
                let id = heard.make(name, data.to_owned(), body.clone());
                (202, json!({ "droplet": self.shown(&heard.made[&id], false), "links": { "actions": [] } }))
            }
            ("GET", ["droplets", id, "actions"]) if heard.made.contains_key(&id.parse().unwrap_or(0)) => {
                let status = if heard.is_stuck { "errored" } else { "in-progress" };
                (200, json!({ "actions": [{ "type": "create", "status": status }], "meta": { "total": 1 } }))
            }
            (method, ["droplets", id]) => match self.one(&mut heard, method, id) {
                Some(Value::Null) => (204, Value::Null),
                Some(shown) => (200, json!({ "droplet": shown })),
                None => none(),
            },
            _ => none(),
        }
    }

    fn public_key(&self) -> String {
        let line = std::fs::read_to_string(self.ground.identity.with_extension("pub"));
        let line =
            line.or_else(|_| std::fs::read_to_string(format!("{}.pub", self.ground.identity.display()))).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    fn key(&self, heard: &mut Heard, line: &Value) -> u64 {
        let line = line.as_str().unwrap();
        assert!(line.starts_with(&self.public_key()), "{line}");
        let id = 500 + heard.keys.len() as u64;
        heard.keys.push((id, format!("{} somebody@here", self.public_key())));
        id
    }

    /// One server shown, or destroyed: then nothing is left to show.
    fn one(&self, heard: &mut Heard, method: &str, id: &str) -> Option<Value> {
        let id = id.parse().ok()?;
        if method == "DELETE" {
            return heard.made.remove(&id).map(|_| Value::Null);
        }
        let (is_deaf, is_stuck) = (heard.is_deaf, heard.is_stuck);
        let made = heard.made.get_mut(&id)?;
        made.looks += 1;
        if made.looks >= 3 && made.sshd.is_none() && !is_stuck {
            made.sshd = Some(self.boot(made, is_deaf));
        }
        Some(self.shown(made, is_stuck))
    }

    /// Does what cloud-init does at the first start.
    fn boot(&self, made: &Made, is_deaf: bool) -> Sshd {
        let folder = self.ground.folder.join(format!("server-{}", made.id));
        std::fs::create_dir_all(&folder).unwrap();
        let data = made.user_data.strip_prefix("#cloud-config\n").expect("cloud-init reads nothing else");
        let data: Value = serde_json::from_str(data).unwrap();
        if !is_deaf {
            let key = folder.join("host_ed25519");
            std::fs::write(&key, data["ssh_keys"]["ed25519_private"].as_str().unwrap()).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::write(folder.join("host_ed25519.pub"), data["ssh_keys"]["ed25519_public"].as_str().unwrap())
                .unwrap();
        }
        let address: IpAddr = self.ground.address.ip();
        let mut options = SshdOptions::new(folder, address);
        options.port = self.ground.address.port();
        options.client_key = Some(self.ground.identity.clone());
        Sshd::start(&options).unwrap()
    }

    fn shown(&self, made: &Made, is_stuck: bool) -> Value {
        let address = self.ground.address.ip().to_string();
        let runs = made.sshd.is_some();
        match self.provider {
            Provider::Linode => json!({
                "id": made.id, "label": made.name, "tags": made.tags, "region": made.body["region"],
                "status": if runs { "running" } else if is_stuck { "billing_suspension" } else { "provisioning" },
                "ipv4": ["192.168.130.7", address],
            }),
            Provider::Digitalocean => {
                let public = json!([{ "ip_address": "10.1.2.3", "type": "private" }, { "ip_address": address, "type": "public" }]);
                json!({
                    "id": made.id, "name": made.name, "tags": made.tags, "size": size(),
                    "status": if runs { "active" } else { "new" },
                    "networks": { "v4": if runs { public } else { json!([]) }, "v6": [] },
                })
            }
        }
    }
}

/// The one size that there is.
fn size() -> Value {
    json!({ "slug": "s-1vcpu-1gb", "price_hourly": 0.00893, "price_monthly": 6.0 })
}
