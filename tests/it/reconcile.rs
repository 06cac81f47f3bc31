//! Heads are the truth: a push whose webhook never came is found, once, and what can't be asked holds up nothing else.

mod behind;
mod renamed;

use std::sync::atomic::Ordering;

use airplanes::model::{Branch, Forge, Push, RepoUrl, Sha};
use airplanes::store::{Sighting, Store};
use serde_json::Value;

use super::store::{branch, delivery, events, push_to, sha};
use super::support::git_http::GitHttp;
use super::support::world::World;

/// A library that is in no deploy.edn, and an app that depends on it; remotes are listed every `poll`.
async fn app_of_a_library(poll: &str) -> World {
    let mut world = World::new(0);
    (world.by_file, world.poll) = (true, poll.to_owned());
    world.write_config();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(":app {:git-url \"{repo:app}\" :update? true :build \"true\"}");
    world.start().await;
    let read = async || repo(&world, "lib").await["dependents"][0].as_str().map(str::to_owned);
    world.until("the app is read", read).await;
    world
}

/// What `GET /repos` says of a repository.
async fn repo(world: &World, name: &str) -> Value {
    let list = world.get("/repos").await;
    let id = world.url(name).id();
    let repos = list["repos"].as_array().unwrap_or_else(|| panic!("{list}"));
    repos.iter().find(|repo| repo["repo"] == id.as_str()).cloned().unwrap_or(Value::Null)
}

/// Waits until all of the world's two remotes have been listed.
async fn listed(world: &World) {
    for name in ["lib", "app"] {
        world.until("a listing", async || repo(world, name).await["poll_at"].as_str().map(str::to_owned)).await;
    }
}

/// `POST /sync`.
async fn sync(world: &World, query: &str) -> Value {
    let (status, answer) = world.post(&format!("/sync{query}")).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_webhook_never_came_is_found() {
    let world = app_of_a_library("\"1s\"").await;
    listed(&world).await;
    assert!(world.settled().await.is_empty(), "where a repository is when it is first looked at is no push");

    let new = world.commit("lib", &[("a", "1")]);
    world.bumped("app", new).await;
    let of_lib = repo(&world, "lib").await;
    assert_eq!((of_lib["last_seen"]["by"].as_str(), of_lib["webhook_at"].as_str()), (Some("poll"), None), "{of_lib}");
    assert_eq!((&of_lib["dependents"][0], of_lib["apps"].as_array().map(Vec::len)), (&"app".into(), Some(0)));
    // The app's own branch too, and its own commit is none of it.
    let own = world.commit("app", &[("b", "1")]);
    world.until("a job of the app's own push", async || (world.jobs_of("app").await.len() == 2).then_some(())).await;
    let job = world.job("app").await;
    assert_eq!((job["sha"].as_str(), job["causes"][0]["why"].as_str()), (Some(&*own.to_string()), Some("own-push")));
    let said = world.call(&["repos", "lib"]).await;
    assert!(said.code == Some(0) && said.out.contains("poll ") && !said.out.contains("webhook"), "{said:?}");
    // A webhook is heard of as one.
    let next = world.push("lib", &[("a", "2")]).await;
    assert!(repo(&world, "lib").await["webhook_at"].is_string());
    world.bumped("app", next).await;
    world.settled().await;
    assert_eq!(world.jobs_of("app").await.len(), 3, "{}", world.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_says_what_moved_and_its_dry_run_does_nothing() {
    let world = app_of_a_library("false").await;
    assert_eq!(sync(&world, "").await["asked"], 2);
    let (was, now) = (world.head("lib"), world.commit("lib", &[("a", "1")]));
    for _ in 0..2 {
        let said = world.call(&["sync", "app", "--dry-run"]).await;
        assert!(said.code == Some(0) && said.out.contains(&now.short()), "{said:?}");
        assert!(said.err.contains("nothing was done"), "{said:?}");
    }
    assert!(world.settled().await.is_empty());

    let answer = sync(&world, "?app=app").await;
    let moved = &answer["moved"][0];
    assert_eq!((moved["was"].as_str(), moved["now"].as_str()), (Some(&*was.to_string()), Some(&*now.to_string())));
    assert!(moved["event"].is_string(), "{answer}");
    world.bumped("app", now).await;
    // Our own commit is known for what it is: an event, and nothing to do.
    world.settled().await;
    let answer = sync(&world, "").await;
    assert_eq!(answer["moved"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(world.settled().await.len(), 1);
    let said = world.call(&["sync"]).await;
    assert!(said.code == Some(0) && said.out.is_empty() && said.err.contains("nothing had moved"), "{said:?}");
    let said = world.call(&["sync", "shop"]).await;
    assert!(said.code == Some(1) && said.err.contains("no app `shop`"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_between_the_first_reading_and_the_first_listing_is_found() {
    let world = app_of_a_library("false").await;
    let read = async || world.get("/graph").await.to_string().contains("branch main").then_some(());
    world.until("the library's mirror is made", read).await;
    let (was, now) = (world.head("lib"), world.commit("lib", &[("a", "1")]));
    let answer = sync(&world, "").await;
    let moved = &answer["moved"][0];
    assert_eq!((moved["was"].as_str(), moved["now"].as_str()), (Some(&*was.to_string()), Some(&*now.to_string())));
    world.bumped("app", now).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_and_a_poll_of_one_push_make_one_event() {
    let world = app_of_a_library("false").await;
    sync(&world, "").await;
    let old = world.head("lib");
    let new = world.push("lib", &[("a", "1")]).await;
    assert_eq!(sync(&world, "?app=app").await["moved"].as_array().map(Vec::len), Some(0));
    world.settled().await;
    sync(&world, "").await;
    // The other way round: the webhook is late.
    let next = world.commit("lib", &[("a", "2")]);
    assert!(sync(&world, "").await["moved"][0]["event"].is_string());
    let (status, answer) = world.hook(Forge::Github, "lib", Some(new), next, "late").await;
    assert_eq!((status, answer["status"].as_str()), (200, Some("duplicate")), "{answer} {old}");
    world.bumped("app", next).await;
    world.settled().await;
    assert_eq!((world.jobs_of("app").await.len(), world.count("app")), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_while_the_daemon_was_down_is_found_when_it_is_back() {
    let mut world = app_of_a_library("\"2s\"").await;
    listed(&world).await;
    assert_eq!(world.stop(), Some(0));
    let new = world.commit("lib", &[("a", "1")]);
    world.start().await;
    world.bumped("app", new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_during_kill_9_loses_nothing_and_does_nothing_twice() {
    let mut world = app_of_a_library("\"1s\"").await;
    listed(&world).await;
    for n in 0..4 {
        let new = world.commit("lib", &[("a", &n.to_string())]);
        // About when it is found, planned, under way.
        tokio::time::sleep(std::time::Duration::from_millis(300 * n)).await;
        world.kill();
        world.start().await;
        world.bumped("app", new).await;
        assert_eq!(world.count("app"), usize::try_from(n).unwrap() + 2, "{}", world.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_is_listed_once_however_many_apps_share_it() {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let http = GitHttp::start(world.path("repos"), None).await;
    let deps = format!("{{:deps {{acme/lib {{:git/url \"{}\" :git/sha \"{lib}\"}}}}}}", http.url("lib.git"));
    let mut entries = String::new();
    for n in 1..=5 {
        world.commit(&format!("app-{n}"), &[("deps.edn", &deps)]);
        entries.push_str(&format!(":app-{n} {{:git-url \"{{repo:app-{n}}}\" :update? true}}\n"));
    }
    world.deploy_edn(&entries);
    world.start().await;
    let read = async || (sync(&world, "").await["asked"] == 6).then_some(());
    world.until("all five are read", read).await;
    // Whoever read the apps fetches the library some time after that, for what moves it.
    let once = async || {
        let before = http.listings.load(Ordering::Relaxed);
        let answer = sync(&world, "").await;
        assert_eq!(
            (answer["asked"].as_u64(), answer["failed"].as_array().map(Vec::len)),
            (Some(6), Some(0)),
            "{answer}"
        );
        (http.listings.load(Ordering::Relaxed) == before + 1).then_some(())
    };
    world.until("the library is listed once", once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_host_is_left_alone_for_a_while_and_holds_up_no_other() {
    let mut world = World::new(0);
    (world.by_file, world.poll) = (true, "\"1s\"".to_owned());
    world.write_config();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    // Nobody listens there.
    let dead = "ssh://git@127.0.0.1:1/x/dead";
    let entries: String = (0..5).map(|n| format!(":dead-{n} {{:git-url \"{dead}-{n}\" :update? false}}\n")).collect();
    world.deploy_edn(&format!(":app {{:git-url \"{{repo:app}}\" :update? true :build \"true\"}}\n{entries}"));
    world.start().await;
    listed(&world).await;
    let failing = async || {
        let list = world.get("/repos").await.to_string();
        list.contains("is left alone after").then_some(list)
    };
    world.until("the host is left alone", failing).await;
    let new = world.commit("lib", &[("a", "1")]);
    world.bumped("app", new).await;
    let said = world.call(&["repos"]).await;
    assert!(said.out.contains("not listed: 127.0.0.1/x/dead-0"), "{said:?}");
    let up = world.get("/doctor?app=dead-0").await.to_string();
    assert!(up.contains("not listed since") && !up.contains("git 127.0.0.1/x/dead-1"), "{up}");
    // A person's word tries again, and the exit code says that it was in vain.
    let said = world.call(&["sync", "dead-0"]).await;
    assert!(said.code == Some(1) && said.out.contains("not asked:"), "{said:?}");
    assert!(!said.out.contains("left alone"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_gone_is_told_and_moves_nothing() {
    let world = app_of_a_library("false").await;
    world.in_bare("lib", &["branch", "next", "main"]);
    world.edit("deploy.edn", ":app {", ":lib {:git-url \"{repo}\" :branch \"next\"} :app {");
    let url = world.url("lib").to_string();
    world.edit("deploy.edn", "{repo}", &url);
    let there = async || repo(&world, "lib").await["apps"][0].as_str().map(str::to_owned);
    world.until("lib is an app", there).await;
    assert_eq!(sync(&world, "").await["moved"].as_array().map(Vec::len), Some(0));
    world.in_bare("lib", &["branch", "-D", "next"]);
    assert_eq!(sync(&world, "").await["moved"].as_array().map(Vec::len), Some(0));
    assert_eq!(repo(&world, "lib").await["gone"][0], "next");
    let said = world.call(&["repos"]).await;
    assert!(said.out.contains("gone:") && said.out.contains(":branch"), "{said:?}");
    assert!(world.settled().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_goes_back_is_taken_up_only_when_a_second_listing_says_so() {
    let world = app_of_a_library("false").await;
    sync(&world, "").await;
    let old = world.head("lib");
    let new = world.push("lib", &[("a", "1")]).await;
    world.bumped("app", new).await;
    world.settled().await;
    // A server that lags behind the one that told, or a push that was taken back? Time tells.
    world.force("lib", old);
    let answer = sync(&world, "").await;
    let id = world.url("lib").id();
    let moved = answer["moved"].as_array().unwrap().iter().find(|moved| moved["repo"] == id.as_str()).unwrap();
    assert_eq!(
        (&moved["back"], &moved["event"], moved["now"].as_str()),
        (&true.into(), &Value::Null, Some(&*old.to_string()))
    );
    world.force("lib", new);
    assert_eq!(sync(&world, "").await["moved"].as_array().map(Vec::len), Some(0));
    world.force("lib", old);
    let said = world.call(&["sync"]).await;
    assert!(said.code == Some(0) && said.out.contains("it goes back"), "{said:?}");
    assert!(sync(&world, "").await["moved"][0]["event"].is_string());
    assert_eq!(sync(&world, "").await["moved"].as_array().map(Vec::len), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_told_while_its_remote_is_listed_is_not_undone_by_the_listing() {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let http = GitHttp::start(world.path("repos"), None).await;
    let url = http.url("lib.git");
    world.commit("app", &[("deps.edn", &format!("{{:deps {{acme/lib {{:git/url \"{url}\" :git/sha \"{lib}\"}}}}}}"))]);
    world.deploy_edn(":app {:git-url \"{repo:app}\" :update? true :build \"true\"}");
    world.start().await;
    world.until("the app is read", async || (sync(&world, "").await["asked"] == 2).then_some(())).await;
    let first = world.commit("lib", &[("a", "1")]);
    assert!(sync(&world, "").await["moved"][0]["event"].is_string());
    world.bumped("app", first).await;
    world.settled().await;

    // The remote has listed the first commit, and answers only when the second has been told of.
    let (gate, listings) = (http.gate.clone().write_owned().await, http.listings.load(Ordering::Relaxed));
    let (answer, second) = tokio::join!(sync(&world, ""), async {
        while http.listings.load(Ordering::Relaxed) == listings {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let second = world.commit("lib", &[("a", "2")]);
        let (status, said) = world.hook_from(Forge::Github, &url, Some(first), second, "second").await;
        assert_eq!(status, 202, "{said}");
        drop(gate);
        second
    });
    let of_lib = url.id().to_string();
    let made = |answer: &Value| {
        answer["moved"].as_array().unwrap().iter().filter(|m| m["repo"] == *of_lib && !m["event"].is_null()).count()
    };
    assert_eq!(made(&answer), 0, "{answer}");
    world.bumped("app", second).await;
    assert_eq!(made(&sync(&world, "").await), 0);
}

/// An app that follows the tags of a library and stands at `v1.0`, another on its branch.
async fn tagged(tags: &[&str]) -> World {
    let mut world = World::new(0);
    world.by_file = true;
    let one = world.commit("lib", &[("deps.edn", "{}")]);
    world.in_bare("lib", &["tag", "v1.0"]);
    for tag in tags {
        world.commit("lib", &[("a", tag)]);
        tag_it(&world, tag);
    }
    let deps = format!(
        "{{:deps {{acme/lib {{:git/url \"{}\" :git/tag \"v1.0\" :git/sha \"{}\"}}}}}}",
        world.url("lib"),
        one.short()
    );
    world.commit("app", &[("deps.edn", &deps)]);
    world.commit("plain", &[("deps.edn", &world.deps(&[("lib", world.head("lib"))]))]);
    world.deploy_edn(
        ":app {:git-url \"{repo:app}\" :update? true :build \"true\"}
         :plain {:git-url \"{repo:plain}\" :update? true :build \"true\"}",
    );
    world.start().await;
    let read = async || (repo(&world, "lib").await["dependents"].as_array()?.len() == 2).then_some(());
    world.until("both are read", read).await;
    world
}

/// A person tags the head of the library; an annotated tag, as most are.
fn tag_it(world: &World, tag: &str) {
    world.in_bare("lib", &["-c", "user.name=Anna", "-c", "user.email=a@example.com", "tag", "-a", tag, "-m", tag]);
}

/// Waits until the app stands at a tag.
async fn taken(world: &World, tag: &str) {
    let stands = async || world.file("app", "deps.edn").contains(&format!("\"{tag}\"")).then_some(());
    world.until(&format!("the app stands at {tag}"), stands).await;
}

fn tags(answer: &Value) -> Vec<(&str, bool)> {
    let tags = answer["tags"].as_array().unwrap();
    tags.iter().map(|tag| (tag["tag"].as_str().unwrap(), tag["event"].is_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_pushed_while_the_daemon_was_down_is_taken_up() {
    let mut world = tagged(&[]).await;
    assert_eq!(tags(&sync(&world, "").await), [], "where they are at first is where they begin");
    world.poll = "\"2s\"".to_owned();
    world.write_config();
    assert_eq!(world.stop(), Some(0));
    tag_it(&world, "v1.1");
    let two = world.commit("lib", &[("a", "1")]);
    tag_it(&world, "v1.2");
    world.start().await;
    world.bumped("plain", two).await;
    taken(&world, "v1.2").await;
    world.settled().await;
    assert_eq!((world.count("app"), world.count("plain")), (2, 2), "{}", world.log());
    let said = world.log();
    assert_eq!(said.matches("a tag was found that no webhook told of").count(), 2, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tag_is_one_event_whoever_tells_of_it_and_none_where_it_stood_at_first() {
    let world = tagged(&[]).await;
    assert_eq!(tags(&sync(&world, "").await), []);
    let two = world.commit("lib", &[("a", "1")]);
    tag_it(&world, "v1.1");
    let said = world.call(&["sync", "--dry-run"]).await;
    assert!(said.code == Some(0) && said.out.contains("tag v1.1") && said.out.contains(&two.short()), "{said:?}");
    assert_eq!(tags(&sync(&world, "?dry_run=true").await), [("v1.1", false)]);
    assert_eq!(tags(&sync(&world, "").await), [("v1.1", true)]);
    assert_eq!(tags(&sync(&world, "").await), []);
    taken(&world, "v1.1").await;
    // A webhook told of the next.
    tag_it(&world, "v1.2");
    let object = world.in_bare("lib", &["rev-parse", "v1.2"]).parse().unwrap();
    let body = airplanes::forge::tag_payload(Forge::Github, &world.url("lib"), "v1.2", object);
    assert_eq!(world.signed_body(Forge::Github, body, "v1.2").send().await.unwrap().status(), 202);
    assert_eq!(tags(&sync(&world, "").await), []);
    taken(&world, "v1.2").await;
    // One that is gone is news when it is back.
    world.in_bare("lib", &["tag", "-d", "v1.1"]);
    assert_eq!(tags(&sync(&world, "").await), []);
    world.commit("lib", &[("a", "2")]);
    tag_it(&world, "v1.1");
    assert_eq!(tags(&sync(&world, "").await), [("v1.1", true)]);
    world.settled().await;
    // Many at once are told by some of them.
    for n in 10..40 {
        tag_it(&world, &format!("v2.{n}"));
    }
    assert_eq!(tags(&sync(&world, "").await).len(), 20);
    assert_eq!(tags(&sync(&world, "").await), []);
    taken(&world, "v2.39").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_stands_at_an_older_tag_is_taken_along_when_tags_are_first_listed() {
    let world = tagged(&["v1.1", "v1.2", "w7"]).await;
    let answer = sync(&world, "").await;
    assert_eq!(tags(&answer), [("v1.2", true)], "{answer}");
    taken(&world, "v1.2").await;
    world.settled().await;
    assert_eq!((tags(&sync(&world, "").await), world.jobs_of("plain").await.len()), (vec![], 0));
}

/// A listing's find.
fn sighting(moved: Vec<(u32, u32)>, begun: Vec<(Branch, Sha)>) -> Sighting {
    let url = RepoUrl::new("https://github.com/acme/snow").unwrap();
    let push = |(before, after): (u32, u32)| Push { before: Some(sha(before)), ..push_to("main", after) };
    Sighting { repo: url.id(), moved: moved.into_iter().map(push).collect(), begun, default: None, tags: None }
}

#[tokio::test]
async fn a_listing_that_is_older_than_a_webhook_moves_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let repo = RepoUrl::new("https://github.com/acme/snow").unwrap().id();
    let head = |store: &Store| store.accepted_head(&repo, &branch("main")).unwrap();
    assert!(store.observe(sighting(vec![], vec![(branch("main"), sha(1))])).await.unwrap().is_empty());
    assert_eq!((head(&store), store.unplanned().len()), (Some(sha(1)), 0));
    // Listed at 2; a webhook told of 3 before that was written.
    let third = events(&store.accept(delivery("d3", vec![push_to("main", 3)])).await.unwrap())[0];
    assert_eq!(store.observe(sighting(vec![(1, 2)], vec![(branch("main"), sha(2))])).await.unwrap(), [None]);
    assert_eq!(head(&store), Some(sha(3)));
    let found = store.observe(sighting(vec![(3, 4)], vec![])).await.unwrap();
    assert!(found[0].is_some_and(|event| event > third), "{found:?}");
    let event = store.event(found[0].unwrap()).unwrap().unwrap().event;
    assert_eq!((event.delivery, head(&store)), (None, Some(sha(4))));
    let seen = store.last_seen(&repo).unwrap();
    assert!(seen.webhook.is_some() && seen.poll > seen.webhook, "{seen:?}");
    // On disk.
    drop(store);
    assert_eq!(super::store::open_again(folder.path()).last_seen(&repo).unwrap(), seen);
}
