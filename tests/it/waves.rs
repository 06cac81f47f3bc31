//! Waves, shown over real remotes: each app once, in order, whatever happens meanwhile. What is checked is what git has:
//! the first-parent history, the trailers, and the deps.edn at the heads.
//!
//! `scripts/waves` runs the graphs of 60 (`AIRPLANES_WAVES=full`); a test run takes small ones.

mod made_good;

use std::collections::BTreeSet;

use airplanes::model::{Forge, Sha};
use serde_json::Value;

use super::support::git_graph::{GitGraph, settled};
use super::support::world::World;

fn is_full() -> bool {
    std::env::var("AIRPLANES_WAVES").is_ok_and(|v| v == "full")
}
/// Without ssh's handshakes, for what is not about them.
fn quick() -> World {
    let mut world = World::new(0);
    world.by_file = true;
    world
}
/// The world with the graph in it, once its daemon knows what depends on what.
async fn begin(mut world: World, graph: &GitGraph) -> World {
    graph.make(&mut world);
    world.start().await;
    all_are_read(&world).await;
    world
}
/// A plan is told what is not known yet.
async fn all_are_read(world: &World) {
    for _ in 0..600 {
        let (_, told) = world.cli(&["plan", "https://example.com/none", "--json"]);
        if !told.contains("is not known") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("not read:\n{}", world.log());
}
fn of(jobs: &[Value], n: usize) -> Vec<&Value> {
    jobs.iter().filter(|job| job["app"] == GitGraph::name(n).as_str()).collect()
}

/// A push to the first repository, and everything that follows.
async fn goes_through(world: World, graph: &GitGraph) {
    let world = begin(world, graph).await;
    let before = {
        let mut counts = graph.counts(&world);
        counts[0] += 1;
        counts
    };
    world.push("r00", &[("x", "1")]).await;
    let jobs = settled(&world).await;
    let moved = graph.downstream(&[0]);
    for n in &moved {
        let jobs = of(&jobs, *n);
        assert_eq!(jobs.len(), 1, "{n}: {jobs:#?}");
        assert_eq!(jobs[0]["state"], "succeeded", "{:#}\n{}", jobs[0], world.log());
    }
    let builds = graph.check(&world, &before, &[0], &moved);
    assert!(builds.values().all(|count| *count == 1), "each is built once: {builds:?}");
    assert_eq!(jobs.len(), moved.len(), "and nothing else ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_12_is_built_once_each_in_order() {
    goes_through(World::new(0), &GitGraph::chain(12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diamond_of_diamonds_takes_all_of_an_apps_bumps_in_one_commit() {
    goes_through(World::new(0), &GitGraph::of(&[&[], &[0], &[0], &[1, 2], &[3], &[3, 0], &[4, 5]])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_graph_is_built_once_each_in_order() {
    let (size, seeds) = if is_full() { (60, vec![1, 2, 3]) } else { (15, vec![7]) };
    for seed in seeds {
        eprintln!("seed {seed}");
        goes_through(World::new(0), &GitGraph::random(size, seed)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_repository_failing_in_the_middle_skips_what_is_downstream_and_nothing_else_and_says_why() {
    // 1 fails: 3 and 5 hang on it; 2 and 4 do not.
    let graph = GitGraph::of(&[&[], &[0], &[0], &[1, 2], &[2], &[3]]);
    let world = begin(quick(), &graph).await;
    std::fs::write(world.path("broken-r01"), "").unwrap();
    let before = graph.counts(&world);
    world.push("r00", &[("x", "1")]).await;
    let jobs = settled(&world).await;
    let states: Vec<&str> = (0..6).map(|n| of(&jobs, n)[0]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["succeeded", "failed", "succeeded", "skipped", "succeeded", "skipped"], "{jobs:#?}");
    assert!(of(&jobs, 3)[0]["reason"].as_str().unwrap().contains("r01 failed"), "{:#}", of(&jobs, 3)[0]);
    let told = of(&jobs, 5)[0]["reason"].as_str().unwrap();
    assert!(told.contains("r01 failed (job ") && told.contains("r03 was skipped"), "who failed is named: {told}");
    let mut with_push = before.clone();
    with_push[0] += 1;
    graph.check(&world, &with_push, &[0], &BTreeSet::from([0, 2, 4]));
    // Mended: the next push brings those that were left too.
    std::fs::remove_file(world.path("broken-r01")).unwrap();
    let counts = {
        let mut counts = graph.counts(&world);
        counts[0] += 1;
        counts
    };
    world.push("r00", &[("x", "2")]).await;
    settled(&world).await;
    graph.check(&world, &counts, &[0], &graph.downstream(&[0]));
}

/// Waits until an app's build runs, which waits for a file `go`.
async fn is_building(world: &World, app: &str) {
    for _ in 0..1200 {
        let jobs = world.get(&format!("/jobs?app={app}&limit=1")).await;
        let steps = jobs["jobs"][0]["steps"].as_array().cloned().unwrap_or_default();
        if steps.iter().any(|step| step["name"] == "build" && step["state"] == "running") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{app} is not built:\n{}", world.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_during_a_wave_joins_what_has_not_started() {
    let mut world = quick();
    let r0 = world.commit("r00", &[("deps.edn", "{}")]);
    let r1 = world.commit("r01", &[("deps.edn", &world.deps(&[("r00", r0)]))]);
    world.commit("r02", &[("deps.edn", &world.deps(&[("r01", r1), ("r00", r0)]))]);
    world.deploy_edn(
        r#":r00 {:git-url "{repo:r00}" :update? true}
           :r01 {:git-url "{repo:r01}" :update? true :build "while ! test -e {dir}/go; do sleep 0.05; done"}
           :r02 {:git-url "{repo:r02}" :update? true :build "true"}"#,
    );
    world.start().await;
    all_are_read(&world).await;
    world.push("r00", &[("x", "1")]).await;
    is_building(&world, "r01").await;
    let second = world.push("r00", &[("x", "2")]).await;
    std::fs::write(world.path("go"), "").unwrap();
    let jobs = settled(&world).await;
    assert_eq!(of(&jobs, 1).len(), 2, "it had started, so it runs again: {jobs:#?}");
    assert_eq!(of(&jobs, 2).len(), 1, "it had not, so it takes both: {jobs:#?}");
    assert_eq!(of(&jobs, 2)[0]["causes"].as_array().unwrap().len(), 2);
    let text = world.file("r02", "deps.edn");
    assert!(text.contains(&second.to_string()) && text.contains(&world.head("r01").to_string()), "{text}");
    assert_eq!(world.count("r02"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_20_pushes_to_10_libraries_makes_at_most_two_jobs_an_app() {
    let mut world = quick();
    let libs: Vec<String> = (0..10).map(|n| format!("lib-{n}")).collect();
    let heads: Vec<(&str, Sha)> =
        libs.iter().map(|lib| (lib.as_str(), world.commit(lib, &[("deps.edn", "{}")]))).collect();
    world.commit("all", &[("deps.edn", &world.deps(&heads))]);
    world.commit("half", &[("deps.edn", &world.deps(&heads[..5]))]);
    let build = r#":update? true :build "while ! test -e {dir}/go; do sleep 0.05; done""#;
    let mut apps = format!(r#":all {{:git-url "{{repo:all}}" {build}}} :half {{:git-url "{{repo:half}}" {build}}}"#);
    for lib in &libs {
        apps.push_str(&format!(" :{lib} {{:git-url \"{{repo:{lib}}}\" :update? false}}"));
    }
    world.deploy_edn(&apps);
    world.start().await;
    all_are_read(&world).await;
    for round in ["1", "2"] {
        for lib in &libs {
            world.push(lib, &[("x", round)]).await;
        }
    }
    std::fs::write(world.path("go"), "").unwrap();
    let jobs = settled(&world).await;
    for (app, libs) in [("all", &libs[..]), ("half", &libs[..5])] {
        let ran: Vec<&Value> = jobs.iter().filter(|job| job["app"] == app).collect();
        assert!(ran.len() <= 2 && ran.iter().all(|job| job["state"] == "succeeded"), "{ran:#?}");
        let text = world.file(app, "deps.edn");
        for lib in libs {
            assert!(text.contains(&world.head(lib).to_string()), "{app} has the last of {lib}: {text}");
        }
        assert_eq!(world.count(app), 1 + ran.len(), "each job is one commit");
    }
}

/// Each life of the daemon ends right after the first commit that a job of it publishes is on disk, so there is one kill
/// in each wave; or one life ends before a push and the next one after it, by turns.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_each_wave_every_app_is_still_built_once_and_pushed_once() {
    let graph = GitGraph::of(&[&[], &[0], &[1], &[1], &[2, 3], &[4]]);
    let (published, publishing) = ("\"entry\":\"published\":after", "\"entry\":\"publishing\":after");
    for turns in [&[published][..], &[publishing, published]] {
        let dies_at = |life: usize| vec![("AIRPLANES_CRASH_AT".to_owned(), turns[life % turns.len()].to_owned())];
        let mut world = begin(quick(), &graph).await;
        let before = {
            let mut counts = graph.counts(&world);
            counts[0] += 1;
            counts
        };
        world.kill();
        world.env = dies_at(0);
        world.start().await;
        let old = world.head("r00");
        let new: Sha = world.commit("r00", &[("x", "1")]);
        let told = world.try_hook(Forge::Github, "r00", Some(old), new, "d-1").await;
        let mut kills = 0;
        for _ in 0..2400 {
            if world.has_died() {
                kills += 1;
                world.kill();
                // More than two a repository would be no way on.
                world.env = if kills < 12 { dies_at(kills) } else { Vec::new() };
                world.start().await;
            }
            let left = world.try_get("/jobs?state=open&limit=1").await;
            let last = world.try_get("/jobs?app=r05&limit=1").await;
            if left.is_some_and(|left| left["jobs"].as_array().is_some_and(Vec::is_empty))
                && last.is_some_and(|last| last["jobs"][0]["state"] == "succeeded")
            {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert!(told.is_none_or(|(status, _)| status == 202));
        assert!(kills >= 4 * turns.len(), "{turns:?}: {kills} kills");
        let builds = graph.check(&world, &before, &[0], &graph.downstream(&[0]));
        assert!(builds.values().all(|count| *count <= 2), "{turns:?}: {builds:?}");
        eprintln!("{turns:?}: {kills} kills, builds {builds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_added_by_an_own_push_is_known_to_the_next_push() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", "{}")]);
    world.commit("slow", &[("deps.edn", "{}")]);
    world.builds = format!(":concurrency 1 :write [\"{}\"]", world.open().display());
    world.write_config();
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :update? true}
           :slow {:git-url "{repo:slow}" :update? true :build "while ! test -e {dir}/go; do sleep 0.05; done"}"#,
    );
    world.start().await;
    // The one slot is taken, so the app's own job can't have read anything when the library is pushed.
    world.push("slow", &[("x", "1")]).await;
    is_building(&world, "slow").await;
    let with_lib = world.deps(&[("lib", lib)]);
    world.push("app", &[("deps.edn", &with_lib)]).await;
    let after = world.push("lib", &[("x", "1")]).await;
    std::fs::write(world.path("go"), "").unwrap();
    let jobs = settled(&world).await;
    let app: Vec<&Value> = jobs.iter().filter(|job| job["app"] == "app").collect();
    assert!(app[0].to_string().contains(&after.to_string()), "the library's push is one of its causes: {app:#?}");
    assert!(world.file("app", "deps.edn").contains(&after.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_a_branch_runs_those_whose_sha_is_on_it_and_moves_them_along_it() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let other = world.commit("other", &[("deps.edn", "{}")]);
    let person = world.path("people/lib");
    let commit = |text: &str| {
        let git = |args: &[&str]| super::support::world::git(&person, args);
        std::fs::write(person.join("y"), text).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "on 2.x"]);
        git(&["push", "-q", "origin", "HEAD:2.x"]);
        git(&["rev-parse", "HEAD"]).parse::<Sha>().unwrap()
    };
    super::support::world::git(&person, &["checkout", "-q", "-b", "2.x"]);
    let old = commit("1");
    world.commit("on-main", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("on-2x", &[("deps.edn", &world.deps(&[("lib", old), ("other", other)]))]);
    world.builds = format!(":write [\"{}\"]", world.open().display());
    world.write_config();
    world.deploy_edn(
        r#":on-main {:git-url "{repo:on-main}" :update? true}
           :on-2x {:git-url "{repo:on-2x}" :update? true :build "while test -e {dir}/wait; do sleep 0.05; done"}"#,
    );
    world.start().await;
    // The mirror of the library, which tells its branches, is made in the background.
    for _ in 0..400 {
        let (_, told) = world.cli(&["plan", world.url("lib").as_str(), "--branch", "2.x", "--json"]);
        if told.contains("on-2x") && !told.contains("on-main") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let new = commit("2");
    let url = world.url("lib");
    let told = async |branch: &str, before: Sha, after: Sha| {
        let body = airplanes::forge::push_payload(Forge::Github, &url, &branch.parse().unwrap(), Some(before), after);
        let answer = world.signed_body(Forge::Github, body, &format!("d-{after}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 202);
    };
    told("2.x", old, new).await;
    let jobs = settled(&world).await;
    assert_eq!(jobs.iter().map(|job| job["app"].as_str().unwrap()).collect::<Vec<_>>(), ["on-2x"], "{jobs:#?}");
    assert!(world.file("on-2x", "deps.edn").contains(&new.to_string()));

    // Pushes to two branches, the other one last, that come while the app is built are one more job.
    let under_way = async |text: &str| {
        std::fs::write(world.path("wait"), "").unwrap();
        let pushed = commit(text);
        told("2.x", new, pushed).await;
        is_building(&world, "on-2x").await;
        pushed
    };
    let third = under_way("3").await;
    let fourth = commit("4");
    told("2.x", third, fourth).await;
    super::support::world::git(&person, &["checkout", "-q", "main"]);
    let on_main = world.push("lib", &[("x", "1")]).await;
    std::fs::remove_file(world.path("wait")).unwrap();
    let jobs = settled(&world).await;
    assert_eq!(jobs.len(), 4, "{jobs:#?}");
    assert!(world.file("on-main", "deps.edn").contains(&on_main.to_string()));
    let text = world.file("on-2x", "deps.edn");
    assert!(text.contains(&fourth.to_string()), "{text}\n{jobs:#?}");

    // One that is gone when its job looks takes nothing else along, and is not waited for.
    super::support::world::git(&person, &["checkout", "-q", "2.x"]);
    under_way("5").await;
    let gone = commit("6");
    super::support::world::git(&person, &["push", "-q", "origin", ":2.x"]);
    told("2.x", fourth, gone).await;
    let other = world.push("other", &[("x", "1")]).await;
    std::fs::remove_file(world.path("wait")).unwrap();
    let asked = std::time::Instant::now();
    let jobs = settled(&world).await;
    assert!(jobs.len() == 6 && jobs.iter().all(|job| job["state"] == "succeeded"), "{jobs:#?}");
    assert!(world.file("on-2x", "deps.edn").contains(&other.to_string()));
    assert!(asked.elapsed() < std::time::Duration::from_secs(45), "it is waited for");
}
