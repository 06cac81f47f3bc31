//! From webhook calls to jobs: what counts as the same, what counts as news, and whom it concerns.

use std::time::Duration;

use airplanes::model::Forge;

use super::super::support::world::World;
use super::{quick, reason, waits_for};

/// A library that is in no deploy.edn, and an app that depends on it.
async fn app_of_a_library(app: &str) -> World {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(&format!(":app {{:git-url \"{{repo:app}}\" :update? true {app}}}"));
    world.start().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_of_everything_changes_nothing() {
    let mut world = World::new(1);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :update? true :build "true" :working-directory "{dir}/srv/{host}"
                 :hosts [:web-1] :restart "git rev-parse HEAD >> ../restarts"}"#,
    );
    world.clone_to_hosts("app");
    world.start().await;
    let restarts = || std::fs::read_to_string(world.path("srv/restarts")).unwrap().lines().count();

    let new = world.push("lib", &[("a", "1")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let plan = world.call(&["plan", world.url("lib").as_str()]).await;
    assert!(plan.code == Some(0) && plan.out.contains("app") && plan.out.contains("web-1"), "{plan:?}");
    let is_as_before = |jobs: usize, now: usize| assert_eq!((world.count("app"), restarts(), now), (2, 1, jobs));

    // The same call, and another call about the same push.
    for id in [new.to_string(), "another".to_owned()] {
        let (status, answer) = world.hook(Forge::Github, "lib", Some(lib), new, &id).await;
        assert_eq!((status, answer["status"].as_str()), (200, Some("duplicate")), "{answer}");
        assert!(answer["reason"].is_string() && answer["event"].is_string(), "{answer}");
    }
    is_as_before(1, world.jobs_of("app").await.len());

    let job = world.deployed("app").await;
    assert_eq!(job["state"], "unchanged", "{job:#}");
    assert!(reason(&job).contains("nothing is due"), "{job:#}");
    is_as_before(2, world.jobs_of("app").await.len());

    // A person was there first: the bump that a push asks for is made and live already.
    let next = world.commit("lib", &[("a", "2")]);
    let text = world.file("app", "deps.edn").replace(&new.to_string(), &next.to_string());
    world.push("app", &[("deps.edn", &text)]).await;
    assert_eq!(world.job("app").await["state"], "succeeded");
    assert_eq!((world.count("app"), restarts()), (3, 2));
    world.told("lib", Some(new), next, "late").await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "unchanged", "{job:#}");
    assert_eq!((world.count("app"), restarts()), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn forth_and_back_by_force_is_three_pushes_and_the_app_never_goes_backwards() {
    let world = app_of_a_library(":build \"true\"").await;
    let a = world.head("lib");
    let b = world.push("lib", &[("x", "b")]).await;
    assert_eq!(world.job("app").await["state"], "succeeded");
    let at_b = world.file("app", "deps.edn");
    assert!(at_b.contains(&b.to_string()));

    world.force("lib", a);
    world.told("lib", Some(b), a, "back").await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "unchanged", "{job:#}");
    assert!(reason(&job).contains("taken back") && reason(&job).contains("by hand"), "{job:#}");
    world.force("lib", b);
    world.told("lib", Some(a), b, "forth again").await;
    assert_eq!(world.job("app").await["state"], "unchanged");
    assert_eq!((world.file("app", "deps.edn"), world.jobs_of("app").await.len()), (at_b.clone(), 3));

    // Rewritten: the commit in deps.edn is on no branch, and the new head does not stand on it.
    world.force("lib", a);
    let c = world.commit("lib", &[("x", "c")]);
    world.told("lib", Some(b), c, "rewritten").await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "unchanged", "{job:#}");
    for word in ["acme/lib in deps.edn", "history was rewritten", "Set the sha by hand once", &c.to_string()] {
        assert!(reason(&job).contains(word), "{word}: {job:#}");
    }
    assert_eq!(world.file("app", "deps.edn"), at_b);
    // What the words said to do helps.
    world.push("app", &[("deps.edn", &at_b.replace(&b.to_string(), &c.to_string()))]).await;
    assert_eq!(world.job("app").await["state"], "succeeded");
    let d = world.push("lib", &[("x", "d")]).await;
    assert_eq!(world.job("app").await["state"], "succeeded");
    assert!(world.file("app", "deps.edn").contains(&d.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_remote_does_not_show_yet_is_looked_for_again() {
    let world = app_of_a_library("").await;
    let before = world.head("lib");
    let after = world.unpushed("lib");
    world.told("lib", Some(before), after, "early").await;
    world.in_step("app", "update").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.count("app"), 1);
    world.pushes_now("lib");
    assert_eq!(world.job("app").await["state"], "succeeded");
    assert!(world.file("app", "deps.edn").contains(&after.to_string()));

    // Pushed over before anyone could look, and no webhook of that: the head is the truth.
    let (before, never) = (world.head("lib"), world.unpushed("lib"));
    world.force("lib", before);
    let truth = world.commit("lib", &[("y", "truth")]);
    world.told("lib", Some(before), never, "gone").await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(world.file("app", "deps.edn").contains(&truth.to_string()));

    // Taken back to where it was, as a later webhook says: nothing of that push will come.
    let gone = world.unpushed("lib");
    world.force("lib", truth);
    world.told("lib", Some(truth), gone, "forth").await;
    world.told("lib", Some(gone), truth, "and back").await;
    let jobs = world.jobs_of("app").await;
    assert!(jobs.iter().all(|job| job["state"] == "succeeded" || job["state"] == "unchanged"), "{jobs:#?}");
    assert!(world.file("app", "deps.edn").contains(&truth.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_commit_does_nothing_but_for_a_dependent_that_its_plan_did_not_have() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let mid = world.commit("mid", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("late", &[("deps.edn", &world.deps(&[("mid", mid)]))]);
    let entry = ":mid {:git-url \"{repo:mid}\" :update? true :build \"true\"}";
    world.deploy_edn(entry);
    world.start().await;

    world.push("lib", &[("a", "1")]).await;
    let first = world.job("mid").await;
    assert_eq!(first["state"], "succeeded", "{first:#}");
    let ours = world.head("mid");
    world.told("mid", Some(mid), ours, "ours").await;
    let event = world.newest_event().await;
    assert_eq!(event["state"], "closed");
    assert!(event["notes"].to_string().contains("our own commit"), "{event:#}");
    assert_eq!(world.settled().await.len(), 1);

    let next = world.push("lib", &[("a", "2")]).await;
    assert_eq!(world.job("mid").await["state"], "succeeded");
    assert!(world.file("mid", "deps.edn").contains(&next.to_string()));
    world.deploy_edn(&format!("{entry} :late {{:git-url \"{{repo:late}}\" :update? true}}"));
    world.has_apps(2).await;
    let again = world.head("mid");
    world.told("mid", Some(ours), again, "ours again").await;
    assert_eq!(world.job("late").await["state"], "succeeded");
    assert!(world.file("late", "deps.edn").contains(&again.to_string()));
    assert_eq!(world.jobs_of("mid").await.len(), 2, "mid itself has had its turn");

    // Whoever puts the branch back to a commit of ours means it.
    world.force("mid", ours);
    world.told("mid", Some(again), ours, "put back").await;
    world.settled().await;
    let event = world.newest_event().await;
    assert!(!event["notes"].to_string().contains("our own commit"), "{event:#}");
    assert_eq!(world.jobs_of("mid").await.len(), 3);
    assert_eq!(world.job("mid").await["causes"][0]["why"], "own-push");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_an_app_s_own_branch_builds_it_with_the_bumps_that_are_due_as_its_trigger_says() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let mut text = String::new();
    for (app, trigger) in [("any", ":push-any"), ("own", ":push"), ("hand", ":manual")] {
        world.commit(app, &[("deps.edn", &world.deps(&[("lib", lib)]))]);
        text += &format!(
            ":{app} {{:git-url \"{{repo:{app}}}\" :update? true :trigger {trigger} :build \"git log -1 --format=%s\"}}\n"
        );
    }
    world.deploy_edn(&text);
    world.start().await;

    let new = world.push("lib", &[("a", "1")]).await;
    let jobs = world.settled().await;
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
    assert_eq!((&jobs[0]["app"], &jobs[0]["state"]), (&"any".into(), &"succeeded".into()));

    let theirs = world.push("own", &[("x", "a person's")]).await;
    let job = world.job("own").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(job["causes"][0]["why"], "own-push");
    assert!(world.file("own", "deps.edn").contains(&new.to_string()), "the bump that was due came along");
    assert_eq!(world.in_bare("own", &["rev-parse", "main^"]), theirs.to_string());
    let log = world.text(&format!("/jobs/{}/logs/build", job["id"].as_str().unwrap())).await;
    assert!(log.contains("Update acme/lib"), "{log}");

    world.push("hand", &[("x", "a person's")]).await;
    let event = world.newest_event().await;
    assert!(event["notes"].to_string().contains(":manual"), "{event:#}");
    assert!(world.jobs_of("hand").await.is_empty());
    assert_eq!(world.deployed("hand").await["state"], "succeeded");
    assert!(world.file("hand", "deps.edn").contains(&new.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_while_an_app_builds_join_into_one_more_job_at_the_newest() {
    let world = app_of_a_library(&format!(":build \"{}\"", waits_for("go"))).await;
    world.push("lib", &[("a", "1")]).await;
    world.in_step("app", "build").await;
    let mut newest = None;
    for n in 2..=4 {
        newest = Some(world.push("lib", &[("a", &n.to_string())]).await);
    }
    world.planned().await;
    world.go("go");
    let jobs = world.jobs_of("app").await;
    assert_eq!(jobs.len(), 2, "{jobs:#?}");
    assert_eq!(jobs[0]["causes"].as_array().unwrap().len(), 3, "{:#}", jobs[0]);
    assert!(jobs.iter().all(|job| job["state"] == "succeeded"));
    assert!(world.file("app", "deps.edn").contains(&newest.unwrap().to_string()));
    assert_eq!(world.count("app"), 3, "one commit a job");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_of_an_older_push_that_joins_a_newer_one_does_not_hold_it_back() {
    let world = app_of_a_library(&format!(":build \"test ! -e {{dir}}/broken && {}\"", waits_for("go"))).await;
    let first = world.head("lib");
    world.go("broken");
    let old = world.push("lib", &[("a", "1")]).await;
    assert_eq!(world.job("app").await["state"], "failed");
    std::fs::remove_file(world.path("broken")).unwrap();

    world.push("lib", &[("a", "2")]).await;
    world.in_step("app", "build").await;
    let newest = world.push("lib", &[("a", "3")]).await;
    world.has_jobs(3).await;
    world.told("lib", Some(first), old, &old.to_string()).await;
    world.planned().await;
    world.go("go");
    let jobs = world.jobs_of("app").await;
    assert_eq!((jobs.len(), &jobs[0]["state"]), (3, &"succeeded".into()), "{jobs:#?}");
    assert_eq!(jobs[0]["causes"].as_array().unwrap().len(), 2, "{:#}", jobs[0]);
    assert!(world.file("app", "deps.edn").contains(&newest.to_string()), "{jobs:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_concerned_nobody_is_no_duplicate_once_an_app_is_added_that_it_concerns() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn("");
    world.start().await;
    let new = world.push("lib", &[("a", "1")]).await;
    assert!(world.settled().await.is_empty());
    let (status, answer) = world.hook(Forge::Github, "lib", Some(lib), new, &new.to_string()).await;
    assert_eq!((status, answer["status"].as_str()), (200, Some("duplicate")), "{answer}");

    world.deploy_edn(r#":app {:git-url "{repo:app}" :update? true}"#);
    world
        .until("the app is known", async || (world.get("/apps").await["apps"] != serde_json::json!([])).then_some(()))
        .await;
    let (status, answer) = world.hook(Forge::Github, "lib", Some(lib), new, &new.to_string()).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(world.job("app").await["state"], "succeeded");
    assert!(world.file("app", "deps.edn").contains(&new.to_string()));
}
