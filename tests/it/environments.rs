//! Environments on real sshds: what is built goes to the automatic ones in order, and to the others what a person promotes.

use serde_json::Value;

use super::support::acts::{host, noise, text};
use super::support::world::{World, git};

/// A daemon with four hosts, two of them staging and two production, and an app on all. A restart fails where the app's
/// file `sick` names the host; a build does not end while there is a file `gate`, and fails where there is one `broken`.
async fn app(staging: &str, production: &str) -> World {
    let mut world = World::new(4);
    world.commit("app", &[("deps.edn", "{}"), ("sick", "nobody\n")]);
    world.clone_to_hosts("app");
    world.deploy_edn(&format!(
        r#":app {{:git-url "{{repo:app}}" :working-directory "{{dir}}/srv/{{host}}" :build "echo built >> {{dir}}/builds; while test -e {{dir}}/gate; do sleep 0.05; done; ! test -e {{dir}}/broken"
            :restart "h=$(basename $PWD); echo $h >> ../turns; ! grep -q \"^$h$\" sick"
            :environments {{:staging {{:hosts [:web-1 :web-2] {staging}}} :production {{:hosts [:web-3 :web-4] {production}}}}}}}"#
    ));
    world.start().await;
    world
}

fn at(world: &World, host: &str) -> String {
    git(&world.path("srv").join(host), &["rev-parse", "HEAD"])
}
/// What each of the four hosts has.
fn all(world: &World) -> Vec<String> {
    (1..=4).map(|n| at(world, &format!("web-{n}"))).collect()
}
fn two_and_two(staging: &str, production: &str) -> Vec<String> {
    [staging, staging, production, production].map(str::to_owned).to_vec()
}
fn states(job: &Value) -> Vec<&str> {
    job["hosts"].as_array().unwrap().iter().map(|host| text(host, "state")).collect()
}
fn holds(holds: &Value) -> usize {
    holds["holds"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn production_gets_what_staging_runs_when_a_person_says_so_and_goes_back_alone() {
    let mut world = app(":rollout {}", ":promote :manual :rollout {:batches [1 \"100%\"]}").await;
    let old = at(&world, "web-3");
    let first = world.commit("app", &[("a", "1")]).to_string();
    let plan = world.call(&["deploy", "app", "--plan"]).await;
    assert!(
        plan.out.starts_with("batch 1 of 2 (staging): web-1\nbatch 2 of 2 (staging): web-2\nstaging: "),
        "{plan:?}"
    );
    let built = world.deploy_to_the_end("app").await;
    assert_eq!((text(&built, "state"), states(&built)), ("succeeded", vec!["done"; 2]), "{built:#}");
    assert_eq!((&built["environments"], all(&world)), (&serde_json::json!(["staging"]), two_and_two(&first, &old)));

    // Told, asked, done: the same commit, and nothing is built.
    let plan = world.call(&["promote", "app", "--plan"]).await;
    let told = format!("app {} goes from staging to production; job {} built it\n", &first[..10], text(&built, "id"));
    assert!(plan.out.starts_with(&told) && plan.out.contains("batch 1 of 2 (production): web-3\n"), "{plan:?}");
    let asked = world.call(&["promote", "app"]).await;
    assert_eq!((asked.code, at(&world, "web-3")), (Some(2), old.clone()), "nobody is there to ask: {asked:?}");
    assert!(asked.err.contains("airplanes promote app --to production --yes"), "{asked:?}");
    let done = world.call(&["promote", "app", "--yes", "--watch"]).await;
    assert_eq!((done.code, all(&world)), (Some(0), two_and_two(&first, &first)), "{done:?}");
    let job = world.job("app").await;
    assert_eq!((text(&job["causes"][0], "why"), text(&job, "of")), ("promote", text(&built, "id")), "{job:#}");
    assert_eq!((job["steps"].as_array().unwrap().len(), world.read("builds").lines().count()), (1, 1), "{job:#}");
    assert!(text(&job, "reason").ends_with("promoted from staging to production"), "{job:#}");
    let explained = world.call(&["explain", text(&job, "id")]).await;
    assert!(explained.out.contains("from staging to production"), "{explained:?}");
    // Once more: nothing is restarted, or migrated.
    let turns = world.read("srv/turns");
    let again = world.call(&["promote", "app", "--yes", "--watch"]).await;
    let job = world.job("app").await;
    assert_eq!((again.code, text(&job, "state"), world.read("srv/turns")), (Some(0), "unchanged", turns), "{job:#}");

    // What staging runs has to be one commit that is well, everywhere there.
    let second = world.push("app", &[("sick", "web-4\n")]).await.to_string();
    assert_eq!(text(&world.job("app").await, "state"), "succeeded");
    git(&world.path("srv/web-2"), &["checkout", "-q", &first]);
    let refused = world.call(&["promote", "app", "--yes"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("staging of app is not one commit that is well"), "{refused:?}");
    git(&world.path("srv/web-2"), &["checkout", "-q", &second]);
    world.save("srv/web-1/a", "by hand");
    let refused = world.call(&["promote", "app", "--plan"]).await;
    assert!(refused.err.contains("web-1: changed-files: a"), "{refused:?}");
    git(&world.path("srv/web-1"), &["checkout", "-q", "a"]);
    // Nor does a person's own commit there become ours by a look.
    world.save("srv/web-1/a", "by hand");
    git(&world.path("srv/web-1"), &["-c", "user.name=ada", "-c", "user.email=ada@localhost", "commit", "-qam", "mend"]);
    let marker = world.read("srv/web-1/.git/airplanes.json");
    let refused = world.call(&["promote", "app", "--plan"]).await;
    assert!(refused.err.contains("somebody has moved it"), "{refused:?}");
    assert_eq!(world.read("srv/web-1/.git/airplanes.json"), marker);
    git(&world.path("srv/web-1"), &["reset", "-q", "--hard", &second]);
    // What was shown is done, or nothing.
    let (status, said) = world.post(&format!("/apps/app/promote?commit={first}")).await;
    assert_eq!((status, at(&world, "web-3")), (409, first.clone()), "{said:#}");
    let (status, said) = world.post(&format!("/apps/app/rollback?env=staging&commit={first}&from={old}")).await;
    assert_eq!((status, at(&world, "web-1")), (409, second.clone()), "{said:#}");

    // A failure in production takes production back, and nothing keeps staging from what comes.
    let failed = world.call(&["promote", "app", "--yes", "--watch"]).await;
    assert_eq!((failed.code, all(&world)), (Some(4), two_and_two(&second, &first)), "{failed:?}");
    assert_eq!(holds(&world.get("/holds").await), 0, "only a person brings anything there again");
    let plan = world.call(&["promote", "app", "--plan", "--json"]).await;
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    assert!(plan["notes"][0].as_str().unwrap().starts_with("it was taken back from production before"), "{plan:#}");
    assert_eq!((text(&plan, "commit"), text(&plan, "live")), (&*second, &*first), "{plan:#}");

    // Views tell one from the other; two commits in two environments are no drift.
    let drift = world.call(&["drift", "app"]).await;
    assert_eq!(drift.code, Some(0), "{drift:?}");
    assert!(drift.out.contains("web-2 (staging)") && drift.out.contains("web-3 (production)"), "{drift:?}");
    let apps = world.call(&["apps"]).await;
    let line =
        format!("staging: web-1 web-2 at {}; production (by promote): web-3 web-4 at {}", &second[..10], &first[..10]);
    assert!(apps.out.contains(&line), "{apps:?}");
    let lacks = world.call(&["missing", &second]).await;
    assert!(
        lacks.out.contains("web-3 web-4 (production)") && lacks.out.contains("airplanes promote app --to production"),
        "{lacks:?}"
    );
    let jobs = world.call(&["jobs"]).await;
    assert!(jobs.out.contains("app (production)") && jobs.out.contains("app (staging)"), "{jobs:?}");

    // Back by hand, of one of them.
    let which = world.call(&["rollback", "app"]).await;
    assert!(which.err.contains("app has several environments: say which, --env staging or production"), "{which:?}");
    let none = world.call(&["rollback", "app", "--env", "prod"]).await;
    assert!(none.err.contains("app has no environment `prod`; it has staging or production"), "{none:?}");
    let back = world.call(&["rollback", "app", "--env", "staging", "--watch"]).await;
    assert_eq!((back.code, all(&world)), (Some(0), two_and_two(&first, &first)), "{back:?}");
    assert_eq!(holds(&world.get("/holds").await), 1, "no bump brings it to staging again");
    let no_way = world.call(&["rollback", "app", "--env", "production"]).await;
    assert!(no_way.err.contains("production of app has had no other commit that did well"), "{no_way:?}");

    // One that is away gets what production runs, whatever staging runs by then.
    let third = world.push("app", &[("sick", "nobody\n"), ("a", "3")]).await.to_string();
    // The end of the hold may ask for it once more.
    let jobs = world.settled().await;
    let of_it: Vec<&str> = jobs.iter().filter(|job| job["sha"] == *third).map(|job| text(job, "state")).collect();
    assert_eq!(of_it.iter().filter(|state| **state != "unchanged").collect::<Vec<_>>(), [&"succeeded"], "{jobs:#?}");
    world.host_down(4);
    let partial = world.call(&["promote", "app", "--yes", "--watch"]).await;
    assert_eq!(
        (partial.code, at(&world, "web-3"), at(&world, "web-4")),
        (Some(5), third.clone(), first),
        "{partial:?}"
    );
    let fourth = world.push("app", &[("a", "4")]).await.to_string();
    assert_eq!(text(&world.job("app").await, "state"), "succeeded");
    world.host_up(4);
    world.edit("config.edn", ":poll false", ":poll \"5s\"");
    let caught = async || (at(&world, "web-4") == third).then_some(());
    world.until("web-4 has caught up", caught).await;
    let job = world.job("app").await;
    assert_eq!((text(&job["causes"][0], "why"), text(host(&job, "web-4"), "environment")), ("catch-up", "production"));
    assert_eq!(all(&world), two_and_two(&fourth, &third));

    // What brought production there is kept, however little is, and under another name it is there still.
    world.edit("config.edn", ":disk {", ":keep {:jobs 1 :days 90} :disk {");
    let few = async || {
        world.gc(&[]).await;
        (world.get("/jobs").await["jobs"].as_array()?.len() < 8).then_some(())
    };
    world.until("old jobs are gone", few).await;
    let lacks = world.call(&["missing", &fourth]).await;
    assert!(lacks.out.contains("web-3 (production)") && lacks.out.contains("web-4 (production)"), "{lacks:?}");
    let back = world.call(&["rollback", "app", "--env", "production", "--plan"]).await;
    assert!(back.out.starts_with("production of app goes back from "), "{back:?}");
    world.edit("deploy.edn", ":production", ":prod");
    let line = format!("prod (by promote): web-3 web-4 at {}", &third[..10]);
    let renamed = async || world.call(&["apps"]).await.out.contains(&line).then_some(());
    world.until("production has another name", renamed).await;
    let drift = world.call(&["drift", "app"]).await;
    assert_eq!(drift.code, Some(0), "{drift:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic_environments_follow_each_other_and_the_next_begins_only_if_the_one_before_is_well() {
    let mut world = app(":rollout {:batches [\"100%\"]}", ":rollout {}").await;
    let old = at(&world, "web-1");
    let good = world.commit("app", &[("a", "1")]).to_string();
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), all(&world)), ("succeeded", two_and_two(&good, &good)), "{job:#}");
    let turns = world.read("srv/turns");
    assert!(turns.ends_with("web-3\nweb-4\n") && turns.lines().count() == 4, "{turns}");
    let log = world.whole_log(text(&job, "id"), "rollout").await;
    assert!(log.contains("to staging\n") && log.contains("to production\n"), "{log}");

    // One that is sick in the first keeps the second from it.
    world.commit("app", &[("sick", "web-2\n")]);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), all(&world)), ("rolled-back", two_and_two(&good, &good)), "{job:#}");
    assert_eq!(states(&job)[2..], ["skipped", "skipped"], "{job:#}");
    assert_eq!(text(host(&job, "web-3"), "error"), "not begun, since web-2 failed");
    // One in the second takes all of them back: it is one rollout of one commit.
    world.commit("app", &[("sick", "web-4\n")]);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), all(&world)), ("rolled-back", two_and_two(&good, &good)), "{job:#}");
    assert_eq!(holds(&world.get("/holds").await), 1);

    // Where none of the first could be reached, nobody has seen it run: the second waits for the next one.
    world.host_down(1);
    world.host_down(2);
    let head = world.commit("app", &[("sick", "nobody\n")]).to_string();
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), at(&world, "web-3")), ("failed", good), "{job:#}");
    assert_eq!(text(host(&job, "web-3"), "error"), "not begun, since no host of staging has got it");
    world.host_up(1);
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(
        (text(&job, "state"), at(&world, "web-1"), at(&world, "web-4")),
        ("partial", head.clone(), head.clone())
    );
    assert_ne!(old, head);
}

/// The newest job, once it waits; one that brings this commit.
async fn waits(world: &World, commit: &str) -> Value {
    let look = async || {
        let jobs = world.get("/jobs?limit=1&app=app").await;
        let job = jobs["jobs"][0].clone();
        (job["state"] == "waiting" && job["sha"] == commit).then_some(job)
    };
    world.until(&format!("the job of {commit} waits"), look).await
}

async fn plan_says(world: &World, words: &str) -> Option<()> {
    world.call(&["deploy", "app", "--plan"]).await.out.contains(words).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_waits_for_its_window_and_what_a_person_asks_for_does_not() {
    // It opens with the first minute that is at least so many seconds away.
    let after = |seconds: i64| {
        let now = jiff::Timestamp::now().as_second();
        let opens = jiff::Timestamp::from_second((now + seconds).div_euclid(60) * 60 + 60).unwrap();
        (opens, format!("{}-{}", opens.strftime("%H:%M"), (opens + jiff::Span::new().hours(2)).strftime("%H:%M")))
    };
    let (opens, closed) = after(3600);
    let hours = &closed;
    let window = format!(":rollout {{}} :window {{:hours \"{hours}\" :tz \"UTC\"}}");
    let mut world = app("", &window).await;
    let old = at(&world, "web-3");
    let first = world.push("app", &[("a", "1")]).await.to_string();
    let one = waits(&world, &first).await;
    let words = format!("for the window of production, which opens at {}", opens.strftime("%Y-%m-%d %H:%MZ"));
    assert_eq!((text(&one, "reason"), all(&world)), (&*words, two_and_two(&first, &old)), "{one:#}");
    let status = world.call(&["status"]).await;
    assert!(status.out.contains(&words) && status.out.contains("1 waiting"), "{status:?}");

    // Killed, and started again: it waits on. What comes later is not held up, and takes its place.
    world.kill();
    world.start().await;
    let again = waits(&world, &first).await;
    assert_eq!((text(&again, "id"), text(&again, "reason")), (text(&one, "id"), &*words));
    let second = world.push("app", &[("a", "2")]).await.to_string();
    let two = waits(&world, &second).await;
    assert_ne!(text(&two, "id"), text(&one, "id"));
    let over = world.ended(text(&one, "id")).await;
    assert_eq!(
        (text(&over, "state"), states(&over)),
        ("skipped", vec!["done", "done", "skipped", "skipped"]),
        "{over:#}"
    );
    assert!(text(&over, "reason").contains("came while it waited for its window, and took its place"), "{over:#}");
    assert_eq!(all(&world), two_and_two(&second, &old));
    let (opens, hours) = after(1);
    world.edit("deploy.edn", &closed, &hours);
    let opened =
        async || (!world.get(&format!("/jobs/{}", text(&two, "id"))).await["finished_at"].is_null()).then_some(());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(150);
    while opened().await.is_none() {
        assert!(std::time::Instant::now() < deadline, "it does not open");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(jiff::Timestamp::now() >= opens, "it began too early");
    let two = world.ended(text(&two, "id")).await;
    assert_eq!(
        (text(&two, "state"), states(&two), all(&world)),
        ("succeeded", vec!["done"; 4], two_and_two(&second, &second)),
        "{two:#}"
    );

    // A window that stays closed.
    let day = (opens + jiff::Span::new().hours(72)).strftime("%a").to_string().to_lowercase();
    world.edit("deploy.edn", &format!(":hours \"{hours}\""), &format!(":days [:{day}]"));
    let edited = async || world.call(&["apps"]).await.out.contains(&second[..10]).then_some(());
    world.until("the apps are read", edited).await;
    let words = format!("begins in its window, {day} 00:00-24:00 UTC");
    world.until("the edit is in force", async || plan_says(&world, &words).await).await;
    let third = world.push("app", &[("a", "3")]).await.to_string();
    let three = waits(&world, &third).await;
    let asked = world.call(&["deploy", "app", "--watch"]).await;
    assert_eq!((asked.code, all(&world)), (Some(0), two_and_two(&third, &third)), "{asked:?}");
    assert!(asked.err.contains("what a person asks for goes at once"), "{asked:?}");
    assert_eq!(text(&world.ended(text(&three, "id")).await, "state"), "skipped");
    let fourth = world.push("app", &[("a", "4")]).await.to_string();
    let four = waits(&world, &fourth).await;
    let promoted = world.call(&["promote", "app", "--watch"]).await;
    assert_eq!((promoted.code, all(&world)), (Some(0), two_and_two(&fourth, &fourth)), "{promoted:?}");
    assert_eq!(text(&world.ended(text(&four, "id")).await, "state"), "skipped");
    // Taken back from staging, or canceled: it never gets to production.
    let fifth = world.push("app", &[("a", "5")]).await.to_string();
    let five = waits(&world, &fifth).await;
    assert_eq!(all(&world), two_and_two(&fifth, &fourth));
    let back = world.call(&["rollback", "app", "--env", "staging", "--watch"]).await;
    assert_eq!((back.code, all(&world)), (Some(0), two_and_two(&fourth, &fourth)), "{back:?}");
    let over = world.ended(text(&five, "id")).await;
    assert!(text(&over, "reason").starts_with("canceled by operator, who rolled app back"), "{over:#}");
    let sixth = world.push("app", &[("a", "6")]).await.to_string();
    let six = waits(&world, &sixth).await;
    let canceled = world.call(&["cancel", text(&six, "id")]).await;
    assert_eq!(canceled.code, Some(0), "{canceled:?}");
    assert_eq!(text(&world.ended(text(&six, "id")).await, "state"), "partial");
    assert_eq!(at(&world, "web-3"), fourth);
    // Who waits sees that the window was opened by an edit.
    let seventh = world.push("app", &[("a", "7")]).await.to_string();
    let seven = waits(&world, &seventh).await;
    world.edit("deploy.edn", &format!(":days [:{day}]"), ":days [:mon :tue :wed :thu :fri :sat :sun]");
    let over = world.ended(text(&seven, "id")).await;
    assert_eq!((text(&over, "state"), all(&world)), ("succeeded", two_and_two(&seventh, &seventh)), "{over:#}");

    // While one waits its hosts that were away catch up, and what came to none of those that wait takes no place.
    world.edit("deploy.edn", ":days [:mon :tue :wed :thu :fri :sat :sun]", &format!(":days [:{day}]"));
    world.until("the window is closed again", async || plan_says(&world, &words).await).await;
    world.host_down(2);
    let eighth = world.push("app", &[("a", "8")]).await.to_string();
    let eight = waits(&world, &eighth).await;
    world.host_up(2);
    world.edit("config.edn", ":poll false", ":poll \"5s\"");
    world.until("web-2 has caught up", async || (at(&world, "web-2") == eighth).then_some(())).await;
    world.kill();
    world.edit("config.edn", ":poll \"5s\"", ":poll false");
    world.start().await;
    world.host_down(3);
    world.host_down(4);
    let ninth = world.commit("app", &[("a", "9")]).to_string();
    let nine = world.deploy_to_the_end("app").await;
    assert_eq!((text(&nine, "state"), all(&world)), ("partial", two_and_two(&ninth, &seventh)), "{nine:#}");
    world.host_up(3);
    world.host_up(4);
    // The window is that of deploy.edn as it is now.
    let window = format!(":window {{:days [:{day}] :tz \"UTC\"}}");
    world.edit("deploy.edn", &window, "");
    let eight = world.ended(text(&eight, "id")).await;
    assert_eq!((text(&eight, "state"), all(&world)), ("partial", two_and_two(&ninth, &eighth)), "{eight:#}");
    world.edit("deploy.edn", ":web-4] :rollout {}", &format!(":web-4] :rollout {{}} {window}"));
    world.until("the window is there again", async || plan_says(&world, &words).await).await;
    let tenth = world.push("app", &[("a", "10")]).await.to_string();
    let ten = waits(&world, &tenth).await;
    world.edit("deploy.edn", "[:web-3 :web-4]", "[:web-3]");
    let ten = world.ended(text(&ten, "id")).await;
    assert!(text(&ten, "reason").contains("web-4 is not where or what it was"), "{ten:#}");
    assert_eq!((text(&ten, "state"), all(&world)), ("skipped", two_and_two(&tenth, &eighth)), "{ten:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_had_to_wait_is_of_no_use_once_staging_runs_something_else() {
    let mut world = app("", ":promote :manual :rollout {}").await;
    let old = at(&world, "web-3");
    let first = world.push("app", &[("a", "1")]).await.to_string();
    assert_eq!(text(&world.job("app").await, "state"), "succeeded");
    // Behind a job that brings staging another commit, and behind one that does not.
    let behind = async |n: &str| {
        world.save("gate", "");
        let commit = world.commit("app", &[("a", n)]).to_string();
        let building = world.deploy("app").await;
        world.in_step("app", "build").await;
        let asked = world.call(&["promote", "app", "--yes"]).await;
        assert_eq!(asked.code, Some(0), "{asked:?}");
        let promotion = world.get("/jobs?limit=1&app=app").await["jobs"][0].clone();
        assert_eq!((text(&promotion, "state"), text(&promotion["causes"][0], "why")), ("queued", "promote"));
        std::fs::remove_file(world.path("gate")).unwrap();
        (commit, world.ended(&building).await, world.ended(text(&promotion, "id")).await)
    };
    let (second, job, promotion) = behind("2").await;
    assert_eq!(text(&job, "state"), "succeeded", "{job:#}");
    assert_eq!((text(&promotion, "state"), all(&world)), ("skipped", two_and_two(&second, &old)), "{promotion:#}");
    let said = format!("production was to get {}, and staging runs {} by now", &first[..10], &second[..10]);
    assert!(text(&promotion, "reason").starts_with(&said), "{promotion:#}");
    world.save("broken", "");
    let (_, job, promotion) = behind("3").await;
    assert_eq!(text(&job, "state"), "failed", "{job:#}");
    assert_eq!((text(&promotion, "state"), all(&world)), ("succeeded", two_and_two(&second, &second)), "{promotion:#}");
    std::fs::remove_file(world.path("broken")).unwrap();

    // One that is lost in its turn gets what the other got, and staging goes its way meanwhile. It is more than goes along
    // with a call.
    let fourth = world.push("app", &[("a", &noise(200_000))]).await.to_string();
    assert_eq!(text(&world.job("app").await, "state"), "succeeded");
    let gate = format!(
        "touch {0}/reached; while [ -e {0}/gate ]; do sleep 0.05; done; git-upload-pack",
        world.path("srv").display()
    );
    git(&world.path("srv/web-4"), &["config", "remote.origin.uploadpack", &gate]);
    world.save("srv/gate", "");
    let asked = world.call(&["promote", "app", "--yes"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    world.until("web-4 fetches", async || world.path("srv/reached").exists().then_some(())).await;
    world.host_down(4);
    std::fs::remove_file(world.path("srv/gate")).unwrap();
    let job = world.job("app").await;
    assert_eq!((text(&job, "state"), states(&job)), ("partial", vec!["done", "unreachable"]), "{job:#}");
    let fifth = world.push("app", &[("a", "5")]).await.to_string();
    assert_eq!(text(&world.job("app").await, "state"), "succeeded");
    world.host_up(4);
    world.edit("config.edn", ":poll false", ":poll \"5s\"");
    world.until("web-4 has caught up", async || (at(&world, "web-4") == fourth).then_some(())).await;
    assert_eq!(all(&world), two_and_two(&fifth, &fourth));
    world.job("app").await;
    // A hold keeps it from production, too.
    assert_eq!(world.call(&["hold", "app", "--reason", "the fair"]).await.code, Some(0));
    let held = world.call(&["promote", "app", "--yes"]).await;
    assert!(held.code == Some(6) && held.err.contains("the fair"), "{held:?}");
    assert_eq!(all(&world), two_and_two(&fifth, &fourth));
}

/// Killed in front of and behind each entry of a promotion.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_in_a_promotion_the_next_start_ends_it() {
    let mut world = app("", ":promote :manual :rollout {}").await;
    let entries = [
        ("\"because\":\"promote\"", false),
        ("\"entry\":\"host-started\",\"host\":\"web-3\"", false),
        ("\"entry\":\"host-restarting\",\"host\":\"web-4\"", false),
        ("\"entry\":\"rolling-back\"", true),
        ("\"entry\":\"host-returning\",\"host\":\"web-3\"", true),
    ];
    let mut live = at(&world, "web-3");
    for (n, (entry, sick)) in entries.into_iter().enumerate() {
        let side = if n % 2 == 0 { "after" } else { "before" };
        let head = world.commit("app", &[("sick", if sick { "web-4\n" } else { "nobody\n" }), ("n", &n.to_string())]);
        assert_eq!(text(&world.deploy_to_the_end("app").await, "state"), "succeeded", "{entry}");
        world.kill();
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), format!("{entry}:{side}"))];
        world.start().await;
        let promoted = world.call(&["promote", "app", "--yes", "--watch"]).await;
        assert_eq!(promoted.code, Some(7), "the daemon is gone: {promoted:?}");
        world.dies().await;
        world.start().await;
        let is_planned = async || {
            let newest = world.get("/jobs?limit=1").await;
            (newest["jobs"][0]["causes"][0]["why"] == "promote").then_some(())
        };
        world.until("the promotion's job", is_planned).await;
        let job = world.job("app").await;
        let state = if sick { "rolled-back" } else { "succeeded" };
        if !sick {
            live = head.to_string();
        }
        assert_eq!(
            (text(&job, "state"), all(&world)),
            (state, two_and_two(&head.to_string(), &live)),
            "{entry}: {job:#}"
        );
    }
}
