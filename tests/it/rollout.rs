//! Rollouts in batches on real sshds: what a batch waits for, how many may fail, and how hosts go back by themselves.

use std::path::Path;

use airplanes::model::rollout::{Because, Carried};
use airplanes::model::{EventKind, Sha};
use airplanes::store::Store;
use serde_json::{Value, json};

use super::support::acts::{host, noise, text};
use super::support::world::{World, git};

/// A daemon with so many hosts and an app on all of them. A restart fails where the app's file `sick` names the host, and
/// does not end while there is a file `wait`; each is a line of its time, its host and its commit.
async fn app(hosts: usize, more: &str) -> World {
    let mut world = World::new(hosts);
    world.commit("app", &[("deps.edn", "{}"), ("sick", "nobody\n")]);
    world.clone_to_hosts("app");
    let names: Vec<String> = (1..=hosts).map(|n| format!(":web-{n}")).collect();
    world.deploy_edn(&format!(
        r#":app {{:git-url "{{repo:app}}" :working-directory "{{dir}}/srv/{{host}}" :hosts [{}]
            :restart "h=$(basename $PWD); echo begin $h $(cat .git/HEAD) >> ../turns; sleep 0.2; while [ -e ../wait ] || [ -e ../wait-$h ]; do sleep 0.05; done; echo end $h $(git rev-parse HEAD) >> ../turns; ! grep -q \"^$h$\" sick" {more}}}"#,
        names.join(" ")
    ));
    world.start().await;
    world
}

fn at(world: &World, host: &str) -> String {
    git(&world.path("srv").join(host), &["rev-parse", "HEAD"])
}
fn marker(world: &World, host: &str) -> String {
    let json: Value = serde_json::from_str(&world.read(&format!("srv/{host}/.git/airplanes.json"))).unwrap();
    format!("{} {}", text(&json, "state"), text(&json, "sha"))
}
/// A job's hosts, each with its state.
fn states(job: &Value) -> Vec<&str> {
    job["hosts"].as_array().unwrap().iter().map(|host| text(host, "state")).collect()
}
/// The hosts' turns as they went: `+web-1` began, `-web-1` ended.
fn turns(world: &World) -> Vec<String> {
    let turn = |line: &str| {
        let mut words = line.split(' ');
        let sign = if words.next() == Some("begin") { "+" } else { "-" };
        format!("{sign}{}", words.next().unwrap_or_default())
    };
    world.read("srv/turns").lines().map(turn).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_follow_each_other_hosts_of_one_go_together_and_those_that_failed_go_back() {
    let world = app(5, r#":rollout {:batches [1 "50%" "100%"] :parallel 2 :pause "300ms"}"#).await;
    let good = world.commit("app", &[("a", "1")]).to_string();
    let gates = ["srv/wait-web-2", "srv/wait-web-3"];
    gates.iter().for_each(|gate| world.save(gate, ""));
    let id = world.deploy("app").await;
    let two = async || Some(turns(&world)).filter(|seen| seen.len() == 4);
    let seen = world.until("two of the second batch have begun", two).await;
    // One alone, then three of which two at once, then the last.
    assert_eq!(seen[..2], ["+web-1", "-web-1"], "{seen:?}");
    let both: Vec<&str> = seen[2..4].iter().map(String::as_str).collect();
    assert!(both.contains(&"+web-2") && both.contains(&"+web-3"), "{seen:?}");
    gates.iter().for_each(|gate| std::fs::remove_file(world.path(gate)).unwrap());
    let job = world.ended(&id).await;
    assert_eq!((text(&job, "state"), states(&job)), ("succeeded", vec!["done"; 5]), "{job:#}");
    let seen = turns(&world);
    assert_eq!(seen[8..], ["+web-5", "-web-5"], "{seen:?}");
    let log = world.whole_log(text(&job, "id"), "rollout").await;
    assert!(log.contains("batch 1 of 3: web-1\n") && log.contains("batch 2 of 3: web-2, web-3, web-4\n"), "{log}");
    assert_eq!(log.matches("waiting 0.3 s before the next batch").count(), 2, "{log}");

    // The canary is well, one of the second batch is not.
    world.save("srv/turns", "");
    let bad = world.commit("app", &[("sick", "web-3\n")]).to_string();
    let watched = world.call(&["deploy", "app", "--watch"]).await;
    assert_eq!(watched.code, Some(4), "{watched:?}");
    assert!(watched.err.contains("rolling back: web-3: ") && watched.err.contains("web-1 goes back"), "{watched:?}");
    let job = world.job("app").await;
    assert_eq!(text(&job, "state"), "rolled-back", "{job:#}");
    let states_now = states(&job);
    assert_eq!(states_now[..3], ["rolled-back", "rolled-back", "rolled-back"], "{job:#}");
    assert_eq!(states_now[4], "skipped", "{job:#}");
    assert_eq!(text(host(&job, "web-5"), "error"), "not begun, since web-3 failed");
    let reason = text(&job, "reason");
    assert!(reason.contains("web-3: ") && reason.contains("back at what they ran: web-1 ("), "{reason}");
    for n in 1..=5 {
        let name = format!("web-{n}");
        assert_eq!((at(&world, &name), marker(&world, &name)), (good.clone(), format!("live {good}")), "{name}");
    }
    assert_eq!((host(&job, "web-1")["sha"].as_str(), host(&job, "web-5")["sha"].as_str()), (Some(&*good), None));
    // The hold that it made says why, stops bumps, and ends with a push on top.
    let holds = world.get("/holds").await;
    assert_eq!(
        holds["holds"][0]["kind"]["bad"].as_str().or(holds["holds"][0]["bad"].as_str()),
        Some(&*bad),
        "{holds:#}"
    );
    assert!(text(&holds["holds"][0], "reason").contains("web-3"), "{holds:#}");
    assert_eq!(world.deploy_to_the_end("app").await["state"], "rolled-back", "a person may try again");
    let mended = world.push("app", &[("sick", "nobody\n")]).await.to_string();
    // The end of the hold may ask for it once more.
    let jobs = world.settled().await;
    let of_it: Vec<&str> = jobs.iter().filter(|job| job["sha"] == *mended).map(|job| text(job, "state")).collect();
    assert_eq!(of_it.iter().filter(|state| **state != "unchanged").collect::<Vec<_>>(), [&"succeeded"], "{jobs:#?}");
    for n in 1..=5 {
        assert_eq!(at(&world, &format!("web-{n}")), mended);
    }
    assert_eq!(world.get("/holds").await["holds"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_fetch_while_the_build_runs_but_not_where_a_person_is_at_work() {
    let world = app(2, r#":build "sleep 600""#).await;
    let (config, old) = (world.path("config.edn").display().to_string(), at(&world, "web-1"));
    let mut person = world.command_line(&["host", "lock", "web-2", "app", "--reason", "looking", "--config", &config]);
    world.line("srv/web-2/.git/airplanes.holder").await;
    let head = world.commit("app", &[("a", "1")]).to_string();
    let id = world.deploy("app").await;
    let remote = |host: &str| git(&world.path("srv").join(host), &["rev-parse", "refs/remotes/origin/main"]);
    world.until("web-1 has the commit", async || (remote("web-1") == head).then_some(())).await;
    assert_eq!(world.get(&format!("/jobs/{id}")).await["state"], "running");
    assert_eq!((at(&world, "web-1"), at(&world, "web-2"), remote("web-2")), (old.clone(), old.clone(), old));
    assert_eq!(world.call(&["cancel", &id]).await.code, Some(0));
    person.start_kill().unwrap();
    person.wait().await.unwrap();
}

/// Killed in front of and behind each entry of a way back; `scripts/rollouts` does the same with real units.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_on_the_way_back_the_next_start_ends_it() {
    let mut world = app(2, r#":rollout {}"#).await;
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    let good = at(&world, "web-1");
    let entries = [
        r#""entry":"rolling-back""#,
        r#""entry":"host-returning","host":"web-2""#,
        r#""result":"rolled-back""#,
        r#""entry":"host-returning","host":"web-1""#,
        r#""outcome":"rolled-back""#,
    ];
    for (n, entry) in entries.into_iter().enumerate() {
        let side = if n % 2 == 0 { "before" } else { "after" };
        world.kill();
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), format!("{entry}:{side}"))];
        world.start().await;
        world.commit("app", &[("sick", "web-2\n"), ("n", &n.to_string())]);
        let id = world.deploy("app").await;
        world.dies().await;
        world.start().await;
        let job = world.ended(&id).await;
        assert_eq!((text(&job, "state"), states(&job)), ("rolled-back", vec!["rolled-back"; 2]), "{entry}: {job:#}");
        for name in ["web-1", "web-2"] {
            assert_eq!((at(&world, name), marker(&world, name)), (good.clone(), format!("live {good}")), "{entry}");
        }
        let holds = world.get("/holds").await;
        assert_eq!(text(&holds["holds"][0]["kind"], "job"), id, "{holds:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_fail_and_others_are_left_where_halt_is_wanted() {
    let world = app(4, r#":ship :push :rollout {:batches [1 "100%"] :max-failures 1 :on-failure :halt}"#).await;
    let old = at(&world, "web-1");
    // They are sent what they lack: their own way to the repository does not matter.
    for n in 1..=4 {
        git(&world.path("srv").join(format!("web-{n}")), &["remote", "set-url", "origin", "/nowhere/at/all.git"]);
    }
    let head = world.commit("app", &[("sick", "web-1\n")]).to_string();
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("partial", vec!["failed", "done", "done", "done"]), "{job:#}");
    assert_eq!((at(&world, "web-1"), at(&world, "web-4")), (head.clone(), head));
    let sent = std::env::home_dir().unwrap().join(".cache/airplanes");
    let left = std::fs::read_dir(sent).map(|files| files.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let id = text(&job, "id");
    assert!(!left.iter().any(|file| file.file_name().to_string_lossy().contains(id)), "{left:?}");
    let head = world.commit("app", &[("sick", "web-1\nweb-2\nweb-3\n")]).to_string();
    let job = world.deploy_to_the_end("app").await;
    let seen = states(&job);
    assert_eq!((text(&job, "state"), &seen[..1]), ("partial", &["failed"][..]), "{job:#}");
    assert_eq!(seen.iter().filter(|state| **state == "failed").count(), 3, "those under way come to their end");
    assert_eq!((at(&world, "web-2"), world.get("/holds").await["holds"].as_array().unwrap().len()), (head, 0));
    assert_ne!(at(&world, "web-1"), old);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_here_for_one_host_cuts_off_no_other_and_the_way_back_needs_neither_mirror_nor_forge() {
    let world = app(4, r#":ship :push :rollout {:batches [1 "100%"] :parallel 4}"#).await;
    let good = world.commit("app", &[("a", "1")]).to_string();
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    world.save("srv/turns", "");
    world.save("srv/wait", "");
    world.commit("app", &[("a", "2")]);
    let id = world.deploy("app").await;
    world.until("web-1 restarts", async || turns(&world).contains(&"+web-1".to_owned()).then_some(())).await;
    // The log of web-3 can't be written from here on; what is sent to web-2 and web-4 was made for web-1 already.
    let log = world.state("logs").join(&id).join("rollout/web-3.1");
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    std::fs::remove_dir_all(world.state("mirrors")).unwrap();
    let bare = world.path("repos").join("app.git");
    std::fs::rename(&bare, bare.with_extension("gone")).unwrap();
    std::fs::remove_file(world.path("srv/wait")).unwrap();
    let job = world.ended(&id).await;
    let back = vec!["rolled-back", "rolled-back", "failed", "rolled-back"];
    assert_eq!((text(&job, "state"), states(&job)), ("rolled-back", back), "{job:#}");
    let all = turns(&world);
    for name in ["web-1", "web-2", "web-4"] {
        assert_eq!((at(&world, name), marker(&world, name)), (good.clone(), format!("live {good}")), "{name}");
        let turns: Vec<&str> = all.iter().filter(|turn| turn.ends_with(name)).map(|turn| &turn[..1]).collect();
        assert_eq!(turns, ["+", "-", "+", "-"], "{name}: forth and back, and none cut off: {all:?}");
    }
    assert_eq!((at(&world, "web-3"), all.iter().any(|turn| turn.ends_with("web-3"))), (good, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_lost_in_its_turn_is_none_and_the_next_host_is() {
    let mut world = app(4, r#":rollout {:batches [1 "100%"] :parallel 4}"#).await;
    let clone = world.path("srv/web-1");
    let gate = format!(
        "touch {0}/reached; while [ -e {0}/gate ]; do sleep 0.05; done; git-upload-pack",
        world.path("srv").display()
    );
    git(&clone, &["config", "remote.origin.uploadpack", &gate]);
    world.save("srv/gate", "");
    // More than goes along with a call.
    world.commit("app", &[("a", &noise(200_000))]);
    let id = world.deploy("app").await;
    world.until("web-1 fetches", async || world.path("srv/reached").exists().then_some(())).await;
    world.host_down(1);
    std::fs::remove_file(world.path("srv/gate")).unwrap();
    let job = world.ended(&id).await;
    assert_eq!(
        (text(&job, "state"), states(&job)),
        ("partial", vec!["unreachable", "done", "done", "done"]),
        "{job:#}"
    );
    assert_eq!(turns(&world)[..2], ["+web-2", "-web-2"], "the new canary goes alone: {:?}", turns(&world));
    let log = world.whole_log(&id, "rollout").await;
    assert!(log.contains("batch 1 of 2: web-2\n") && log.contains("batch 2 of 2: web-3, web-4\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_anything_changes_every_host_is_asked() {
    let mut world = app(3, r#":rollout {:batches ["100%"] :unreachable :fail}"#).await;
    let old = at(&world, "web-1");
    world.commit("app", &[("a", "1")]);
    world.host_down(3);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("failed", vec!["skipped", "skipped", "unreachable"]), "{job:#}");
    world.host_up(3);
    world.save("srv/web-3/deps.edn", "{:by :hand}");
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("failed", vec!["skipped", "skipped", "failed"]), "{job:#}");
    assert!(text(&job, "reason").contains("changes that are not committed: deps.edn;"), "{job:#}");
    assert_eq!(["web-1", "web-2", "web-3"].map(|name| at(&world, name)), [old.clone(), old.clone(), old]);
    assert!(!Path::new(&world.path("srv/turns")).exists(), "nothing was restarted");
    assert_eq!(world.get("/holds").await["holds"], Value::Array(vec![]), "nothing went back, so nothing is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_rolled_back_by_hand_and_held_and_hosts_that_were_away_catch_up() {
    let mut world = app(3, r#":rollout {:batches [1 "100%"]}"#).await;
    let first = at(&world, "web-1");
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    let refused = world.call(&["rollback", "app"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("there is nothing to go back to from"), "{refused:?}");
    let second = world.commit("app", &[("a", "1")]).to_string();
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    let third = world.commit("app", &[("a", "2")]).to_string();
    let plan = world.call(&["deploy", "app", "--plan"]).await;
    assert!(plan.out.starts_with("batch 1 of 2: web-1\nbatch 2 of 2: web-2, web-3\n"), "{plan:?}");
    let newest = world.deploy_to_the_end("app").await;
    assert_eq!(newest["state"], "succeeded");

    // Back to what was live before; a host that is away is passed by.
    let plan = world.call(&["rollback", "app", "--plan"]).await;
    let from_to = format!("app goes back from {} to {}, which job ", &third[..10], &second[..10]);
    assert!(plan.out.starts_with(&from_to), "{plan:?}");
    assert_eq!(at(&world, "web-1"), third, "a plan does nothing");
    world.host_down(3);
    let back = world.call(&["rollback", "app", "--watch"]).await;
    assert_eq!(back.code, Some(5), "{back:?}");
    let job = world.job("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("partial", vec!["done", "done", "unreachable"]), "{job:#}");
    assert_eq!((job["steps"].as_array().unwrap().len(), text(&job["causes"][0], "why")), (1, "rollback"), "{job:#}");
    assert_eq!((at(&world, "web-2"), at(&world, "web-3")), (second.clone(), third.clone()));
    let hold = &world.get("/holds").await["holds"][0];
    assert_eq!(hold["kind"]["bad"], Value::String(third.clone()), "{hold:#}");

    // It is back: what it missed is a job of its own, that names the one which built it.
    world.host_up(3);
    world.edit("config.edn", ":poll false", ":poll \"5s\"");
    let caught = async || (at(&world, "web-3") == second).then_some(());
    world.until("web-3 has caught up", caught).await;
    let job = world.job("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("succeeded", vec!["done"]), "{job:#}");
    assert_eq!((text(&job["causes"][0], "why"), text(host(&job, "web-3"), "state")), ("catch-up", "done"), "{job:#}");
    let explained = world.call(&["explain", text(&job, "id")]).await;
    assert!(explained.out.contains("hosts that were away in job "), "{explained:?}");
    assert_eq!(marker(&world, "web-3"), format!("live {second}"));

    // Once more: not to what was taken back, but further.
    let back = world.call(&["rollback", "app", "--watch"]).await;
    let both = (at(&world, "web-1"), at(&world, "web-3"));
    assert_eq!((back.code, both), (Some(0), (first.clone(), first.clone())), "{back:?}");
    // The head has what was rolled back first and is newer: that is no answer to what was rolled back now.
    world.in_bare("app", &["update-ref", "refs/heads/aside", &third]);
    world.told_of("app", "aside", third.parse().unwrap()).await;
    world.settled().await;
    assert_eq!((at(&world, "web-1"), at(&world, "web-3")), (first.clone(), first));
    let hold = &world.get("/holds").await["holds"][0];
    let (bad, before) = (&hold["kind"]["bad"], &hold["kind"]["before"]);
    assert_eq!((bad, before), (&Value::from(second.as_str()), &json!([third])), "{hold:#}");
    let to = world.call(&["rollback", "app", "--to", text(&newest, "id"), "--watch"]).await;
    assert_eq!((to.code, at(&world, "web-2")), (Some(0), third), "{to:?}");
    let unknown = world.call(&["rollback", "app", "--to", "0123456789"]).await;
    assert!(unknown.err.contains("no job of app that did well is or brought `0123456789`; it has had"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_did_not_come_to_all_hosts_is_gone_on_with() {
    let world = app(2, "").await;
    let mut was = Vec::new();
    for n in ["1", "2", "3"] {
        was.push(world.commit("app", &[("a", n)]).to_string());
        assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    }
    world.save("srv/turns", "");
    world.save("srv/wait-web-1", "");
    let (status, answer) = world.post("/apps/app/rollback").await;
    assert_eq!(status, 202, "{answer}");
    world.until("its first turn", async || (turns(&world) == ["+web-1"]).then_some(())).await;
    assert_eq!(world.post(&format!("/jobs/{}/cancel", text(&answer, "job"))).await.0, 202);
    std::fs::remove_file(world.path("srv/wait-web-1")).unwrap();
    let job = world.ended(text(&answer, "job")).await;
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (was[1].clone(), was[2].clone()), "{job:#}");
    for (code, commit) in [(Some(0), &was[1]), (Some(0), &was[0])] {
        let back = world.call(&["rollback", "app", "--watch"]).await;
        assert_eq!(
            (back.code, at(&world, "web-1"), at(&world, "web-2")),
            (code, commit.clone(), commit.clone()),
            "{back:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_waits_for_no_build_and_who_comes_too_late_to_catch_up_is_left_alone() {
    let mut world = app(2, r#":build "until test -e {dir}/go; do sleep 0.05; done""#).await;
    world.save("go", "");
    let first = at(&world, "web-1");
    let built = world.deploy_to_the_end("app").await;
    assert_eq!(built["state"], "succeeded", "{built:#}");
    let second = world.commit("app", &[("a", "1")]);
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    std::fs::remove_file(world.path("go")).unwrap();
    world.commit("app", &[("a", "2")]);
    let building = world.deploy("app").await;
    world.in_step("app", "build").await;
    let back = world.call(&["rollback", "app", "--watch"]).await;
    assert!(back.code == Some(0) && back.err.contains(&format!("job {building} is canceled")), "{back:?}");
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (first.clone(), first.clone()));
    let canceled = world.get(&format!("/jobs/{building}")).await;
    let reason = text(&canceled, "reason");
    assert!(canceled["state"] == "canceled" && reason.contains("who rolled app back"), "{canceled:#}");
    // What was being built is a person's answer to what was rolled back, as far as anyone can tell: it goes on after.
    world.in_step("app", "build").await;
    assert_eq!(world.get("/holds").await["holds"], json!([]));

    // A host is told to catch up with what is replaced by the time that it could.
    assert_eq!(world.stop(), Some(0));
    let store = Store::open(&world.state("")).unwrap();
    let carried = Carried {
        of: text(&built, "id").parse().unwrap(),
        commit: second,
        sum: None,
        branch: "main".parse().unwrap(),
        hosts: vec!["web-2".parse().unwrap()],
        because: Because::CatchUp,
        by: "the daemon".to_owned(),
    };
    store.submit(EventKind::Rollout { app: "app".parse().unwrap(), carried }).await.unwrap();
    drop(store);
    world.save("go", "");
    while world.daemon.is_none() {
        world.start().await;
    }
    let jobs = world.settled().await;
    let late = jobs.iter().find(|job| text(&job["causes"][0], "why") == "catch-up").unwrap();
    let reason = format!("web-2 is no longer owed {}", second.short());
    assert!(late["state"] == "skipped" && text(late, "reason").starts_with(&reason), "{late:#}");
    let head: Sha = world.head("app");
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (head.to_string(), head.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_works_on_a_host_is_left_alone_until_they_are_gone() {
    let world = app(2, r#":rollout {}"#).await;
    let (config, old) = (world.path("config.edn").display().to_string(), at(&world, "web-1"));
    let head = world.commit("app", &[("a", "1")]).to_string();
    let lock = ["host", "lock", "web-2", "app", "--reason", "looking for the leak", "--config", &config];
    let mut person = world.command_line(&lock);
    world.line("srv/web-2/.git/airplanes.holder").await;
    let second = world.call(&lock).await;
    assert_eq!(second.code, Some(6), "{second:?}");
    let watched = world.call(&["deploy", "app", "--watch"]).await;
    assert_eq!(watched.code, Some(6), "{watched:?}");
    let job = world.job("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("failed", vec!["skipped", "failed"]), "{job:#}");
    assert!(text(&job, "reason").contains("is locked by ") && text(&job, "reason").contains(": looking for the leak"));
    assert_eq!(at(&world, "web-1"), old, "nothing is changed anywhere");
    // Nor do our own commands come in between, as somebody has them who gives the app a unit.
    let mine = world.own("mine.edn").display().to_string();
    std::fs::write(&mine, world.read("config.edn").replace("deploy.edn", "mine-deploy.edn")).unwrap();
    let unit = ":service {:name \"app\" :exec-start \"/bin/app\"} #_";
    std::fs::write(world.own("mine-deploy.edn"), world.read("deploy.edn").replace(":restart", unit)).unwrap();
    for args in [&["host", "unit", "restart", "web-2", "app"][..], &["host", "install", "app", "--host", "web-2"]] {
        let refused = world.call(&[args, &["--config", &mine]].concat()).await;
        assert!(refused.code == Some(6) && refused.err.contains(": looking for the leak"), "{args:?}: {refused:?}");
    }
    // Whatever ends them frees it.
    person.start_kill().unwrap();
    person.wait().await.unwrap();
    let freed = async || (!world.path("srv/web-2/.git/airplanes.holder").exists()).then_some(());
    world.until("the lock is free", freed).await;

    // At a terminal each host has a line.
    let line = format!("{} deploy app --watch", env!("CARGO_BIN_EXE_airplanes"));
    let shown = tokio::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("AIRPLANES_URL", world.base())
        .env("AIRPLANES_TOKEN", world.token())
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("restarting, until healthy") && shown.contains("\u{1b}[2A\u{1b}[J"), "{shown:?}");
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (head.clone(), head));
}
