//! Servers made, found again, waited for and destroyed, against stand-ins of both providers that keep what was made,
//! check each request against the published OpenAPI, and boot real sshds with what their user data says.

mod daemon;
mod faults;
mod prism;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use airplanes::config;
use airplanes::model::server::{ServerPhase, ServerView};
use airplanes::model::{Provider, ServerName, ServerSpec};
use airplanes::net::Http;
use airplanes::servers::{Pace, Servers, ServersError, Setup};
use airplanes::store::Store;
use airplanes::watch::FsSource;
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::support::cloud_api::{CloudApi, Ground};
use super::support::corpus;

const BOTH: [Provider; 2] = Provider::ALL;

/// The published OpenAPI of a provider.
fn published(provider: Provider) -> Option<PathBuf> {
    corpus().map(|corpus| corpus.join(format!("api/{provider}.reduced.openapi.json")))
}

/// Makes a private key, with its public half beside.
fn make_key(path: &Path) {
    let done = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(done.success());
}

/// A free port of an address that nobody else in this run has: any connection on its way out of 127.0.0.1 may take one there
/// before the sshd is up.
fn own_address() -> SocketAddr {
    static ADDRESSES: AtomicU16 = AtomicU16::new(1);
    let [high, low] = ADDRESSES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let net = 64 + std::process::id() % 128;
    TcpListener::bind((Ipv4Addr::new(127, net as u8, high, low), 0)).unwrap().local_addr().unwrap()
}

/// All cases at once: most of their time is waiting.
async fn each<T>(cases: impl IntoIterator<Item = T>, run: impl AsyncFn(T)) {
    let run = &run;
    futures_util::future::join_all(cases.into_iter().map(async |case| run(case).await)).await;
}

fn spec(provider: Provider, name: &str) -> ServerSpec {
    let (region, kind, image) = match provider {
        Provider::Linode => ("eu-central", "g6-nanode-1", "linode/debian12"),
        Provider::Digitalocean => ("fra1", "s-1vcpu-1gb", "debian-12-x64"),
    };
    let name = ServerName::new(name).unwrap();
    let of = |text: &str| text.parse().unwrap();
    ServerSpec { name, provider, region: of(region), kind: of(kind), image: of(image) }
}

/// Servers of one provider, without a daemon around.
struct Scene {
    provider: Provider,
    api: CloudApi,
    address: SocketAddr,
    servers: Servers,
    store: Store,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn new(provider: Provider) -> Self {
        Self::at_pace(provider, |pace| pace).await
    }
    async fn at_pace(provider: Provider, edit: impl Fn(Pace) -> Pace) -> Self {
        let dir = tempfile::Builder::new().prefix("air-").tempdir().unwrap();
        let identity = dir.path().join("identity");
        make_key(&identity);
        let address = own_address();
        let port = address.port();
        let ground =
            Ground { folder: dir.path().to_owned(), identity: identity.clone(), address, openapi: published(provider) };
        let api = CloudApi::start(provider, ground).await;
        let text = format!(
            "{{:state {:?} :deploy {{}} :hosts {{:other {{:address \"10.9.8.7\"}}}} :ssh {{:identity {identity:?}}} :providers {{{}}}}}",
            dir.path().join("state"),
            api.config()
        );
        let file = dir.path().join("config.edn");
        std::fs::write(&file, text).unwrap();
        let loaded = config::load(&FsSource, &file).unwrap_or_else(|faults| panic!("{faults}"));
        let store = Store::open(&dir.path().join("state")).unwrap();
        let pace = Pace {
            looks: [Duration::from_millis(10), Duration::from_millis(100)],
            settle: Duration::from_millis(1500),
            calls: Duration::from_secs(20),
            runs: Duration::from_secs(20),
            answers: Duration::from_secs(20),
            goes: Duration::from_secs(20),
            port,
        };
        let stop = CancellationToken::new();
        let setup = Setup {
            store: store.clone(),
            in_force: Arc::new(ArcSwap::from_pointee(loaded)),
            http: Http::new().unwrap(),
            state: dir.path().join("state"),
            pace: edit(pace),
        };
        let servers = Servers::start(setup, stop.clone());
        Self { provider, api, address, servers, store, stop, dir }
    }

    async fn create(&self, name: &str) -> ServerView {
        self.servers.create(spec(self.provider, name), "a test").await.unwrap();
        self.rest(name).await
    }
    async fn destroy(&self, name: &str) -> ServerView {
        self.servers.destroy(&ServerName::new(name).unwrap(), "a test").await.unwrap();
        self.rest(name).await
    }
    async fn now(&self, name: &str) -> ServerView {
        self.servers.one(&ServerName::new(name).unwrap(), None).await.unwrap()
    }
    /// The server once nothing more happens by itself.
    async fn rest(&self, name: &str) -> ServerView {
        self.until(name, |view| view.state.is_at_rest()).await
    }
    async fn until(&self, name: &str, is: impl Fn(&ServerView) -> bool) -> ServerView {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let view = self.now(name).await;
            if is(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "{view:#?}\n{:#?}", self.api.heard().calls);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    /// What is kept of servers that are being made.
    fn kept(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("state/servers")).map_or(0, Iterator::count)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_made_with_the_key_that_it_shows_waited_for_listed_and_destroyed() {
    each(BOTH, async |provider| {
        let scene = Scene::new(provider).await;
        let plan = scene.servers.plan(spec(provider, "web-3")).await.unwrap();
        assert_eq!((plan.price.unwrap().monthly, scene.api.heard().made.len()), (6.0, 0), "a dry run makes nothing");
        assert!(scene.servers.list().is_empty());
        let view = scene.create("web-3").await;
        assert_eq!((view.state, &view.reason), (ServerPhase::Ready, &None), "{view:#?}");
        assert_eq!(view.address.as_ref().unwrap().as_str(), scene.address.ip().to_string(), "its public address");
        assert_eq!((view.price.unwrap().monthly, view.adopted), (6.0, false));
        {
            let heard = scene.api.heard();
            let made = heard.made.values().next().unwrap();
            assert_eq!(made.tags, ["airplanes".to_owned(), format!("airplanes-{}", view.id)]);
            assert!(made.user_data.contains(view.host_key.as_ref().unwrap()) && made.user_data.contains("PRIVATE KEY"));
            // It let us in once, as root, by the key that is registered.
            assert!(made.sshd.as_ref().unwrap().log().contains("Accepted publickey"));
        }
        assert_eq!(scene.kept(), 0, "the private half is let go of once it was shown");
        assert_eq!(scene.create("web-3").await.id, view.id, "asked for again, it is the same");
        let all = scene.servers.list();
        assert_eq!((all.len(), all[0].name.as_str()), (1, "web-3"));
        let gone = scene.destroy("web-3").await;
        assert_eq!((gone.state, scene.api.heard().made.len()), (ServerPhase::Destroyed, 0), "{gone:#?}");
        assert!(scene.servers.list().is_empty());
        // Its name is free again, for a server of its own.
        let next = scene.create("web-3").await;
        assert!(next.state == ServerPhase::Ready && next.id != view.id, "{next:#?}");
        let (count, keys) = {
            let heard = scene.api.heard();
            (heard.count, heard.keys.len())
        };
        assert_eq!((count, keys), (2, 1), "the key is registered once, whatever comment it has there");
        scene.api.is_content();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_one_servers_and_others_are_left_alone() {
    each(BOTH, async |provider| {
        let scene = Scene::new(provider).await;
        scene.api.foreign("web-9");
        let view = scene.create("web-3").await;
        let mut other = spec(provider, "web-3");
        other.kind = "huge".parse().unwrap();
        let refused = scene.servers.create(other.clone(), "a test").await.unwrap_err();
        assert!(matches!(refused, ServersError::Other(_)), "{refused}");
        assert!(scene.servers.plan(other).await.unwrap_err().to_string().contains("there is a server web-3 already"));
        // Somebody took its tag away: it is not ours to destroy any more.
        for made in scene.api.heard().made.values_mut() {
            made.tags.clear();
        }
        let left = scene.destroy("web-3").await;
        let reason = left.reason.unwrap();
        assert!(reason.contains(&format!("does not carry the tag airplanes-{} any more", view.id)), "{reason}");
        assert_eq!(scene.api.heard().made.len(), 2);
        let none = scene.servers.destroy(&ServerName::new("web-9").unwrap(), "a test").await.unwrap_err();
        assert!(matches!(none, ServersError::None(_)), "{none}");
        let foreign = scene.servers.plan(spec(provider, "web-9")).await;
        match provider {
            Provider::Linode => {
                assert!(foreign.unwrap_err().to_string().contains("linode has a server web-9 already (1001)"));
                let reason = scene.create("web-9").await.reason.unwrap();
                assert!(reason.contains("which was not made here"), "{reason}");
            }
            // Names are nothing there.
            Provider::Digitalocean => assert!(foreign.is_ok()),
        }
        scene.api.is_content();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_does_not_have_is_said_before_anything_is_made() {
    let cases = [
        (Provider::Linode, "mars", "g6-nanode-1", "linode/debian12", "linode has no region `mars`"),
        (Provider::Linode, "us-old", "g6-nanode-1", "linode/debian12", "no Metadata service in the region `us-old`"),
        (Provider::Linode, "eu-central", "g6-nanode-1", "linode/old", "does not run cloud-init in the image"),
        (Provider::Linode, "eu-central", "g7-none", "linode/debian12", "linode has no type `g7-none`"),
        (Provider::Digitalocean, "mars", "s-1vcpu-1gb", "debian-12-x64", "digitalocean has no region `mars`"),
        (Provider::Digitalocean, "nyc2", "s-1vcpu-1gb", "debian-12-x64", "takes no new servers in `nyc2` now"),
        (Provider::Digitalocean, "fra1", "s-none", "debian-12-x64", "has no type `s-none` in the region `fra1`"),
        (Provider::Digitalocean, "fra1", "s-1vcpu-1gb", "none", "digitalocean has no image `none`"),
    ];
    each(cases, async |(provider, region, kind, image, words)| {
        let scene = Scene::new(provider).await;
        let of = |text: &str| text.parse().unwrap();
        let wrong = ServerSpec { region: of(region), kind: of(kind), image: of(image), ..spec(provider, "web-3") };
        let planned = scene.servers.plan(wrong.clone()).await.unwrap_err().to_string();
        assert!(planned.contains(words), "{planned}");
        scene.servers.create(wrong, "a test").await.unwrap();
        let reason = scene.rest("web-3").await.reason.unwrap();
        assert!(reason.contains(words) && reason.contains("; "), "{reason}");
        assert_eq!(scene.api.count(scene.api.makes()), 0);
        // None was made, so the name takes what was meant.
        assert_eq!(scene.create("web-3").await.state, ServerPhase::Ready);
        scene.api.is_content();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_of_a_provider_that_is_not_set_up() {
    let scene = Scene::new(Provider::Linode).await;
    let error = scene.servers.create(spec(Provider::Digitalocean, "web-3"), "a test").await.unwrap_err().to_string();
    assert!(error.contains("add :providers {:digitalocean {:token …}}"), "{error}");
    // Nor where another host has the name.
    let error = scene.servers.create(spec(Provider::Linode, "other"), "a test").await.unwrap_err().to_string();
    assert!(error.contains("has a host other already, at 10.9.8.7"), "{error}");
    assert!(scene.servers.plan(spec(Provider::Linode, "other")).await.is_err());
    assert!(scene.store.servers().is_empty() && scene.api.heard().calls.is_empty());
}
