//! `:auto-merge?`: what has to be so before a pull request of ours is merged by us.

use std::time::Duration;

use airplanes::config::{ApiKind, ForgeApi as Forge};
use airplanes::forge::api::Api;
use airplanes::model::{Branch, RepoUrl, Secret};
use airplanes::net::Http;

use super::super::support::acts::text;
use super::super::support::forge_api::{ForgeApi, KINDS, Kind, TOKEN};
use super::super::support::world::World;
use super::merges::{builds, live, offered, world};

/// Waits until the job's log says why its pull request is not merged.
async fn says(world: &World, id: &str, words: &str) {
    let said = async || world.whole_log(id, "publish").await.contains(words).then_some(());
    world.until(&format!("it says: {words}"), said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_merged_when_what_its_branch_demands_is_there_and_all_others_on_every_page_are_good() {
    let all = KINDS.map(|kind| async move {
        let (world, api) = world(kind, "", ":auto-merge? true").await;
        api.demand("lint-7");
        api.demand("ci");
        world.push("lib", &[("a", "1")]).await;
        let (pull, job) = offered(&world, &api, 1).await;
        let id = text(&job, "id").to_owned();
        let demands = if kind == Kind::Gitlab { "demands checks, and none" } else { "demands the check lint-7, which" };
        says(&world, &id, demands).await;
        // The last one of the last page.
        let mut checks: Vec<(String, &str)> = (0..130).map(|n| (format!("lint-{n}"), "success")).collect();
        checks.push(("ci".to_owned(), "pending"));
        api.checks(&pull.offers, checks);
        says(&world, &id, "its check ci is under way").await;
        assert_eq!(api.pulls("shop")[0].state, "open");
        api.check(&pull.offers, "ci", "success");
        let job = world.ended(&id).await;
        assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
        assert_eq!((api.pulls("shop")[0].state, live(&world)), ("merged", world.head("shop").to_string()));
        assert_eq!(builds(&world), 1);
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_what_stands_on_the_branch_may_be_merged_one_that_it_has_passed_is_made_again_on_it() {
    let all = KINDS.map(|kind| async move {
        let (world, api) = world(kind, "", ":auto-merge? true").await;
        api.demand("ci");
        api.be_strict();
        let bumped = world.push("lib", &[("a", "1")]).await.to_string();
        let (first, job) = offered(&world, &api, 1).await;
        world.commit("shop", &[("page", "1")]);
        // As long as a check is under way nothing is gained by another one.
        api.check(&first.offers, "ci", "pending");
        says(&world, text(&job, "id"), "its check ci is under way").await;
        api.check(&first.offers, "ci", "success");
        let (second, _) = offered(&world, &api, 2).await;
        assert_eq!(
            world.in_bare("shop", &["rev-parse", &format!("{}^", second.offers)]),
            world.head("shop").to_string()
        );
        api.check(&second.offers, "ci", "success");
        let job = world.ended(text(&job, "id")).await;
        assert_eq!(job["state"], "succeeded", "{kind:?}: {job:#}\n{}", world.log());
        let pulls = api.pulls("shop");
        assert_eq!(pulls.iter().map(|pull| pull.state).collect::<Vec<_>>(), ["closed", "merged"], "{kind:?}");
        assert!(pulls[0].comments[0].contains("merges only what stands on"), "{:?}", pulls[0].comments);
        assert!(live(&world) == world.head("shop").to_string() && world.file("shop", "deps.edn").contains(&bumped));
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_are_demanded_they_have_some_time_and_what_failed_or_is_held_is_not_merged() {
    let (world, api) = world(Kind::Github, ":checks-within \"4s\"", ":auto-merge? true").await;
    world.push("lib", &[("a", "1")]).await;
    let (pull, job) = offered(&world, &api, 1).await;
    let id = text(&job, "id").to_owned();
    says(&world, &id, "main demands no checks, so those that run by themselves have 4 s to begin").await;
    // One that was quick is no proof that it is the only one.
    api.check(&pull.offers, "cla", "success");
    api.check(&pull.offers, "ci", "failure");
    says(&world, &id, "its check ci failed").await;
    let reason = world.get(&format!("/jobs/{id}")).await["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("for pull request ") && reason.ends_with(", not merged yet: its check ci failed"),
        "{reason}"
    );
    let said = world.call(&["hold", "shop", "acme/lib", "--reason", "the sale"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    api.check(&pull.offers, "ci", "success");
    says(&world, &id, "acme/lib of shop is held by").await;
    assert_eq!((api.pulls("shop")[0].state, api.pulls("shop").len()), ("open", 1));
    // What makes up for the hold offers the same, and goes live.
    let said = world.call(&["hold", "shop", "acme/lib", "--release"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let merged = async || api.pulls("shop").iter().any(|pull| pull.state == "merged").then_some(());
    world.until("it is merged", merged).await;
    world.settled().await;
    assert_eq!(live(&world), world.head("shop").to_string());
    assert!(world.file("shop", "deps.edn").contains(&world.head("lib").to_string()));
}

/// `one` and `two` share what they offer, and `hand` beside them leaves merging to people.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_merged_for_an_app_that_shares_it_and_is_held_nor_along_with_one_for_an_app_that_people_merge() {
    let mut world = World::new(0);
    let api = ForgeApi::start(Kind::Github, world.path("repos")).await;
    api.demand("ci");
    world.config = api.config();
    world.write_config();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let deps = world.deps(&[("lib", lib)]);
    let names = ["one", "two", "hand"];
    let files = names.map(|name| format!("{name}/deps.edn"));
    world.commit("shop", &[(&files[0], deps.as_str()), (&files[1], &deps), (&files[2], &deps)]);
    let app = |name: &str| {
        let more = if name == "hand" { "" } else { ":auto-merge? true" };
        format!(
            ":{name} {{:git-url \"{{repo:shop}}\" :update? true :directory \"{name}\" :build \"true\"
              :publish :pull-request {more}}}"
        )
    };
    world.deploy_edn(&names.map(app).concat());
    world.start().await;
    world.push("lib", &[("a", "1")]).await;
    let waiting = async || {
        let jobs = world.get("/jobs").await;
        let jobs = jobs["jobs"].as_array()?.clone();
        let waits = |job: &serde_json::Value| job["state"] == "waiting" && job["sha"].is_string();
        (jobs.len() == 3 && jobs.iter().all(waits)).then_some(jobs)
    };
    let jobs = world.until("all three wait", waiting).await;
    let pulls = api.pulls("shop");
    let edited = |offers: &str| world.in_bare("shop", &["diff", "--name-only", "main", offers]);
    let by_hand = pulls.iter().find(|pull| edited(&pull.offers) == "hand/deps.edn").expect("one of its own");
    let shared = pulls.iter().find(|pull| pull.number != by_hand.number).unwrap();
    assert_eq!((pulls.len(), edited(&shared.offers).as_str()), (2, "one/deps.edn\ntwo/deps.edn"));

    // One of both has ended: its word counts all the same.
    let (owner, other) = if shared.body.contains("\none was built") { ("one", "two") } else { ("two", "one") };
    let id = |app: &str| text(jobs.iter().find(|job| job["app"] == app).unwrap(), "id").to_owned();
    assert_eq!(world.call(&["cancel", &id(other)]).await.code, Some(0));
    assert_eq!(world.ended(&id(other)).await["state"], "canceled");
    assert_eq!(world.call(&["hold", other, "acme/lib", "--reason", "breaks"]).await.code, Some(0));
    api.check(&shared.offers, "ci", "success");
    says(&world, &id(owner), &format!("acme/lib of {other} is held by")).await;
    assert!(api.pulls("shop").iter().all(|pull| pull.state == "open"), "{:#?}", api.pulls("shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_s_branch_of_the_same_name_is_not_taken_for_ours() {
    let world = World::new(0);
    world.commit("shop", &[("deps.edn", "{}")]);
    world.in_bare("shop", &["branch", "airplanes/1", "main"]);
    let http = Http::new().unwrap();
    let (head, base) = (Branch::new("airplanes/1").unwrap(), Branch::new("main").unwrap());
    for kind in KINDS {
        let host = ForgeApi::start(kind, world.path("repos")).await;
        let api_kind = match kind {
            Kind::Github => ApiKind::Github,
            Kind::Gitlab => ApiKind::Gitlab,
            Kind::Gitea => ApiKind::Gitea,
        };
        let token = Secret::new("#env T", TOKEN);
        let checks_within = Duration::from_secs(1);
        let forge = Forge { kind: api_kind, api: host.base(), token, statuses: true, checks_within };
        let repo = RepoUrl::new("https://git.acme.io/tmp/repos/shop").unwrap().id();
        let api = Api::of(&forge, &repo).unwrap();
        let found = async || {
            let reply = http.call(&api.find(&head, &base)).await.unwrap();
            api.found(&head, &base, &reply).unwrap().iter().map(|found| found.number).collect::<Vec<_>>()
        };
        host.open_from_fork("shop", "airplanes/1", "main");
        assert_eq!(found().await, [] as [u64; 0], "{kind:?}");
        let proposal = airplanes::forge::api::Proposal {
            head: head.clone(),
            base: base.clone(),
            title: "ours".to_owned(),
            body: String::new(),
        };
        let opened = api.seen(&http.call(&api.open(&proposal)).await.unwrap()).unwrap();
        host.open_from_fork("shop", "airplanes/1", "main");
        assert_eq!(found().await, [opened.number], "{kind:?}");
        assert!(host.heard().wrong.is_empty(), "{:?}", host.heard().wrong);
    }
}
