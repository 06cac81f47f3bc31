//! `keys`: one for each repository, made once, told where to paste, and named in config.edn.

use std::time::{Duration, Instant};

use super::{Desk, Said, mode};
use crate::support::world::World;

const DEPLOY: &str = "{:shop {:git-url \"git@github.com:acme/shop.git\" :update? true}
 :tool {:git-url \"ssh://git@gitlab.com/acme/tool.git\"}
 :site {:git-url \"https://github.com/acme/site\"}}";

fn desk(config: &str) -> Desk {
    let desk = Desk::new();
    desk.write("config.edn", config);
    desk.write("deploy.edn", DEPLOY);
    desk
}

#[test]
fn the_hosts_key_is_for_the_users_that_the_hosts_name() {
    let hosts =
        "{:ssh {:user \"deploy\"} :hosts {:a {:address \"10.0.0.1\" :user \"root\"} :b {:address \"10.0.0.2\"}}}";
    let said = desk(hosts).run(&["keys", "--dry-run"]).done();
    let line = "a line of ~deploy/.ssh/authorized_keys or ~root/.ssh/authorized_keys on each host";
    assert!(said.out.contains(line), "{}", said.out);
    let said = desk(&hosts.replace(":b {:address \"10.0.0.2\"}", "")).run(&["keys", "--dry-run"]).done();
    assert!(said.out.contains("a line of ~root/.ssh/authorized_keys on each host"), "{}", said.out);
}

#[test]
fn each_repository_over_ssh_gets_a_key_and_the_configuration_names_it() {
    let before = ";; mine\n{:git {:name \"me\" ; kept\n       }\n :state \"s\"}\n";
    let desk = desk(before);
    let dry = desk.run(&["keys", "--dry-run"]).done();
    assert!(dry.out.contains("would get the key"), "{}", dry.out);
    assert_eq!(desk.files().len(), 2, "a dry run makes nothing");

    let said = desk.run(&["keys"]).done();
    let shop = desk.path("etc/keys/github.com-acme-shop");
    let public = std::fs::read_to_string(shop.with_extension("com-acme-shop.pub")).unwrap();
    assert!(public.starts_with("ssh-ed25519 ") && public.ends_with(" airplanes github.com/acme/shop\n"), "{public}");
    assert!(said.out.contains(public.trim()), "{}", said.out);
    let page = "https://github.com/acme/shop/settings/keys, Add deploy key; tick \"Allow write access\"";
    assert!(said.out.contains(page), "{}", said.out);
    assert!(said.out.contains("https://gitlab.com/acme/tool/-/settings/repository"), "{}", said.out);
    assert!(said.out.contains("restrict ssh-ed25519 ") && said.out.contains("~root/.ssh/authorized_keys"));
    assert!(said.out.contains("note: github.com/acme/site is spoken to over https without a token"), "{}", said.out);
    let config = desk.read("config.edn");
    for text in [
        ";; mine\n{:git {:name \"me\" ; kept\n       :keys {\"github.com/acme/shop\" \"keys/github.com-acme-shop\"",
        "\"gitlab.com/acme/tool\" \"keys/gitlab.com-acme-tool\"",
        ":known-hosts \"known_hosts\"",
        ":ssh {:identity \"keys/hosts\"}",
    ] {
        assert!(config.contains(text), "{text}\n{config}");
    }
    assert!(!config.contains("acme/site"), "{config}");
    desk.run(&["check"]).done();
    let known = desk.read("known_hosts");
    assert!(known.contains("github.com ssh-ed25519 ") && known.contains("gitlab.com ssh-rsa "), "{known}");
    assert!(!known.contains("bitbucket"), "{known}");
    assert_eq!((mode(&shop), mode(&desk.path("etc/keys"))), (0o600, 0o700));

    let files = desk.files();
    let again = desk.run(&["keys"]).done();
    assert_eq!(desk.files(), files, "a second run changes nothing");
    assert!(again.out.contains("has the key") && again.out.contains(public.trim()), "{}", again.out);
    let json: serde_json::Value = serde_json::from_str(&desk.run(&["keys", "--json"]).done().out).unwrap();
    assert_eq!(json["repositories"][0]["public"], public.trim());
    assert_eq!(json["repositories"][0]["made"], false);
}

#[test]
fn libraries_are_found_in_checkouts_and_urls_and_get_keys_that_only_read() {
    let desk = desk("{}");
    let sha = "a".repeat(40);
    let deps = format!(
        "{{:deps {{a/snow {{:git/url \"git@github.com:acme/snow.git\" :git/sha \"{sha}\"}}
                   io.github.acme/open {{:git/sha \"{sha}\"}}}}}}"
    );
    let shop = desk.checkout("shop", "git@github.com:acme/shop.git", &[("deps.edn", &deps)]);
    let said = desk.run(&["keys", &shop, "file:///nonexistent"]).done();
    let config = desk.read("config.edn");
    assert!(config.contains("\"github.com/acme/snow\""), "{config}");
    assert!(!config.contains("acme/open"), "what is read over https needs no key: {config}");
    let snow = "https://github.com/acme/snow/settings/keys, Add deploy key; leave \"Allow write access\" empty";
    assert!(said.out.contains(snow), "{}", said.out);
    let nowhere = desk.run(&["keys", "/nonexistent"]);
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
}

#[test]
fn what_a_tag_makes_is_told_to_be_pasted() {
    let desk = desk("{:git #include \"git.edn\" :ssh {:identity \"keys/mine\"}}");
    desk.write("git.edn", "{:name \"me\"}");
    let before = desk.read("config.edn");
    let said = desk.run(&["keys"]).done();
    assert_eq!(desk.read("config.edn"), before);
    let line = "add to config.edn yourself: :git {:keys {\"github.com/acme/shop\" \"keys/github.com-acme-shop\"}}";
    assert!(said.out.contains(line), "{}", said.out);
    assert!(desk.path("etc/keys/mine.pub").exists(), "the identity goes where the configuration says");
    let files = desk.files();
    desk.run(&["keys"]).done();
    assert_eq!(desk.files(), files);
}

#[test]
fn a_key_without_its_public_half_is_read_and_one_that_is_none_is_left_alone() {
    let desk = desk("{:git {:keys {\"github.com/acme/shop\" \"keys/shop\"}}}");
    desk.run(&["keys"]).done();
    let public = desk.read("keys/shop.pub");
    std::fs::remove_file(desk.path("etc/keys/shop.pub")).unwrap();
    let said = desk.run(&["keys"]).done();
    let key = public.split(' ').nth(1).unwrap();
    assert!(said.out.contains(key), "{}", said.out);
    // A public half alone is of no use: both are made anew.
    std::fs::remove_file(desk.path("etc/keys/hosts")).unwrap();
    let old = desk.read("keys/hosts.pub");
    let said = desk.run(&["keys"]).done();
    assert!(
        desk.read("keys/hosts.pub") != old && said.out.contains(desk.read("keys/hosts.pub").trim()),
        "{}",
        said.out
    );
    std::fs::write(desk.path("etc/keys/shop"), "no key").unwrap();
    let broken = desk.run(&["keys"]);
    assert_eq!(broken.code, 1);
    assert!(broken.err.contains("keys/shop") && broken.err.contains("no key that can be used"), "{}", broken.err);
    assert_eq!(desk.read("keys/shop"), "no key");
}

#[test]
fn a_configuration_with_faults_makes_no_key() {
    let desk = desk("{:git {:nmae \"x\"}}");
    let said = desk.run(&["keys"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains(":name"), "{}", said.err);
    assert!(!desk.path("etc/keys").exists());
    std::fs::remove_file(desk.path("etc/config.edn")).unwrap();
    let none = desk.run(&["keys"]);
    assert!(none.code == 2 && none.err.contains("airplanes init"), "{none:?}");
}

#[test]
fn hosts_and_git_hosts_that_nobody_has_trusted_yet_are_named() {
    let desk = desk("{:ssh {:known-hosts \"known_hosts\"} :hosts {:web-1 {:address \"10.0.0.1\"}}}");
    desk.write("deploy.edn", "{:shop {:git-url \"ssh://git@git.example.com:2222/shop.git\"}}");
    let said = desk.run(&["keys"]).done();
    assert!(
        said.out.contains("the deploy keys of git.example.com/shop on its git host, to read and write"),
        "{}",
        said.out
    );
    desk.write("config.edn", "{:webhooks {:gitea {:secret \"s\"}} :git {:known-hosts \"known_hosts\"}}");
    let gitea = desk.run(&["keys", "--dry-run"]).done();
    assert!(gitea.out.contains("https://git.example.com/shop/settings/keys"), "{}", gitea.out);
    for host in ["git.example.com:2222", "web-1"] {
        assert!(said.out.contains(&format!("still to do: airplanes host trust {host}\n")), "{}", said.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_daemon_knows_of_libraries_counts() {
    let mut world = World::new(0);
    let sha = world.commit("snow", &[("deps.edn", "{}")]);
    let deps = world.deps(&[("snow", sha)]);
    world.commit("shop", &[("deps.edn", &deps)]);
    world.deploy_edn(":shop {:git-url \"{repo:shop}\" :update? true}");
    let keys = |world: &World| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_airplanes"));
        command.args(["keys", "--json", "--dry-run", "--config"]).arg(world.path("config.edn"));
        let said = Said::of(command.output().unwrap()).done();
        let view: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        view["repositories"].as_array().unwrap().clone()
    };
    assert_eq!(keys(&world).len(), 1, "without a daemon, the app alone is known");
    world.start().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.get("/apps/shop").await["depends_on_ssh"].as_array().is_none_or(Vec::is_empty) {
        assert!(Instant::now() < deadline, "{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = keys(&world);
    assert_eq!(found.len(), 2, "{found:#?}");
    let snow = found.iter().find(|key| key["repository"].as_str().unwrap().ends_with("/snow")).unwrap();
    assert_eq!(snow["write"], false);
}
