//! (h) A commit brought to 10 and to 30 hosts with systemd, in the lab (`scripts/lab`): fetched by each, the unit restarted
//! and seen to be active. Beside ClusterShell's `clush` with that as one command line, and Ansible with its own modules,
//! both with the same key and as many hosts at once.
//!
//! Warm is the rollout of a job whose build ran meanwhile, so that its connections were there; cold is the whole of a job
//! without a build, by a daemon that was just started. Ours is asked a url besides, locks each host, and journals each step.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::model::Sha;
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::Extent;
use crate::stats::{median, time};
use crate::support::lab_world::{address, folder, inside, switch};
use crate::support::world::{self, Ground, World};
use crate::table::{Table, Target};

/// So many hosts.
const FLEETS: [usize; 2] = [10, 30];
/// Long enough for the connections of the largest fleet.
const BUILD: &str = "sleep 8";
/// Nothing takes longer.
const WITHIN: Duration = Duration::from_secs(300);

pub fn measure(extent: Extent, table: &mut Table) -> Result<()> {
    let can = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab")).arg("can").output()?;
    if !can.status.success() {
        eprintln!("bench: (h) is skipped: {}", String::from_utf8_lossy(&can.stderr).trim());
        return Ok(());
    }
    let lab = Lab::up(FLEETS.into_iter().max().unwrap_or_default());
    for hosts in FLEETS {
        lab.measure(hosts, extent, table)?;
    }
    Ok(())
}

/// The hosts, for as long as this is there.
struct Lab {
    /// Where the peers keep their files.
    work: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        switch(&["down"]);
    }
}

impl Lab {
    fn up(hosts: usize) -> Self {
        switch(&["down"]);
        switch(&["up", &hosts.to_string()]);
        for n in 1..=hosts {
            inside(
                &name(n),
                "printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/shop.service; systemctl daemon-reload",
            );
        }
        Self { work: world::folder() }
    }

    fn measure(&self, hosts: usize, extent: Extent, table: &mut Table) -> Result<()> {
        let runtime = tokio::runtime::Runtime::new()?;
        let mut world = world(hosts);
        world.env.push(("RUST_LOG".to_owned(), "info".to_owned()));
        world.commit("app", &[("deps.edn", "{}"), ("n", "0")]);
        for n in 1..=hosts {
            inside(&name(n), &format!("rm -rf /srv/shop; git clone -q {} /srv/shop", world.url("app")));
        }
        world.deploy_edn(&app(hosts, BUILD));
        runtime.block_on(world.start());
        let (mut warm, mut cold, mut clush, mut ansible) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for turn in 0..=extent.pick(5, 2) {
            world.deploy_edn(&app(hosts, BUILD));
            let commit = |of: &str| world.commit("app", &[("n", &format!("{turn} {of}"))]);
            let to = commit("warm");
            let job = runtime.block_on(deployed(&mut world))?;
            let step = job["steps"].as_array().into_iter().flatten().find(|step| step["name"] == "rollout");
            let own_warm = seconds(step.context("no rollout")?, "started_at")?;
            check(hosts, to)?;

            let commit = |of: &str| world.commit("app", &[("n", &format!("{turn} {of}"))]);
            let to = commit("clush");
            let by_clush = self.clush(&world, hosts, to)?;
            check(hosts, to)?;
            let to = commit("ansible");
            let by_ansible = self.ansible(&world, hosts, to)?;
            check(hosts, to)?;

            world.deploy_edn(&app(hosts, ""));
            let to = world.commit("app", &[("n", &format!("{turn} cold"))]);
            let job = runtime.block_on(deployed(&mut world))?;
            let own_cold = seconds(&job, "created_at")?;
            check(hosts, to)?;
            eprintln!(
                "bench: {hosts} hosts: warm {own_warm:.2} cold {own_cold:.2} clush {by_clush:.2} ansible {by_ansible:.2}"
            );
            // The first is a warm-up.
            if turn > 0 {
                warm.push(own_warm);
                cold.push(own_cold);
                clush.push(by_clush);
                ansible.push(by_ansible);
            }
        }
        let mut row = |what: &str, own: &[f64], peer: &[f64], most: f64| {
            let ratios: Vec<f64> = own.iter().zip(peer).map(|(own, peer)| own / peer).collect();
            let shown = |seconds: &[f64]| time(Duration::from_secs_f64(median(seconds)));
            let what = format!("(h) pull, restart, is-active on {hosts} hosts, {what}");
            table.compare(what, shown(own), shown(peer), median(&ratios), Some(Target::AtMost(most)));
        };
        row("connections warmed in the build, beside clush", &warm, &clush, 0.5);
        row("cold, beside clush", &cold, &clush, 1.0);
        row("warmed, beside ansible", &warm, &ansible, 0.5);
        row("cold, beside ansible", &cold, &ansible, 0.5);
        Ok(())
    }

    /// What is done on a host, as one command line.
    fn clush(&self, world: &World, hosts: usize, to: Sha) -> Result<f64> {
        let nodes: Vec<String> = (1..=hosts).map(|n| address(&name(n))).collect();
        let remote = format!(
            "cd /srv/shop && git fetch -q origin && git reset -q --hard {to} && systemctl restart shop && systemctl is-active -q shop"
        );
        let began = Instant::now();
        let mut clush = Command::new("clush");
        clush.args([
            "-S",
            "-q",
            "-l",
            "root",
            "-f",
            &hosts.to_string(),
            "-o",
            &ssh_options(world),
            "-w",
            &nodes.join(","),
        ]);
        run(clush.arg(remote))?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn ansible(&self, world: &World, hosts: usize, to: Sha) -> Result<f64> {
        let at = |file: &str| self.work.path().join(file);
        let mut inventory = String::new();
        for n in 1..=hosts {
            writeln!(inventory, "{} ansible_user=root ansible_python_interpreter=/usr/bin/python3", address(&name(n)))?;
        }
        std::fs::write(at("inventory"), inventory)?;
        let play = format!(
            "- hosts: all\n  gather_facts: false\n  tasks:\n  - git: {{repo: '{}', dest: /srv/shop, version: {to}, force: true}}\n  \
             - systemd: {{name: shop, state: restarted}}\n  - command: systemctl is-active -q shop\n",
            world.url("app")
        );
        std::fs::write(at("play.yml"), play)?;
        let began = Instant::now();
        let mut ansible = Command::new("ansible-playbook");
        ansible.args(["-f", &hosts.to_string(), "-i"]).arg(at("inventory")).arg(at("play.yml"));
        ansible.env("ANSIBLE_SSH_COMMON_ARGS", ssh_options(world)).env("ANSIBLE_PIPELINING", "true");
        ansible
            .env("ANSIBLE_HOME", self.work.path())
            .env("ANSIBLE_LOCAL_TEMP", at("tmp"))
            .env("HOME", self.work.path());
        run(&mut ansible)?;
        Ok(began.elapsed().as_secs_f64())
    }
}

fn name(n: usize) -> String {
    format!("host{n}")
}

/// A world whose repositories the lab's git host serves, with so many of its hosts.
fn world(hosts: usize) -> World {
    let lab = folder();
    let gateway = format!("{}.1", address("host1").rsplit_once('.').map_or("", |(net, _)| net));
    let known = std::fs::read_to_string(lab.join("known_hosts")).unwrap_or_default();
    let key = std::fs::read_to_string(lab.join("gw_ed25519.pub")).unwrap_or_default();
    let entries: String =
        (1..=hosts).map(|n| format!(":{} {{:address \"{}\"}} ", name(n), address(&name(n)))).collect();
    let ground = Ground {
        git: format!("ssh://root@{gateway}:2222"),
        git_key: (gateway.clone(), lab.join("git_ed25519")),
        ssh: format!(":user \"root\" :identity \"{}\"", lab.join("id_ed25519").display()),
        hosts: entries,
        known_hosts: format!("{known}[{gateway}]:2222 {key}"),
    };
    World::on(ground, world::folder())
}

fn app(hosts: usize, build: &str) -> String {
    let names: Vec<String> = (1..=hosts).map(|n| format!(":{}", name(n))).collect();
    let build = if build.is_empty() { String::new() } else { format!(":build \"{build}\"") };
    format!(
        ":app {{:git-url \"{{repo:app}}\" {build} :working-directory \"/srv/shop\" :hosts [{}] :service {{:name \"shop\"}}\n  \
         :health {{:url \"http://127.0.0.1/\" :stable \"0s\"}} :rollout {{:batches [\"100%\"] :parallel {hosts}}}}}",
        names.join(" ")
    )
}

/// The job of a deploy by a daemon that was just started, once it has succeeded.
async fn deployed(world: &mut World) -> Result<Value> {
    world.stop();
    world.start().await;
    let id = world.deploy("app").await;
    let began = Instant::now();
    loop {
        let job = world.get(&format!("/jobs/{id}")).await;
        if !job["finished_at"].is_null() {
            ensure!(job["state"] == "succeeded", "the deploy ended otherwise: {job:#}\n{}", world.log());
            return Ok(job);
        }
        ensure!(began.elapsed() < WITHIN, "the deploy does not end: {job:#}\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// From a time of a job or step to its end.
fn seconds(of: &Value, from: &str) -> Result<f64> {
    let at = |key: &str| -> Result<Timestamp> { Ok(of[key].as_str().context("no time")?.parse()?) };
    Ok(at("finished_at")?.duration_since(at(from)?).as_secs_f64())
}

/// Each host is at the commit, and its unit is active.
fn check(hosts: usize, to: Sha) -> Result<()> {
    for n in 1..=hosts {
        let is = inside(&name(n), "git -C /srv/shop rev-parse HEAD; systemctl is-active shop");
        ensure!(is == format!("{to}\nactive"), "{} is at {is}, not at {to}", name(n));
    }
    Ok(())
}

fn ssh_options(world: &World) -> String {
    crate::script::ssh_options(world, &folder().join("id_ed25519"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = || String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, said());
    Ok(())
}
