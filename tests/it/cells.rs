//! Builds kept in their place: by the real binary, with builds that mean ill and with one that means well.

mod cgroups;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::support::acts::{step, text};
use super::support::world::World;

const HOSTILE: &str = include_str!("cells/hostile.sh");
const GOOD: &str = include_str!("cells/good.sh");

/// What the kernel can do here.
fn abilities() -> Value {
    let told = Command::new(env!("CARGO_BIN_EXE_airplanes")).args(["build-cell", "probe"]).output().unwrap();
    serde_json::from_slice(&told.stdout).unwrap()
}

/// Whether builds can be kept in their place on this machine; if not, says so.
fn can(what: &str) -> bool {
    let abilities = abilities();
    let can = match what {
        "mounts" => abilities["no_mounts"].is_null(),
        _ => abilities["landlock"].as_i64().is_some_and(|version| version >= 6),
    };
    if !can {
        eprintln!("skipped: this kernel has no {what} for builds: {abilities}");
    }
    can
}

/// A world that is not under /tmp, whose builds may write nothing of it but `out`.
fn strict(hosts: usize) -> World {
    let dir = tempfile::Builder::new().prefix("air-").tempdir_in("/var/tmp").unwrap();
    let mut world = World::in_folder(dir, hosts, |_| None);
    std::fs::create_dir(world.path("out")).unwrap();
    world.builds = format!(":concurrency 2 :write [\"{}\"]", world.path("out").display());
    world.write_config();
    world
}

impl World {
    fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_build_reaches_nothing_of_the_daemons_or_of_another_apps() {
    if !can("Landlock") {
        return;
    }
    let mut world = strict(1);
    world.commit("victim", &[("deps.edn", "{}"), ("private", "the other app's")]);
    world.commit("app", &[("deps.edn", "{}")]);
    world.save("secret", "a secret in a file");
    world.clone_to_hosts("app");
    world.deploy_edn(
        r#":victim {:git-url "{repo:victim}"
                    :build "echo mine > /dev/shm/other; echo mine > /tmp/other; echo $$ > {dir}/out/pid.new; mv {dir}/out/pid.new {dir}/out/pid; while ! [ -e {dir}/out/go ]; do sleep 0.1; done"}
           :app {:git-url "{repo:app}" :build "sh hostile.sh $(cat arguments)"
                 :working-directory "{dir}/srv/{host}" :hosts [:web-1] :restart "true"}"#,
    );
    world.start().await;
    // Once without the script, so that there is a connection to the host.
    world.commit("app", &[("hostile.sh", "exit 0"), ("arguments", "")]);
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    let victim = world.deploy("victim").await;
    let pid = world.line("out/pid").await;
    let arguments = format!("{} {} {victim} {pid}", world.own("").display(), world.pid());
    world.commit("app", &[("hostile.sh", HOSTILE), ("arguments", &arguments)]);
    // The script itself can do all of that where nothing keeps it.
    let free = tempfile::tempdir_in(world.own("")).unwrap();
    std::fs::write(free.path().join("hostile.sh"), HOSTILE.replace("rm -f", "test -e")).unwrap();
    let line = format!("mkdir -p home/x; HOME=$PWD/home/x sh hostile.sh {arguments}");
    let said = Command::new("sh").arg("-c").arg(line).current_dir(free.path()).output().unwrap();
    let breaches = |log: &str| -> Vec<String> {
        log.lines().filter(|line| line.starts_with("BREACH ")).map(str::to_owned).collect()
    };
    let freely = breaches(&String::from_utf8_lossy(&said.stdout));
    assert!(freely.len() > 35, "the script tries too little: {freely:#?}");
    let _ = std::fs::remove_file("/etc/airplanes-was-here");
    let _ = std::fs::remove_file(world.own("mine"));
    let _ = std::fs::remove_file(world.open().join("mine"));
    let _ = std::fs::remove_file(world.own("link"));
    let _ = std::fs::remove_file(world.path("state/mine"));
    std::fs::write(world.state("work").join("none"), "").unwrap();

    let job = world.deploy_to_the_end("app").await;
    let log = world.whole_log(text(&job, "id"), "build").await;
    world.save("out/go", "");
    assert_eq!(step(&job, "build")["state"], "done", "{log}\n{job:#}");
    assert!(log.contains("\nthe sockets are known\n"), "{log}");
    let mut reached = breaches(&log);
    if !can("mounts") {
        reached.retain(|line| !line.contains("perl -MIO::Socket::UNIX"));
    }
    assert!(reached.is_empty(), "{reached:#?}\n{log}");
    assert!(log.lines().filter(|line| line.starts_with("kept ")).count() > 40, "{log}");
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_what_builds_do_notices_nothing() {
    let mut world = strict(0);
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let deps = world.deps(&[("lib", lib)]);
    world.commit("app", &[("deps.edn", &deps)]);
    world.commit("app", &[("good.sh", GOOD)]);
    world.deploy_edn(r#":app {:git-url "{repo:app}" :build "sh good.sh {repo:lib} && echo out > {dir}/out/artifact"}"#);
    world.start().await;
    let job = world.deploy_to_the_end("app").await;
    let log = world.whole_log(text(&job, "id"), "build").await;
    assert_eq!(job["state"], "succeeded", "{log}\n{job:#}");
    assert!(log.contains("\noom 900 nice 5\nall of it worked\n"), "{log}");
    assert_eq!(world.read("out/artifact"), "out\n");
    assert!(!Path::new("/tmp/folder").exists());
    assert_eq!(world.read("state/home/.m2/repository/jar"), "jar\n", "the home of builds stays");
    let left = || std::fs::read_dir(world.path("state/work")).unwrap().count();
    world.until("their temporary files do not", async || (left() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_build_does_to_its_clone_is_not_published_and_runs_nothing() {
    let mut world = strict(0);
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let deps = world.deps(&[("lib", lib)]);
    world.commit("app", &[("deps.edn", &deps), ("tamper.sh", include_str!("cells/tamper.sh"))]);
    world.commit("evil", &[("a", "1")]);
    let evil = world.head("evil");
    world.deploy_edn(
        r#":lib {:git-url "{repo:lib}"}
           :app {:git-url "{repo:app}" :update? true
                 :build [{:name "one" :run "sh tamper.sh {dir}/out/trap {dir}/repos/evil.git"}
                         {:name "two" :run "cat deps.edn; rm -rf .git; ln -s / .git"}]}"#,
    );
    world.start().await;
    let new = world.push("lib", &[("a", "1")]).await;
    let job = world.job("app").await;
    let log = world.whole_log(text(&job, "id"), "build/one").await;
    assert_eq!(job["state"], "succeeded", "{log}\n{job:#}");
    assert!(log.contains("\nthe traps are laid\n"), "{log}");
    let log = world.whole_log(text(&job, "id"), "build/two").await;
    assert!(log.contains("{:evil true}"), "the second step finds what the first one left: {log}");
    assert_eq!(world.file("app", "deps.edn").trim(), deps.replace(&lib.to_string(), &new.to_string()).trim());
    assert_eq!((world.count("app"), text(&job, "sha")), (2, world.head("app").to_string().as_str()));
    assert_eq!(world.in_bare("app", &["log", "-1", "--format=%s"]), "Update acme/lib");
    assert!(!world.path("out/trap").exists(), "a trap of the build was stepped on: {}", world.read("out/trap"));
    assert_eq!(world.head("evil"), evil);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tmp_can_not_be_the_builds_own_it_gets_a_folder_for_temporary_files() {
    if !can("Landlock") {
        return;
    }
    // The state is below /tmp, as the demo's is.
    let mut world = World::new(0);
    world.builds = String::new();
    world.write_config();
    world.commit("app", &[("deps.edn", "{}")]);
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :build "f=$(mktemp) && echo in $f && ! cat {own}/config.edn && ! touch {own}/x"}"#,
    );
    world.start().await;
    let job = world.deploy_to_the_end("app").await;
    let log = world.whole_log(text(&job, "id"), "build").await;
    assert_eq!(job["state"], "succeeded", "{log}\n{job:#}");
    let tmp = world.path("state/work").join(text(&job, "id")).join("tmp");
    assert!(log.contains(&format!("in {}", tmp.display())), "{log}");
    if can("mounts") {
        let told = format!("{} is below /tmp: builds can't have a /tmp of their own", world.state("").display());
        let told = told.replacen("/ is", " is", 1);
        assert!(world.log().contains(&told), "{}", world.log());
        let status = world.call(&["status"]).await;
        assert!(status.out.contains(&format!("not kept: {told}")), "{status:?}");
        let has_limits = !status.out.contains("builds have no cgroups");
        assert!(has_limits || !status.out.contains("of memory"), "a share that nothing keeps: {status:?}");
    }
}
