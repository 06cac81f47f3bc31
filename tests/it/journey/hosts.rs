//! Rollouts of the real binary to real sshds: hosts that are down, changed by hand, slow, or not well.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;

use super::super::support::acts::{host, is_alive, processes, step, text};
use super::super::support::world::{SECRET, World, git};

/// A daemon with two hosts and an app on them; `more` is the rest of its entry.
async fn app(more: &str) -> World {
    let mut world = World::new(2);
    world.commit("app", &[("deps.edn", "{}")]);
    world.clone_to_hosts("app");
    world.deploy_edn(&format!(
        r#":app {{:git-url "file://{{dir}}/repos/app.git" :working-directory "{{dir}}/srv/{{host}}" :hosts [:web-1 :web-2] {more}}}"#
    ));
    world.start().await;
    world
}

impl World {
    /// What a host's working directory is at.
    fn at(&self, host: &str) -> String {
        git(&self.path("srv").join(host), &["rev-parse", "HEAD"])
    }
    /// What a host's marker says.
    fn marker(&self, host: &str) -> String {
        let text = self.read(&format!("srv/{host}/.git/airplanes.json"));
        serde_json::from_str::<Value>(&text).map(|m| text_of(&m, "state")).unwrap_or_default()
    }
    /// How often a text stands in a file.
    fn times(&self, file: &str, what: &str) -> usize {
        self.read(file).matches(what).count()
    }
}

fn text_of(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
/// A job's state, its reason, and how its hosts ended.
fn ends(job: &Value) -> (&str, &str, Vec<&str>) {
    let hosts = ["web-1", "web-2"].into_iter().map(|name| text(host(job, name), "state")).collect();
    (text(job, "state"), text(job, "reason"), hosts)
}

/// Where health urls are answered, and its port.
fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}
/// Answers health urls: `is_well` is asked with the path's name.
fn health(listener: TcpListener, mut is_well: impl FnMut(&str) -> bool + Send + 'static) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let well = is_well(asked.split(['/', ' ']).nth(2).unwrap_or_default());
            let answer = if well { "HTTP/1.0 200 OK\r\n\r\n" } else { "HTTP/1.0 503 no\r\n\r\n" };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// Each restart is a line in `srv/restarts`.
const RESTART: &str = r#":restart "echo $(basename $PWD) $(git rev-parse HEAD) >> ../restarts""#;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_is_passed_by_and_gets_its_turn_when_it_is_back() {
    let mut world = app(RESTART).await;
    world.host_down(1);
    let (old, head) = (world.at("web-1"), world.commit("app", &[("a", "1")]).to_string());
    let job = world.deploy_to_the_end("app").await;
    let (state, reason, hosts) = ends(&job);
    assert_eq!((state, hosts), ("partial", vec!["unreachable", "done"]), "{job:#}");
    assert!(reason.starts_with("rollout: web-1: ") && reason.contains("refuses connections"), "{reason}");
    assert_eq!((host(&job, "web-2")["sha"].as_str(), &host(&job, "web-1")["sha"]), (Some(&*head), &Value::Null));
    assert_eq!((world.at("web-1"), world.at("web-2")), (old, head.clone()));
    let watched = world.call(&["deploy", "app", "--watch"]).await;
    assert_eq!(watched.code, Some(5), "{watched:?}");

    world.host_down(2);
    let job = world.deploy_to_the_end("app").await;
    let (state, _, hosts) = ends(&job);
    assert_eq!((state, hosts), ("failed", vec!["unreachable", "unreachable"]), "{job:#}");

    world.host_up(1);
    world.host_up(2);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(ends(&job).0, "succeeded", "{job:#}");
    assert_eq!((world.at("web-1"), world.at("web-2")), (head.clone(), head));
    assert_eq!((world.times("srv/restarts", "web-1"), world.times("srv/restarts", "web-2")), (1, 1));
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(text(&job, "state"), "unchanged", "{job:#}");
    assert_eq!(world.read("srv/restarts").lines().count(), 2, "nothing is restarted twice");
    assert_eq!(world.stop(), Some(0));
    let masters = processes(&world.path("known_hosts").display().to_string());
    assert!(masters.is_empty(), "connections are left: {masters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_hand_on_a_host_is_never_thrown_away_and_named() {
    let world = app(RESTART).await;
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    let folder = world.path("srv/web-1");

    world.save("srv/web-1/deps.edn", "{:by :hand}");
    world.commit("app", &[("a", "1")]);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((ends(&job).0, ends(&job).2), ("failed", vec!["failed", "skipped"]), "{job:#}");
    assert!(text(&job, "reason").contains("changes that are not committed: deps.edn;"), "{job:#}");
    assert_eq!(text(host(&job, "web-2"), "error"), "not begun, since web-1 failed");
    assert_eq!(world.read("srv/web-1/deps.edn"), "{:by :hand}");

    git(&folder, &["checkout", "-q", "deps.edn"]);
    world.save("srv/web-1/a", "by hand");
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(ends(&job).0, "failed", "{job:#}");
    assert!(text(&job, "reason").contains("files in the way that git does not track: a;"), "{job:#}");
    assert_eq!(world.read("srv/web-1/a"), "by hand");

    std::fs::remove_file(folder.join("a")).unwrap();
    git(&folder, &["commit", "-q", "--allow-empty", "-m", "a fix in a hurry"]);
    let theirs = world.at("web-1");
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(ends(&job).0, "failed", "{job:#}");
    let reason = text(&job, "reason");
    assert!(reason.contains(&format!("is at {theirs} (Anna, ")) && reason.contains("a fix in a hurry"), "{reason}");
    assert_eq!((world.at("web-1"), world.read("srv/restarts").lines().count()), (theirs, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_key_is_not_known_is_refused() {
    let world = app(RESTART).await;
    let known = world.read("known_hosts");
    let others: Vec<&str> = known.lines().filter(|line| !line.contains("127.0.0.3")).collect();
    world.save("known_hosts", &format!("{}\n", others.join("\n")));
    let job = world.deploy_to_the_end("app").await;
    let (state, reason, hosts) = ends(&job);
    assert_eq!((state, hosts), ("partial", vec!["unreachable", "done"]), "{job:#}");
    assert!(reason.contains("known_hosts") && reason.contains("airplanes host trust web-1"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_get_well_ends_the_rollout_and_one_that_needs_a_while_is_waited_for() {
    // `{host}` in the health url: each host has a port of its own, named by a file.
    let restart =
        r#":restart "date +%s%N > up" :health {:url "http://localhost:{port}/{host}" :timeout "2s" :stable "100ms"}"#;
    let ((listener, port), sick) = (listener(), Arc::new(AtomicBool::new(false)));
    let world = app(&restart.replace("{port}", &port.to_string())).await;
    let (is_sick, srv) = (sick.clone(), world.path("srv"));
    health(listener, move |name| {
        // Well a second after its restart.
        let up = std::fs::metadata(srv.join(name).join("up")).and_then(|m| m.modified()).ok();
        let well = up.is_some_and(|up| up.elapsed().is_ok_and(|e| e.as_millis() > 1000));
        well && !(is_sick.load(SeqCst) && name == "web-1")
    });
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(ends(&job).0, "succeeded", "{job:#}");
    let log = world.whole_log(text(&job, "id"), "rollout/web-2").await;
    assert!(log.contains("/web-2: 503\n") && log.contains("\nlive at "), "{log}");

    sick.store(true, SeqCst);
    let old = world.at("web-2");
    let head = world.commit("app", &[("a", "1")]).to_string();
    let job = world.deploy_to_the_end("app").await;
    let (state, reason, hosts) = ends(&job);
    assert_eq!((state, hosts), ("failed", vec!["failed", "skipped"]), "{job:#}");
    assert!(reason.contains("is not healthy at") && reason.contains("/web-1: 503"), "{reason}");
    assert_eq!((world.at("web-1"), world.at("web-2")), (head, old));
    assert_eq!(world.marker("web-1"), "moving", "a host that is not well never looks done");

    sick.store(false, SeqCst);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(ends(&job).0, "succeeded", "{job:#}");
    assert_eq!((world.marker("web-1"), world.marker("web-2")), ("live".into(), "live".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_a_rollout_stops_after_the_host_in_hand() {
    let world =
        app(r#":restart "echo $(basename $PWD) >> ../restarts; until [ -e ../go ]; do sleep 0.05; done""#).await;
    let old = world.at("web-2");
    let head = world.commit("app", &[("a", "1")]).to_string();
    let id = world.deploy("app").await;
    assert_eq!(world.line("srv/restarts").await, "web-1");
    assert_eq!(world.post(&format!("/jobs/{id}/cancel")).await.0, 202);
    world.save("srv/go", "");
    let job = world.ended(&id).await;
    let (state, reason, hosts) = ends(&job);
    assert_eq!((state, hosts), ("partial", vec!["done", "skipped"]), "{job:#}");
    assert_eq!(reason, "canceled by operator; changed: web-1");
    assert_eq!((world.at("web-1"), world.at("web-2")), (head, old));
    assert_eq!((world.marker("web-1"), world.times("srv/restarts", "web-2")), ("live".into(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_a_rollout_lets_the_host_in_hand_finish_and_the_next_start_does_the_rest() {
    let mut world =
        app(r#":restart "echo $(basename $PWD) >> ../restarts; [ -e ../go ] || { touch ../go; sleep 2; }""#).await;
    let old = world.at("web-2");
    let head = world.commit("app", &[("a", "1")]).to_string();
    let id = world.deploy("app").await;
    assert_eq!(world.line("srv/restarts").await, "web-1");
    assert_eq!(world.stop(), Some(0));
    assert_eq!((world.at("web-1"), world.marker("web-1")), (head.clone(), "live".into()));
    assert_eq!((world.at("web-2"), world.read("srv/restarts").lines().count()), (old, 1));
    world.start().await;
    let job = world.ended(&id).await;
    assert_eq!((ends(&job).0, ends(&job).2), ("succeeded", vec!["done", "done"]), "{job:#}");
    assert_eq!((world.at("web-2"), world.read("srv/restarts")), (head, "web-1\nweb-2\n".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_obeyed_in_time_though_a_restart_hangs_and_the_restart_is_made_again() {
    let mut world = World::new(2);
    world.commit("app", &[("deps.edn", "{}")]);
    world.clone_to_hosts("app");
    world.deploy_edn(
        r#":app {:git-url "file://{dir}/repos/app.git" :working-directory "{dir}/srv/{host}" :hosts [:web-1 :web-2]
                 :restart "echo $(basename $PWD) $$ >> ../restarts; [ -e ../go ] || sleep 300"}"#,
    );
    world.start().await;
    let id = world.deploy("app").await;
    let line = world.line("srv/restarts").await;
    let begun = std::time::Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(begun.elapsed().as_secs() < 32, "{:?}", begun.elapsed());
    let pid = line.split(' ').nth(1).unwrap();
    world.until("the restart is ended on its host", async || (!is_alive(pid)).then_some(())).await;
    let masters = processes(&world.path("known_hosts").display().to_string());
    assert!(masters.is_empty(), "connections are left: {masters:?}");
    assert_eq!(std::fs::read_dir(world.path("run")).unwrap().count(), 0, "sockets are left");
    world.save("srv/go", "");
    world.start().await;
    let job = world.ended(&id).await;
    assert_eq!((ends(&job).0, ends(&job).2), ("succeeded", vec!["done", "done"]), "{job:#}");
    assert_eq!((world.times("srv/restarts", "web-1"), world.times("srv/restarts", "web-2")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_lost_while_it_is_restarted_is_not_called_done() {
    let mut world = app(r#":restart "echo $(basename $PWD) >> ../restarts; [ -e ../go ] || sleep 300""#).await;
    let head = world.commit("app", &[("a", "1")]).to_string();
    let id = world.deploy("app").await;
    assert_eq!(world.line("srv/restarts").await, "web-1");
    world.host_down(1);
    let job = world.ended(&id).await;
    assert_eq!((ends(&job).0, ends(&job).2), ("failed", vec!["failed", "skipped"]), "{job:#}");
    assert!(text(&job, "reason").contains("it was being restarted, and how it is now is not known"), "{job:#}");
    assert_eq!((world.at("web-1"), world.marker("web-1")), (head, "moving".into()));
    world.host_up(1);
    world.save("srv/go", "");
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((ends(&job).0, world.marker("web-1")), ("succeeded", "live".into()), "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_between_the_move_and_the_restart_the_next_start_restarts() {
    let mut world =
        app(r#":restart "echo $(basename $PWD) $$ >> ../restarts; until [ -e ../go ]; do sleep 0.05; done""#).await;
    let head = world.commit("app", &[("a", "1")]).to_string();
    let id = world.deploy("app").await;
    let line = world.line("srv/restarts").await;
    world.kill();
    assert_eq!((world.at("web-1"), world.marker("web-1")), (head.clone(), "moving".into()));
    let pid = line.split(' ').nth(1).unwrap().to_owned();
    world.until("the killed daemon's restart is ended on its host", async || (!is_alive(&pid)).then_some(())).await;
    world.save("srv/go", "");
    let sockets = || std::fs::read_dir(world.path("run")).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = sockets().collect();
    assert!(!left.is_empty());
    world.start().await;
    assert!(left.iter().all(|folder| !folder.exists()), "what it left of its connections is swept");
    let job = world.ended(&id).await;
    assert_eq!((ends(&job).0, ends(&job).2), ("succeeded", vec!["done", "done"]), "{job:#}");
    assert_eq!(world.times("srv/restarts", "web-1"), 2, "at least once, and not more than needed");
    assert_eq!(world.times("srv/restarts", "web-2"), 1);
    assert_eq!((world.at("web-2"), world.marker("web-1"), world.marker("web-2")), (head, "live".into(), "live".into()));
    assert_eq!(step(&job, "rollout")["attempt"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_fails_is_told_with_its_words_and_its_host_is_restarted_next_time() {
    let world = app(&format!(r#":restart "echo no such thing, {SECRET} >&2; test -e ../go""#)).await;
    world.commit("app", &[("a", "1")]);
    let job = world.deploy_to_the_end("app").await;
    let (state, reason, hosts) = ends(&job);
    assert_eq!((state, hosts), ("failed", vec!["failed", "skipped"]), "{job:#}");
    assert!(reason.contains("no such thing, ***"), "{reason}");
    assert!(!job.to_string().contains(SECRET), "{job:#}");
    assert_eq!(world.marker("web-1"), "moving");
    let log = world.whole_log(text(&job, "id"), "rollout/web-1").await;
    assert_eq!(log.matches("\nno such thing, ***\n").count(), 1, "{log}");
    assert!(!log.contains(SECRET), "{log}");
    world.save("srv/go", "");
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((ends(&job).0, world.marker("web-1")), ("succeeded", "live".into()), "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_with_nothing_to_restart_is_cloned_where_it_is_absent_and_live_at_once() {
    let mut world = World::new(2);
    let head = world.commit("app", &[("deps.edn", "{}")]).to_string();
    world.deploy_edn(
        r#":app {:git-url "file://{dir}/repos/app.git" :working-directory "{dir}/srv/{host}" :hosts [:web-1 :web-2]}"#,
    );
    world.start().await;
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((ends(&job).0, ends(&job).2), ("succeeded", vec!["done", "done"]), "{job:#}");
    assert_eq!((world.at("web-1"), world.at("web-2"), world.marker("web-2")), (head.clone(), head, "live".into()));
    assert_eq!(host(&job, "web-1")["previous_sha"], Value::Null);
    assert_eq!(world.deploy_to_the_end("app").await["state"], "unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_while_a_live_host_is_looked_at_does_not_restart_it() {
    let (listener, port) = listener();
    let health_url = format!(r#" :health {{:url "http://localhost:{port}/{{host}}" :timeout "10s" :stable "0s"}}"#);
    let mut world = app(&format!("{RESTART}{health_url}")).await;
    let (dir, armed) = (world.open(), Arc::new(AtomicBool::new(false)));
    let (is_armed, mut looks) = (armed.clone(), 0);
    health(listener, move |_| {
        looks += usize::from(is_armed.load(SeqCst));
        if looks == 2 {
            // The first was update's, this is the rollout's.
            std::fs::write(dir.join("asked"), "yes\n").unwrap();
            while !dir.join("go").exists() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        true
    });
    world.host_down(2);
    assert_eq!(world.deploy_to_the_end("app").await["state"], "partial");
    armed.store(true, SeqCst);
    let id = world.deploy("app").await;
    world.line("asked").await;
    assert_eq!(world.post(&format!("/jobs/{id}/cancel")).await.0, 202);
    world.save("go", "");
    let job = world.ended(&id).await;
    assert_eq!((ends(&job).0, ends(&job).2), ("canceled", vec!["done", "skipped"]), "{job:#}");
    assert_eq!(world.times("srv/restarts", "web-1"), 1, "it was live and well");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_configuration_during_a_rollout_does_not_disturb_it() {
    let world =
        app(r#":restart "echo $(basename $PWD) >> ../restarts; until [ -e ../go ]; do sleep 0.05; done""#).await;
    let id = world.deploy("app").await;
    assert_eq!(world.line("srv/restarts").await, "web-1");
    let seen = world.log().matches("is in force").count();
    world.edit("config.edn", "airplanes@example.com", "planes@example.com");
    let told = async || (world.log().matches("is in force").count() > seen).then_some(());
    world.until("the edit is in force", told).await;
    world.save("srv/go", "");
    let job = world.ended(&id).await;
    assert_eq!((ends(&job).0, ends(&job).2), ("succeeded", vec!["done", "done"]), "{job:#}");
    assert_eq!(world.read("srv/restarts"), "web-1\nweb-2\n");
}
