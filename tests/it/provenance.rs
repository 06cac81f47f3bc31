//! Provenance: what each job was built with is known down to the dependencies' dependencies; who has a commit, who
//! lacks it and why; and hosts are asked, not assumed.

use airplanes::model::provenance::Locked;
use serde_json::Value;

use super::support::world::{World, git};

/// `base` below `lib`, `app` on both by way of `lib`, and `other` on `base` itself.
async fn chain(hosts: usize) -> World {
    let mut world = World::new(hosts);
    world.by_file = true;
    let base = world.commit("base", &[("base", "")]);
    let lib = world.commit("lib", &[("deps.edn", &world.deps(&[("base", base)]))]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("other", &[("deps.edn", &world.deps(&[("base", base)]))]);
    world.deploy_edn(
        r#":lib {:git-url "{repo:lib}" :update? true :build "true"}
           :app {:git-url "{repo:app}" :update? true :build "true" :working-directory "{dir}/srv/{host}"
                 :hosts [:web-1] :restart "true"}
           :other {:git-url "{repo:other}" :update? true :build "true"}"#,
    );
    world.clone_to_hosts("app");
    world.start().await;
    world.knows(4).await;
    world
}

fn apps(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["app"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_runs_a_commit_and_who_lacks_it_is_known_down_to_the_dependencies_dependencies() {
    let mut world = chain(1).await;
    assert_eq!(apps(&world.get("/where?lib=acme/base").await["unknown"]), ["app", "lib", "other"]);
    let said = world.call(&["hold", "other", "acme/base", "--reason", "not yet"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let old = world.head("base");
    world.deployed("other").await;
    let fix = world.push("base", &[("fix", "1")]).await;
    world.settled().await;

    // The new commit is in the app by way of lib, on its host; the held one still runs the old one.
    let runs = world.get(&format!("/where?lib=acme/base&sha={}", &fix.to_string()[..9])).await;
    assert_eq!(apps(&runs["runs"]), ["app", "lib"], "{runs:#}\n{}", world.log());
    let app = &runs["runs"][0];
    assert_eq!((app["locked"]["via"].as_str(), &app["hosts"][0]), (Some("acme/lib"), &"web-1".into()), "{app}");
    assert_eq!(app["commit"], world.head("app").to_string());
    assert_eq!(apps(&world.get(&format!("/where?lib=acme/base&sha={old}")).await["runs"]), ["other"]);

    let said = world.call(&["missing", &fix.to_string()]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("other") && said.out.contains("not yet") && !said.out.contains("web-1"), "{said:?}");
    assert!(said.err.contains("have it: app, lib"), "{said:?}");
    // By its first digits, and the library by its repository or its app, as everywhere.
    assert_eq!(world.call(&["missing", &fix.to_string()[..8]]).await, said);
    for base in [world.url("base").to_string(), world.url("base").id().to_string()] {
        let told = world.call(&["where", &format!("{base}@{}", fix.short())]).await;
        assert!(told.code == Some(0) && told.out.contains("acme/lib") && told.out.contains("app"), "{told:?}");
    }
    let told = world.call(&["where", "lib"]).await;
    assert!(told.out.contains("acme/lib") && !told.out.contains("acme/base"), "{told:?}");
    let told = world.call(&["missing", "abc"]).await;
    assert!(told.code == Some(2) && told.err.contains("too short"), "{told:?}");
    // A commit that nobody has needed so far is looked for at the remotes.
    let newer = world.commit("base", &[("newer", "1")]);
    let missing = world.get(&format!("/missing?sha={}", newer.short())).await;
    assert_eq!(apps(&missing["missing"]), ["app", "lib", "other"], "{missing:#}");
    let said = world.call(&["missing", &"f".repeat(40)]).await;
    assert!(said.code == Some(1) && said.err.contains("is it pushed"), "{said:?}");
    // All remotes were asked for that one a moment ago: not again for each word that is mistyped.
    assert!(said.err.contains("all 4 remotes were asked") && said.err.contains("asked again in"), "{said:?}");
    for (sha, why) in [("3f2a", "too short"), ("3f2a91cx", "is no commit")] {
        let said = world.call(&["where", &format!("acme/base@{sha}")]).await;
        assert!(said.code == Some(2) && said.err.contains(why), "{said:?}");
    }

    // An app that nothing is known of may lack it, and that is no "none does".
    world.commit("fresh", &[("deps.edn", &world.deps(&[("base", fix)]))]);
    let url = world.url("fresh").to_string();
    world.edit("deploy.edn", ":other {", &format!(":fresh {{:git-url \"{url}\"}} :other {{"));
    let there = async || (world.get("/apps").await["apps"].as_array()?.len() == 4).then_some(());
    world.until("it is an app", there).await;
    let said = world.call(&["missing", &old.to_string()]).await;
    assert!(said.code == Some(1) && !said.out.contains("WITHOUT IT"), "{said:?}");
    assert!(said.err.contains("not known of fresh") && said.err.contains("which may lack it"), "{said:?}");
    world.edit("deploy.edn", &format!(":fresh {{:git-url \"{url}\"}} "), "");

    // It is on disk, and what comes after it is built with more.
    world.kill();
    world.start().await;
    assert_eq!(apps(&world.get(&format!("/where?lib=acme/base&sha={fix}")).await["runs"]), ["app", "lib"]);
    let said = world.call(&["hold", "other", "acme/base", "--release"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let got = async || (world.call(&["missing", &fix.to_string()]).await.code == Some(0)).then_some(());
    world.until("all have the fix", got).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_asked_what_they_have_and_nothing_on_them_is_changed() {
    let mut world = chain(1).await;
    let drift = async |world: &World| world.get("/drift?app=app").await["hosts"][0].clone();
    assert_eq!(drift(&world).await["state"], "never-deployed");
    assert_eq!(world.deployed("app").await["state"], "succeeded", "{}", world.log());
    let said = world.call(&["drift"]).await;
    assert!(said.code == Some(0) && said.out.contains("in-step"), "{said:?}");

    let folder = world.path("srv/web-1");
    std::fs::write(folder.join("deps.edn"), "{}").unwrap();
    let host = drift(&world).await;
    assert_eq!((host["state"].as_str(), host["why"].as_str()), (Some("changed-files"), Some("deps.edn")), "{host}");
    git(&folder, &["commit", "-qam", "by hand"]);
    let (by_hand, host) = (git(&folder, &["rev-parse", "HEAD"]), drift(&world).await);
    assert_eq!((host["state"].as_str(), host["has"].as_str()), (Some("other-commit"), Some(by_hand.as_str())));
    assert!(host["why"].as_str().unwrap().contains("no job of ours") && host["job"].is_null(), "{host}");
    assert_eq!(git(&folder, &["rev-parse", "HEAD"]), by_hand);
    git(&folder, &["reset", "-q", "--hard", "HEAD^"]);

    // A rollout that got as far as the host and was not well there: that is what runs.
    world.edit("deploy.edn", ":restart \"true\"", ":restart \"false\"");
    let taken = async || world.log().contains("the configuration is in force").then_some(());
    world.until("the edit is in force", taken).await;
    let fix = world.push("base", &[("fix", "1")]).await;
    assert_eq!(world.job("app").await["state"], "failed", "{}", world.log());
    assert_eq!(git(&folder, &["rev-parse", "HEAD"]), world.head("app").to_string());
    let runs = world.get(&format!("/where?lib=acme/base&sha={fix}")).await;
    let app =
        runs["runs"].as_array().unwrap().iter().find(|run| run["app"] == "app").unwrap_or_else(|| panic!("{runs}"));
    assert_eq!((&app["hosts"][0], &app["commit"]), (&"web-1".into(), &world.head("app").to_string().into()), "{app}");
    let missing = world.get(&format!("/missing?sha={fix}")).await;
    assert!(!apps(&missing["missing"]).contains(&"app"), "{missing:#}");

    world.host_down(1);
    let said = world.call(&["drift", "app"]).await;
    assert!(said.code == Some(1) && said.out.contains("unreachable"), "{said:?}");
}

#[tokio::test]
async fn a_closure_of_many_is_kept_in_parts_and_replaced_whole() {
    use super::store::{open_again, planned, planned_event, sha};
    let folder = tempfile::tempdir().unwrap();
    let store = airplanes::store::Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    let locked = |n: u32| Locked {
        lib: format!("acme/{}-{n:04}", "x".repeat(100)).parse().unwrap(),
        repo: airplanes::model::RepoUrl::new(format!("https://github.com/acme/{n}")).unwrap().id(),
        sha: sha(n),
        via: None,
    };
    let many: Vec<Locked> = (0..230).map(locked).collect();
    assert_eq!(store.closure(jobs[0]).unwrap(), None);
    store.put_closure(jobs[0], many.clone()).await.unwrap();
    assert_eq!(store.closure(jobs[0]).unwrap(), Some(many.clone()));
    store.put_closure(jobs[0], many[..70].to_vec()).await.unwrap();
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(store.closure(jobs[0]).unwrap().as_deref(), Some(&many[..70]));
    store.put_closure(jobs[0], vec![]).await.unwrap();
    assert_eq!(store.closure(jobs[0]).unwrap(), Some(vec![]));
}
