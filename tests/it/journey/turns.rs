//! What becomes of hosts when units come up by themselves and daemons die in the middle.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::super::support::world::{World, git};

/// One unit, whose InvocationID is a file's text; each start by `systemctl` writes down what it starts.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=${0%/bin/*}
case "$*" in
  show*--value*) cat "$here/invocation" ;;
  show*) printf 'LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=0\nMainPID=1\nInvocationID='; cat "$here/invocation" ;;
  'restart shop') echo "by-us-$$" >"$here/invocation"; git -C "$here/srv/web-1" rev-parse HEAD >>"$here/starts" ;;
  *) exit 1 ;;
esac
"#;
const SUDO: &str = "#!/bin/sh\nshift\n[ \"$1\" = -l ] || exec \"$@\"\n";

fn program(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn of_an_app(mut world: World, restart: &str, hosts: &str) -> World {
    world.by_file = true;
    world.commit("app", &[("deps.edn", "{}")]);
    world.clone_to_hosts("app");
    let entry = r#":app {:git-url "{repo:app}" :working-directory "{dir}/srv/{host}" :hosts [HOSTS] RESTART}"#;
    world.deploy_edn(&entry.replace("HOSTS", hosts).replace("RESTART", restart));
    world
}

fn host<'a>(job: &'a Value, name: &str) -> &'a Value {
    job["hosts"].as_array().unwrap().iter().find(|host| host["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_came_up_by_itself_before_its_tree_moved_is_restarted_all_the_same() {
    let world = World::with_hosts(1, |dir| {
        Some(format!("PATH={}/bin:$PATH; export PATH; exec sh -c \"$SSH_ORIGINAL_COMMAND\"", dir.display()))
    });
    let mut world = of_an_app(world, r#":service {:name "shop"}"#, ":web-1").await;
    program(&world.path("bin/systemctl"), SYSTEMCTL);
    program(&world.path("bin/sudo"), SUDO);
    std::fs::write(world.path("invocation"), "crashes\n").unwrap();
    // What a unit with Restart= does that crashes: it is started anew while the daemon is at work there.
    let hook = format!("#!/bin/sh\necho \"by-itself-$$\" >{}/invocation\n", world.open().display());
    program(&world.path("srv/web-1/.git/hooks/reference-transaction"), &hook);
    world.start().await;
    let after = world.push("app", &[("mended", "")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    assert_eq!(std::fs::read_to_string(world.path("starts")).unwrap_or_default().trim(), after.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_a_killed_daemon_began_is_ended_even_if_the_job_was_canceled() {
    let restart = r#":restart "echo $PWD >>../restarts; while [ ! -e {dir}/go ]; do sleep 0.05; done""#;
    let mut world = of_an_app(World::new(2), restart, ":web-1 :web-2").await;
    world.start().await;
    let after = world.push("app", &[("x", "1")]).await;
    let id = world.in_step("app", "rollout").await["id"].as_str().unwrap().to_owned();
    world.line("srv/restarts").await;
    let (status, answer) = world.post(&format!("/jobs/{id}/cancel")).await;
    assert_eq!(status, 202, "{answer}");
    world.kill();
    world.go("go");
    world.start().await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "partial", "{job:#}\n{}", world.log());
    assert_eq!((&host(&job, "web-1")["state"], &host(&job, "web-2")["state"]), (&"done".into(), &"skipped".into()));
    let web_1 = world.path("srv/web-1");
    assert_eq!(git(&web_1, &["rev-parse", "HEAD"]), after.to_string());
    let marker = std::fs::read_to_string(web_1.join(".git/airplanes.json")).unwrap();
    assert!(marker.contains("live"), "{marker}");
}
