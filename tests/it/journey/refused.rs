//! What tools.deps would refuse is found before a build is begun, and nothing of it is published.

use airplanes::model::Sha;

use super::{quick, reason};

#[tokio::test(flavor = "multi_thread")]
async fn a_bump_whose_dependencies_conflict_fails_before_the_build_and_leaves_the_branch_alone() {
    let mut world = quick();
    let old = world.commit("base", &[("deps.edn", "{}")]);
    let new = world.commit("base", &[("a", "1")]);
    let identity = ["-c", "user.name=Anna", "-c", "user.email=a@example.com"];
    let (tree, parent) = (format!("{old}^{{tree}}"), old.to_string());
    let made = [&identity[..], &["commit-tree", &tree, "-p", &parent, "-m", "aside"]].concat();
    let aside: Sha = world.in_bare("base", &made).parse().unwrap();
    world.in_bare("base", &["update-ref", "refs/heads/aside", &aside.to_string()]);
    let left = world.commit("left", &[("deps.edn", &world.deps(&[("base", new)]))]);
    let right = world.commit("right", &[("deps.edn", &world.deps(&[("base", old)]))]);
    let text = world.deps(&[("left", left), ("right", right)]);
    world.commit("app", &[("deps.edn", &text)]);
    world.deploy_edn(":app {:git-url \"{repo:app}\" :update? true :build \"touch {dir}/built\"}");
    world.start().await;

    // Its base is of a line that parted from the other's.
    world.push("right", &[("deps.edn", &world.deps(&[("base", aside)]))]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    for words in [
        "No known ancestor relationship between git versions for acme/base",
        &format!("at {new} (by acme/left > acme/base)"),
        &format!("at {aside} (by acme/right > acme/base)"),
        "deps.edn:4: ",
    ] {
        assert!(reason(&job).contains(words), "{words}: {job:#}");
    }
    assert_eq!((world.file("app", "deps.edn").as_str(), world.count("app")), (text.trim_end(), 1));
    assert!(!world.path("built").exists(), "nothing was built");

    // Once it stands on the other's line, it goes.
    let right = world.push("right", &[("deps.edn", &world.deps(&[("base", new)]))]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(world.file("app", "deps.edn").contains(&right.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_pushed_that_tools_deps_would_refuse_fails_before_the_build_though_nothing_is_due() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let never: Sha = "f".repeat(40).parse().unwrap();
    let (good, bad) = (world.deps(&[("lib", lib)]), world.deps(&[("lib", never)]));
    world.commit("app", &[("deps.edn", &good), ("old/deps.edn", &bad)]);
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :build "touch {dir}/built"}
           :old {:git-url "{repo:app}" :directory "old" :build "true"}"#,
    );
    world.start().await;
    // What was so before anyone of us came is the build's to judge.
    assert_eq!(world.deployed("old").await["state"], "succeeded");
    assert_eq!(world.deployed("app").await["state"], "succeeded");
    std::fs::remove_file(world.path("built")).unwrap();
    world.push("app", &[("deps.edn", &bad)]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    for words in ["tools.deps would refuse this: deps.edn:3: Commit not found for acme/lib", &never.to_string()] {
        assert!(reason(&job).contains(words), "{words}: {job:#}");
    }
    assert!(!world.path("built").exists(), "nothing was built");
    world.push("app", &[("deps.edn", &good)]).await;
    assert_eq!(world.job("app").await["state"], "succeeded");
}
