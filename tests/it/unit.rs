//! The unit under which the daemon runs, what the daemon tells systemd, and the script that puts both in place. On a
//! host whose PID 1 is systemd: `lab_install`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use airplanes::model::{Branch, Forge};

use crate::support::world::World;

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs systemd-analyze, or says that it is not here.
fn analyze(args: &[&str], unit: &Path) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(args).arg(unit).env("SYSTEMD_COLORS", "0").output();
    if output.is_err() {
        eprintln!("skipped: there is no systemd-analyze on this machine");
    }
    output.ok()
}

#[test]
fn the_unit_is_exposed_by_2_5_at_the_most() {
    let unit = checkout("systemd/airplanes.service");
    let Some(output) = analyze(&["security", "--offline=true", "--no-pager"], &unit) else { return };
    let table = String::from_utf8_lossy(&output.stdout);
    let overall = table.lines().find_map(|line| line.split("Overall exposure level for airplanes.service: ").nth(1));
    let level: f64 = overall.and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{table}"));
    assert!(level <= 2.5, "{table}");
}

#[test]
fn systemd_finds_nothing_to_say_about_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(checkout("systemd/airplanes.service")).unwrap();
    let unit = folder.path().join("airplanes.service");
    fs::write(&unit, text.replace("/usr/bin/airplanes", env!("CARGO_BIN_EXE_airplanes"))).unwrap();
    let Some(output) = analyze(&["verify"], &unit) else { return };
    // Where systemd does not run, its units can't all be found; only what it says of ours counts.
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("airplanes.service")).collect();
    assert!(ours.is_empty(), "{said}");
}

/// What systemd hears.
struct Manager(UnixDatagram);

impl Manager {
    fn of(world: &mut World, watchdog: Duration) -> Self {
        let path = world.path("run").join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        world.env.push(("NOTIFY_SOCKET".into(), path.display().to_string()));
        world.env.push(("WATCHDOG_USEC".into(), watchdog.as_micros().to_string()));
        Self(socket)
    }
    /// What is said within this time, if anything is.
    fn next_within(&self, time: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(time)).unwrap();
        let mut bytes = [0; 4096];
        self.0.recv(&mut bytes).ok().map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
    /// Lets go of what was said so far.
    fn forget(&self) {
        while self.next_within(Duration::from_millis(1)).is_some() {}
    }
    /// Waits for a message with this line.
    fn hears(&self, line: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut heard = String::new();
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let Some(message) = self.next_within(left) else { break };
            if message.lines().any(|l| l.starts_with(line)) {
                return message;
            }
            heard.push_str(&message);
        }
        panic!("no {line}, but\n{heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_when_the_daemon_is_ready_what_it_is_at_and_that_it_lives() {
    let mut world = World::new(0);
    world.by_file = true;
    world.commit("app", &[("README", "an app")]);
    world.deploy_edn(":app {:git-url \"{repo:app}\" :build \"read line < {dir}/go\"}");
    let go = world.path("go");
    assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
    let manager = Manager::of(&mut world, Duration::from_millis(600));
    world.start().await;
    let ready = manager.hears("READY=1");
    assert!(ready.contains("STATUS=no job under way"), "{ready}");
    manager.hears("WATCHDOG=1");

    world.push("app", &[("README", "changed")]).await;
    let status = manager.hears("STATUS=1 job under way: app (build)");
    assert!(status.contains("WATCHDOG=1"), "{status}");
    fs::write(&go, "go\n").unwrap();
    manager.hears("STATUS=no job under way");

    let config = fs::read_to_string(world.path("config.edn")).unwrap();
    fs::write(world.path("config.edn"), "{:typo 1}").unwrap();
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    manager.hears("STATUS=the last edit of the configuration is not in force; no job under way");
    fs::write(world.path("config.edn"), config).unwrap();
    manager.hears("STATUS=no job under way");

    assert_eq!(world.stop(), Some(0));
    manager.hears("STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_does_not_say_that_it_lives_while_its_store_hangs() {
    let mut world = World::new(0);
    world.by_file = true;
    world.commit("app", &[("README", "an app")]);
    world.deploy_edn(":app {:git-url \"{repo:app}\" :build \"true\"}");
    let manager = Manager::of(&mut world, Duration::from_millis(600));
    world.start().await;
    manager.hears("WATCHDOG=1");
    // Every fdatasync of the daemon takes a minute from here on.
    let pid = world.daemon.as_ref().unwrap().id().to_string();
    let inject = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=60s"];
    let tracer = Command::new("strace").args(["-f", "-p", &pid]).args(inject).stderr(Stdio::piped()).spawn();
    let Ok(mut tracer) = tracer else { return eprintln!("skipped: there is no strace on this machine") };
    let mut said = BufReader::new(tracer.stderr.take().unwrap()).lines();
    let attached = said.next().unwrap().unwrap();
    if !attached.contains("attached") {
        tracer.wait().unwrap();
        return eprintln!("skipped: strace may not look into processes here: {attached}");
    }
    let hook = {
        let after = world.commit("app", &[("README", "changed")]);
        let url = world.url("app");
        let body = airplanes::forge::push_payload(Forge::Github, &url, &Branch::new("main").unwrap(), None, after);
        world.signed_body(Forge::Github, body, "one").send()
    };
    let hook = tokio::spawn(hook);
    // What was said before the writer began to hang.
    while said.next().is_some_and(|line| !line.unwrap().contains("fdatasync(")) {}
    manager.forget();
    let silence = manager.next_within(Duration::from_secs(2));
    assert_eq!(silence, None, "three times as long as systemd would wait");
    assert!(!hook.is_finished(), "and nothing is acknowledged");
    hook.abort();
    tracer.kill().unwrap();
    tracer.wait().unwrap();
}

#[test]
fn the_install_script_tells_what_it_would_do_and_does_nothing() {
    let output = Command::new(checkout("scripts/install"))
        .args(["--dry-run", "--prefix", "/opt/nowhere", env!("CARGO_BIN_EXE_airplanes")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(why.contains("no systemd here") || why.contains("package is installed"), "{why}");
        return eprintln!("skipped: {why}");
    }
    assert!(said.contains("would      make /opt/nowhere/bin/airplanes (airplanes "), "{said}");
    assert!(!Path::new("/opt/nowhere").exists());
}
