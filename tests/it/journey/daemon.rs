//! The daemon itself: its start, its end, and edits of its configuration while it runs.

use std::process::Command;
use std::time::{Duration, Instant};

use airplanes::model::Forge;

use super::super::support::acts::text;
use super::super::support::world::{SECRET, World};

/// A daemon with one app that has no hosts and no build.
async fn app() -> World {
    let mut world = World::new(0);
    world.commit("app", &[("deps.edn", "{}")]);
    world.deploy_edn(r#":app {:git-url "file://{dir}/repos/app.git"}"#);
    world.start().await;
    world
}

impl World {
    /// The names of the apps.
    async fn apps(&self) -> Vec<String> {
        let apps = self.get("/apps").await;
        apps["apps"].as_array().unwrap().iter().map(|app| text(app, "name").to_owned()).collect()
    }
    /// Waits until something is so, and gives how long that took.
    async fn within(&self, what: &str, mut so: impl AsyncFnMut() -> bool) -> Duration {
        let begun = Instant::now();
        self.until(what, async || so().await.then_some(())).await;
        begun.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_to_do_sigterm_ends_it_at_once_and_its_address_is_forgotten() {
    let mut world = app().await;
    world.deploy_to_the_end("app").await;
    let begun = Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!world.path("state/address").exists());
    world.start().await;
    assert_eq!(world.deploy_to_the_end("app").await["state"], "unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_waits_for_no_daily_backup_and_nothing_of_it_is_left() {
    let mut world = World::new(0);
    world.deploy_edn("");
    std::fs::create_dir_all(world.path("state/backups")).unwrap();
    let unfinished = world.path("state/backups/unfinished");
    // A backup that takes for ever: nobody reads the pipe that it would be written to.
    nix::unistd::mkfifo(&unfinished, nix::sys::stat::Mode::S_IRWXU).unwrap();
    world.start().await;
    let at_it = async || world.text("/metrics").await.contains("airplanes").then_some(());
    world.until("it serves", at_it).await;
    let begun = Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(std::fs::read_dir(world.path("state/backups")).unwrap().count(), 0);
    assert!(!world.log().contains("the daily backup"), "{}", world.log());
    world.start().await;
    let made = async || world.log().contains("the daily backup is made").then_some(());
    world.until("the next daemon makes it", made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on() {
    let world = app().await;
    let address = world.base();
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airplanes"));
        command.args(["serve", "--config"]).arg(world.path("config.edn")).output().unwrap()
    };
    let second = serve();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("is a daemon running already?") && said.contains(&world.path("state").display().to_string()),
        "{said}"
    );
    assert!(!said.contains("panicked") && said.lines().count() <= 4, "{said}");
    assert_eq!(world.base(), address);
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_edit_is_in_force_within_a_second_and_a_bad_one_is_told_with_a_caret() {
    let world = app().await;
    world.commit("new", &[("deps.edn", "{}")]);
    let good = world.read("deploy.edn");
    let entry = format!("\n:new {{:git-url \"file://{}\"}}}}", world.path("repos/new.git").display());
    world.save("deploy.edn", &good.trim_end().strip_suffix('}').map(|text| format!("{text}{entry}")).unwrap());
    let took = world.within("the new app is there", async || world.apps().await == ["app", "new"]).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(world.deploy_to_the_end("new").await["state"], "succeeded");
    assert_eq!(
        world.log().matches("the configuration is in force").count(),
        1,
        "once for the edit, and for nothing else"
    );

    let better = world.read("deploy.edn");
    world.save("deploy.edn", &better.replace(":new {:git-url", ":new {:git-ulr"));
    world.within("the fault is told", async || world.log().contains("the last good one stays")).await;
    let log = world.log();
    assert!(
        log.contains("deploy.edn:2:7") && log.contains("^^^^^^^^") && log.contains("did you mean `:git-url`?"),
        "{log}"
    );
    assert_eq!(world.apps().await, ["app", "new"]);
    let status = world.call(&["status"]).await;
    assert!(status.out.contains("not in force") && status.out.contains("did you mean `:git-url`?"), "{status:?}");
    assert_eq!(world.deploy_to_the_end("new").await["state"], "unchanged");

    // Written in place, as some editors do.
    std::fs::write(world.path("deploy.edn"), &good).unwrap();
    world.within("the app is gone", async || world.apps().await == ["app"]).await;
    assert!(!world.call(&["status"]).await.out.contains("not in force"));
    let (status, answer) = world.post("/apps/new/deploy").await;
    assert_eq!(status, 404, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_the_daemons_own_that_only_it_knows_of_is_not_opened_to_builds_either() {
    let mut world = app().await;
    // Where its sockets are: config.edn says nothing of it.
    let (open, run) = (world.open().display().to_string(), world.path("run").display().to_string());
    world.edit("config.edn", &format!(":write [\"{open}\"]"), &format!(":write [\"{open}\" \"{run}\"]"));
    world.within("the fault is told", async || world.log().contains("the last good one stays")).await;
    let status = world.call(&["status"]).await;
    let told = |text: &str| text.contains(&format!("{run} is in there")) && text.contains("config.edn:6:");
    assert!(status.out.contains("not in force") && told(&status.out), "{status:?}");
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    world.stop();
    let serve = |world: &World| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airplanes"));
        command.args(["serve", "--config"]).arg(world.path("config.edn"));
        command.env("RUNTIME_DIRECTORY", world.path("run")).output().unwrap()
    };
    let refused = serve(&world);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && told(&said), "{:?}: {said}", refused.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_secret_is_rotated_without_a_restart() {
    let world = app().await;
    let mut before = world.head("app");
    let mut told = 0;
    let mut hook = async || {
        told += 1;
        let after = world.commit("app", &[("a", &told.to_string())]);
        let (status, _) = world.hook(Forge::Github, "app", Some(before), after, &told.to_string()).await;
        before = after;
        status
    };
    assert_eq!(hook().await, 202);
    let new = ":github {:secret \"another one, as long as that\"}";
    world.edit("config.edn", &format!(":github {{:secret \"{SECRET}\"}}"), new);
    world.within("the old secret opens no more", async || hook().await == 401).await;
    let both = format!(":github {{:secret [\"another one, as long as that\" \"{SECRET}\"]}}");
    world.edit("config.edn", new, &both);
    world.within("both secrets open", async || hook().await == 202).await;
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_included_file_is_watched_and_what_only_a_restart_changes_is_said() {
    let mut world = World::new(0);
    world.commit("app", &[("deps.edn", "{}")]);
    let entry = |name: &str| format!("{{:{name} {{:git-url \"file://{}\"}}}}", world.path("repos/app.git").display());
    let (one, two) = (entry("one"), entry("two"));
    world.save("apps.edn", &one);
    world.save("deploy.edn", "#include \"apps.edn\"\n");
    world.start().await;
    assert_eq!(world.apps().await, ["one"]);
    world.save("apps.edn", &two);
    let took = world.within("the included edit is in force", async || world.apps().await == ["two"]).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    world.save("apps.edn", "{:two {:git-url");
    world.within("the fault is told", async || world.log().contains("apps.edn:1:")).await;
    assert_eq!(world.apps().await, ["two"]);
    world.save("apps.edn", &one);
    world.within("it is mended", async || world.apps().await == ["one"]).await;

    let elsewhere = world.own("elsewhere");
    let state = format!(":state \"{}\"", world.path("state").display());
    world.edit("config.edn", &state, &format!(":state \"{}\"", elsewhere.display()));
    world.within("it is said", async || world.log().contains("take force at the next start")).await;
    let job = world.deploy_to_the_end("one").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(!elsewhere.exists(), "one state directory at a time");
}
