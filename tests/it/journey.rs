//! The whole way, on the real binary: a push to a library, and the app that depends on it is bumped, built, published
//! and live.

use airplanes::model::Forge;

use super::support::world::World;

/// deploy.edn for a library without hosts and an app on hosts that depends on it.
const LIB_AND_APP: &str = r#":lib {:git-url "{repo:lib}" :update? false}
 :app {:git-url "{repo:app}" :update? true
       :build [{:name "count" :run "git rev-list --count HEAD"} {:name "env" :run "echo $AIRPLANES_APP $AIRPLANES_SHA $AIRPLANES_JOB"}]
       :working-directory "{dir}/srv/{host}" :hosts [:web-1 :web-2] :restart "git rev-parse HEAD >> ../restarts"}"#;

async fn lib_and_app(hosts: usize) -> World {
    let mut world = World::new(hosts);
    let lib = world.commit("lib", &[("deps.edn", "{}"), ("src/lib.clj", "(ns lib)")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(LIB_AND_APP);
    world.clone_to_hosts("app");
    world.start().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_a_library_is_live_in_the_app_for_each_forge() {
    let world = lib_and_app(2).await;
    for (i, forge) in Forge::ALL.into_iter().enumerate() {
        let (old, deps) = (world.head("lib"), world.file("app", "deps.edn"));
        let new = world.commit("lib", &[("src/lib.clj", &format!("(ns lib) ; {i}"))]);
        let (status, answer) = world.hook(forge, "lib", Some(old), new, &format!("d-{i}")).await;
        assert_eq!(status, 202, "{answer}");
        let job = world.job("app").await;
        assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
        assert_eq!(world.file("app", "deps.edn"), deps.replace(&old.to_string(), &new.to_string()));
        assert_eq!(world.count("app"), i + 2);
        let head = world.head("app").to_string();
        assert_eq!(job["sha"], head.as_str());
        for host in ["web-1", "web-2"] {
            let folder = world.path(&format!("srv/{host}"));
            assert_eq!(super::support::world::git(&folder, &["rev-parse", "HEAD"]), head);
        }
        let restarts = std::fs::read_to_string(world.path("srv/restarts")).unwrap();
        assert_eq!(restarts.matches(&head).count(), 2);
        let message = world.in_bare("app", &["log", "-1", "--format=%B", "main"]);
        assert!(message.contains(&format!("Airplanes-Job: {}", job["id"].as_str().unwrap())), "{message}");
        assert!(message.contains(&format!("Airplanes-Bump: acme/lib {old}..{new}")), "{message}");
        let id = job["id"].as_str().unwrap();
        let log = |step: &str| std::fs::read_to_string(world.path(&format!("state/logs/{id}/build/{step}.1"))).unwrap();
        assert_eq!(log("count").lines().nth(1).unwrap(), format!("{}", i + 2));
        let env = log("env");
        assert!(env.contains(&format!("app {head} {id}")), "{env}");
    }
}
