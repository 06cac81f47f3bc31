//! What people are told, and what not: with a real daemon, real receivers, and daemons that die at the wrong moment.

mod conditions;
mod stage;
mod ways;

use serde_json::Value;

use super::support::receiver::{Next, Receiver};
use super::support::world::World;

/// A world without hosts, whose apps are named by `file://`, and whose notices go there.
async fn world(deploy: &str, notify: &str, repos: &[&str]) -> World {
    world_with(deploy, notify, repos, Vec::new()).await
}

/// The same, with more in the daemon's environment.
async fn world_with(deploy: &str, notify: &str, repos: &[&str], env: Vec<(String, String)>) -> World {
    let mut world = World::new(0);
    world.by_file = true;
    for repo in repos {
        world.commit(repo, &[("deps.edn", "{}"), ("ok", "yes")]);
    }
    world.deploy_edn(deploy);
    notify_by(&world, notify);
    world.env = env;
    world.start().await;
    world
}

/// Puts `:notify` and what belongs to it into config.edn.
fn notify_by(world: &World, entries: &str) {
    world.edit("config.edn", "{:listen", &format!("{{:url \"https://deploy.example.com\" {entries}\n :listen"));
}

const APP: &str = r#":app {:git-url "{repo:app}" :build [{:name "test" :run "echo the secret is $HOME; grep -q yes ok || { echo it is not ok >&2; exit 3; }"}]}"#;

async fn push(world: &World, repo: &str, ok: &str) {
    world.push(repo, &[("ok", ok)]).await;
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_fail_again_and_recover_tells_exactly_twice() {
    let receiver = Receiver::start().await;
    let world = world(APP, &format!(":notify [{}]", receiver.entry()), &["app"]).await;
    push(&world, "app", "no").await;
    let failed = receiver.has(1).await.remove(0);
    push(&world, "app", "still no").await;
    push(&world, "app", "yes").await;
    let notices = receiver.has(2).await;
    let recovered = &notices[1];

    assert_eq!(failed["event"], "app.failed", "{failed:#}");
    assert_eq!(failed["title"], "app failed in build/test");
    let app = &failed["apps"][0];
    assert_eq!((&app["app"], &app["step"]), (&Value::from("app"), &Value::from("build/test")), "{failed:#}");
    assert!(app["error"].as_str().unwrap().contains('3'), "{failed:#}");
    assert!(app["log"].as_str().unwrap().contains("it is not ok"), "{failed:#}");
    let job = app["job"].as_str().unwrap();
    assert_eq!(failed["url"], format!("https://deploy.example.com/jobs/{job}"));
    let pushed = &failed["push"];
    assert!(pushed["repo"].as_str().unwrap().ends_with("repos/app"), "{failed:#}");
    assert_eq!(pushed["branch"], "main");
    assert!(pushed["sha"].is_string(), "{failed:#}");
    assert!(failed["next"].as_str().unwrap().contains(&format!("airplanes logs {job}")));

    assert_eq!(recovered["event"], "app.recovered", "{recovered:#}");
    assert_eq!(recovered["earlier"], Value::from(vec![failed["id"].clone()]));
    let status = world.get("/status").await;
    assert_eq!(status["notify"]["ways"][0]["way"], format!("webhook {}", receiver.address), "{status:#}");
    assert!(!world.log().contains("in-the-url"), "the url's key is in the log");
    assert_eq!(receiver.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_a_failing_and_a_redirecting_receiver_hold_up_no_other() {
    let (good, slow, failing, elsewhere) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let beyond = Receiver::start().await;
    slow.will([Next::Silence, Next::Silence]);
    failing.will([Next::Status(500)]);
    elsewhere.will((0..9).map(|_| Next::Redirect(beyond.url())));
    let all = [&slow, &failing, &elsewhere, &good].map(Receiver::entry).join(" ");
    let world = world(APP, &format!(":notify [{all}]"), &["app"]).await;
    push(&world, "app", "no").await;
    good.has(1).await;
    push(&world, "app", "yes").await;
    good.has(2).await;
    // Both while the slow one still has its first call, and no job waited for it.
    assert_eq!(slow.has(1).await.len(), 1);

    let calls = async || Some(failing.calls()).filter(|calls| calls.len() == 3);
    let calls = world.until("a second attempt and the recovery", calls).await;
    let ids: Vec<_> = calls.iter().map(|call| call.headers["webhook-id"].clone()).collect();
    assert_eq!(ids[0], ids[1], "the same notice");
    assert!(calls[1].at - calls[0].at >= std::time::Duration::from_secs(5), "not at once");
    assert_eq!(calls[2].body["event"], "app.recovered", "in order");
    assert!(beyond.calls().is_empty(), "a redirect was followed");
    let ways = world.get("/status").await["notify"]["ways"].clone();
    assert!(ways[2]["error"].as_str().unwrap().contains("redirect"), "{ways:#}");
    assert_eq!((&ways[3]["waiting"], &ways[3]["error"]), (&Value::from(0), &Value::Null), "{ways:#}");
    let status = world.call(&["status"]).await.out;
    assert!(status.contains("nobody is told by webhook 127.0.0.1"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_a_failure_and_its_telling_it_is_told_by_the_next_daemon() {
    let receiver = Receiver::start().await;
    let mut world = world(APP, &format!(":notify [{}]", receiver.entry()), &["app"]).await;
    receiver.will([Next::Silence]);
    push(&world, "app", "no").await;
    // Under way, and not answered: the daemon dies now.
    receiver.has(1).await;
    world.kill();
    world.start().await;
    let notices = receiver.has(2).await;
    assert_eq!(notices[0]["id"], notices[1]["id"], "the same notice, once more");
    push(&world, "app", "yes").await;
    let recovered = receiver.has(3).await.remove(2);
    assert_eq!(recovered["earlier"][0], notices[0]["id"]);
}

#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_as_the_job_ends_its_failure_is_told_by_the_next_daemon() {
    let receiver = Receiver::start().await;
    let dies = vec![("AIRPLANES_CRASH_AT".to_owned(), "\"entry\":\"ended\":after".to_owned())];
    let mut world = world_with(APP, &format!(":notify [{}]", receiver.entry()), &["app"], dies).await;
    world.push("app", &[("ok", "no")]).await;
    world.dies().await;
    assert!(receiver.calls().is_empty(), "told before it was dead");
    world.start().await;
    assert_eq!(receiver.has(1).await[0]["title"], "app failed in build/test");
}

/// Three apps that depend on a library, which is one too.
fn dependents(build_of_lib: &str) -> String {
    let app = |name: &str| {
        format!(
            ":{name} {{:git-url \"{{repo:{name}}}\" :update? true :build [{{:name \"test\" :run \"test ! -e {{dir}}/broken\"}}]}}\n"
        )
    };
    let lib = format!(":lib {{:git-url \"{{repo:lib}}\" :build \"{build_of_lib}\"}}\n");
    format!("{lib}{}{}{}", app("one"), app("two"), app("three"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_breaks_three_apps_is_told_once_and_so_is_its_mending() {
    let receiver = Receiver::start().await;
    let notify = format!(":notify [{}]", receiver.entry());
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    for app in ["one", "two", "three"] {
        world.commit(app, &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    }
    world.deploy_edn(&dependents("test ! -e {dir}/lib-broken"));
    notify_by(&world, &notify);
    world.start().await;
    world.save("broken", "");
    let sha = world.push("lib", &[("lib.clj", "broken")]).await;
    world.settled().await;
    let failed = receiver.has(1).await.remove(0);
    assert_eq!(failed["title"], "one, three, two failed in build/test", "{failed:#}");
    assert_eq!(failed["push"]["sha"], sha.to_string());
    assert_eq!(failed["apps"].as_array().unwrap().len(), 3);
    std::fs::remove_file(world.path("broken")).unwrap();
    world.push("lib", &[("lib.clj", "mended")]).await;
    world.settled().await;
    let recovered = receiver.has(2).await.remove(1);
    assert_eq!(recovered["title"], "one, three, two recovered");
    assert_eq!(recovered["earlier"], Value::from(vec![failed["id"].clone()]));

    // Now it fails itself: its dependents are not begun, and are named.
    world.save("lib-broken", "");
    world.push("lib", &[("lib.clj", "does not build")]).await;
    world.settled().await;
    let failed = receiver.has(3).await.remove(2);
    assert_eq!(failed["title"], "lib failed in build");
    let held_back: Vec<&str> = failed["held_back"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(held_back, ["one", "three", "two"]);
    assert_eq!(receiver.calls().len(), 3);
}
