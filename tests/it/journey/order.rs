//! Many apps: who runs, after whom, and what one that fails, is broken, gone or out of reach means for the others.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use airplanes::model::{Forge, Sha};
use serde_json::Value;

use super::super::support::world::World;
use super::{quick, reason, waits_for};

/// `d` is a library; `b` and `c` depend on it, `app` on all three, and `other` on `d` alone.
async fn diamond() -> (World, BTreeMap<&'static str, Sha>) {
    let mut world = quick();
    let d = world.commit("d", &[("deps.edn", "{}")]);
    let b = world.commit("b", &[("deps.edn", &world.deps(&[("d", d)]))]);
    let c = world.commit("c", &[("deps.edn", &world.deps(&[("d", d)]))]);
    let app = world.commit("app", &[("deps.edn", &world.deps(&[("b", b), ("c", c), ("d", d)]))]);
    world.commit("other", &[("deps.edn", &world.deps(&[("d", d)]))]);
    world.deploy_edn(
        r#":d {:git-url "{repo:d}" :update? false}
           :b {:git-url "{repo:b}" :update? true :build "test ! -e {dir}/broken"}
           :c {:git-url "{repo:c}" :update? true :build "true"}
           :app {:git-url "{repo:app}" :update? true :build "true"}
           :other {:git-url "{repo:other}" :update? true}"#,
    );
    world.start().await;
    (world, [("d", d), ("b", b), ("c", c), ("app", app)].into())
}

fn of<'a>(jobs: &'a [Value], app: &str) -> Vec<&'a Value> {
    jobs.iter().filter(|job| job["app"] == app).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diamond_is_built_once_each_in_order_with_one_commit_for_all_bumps() {
    let (world, before) = diamond().await;
    let (code, told) = world.cli(&["plan", "app"]);
    assert_eq!(code, 0, "{told}");
    // The order is known without a push: the apps are read when the daemon starts.
    let mut view = Value::Null;
    for _ in 0..200 {
        let (_, told) = world.cli(&["plan", "d", "--json"]);
        view = serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}"));
        if view["apps"].as_array().is_some_and(|apps| apps.len() == 5) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let waves: BTreeMap<&str, u64> = view["apps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["app"].as_str().unwrap(), p["wave"].as_u64().unwrap()))
        .collect();
    assert_eq!(waves, [("d", 0), ("b", 1), ("c", 1), ("other", 1), ("app", 2)].into(), "{view:#}");
    assert!(world.settled().await.is_empty(), "a preview sets nothing in motion");

    let d = world.push("d", &[("x", "1")]).await;
    let jobs = world.settled().await;
    assert_eq!(jobs.len(), 5, "{jobs:#?}");
    assert!(jobs.iter().all(|job| job["state"] == "succeeded"), "{jobs:#?}");
    let app = of(&jobs, "app")[0];
    assert_eq!(app["bumps"].as_array().unwrap().len(), 3, "{app:#}");
    assert_eq!(world.in_bare("app", &["rev-parse", "main^"]), before["app"].to_string());
    let deps = world.file("app", "deps.edn");
    for sha in [d, world.head("b"), world.head("c")] {
        assert!(deps.contains(&sha.to_string()), "{deps}");
    }
    let began = |job: &Value| job["steps"][0]["started_at"].as_str().unwrap().to_owned();
    let published = |job: &Value| {
        let steps = job["steps"].as_array().unwrap();
        steps.iter().find(|s| s["name"] == "publish").unwrap()["finished_at"].as_str().unwrap().to_owned()
    };
    for up in ["b", "c"] {
        assert!(published(of(&jobs, up)[0]) <= began(app), "{up} was published before app began");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_app_takes_along_who_depends_on_it_and_nobody_else_and_a_redelivery_runs_those_again() {
    let (world, _) = diamond().await;
    world.go("broken");
    let (old, before) = (world.head("d"), world.file("app", "deps.edn"));
    let d = world.push("d", &[("x", "1")]).await;
    let jobs = world.settled().await;
    let states: BTreeMap<&str, &str> =
        jobs.iter().map(|job| (job["app"].as_str().unwrap(), job["state"].as_str().unwrap())).collect();
    let wanted = [("app", "skipped"), ("b", "failed"), ("c", "succeeded"), ("d", "succeeded"), ("other", "succeeded")];
    assert_eq!(states, wanted.into(), "{jobs:#?}");
    let app = of(&jobs, "app")[0];
    assert!(reason(app).contains("b failed"), "{app:#}");
    assert_eq!(world.file("app", "deps.edn"), before, "no half-updated set");
    assert_eq!(of(&jobs, "b")[0]["steps"][2]["exit_code"], 1);

    std::fs::remove_file(world.path("broken")).unwrap();
    let (status, answer) = world.hook(Forge::Github, "d", Some(old), d, &d.to_string()).await;
    assert_eq!(status, 202, "{answer}");
    let jobs = world.settled().await;
    for (app, runs) in [("d", 1), ("c", 1), ("other", 1), ("b", 2), ("app", 2)] {
        let of = of(&jobs, app);
        assert_eq!((of.len(), &of[0]["state"]), (runs, &"succeeded".into()), "{app}: {of:#?}");
    }
    let deps = world.file("app", "deps.edn");
    for sha in [d, world.head("b"), world.head("c")] {
        assert!(deps.contains(&sha.to_string()), "{deps}");
    }
    assert_eq!(world.count("app"), 2);
    let (status, answer) = world.hook(Forge::Github, "d", Some(old), d, &d.to_string()).await;
    assert_eq!(status, 200, "all has ended well now: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn remotes_that_refuse_or_hang_hold_up_no_other_app_and_are_told_of() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("near", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    // One that takes connections and says nothing, with more apps than are read at once.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let mut apps = r#":near {:git-url "{repo:near}" :update? true}
                      :far {:git-url "{dir}/repos/nowhere.git" :update? true}"#
        .to_owned();
    for n in ["", "-2", "-3", "-4", "-5", "-6", "-7", "-8", "-9"] {
        let url = format!("http://127.0.0.1:{port}/mute{n}.git");
        apps.push_str(&format!(r#" :mute{n} {{:git-url "{url}" :update? true :paths ["src"]}}"#));
    }
    world.deploy_edn(&apps);
    world.start().await;
    let began = Instant::now();
    let new = world.push("lib", &[("x", "1")]).await;
    let job = world.job("near").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(began.elapsed() < Duration::from_secs(35), "planned after {:?}", began.elapsed());
    let event = world.newest_event().await;
    let notes = event["notes"].to_string();
    assert!(notes.contains("what far depends on is not known") && notes.contains("nowhere.git"), "{event:#}");
    assert!(notes.contains("what mute depends on is not known yet"), "{event:#}");

    // Whether they should have run is not known, so a redelivery is no duplicate; who ended well does not run again.
    let (status, answer) = world.hook(Forge::Github, "lib", Some(lib), new, &new.to_string()).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(world.jobs_of("near").await.len(), 1);
    // Nor does what it can't be asked now, what a push to it touches, hold up a push to another.
    let url = airplanes::model::RepoUrl::new(format!("http://127.0.0.1:{port}/mute.git")).unwrap();
    let main = "main".parse().unwrap();
    let body = airplanes::forge::push_payload(Forge::Github, &url, &main, Some(lib), new);
    assert_eq!(world.signed_body(Forge::Github, body, "mute").send().await.unwrap().status().as_u16(), 202);
    let began = Instant::now();
    world.push("lib", &[("x", "2")]).await;
    let jobs = async || world.get("/jobs?app=near").await["jobs"].as_array().map_or(0, Vec::len);
    world.until("near has it", async || (jobs().await == 2).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(10), "planned after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_taken_out_of_deploy_edn_does_not_start_any_more_and_ends_what_it_has_begun() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let slow = world.commit("slow", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("next", &[("deps.edn", &world.deps(&[("slow", slow)]))]);
    world.commit("stays", &[("deps.edn", "{}")]);
    let stays = ":stays {:git-url \"{repo:stays}\"}";
    world.deploy_edn(&format!(
        r#":slow {{:git-url "{{repo:slow}}" :update? true :build "{}"}} :next {{:git-url "{{repo:next}}" :update? true}} {stays}"#,
        waits_for("go")
    ));
    world.start().await;
    world.push("lib", &[("x", "1")]).await;
    let running = world.in_step("slow", "build").await;
    world.push("lib", &[("x", "2")]).await;
    world.has_jobs(3).await;
    world.deploy_edn(stays);
    world.has_apps(1).await;
    world.go("go");
    let jobs = world.settled().await;
    assert_eq!(jobs.len(), 3, "{jobs:#?}");
    for job in &jobs {
        if job["id"] == running["id"] {
            assert_eq!(job["state"], "succeeded", "{job:#}");
        } else {
            assert_eq!(job["state"], "canceled", "{job:#}");
            assert!(reason(job).contains("taken out of deploy.edn"), "{job:#}");
        }
    }
    assert_eq!(world.deployed("stays").await["state"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_a_job_that_had_started_ends_before_the_next_one_of_its_app_starts() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let mut entries = String::new();
    for app in ["one", "two"] {
        world.commit(app, &[("deps.edn", &world.deps(&[("lib", lib)]))]);
        let build = waits_for("go");
        entries += &format!(":{app} {{:git-url \"{{repo:{app}}}\" :update? true :build \"{build}\"}}\n");
    }
    world.deploy_edn(&entries);
    world.start().await;
    world.push("lib", &[("x", "1")]).await;
    for app in ["one", "two"] {
        world.in_step(app, "build").await;
    }
    let newest = world.push("lib", &[("x", "2")]).await;
    world.has_jobs(4).await;
    world.kill();
    world.go("go");
    world.start().await;
    for app in ["one", "two"] {
        let jobs = world.jobs_of(app).await;
        let [second, first] = jobs.as_slice() else { panic!("{jobs:#?}") };
        assert_eq!((&first["state"], &second["state"]), (&"succeeded".into(), &"succeeded".into()), "{jobs:#?}");
        let began = second["steps"][0]["started_at"].as_str().unwrap();
        assert!(first["finished_at"].as_str().unwrap() <= began, "{jobs:#?}");
        assert!(world.file(app, "deps.edn").contains(&newest.to_string()));
        assert_eq!(world.count(app), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_deps_edn_fails_its_own_app_with_its_place_and_a_broken_call_disturbs_nobody() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("good", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("bad", &[("deps.edn", "{:deps\n {acme/lib {:git/sha \"1\"}\n  ]}\n")]);
    world.deploy_edn(
        ":good {:git-url \"{repo:good}\" :update? true} :bad {:git-url \"{repo:bad}\" :update? true :build \"true\"}",
    );
    world.start().await;
    for body in ["", "{", "[]", "{\"ref\": 1}", "{\"ref\":\"refs/heads/main\",\"after\":\"--upload-pack=x\"}"] {
        let answer = world.signed_body(Forge::Github, body.into(), "x").send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
    }
    world.push("lib", &[("x", "1")]).await;
    let jobs = world.settled().await;
    assert_eq!((jobs.len(), &jobs[0]["app"], &jobs[0]["state"]), (1, &"good".into(), &"succeeded".into()), "{jobs:#?}");
    let notes = world.newest_event().await["notes"].to_string();
    assert!(notes.contains("what bad depends on is not known: deps.edn:3:3"), "{notes}");

    let job = world.deployed("bad").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    assert!(reason(&job).contains("deps.edn:3:3"), "{job:#}");
    assert_eq!(world.count("bad"), 1);
    // The person mends it, and the bump that is due comes along.
    let mended = world.deps(&[("lib", lib)]);
    world.push("bad", &[("deps.edn", &mended)]).await;
    assert_eq!(world.job("bad").await["state"], "succeeded");
    assert!(world.file("bad", "deps.edn").contains(&world.head("lib").to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_that_depend_on_each_other_in_a_circle_both_run_and_are_told_of_by_name() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let egg = world.commit("egg", &[("deps.edn", "{}")]);
    let hen = world.commit("hen", &[("deps.edn", &world.deps(&[("lib", lib), ("egg", egg)]))]);
    world.commit("egg", &[("deps.edn", &world.deps(&[("lib", lib), ("hen", hen)]))]);
    world.deploy_edn(":hen {:git-url \"{repo:hen}\" :update? true} :egg {:git-url \"{repo:egg}\" :update? true}");
    world.start().await;
    let new = world.push("lib", &[("x", "1")]).await;
    let event = world.newest_event().await;
    assert!(event["notes"].to_string().contains("in a circle, which was cut: "), "{event:#}");
    let jobs = world.settled().await;
    assert_eq!(jobs.len(), 2, "{jobs:#?}");
    assert!(jobs.iter().all(|job| job["state"] == "succeeded"), "{jobs:#?}");
    for app in ["hen", "egg"] {
        assert!(world.file(app, "deps.edn").contains(&new.to_string()), "{app}");
    }
    // Their own commits go round no more.
    for app in ["hen", "egg"] {
        let after = world.head(app);
        world.told(app, None, after, app).await;
    }
    assert_eq!(world.settled().await.len(), 2);
}
