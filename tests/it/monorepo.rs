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

    let job = world.deploy_to_the_end("lost").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    let error = text(step(&job, "build"), "error");
    assert!(error.contains("no folder services/gone, which :directory of lost names"), "{error}");
}
