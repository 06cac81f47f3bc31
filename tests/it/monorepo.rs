//! Several deps files in a repository, and several apps in one, on the real binary.

use airplanes::model::Sha;

use super::support::acts::{step, text};
use super::support::world::World;

/// `acme/LIB {…}` as an entry of `:deps`.
fn dep(world: &World, lib: &str, sha: Sha) -> String {
    format!("acme/{lib} {{:git/url \"{}\" :git/sha \"{sha}\"}}", world.url(lib))
}
/// What a file depends on, and a comment that has to stay.
fn deps(all: &[String]) -> String {
    format!(";; kept\n{{:deps {{{}}}}}\n", all.join("\n "))
}

#[tokio::test(flavor = "multi_thread")]
async fn deps_files_and_local_roots_are_bumped_in_one_commit() {
    let mut world = World::new(0);
    world.by_file = true;
    let old = world.commit("lib", &[("deps.edn", "{}")]);
    let on_lib = deps(&[dep(&world, "lib", old)]);
    let shop = deps(&[dep(&world, "lib", old), "acme/core {:local/root \"../core\"}".to_owned()]);
    let files = [
        ("services/shop/deps.edn", shop.as_str()),
        ("services/shop/tools/deps.edn", &on_lib),
        ("services/core/deps.edn", &on_lib),
        ("services/other/deps.edn", &on_lib),
        ("deps.edn", &on_lib),
    ];
    world.commit("mono", &files);
    world.deploy_edn(
        r#":shop {:git-url "{repo:mono}" :update? true :directory "services/shop" :deps-files ["**/deps.edn"]
                  :build [{:name "a" :run "pwd >{dir}/where && echo made >made"} {:name "b" :run "test -e made && test ! -e services"}]}
           :lost {:git-url "{repo:mono}" :trigger :manual :directory "services/gone" :build "true"}"#,
    );
    world.start().await;
    world.deploy_to_the_end("shop").await;
    let (_, planned) = world.cli(&["plan", world.url("lib").as_str()]);
    for line in ["services/shop/deps.edn:2", "services/shop/tools/deps.edn:2", "services/core/deps.edn:2"] {
        assert!(planned.contains(line), "{line}: {planned}");
    }

    let new = world.push("lib", &[("a", "1")]).await;
    let job = world.job("shop").await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    assert_eq!(world.count("mono"), 2, "one commit");
    let changed = world.in_bare("mono", &["diff", "--name-only", "main^", "main"]);
    assert_eq!(changed, "services/core/deps.edn\nservices/shop/deps.edn\nservices/shop/tools/deps.edn");
    for (path, before) in &files[..3] {
        assert_eq!(world.file("mono", path), before.replace(&old.to_string(), &new.to_string()).trim_end(), "{path}");
    }
    let bumped: Vec<&str> = job["bumps"].as_array().unwrap().iter().map(|bump| text(bump, "file")).collect();
    assert_eq!(bumped, ["services/shop/deps.edn", "services/shop/tools/deps.edn", "services/core/deps.edn"]);
    assert!(world.line("where").await.ends_with("/clone/services/shop"));

    // What counts is read anew when the entry says otherwise: other is bumped with the next push.
    world.edit("deploy.edn", "services/shop\" :deps", "services/other\" :deps");
    world.edit("deploy.edn", "test ! -e services", "test -e made");
    world
        .until("the edit in force", async || {
            (world.get("/apps/shop").await["directory"] == "services/other").then_some(())
        })
        .await;
    let newer = world.push("lib", &[("a", "2")]).await;
    let job = world.job("shop").await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    assert_eq!(world.file("mono", "services/other/deps.edn").matches(&newer.to_string()).count(), 1);
    assert_eq!(world.file("mono", "services/shop/deps.edn").matches(&newer.to_string()).count(), 0);

    let lost = world.deploy_to_the_end("lost").await;
    // Held for one app, a library stays where it is in the files that count for it, whoever else has them.
    world.edit("deploy.edn", "services/other\" :deps", "services/shop\" :deps");
    world.edit(
        "deploy.edn",
        ":trigger :manual :directory \"services/gone\"",
        ":update? true :directory \"services/core\"",
    );
    let args = ["hold", "lost", "acme/lib", "--reason", "loses carts"];
    world.until("a hold", async || (world.cli(&args).0 == 0).then_some(())).await;
    let in_core = world.file("mono", "services/core/deps.edn");
    let newest = world.push("lib", &[("a", "3")]).await;
    world.settled().await;
    assert!(world.file("mono", "services/shop/deps.edn").contains(&newest.to_string()), "{}", world.log());
    assert_eq!(world.file("mono", "services/core/deps.edn"), in_core);
    let (_, planned) = world.cli(&["plan", world.url("lib").as_str()]);
    assert!(planned.contains("loses carts"), "{planned}");

    let job = lost;
    assert_eq!(job["state"], "failed", "{job:#}");
    let error = text(step(&job, "build"), "error");
    assert!(error.contains("no folder services/gone, which :directory of lost names"), "{error}");
}

/// Two apps of one repository on hosts of their own, each on a folder that depends on a library; `shop` uses a module
/// beside it. A build notes the tree that it builds, and fails while there is a file `broken-APP`.
fn shop_and_admin(world: &mut World) {
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let shop = deps(&[dep(world, "lib", lib), "acme/core {:local/root \"../core\"}".to_owned()]);
    let admin = deps(&[dep(world, "lib", lib)]);
    let files = [
        ("shop/deps.edn", shop.as_str()),
        ("core/deps.edn", "{:paths [\"src\"]}"),
        ("admin/deps.edn", &admin),
        ("README.md", "two apps"),
    ];
    world.commit("mono", &files);
    let build =
        |app: &str| format!("test ! -e {{dir}}/broken-{app} && git rev-parse HEAD^{{tree}} >> {{dir}}/built-{app}");
    let app = |app: &str, n: usize| {
        format!(
            ":{app} {{:git-url \"{{repo:mono}}\" :update? true :directory \"{app}\" :build \"{}\"\n\
               :working-directory \"{{dir}}/srv/{{host}}\" :hosts [:web-{n}] :restart \"true\"}}\n",
            build(app)
        )
    };
    world.clone_to_hosts("mono");
    let apps = app("shop", 1) + &app("admin", 2);
    world.deploy_edn(&apps);
}
fn built(world: &World, app: &str) -> Vec<String> {
    world.read(&format!("built-{app}")).lines().map(str::to_owned).collect()
}
fn runs(world: &World, host: &str) -> String {
    super::support::world::git(&world.path(&format!("srv/{host}")), &["rev-parse", "HEAD"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_push_makes_one_commit_for_all_apps_of_a_repository_each_built_once_and_rolled_out() {
    let mut world = World::new(2);
    shop_and_admin(&mut world);
    world.start().await;
    for app in ["shop", "admin"] {
        assert_eq!(world.deploy_to_the_end(app).await["state"], "succeeded", "{}", world.log());
    }
    let plan = world.call(&["plan", world.url("lib").as_str(), "--json"]).await;
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    let hosts = |n: usize| (plan["apps"][n]["app"].clone(), plan["apps"][n]["hosts"].clone());
    let told = |app: &str, host: &str| (app.into(), serde_json::json!([host]));
    assert_eq!([hosts(0), hosts(1)], [told("admin", "web-2"), told("shop", "web-1")], "{plan:#}");
    let old = world.head("lib");
    let new = world.push("lib", &[("a", "1")]).await;
    let jobs = world.settled().await;
    assert_eq!(jobs.len(), 4, "{jobs:#?}");
    assert!(jobs.iter().all(|job| job["state"] == "succeeded"), "{jobs:#?}\n{}", world.log());
    assert_eq!(world.count("mono"), 2, "one commit");
    assert_eq!(world.in_bare("mono", &["diff", "--name-only", "main^", "main"]), "admin/deps.edn\nshop/deps.edn");
    for file in ["shop/deps.edn", "admin/deps.edn"] {
        let text = world.file("mono", file);
        assert!(text.contains(&new.to_string()) && !text.contains(&old.to_string()), "{text}");
    }
    let message = world.in_bare("mono", &["log", "-1", "--format=%B", "main"]);
    assert_eq!(message.matches("Airplanes-Bump: ").count(), 1, "{message}");
    let tree = world.in_bare("mono", &["rev-parse", "main^{tree}"]);
    for (app, host) in [("shop", "web-1"), ("admin", "web-2")] {
        assert_eq!(built(&world, app).iter().filter(|built| **built == tree).count(), 1, "{app} was built once");
        assert_eq!(runs(&world, host), world.head("mono").to_string());
    }
    let (first, second): (Vec<_>, Vec<_>) =
        jobs.iter().take(2).partition(|job| !job["bumps"].as_array().unwrap().is_empty());
    assert_eq!((first.len(), second.len()), (1, 1), "one made it, the other found it");
    let (_, told) = world.cli(&["job", text(second[0], "id")]);
    assert!(told.contains("what is due is there already"), "{told}");

    // Our own commit's webhook does nothing.
    let head = world.head("mono");
    let before = world.in_bare("mono", &["rev-parse", "main^"]).parse().unwrap();
    world.hook(airplanes::model::Forge::Github, "mono", Some(before), head, "own").await;
    assert_eq!(world.settled().await.len(), 4);

    // One whose build fails does not keep the other from going live.
    std::fs::write(world.path("broken-shop"), "").unwrap();
    let newer = world.push("lib", &[("a", "2")]).await;
    assert_eq!(world.job("shop").await["state"], "failed");
    let admin = world.job("admin").await;
    assert_eq!(admin["state"], "succeeded", "{admin:#}\n{}", world.log());
    assert!(world.file("mono", "admin/deps.edn").contains(&newer.to_string()));
    assert_eq!((runs(&world, "web-2"), runs(&world, "web-1")), (world.head("mono").to_string(), head.to_string()));
    assert_eq!(world.count("mono"), 3);

    // Whichever of them was first: a deploy takes up what is left.
    std::fs::remove_file(world.path("broken-shop")).unwrap();
    assert_eq!(world.deploy_to_the_end("shop").await["state"], "succeeded", "{}", world.log());
    assert!(world.file("mono", "shop/deps.edn").contains(&newer.to_string()));
    assert_eq!(runs(&world, "web-1"), world.head("mono").to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_depends_on_a_folder_waits_for_the_apps_of_that_folder_and_what_was_left_out_is_made_up_for() {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let on_lib = deps(&[dep(&world, "lib", lib)]);
    let mono = world.commit("mono", &[("svc/shop/deps.edn", on_lib.as_str()), ("svc/admin/deps.edn", &on_lib)]);
    let on_shop = dep(&world, "mono", mono).replace("}", " :deps/root \"svc/shop\"}");
    world.commit("till", &[("deps.edn", &deps(&[on_shop]))]);
    let tool = world.commit("tool", &[("deps.edn", "{}")]);
    world.commit("flat", &[("deps.edn", &deps(&[dep(&world, "tool", tool)]))]);
    let app = |app: &str, repo: &str, more: &str| {
        format!(
            ":{app} {{:git-url \"{{repo:{repo}}}\" :update? true {more} :build \"test ! -e {{dir}}/broken-{app}\"}}\n"
        )
    };
    world.deploy_edn(
        &[
            app("shop", "mono", ":directory \"svc/shop\""),
            app("admin", "mono", ":directory \"svc/admin\""),
            app("till", "till", ""),
            app("tool", "tool", ""),
            app("flat", "flat", ""),
        ]
        .concat(),
    );
    world.start().await;
    let graph = async || {
        let graph = world.call(&["graph"]).await.out;
        (graph.matches("(branch main)").count() == 4).then_some(graph)
    };
    let graph = world.until("what depends on what", graph).await;
    assert!(graph.contains("  till\n    shop (branch main)\n"), "on no admin: {graph}");

    std::fs::write(world.path("broken-admin"), "").unwrap();
    world.push("lib", &[("a", "1")]).await;
    let of = async |app: &str| world.job(app).await["state"].as_str().unwrap().to_owned();
    assert_eq!((of("admin").await, of("till").await), ("failed".to_owned(), "succeeded".to_owned()), "{}", world.log());
    assert!(world.file("till", "deps.edn").contains(&world.head("mono").to_string()));

    // One that could not take a commit, since its app failed, does so once that is mended without another commit.
    std::fs::write(world.path("broken-tool"), "").unwrap();
    let new = world.push("tool", &[("a", "1")]).await;
    assert_eq!((of("tool").await, of("flat").await), ("failed".to_owned(), "skipped".to_owned()), "{}", world.log());
    std::fs::remove_file(world.path("broken-tool")).unwrap();
    assert_eq!(world.deploy_to_the_end("tool").await["state"], "succeeded");
    world.bumped("flat", new).await;
    world.settled().await;
    world.deploy_to_the_end("tool").await;
    assert_eq!(world.jobs_of("flat").await.len(), 2, "once: {}", world.log());
}

/// Killed before the push of the commit that two apps share, in between it and the entry that tells of it, and while the
/// mirror takes it in.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_the_push_of_what_two_apps_share_there_is_one_commit_and_both_go_live() {
    let mut world = World::new(2);
    shop_and_admin(&mut world);
    world.start().await;
    for app in ["shop", "admin"] {
        assert_eq!(world.deploy_to_the_end(app).await["state"], "succeeded", "{}", world.log());
    }
    for (n, at) in ["\"entry\":\"publishing\":after", "adopt:here", "\"entry\":\"published\":before"].iter().enumerate()
    {
        world.stop();
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), (*at).to_owned())];
        world.start().await;
        let new = world.push("lib", &[("a", &n.to_string())]).await;
        world.dies().await;
        world.start().await;
        let jobs = world.settled().await;
        assert!(jobs.iter().all(|job| job["state"] == "succeeded"), "{at}: {jobs:#?}\n{}", world.log());
        assert_eq!((jobs.len(), world.count("mono")), (4 + 2 * n, 2 + n), "{at}: one commit, no job too many");
        let tree = world.in_bare("mono", &["rev-parse", "main^{tree}"]);
        for (app, host) in [("shop", "web-1"), ("admin", "web-2")] {
            assert!(world.file("mono", &format!("{app}/deps.edn")).contains(&new.to_string()), "{at}: {app}");
            assert!(built(&world, app).contains(&tree), "{at}: {app} runs what was built");
            assert_eq!(runs(&world, host), world.head("mono").to_string(), "{at}");
        }
        // What was taken in half is whole, and nobody has to tell.
        let mirrors = std::fs::read_dir(world.state("mirrors")).unwrap().flatten();
        for mirror in mirrors.filter(|entry| entry.path().join("objects").exists()) {
            super::support::world::git(&mirror.path(), &["fsck", "--connectivity-only"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_took_back_of_one_app_stays_so_whatever_its_neighbours_do() {
    let mut world = World::new(2);
    world.by_file = true;
    shop_and_admin(&mut world);
    world.start().await;
    for app in ["shop", "admin"] {
        assert_eq!(world.deploy_to_the_end(app).await["state"], "succeeded", "{}", world.log());
    }
    let good = runs(&world, "web-1");
    let bad = world.push("mono", &[("shop/bug", "1")]).await;
    world.settled().await;
    assert_eq!(runs(&world, "web-1"), bad.to_string());
    let back = world.call(&["rollback", "shop", "--watch"]).await;
    assert_eq!(back.code, Some(0), "{back:?}");
    // A push that leaves shop alone is nobody's word about it, nor is what the daemon commits.
    let theirs = world.push("mono", &[("admin/page", "1")]).await;
    world.settled().await;
    assert_eq!((runs(&world, "web-2"), runs(&world, "web-1")), (theirs.to_string(), good.clone()), "{}", world.log());
    let new = world.push("lib", &[("a", "1")]).await;
    world.settled().await;
    assert_eq!((runs(&world, "web-2"), runs(&world, "web-1")), (world.head("mono").to_string(), good));
    assert!(!world.file("mono", "shop/deps.edn").contains(&new.to_string()));
    assert_eq!(world.get("/holds").await["holds"][0]["kind"]["bad"], bad.to_string());
    // A fix is.
    world.push("mono", &[("shop/bug", "")]).await;
    world.bumped_in("shop", new).await;
    world.settled().await;
    assert_eq!(world.get("/holds").await["holds"], serde_json::json!([]));
    assert_eq!(runs(&world, "web-1"), world.head("mono").to_string());

    // Each puts the library back, and nobody tells: the one whose job is first takes nothing of the other's along.
    let at = world.commit("mono", &[]);
    let newer = world.push("lib", &[("a", "2")]).await;
    for app in ["shop", "admin"] {
        world.bumped_in(app, newer).await;
    }
    world.settled().await;
    world.in_bare("mono", &["update-ref", "refs/heads/main", &at.to_string()]);
    let newest = world.push("lib", &[("a", "3")]).await;
    world.settled().await;
    for app in ["shop", "admin"] {
        let deps = world.file("mono", &format!("{app}/deps.edn"));
        assert!(!deps.contains(&newest.to_string()), "{app}: {deps}\n{}", world.log());
    }
    let holds = world.get("/holds").await["holds"].clone();
    let held: Vec<&str> = holds.as_array().unwrap().iter().map(|hold| text(&hold["kind"], "kind")).collect();
    assert_eq!(held, ["moved-back", "moved-back"], "{holds:#}");
}

impl World {
    async fn bumped_in(&self, app: &str, to: Sha) {
        let there = async || self.file("mono", &format!("{app}/deps.edn")).contains(&to.to_string()).then_some(());
        self.until(&format!("{app} is bumped to {to}; {}", self.log()), there).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_runs_those_whose_part_of_the_repository_it_touches() {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let core = deps(&["acme/core {:local/root \"../core\"}".to_owned(), dep(&world, "lib", lib)]);
    world.commit("mono", &[("shop/deps.edn", &core), ("core/deps.edn", "{}"), ("admin/deps.edn", "{}"), ("x", "")]);
    world.deploy_edn(
        r#":shop  {:git-url "{repo:mono}" :update? true :directory "shop"}
           :admin {:git-url "{repo:mono}" :directory "admin"}
           :docs  {:git-url "{repo:mono}" :paths ["docs" "**/*.md"] :update? true}
           :whole {:git-url "{repo:mono}"}"#,
    );
    world.start().await;
    let mut ran = 0;
    let mut now = async |world: &World| {
        let jobs = world.settled().await;
        let mut names: Vec<String> = jobs[..jobs.len() - ran].iter().map(|job| text(job, "app").to_owned()).collect();
        ran = jobs.len();
        names.sort();
        names.join(" ")
    };
    for (path, expected) in [
        ("shop/src/a.clj", "shop whole"),
        ("admin/src/a.clj", "admin whole"),
        ("core/src/a.clj", "shop whole"),
        ("docs/deep/a.txt", "docs whole"),
        ("shop/README.md", "docs shop whole"),
        ("shopping", "whole"),
    ] {
        world.push("mono", &[(path, "1")]).await;
        assert_eq!(now(&world).await, expected, "{path}\n{}", world.log());
    }
    let notes = world.get("/deliveries?limit=1").await.to_string();
    assert!(notes.contains("touches nothing that concerns"), "{notes}");
    // What it would have been is told of a commit that is there, and of one that nobody has told of.
    let planned = async |sha: &str| {
        let said = world.call(&["plan", &format!("{}@{sha}", world.url("mono")), "--json"]).await;
        let view: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        let mut names: Vec<String> =
            view["apps"].as_array().unwrap().iter().map(|app| text(app, "app").to_owned()).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(planned(&world.in_bare("mono", &["rev-parse", "main~2"])).await, "docs whole");
    assert_eq!(planned(&world.head("mono").to_string()).await, "whole");
    world.in_bare("mono", &["branch", "-f", "aside", "main"]);
    let person = world.path("people/mono");
    std::fs::write(person.join("admin/aside"), "1").unwrap();
    for args in [&["add", "-A"][..], &["commit", "-q", "-m", "aside"], &["push", "-q", "-f", "origin", "HEAD:aside"]] {
        super::support::world::git(&person, args);
    }
    assert_eq!(planned(&world.in_bare("mono", &["rev-parse", "aside"])).await, "admin whole");
    super::support::world::git(&person, &["reset", "-q", "--hard", "origin/main"]);
    // One of which no webhook told is in the next: what an app has not seen concerns it.
    world.commit("mono", &[("admin/src/b.clj", "1")]);
    world.push("mono", &[("shop/src/b.clj", "1")]).await;
    assert_eq!(now(&world).await, "admin shop whole");
    // What is taken away concerns too.
    let person = world.path("people/mono");
    super::support::world::git(&person, &["rm", "-q", "admin/src/b.clj"]);
    super::support::world::git(&person, &["commit", "-q", "-m", "without it"]);
    world.push("mono", &[]).await;
    assert_eq!(now(&world).await, "admin whole");
    // Where nobody knows what is new, all run.
    let head = world.commit("mono", &[("x", "2")]);
    world.hook(airplanes::model::Forge::Github, "mono", None, head, "new").await;
    assert_eq!(now(&world).await, "admin docs shop whole");
    let (unknown, head) = ("d".repeat(40).parse().unwrap(), world.commit("mono", &[("x", "3")]));
    world.hook(airplanes::model::Forge::Github, "mono", Some(unknown), head, "odd").await;
    assert_eq!(now(&world).await, "admin docs shop whole");
    // What an app depends on since a push that did not run it is known, though the daemon ended before it was read.
    let used = world.push("mono", &[("deps.edn", &deps(&[dep(&world, "lib", lib)]))]).await;
    assert_eq!(now(&world).await, "whole");
    world.kill();
    world.start().await;
    let new = world.push("lib", &[("x", "1")]).await;
    assert_eq!(now(&world).await, "docs shop", "{used}");
    assert!(world.file("mono", "deps.edn").contains(&new.to_string()));
}
