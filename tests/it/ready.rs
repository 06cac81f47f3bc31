//! `:prepare` and `:migrate` on real sshds: what runs before any host is touched, and what that means for the way back.

use serde_json::Value;

use super::support::acts::{host, pids, text};
use super::support::world::{World, git};

/// A daemon with two hosts and an app on both, whose file `a` says what happens: `:prepare` fails where it names the host,
/// `:migrate` and a restart where it says so. What is done is a line of what, the host, and the new commit's `a`.
async fn app() -> World {
    let mut world = World::new(2);
    world.by_file = true;
    world.commit("app", &[("deps.edn", "{}"), ("a", "old\n")]);
    world.clone_to_hosts("app");
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :working-directory "{dir}/srv/{host}" :hosts [:web-1 :web-2] :ship :push
            :prepare ["sh" "-c" "h=$(basename $(dirname $(dirname $PWD))); echo prepare $h $(cat a), beside $(cat ../../a) >> ../../../did; ! grep -q \"prepare $h\" a"]
            :migrate "h=$(basename $(dirname $(dirname $PWD))); echo migrate $h $(cat a) >> ../../../did; while [ -e {dir}/srv/gate ]; do sleep 0.05; done; printf moved; ! grep -q \"timeless\" a || exit 124; ! grep -q \"no migrate\" a"
            :restart "h=$(basename $PWD); echo restart $h $(cat a) >> ../did; ! grep -q \"no restart $h\" a"
            :reversible? false :rollout {}}"#,
    );
    world.start().await;
    world
}

fn at(world: &World, host: &str) -> String {
    git(&world.path("srv").join(host), &["rev-parse", "HEAD"])
}
fn states(job: &Value) -> Vec<&str> {
    job["hosts"].as_array().unwrap().iter().map(|host| text(host, "state")).collect()
}
/// What was done, in order, but that what is prepared at once comes in no order.
fn did(world: &World) -> Vec<String> {
    let text = world.read("srv/did");
    world.save("srv/did", "");
    let (mut prepared, rest): (Vec<String>, Vec<String>) =
        text.lines().map(str::to_owned).partition(|line| line.starts_with("prepare"));
    assert!(text.starts_with(&prepared.iter().map(|line| format!("{line}\n")).collect::<String>()), "{text}");
    prepared.sort();
    [prepared, rest].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_prepared_and_then_migrated_for_before_any_is_touched() {
    let world = app().await;
    let old = at(&world, "web-1");
    let plan = world.call(&["deploy", "app", "--plan"]).await;
    assert!(plan.out.contains("the first runs `h=$(basename") && plan.out.contains("no host goes back"), "{plan:?}");
    let one = world.commit("app", &[("a", "one\n")]).to_string();
    let watched = world.call(&["deploy", "app", "--watch"]).await;
    assert_eq!(watched.code, Some(0), "{watched:?}");
    assert!(watched.err.contains("web-2 runs :prepare") && watched.err.contains(":migrate, on web-1"), "{watched:?}");
    let before = ["prepare web-1 one, beside old", "prepare web-2 one, beside old", "migrate web-1 one"];
    assert_eq!(did(&world), [&before[..], &["restart web-1 one", "restart web-2 one"]].concat());
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (one.clone(), one.clone()));
    assert!(!world.path("srv/web-1/.git/airplanes-next").exists());
    let log = world.whole_log(text(&world.job("app").await, "id"), "rollout/web-1").await;
    assert!(log.contains("   (in ") && log.contains("/.git/airplanes-next)"), "{log}");

    // One that can't be prepared: nothing is migrated or restarted anywhere.
    world.commit("app", &[("a", "prepare web-2\n")]);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("failed", vec!["skipped", "failed"]), "{job:#}");
    assert!(text(host(&job, "web-2"), "error").contains(":prepare on web-2 ended with exit code 1"), "{job:#}");
    assert_eq!(did(&world).len(), 2);
    // A migration that fails: nothing is restarted.
    world.commit("app", &[("a", "no migrate\n")]);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(text(&job, "state"), "failed", "{job:#}");
    let reason = text(&job, "reason");
    assert!(reason.contains(":migrate on web-1 ended with exit code 1") && reason.contains("Nothing was restarted"));
    assert_eq!(did(&world).last().map(String::as_str), Some("migrate web-1 no migrate"));
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (one.clone(), one.clone()));

    // Nor one that ends as if it had run for hours.
    world.commit("app", &[("a", "timeless\n")]);
    let job = world.deploy_to_the_end("app").await;
    assert!(text(&job, "reason").contains(":migrate on web-1 ended with exit code 124"), "{job:#}");
    did(&world);

    // A restart that fails after one: the hosts stay, and say why.
    let two = world.commit("app", &[("a", "no restart web-2\n")]).to_string();
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("partial", vec!["done", "failed"]), "{job:#}");
    assert!(text(&job, "reason").contains("since :migrate has run and is not :reversible?"), "{job:#}");
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (two.clone(), two.clone()));
    did(&world);
    // Who takes it back by hand is told, and has to say that it is well.
    let plan = world.call(&["rollback", "app", "--plan"]).await;
    assert!(plan.out.contains("note: :migrate has run since ") && plan.out.contains(text(&job, "id")), "{plan:?}");
    let refused = world.call(&["rollback", "app"]).await;
    assert_eq!(
        (refused.code, refused.err.contains("what it changed is not taken back")),
        (Some(2), true),
        "{refused:?}"
    );
    let (status, unconfirmed) = world.post("/apps/app/rollback").await;
    let error = &unconfirmed["error"];
    assert_eq!((status, text(error, "code")), (409, "unconfirmed"), "{unconfirmed:#}");
    assert!(text(error, "message").contains("what it changed is not taken back"), "{unconfirmed:#}");
    assert!(text(error, "hint").contains("yes=true"), "{unconfirmed:#}");
    let back = world.call(&["rollback", "app", "--yes", "--watch"]).await;
    assert_eq!((back.code, at(&world, "web-1"), at(&world, "web-2")), (Some(0), one.clone(), one.clone()), "{back:?}");
    assert_eq!(did(&world), ["restart web-1 one", "restart web-2 one"]);

    // With one that does no harm to what ran before they go back by themselves.
    world.edit("deploy.edn", ":reversible? false", ":reversible? true");
    let plan = async || {
        let plan = world.call(&["deploy", "app", "--plan"]).await;
        (!plan.out.contains("no host goes back")).then_some(())
    };
    world.until("the edit is in force", plan).await;
    world.commit("app", &[("n", "1")]);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("rolled-back", vec!["rolled-back"; 2]), "{job:#}");
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (one.clone(), one));
    assert_ne!(old, two);
}

/// Until something was done.
async fn until_done(world: &World, what: &str) {
    let done = async || world.read("srv/did").contains(what).then_some(());
    world.until(what, done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_ended_by_nobody_but_itself_and_its_host() {
    let mut world = app().await;
    // The daemon is killed, and then told to end: it does not wait, and the next one looks again.
    world.save("srv/gate", "");
    world.save("srv/did", "");
    world.commit("app", &[("a", "one\n")]);
    let id = world.deploy("app").await;
    until_done(&world, "migrate web-1 one").await;
    world.kill();
    world.start().await;
    let looked = async || {
        let log = world.whole_log(&id, "rollout").await;
        log.contains("looking what became of :migrate").then_some(())
    };
    world.until("the next daemon looks", looked).await;
    let asked = std::time::Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(asked.elapsed() < std::time::Duration::from_secs(15), "{:?}", asked.elapsed());
    std::fs::remove_file(world.path("srv/gate")).unwrap();
    world.start().await;
    let job = world.ended(&id).await;
    assert_eq!(text(&job, "state"), "succeeded", "{job:#}\n{}", world.log());
    assert_eq!(world.read("srv/did").matches("migrate").count(), 1);
    assert!(world.whole_log(&id, "rollout/web-1").await.contains("moved"));

    // Canceled: it comes to its end, and the job says that it has run.
    world.save("srv/gate", "");
    world.commit("app", &[("a", "two\n")]);
    let id = world.deploy("app").await;
    until_done(&world, "migrate web-1 two").await;
    assert_eq!(world.post(&format!("/jobs/{id}/cancel")).await.0, 202);
    world.kill();
    world.start().await;
    std::fs::remove_file(world.path("srv/gate")).unwrap();
    let job = world.ended(&id).await;
    assert_eq!(text(&job, "state"), "canceled", "{job:#}");
    assert!(text(&job, "reason").contains(":migrate has run on web-1"), "{job:#}");

    // One of another job that goes on there, as where its host was lost: until its end nobody else prepares or migrates.
    let folder = world.path("srv/web-1/.git/airplanes-migration");
    let other = "1jq3m8x2k4a0c-000";
    std::fs::remove_file(folder.join("end")).unwrap();
    std::fs::write(folder.join("job"), format!("{other}\n")).unwrap();
    let mut goes_on = std::process::Command::new("flock")
        .arg(folder.join("lock"))
        .args(["sh", "-c", "read _"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let begun = async || (!pids(folder.join("lock").to_str().unwrap()).is_empty()).then_some(());
    world.until("it has begun", begun).await;
    world.save("srv/did", "");
    world.commit("app", &[("a", "later\n")]);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(text(&job, "state"), "failed", "{job:#}");
    let said = format!("the :migrate of job {other} still runs on web-1");
    assert!(text(host(&job, "web-1"), "error").contains(&said), "{job:#}");
    assert_eq!(world.read("srv/did"), "prepare web-2 later, beside one\n");
    drop(goes_on.stdin.take());
    goes_on.wait().unwrap();

    // The host goes down with it: nobody can say how far it came.
    world.save("srv/gate", "");
    world.save("srv/did", "");
    world.commit("app", &[("a", "three\n")]);
    let id = world.deploy("app").await;
    until_done(&world, "migrate web-1 three").await;
    world.host_down(1);
    for pid in pids(world.path("srv/gate").to_str().unwrap()) {
        let ended = std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
        assert!(ended.success(), "{pid}");
    }
    world.host_up(1);
    let job = world.ended(&id).await;
    assert_eq!(text(&job, "state"), "failed", "{job:#}");
    let unseen = ":migrate was begun on web-1 and nobody saw its end: it may have run";
    assert!(text(&job, "reason").contains(unseen), "{job:#}");
    assert!(!world.read("srv/did").contains("restart"));
    std::fs::remove_file(world.path("srv/gate")).unwrap();
    // The next job runs it again.
    assert_eq!(text(&world.deploy_to_the_end("app").await, "state"), "succeeded");

    // Who was away is prepared when it is back, and migrates for nobody.
    world.host_down(2);
    let sha = world.commit("app", &[("a", "four\n")]).to_string();
    assert_eq!(text(&world.deploy_to_the_end("app").await, "state"), "partial");
    world.save("srv/did", "");
    world.host_up(2);
    world.edit("config.edn", ":poll false", ":poll \"5s\"");
    until_done(&world, "restart web-2 four").await;
    world.until("web-2 is live", async || (at(&world, "web-2") == sha).then_some(())).await;
    assert_eq!(world.read("srv/did"), "prepare web-2 four, beside three\nrestart web-2 four\n");
}

/// Wherever it is killed: the next daemon asks the host whether the migration has begun, and how it ended.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_a_migration_never_runs_twice_in_a_job() {
    let mut world = app().await;
    let points = [
        r#""entry":"host-prepared":before"#,
        r#""entry":"migrating":before"#,
        r#""entry":"migrating":after"#,
        r#""entry":"migrated":before"#,
        r#""entry":"migrated":after"#,
    ];
    for (n, point) in points.into_iter().enumerate() {
        world.kill();
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), point.to_owned())];
        world.start().await;
        world.save("srv/did", "");
        let sha = world.commit("app", &[("a", &format!("good {n}\n"))]).to_string();
        let id = world.deploy("app").await;
        world.dies().await;
        world.start().await;
        let job = world.ended(&id).await;
        let done = world.read("srv/did");
        assert_eq!(text(&job, "state"), "succeeded", "{point}: {job:#}");
        assert_eq!((at(&world, "web-1"), done.matches("restart").count()), (sha, 2), "{point}: {done}");
        assert_eq!(done.matches("migrate").count(), 1, "{point}: {done}");
    }
    // What can't be made here for one host, its log, is that host's end and no other's.
    world.kill();
    world.edit("deploy.edn", ":rollout {}", ":rollout {:max-failures 1}");
    world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), r#""entry":"started":after"#.to_owned())];
    world.start().await;
    let sha = world.commit("app", &[("a", "no log\n")]).to_string();
    let id = world.deploy("app").await;
    world.dies().await;
    std::fs::create_dir_all(world.state(&format!("logs/{id}/rollout/web-1.1"))).unwrap();
    world.start().await;
    let job = world.ended(&id).await;
    assert_eq!((text(&job, "state"), states(&job)), ("partial", vec!["failed", "done"]), "{job:#}");
    assert!(text(host(&job, "web-1"), "error").contains("rollout/web-1.1"), "{job:#}");
    assert_eq!(at(&world, "web-2"), sha);
}
