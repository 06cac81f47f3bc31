//! What needs a real systemd, on a host of `scripts/lab`, as root and as a user with sudo.
//!
//! Skipped unless `AIRPLANES_LAB` is set and a lab is up (`scripts/lab up 1`, as root). One test at a time: they
//! share a host.

use std::process::Command;
use std::time::{Duration, Instant};

use airplanes::host::{Check, Error, HostState, Remote, Restart, Source};
use airplanes::model::{Branch, Host, HostName, RepoUrl, Sha, UnitName};
use airplanes::ssh::{self, Hosts, Settings};
use tokio::sync::MutexGuard;
use tokio_util::sync::CancellationToken;

use super::support::lab_world::{self, switch};

/// host1 of the lab, with a repository that it can fetch from by ssh.
struct Lab {
    _turn: MutexGuard<'static, ()>,
    hosts: Hosts,
    url: RepoUrl,
    sha: Sha,
}

/// As root on host1, by the back door.
fn inside(script: &str) -> String {
    lab_world::inside("host1", script)
}

impl Lab {
    async fn open() -> Option<Self> {
        let turn = lab_world::turn().await?;
        let folder = lab_world::folder();
        let url = switch(&["git", "shop"]);
        let bare = folder.join("git/shop.git");
        let head = || {
            Command::new("git")
                .arg("-C")
                .arg(&bare)
                .args(["rev-parse", "-q", "--verify", "main"])
                .output()
                .unwrap()
                .stdout
        };
        if head().is_empty() {
            let work = tempfile::tempdir().unwrap();
            let script = "cd \"$1\" && git init -q -b main . && echo one >deps.edn && git add . && \
                          git -c user.name=t -c user.email=t@x commit -qm one && git push -q \"$2\" main";
            let status = Command::new("sh").args(["-c", script, "x"]).arg(work.path()).arg(&bare).status().unwrap();
            assert!(status.success());
        }
        let sha = String::from_utf8(head()).unwrap().trim().parse().unwrap();
        let hosts = Hosts::new(Settings {
            identity: Some(folder.join("id_ed25519")),
            known_hosts: Some(folder.join("known_hosts")),
            config_file: Some("/dev/null".into()),
            connect_timeout: Duration::from_secs(4),
            alive_interval: Duration::from_secs(2),
            idle: Duration::from_secs(20),
        });
        Some(Self { _turn: turn, hosts: hosts.unwrap(), url: RepoUrl::new(url).unwrap(), sha })
    }
    fn host(&self, user: &str) -> Host {
        let name = |text: &str| HostName::new(text).unwrap();
        Host { name: name("host1"), address: name(&lab_world::address("host1")), port: 22, user: user.to_owned() }
    }
    async fn with<T>(&self, user: &str, work: impl AsyncFnOnce(&mut Remote<'_>) -> T) -> T {
        let (host, cancel) = (self.host(user), CancellationToken::new());
        let mut log = |bytes: &[u8]| eprint!("{user}@host1: {}", String::from_utf8_lossy(bytes));
        let timeout = Duration::from_secs(60);
        let mut remote = Remote { hosts: &self.hosts, host: &host, timeout, cancel: &cancel, log: &mut log };
        work(&mut remote).await
    }
    /// A folder of the user's that holds nothing yet.
    fn folder_of(&self, user: &str) -> String {
        let home = if user == "root" { "/root" } else { "/home/deploy" };
        inside(&format!("rm -rf {home}/shop"));
        format!("{home}/shop")
    }
    async fn bring(&self, user: &str, path: &str) -> Result<airplanes::host::Brought, Error> {
        let branch = Branch::new("main").unwrap();
        self.with(user, async |remote| remote.bring(path, &self.url, &branch, &self.sha, Source::Origin, &[]).await)
            .await
    }
    async fn observe(&self, user: &str, path: &str, unit: &UnitName) -> HostState {
        self.with(user, async |remote| remote.observe(path, Some(unit)).await).await.unwrap()
    }
}

/// Installs a unit and stops it.
fn unit(name: &str, exec: &str, more: &str) -> UnitName {
    let text = format!("[Service]\nExecStart={exec}\n{more}\n");
    std::fs::write(lab_world::folder().join("unit"), text).unwrap();
    let file = std::fs::read_to_string(lab_world::folder().join("unit")).unwrap();
    inside(&format!(
        "printf '%s' '{file}' >/etc/systemd/system/{name}.service; systemctl daemon-reload; systemctl stop {name}; systemctl reset-failed {name} 2>/dev/null || :"
    ));
    UnitName::new(name).unwrap()
}

fn check<'a>(path: &'a str, sha: &'a Sha, unit: &'a UnitName) -> Check<'a> {
    Check {
        working_directory: path,
        sha,
        unit: Some(unit),
        health: None,
        timeout: Duration::from_secs(4),
        stable: Duration::from_secs(1),
    }
}

#[tokio::test]
async fn a_rollout_reaches_live_as_root_and_as_a_user_with_sudo_and_a_resumed_restart_happens_once() {
    let Some(lab) = Lab::open().await else { return };
    for user in ["root", "deploy"] {
        let path = lab.folder_of(user);
        let name = unit(&format!("shop-{user}"), "/bin/sleep infinity", "");
        assert!(lab.bring(user, &path).await.unwrap().moved);
        let before = lab.observe(user, &path, &name).await;
        assert_eq!(before.head, Some(lab.sha));
        assert_eq!(before.unit.as_ref().unwrap().invocation_id, None);
        // It never ran, so nothing stands in the way of starting it.
        let restart = Restart::Unit(name.clone());
        let first = lab.with(user, async |remote| remote.restart(&path, &restart, None).await).await.unwrap();
        let id = first.unit.unwrap().invocation_id.unwrap();
        assert!(first.done);
        // The same restart, asked again with what was seen before it.
        let again = lab.with(user, async |remote| remote.restart(&path, &restart, Some(&id)).await).await.unwrap();
        let second_id = again.unit.unwrap().invocation_id.unwrap();
        assert!(again.done && second_id != id);
        let resumed = lab.with(user, async |remote| remote.restart(&path, &restart, Some(&id)).await).await.unwrap();
        assert!(!resumed.done);
        assert_eq!(resumed.unit.unwrap().invocation_id.unwrap(), second_id);
        // nginx of the host answers as the app's health.
        let well = Check { health: Some("http://127.0.0.1/"), ..check(&path, &lab.sha, &name) };
        let probe = lab.with(user, async |remote| remote.verify(&well).await).await.unwrap();
        assert_eq!(probe.health, Some(Ok(())));
        assert!(probe.unit.unwrap().is_active());
        assert!(lab.observe(user, &path, &name).await.is_live_at(&lab.sha));
    }
}

#[tokio::test]
async fn a_unit_that_dies_is_unhealthy_at_once_and_its_last_words_can_be_read() {
    let Some(lab) = Lab::open().await else { return };
    for user in ["root", "deploy"] {
        let path = lab.folder_of(user);
        lab.bring(user, &path).await.unwrap();
        let name = unit(&format!("dies-{user}"), "/bin/sh -c \"sleep 0.3; echo boom at line 7; exit 3\"", "");
        let restart = Restart::Unit(name.clone());
        lab.with(user, async |remote| remote.restart(&path, &restart, None).await).await.unwrap();
        let result = lab.with(user, async |remote| remote.verify(&check(&path, &lab.sha, &name)).await).await;
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Unhealthy { said, .. } if said.contains("failed")), "{error}");
        // journald files it under its unit when it comes to it.
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let lines = lab.with(user, async |remote| remote.last_journal_lines(&name, 30).await).await.unwrap();
            if lines.iter().any(|line| line.contains("boom at line 7")) {
                break;
            }
            assert!(Instant::now() < deadline, "{lines:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!lab.observe(user, &path, &name).await.is_live_at(&lab.sha));
    }
}

#[tokio::test]
async fn a_unit_that_restarts_again_and_again_never_counts_as_healthy() {
    let Some(lab) = Lab::open().await else { return };
    let path = lab.folder_of("root");
    lab.bring("root", &path).await.unwrap();
    let more = "Restart=always\nRestartSec=50ms\n[Unit]\nStartLimitIntervalSec=0";
    let name = unit("loops", "/bin/sleep 0.6", more);
    let restart = Restart::Unit(name.clone());
    lab.with("root", async |remote| remote.restart(&path, &restart, None).await).await.unwrap();
    let result = lab.with("root", async |remote| remote.verify(&check(&path, &lab.sha, &name)).await).await;
    inside("systemctl stop loops");
    assert!(matches!(result, Err(Error::Unhealthy { .. })), "{result:?}");
}

#[tokio::test]
async fn a_unit_that_does_not_exist_or_does_not_start_is_an_error_with_systemds_words() {
    let Some(lab) = Lab::open().await else { return };
    let path = lab.folder_of("deploy");
    lab.bring("deploy", &path).await.unwrap();
    let missing = UnitName::new("no-such-unit").unwrap();
    let restart = Restart::Unit(missing.clone());
    let error = lab.with("deploy", async |remote| remote.restart(&path, &restart, None).await).await.unwrap_err();
    assert!(matches!(&error, Error::Ssh(ssh::Error::Failed { .. })), "{error}");
    assert!(error.to_string().contains("no-such-unit.service not found"), "{error}");
    assert!(lab.observe("deploy", &path, &missing).await.unit.unwrap().is_missing());
    let broken = unit("broken", "/no/such/program", "Type=exec");
    let restart = Restart::Unit(broken.clone());
    let error = lab.with("deploy", async |remote| remote.restart(&path, &restart, None).await).await.unwrap_err();
    assert!(error.to_string().contains("Job for broken.service failed"), "{error}");
}

#[tokio::test]
async fn a_user_whom_sudo_would_ask_gets_the_line_that_is_missing() {
    let Some(lab) = Lab::open().await else { return };
    inside(
        "id plain >/dev/null 2>&1 || useradd -m -s /bin/sh plain; cp -r /home/deploy/.ssh /home/plain/; chown -R plain: /home/plain/.ssh",
    );
    let name = unit("plain-shop", "/bin/sleep infinity", "");
    let restart = Restart::Unit(name.clone());
    let error = lab.with("plain", async |remote| remote.restart("/", &restart, None).await).await.unwrap_err();
    assert!(matches!(error, Error::Sudo { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("plain ALL=(root) NOPASSWD: /usr/bin/systemctl restart plain-shop"), "{text}");
}

#[tokio::test]
async fn somebody_elses_clone_is_left_alone_with_words_on_what_to_do() {
    let Some(lab) = Lab::open().await else { return };
    inside("rm -rf /srv/shop; git init -q /srv/shop");
    let error = lab.bring("deploy", "/srv/shop").await.unwrap_err();
    assert!(matches!(error, Error::Owner { .. }), "{error}");
    assert!(error.to_string().contains("safe.directory /srv/shop"), "{error}");
}

#[tokio::test]
async fn a_network_that_goes_silent_during_a_run_is_noticed_and_the_host_is_found_again() {
    let Some(lab) = Lab::open().await else { return };
    let host = lab.host("root");
    let call = ssh::Call { what: "sleep", script: "echo $$ >/tmp/sleeper; exec sleep 300", args: Vec::new() };
    let cancel = CancellationToken::new();
    inside("rm -f /tmp/sleeper");
    let mut log = |_: &[u8]| ();
    let run = lab.hosts.run(&host, &call, Duration::from_secs(120), &cancel, &mut log);
    let (result, ()) = tokio::join!(run, async {
        loop {
            if !inside("cat /tmp/sleeper 2>/dev/null || :").is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        switch(&["cut", "host1", "silent"]);
    });
    let error = result.unwrap_err();
    assert!(matches!(error, ssh::Error::Lost { .. }) && error.is_retryable(), "{error}");
    let error = lab.hosts.warm(&host, &cancel).await.unwrap_err();
    assert!(error.is_unreachable() && error.is_retryable(), "{error}");
    switch(&["heal", "host1"]);
    let call = ssh::Call { script: "cat /tmp/sleeper", ..call };
    let output = lab.hosts.run(&host, &call, Duration::from_secs(20), &cancel, &mut |_| ()).await.unwrap();
    assert_eq!(output.status, 0);
    assert_ne!(output.text().trim(), "");
}
