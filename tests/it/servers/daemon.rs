//! The real daemon and command line: from nothing to a host in config.edn, and killed on the way.

use std::net::{IpAddr, TcpListener};

use airplanes::model::Provider;
use serde_json::Value;

use super::super::support::acts::Said;
use super::super::support::cloud_api::{CloudApi, Ground};
use super::super::support::world::World;
use super::published;

/// The port that servers listen on.
const SSH: u16 = 22;

struct Scene {
    world: World,
    api: CloudApi,
    provider: Provider,
    address: IpAddr,
}

impl Scene {
    /// None where this machine has no such port for us.
    async fn new(provider: Provider, address: [u8; 4]) -> Option<Self> {
        let address = IpAddr::from(address);
        if let Err(why) = TcpListener::bind((address, SSH)) {
            eprintln!("skipped: this test needs port {SSH} of {address}, as root and with no sshd there: {why}");
            return None;
        }
        let mut world = World::new(0);
        let identity = world.path("git-sshd/client_ed25519");
        let folder = world.own("clouds");
        std::fs::create_dir_all(&folder).unwrap();
        let ground = Ground { folder, identity, address: (address, SSH).into(), openapi: published(provider) };
        let api = CloudApi::start(provider, ground).await;
        world.config = format!(":providers {{{}}}", api.config());
        world.write_config();
        world.deploy_edn("");
        Some(Self { world, api, provider, address })
    }
    fn create_args(&self) -> Vec<&'static str> {
        let words = match self.provider {
            Provider::Linode => ["linode", "eu-central", "g6-nanode-1", "linode/debian12"],
            Provider::Digitalocean => ["digitalocean", "fra1", "s-1vcpu-1gb", "debian-12-x64"],
        };
        let [provider, region, kind, image] = words;
        let options = ["--provider", provider, "--region", region, "--type", kind, "--image", image];
        [&["server", "create", "web-3"][..], &options[..]].concat()
    }
    /// The command line beside the daemon's own config.edn.
    async fn call(&self, args: &[&str]) -> Said {
        let config = self.world.path("config.edn").display().to_string();
        self.world.call(&[args, &["--config", &config]].concat()).await
    }
    fn known_hosts(&self) -> String {
        self.world.read("known_hosts")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_makes_a_server_that_is_known_and_configured_and_another_destroys_it() {
    let Some(mut scene) = Scene::new(Provider::Digitalocean, [127, 0, 71, 1]).await else { return };
    scene.world.start().await;
    let args = scene.create_args();
    let dry = scene.call(&[&args[..], &["--dry-run"]].concat()).await;
    assert_eq!((dry.code, scene.api.heard().made.len()), (Some(0), 0), "{dry:?}");
    assert!(dry.out.contains("would cost $6.00 a month") && dry.out.contains("would create web-3"), "{dry:?}");
    let made = scene.call(&args).await;
    assert_eq!(made.code, Some(0), "{made:?}\n{}", scene.world.log());
    assert_eq!(made.out, format!("web-3 is ready at {}, for $6.00 a month ($0.00893 an hour)\n", scene.address));
    for word in ["web-3 is creating", "web-3 is starting", "web-3 is ready", "recorded: ", "added to "] {
        assert!(made.err.contains(word), "{word}: {made:?}");
    }
    let text = scene.world.read("config.edn");
    assert!(text.contains(&format!(":web-3 {{:address \"{}\"", scene.address)) && text.contains(":user \"root\""));
    assert!(scene.known_hosts().contains(&format!("{} ssh-ed25519 ", scene.address)), "{}", scene.known_hosts());
    // The same again changes nothing.
    let (known, again) = (scene.known_hosts(), scene.call(&args).await);
    assert_eq!((again.code, scene.world.read("config.edn"), scene.known_hosts()), (Some(0), text, known), "{again:?}");
    // As any host that ssh is told to be strict about.
    let listed = scene.call(&["server", "list", "--json"]).await;
    let servers: Value = serde_json::from_str(&listed.out).unwrap();
    let one = &servers["servers"][0];
    assert_eq!((one["name"].as_str(), one["state"].as_str()), (Some("web-3"), Some("ready")), "{servers:#}");
    assert_eq!(one["price"]["monthly"], 6.0);
    let table = scene.call(&["server", "list"]).await;
    assert!(table.out.contains("$6.00 a month") && table.out.contains("fra1"), "{table:?}");
    // Nobody can be asked, so it needs the word.
    let asked = scene.call(&["server", "destroy", "web-3"]).await;
    assert!(asked.code == Some(2) && asked.err.contains("airplanes server destroy web-3 --yes"), "{asked:?}");
    let dry = scene.call(&["server", "destroy", "web-3", "--dry-run"]).await;
    assert!(dry.code == Some(0) && dry.out.starts_with("would destroy web-3 at digitalocean (server 1001"), "{dry:?}");
    assert_eq!(scene.api.heard().made.len(), 1);
    let gone = scene.call(&["server", "destroy", "web-3", "--yes"]).await;
    assert_eq!((gone.code, scene.api.heard().made.len()), (Some(0), 0), "{gone:?}");
    assert!(gone.err.contains("take :web-3 out of :hosts") && !scene.known_hosts().contains("127.0.71.1"), "{gone:?}");
    let none = scene.call(&["server", "list"]).await;
    assert!(none.out.is_empty() && none.err.contains("no server was made here"), "{none:?}");
    scene.api.is_content();
    assert!(!scene.world.log().contains(super::super::support::cloud_api::TOKEN), "{}", scene.world.log());
}

/// Killed before and after each entry of the journal is on disk; without the feature there is nothing to kill it.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_entry_the_daemon_makes_one_server_and_destroys_it() {
    let full = std::env::var("AIRPLANES_CRASH").is_ok_and(|v| v == "full");
    // The others are looked at by `scripts/crash`: they take their time.
    let all = ["asked", "key-registered", "host-key", "creating", "created", "running", "reachable"];
    let making = if full { &all[..] } else { &["creating"] };
    let going = if full { &["destroying", "destroyed"][..] } else { &["destroying"] };
    let providers = if full { &super::BOTH[..] } else { &[Provider::Linode][..] };
    for provider in providers {
        let Some(mut scene) = Scene::new(*provider, [127, 0, 72, 1]).await else { return };
        for (entry, is_made) in making.iter().map(|e| (*e, true)).chain(going.iter().map(|e| (*e, false))) {
            for side in if full { &["before", "after"][..] } else { &["after"] } {
                let moment = format!("{provider}, {side} {entry}");
                let before = scene.api.heard().count;
                scene.world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), format!("\"entry\":\"{entry}\":{side}"))];
                scene.world.start().await;
                if !is_made {
                    let made = scene.call(&scene.create_args()).await;
                    assert_eq!(made.code, Some(0), "{moment}: {made:?}");
                }
                let (args, asked) = (scene.create_args(), ["server", "destroy", "web-3", "--yes"]);
                let args: &[&str] = if is_made { &args } else { &asked };
                let config = scene.world.path("config.edn").display().to_string();
                let mut command = scene.world.command_line(&[args, &["--config", &config]].concat());
                let died = async |world: &mut World| loop {
                    if world.has_died() {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                };
                tokio::time::timeout(std::time::Duration::from_secs(60), died(&mut scene.world))
                    .await
                    .unwrap_or_else(|_| panic!("{moment}: it was not killed\n{}", scene.world.log()));
                command.kill().await.unwrap();
                scene.world.kill();
                scene.world.env.clear();
                scene.world.start().await;
                // As whoever finds that it was killed would do.
                let again = scene.call(args).await;
                let is_gone = again.err.contains("there is no server") || again.err.contains("is destroyed already");
                assert!(again.code == Some(0) || (!is_made && is_gone), "{moment}: {again:?}\n{}", scene.world.log());
                let left = scene.api.heard().made.len();
                assert_eq!(left, usize::from(is_made), "{moment}");
                assert_eq!(scene.api.heard().count, before + 1, "{moment}: one was made, and no second");
                if is_made {
                    let gone = scene.call(&asked).await;
                    assert_eq!((gone.code, scene.api.heard().made.len()), (Some(0), 0), "{moment}: {gone:?}");
                }
                scene.world.kill();
            }
        }
        scene.api.is_content();
    }
}
