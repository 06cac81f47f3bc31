//! A default branch that gets another name, or is another one: who goes by it follows, whoever tells of it.

use airplanes::forge::push_payload;
use airplanes::model::{Branch, Forge, Sha};
use serde_json::Value;

use super::{listed, sync};
use crate::support::world::World;

/// What a forge does when a person renames a default branch.
fn rename(world: &World, repo: &str, was: &str, now: &str) {
    world.in_bare(repo, &["branch", now, was]);
    world.in_bare(repo, &["symbolic-ref", "HEAD", &format!("refs/heads/{now}")]);
    world.in_bare(repo, &["branch", "-D", was]);
}

/// A person's commit on a branch, of which nobody is told: the commit before it, and it.
fn commit(world: &World, repo: &str, branch: &str) -> (Sha, Sha) {
    let before = world.in_bare(repo, &["rev-parse", branch]);
    let tree = format!("{branch}^{{tree}}");
    let after = world.in_bare(repo, &["commit-tree", &tree, "-p", branch, "-m", "a person's change"]);
    world.in_bare(repo, &["update-ref", &format!("refs/heads/{branch}"), &after]);
    (before.parse().unwrap(), after.parse().unwrap())
}

/// The same, and its webhook, which does not say what the default branch is.
async fn push(world: &World, repo: &str, branch: &str) -> Sha {
    let (before, after) = commit(world, repo, branch);
    let body = push_payload(Forge::Github, &world.url(repo), &Branch::new(branch).unwrap(), Some(before), after);
    let sent = world.signed_body(Forge::Github, body, &after.to_string()).send().await.unwrap();
    assert_eq!(sent.status().as_u16(), 202);
    after
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_a_default_branch_that_was_renamed_are_found_by_listing_and_webhook_of_libraries_and_apps() {
    let mut world = World::new(0);
    (world.by_file, world.poll) = (true, "\"1h\"".to_owned());
    world.write_config();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let app = world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("till", &[("deps.edn", &world.deps(&[("app", app)]))]);
    world.deploy_edn(
        ":app {:git-url \"{repo:app}\" :update? true :build \"true\"}
         :till {:git-url \"{repo:till}\" :update? true :build \"true\"}",
    );
    world.start().await;
    let follows = async |branch: &str, times: usize| {
        let graph = async || {
            let graph = world.call(&["graph"]).await.out;
            assert!(!graph.contains("deleted"), "{graph}");
            (graph.matches(&format!("(branch {branch})")).count() == times).then_some(())
        };
        world.until("the graph", graph).await;
    };
    follows("main", 2).await;
    sync(&world, "").await;
    listed(&world).await;

    // Renamed and listed, and then pushed to.
    rename(&world, "lib", "main", "trunk");
    assert_eq!(sync(&world, "").await["moved"].as_array().map(Vec::len), Some(0));
    follows("trunk", 1).await;
    let (_, new) = commit(&world, "lib", "trunk");
    assert!(sync(&world, "").await["moved"][0]["event"].is_string());
    world.bumped("app", new).await;

    // Pushed to before anybody listed it.
    rename(&world, "lib", "trunk", "live");
    let (was, new) = commit(&world, "lib", "live");
    let answer = sync(&world, "").await;
    let of_lib = |moved: &&Value| moved["branch"] == "live";
    let moved = answer["moved"].as_array().unwrap().iter().find(of_lib).unwrap();
    assert_eq!((moved["was"].as_str(), moved["now"].as_str()), (Some(&*was.to_string()), Some(&*new.to_string())));
    world.bumped("app", new).await;

    // A webhook is the first to tell of it.
    rename(&world, "lib", "live", "next");
    let new = push(&world, "lib", "next").await;
    world.bumped("app", new).await;
    world.settled().await;
    let (jobs, answer) = (world.jobs_of("app").await.len(), sync(&world, "").await);
    let again: Vec<&str> = answer["moved"].as_array().unwrap().iter().filter_map(|m| m["repo"].as_str()).collect();
    assert!(!again.iter().any(|repo| repo.ends_with("/lib")), "{answer}");
    follows("next", 1).await;
    world.settled().await;
    assert_eq!(world.jobs_of("app").await.len(), jobs, "{}", world.log());

    // An app without :branch lives on the new one: its own push, and what it depends on.
    rename(&world, "app", "main", "trunk");
    let own = push(&world, "app", "trunk").await;
    world.bumped("till", own).await;
    let job = world.job("app").await;
    assert_eq!((job["sha"].as_str(), job["causes"][0]["why"].as_str()), (Some(&*own.to_string()), Some("own-push")));
    let new = push(&world, "lib", "next").await;
    world.settled().await;
    assert!(world.in_bare("app", &["show", "trunk:deps.edn"]).contains(&new.to_string()), "{}", world.log());
    let built: Sha = world.in_bare("app", &["rev-parse", "trunk"]).parse().unwrap();
    world.bumped("till", built).await;
    sync(&world, "").await;
    follows("trunk", 1).await;
    let said = world.call(&["sync"]).await;
    assert!(said.code == Some(0) && !said.out.contains("behind:"), "{said:?}");

    // History that was rewritten is told for as long as somebody stands on what it was.
    let lost = world.in_bare("lib", &["rev-parse", "next"]);
    let other = world.in_bare("lib", &["commit-tree", "next^{tree}", "-p", "next^", "-m", "another history"]);
    world.in_bare("lib", &["update-ref", "refs/heads/next", &other]);
    sync(&world, "").await;
    world.settled().await;
    for args in [&["sync"][..], &["graph", "app"], &["repos"]] {
        let said = world.call(args).await;
        let words = format!("its history was rewritten, and {} is not on it any more", &lost[..10]);
        assert!(said.out.contains(&words), "{args:?}: {said:?}");
    }
}
