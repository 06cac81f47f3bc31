//! The care of mirrors.

use std::path::Path;

use super::super::support::world::{World, git};
use super::keep::kind;

fn packs(mirror: &Path) -> usize {
    let names = std::fs::read_dir(mirror.join("objects/pack")).unwrap().flatten().map(|entry| entry.path());
    names.filter(|path| path.extension().is_some_and(|end| end == "pack")).count()
}

impl World {
    fn mirror(&self, repo: &str) -> std::path::PathBuf {
        let name = self.names("state/mirrors").into_iter().find(|name| name.ends_with(&format!("{repo}.git")));
        self.path("state/mirrors").join(name.unwrap_or_else(|| panic!("no mirror of {repo}")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn git_joins_the_packs_of_a_worn_mirror_and_loses_no_commit_and_an_untouched_one_is_left_alone() {
    let mut world = World::new(0);
    world.by_file = true;
    world.commit("app", &[("deps.edn", "{}")]);
    world.commit("quiet", &[("deps.edn", "{}")]);
    world.deploy_edn(r#":app {:git-url "{repo:app}"} :quiet {:git-url "{repo:quiet}"}"#);
    world.start().await;
    world.deploy_to_the_end("quiet").await;
    // One that a force push leaves without a branch.
    let lost = world.push("app", &[("n", "lost")]).await;
    world.settled().await;
    git(&world.path("people/app"), &["reset", "-q", "--hard", "HEAD~1"]);
    git(&world.path("people/app"), &["push", "-q", "--force", "origin", "HEAD:main"]);
    for n in 0..22 {
        world.push("app", &[("n", &n.to_string())]).await;
        world.settled().await;
    }
    let mirror = world.mirror("app");
    assert!(packs(&mirror) > 20, "{}", packs(&mirror));
    // A clone that borrows the mirror's objects, as jobs' do, at the commit that no branch has.
    let clone = world.path("borrower");
    git(&world.open(), &["init", "-q", clone.to_str().unwrap()]);
    std::fs::write(clone.join(".git/objects/info/alternates"), mirror.join("objects").to_str().unwrap()).unwrap();
    git(&clone, &["reset", "-q", "--hard", &lost.to_string()]);

    let round = world.gc(&["--dry-run"]).await;
    assert_eq!(kind(&round, "maintenance")["count"], 1, "{round:#}");
    assert!(packs(&mirror) > 20);
    let quiet = std::fs::metadata(world.mirror("quiet").join("objects/pack")).unwrap().modified().unwrap();
    let round = world.gc(&[]).await;
    assert_eq!(kind(&round, "maintenance")["count"], 1, "{round:#}");
    assert!(kind(&round, "maintenance")["bytes"].as_u64() > Some(0), "{round:#}");
    assert!(packs(&mirror) <= 2, "{}", packs(&mirror));
    assert_eq!(std::fs::metadata(world.mirror("quiet").join("objects/pack")).unwrap().modified().unwrap(), quiet);
    git(&clone, &["fsck", "--full", "--strict"]);
    assert_eq!(git(&clone, &["cat-file", "-t", &lost.to_string()]), "commit");
    assert_eq!(kind(&world.gc(&[]).await, "maintenance")["count"], 0);
    let after = world.push("app", &[("n", "after")]).await;
    assert_eq!(world.job("app").await["sha"], after.to_string().as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_nothing_has_needed_for_two_weeks_goes_and_comes_back_when_it_is_needed() {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.commit("gone", &[("deps.edn", "{}")]);
    let apps = r#":app {:git-url "{repo:app}" :update? true :build "true"}"#;
    world.deploy_edn(&format!("{apps} :gone {{:git-url \"{{repo:gone}}\"}}"));
    world.start().await;
    for app in ["app", "gone"] {
        assert_eq!(world.deploy_to_the_end(app).await["state"], "succeeded");
    }
    let long_ago = |repo: &str| {
        let at = jiff::Timestamp::now().as_second() - 15 * 86_400;
        std::fs::write(world.mirror(repo).join("airplanes-used"), format!("{at}\n")).unwrap();
    };
    for repo in ["app", "lib", "gone"] {
        assert!(world.mirror(repo).join("airplanes-used").exists(), "{repo}");
        long_ago(repo);
    }
    // As long as it is in deploy.edn it is of use.
    assert_eq!(kind(&world.gc(&[]).await, "mirrors")["count"], 0);
    let all = world.read("deploy.edn");
    world.deploy_edn(apps);
    let count = async || (world.get("/apps").await["apps"].as_array()?.len() == 1).then_some(());
    world.until("the app is gone", count).await;
    let mirror = world.mirror("gone");
    let round = world.gc(&["--dry-run"]).await;
    assert!(kind(&round, "mirrors")["count"] == 1 && mirror.exists(), "{round:#}");
    let round = world.gc(&[]).await;
    assert!(kind(&round, "mirrors")["bytes"].as_u64() > Some(1000) && !mirror.exists(), "{round:#}");
    assert!(world.mirror("app").exists() && world.mirror("lib").exists());
    std::fs::write(world.path("deploy.edn"), all).unwrap();
    let count = async || (world.get("/apps").await["apps"].as_array()?.len() == 2).then_some(());
    world.until("the app is back", count).await;
    world.push("gone", &[("n", "1")]).await;
    assert_eq!(world.job("gone").await["state"], "succeeded");
    assert!(mirror.exists());
}
