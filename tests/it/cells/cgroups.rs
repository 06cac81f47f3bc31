//! Builds in cgroups of their own, on machines where there is one to be had for a test.

use std::path::{Path, PathBuf};

use super::super::support::acts::{is_alive, text};
use super::strict;

/// A cgroup of the test's, as systemd would delegate one. Removed with all that is below it.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let path = Path::new(mount).join(format!("airplanes-test-{}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                eprintln!("skipped: {} can't be made: {error}", path.display());
                None
            }
        }
    }
    fn children(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap());
        let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        let mut names: Vec<String> = folders.map(|folder| folder.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..100 {
            for child in self.children() {
                let _ = std::fs::remove_dir(self.0.join(child));
            }
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hides_from_the_daemon_ends_with_its_build_and_with_a_killed_daemon() {
    let Some(cgroup) = Delegated::new() else { return };
    let mut world = strict(0);
    world.under = ["sh", "-c", "echo $$ >\"$0\"/cgroup.procs && exec \"$@\"", cgroup.0.to_str().unwrap()]
        .map(str::to_owned)
        .to_vec();
    world.commit("app", &[("deps.edn", "{}")]);
    world.deploy_edn(
        r#":app {:git-url "{repo:app}"
                 :build "rm -f {dir}/out/pid; setsid env -i sh -c 'echo $$ > {dir}/out/pid; exec sleep 300' & grep 0:: /proc/self/cgroup; while ! [ -s {dir}/out/pid ]; do sleep 0.05; done; ! [ -e {dir}/out/stay ] || sleep 300"}"#,
    );
    world.start().await;
    assert_eq!(cgroup.children(), ["daemon"]);
    let job = world.deploy_to_the_end("app").await;
    let log = world.whole_log(text(&job, "id"), "build").await;
    assert_eq!(job["state"], "succeeded", "{log}\n{job:#}");
    assert!(log.contains(&format!("/build-{}\n", text(&job, "id"))), "{log}");
    assert!(!is_alive(world.read("out/pid").trim()), "it outlived its build");
    assert_eq!(cgroup.children(), ["daemon"], "nothing is left of the build");
    let builds = world.get("/status").await["builds"].clone();
    assert_eq!(builds["at_once"], 2, "{builds}");
    assert!(!builds.to_string().contains("no cgroups"), "{builds}");

    world.commit("app", &[("a", "1")]);
    world.save("out/stay", "");
    std::fs::remove_file(world.path("out/pid")).unwrap();
    world.deploy("app").await;
    let pid = world.line("out/pid").await;
    world.kill();
    assert!(is_alive(&pid));
    std::fs::remove_file(world.path("out/stay")).unwrap();
    world.start().await;
    assert!(!is_alive(&pid), "the next daemon ends it");
    assert_eq!(world.job("app").await["state"], "succeeded");
}
