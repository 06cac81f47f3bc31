//! A rollout that waits for its window, killed at each entry of it: an app without environments, with a `:migrate`.

#![cfg(feature = "crash-points")]

use serde_json::Value;

use super::support::acts::text;
use super::support::world::{World, git};

const APP: &str = r#":app {:git-url "{repo:app}" :working-directory "{dir}/srv/{host}" :hosts [:web-1 :web-2] :ship :push
    :migrate "echo migrate $(cat a) >> ../../../did" :restart "echo restart $(cat a) >> ../did" :rollout {} :window {:days [DAY] :tz "UTC"}}"#;

fn at(world: &World, host: &str) -> String {
    git(&world.path("srv").join(host), &["rev-parse", "HEAD"])
}

async fn waits(world: &World, commit: &str) -> Value {
    let look = async || {
        let job = world.get("/jobs?limit=1&app=app").await["jobs"][0].clone();
        (job["state"] == "waiting" && job["sha"] == commit).then_some(job)
    };
    world.until(&format!("the job of {commit} waits"), look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_a_rollout_that_waits_for_its_window_comes_when_it_opens_and_migrates_once() {
    let mut world = World::new(2);
    world.by_file = true;
    world.commit("app", &[("deps.edn", "{}"), ("a", "old\n")]);
    world.clone_to_hosts("app");
    // The day before yesterday, so that midnight does no harm.
    let day = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48)).strftime("%a").to_string().to_lowercase();
    let closed = APP.replace("DAY", &format!(":{day}"));
    let open = APP.replace("DAY", ":mon :tue :wed :thu :fri :sat :sun");
    let points = [
        (r#""entry":"waiting":before"#, false),
        (r#""entry":"waiting":after"#, false),
        (r#""entry":"migrating":before"#, true),
        (r#""entry":"migrating":after"#, true),
        (r#""entry":"migrated":before"#, true),
        (r#""entry":"host-started","host":"web-1":before"#, true),
        (r#""entry":"host-started","host":"web-1":after"#, true),
        (r#""entry":"host-finished","host":"web-1":after"#, true),
    ];
    for (n, (point, is_open)) in points.into_iter().enumerate() {
        world.kill();
        world.deploy_edn(&closed);
        world.save("srv/did", "");
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), point.to_owned())];
        world.start().await;
        let before = at(&world, "web-1");
        let sha = world.push("app", &[("a", &format!("{n}\n"))]).await.to_string();
        if !is_open {
            world.dies().await;
            world.start().await;
        }
        let job = waits(&world, &sha).await;
        assert_eq!((at(&world, "web-1"), world.read("srv/did")), (before, String::new()), "{point}: {job:#}");
        world.deploy_edn(&open);
        if is_open {
            world.dies().await;
            world.start().await;
        }
        let job = world.ended(text(&job, "id")).await;
        assert_eq!(text(&job, "state"), "succeeded", "{point}: {job:#}\n{}", world.log());
        assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (sha.clone(), sha), "{point}");
        let did = world.read("srv/did");
        assert!(did.starts_with(&format!("migrate {n}\nrestart {n}\n")), "{point}: {did}");
        assert_eq!(did.matches("migrate").count(), 1, "{point}: {did}");
    }
}
