//! (g) From the webhook of a push until a plan of 12 apps is through, over a real sshd, with builds of a second each:
//! beside a shell script that does by hand what the longest chain of the plan needs (`waves.sh`), with kept clones and
//! the same fetches, edits, commits, builds and pushes, and nothing of the other apps.
//!
//! Both have repositories of their own on the same git host, and take turns.

use std::time::{Duration, Instant};

use airplanes::model::{Forge, Sha};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Extent;
use crate::script::{Script, compare, ssh_options};
use crate::support::world::{World, git};
use crate::table::Table;

/// Which app depends on which: diamonds, whose longest chain is 6 long.
const DEPS: [&[usize]; 12] = [&[], &[0], &[0], &[1, 2], &[1], &[2], &[3, 4], &[3, 5], &[6, 7], &[6], &[8, 9], &[7]];
/// The longest chain.
const CHAIN: [usize; 6] = [0, 1, 3, 6, 8, 10];
const BUILD: &str = "sleep 1";

pub fn measure(extent: Extent, table: &mut Table) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut world = World::new(0);
    world.env.push(("RUST_LOG".to_owned(), "info".to_owned()));
    // As many as may run at once by their dependencies: what is measured is not how builds share a machine.
    world.builds = format!(":concurrency 6 :write [\"{}\"]", world.open().display());
    world.write_config();
    make(&mut world, "ours", &DEPS);
    let alone: Vec<Vec<usize>> = (0..CHAIN.len()).map(|n| n.checked_sub(1).into_iter().collect()).collect();
    let alone: Vec<&[usize]> = alone.iter().map(Vec::as_slice).collect();
    make(&mut world, "theirs", &alone);
    let script = script(&world)?;
    let apps: String = (0..DEPS.len())
        .map(|n| format!(":ours-{n} {{:git-url \"{{repo:ours-{n}}}\" :update? true :build \"{BUILD}\"}}\n"))
        .collect();
    world.deploy_edn(&apps);
    runtime.block_on(async {
        world.start().await;
        all_are_read(&world).await
    })?;
    let what = "(g) a plan of 12 apps over ssh, its longest chain by hand";
    compare(table, what, 1.15, extent.pick(8, 3), |turn| {
        world.commit("theirs-0", &[("change", &turn.to_string())]);
        let peer = theirs_takes(&script, &world)?;
        let before = world.head("ours-0");
        let after = world.commit("ours-0", &[("change", &turn.to_string())]);
        Ok((runtime.block_on(ours_takes(&world, before, after))?, peer))
    })
}

/// Repositories `NAME-0`, `NAME-1`, … that depend on each other.
fn make(world: &mut World, name: &str, deps: &[&[usize]]) {
    let mut heads: Vec<(String, Sha)> = Vec::new();
    for (n, deps) in deps.iter().enumerate() {
        let libs: Vec<(&str, Sha)> = deps.iter().map(|dep| (heads[*dep].0.as_str(), heads[*dep].1)).collect();
        let repo = format!("{name}-{n}");
        let head = world.commit(&repo, &[("deps.edn", &world.deps(&libs)), ("src/a.clj", "(ns a)\n")]);
        heads.push((repo, head));
    }
}

async fn all_are_read(world: &World) -> Result<()> {
    let began = Instant::now();
    loop {
        let graph = world.get("/graph").await;
        if graph["notes"].as_array().is_some_and(Vec::is_empty) && !graph.to_string().contains("not known") {
            return Ok(());
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "the apps are not read: {graph:#}\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Seconds from the webhook's first byte to the end of the last job that it made.
async fn ours_takes(world: &World, before: Sha, after: Sha) -> Result<f64> {
    let began = Instant::now();
    let (status, answer) = world.hook(Forge::Github, "ours-0", Some(before), after, &after.to_string()).await;
    ensure!(status == 202, "the push was answered with {status}: {answer}");
    let event = answer["event"].as_str().context("no event")?.to_owned();
    loop {
        let jobs = world.get(&format!("/jobs?limit={}", DEPS.len())).await;
        let jobs: Vec<&Value> = jobs["jobs"].as_array().context("no jobs")?.iter().collect();
        let of_event = || jobs.iter().filter(|job| job["event"] == event.as_str());
        if of_event().count() == DEPS.len() && of_event().all(|job| !job["finished_at"].is_null()) {
            let took = began.elapsed().as_secs_f64();
            for job in &jobs {
                ensure!(job["state"] == "succeeded", "a job ended otherwise: {job:#}\n{}", world.log());
            }
            for (n, deps) in DEPS.iter().enumerate() {
                let text = world.file(&format!("ours-{n}"), "deps.edn");
                let has = |dep: &usize| text.contains(&world.head(&format!("ours-{dep}")).to_string());
                ensure!(deps.iter().all(has), "ours-{n} is not at the heads of what it depends on: {text}");
            }
            if std::env::var_os("BENCH_STEPS").is_some() {
                eprintln!("{took:.3} s");
                CHAIN.iter().for_each(|n| tell_steps(&jobs, &format!("ours-{n}")));
            }
            return Ok(took);
        }
        ensure!(began.elapsed() < Duration::from_secs(120), "the plan does not end: {jobs:#?}\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Where a job's time went.
fn tell_steps(jobs: &[&Value], app: &str) {
    let Some(job) = jobs.iter().find(|job| job["app"] == app) else { return };
    let steps = job["steps"].as_array().into_iter().flatten();
    let told: Vec<String> = steps
        .map(|step| {
            let at = |key: &str| step[key].as_str().unwrap_or("-").trim_end_matches('Z').chars().skip(17).collect();
            let (from, to): (String, String) = (at("started_at"), at("finished_at"));
            format!("{} {from}..{to}", step["name"].as_str().unwrap_or_default())
        })
        .collect();
    eprintln!("  {app}: {}", told.join("  "));
}

fn script(world: &World) -> Result<Script> {
    let clones = world.path("script-clones");
    std::fs::create_dir_all(&clones)?;
    let names: Vec<String> = (0..CHAIN.len()).map(|n| format!("theirs-{n}")).collect();
    let script = Script {
        file: "waves.sh",
        env: vec![
            ("NAMES", names.join(" ")),
            ("CLONES", clones.display().to_string()),
            ("GIT_SSH_COMMAND", format!("ssh {}", ssh_options(world, &world.path("git-sshd/client_ed25519")))),
            ("BUILD", BUILD.to_owned()),
        ],
    };
    for name in &names {
        let mut clone = script.command("git");
        clone.args(["clone", "-q", world.url(name).as_str(), name]).current_dir(&clones);
        ensure!(clone.status()?.success(), "a clone of the script's could not be made");
    }
    Ok(script)
}

/// Seconds from the script's start to its end.
fn theirs_takes(script: &Script, world: &World) -> Result<f64> {
    let took = script.run()?;
    for n in 1..CHAIN.len() {
        let (repos, up) = (world.path("repos"), world.head(&format!("theirs-{}", n - 1)));
        let text = git(&repos.join(format!("theirs-{n}.git")), &["show", "main:deps.edn"]);
        ensure!(text.contains(&up.to_string()), "the script's theirs-{n} does not have the bump: {text}");
    }
    Ok(took)
}
