//! The daemon killed at every commit of its journal, before and after it is on disk, and at random moments; then
//! started again. Each time the job ends right: one commit on the remote, every host at it, no delivery lost.
//!
//! `scripts/crash` runs all of it (`AIRPLANES_CRASH=full`); a test run takes a sample.

use std::path::Path;
use std::time::{Duration, Instant};

use airplanes::model::{Forge, Sha};
use serde_json::Value;

use super::support::world::{World, git};

const APP: &str = r#":lib {:git-url "{repo:lib}"}
 :app {:git-url "{repo:app}" :update? true :build [{:name "one" :run "git rev-list --count HEAD > count"} {:name "two" :run "cat count"}]
       :working-directory "{dir}/srv/{host}" :hosts [:web-1 :web-2] :restart "git rev-parse HEAD > ../{host}.runs || git rev-parse HEAD > ../runs"}"#;

struct Scene {
    world: World,
    round: usize,
}

fn is_full() -> bool {
    std::env::var("AIRPLANES_CRASH").is_ok_and(|v| v == "full")
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(2);
        let lib = world.commit("lib", &[("deps.edn", "{}")]);
        world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
        world.clone_to_hosts("app");
        world.deploy_edn(&APP.replace("../{host}.runs || git rev-parse HEAD > ../runs", "../runs"));
        Self { world, round: 0 }
    }

    /// A push to the library and its webhook, told again as a forge's user would if it was not acknowledged.
    async fn push(&mut self) -> (Sha, Sha, bool) {
        self.round += 1;
        let before = self.world.head("lib");
        let after = self.world.commit("lib", &[("round", &self.round.to_string())]);
        let told = self.world.try_hook(Forge::Github, "lib", Some(before), after, &format!("d-{}", self.round)).await;
        (before, after, told.is_some_and(|(status, _)| status == 202))
    }

    /// All that has to be so once the dust has settled.
    async fn check(&mut self, lib: (Sha, Sha), acknowledged: bool, commits: usize, moment: &str) {
        if !acknowledged {
            let id = format!("d-{}", self.round);
            let (status, answer) = self.world.hook(Forge::Github, "lib", Some(lib.0), lib.1, &id).await;
            assert!(status == 202 || status == 200, "{moment}: {answer}");
        }
        let job: Value = self.world.job("app").await;
        assert_eq!(job["state"], "succeeded", "{moment}: {job:#}\n{}", self.world.log());
        assert_eq!(self.world.count("app"), commits + 1, "{moment}: one commit for one push\n{}", self.world.log());
        assert!(self.world.file("app", "deps.edn").contains(&lib.1.to_string()), "{moment}");
        let head = self.world.head("app").to_string();
        for host in ["web-1", "web-2"] {
            let folder = self.world.path(&format!("srv/{host}"));
            assert_eq!(git(&folder, &["rev-parse", "HEAD"]), head, "{moment}: {host}");
            assert_eq!(git(&folder, &["status", "--porcelain"]), "", "{moment}: {host}");
            let marker = std::fs::read_to_string(folder.join(".git/airplanes.json")).unwrap();
            let marker: Value = serde_json::from_str(&marker).unwrap();
            assert_eq!(
                (marker["state"].as_str(), marker["sha"].as_str()),
                (Some("live"), Some(head.as_str())),
                "{moment}"
            );
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while !is_empty(&self.world.path("state/work")) {
            assert!(Instant::now() < deadline, "{moment}: the job's clone is left");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

#[cfg(feature = "crash-points")]
/// Waits until the daemon is dead, or the app's newest job has ended well without that.
async fn died(world: &mut World, lib: Sha) -> bool {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        if world.has_died() {
            return true;
        }
        if world.file("app", "deps.edn").contains(&lib.to_string())
            && let Some(job) = world.try_get("/jobs?app=app&limit=1").await
            && job["jobs"][0]["state"] == "succeeded"
            && git(&world.path("srv/web-2"), &["rev-parse", "HEAD"]) == world.head("app").to_string()
        {
            return false;
        }
        assert!(Instant::now() < deadline, "neither died nor done:\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Killed at the n-th commit of each job's journal. Without the feature there is nothing to kill it.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_commit_before_and_after_it_is_on_disk_the_job_ends_right() {
    let mut scene = Scene::new();
    for side in ["before", "after"] {
        let mut n = if is_full() { 1 } else { 1 + usize::from(side == "after") };
        loop {
            let commits = scene.world.count("app");
            scene.world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), format!("{n}:{side}"))];
            scene.world.start().await;
            let (old, new, acknowledged) = scene.push().await;
            let killed = died(&mut scene.world, new).await;
            scene.world.env.clear();
            if killed {
                scene.world.kill();
                scene.world.start().await;
            }
            scene.check((old, new), acknowledged, commits, &format!("killed {side} commit {n}")).await;
            scene.world.kill();
            if !killed {
                eprintln!("{side}: {n} commits and the job was done");
                break;
            }
            n += if is_full() { 1 } else { 5 };
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_the_job_ends_right() {
    let mut scene = Scene::new();
    let rounds = if is_full() { 100 } else { 4 };
    let mut seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    for round in 1..=rounds {
        let commits = scene.world.count("app");
        scene.world.start().await;
        let (old, new, acknowledged) = scene.push().await;
        // An LCG is random enough; the moment is in the message if it fails.
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let moment = Duration::from_millis((seed >> 33) % 5000);
        tokio::time::sleep(moment).await;
        scene.world.kill();
        scene.world.start().await;
        scene.check((old, new), acknowledged, commits, &format!("round {round}, killed after {moment:?}")).await;
        scene.world.kill();
    }
}
