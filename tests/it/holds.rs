//! Holds: what someone said stays where it is stays, everywhere is said why, and its end is made up for once.

use std::time::Duration;

use airplanes::model::hold::{Hold, HoldKind};
use airplanes::model::{AppName, Draft, EventKind, Forge, Planned, Sha, Why};
use airplanes::store::Store;
use airplanes::watch::FsSource;
use airplanes::{config, forge};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::support::git_http::GitHttp;
use super::support::world::World;

/// Two libraries in no deploy.edn, and two apps that depend on both.
async fn two_apps() -> World {
    let mut world = World::new(0);
    world.by_file = true;
    // Their commits are never each other's.
    let [a, b] = ["a", "b"].map(|lib| world.commit(lib, &[(lib, ""), ("deps.edn", "{}")]));
    let deps = world.deps(&[("a", a), ("b", b)]);
    for app in ["shop", "till"] {
        world.commit(app, &[("deps.edn", &deps)]);
    }
    world.deploy_edn(
        ":shop {:git-url \"{repo:shop}\" :update? true :build \"true\"}
         :till {:git-url \"{repo:till}\" :update? true :build \"true\"}",
    );
    world.start().await;
    world.knows(4).await;
    world
}

impl World {
    /// Holds an app as the API does.
    async fn hold(&self, app: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/apps/{app}/hold", self.base());
        let answer = self.http.put(url).bearer_auth(self.token()).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
    async fn is_held(&self) -> bool {
        self.get("/holds").await["holds"][0].is_object()
    }
    /// Where a library stands in the app.
    fn stands_at(&self, app: &str, lib: &str) -> String {
        let deps = self.file(app, "deps.edn");
        let line = deps.lines().find(|line| line.contains(&format!("acme/{lib} "))).unwrap();
        line.rsplit('"').nth(1).unwrap().to_owned()
    }
    fn has(&self, app: &str, sha: Sha) -> bool {
        self.file(app, "deps.edn").contains(&sha.to_string())
    }
    /// GitHub tells of a branch that is new.
    pub async fn told_of(&self, repo: &str, branch: &str, after: Sha) {
        let body = forge::push_payload(Forge::Github, &self.url(repo), &branch.parse().unwrap(), None, after);
        let answer = self.signed_body(Forge::Github, body, &format!("{branch} of {repo}")).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_app_is_left_out_is_said_everywhere_and_its_release_catches_up_once() {
    let mut world = two_apps().await;
    let said = world.call(&["hold", "shop", "--reason", "the sale", "--until", "2d"]).await;
    assert!(said.code == Some(0) && said.out.contains("shop is held by operator since"), "{said:?}");
    let a = world.push("a", &[("x", "1")]).await;
    let own = world.push("shop", &[("y", "1")]).await;
    world.settled().await;
    assert!(world.has("till", a) && !world.has("shop", a));
    assert_eq!((world.jobs_of("shop").await.len(), world.head("shop")), (0, own));

    let said = world.call(&["deploy", "shop"]).await;
    assert!(said.code == Some(6) && said.err.contains("the sale") && said.err.contains("--release"), "{said:?}");
    for args in [&["hold"][..], &["apps"], &["status"], &["deliveries"], &["plan", world.url("a").as_str()]] {
        let said = world.call(args).await;
        assert!(said.code == Some(0) && said.out.contains("the sale"), "{args:?} {said:?}");
    }
    assert!(world.text("/metrics").await.contains("airplanes_holds{kind=\"manual\"} 1"));

    // It outlives a daemon, and so does what it owes.
    world.kill();
    world.start().await;
    assert_eq!(world.get("/holds").await["holds"][0]["reason"], "the sale");
    let said = world.call(&["hold", "shop", "--release"]).await;
    assert!(said.code == Some(0) && said.out.contains("released: shop is held"), "{said:?}");
    world.kill();
    world.start().await;
    world.bumped("shop", a).await;
    assert_eq!(world.jobs_of("shop").await.len(), 1, "{}", world.log());
    assert_eq!(world.call(&["hold"]).await.out, "");
    let said = world.call(&["hold", "shop", "--release"]).await;
    assert!(said.code == Some(1) && said.err.contains("is not held"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_library_stays_where_it_is_until_a_person_or_git_says_otherwise_and_others_move() {
    let mut world = two_apps().await;
    let said = world.call(&["hold", "shop", "acme/a", "--reason", "loses carts"]).await;
    assert!(said.code == Some(0) && said.out.contains("acme/a of shop is held"), "{said:?}");
    let a = world.push("a", &[("x", "1")]).await;
    let job = world.job("shop").await;
    assert!(job["state"] == "unchanged" && job["reason"].as_str().unwrap().contains("loses carts"), "{job:#}");
    let b = world.push("b", &[("x", "1")]).await;
    world.settled().await;
    assert!(world.has("shop", b) && !world.has("shop", a) && world.has("till", a));
    let said = world.call(&["hold", "shop", "acme/a", "--release"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    world.bumped("shop", a).await;
    // What makes no sense is refused, with what would.
    let said = world.call(&["hold", "shop", "acme/c", "--reason", "x"]).await;
    assert!(said.code == Some(2) && said.err.contains("it has acme/a, acme/b"), "{said:?}");
    for args in [&["hold", "shop"][..], &["hold", "shop", "--reason", "x", "--until", "2020-01-01T00:00:00Z"]] {
        assert_eq!(world.call(args).await.code, Some(2), "{args:?}");
    }

    // A second one takes the place of the first whole, and says so; a library is also named by its repository.
    let url = world.url("a").to_string();
    let said = world.call(&["hold", "shop", "acme/a", "--reason", "first", "--until", "2d"]).await;
    assert!(said.code == Some(0) && !said.err.contains("in place of"), "{said:?}");
    let said =
        world.call(&["hold", "shop", &url, "--reason", "second", "--until-descendant-of", &"1".repeat(40)]).await;
    assert!(said.code == Some(0) && said.out.contains("acme/a of shop") && !said.out.contains("until 2"), "{said:?}");
    assert!(
        said.err.contains("in place of: acme/a of shop is held by operator") && said.err.contains("first"),
        "{said:?}"
    );
    assert!(said.err.contains("has no commit 1111111111 that we know of"), "{said:?}");
    for (rev, why) in [("1111111", "has no commit and no tag"), ("nonsense", "has no commit and no tag")] {
        let said = world.call(&["hold", "shop", "acme/a", "--reason", "x", "--until-descendant-of", rev]).await;
        assert!(said.code == Some(2) && said.err.contains(why), "{said:?}");
    }
    let there = &world.head("a").to_string()[..7];
    let said = world.call(&["hold", "shop", "acme/a", "--reason", "x", "--until-descendant-of", there]).await;
    assert!(said.code == Some(2) && said.err.contains("is there already"), "{said:?}");
    assert_eq!(world.get("/holds").await["holds"][0]["reason"], "second");
    let said = world.call(&["hold", "shop", &url, "--release"]).await;
    assert!(said.code == Some(0) && said.out.contains("second"), "{said:?}");
    world.settled().await;

    // It may end by git: with the commit, or one on top of it.
    let fix = world.unpushed("a");
    let until = |sha: Sha| json!({"lib": "acme/a", "reason": "until it is mended", "until_descendant_of": sha});
    let (status, answer) = world.hold("shop", until(fix)).await;
    assert_eq!((status, &answer["until_descendant_of"]["repo"]), (200, &world.url("a").id().as_str().into()));
    let beside = world.push("b", &[("y", "1")]).await;
    world.settled().await;
    assert!(world.has("shop", beside) && world.is_held().await);
    // On a branch that the app does not follow it brings the app nothing.
    let old = world.head("a");
    world.pushes_now("a");
    world.in_bare("a", &["update-ref", "refs/heads/topic", &fix.to_string()]);
    world.in_bare("a", &["update-ref", "refs/heads/main", &old.to_string()]);
    world.told_of("a", "topic", fix).await;
    world.settled().await;
    assert!(world.is_held().await && !world.has("shop", fix), "{}", world.log());
    world.pushes_now("a");
    world.told("a", Some(old), fix, "the fix").await;
    world.bumped("shop", fix).await;
    assert!(!world.is_held().await);
    let said =
        world.call(&["hold", "shop", "acme/a", "--reason", "x", "--until-descendant-of", &fix.to_string()]).await;
    assert!(said.code == Some(2) && said.err.contains("is there already"), "{said:?}");
    // It was pushed before, and nobody told; or while the daemon was down.
    let untold = world.commit("a", &[("x", "2")]);
    assert_eq!(world.hold("shop", until(untold)).await.0, 200);
    world.bumped("shop", untold).await;
    let later = world.unpushed("a");
    assert_eq!(world.hold("shop", until(later)).await.0, 200);
    world.settled().await;
    world.kill();
    world.pushes_now("a");
    world.start().await;
    world.bumped("shop", later).await;
    assert!(!world.is_held().await);

    // A person takes a bump back: no bump undoes that, until they say so or push it forward.
    let back = world.file("shop", "deps.edn");
    let newer = world.push("a", &[("x", "3")]).await;
    world.bumped("shop", newer).await;
    world.settled().await;
    for released in [true, false] {
        let sha = world.push("shop", &[("deps.edn", &back)]).await;
        let job = world.job("shop").await;
        assert!(job["state"] == "succeeded" && world.has("shop", later), "{job:#}");
        let hold = world.get("/holds").await["holds"][0].clone();
        assert_eq!((&hold["lib"], &hold["kind"]["kind"]), (&"acme/a".into(), &"moved-back".into()), "{hold}");
        let said = world.call(&["explain", "shop"]).await;
        assert!(said.out.contains(&format!("in {}", sha.short())) && said.out.contains("--release"), "{said:?}");
        let newest = world.push("a", &[("x", "4"), ("released", if released { "1" } else { "2" })]).await;
        world.settled().await;
        assert!(world.has("till", newest) && world.has("shop", later), "{}", world.log());
        if released {
            assert_eq!(world.call(&["hold", "shop", "acme/a", "--release"]).await.code, Some(0));
        } else {
            let forward = back.replace(&later.to_string(), &newer.to_string());
            world.push("shop", &[("deps.edn", &forward)]).await;
        }
        world.bumped("shop", newest).await;
        world.settled().await;
        assert!(!world.is_held().await);
    }

    // The same is so of a bump that they push over, and however it was set what they put back: also where that push can't
    // be read at first, and where somebody holds the library meanwhile.
    let (at, was) = (world.head("shop"), world.file("shop", "deps.edn"));
    let moved_back = async || {
        let hold = world.get("/holds").await["holds"][0].clone();
        [&hold, &hold["beneath"]].map(|hold| hold["kind"]["kind"].as_str().unwrap_or("none").to_owned())
    };
    let newer = world.push("a", &[("x", "5")]).await;
    world.bumped("shop", newer).await;
    world.settled().await;
    world.force("shop", at);
    let newest = world.push("a", &[("x", "6")]).await;
    world.settled().await;
    assert_eq!((world.file("shop", "deps.edn"), moved_back().await[0].as_str()), (was.clone(), "moved-back"));
    let stood_at = world.stands_at("shop", "a");
    let by_hand = was.replace(&stood_at, &newest.to_string());
    world.push("shop", &[("deps.edn", &by_hand)]).await;
    world.settled().await;
    assert_eq!((world.file("shop", "deps.edn"), world.is_held().await), (by_hand.clone(), false));
    assert_eq!(world.hold("shop", json!({"lib": "acme/a", "reason": "for a while"})).await.0, 200);
    world.push("shop", &[("deps.edn", &format!("{was}}}"))]).await;
    assert_eq!(world.job("shop").await["state"], "failed");
    world.push("shop", &[("deps.edn", &was)]).await;
    assert_eq!(
        (world.job("shop").await["state"].as_str(), moved_back().await),
        (Some("succeeded"), ["manual", "moved-back"].map(str::to_owned))
    );
    let said = world.call(&["hold", "shop", "acme/a", "--release"]).await;
    assert!(said.code == Some(0) && said.err.contains("the hold beneath it is in force again"), "{said:?}");
    world.push("b", &[("x", "2")]).await;
    world.settled().await;
    assert_eq!((world.stands_at("shop", "a"), moved_back().await[0].as_str()), (stood_at, "moved-back"));
    assert_eq!(world.call(&["hold", "shop", "acme/a", "--release"]).await.code, Some(0));
    world.bumped("shop", newest).await;
    world.settled().await;

    // A library without a group is its own group.
    let deps = world.file("shop", "deps.edn").replace("acme/b", "b");
    world.push("shop", &[("deps.edn", &deps)]).await;
    let look = async || world.call(&["where", "b"]).await.out.contains("b/b").then_some(());
    world.until("what b/b is in", look).await;
    let said = world.call(&["hold", "shop", "b", "--reason", "loses carts"]).await;
    assert!(said.code == Some(0) && said.out.contains("b/b of shop is held"), "{said:?}");
    let b = world.push("b", &[("z", "1")]).await;
    world.settled().await;
    assert!(world.has("till", b) && !world.has("shop", b));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_at_its_time_also_while_no_daemon_runs() {
    let mut world = two_apps().await;
    let soon = |seconds: i64| Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    for (n, down) in [(1_usize, false), (2, true)] {
        let until = soon(2);
        let (status, answer) = world.hold("shop", json!({"reason": "for a moment", "until": until})).await;
        assert_eq!(status, 200, "{answer}");
        let a = world.push("a", &[("x", &n.to_string())]).await;
        world.settled().await;
        if down {
            world.kill();
            let left = until.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
            world.start().await;
        }
        world.bumped("shop", a).await;
        assert_eq!(world.jobs_of("shop").await.len(), n, "{}", world.log());
        assert!(Timestamp::now() >= until);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_skipped_when_its_app_is_held_and_one_that_started_goes_on() {
    let mut world = World::new(0);
    world.by_file = true;
    world.builds = format!(":concurrency 1 :write [\"{}\"]", world.open().display());
    world.write_config();
    let a = world.commit("a", &[("deps.edn", "{}")]);
    for app in ["shop", "till"] {
        world.commit(app, &[("deps.edn", &world.deps(&[("a", a)]))]);
    }
    world.deploy_edn(
        ":shop {:git-url \"{repo:shop}\" :update? true :build \"true\"}
         :till {:git-url \"{repo:till}\" :update? true :build \"until test -e {dir}/go; do sleep 0.05; done\"}",
    );
    world.start().await;
    let till = world.deploy("till").await;
    world.in_step("till", "build").await;
    let shop = world.deploy("shop").await;
    for app in ["shop", "till"] {
        assert_eq!(world.hold(app, json!({"reason": "not now"})).await.0, 200);
    }
    let job = world.ended(&shop).await;
    assert!(job["state"] == "skipped" && job["reason"].as_str().unwrap().contains("not now"), "{job:#}");
    std::fs::write(world.path("go"), "").unwrap();
    assert_eq!(world.ended(&till).await["state"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_up_for_a_hold_waits_for_the_wave_under_way_so_the_app_is_built_once_with_all_of_it() {
    let mut world = World::new(0);
    world.by_file = true;
    world.builds = format!(":write [\"{}\"]", world.open().display());
    world.write_config();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let b = world.commit("b", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib), ("b", b)]))]);
    world.deploy_edn(
        ":b   {:git-url \"{repo:b}\" :update? true :build \"until test -e {dir}/go; do sleep 0.05; done\"}
         :app {:git-url \"{repo:app}\" :update? true :build \"true\"}",
    );
    world.start().await;
    world.knows(3).await;
    // Let go of by a person, and ended by the very push.
    for (n, by_push) in [(1, false), (2, true)] {
        let _ = std::fs::remove_file(world.path("go"));
        let new = if by_push {
            let fix = world.unpushed("lib");
            let body = json!({"lib": "acme/lib", "reason": "until it is mended", "until_descendant_of": fix});
            assert_eq!(world.hold("app", body).await.0, 200);
            let old = world.head("lib");
            world.pushes_now("lib");
            world.told("lib", Some(old), fix, "the fix").await;
            world.in_step("b", "build").await;
            fix
        } else {
            assert_eq!(world.hold("app", json!({"reason": "the sale"})).await.0, 200);
            let new = world.push("lib", &[("x", "1")]).await;
            world.in_step("b", "build").await;
            assert_eq!(world.call(&["hold", "app", "--release"]).await.code, Some(0));
            new
        };
        let waits = async || {
            let all = world.get("/jobs?app=app").await;
            let all = all["jobs"].as_array().filter(|all| all.len() == n)?;
            (all[0]["state"] == "waiting").then_some(())
        };
        world.until(&format!("one job that waits for b; {}", world.log()), waits).await;
        std::fs::write(world.path("go"), "").unwrap();
        world.bumped("app", new).await;
        let all = world.jobs_of("app").await;
        assert_eq!((all.len(), all[0]["state"].as_str()), (n, Some("succeeded")), "{all:#?}\n{}", world.log());
        assert!(world.has("app", world.head("b")) && world.has("app", new));
    }
}

/// Ends a job of the world's app `shop` as rolled back, in the stopped daemon's store: nothing that runs does so yet.
async fn roll_back(world: &World) -> Hold {
    let app = config::load(&FsSource, &world.path("config.edn")).unwrap().apps.remove(&shop()).unwrap();
    let store = Store::open(&world.state("")).unwrap();
    let event = store.submit(EventKind::Deploy { app: shop(), by: "ada".into(), makes_up: false }).await.unwrap();
    let why = Why::Asked { by: "ada".into() };
    let planned = Planned { app, why, wave: 0, after: vec![], targets: vec![], tags: vec![] };
    let draft = Draft { apps: vec![planned], ..Draft::default() };
    let job = store.plan(event, draft).await.unwrap().created[0];
    store.append(job, super::store::holds::rolled_back(world.head("shop"))).await.unwrap();
    store.holds().get(&(shop(), None)).cloned().unwrap()
}

fn shop() -> AppName {
    "shop".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_app_is_not_bumped_again_until_a_push_descends_from_the_bad_commit() {
    let mut world = two_apps().await;
    let good = world.head("shop");
    let bad = world.push("shop", &[("bug", "1")]).await;
    world.settled().await;
    assert_eq!(world.stop(), Some(0));
    let hold = roll_back(&world).await;
    assert!(matches!(hold.kind, HoldKind::Rollback { bad: it, .. } if it == bad), "{hold}");
    // The store's writer lets go of it a moment after the test has.
    for _ in 0..50 {
        if world.daemon.is_none() {
            world.start().await;
        }
    }
    let jobs = world.jobs_of("shop").await.len();
    let a = world.push("a", &[("x", "1")]).await;
    world.settled().await;
    assert_eq!((world.has("till", a), world.has("shop", a), world.jobs_of("shop").await.len()), (true, false, jobs));
    // A person may deploy it all the same, without bumps.
    let job = world.deployed("shop").await;
    assert!(!world.has("shop", a) && job["state"] != "skipped", "{job:#}");
    // A push of another line is a person's too, and the hold stays.
    world.force("shop", good);
    let aside = world.commit("shop", &[("aside", "1")]);
    world.told("shop", Some(bad), aside, "aside").await;
    world.settled().await;
    assert!(!world.has("shop", a) && world.get("/holds").await["holds"][0].is_object());
    // Work on another branch brings nothing to the app, though it descends from the bad commit.
    world.force("shop", bad);
    let work = world.commit("shop", &[("work", "1")]);
    world.in_bare("shop", &["update-ref", "refs/heads/work", &work.to_string()]);
    world.force("shop", bad);
    world.told_of("shop", "work", work).await;
    world.settled().await;
    assert!(!world.has("shop", a) && world.get("/holds").await["holds"][0].is_object());
    let fix = world.commit("shop", &[("bug", "")]);
    world.told("shop", Some(aside), fix, "the fix").await;
    world.bumped("shop", a).await;
    assert_eq!(world.get("/holds").await["holds"], json!([]));
    // A fix that was there before the rollback ends its hold too: it may have been pushed while the bad one rolled out.
    world.settled().await;
    assert_eq!(world.stop(), Some(0));
    roll_back(&world).await;
    world.commit("shop", &[("bug", "no more")]);
    while world.daemon.is_none() {
        world.start().await;
    }
    let none = async || (world.get("/holds").await["holds"] == json!([])).then_some(());
    world.until("the end of the rollback's hold", none).await;
    // And one that nobody has told of, once a person asks for the app: what was kept back comes along.
    world.settled().await;
    assert_eq!(world.stop(), Some(0));
    roll_back(&world).await;
    while world.daemon.is_none() {
        world.start().await;
    }
    let kept = world.push("a", &[("x", "2")]).await;
    world.settled().await;
    assert!(!world.has("shop", kept));
    world.commit("shop", &[("bug", "none")]);
    world.deployed("shop").await;
    world.settled().await;
    assert!(world.has("shop", kept) && world.get("/holds").await["holds"] == json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_hangs_holds_up_no_plan_but_that_of_the_push_which_may_end_a_hold() {
    let mut world = World::new(0);
    world.by_file = true;
    let (a, b) = (world.commit("a", &[("a", "")]), world.commit("b", &[("b", "")]));
    let http = GitHttp::start(world.path("repos"), None).await;
    let url = http.url("a.git");
    world.commit("shop", &[("deps.edn", &format!("{{:deps {{acme/a {{:git/url \"{url}\" :git/sha \"{a}\"}}}}}}"))]);
    world.commit("till", &[("deps.edn", &world.deps(&[("b", b)]))]);
    world.deploy_edn(
        ":shop {:git-url \"{repo:shop}\" :update? true :build \"true\"}
         :till {:git-url \"{repo:till}\" :update? true :build \"true\"}",
    );
    world.start().await;
    world.knows(4).await;
    let fix = world.unpushed("a");
    let body = json!({"lib": "acme/a", "reason": "until it is mended", "until_descendant_of": fix});
    assert_eq!(world.hold("shop", body).await.0, 200);
    world.pushes_now("a");
    // Its remote says nothing while it is asked whether the push ends the hold.
    let gate = http.gate.clone().write_owned().await;
    assert_eq!(world.hook_from(Forge::Github, &url, Some(a), fix, "the fix").await.0, 202);
    let new = world.push("b", &[("x", "1")]).await;
    world.bumped("till", new).await;
    let deliveries = world.get("/deliveries").await.to_string();
    assert!(deliveries.contains("\"state\":\"accepted\""), "{deliveries}");
    drop(gate);
    world.bumped("shop", fix).await;
    assert_eq!(world.get("/holds").await["holds"], json!([]));
}
