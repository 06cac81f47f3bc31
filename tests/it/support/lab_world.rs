//! The hosts of `scripts/lab` for the tests: their switches, and a world whose app runs on them as a systemd unit.
//!
//! `host1` is logged in to as root, `host2` as `deploy` with sudo. One test at a time: they share the hosts.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::model::Sha;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::acts::given;
use super::world::{self, Ground, World};

static TURN: Mutex<()> = Mutex::const_new(());

/// Where the app lives on each host.
pub const FOLDER: &str = "/srv/shop";
pub const HOSTS: [&str; 2] = ["host1", "host2"];

/// A library and the app that depends on it, on both hosts.
pub const LIB_AND_APP: &str = r#":lib {:git-url "{repo:lib}"}
 :app {:git-url "{repo:app}" :update? true :build "test -s app.pl" :working-directory "/srv/shop" :hosts [:host1 :host2]
       :service {:name "shop"} :health {:url "http://127.0.0.1:7000/" :stable "300ms" :timeout "20s"}}"#;

/// Answers every request with the library's sha as its deps.edn had it when it started.
pub const APP: &str = r#"use strict; use IO::Socket::INET;
open my $f, '<', 'deps.edn' or die "no deps.edn"; my ($v) = join('', <$f>) =~ m{git/sha "(\w+)"} or die "no sha";
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1:7000', Listen => 9, ReuseAddr => 1) or die "no port: $!";
while (my $c = $s->accept) {
  while (my $line = <$c>) { last if $line =~ /^\r?\n$/ }
  print $c "HTTP/1.0 200 OK\r\nContent-Length: 40\r\n\r\n$v"; close $c;
}
"#;

/// Before each start of the unit: noted are its invocation and the library's sha. Then the gate `start`.
const BEFORE_START: &str = r#"echo "$INVOCATION_ID $(grep -o 'git/sha \"[0-9a-f]*' deps.edn | cut -c10-)" >>/var/tmp/shop.starts; exec /bin/sh /var/tmp/gate start"#;
/// `gate NAME`: waits while that gate is shut.
const GATE: &str = "[ ! -e /var/tmp/gates/$1 ] || { touch /var/tmp/gates/$1.reached; while [ -e /var/tmp/gates/$1 ]; do sleep 0.05; done; }";

pub fn folder() -> PathBuf {
    std::env::var_os("LAB_DIR").unwrap_or_else(|| "/var/tmp/airplanes-lab".into()).into()
}

/// Whether the tests on hosts are to run.
pub fn is_wanted() -> bool {
    std::env::var("AIRPLANES_LAB").is_ok_and(|value| value == "1") && nix::unistd::Uid::effective().is_root()
}

/// The right to use the hosts; none, with a word on why, where there are none.
pub async fn turn() -> Option<MutexGuard<'static, ()>> {
    if !is_wanted() {
        eprintln!("skipped: this test needs root, AIRPLANES_LAB=1 and a lab (scripts/lab up 2)");
        return None;
    }
    assert!(HOSTS.iter().all(|h| folder().join("hosts").join(h).is_dir()), "no lab is up: scripts/lab up 2");
    Some(TURN.lock().await)
}

/// `scripts/lab` with these arguments.
pub fn switch(args: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab");
    let output = Command::new(script).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "lab {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// As root on a host, by the back door.
pub fn inside(host: &str, script: &str) -> String {
    switch(&["exec", host, script])
}

/// A host's IP.
pub fn address(host: &str) -> String {
    let known = std::fs::read_to_string(folder().join("hosts").join(host).join("known")).unwrap();
    known.split([' ', ',']).nth(1).unwrap().to_owned()
}

/// A daemon on this machine, repositories that the lab's git host serves, and the app's unit on both hosts, not
/// started yet.
pub struct LabWorld {
    pub world: World,
    /// The unit of an app that begins with nothing there, and ends so.
    bare: Option<&'static str>,
    _turn: MutexGuard<'static, ()>,
}

impl LabWorld {
    /// A world with a library and the app, and deploy.edn as given.
    pub async fn open(deploy: &str) -> Option<Self> {
        let turn = turn().await?;
        for (host, user) in HOSTS.into_iter().zip(["root", "deploy"]) {
            switch(&["heal", host]);
            switch(&["start", host]);
            let unit = format!(
                "[Unit]\nStartLimitIntervalSec=0\n[Service]\nUser={user}\nWorkingDirectory={FOLDER}\n\
                 ExecStartPre=/bin/sh /var/tmp/before-start\nExecStart=/usr/bin/perl app.pl\n\
                 [Install]\nWantedBy=multi-user.target\n"
            );
            // Removed and reloaded, systemd forgets that the unit ever ran.
            inside(
                host,
                "systemctl disable --now shop 2>/dev/null; rm -f /etc/systemd/system/shop.service; systemctl daemon-reload; systemctl reset-failed",
            );
            inside(
                host,
                &format!(
                    "rm -rf {FOLDER} /var/tmp/shop.starts /var/tmp/gates; install -d -o {user} {FOLDER}; install -d -m 777 /var/tmp/gates; \
                     printf '%s' '{}' >/var/tmp/gate; printf '%s' '{}' >/var/tmp/before-start; printf '%s' '{unit}' >/etc/systemd/system/shop.service; \
                     systemctl daemon-reload; systemctl -q enable shop",
                    quoted(GATE),
                    quoted(BEFORE_START)
                ),
            );
        }
        let lab = folder();
        let gateway = format!("{}.1", address("host1").rsplit_once('.').unwrap().0);
        let known = std::fs::read_to_string(lab.join("known_hosts")).unwrap();
        let git_host_key = std::fs::read_to_string(lab.join("gw_ed25519.pub")).unwrap();
        let ground = Ground {
            git: format!("ssh://root@{gateway}:2222"),
            git_key: (gateway.clone(), lab.join("git_ed25519")),
            ssh: format!(":identity \"{}\"", lab.join("id_ed25519").display()),
            hosts: format!(
                ":host1 {{:address \"{}\"}} :host2 {{:address \"{}\" :user \"deploy\"}}",
                address("host1"),
                address("host2")
            ),
            known_hosts: format!("{known}[{gateway}]:2222 {git_host_key}"),
        };
        let mut world = World::on(ground, world::folder());
        let lib = world.commit("lib", &[("deps.edn", "{}")]);
        world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)])), ("app.pl", APP)]);
        world.deploy_edn(deploy);
        Some(Self { world, bare: None, _turn: turn })
    }

    /// As `open`, on hosts that have nothing of an app with this unit, nor of ours; afterwards, too.
    pub async fn bare(unit: &'static str, deploy: &str) -> Option<Self> {
        let mut lab = Self::open(deploy).await?;
        lab.bare = Some(unit);
        make_bare(unit);
        Some(lab)
    }

    /// `host setup`.
    pub fn set_up(&self, host: &str) {
        let (code, _, err) = given(&self.world, &["host", "setup", host], "");
        assert_eq!(code, 0, "{err}");
    }

    /// As `open`, with the app live on both hosts.
    pub async fn live() -> Option<Self> {
        let mut lab = Self::open(LIB_AND_APP).await?;
        lab.world.start().await;
        let job = lab.deploy().await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        Some(lab)
    }

    /// Asks for the app to be deployed, and gives that job once nothing is under way: a hold that ended with it makes
    /// one that comes after it.
    pub async fn deploy(&self) -> Value {
        let id = self.world.deploy("app").await;
        self.world.settled().await;
        self.world.ended(&id).await
    }

    /// Another deploy.edn, once it is in force.
    pub async fn edit(&mut self, text: &str) {
        let edits = |world: &World| world.log().matches("the configuration is in force").count();
        let before = edits(&self.world);
        self.world.deploy_edn(text);
        let deadline = Instant::now() + Duration::from_secs(20);
        while edits(&self.world) == before {
            assert!(Instant::now() < deadline, "{}", self.world.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A push to the library, told by a webhook.
    pub async fn push(&self) -> Sha {
        let round = self.world.count("lib").to_string();
        self.world.push("lib", &[("round", &round)]).await
    }

    /// Waits until something is so on a host.
    pub async fn until(&self, host: &str, test: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while inside(host, &format!("{test} && echo yes || :")) != "yes" {
            assert!(Instant::now() < deadline, "{host}: not so: {test}\n{}", self.world.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The host answers with this version, whose commit is its HEAD, marked live, and was started for it once.
    pub fn check_live(&self, host: &str, lib: Sha, moment: &str) {
        let log = || format!("{moment}: {host}\n{}", self.world.log());
        assert_eq!(answer(host), lib.to_string(), "{}", log());
        let head = self.world.head("app");
        assert!(self.world.file("app", "deps.edn").contains(&lib.to_string()), "{}", log());
        let marker = format!("{{\"sha\":\"{head}\",\"state\":\"live\"}}");
        assert_eq!(inside(host, &format!("cat {FOLDER}/.git/airplanes.json")), marker, "{}", log());
        assert_eq!(inside(host, &format!("cat {FOLDER}/.git/refs/heads/main")), head.to_string(), "{}", log());
        let starts = starts(host);
        assert_eq!(starts.iter().filter(|s| s.contains(&lib.to_string())).count(), 1, "{starts:#?} {}", log());
    }
}

/// Takes away what a unit of that name has, and what we put on hosts.
fn make_bare(unit: &str) {
    for host in HOSTS {
        switch(&["heal", host]);
        inside(
            host,
            &format!(
                "PATH=/usr/sbin:/usr/bin; rm -f /srv/{unit}-gate; \
                 for one in $(systemctl list-units --all --plain --no-legend '{unit}*' 'airplanes-migrate-*' | cut -d ' ' -f 1); do \
                 systemctl disable --now $one 2>/dev/null; done; \
                 rm -rf /srv/{unit}* /etc/systemd/system/{unit}* /etc/systemd/system/*.wants/{unit}* /var/lib/{unit} \
                 /var/lib/private/{unit} /run/systemd/system/airplanes-migrate-* /var/lib/airplanes-* /run/airplanes-host.* \
                 /etc/credstore /etc/nginx/conf.d/airplanes* /etc/nginx/airplanes /etc/systemd/system/nginx.service.d \
                 /etc/sudoers.d/airplanes /usr/local/sbin/airplanes-host /usr/local/sbin/mv /usr/local/sbin/systemctl; \
                 systemctl daemon-reload; systemctl reset-failed; systemctl reload-or-restart nginx; :"
            ),
        );
    }
}

impl Drop for LabWorld {
    fn drop(&mut self) {
        if let Some(unit) = self.bare {
            self.world.kill();
            make_bare(unit);
        }
        for host in HOSTS {
            if std::thread::panicking() {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab");
                let shown = "rm -rf /var/tmp/gates; cat /var/tmp/shop.starts; journalctl -u shop -n 20 --no-pager";
                let _ = Command::new(script).args(["exec", host, shown]).stdin(Stdio::null()).status();
            }
        }
    }
}

/// A text inside single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', r"'\''")
}

/// What the app on a host answers.
pub fn answer(host: &str) -> String {
    inside(host, "curl -sS http://127.0.0.1:7000/ 2>&1 || :")
}
/// The starts of the unit on a host, oldest first: `INVOCATION SHA`.
pub fn starts(host: &str) -> Vec<String> {
    inside(host, "cat /var/tmp/shop.starts 2>/dev/null || :").lines().map(str::to_owned).collect()
}
/// The unit's invocation on a host.
pub fn invocation(host: &str) -> String {
    inside(host, "systemctl show -p InvocationID --value shop")
}
/// Shuts a gate: `start` before the unit starts, `fetch` while the host fetches: before it asks its origin, and before it
/// takes in what came along.
pub fn shut(host: &str, gate: &str) {
    if gate == "fetch" {
        inside(
            host,
            &format!(
                "cd {FOLDER}/.git; git config --file config core.sshCommand 'sh /var/tmp/gate fetch; ssh'; \
                 printf '#!/bin/sh\\nexec sh /var/tmp/gate fetch\\n' >hooks/reference-transaction; \
                 chmod +x hooks/reference-transaction"
            ),
        );
    }
    inside(host, &format!("touch /var/tmp/gates/{gate}"));
}
/// Opens all gates of a host.
pub fn open_gates(host: &str) {
    inside(host, "rm -f /var/tmp/gates/*");
}
