//! What was not planned or not run is made good: an app that could not be read, one that was skipped, one that waited
//! for another that was held.

use airplanes::model::Sha;
use serde_json::json;

use super::super::support::git_graph::settled;
use super::super::support::world::World;
use super::{all_are_read, is_building, quick};

/// Whether an app's deps.edn names a commit.
fn has(world: &World, app: &str, sha: Sha) -> bool {
    world.file(app, "deps.edn").contains(&sha.to_string())
}

/// `near` and `far` depend on `lib`; `top` on `near` and `far`. The repository of `far` is out of reach.
async fn one_out_of_reach() -> World {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let near = world.commit("near", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    let far = world.commit("far", &[("deps.edn", &world.deps(&[("lib", lib), ("near", near)]))]);
    world.commit("top", &[("deps.edn", &world.deps(&[("near", near), ("far", far)]))]);
    world.deploy_edn(
        r#":near {:git-url "{repo:near}" :update? true} :far {:git-url "{repo:far}" :update? true}
           :top {:git-url "{repo:top}" :update? true} :aside {:git-url "{repo:aside}" :update? true}"#,
    );
    out_of_reach(&world, true);
    world
}

fn out_of_reach(world: &World, away: bool) {
    let (here, there) = (world.path("repos/far.git"), world.path("repos/far.away"));
    if away { std::fs::rename(here, there).unwrap() } else { std::fs::rename(there, here).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_could_not_be_read_is_run_once_for_all_that_it_missed_when_it_can_be() {
    let mut world = one_out_of_reach().await;
    world.start().await;
    world.push("lib", &[("x", "1")]).await;
    let lib = world.push("lib", &[("x", "2")]).await;
    settled(&world).await;
    assert!(has(&world, "near", lib));
    let near = world.head("near");
    out_of_reach(&world, false);
    // Nobody tells the daemon: it looks again by itself, after half a minute.
    world.until("far has both", async || (has(&world, "far", lib) && has(&world, "far", near)).then_some(())).await;
    assert_eq!(world.jobs_of("far").await.len(), 1, "{}", world.log());
    let (_, told) = world.cli(&["explain", "far"]);
    assert!(told.contains("could not read the app when something else moved"), "{told}");
    // Nor is there anything left for the next daemon.
    world.kill();
    world.start().await;
    all_are_read_but_aside(&world).await;
    assert_eq!(world.jobs_of("far").await.len(), 1, "{}", world.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_missed_is_made_up_for_by_the_daemon_after_one_that_was_killed_and_after_who_it_depends_on() {
    let mut world = one_out_of_reach().await;
    world.deploy_edn(
        r#":near {:git-url "{repo:near}" :update? true :build "while ! test -e {dir}/go; do sleep 0.05; done"}
           :far {:git-url "{repo:far}" :update? true}"#,
    );
    world.start().await;
    let lib = world.push("lib", &[("x", "1")]).await;
    is_building(&world, "near").await;
    world.kill();
    out_of_reach(&world, false);
    world.start().await;
    world
        .until("far is read", async || {
            let graph = world.get("/graph?app=far").await;
            let of_far = graph["edges"].as_array()?.iter().filter(|edge| edge["to"] == "far").count();
            (of_far == 2).then_some(())
        })
        .await;
    assert!(!has(&world, "far", lib), "near is still being built");
    std::fs::write(world.path("go"), "").unwrap();
    world
        .until("far has both", async || {
            (has(&world, "far", lib) && has(&world, "far", world.head("near"))).then_some(())
        })
        .await;
    let jobs = world.jobs_of("far").await;
    assert_eq!((jobs.len(), &jobs[0]["state"]), (1, &"succeeded".into()), "{jobs:#?}");
}

async fn all_are_read_but_aside(world: &World) {
    world
        .until("all but one are read", async || {
            let notes = world.get("/graph").await["notes"].to_string();
            (notes.contains("aside") && !notes.contains("far ")).then_some(())
        })
        .await;
}

/// `mid` depends on `lib`, `app` on both and on `other`; the build of `mid` fails while there is a file `broken`.
async fn one_in_the_middle() -> World {
    let mut world = quick();
    world.builds = format!(":concurrency 1 :write [\"{}\"]", world.open().display());
    world.write_config();
    let (lib, other) = (world.commit("lib", &[("deps.edn", "{}")]), world.commit("other", &[("y", "")]));
    let mid = world.commit("mid", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib), ("mid", mid), ("other", other)]))]);
    world.commit("slow", &[("deps.edn", "{}")]);
    world.deploy_edn(
        r#":mid {:git-url "{repo:mid}" :update? true :build "test ! -e {dir}/broken"}
           :app {:git-url "{repo:app}" :update? true :build "true"}
           :slow {:git-url "{repo:slow}" :update? true :build "while ! test -e {dir}/go; do sleep 0.05; done"}"#,
    );
    world.start().await;
    all_are_read(&world).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_skipped_job_should_have_taken_up_is_taken_up_by_the_next_one_and_not_before_it_is_whole() {
    let world = one_in_the_middle().await;
    std::fs::write(world.path("broken"), "").unwrap();
    let lib = world.push("lib", &[("x", "1")]).await;
    assert_eq!(world.jobs_of("app").await[0]["state"], "skipped");
    // Something else moves while `mid` is broken: no half of what was skipped comes along.
    let other = world.push("other", &[("x", "1")]).await;
    let jobs = world.jobs_of("app").await;
    assert_eq!(jobs[0]["state"], "succeeded", "{jobs:#?}");
    assert!(has(&world, "app", other) && !has(&world, "app", lib), "{}", world.file("app", "deps.edn"));
    // Nor by a person's push or deploy, which take all that is due besides.
    let own = world.push("app", &[("own", "1")]).await;
    assert!(world.jobs_of("app").await[0]["state"] == "succeeded" && world.head("app") == own);
    let deployed = world.deploy_to_the_end("app").await;
    let reason = deployed["reason"].as_str().unwrap();
    assert!(reason.contains("comes once all is there that moved with it (mid failed"), "{reason}");
    assert_eq!(world.head("app"), own);
    // A person mends it: `mid` has the library now, and `app` gets both.
    std::fs::remove_file(world.path("broken")).unwrap();
    world.push("mid", &[("x", "1")]).await;
    let jobs = world.jobs_of("app").await;
    assert_eq!(jobs[0]["state"], "succeeded", "{jobs:#?}");
    assert!(has(&world, "app", lib) && has(&world, "app", world.head("mid")), "{}", world.file("app", "deps.edn"));
    assert_eq!(jobs[0]["causes"].as_array().unwrap().len(), 2, "{jobs:#?}");
    let (_, told) = world.cli(&["explain", "app"]);
    assert!(told.contains(&lib.short()), "why it took the library is said: {told}");
    // It has been taken up: the next one has causes of its own alone.
    world.push("other", &[("x", "2")]).await;
    let jobs = world.jobs_of("app").await;
    assert_eq!(jobs[0]["causes"].as_array().unwrap().len(), 1, "{jobs:#?}");
    // Nobody takes it in any more once `mid` is no app.
    std::fs::write(world.path("broken"), "").unwrap();
    let lib = world.push("lib", &[("x", "2")]).await;
    assert_eq!(world.jobs_of("app").await[0]["state"], "skipped");
    let entry = world.read("deploy.edn").lines().find(|line| line.contains(":mid")).unwrap().to_owned();
    world.edit("deploy.edn", &entry, "{");
    let gone = async || (!world.get("/apps").await.to_string().contains("\"mid\"")).then_some(());
    world.until("mid is no app", gone).await;
    let other = world.push("other", &[("x", "3")]).await;
    let jobs = world.jobs_of("app").await;
    assert!(has(&world, "app", other) && has(&world, "app", lib), "{jobs:#?}");

    // It names a repository whose git host says nothing, and there is one slot: others are built all the same.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ssh://git@{}/acme/silent.git", silent.local_addr().unwrap());
    let coord = format!("{{:deps {{acme/silent {{:git/url \"{url}\" :git/sha \"{}\"}}", "a".repeat(40));
    world.push("app", &[("deps.edn", &world.file("app", "deps.edn").replacen("{:deps {", &coord, 1))]).await;
    world.until("app is in update", async || in_update(&world, "app").await.then_some(())).await;
    std::fs::write(world.path("go"), "").unwrap();
    world.push("slow", &[("x", "1")]).await;
    let slow = async || world.get("/jobs?app=slow&limit=1").await["jobs"][0]["state"] == "succeeded";
    world.until("slow is built", async || slow().await.then_some(())).await;
    assert!(in_update(&world, "app").await, "it still asks");
    let said = async || world.call(&["job", "app"]).await.out;
    let asks = async || said().await.contains("in update, for 127.0.0.1/acme/silent to answer, for ").then_some(());
    world.until("it says whom it asks", asks).await;
    let (_, told) = world.cli(&["logs", "last", "update"]);
    assert!(told.contains("reading what its dependencies bring"), "{told}");
}

async fn in_update(world: &World, app: &str) -> bool {
    world.get(&format!("/jobs?app={app}&limit=1")).await["jobs"][0]["reason"]
        .as_str()
        .is_some_and(|reason| reason.starts_with("in update"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_upstream_is_held_before_it_could_start_goes_on_without_it() {
    let world = one_in_the_middle().await;
    let mid = world.head("mid");
    world.push("slow", &[("x", "1")]).await;
    is_building(&world, "slow").await;
    let lib = world.push("lib", &[("x", "1")]).await;
    world
        .until("they are planned", async || {
            let jobs = world.get("/jobs?state=open").await;
            (jobs["jobs"].as_array()?.len() == 3).then_some(())
        })
        .await;
    let url = format!("{}/apps/mid/hold", world.base());
    let held = world.http.put(url).bearer_auth(world.token()).json(&json!({"reason": "not today"})).send().await;
    assert_eq!(held.unwrap().status().as_u16(), 200);
    std::fs::write(world.path("go"), "").unwrap();
    let jobs = world.jobs_of("app").await;
    assert_eq!((jobs.len(), &jobs[0]["state"]), (1, &"succeeded".into()), "{jobs:#?}");
    assert!(has(&world, "app", lib) && has(&world, "app", mid) && world.head("mid") == mid);
    assert_eq!(world.jobs_of("mid").await[0]["state"], "skipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_races_a_hold_is_done_or_told_of_the_hold() {
    let world = one_in_the_middle().await;
    let url = format!("{}/apps/app/hold", world.base());
    for n in 0..20 {
        let hold = async {
            let body = json!({"reason": format!("round {n}")});
            world.http.put(&url).bearer_auth(world.token()).json(&body).send().await.unwrap().status().as_u16()
        };
        let (held, (status, answer)) = tokio::join!(hold, world.post("/apps/app/deploy"));
        assert_eq!(held, 200);
        let told = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 202 || (status == 409 && told.contains("is held by")), "{n}: {status} {answer}");
        let job = world.get("/jobs?app=app&limit=1").await["jobs"][0].clone();
        let released = world.http.delete(&url).bearer_auth(world.token()).send().await.unwrap();
        assert_eq!(released.status().as_u16(), 200, "{job:#}");
    }
    settled(&world).await;
}
