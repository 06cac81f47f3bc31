//! (d) What it costs to keep a daemon: its memory when nothing happens, its start, its size on disk; and whether the
//! door stays quick while two builds take all that they get: 50 pushes a second for a minute, each sent when it is due
//! and counted from then.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::config;
use airplanes::model::event::Answer;
use airplanes::model::{Draft, Entry, EventId, Outcome, Planned, RepoUrl, Sha, Why};
use airplanes::model::{Forge, Push};
use airplanes::store::{NewDelivery, Store, StoreError};
use airplanes::watch::FsSource;
use anyhow::{Context, Result, anyhow, ensure};

use crate::Extent;
use crate::door::{address, planned, residence};
use crate::load;
use crate::push::Pushes;
use crate::stats::{median, percentile};
use crate::support::world::World;
use crate::table::{Table, Target};

/// Pushes a second.
const RATE: u32 = 50;
/// How many ended jobs a daemon has that has been at work for a while.
const JOBS: u32 = 1_000;

pub fn measure(extent: Extent, table: &mut Table) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut world = runtime.block_on(residence());
    runtime.block_on(rest(&world))?;
    let [rss, pss] = memory(&world)?;
    table.value("(d) memory of the idle daemon with 8 apps, resident", rss, " MB", None);
    table.value("(d) the same, its own share of it", pss, " MB", None);

    let turns = extent.pick(9, 3);
    table.value("(d) start to /readyz", runtime.block_on(starts(&mut world, turns))?, " ms", None);
    world.kill();
    runtime.block_on(fill(&world)).context("the store could not be filled with jobs")?;
    let what = format!("(d) start to /readyz with {JOBS} ended jobs");
    table.value(what, runtime.block_on(starts(&mut world, turns))?, " ms", None);
    runtime.block_on(rest(&world))?;
    table.value(format!("(d) memory with {JOBS} ended jobs, resident"), memory(&world)?[0], " MB", None);
    table.value("(d) the binary, stripped", size(&world)?, " MB", None);
    drop(world);
    beside_builds(extent, table, &runtime)
}

/// Until nothing is under way, and a moment more.
async fn rest(world: &World) -> Result<()> {
    planned(world).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// The daemon's resident memory and its proportional share, in MB.
fn memory(world: &World) -> Result<[f64; 2]> {
    let pid = world.daemon.as_ref().context("no daemon")?.id();
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<f64>().ok()).map(|kb| kb * 1024.0 / 1e6)
    };
    Ok([of("Rss:").context("no Rss")?, of("Pss:").context("no Pss")?])
}

/// Kills the daemon outright and starts it, so many times: the median of the milliseconds until it is ready.
async fn starts(world: &mut World, turns: usize) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..turns {
        world.kill();
        let began = Instant::now();
        world.spawn();
        let deadline = began + Duration::from_secs(30);
        loop {
            ensure!(Instant::now() < deadline, "the daemon does not start: {}", world.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
            if !world.path("state/address").exists() {
                continue;
            }
            let ready = world.http.get(format!("{}/readyz", world.base())).send().await;
            if ready.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&times))
}

/// Puts ended jobs into the store of a daemon that does not run, as pushes would have made them.
async fn fill(world: &World) -> Result<()> {
    let loaded = config::load(&FsSource, &world.path("config.edn")).map_err(|_| anyhow!("the configuration is bad"))?;
    let app = loaded.apps.values().next().context("no app")?.clone();
    let store = Store::open(&world.path("state/store"))?;
    for n in 1..=JOBS {
        let after: Sha = format!("{n:040x}").parse()?;
        let push = Push {
            urls: vec![RepoUrl::new("https://github.com/acme/snow")?],
            branch: "main".parse()?,
            before: None,
            after,
            default_branch: None,
            pusher: None,
            subject: Some("a change".to_owned()),
        };
        let delivery = NewDelivery {
            forge: Forge::Github,
            forge_id: Some(format!("before-{n}")),
            event: "push".to_owned(),
            repo: push.urls.first().map(RepoUrl::id),
            tags: Vec::new(),
            meaning: Ok(vec![push]),
        };
        let event: EventId = match store.accept(delivery).await?.answer {
            Answer::Accepted { events } => *events.first().context("no event")?,
            other => anyhow::bail!("not accepted: {other:?}"),
        };
        let planned = Planned {
            app: app.clone(),
            why: Why::Dependency,
            wave: 0,
            after: Vec::new(),
            targets: Vec::new(),
            tags: Vec::new(),
        };
        let draft = Draft { apps: vec![planned], notes: Vec::new(), ..Draft::default() };
        let job = *store.plan(event, draft).await?.created.first().context("no job")?;
        let ended = Entry::Ended { outcome: Outcome::Unchanged, reason: "there was nothing to do".to_owned() };
        store.append(job, vec![Entry::Started, ended]).await?;
    }
    drop(store);
    // Its writer lets go of the lock a moment later.
    let began = Instant::now();
    while matches!(Store::open(&world.path("state/store")), Err(StoreError::Locked { .. })) {
        ensure!(began.elapsed() < Duration::from_secs(10), "the store stays locked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The size of the program without symbols, in MB: as a package would have it.
fn size(world: &World) -> Result<f64> {
    let (program, stripped) = (env!("CARGO_BIN_EXE_airplanes"), world.path("stripped"));
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(program).stderr(Stdio::null()).status();
    let file = if strip.is_ok_and(|s| s.success()) { stripped } else { program.into() };
    Ok(std::fs::metadata(file)?.len() as f64 / 1e6)
}

fn beside_builds(extent: Extent, table: &mut Table, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let world = runtime.block_on(async {
        let mut world = World::new(0);
        world.by_file = true;
        world.env.push(("RUST_LOG".to_owned(), "info".to_owned()));
        let mut apps = String::new();
        for name in ["busy-1", "busy-2"] {
            world.commit(name, &[("deps.edn", "{:deps {}}\n")]);
            let build = format!("echo > {}; while :; do :; done", world.path(name).display());
            apps.push_str(&format!(":{name} {{:git-url \"{{repo:{name}}}\" :build \"{build}\"}}\n"));
        }
        world.deploy_edn(&apps);
        world.start().await;
        for name in ["busy-1", "busy-2"] {
            world.deploy(name).await;
            world.line(name).await;
        }
        world
    });
    let seconds = extent.pick(60, 12);
    let mut pushes = Pushes::new()?;
    let calls = pushes.make((RATE * seconds) as usize, "/hooks/github");
    let seen = load::open(address(&world)?, RATE, &calls)?.only(202)?;
    let milliseconds = |share: f64| percentile(&seen.times, share).as_secs_f64() * 1e3;
    let what = |which: &str| format!("(d) {RATE} pushes a second for {seconds} s beside two busy builds, {which}");
    table.value(what("p50"), milliseconds(0.5), " ms", None);
    table.value(what("p99"), milliseconds(0.99), " ms", Some(Target::AtMost(200.0)));
    table.value(what("slowest"), milliseconds(1.0), " ms", Some(Target::AtMost(2000.0)));
    runtime.block_on(async {
        for job in world.get("/jobs").await["jobs"].as_array().into_iter().flatten() {
            let id = job["id"].as_str().unwrap_or_default();
            ensure!(job["state"] == "running", "a build ended while it should have kept the machine busy: {job}");
            world.post(&format!("/jobs/{id}/cancel")).await;
        }
        world.settled().await;
        Ok(())
    })
}
