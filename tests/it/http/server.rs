//! A served store: a real socket, signed calls, and a pipeline whose part the tests play.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use airplanes::config::Loaded;
use airplanes::forge;
use airplanes::git::{GitConfig, Mirrors};
use airplanes::http::{self, Door, Limits};
use airplanes::model::inbox::HookAnswer;
use airplanes::model::{
    App, AppName, Branch, Draft, Entry, EventKind, Forge, ForgeSecrets, JobId, Outcome, Planned, RepoUrl, Secret, Why,
};
use airplanes::net::Http;
use airplanes::notify::{Notify, Pace};
use airplanes::pipeline::{Pipeline, Rooms, Setup};
use airplanes::process::Leftovers;
use airplanes::reconcile::Reconcile;
use airplanes::runner::Local;
use airplanes::servers::{self, Servers};
use airplanes::ssh::{Hosts, Settings};
use airplanes::store::Store;
use airplanes::upkeep::Upkeep;
use airplanes::watch::FsSource;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub const SECRET: &str = "It's a Secret to Everybody";
pub const TOKEN: &str = "operators-token";
pub const A: &str = "4522cbcefc20728a5b72b3a86af35e608622c514";
pub const B: &str = "9836a96a253cce25d17988fcf41b8c4205cf779f";

/// A pipeline that has ended: these tests play its part in the store themselves.
async fn pipeline(store: Store, state: &std::path::Path) -> Pipeline {
    let rooms = Rooms {
        min_free: 0,
        git: Mirrors::new(GitConfig::new(state)).unwrap(),
        hosts: Hosts::new(Settings::default()).unwrap(),
        runner: airplanes::runner::Runner::Local(Local::new(Leftovers::new(state), [])),
        forges: Default::default(),
        http: airplanes::net::Http::new().unwrap(),
        url: None,
        secrets: Vec::new(),
        templates: Default::default(),
    };
    let apps = BTreeMap::from([(AppName::new("anna/shop").unwrap(), app_of("anna/shop"))]);
    let pipeline = Pipeline::start(store, Setup { state: state.to_owned(), rooms, apps, concurrency: 1 });
    pipeline.end().await;
    pipeline
}

/// What tells people: nobody.
fn notify(store: &Store, pipeline: &Pipeline, in_force: Arc<ArcSwap<Loaded>>, stop: &CancellationToken) -> Notify {
    let setup = airplanes::notify::Setup {
        store: store.clone(),
        pipeline: pipeline.clone(),
        in_force,
        config_fault: Arc::default(),
        token: Secret::new("operator-token", TOKEN),
        env: BTreeMap::new(),
        pace: Pace::default(),
    };
    Notify::start(setup, stop).unwrap()
}

pub struct Server {
    pub base: String,
    pub client: Client,
    pub store: Store,
    pub shutdown: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    pub folder: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    /// Everything but Bitbucket has the secret.
    pub async fn with(limits: Limits) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let secrets = || ForgeSecrets { secrets: vec![Secret::new("test", SECRET)], signing_tokens: vec![] };
        let forges: BTreeMap<_, _> =
            [Forge::Github, Forge::Gitlab, Forge::Gitea].into_iter().map(|f| (f, secrets())).collect();
        let pipeline = pipeline(store.clone(), folder.path()).await;
        let config = folder.path().join("config.edn");
        std::fs::write(&config, format!("{{:state {:?} :deploy {{}}}}", folder.path())).unwrap();
        let in_force = Arc::new(ArcSwap::from_pointee(airplanes::config::load(&FsSource, &config).unwrap()));
        let (state, ending) = (folder.path().to_owned(), CancellationToken::new());
        let shutdown = CancellationToken::new();
        let door = Door {
            store: store.clone(),
            config,
            in_force: in_force.clone(),
            notify: notify(&store, &pipeline, in_force.clone(), &shutdown),
            servers: Servers::start(
                servers::Setup {
                    store: store.clone(),
                    in_force: in_force.clone(),
                    http: Http::new().unwrap(),
                    state: folder.path().to_owned(),
                    pace: servers::Pace::default(),
                },
                shutdown.clone(),
            ),
            reconcile: Reconcile::new(store.clone(), pipeline.clone(), in_force.clone(), shutdown.clone()),
            upkeep: Upkeep::new(state, store.clone(), pipeline.clone(), in_force, ending),
            pipeline,
            forges: Arc::new(ArcSwap::from_pointee(forges)),
            config_fault: Arc::default(),
            token: Arc::new(Secret::new("operator-token", TOKEN)),
            started_at: Timestamp::now(),
            version: "1.2.3",
            limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { http::serve(listener, door, shutdown).await.unwrap() }
        });
        Self { base, client: Client::new(), store, shutdown, served, folder }
    }

    pub fn open(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.open(path).bearer_auth(TOKEN)
    }
    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// A signed call.
    pub async fn hook(&self, forge: Forge, event: Option<&str>, id: &str, body: Vec<u8>) -> Response {
        let url = format!("{}/hooks/{}", self.base, forge.as_str());
        let mut headers = forge::push_headers(forge, id);
        headers.extend(forge::sign(forge, &Secret::new("test", SECRET), &body));
        let mut call = self.client.post(url);
        for (name, value) in headers {
            let is_event = ["x-github-event", "x-gitlab-event", "x-gitea-event", "x-event-key"]
                .contains(&name.to_lowercase().as_str());
            call = call.header(name, event.filter(|_| is_event).map_or(value, str::to_owned));
        }
        call.body(body).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &'static str) -> Response {
        let call = self.client.post(format!("{}{path}", self.base)).bearer_auth(TOKEN);
        call.body(body).send().await.unwrap()
    }

    pub async fn push(&self, id: &str, before: &str, after: &str) -> (StatusCode, HookAnswer) {
        let url = RepoUrl::new("https://github.com/acme/snow.git").unwrap();
        let branch = Branch::new("master").unwrap();
        let body =
            forge::push_payload(Forge::Github, &url, &branch, Some(before.parse().unwrap()), after.parse().unwrap());
        let response = self.hook(Forge::Github, None, id, body).await;
        (response.status(), response.json().await.unwrap())
    }

    /// A job that is queued.
    pub async fn job(&self, app: &str) -> JobId {
        let app = app_of(app);
        let what = EventKind::Deploy { app: app.name.clone(), by: "test".into(), makes_up: false };
        let event = self.store.submit(what).await.unwrap();
        let why = Why::Asked { by: "test".into() };
        let planned = Planned { app, why, wave: 0, after: vec![], targets: vec![], tags: vec![] };
        let draft = Draft { apps: vec![planned], notes: vec![], ..Draft::default() };
        self.store.plan(event, draft).await.unwrap().created[0]
    }

    pub async fn append(&self, job: JobId, entries: impl IntoIterator<Item = Entry>) {
        self.store.append(job, entries.into_iter().collect()).await.unwrap();
    }

    pub async fn end(&self, job: JobId) {
        let reason = "a test".to_owned();
        self.append(job, [Entry::Ended { outcome: Outcome::Failed, reason }]).await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.served).await.unwrap().unwrap();
    }
}

pub fn app_of(name: &str) -> App {
    App {
        update: true,
        ..App::bare(AppName::new(name).unwrap(), RepoUrl::new(format!("https://github.com/acme/{name}.git")).unwrap())
    }
}

pub async fn error(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), format!("{} / {}", text("message"), text("hint")))
}
