//! `airplanes doctor`: all green on a sound world, and for each fault the line that says so and what mends it.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

mod hooks;

use std::time::{Duration, Instant};

use airplanes::forge;
use airplanes::model::{Forge, Secret};
use serde_json::Value;

use crate::support::acts::Said;
use crate::support::world::World;

/// A host's app with a library that is no app: over ssh, with a build.
fn world(hosts: usize) -> World {
    let mut world = World::new(hosts);
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let deps = world.deps(&[("lib", lib)]);
    world.commit("shop", &[("deps.edn", &deps)]);
    world.clone_to_hosts("shop");
    let on: Vec<String> = (1..=hosts).map(|n| format!(":web-{n}")).collect();
    world.deploy_edn(&format!(
        ":shop {{:git-url \"{{repo:shop}}\" :update? true :build \"git --version && sh -c true\" \
         :hosts [{}] :working-directory \"{{dir}}/srv/{{host}}\" :restart \"true\"}}",
        on.join(" ")
    ));
    world
}

/// The examination by the daemon, as the API gives it.
async fn examined(world: &World) -> Value {
    world.get("/doctor").await
}

/// The checks of a name in groups that begin like this.
fn checks<'v>(up: &'v Value, group: &str, name: &str) -> Vec<&'v Value> {
    let checks = up["checks"].as_array().unwrap_or_else(|| panic!("{up:#}"));
    let found: Vec<&Value> =
        checks.iter().filter(|c| c["group"].as_str().unwrap().starts_with(group) && c["name"] == name).collect();
    assert!(!found.is_empty(), "no {group} {name}: {up:#}");
    found
}

fn check<'v>(up: &'v Value, group: &str, name: &str) -> &'v Value {
    checks(up, group, name)[0]
}

/// That it failed, with these words in it and in what mends it.
#[track_caller]
fn failed(check: &Value, detail: &str, mend: &str) {
    let has = |key: &str, text: &str| check[key].as_str().unwrap_or_default().contains(text);
    assert!(check["finding"] == "failed" && has("detail", detail) && has("mend", mend), "{check:#}");
}

/// The command line without a daemon.
async fn alone(world: &World, args: &[&str]) -> Said {
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_airplanes"))
        .args(args)
        .arg("--config")
        .arg(world.path("config.edn"))
        .env_remove("AIRPLANES_URL")
        .env_remove("AIRPLANES_TOKEN")
        .env("LC_ALL", "C.UTF-8")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    crate::support::acts::said(child).await
}

#[tokio::test]
async fn a_sound_world_is_green_and_nothing_of_it_changes() {
    let mut world = world(2);
    world.start().await;
    let heads = (world.head("shop"), world.head("lib"));
    let said = alone(&world, &["doctor"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.out.contains('✘'), "{}", said.out);
    for line in [
        "✔ configuration: ",
        "✔ store: takes writes",
        "✔ port: the daemon listens on 127.0.0.1:",
        "✔ disk: ",
        "✔ fetch: main of ssh://",
        "✔ push: may push",
        "host web-2\n  ✔ ssh: logged in as ",
        "✔ clock: within 1 s of the host",
        "✔ shop folder: ",
        "✔ shop fetch: the host itself can fetch",
        "- shop restart: by its own command, which is not tried: true",
        "✔ tools: git, sh are there for builds",
        "✔ dependencies: 1 git dependencies at ",
        "- webhook: never came; its forge can't be told by the url: its webhook's is /hooks/github or /hooks/gitlab",
    ] {
        assert!(said.out.contains(line), "no {line:?} in\n{}", said.out);
    }
    assert!(said.err.contains("all is well"), "{}", said.err);
    assert_eq!(heads, (world.head("shop"), world.head("lib")));
    assert!(world.get("/jobs").await["jobs"].as_array().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(world.path("state/work")).unwrap().count(), 0);
    let json = alone(&world, &["doctor", "shop", "--json"]).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["well"], true);
    let edn = alone(&world, &["doctor", "--edn"]).await;
    assert!(edn.out.contains(":well true") && edn.code == Some(0), "{edn:?}");
    let nobody = alone(&world, &["doctor", "nobody"]).await;
    assert!(nobody.err.contains("no app nobody") && nobody.code == Some(1), "{nobody:?}");
}

#[tokio::test]
async fn unknown_host_keys_are_named_with_the_command_that_trusts_them() {
    let mut world = world(1);
    std::fs::write(world.path("known_hosts"), "").unwrap();
    world.start().await;
    let up = examined(&world).await;
    assert_eq!(up["well"], false);
    for name in ["fetch", "push"] {
        failed(check(&up, "git 127.0.0.2", name), "SHA256:", "airplanes host trust [127.0.0.2]:");
    }
    failed(check(&up, "host web-1", "ssh"), "host key is not in", "airplanes host trust web-1");
}

#[tokio::test]
async fn a_deploy_key_that_may_only_read_is_found_without_a_push() {
    let mut world = world(0);
    let keys = world.path("git-sshd/authorized_keys");
    let key = std::fs::read_to_string(&keys).unwrap();
    // As GitHub answers a read-only deploy key.
    let only_reading = "case $SSH_ORIGINAL_COMMAND in *receive-pack*) echo 'ERROR: The key you are authenticating with \
                        has been marked as read only.' >&2; exit 1;; *) exec sh -c \\\"$SSH_ORIGINAL_COMMAND\\\";; esac";
    std::fs::write(&keys, format!("command=\"{only_reading}\" {key}")).unwrap();
    world.start().await;
    let up = examined(&world).await;
    assert_eq!(check(&up, "git 127.0.0.2", "fetch")["finding"], "ok", "{up:#}");
    failed(check(&up, "git 127.0.0.2", "push"), "marked as read only", "airplanes keys");
    assert_eq!(check(&up, "app shop", "dependencies")["finding"], "ok", "{up:#}");
}

#[tokio::test]
async fn a_host_where_sudo_asks_a_unit_is_missing_and_the_folder_is_not_ours() {
    // What the host has stands in a folder of programs: this machine need have neither systemd nor sudo.
    let mut world = World::with_hosts(1, |dir| {
        let bin = dir.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let program = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("id", "case $1 in -u) echo 1000;; *) echo deploy;; esac");
        program("sudo", "echo 'sudo: a password is required' >&2; exit 1");
        program("systemctl", "echo LoadState=not-found; echo ActiveState=inactive");
        Some(format!("export PATH={}:$PATH; exec sh -c \"$SSH_ORIGINAL_COMMAND\"", bin.display()))
    });
    world.commit("shop", &[("x", "1")]);
    world.deploy_edn(
        ":shop {:git-url \"{repo:shop}\" :hosts [:web-1] :working-directory \"{dir}/file\" :service {:name \"shop\"}}",
    );
    std::fs::write(world.path("file"), "").unwrap();
    world.start().await;
    let up = examined(&world).await;
    failed(
        check(&up, "host web-1", "shop sudo"),
        "a password is required",
        "NOPASSWD: /usr/bin/systemctl restart shop",
    );
    failed(check(&up, "host web-1", "shop unit"), "no unit shop", "shop.service");
    failed(check(&up, "host web-1", "shop folder"), "it is a file", "mv ");
}

#[tokio::test]
async fn a_missing_tool_and_dependencies_that_a_build_cannot_fetch_are_named() {
    let mut world = world(0);
    let gone = "2455d6ab00000000000000000000000000000001".parse().unwrap();
    let deps = world.deps(&[("lib", gone), ("nowhere", world.head("lib"))]);
    world.commit("shop", &[("deps.edn", &deps)]);
    world.deploy_edn(":shop {:git-url \"{repo:shop}\" :update? true :build \"no-such-tool --release && sh -c true\"}");
    world.start().await;
    let up = examined(&world).await;
    failed(check(&up, "app shop", "tools"), "needs no-such-tool", "apt-get install no-such-tool");
    let fetch = check(&up, "app shop", "dependencies");
    failed(fetch, "repos/nowhere.git", "");
    failed(fetch, "repos/lib.git", "");
    let nowhere = format!("git {}", world.url("nowhere").id());
    failed(check(&up, &nowhere, "fetch"), "nowhere", "");
    let lib = format!("git {}", world.url("lib").id());
    assert_eq!(check(&up, &lib, "fetch")["finding"], "ok");
}

#[tokio::test]
async fn too_little_disk_and_a_bad_edit_are_said_and_no_secret_is() {
    let mut world = world(0);
    world.edit("config.edn", ":min-free \"1MB\"", ":min-free \"900000000GB\"");
    world.start().await;
    let up = examined(&world).await;
    failed(check(&up, "machine", "disk"), "no build begins", "airplanes gc");
    world.edit("deploy.edn", ":update? true", ":updat? true");
    let fault = async || Some(examined(&world).await).filter(|up| up.to_string().contains("is not in force"));
    let up = world.until("the bad edit is seen", fault).await;
    failed(check(&up, "machine", "configuration"), "updat?", "airplanes check --config");
    assert!(!up.to_string().contains(crate::support::world::SECRET));
}

#[tokio::test]
async fn remotes_and_hosts_that_say_nothing_hold_it_up_for_seconds_only() {
    // The kernel takes the connections; nobody ever reads them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut world = world(0);
    world.edit("config.edn", ":hosts {", &format!(":hosts {{:mute {{:address \"127.0.0.1\" :port {port}}} "));
    let url = format!("ssh://git@127.0.0.1:{port}/srv/mute.git");
    let deps = format!("{{:deps {{acme/mute {{:git/url \"{url}\" :git/sha \"{}\"}}}}}}", world.head("lib"));
    world.commit("shop", &[("deps.edn", &deps)]);
    world.deploy_edn(&format!(
        ":shop {{:git-url \"{{repo:shop}}\" :build \"sh -c true\"}} \
         :mute {{:git-url \"{url}\" :update? true :hosts [:mute] :working-directory \"/srv/x\" :restart \"true\"}}"
    ));
    world.start().await;
    let began = Instant::now();
    let up = examined(&world).await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let group = "git 127.0.0.1/srv/mute";
    failed(check(&up, group, "fetch"), "10 s", "");
    failed(check(&up, group, "push"), "10 s", "");
    let ssh = check(&up, "host mute", "ssh");
    assert_eq!(ssh["finding"], "failed", "{ssh:#}");
    failed(check(&up, "app shop", "dependencies"), "/srv/mute.git", "");
    // The daemon goes on.
    assert_eq!(world.get("/readyz").await["status"], "ready");
}

#[tokio::test]
async fn without_a_daemon_it_says_so_and_looks_at_what_it_can_as_the_present_user() {
    let world = world(1);
    world.edit("config.edn", "127.0.0.1:0", "127.0.0.1:1");
    let said = alone(&world, &["doctor"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for line in [
        "✘ daemon: the daemon at http://127.0.0.1:1 does not answer",
        "mend: systemctl restart airplanes; journalctl -u airplanes -n 50",
        ", checked as ",
        "✔ push: may push",
        "✔ ssh: logged in as ",
        "✔ dependencies: 1 git dependencies at ",
    ] {
        assert!(said.out.contains(line), "no {line:?} in\n{}", said.out);
    }
    assert!(said.err.contains("1 check failed"), "{}", said.err);
    assert!(!world.path("state").exists(), "it made the state folder");
    // A port that somebody else has.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = other.local_addr().unwrap().port();
    world.edit("config.edn", "127.0.0.1:1", &format!("127.0.0.1:{port}"));
    let hanging_up = tokio::spawn(async move {
        while let Ok(call) = other.accept().await {
            drop(call);
        }
    });
    let said = alone(&world, &["doctor"]).await;
    let by = format!("✘ port: 127.0.0.1:{port} is in use by ");
    assert!(said.out.contains(&by) && said.out.contains("mend: ss -ltnp"), "{}", said.out);
    hanging_up.abort();
    world.edit("deploy.edn", ":update? true", ":updat? true");
    let said = alone(&world, &["doctor"]).await;
    assert!(said.out.contains("✘ configuration: ") && said.code == Some(1), "{said:?}");
    assert!(said.out.contains("/deploy.edn:") && !said.out.contains("/config.edn: "), "{said:?}");
}

#[tokio::test]
async fn a_refused_signature_tells_the_log_the_status_and_the_doctor_why() {
    let mut world = world(0);
    world.start().await;
    let call = |id: String| {
        let mut request = world.http.post(format!("{}/hooks/github", world.base()));
        let body = b"{\"ref\": \"refs/heads/main\"}".to_vec();
        let secret = Secret::new("the forge's", format!("{}\n", crate::support::world::SECRET));
        let signed = forge::push_headers(Forge::Github, &id).into_iter();
        for (name, value) in signed.chain(forge::sign(Forge::Github, &secret, &body)) {
            request = request.header(name, value);
        }
        request.body(body).send()
    };
    for n in 0..20 {
        assert_eq!(call(format!("delivery-{n}")).await.unwrap().status(), 401);
    }
    let log = world.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("refused")).collect();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for text in [
        "delivery=\"delivery-0\"",
        "from=\"127.0.0.1\"",
        "webhook of 26 bytes",
        "the header X-Hub-Signature-256",
        ":webhooks :github :secret (30 bytes)",
        "with a line end or space after it",
    ] {
        assert!(lines[0].contains(text), "no {text:?} in {}", lines[0]);
    }
    let up = examined(&world).await;
    let refused = check(&up, "web", "github signature");
    assert!(refused["detail"].as_str().unwrap().starts_with("20 refused since the start"), "{refused:#}");
    assert_eq!(up["well"], true);
    let status = world.call(&["status"]).await;
    assert!(status.out.contains("webhooks refused: 20 of github, the last "), "{status:?}");
    // Once the forge has it right, that is past.
    let after = world.head("shop");
    assert_eq!(world.hook(Forge::Github, "shop", None, after, "good").await.0, 202);
    let up = examined(&world).await;
    assert!(!up.to_string().contains("refused since the start"), "{up:#}");
}
