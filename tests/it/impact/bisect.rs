//! `:bisect?` beside what else an app may say, and its end where it would take too long.

use serde_json::Value;

use super::super::support::acts::text;
use super::{CHECK, ForgeApi, Kind, commits, searching, with_library};

#[tokio::test(flavor = "multi_thread")]
async fn a_search_ends_after_twelve_builds_and_blames_only_whom_it_has_found() {
    let (world, low) = with_library("low");
    let lib = world.commit("lib", &[("api", "old\n")]);
    let deps = world.deps(&[("low", low), ("lib", lib)]);
    let world = searching(world, &deps, "old\n").await;
    let apis = |bad: usize| -> Vec<String> {
        (0..64).map(|n| if n < bad { "old".to_owned() } else { "new".to_owned() }).collect()
    };
    let (low, lib) = (commits(&world, "low", &apis(40)), commits(&world, "lib", &apis(50)));
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    // The job's own, twelve to search, and the one that is published.
    assert_eq!(world.read("built").lines().count(), 1 + 12 + 1, "{}", world.log());
    let log = world.text(&format!("/jobs/{}/logs/build/test?attempt=1", text(&job, "id"))).await;
    assert!(log.contains("looked for it in 12 builds, which is as many as it may take"), "{log}");
    let narrowed = job["narrowed"].as_array().unwrap();
    let blamed: Vec<&Value> = narrowed.iter().filter(|narrowed| !narrowed["culprit"].is_null()).collect();
    assert_eq!((narrowed.len(), blamed.len()), (2, 1), "{job:#}");
    // The first that was searched is found to the commit; of the other it is known how far it may go.
    let found = if blamed[0]["lib"] == "acme/low" { &low[40] } else { &lib[50] };
    assert_eq!(blamed[0]["culprit"]["sha"], found.as_str(), "{job:#}");
    let deps = world.file("app", "deps.edn");
    assert!(narrowed.iter().all(|narrowed| deps.contains(text(narrowed, "good"))), "{deps} {job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_in_a_folder_offers_the_last_good_commit_by_pull_request_and_its_owner_hears_whose_the_bad_one_is() {
    let (mut world, before) = with_library("lib");
    world.by_file = false;
    let api = ForgeApi::start(Kind::Gitea, world.path("repos")).await;
    let told = world.path("told").display().to_string();
    world.config =
        format!("{} :notify [{{:command [\"sh\" \"-c\" \"cat >> $0; echo >> $0\" \"{told}\"]}}]", api.config());
    world.write_config();
    let deps = world.deps(&[("lib", before)]);
    world.commit("mono", &[("svc/deps.edn", &deps), ("svc/needs", "old\n"), ("x", "1")]);
    let test = "for api in \"$TMPDIR\"/*.api; do grep -q -w -f needs \"$api\" || exit 4; done";
    std::fs::write(world.path("check.sh"), format!("{CHECK}\nfetch lib\n{test}\n")).unwrap();
    world.deploy_edn(
        r#":app {:git-url "{repo:mono}" :directory "svc" :update? true :bisect? true :publish :pull-request
                 :build "sh {dir}/check.sh"}"#,
    );
    world.start().await;
    let read = async || (world.get("/repos").await["repos"].as_array()?.len() > 1).then_some(());
    world.until("all are read", read).await;
    let made = commits(&world, "lib", &["old", "old", "new", "new"].map(str::to_owned));
    let after = world.head("lib");
    let (status, _) = world.hook(airplanes::model::Forge::Github, "lib", Some(before), after, "push").await;
    assert_eq!(status, 202);
    let offered = async || api.pulls("mono").pop();
    let pull = world.until("a pull request", offered).await;
    let offers = world.in_bare("mono", &["show", &format!("{}:svc/deps.edn", pull.offers)]);
    assert!(offers.contains(&made[1]), "{offers}");
    assert!(pull.body.contains(&made[1]) && !pull.body.contains(&made[3]), "{}", pull.body);
    let merged = api.merge(pull.number, super::super::support::forge_pulls::How::Merge);
    let job = world.job("app").await;
    assert_eq!((job["state"].as_str(), job["sha"].as_str()), (Some("succeeded"), Some(merged.as_str())), "{job:#}");
    assert_eq!(job["narrowed"][0]["culprit"]["sha"], made[2], "{job:#}");
    let told = api.until("lib", &made[2], "airplanes/app", "failure").await;
    assert!(told.last().unwrap().description.contains("by Ann 2"), "{told:#?}");
    let notices = async || Some(world.read("told")).filter(|text| text.ends_with('\n'));
    let notices = world.until("the owner is told", notices).await;
    let notice: Value = serde_json::from_str(notices.lines().next().unwrap()).unwrap_or_else(|_| panic!("{notices}"));
    assert_eq!(notice["event"], "app.narrowed", "{notice:#}");
    let wanted = format!("app: acme/lib {} by Ann 2, \"change 2 of lib\", breaks the build", &made[2][..10]);
    assert!(text(&notice, "title").starts_with(&wanted), "{notice:#}");
    assert!(text(&notice["apps"][0], "error").contains("Ann 2"), "{notice:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_but_once_blames_nobody_and_is_done_again() {
    let (mut world, before) = with_library("lib");
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", before)]))]);
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :update? true :bisect? true
                 :build "echo >> {dir}/built; test $(wc -l < {dir}/built) != 1"}"#,
    );
    world.start().await;
    commits(&world, "lib", &["a", "b", "c"].map(str::to_owned));
    let job = world.deploy_to_the_end("app").await;
    assert_eq!((text(&job, "state"), job["narrowed"].as_array().map_or(0, Vec::len)), ("succeeded", 0), "{job:#}");
    assert!(world.file("app", "deps.edn").contains(&world.head("lib").to_string()), "{job:#}\n{}", world.log());
}
