//! What no push tells: apps behind a head that was there before anybody listed it, and branches that are not there.

use airplanes::model::Sha;

use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_behind_a_head_that_was_never_listed_is_told_and_so_are_branches_that_are_not_there() {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("other", &[("deps.edn", "{:paths []}")]);
    let feat: Sha =
        world.in_bare("other", &["commit-tree", "main^{tree}", "-p", "main", "-m", "on the side"]).parse().unwrap();
    world.in_bare("other", &["branch", "feat", &feat.to_string()]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("till", &[("deps.edn", &world.deps(&[("lib", lib), ("other", feat)]))]);
    world.deploy_edn(
        ":app {:git-url \"{repo:app}\" :update? true :build \"true\"}
         :till {:git-url \"{repo:till}\" :update? true :build \"true\"
                :track {acme/lib {:branch \"2.x\"} acme/none {:branch \"1.x\"}}}",
    );
    world.start().await;
    let read = async || {
        let graph = world.get("/graph").await.to_string();
        (graph.contains("branch main") && graph.contains("branch feat")).then_some(())
    };
    world.until("the mirrors are made", read).await;
    // Somebody fetched the push before anybody listed its repository: that is where it begins.
    let new = world.commit("lib", &[("a", "1")]);
    assert_eq!(world.call(&["plan", &format!("{}@{new}", world.url("lib"))]).await.code, Some(0));
    let behind = format!("app has acme/lib at {}, and main is at {}: airplanes deploy app", lib.short(), new.short());
    let said = world.call(&["sync", "app"]).await;
    assert!(said.code == Some(0) && said.err.contains("nothing had moved") && said.out.contains(&behind), "{said:?}");
    assert!(world.settled().await.is_empty(), "no push was made of it");
    let said = world.call(&["graph"]).await;
    for part in [&*behind, "has no branch 2.x (any more), which :track of till names for acme/lib"] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let said = world.call(&["repos"]).await;
    assert!(said.out.contains(&format!("behind: {behind}")) && said.out.contains("gone: branch 2.x of"), "{said:?}");
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    let said = world.call(&["sync", "app"]).await;
    assert!(said.code == Some(0) && !said.out.contains("behind:"), "{said:?}");

    // What :track names and is not there, wherever one looks.
    let doctor = world.get("/doctor?app=till").await.to_string();
    for part in [
        "has no branch 2.x, which :track names for acme/lib; it has main",
        ":track names acme/none, which no deps file",
    ] {
        assert!(doctor.contains(part), "{part}: {doctor}");
    }
    let said = world.call(&["deploy", "till", "--watch"]).await;
    assert!(said.err.contains("has no branch 2.x; delete or correct its :track"), "{said:?}");
    let said = world.call(&["explain", "till"]).await;
    assert!(said.out.contains("has no branch 2.x; delete or correct its :track"), "{said:?}");

    // A branch that was deleted is no history that was rewritten, though nobody has told of it or listed it.
    world.in_bare("other", &["branch", "-D", "feat"]);
    world.push("other", &[("a", "1")]).await;
    let reason = world.job("till").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("was on the branch feat") && reason.contains("was deleted"), "{reason}");
    let said = world.call(&["graph", "till"]).await;
    assert!(
        said.out.contains("the branch feat of") && said.out.contains("was deleted: set its sha by hand"),
        "{said:?}"
    );
}
