//! (e) From a push that was accepted to its plan, with its jobs on disk: among 10,000 apps that each depend on ten of
//! 5,000 repositories; whether that depends on how many apps there are, or on how many a push concerns; and what the
//! apps cost at start, in time and memory. In process, without remotes: nobody is there to be asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use airplanes::git::{GitConfig, Mirrors};
use airplanes::model::event::Answer;
use airplanes::model::{App, AppName, Follows, Forge, Lib, Push, RepoUrl, Sha};
use airplanes::pipeline::{Pipeline, Rooms, Setup};
use airplanes::process::Leftovers;
use airplanes::runner::{self, Local};
use airplanes::ssh::{Hosts, Settings};
use airplanes::store::{AppIndex, DepRow, NewDelivery, Store};
use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::Extent;
use crate::stats::median;
use crate::table::{Table, Target};

/// How many repositories apps depend on beside the one that is pushed.
const REPOS: usize = 5_000;
/// How many dependencies an app has.
const DEPS: usize = 10;

/// What one world of apps has shown.
struct Seen {
    /// The median from a push to its plan, in ms.
    plan: f64,
    /// From opening the store until the pipeline plans, in ms.
    start: f64,
    /// Memory that the start took for each app, in bytes.
    each: f64,
}

pub fn measure(extent: Extent, table: &mut Table) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let seen = |apps: usize, affected: usize| {
        eprintln!("bench: {apps} apps, {affected} of them concerned by a push");
        runtime.block_on(world(apps, affected)).with_context(|| format!("{apps} apps, {affected} concerned"))
    };
    let most = extent.pick(100_000, 10_000);
    let (few, many, all) = (seen(1_000, 100)?, seen(10_000, 100)?, seen(most, 100)?);
    let what = "(e) a push to its plan, 100 of";
    table.value(format!("{what} 1000 apps concerned"), few.plan, " ms", None);
    table.value(format!("{what} 10000"), many.plan, " ms", Some(Target::AtMost(20.0)));
    table.value(format!("{what} {most}"), all.plan, " ms", None);
    table.value(format!("(e) the same, {most} apps to 1000"), all.plan / few.plan, "", Some(Target::AtMost(1.5)));
    for affected in [10, 1_000] {
        let what = format!("(e) a push to its plan, {affected} of 10000 apps concerned");
        table.value(what, seen(10_000, affected)?.plan, " ms", None);
    }
    table.value("(e) start with 10000 apps, store and pipeline", many.start, " ms", Some(Target::AtMost(1000.0)));
    table.value("(e) memory of one of 10000 apps", many.each / 1024.0, " KB", None);
    Ok(())
}

async fn world(apps: usize, affected: usize) -> Result<Seen> {
    let folder = tempfile::tempdir()?;
    let state = folder.path();
    fill(state, apps, affected).await?;
    let before = resident()?;
    let began = Instant::now();
    let store = Store::open(&state.join("store"))?;
    let pipeline = Pipeline::start(store.clone(), setup(state, apps)?);
    let start = began.elapsed().as_secs_f64() * 1e3;
    let each = (resident()? - before).max(0.0) / apps as f64;
    let mut times = Vec::new();
    // Each push concerns others: none finds jobs that wait already.
    for turn in 0..(apps / affected).min(50) {
        let began = Instant::now();
        let accepted = store.accept(delivery(turn)?).await?;
        let Answer::Accepted { events } = accepted.answer else { bail!("not accepted: {:?}", accepted.answer) };
        let rows = pipeline.planned(*events.first().context("no event")?).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(rows.len() == affected, "{} apps planned, not {affected}", rows.len());
        // Nor does one find a machine that is busy with the jobs of the one before.
        let cancels = rows.iter().map(|row| pipeline.cancel(row.job, "the bench"));
        stream::iter(cancels).buffer_unordered(64).collect::<Vec<_>>().await;
        let canceled = Instant::now();
        while !store.open_jobs().is_empty() {
            ensure!(canceled.elapsed() < Duration::from_secs(60), "jobs stay open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    pipeline.end().await;
    Ok(Seen { plan: median(&times), start, each })
}

/// Puts what the apps depend on into a store, as their reading would have.
async fn fill(state: &Path, apps: usize, affected: usize) -> Result<()> {
    let store = Store::open(&state.join("store"))?;
    let puts = (0..apps).map(|n| {
        let store = &store;
        async move { anyhow::Ok(store.put_index(name(n)?, index(n, affected)?).await?) }
    });
    stream::iter(puts).buffer_unordered(512).try_collect::<Vec<()>>().await?;
    drop(store);
    // Its writer lets go of the lock a moment later.
    let began = Instant::now();
    while matches!(Store::open(&state.join("store")), Err(airplanes::store::StoreError::Locked { .. })) {
        ensure!(began.elapsed() < Duration::from_secs(60), "the store stays locked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

fn name(n: usize) -> Result<AppName> {
    Ok(AppName::new(format!("app-{n}"))?)
}
fn url(repo: &str) -> Result<RepoUrl> {
    Ok(RepoUrl::new(format!("file:///nowhere/{repo}"))?)
}
fn sha(n: usize) -> Result<Sha> {
    Ok(format!("{:040x}", n + 1).parse()?)
}

/// Those of a group of `affected` depend on a repository that no other does, and on nine of all.
fn index(n: usize, affected: usize) -> Result<AppIndex> {
    let mut deps = Vec::new();
    for dep in 0..DEPS {
        let repo =
            if dep == 0 { format!("hot-{}", n / affected) } else { format!("lib-{}", (n * 7 + dep * 613) % REPOS) };
        let lib: Lib = format!("acme/{repo}").parse()?;
        let follows = Follows::Seen("main".parse()?);
        deps.push(DepRow {
            lib,
            repo: url(&repo)?.id(),
            url: Some(url(&repo)?),
            follows,
            at: Some(sha(dep)?),
            tag: None,
            stays: None,
            root: None,
        });
    }
    let (repo, branch) = (url(&format!("app-{n}"))?.id(), "main".parse()?);
    Ok(AppIndex { repo, branch, sha: sha(n)?, files: Default::default(), deps })
}

fn app(n: usize) -> Result<App> {
    Ok(App { update: true, ..App::bare(name(n)?, url(&format!("app-{n}"))?) })
}

fn setup(state: &Path, apps: usize) -> Result<Setup> {
    let rooms = Rooms {
        min_free: 0,
        git: Mirrors::new(GitConfig::new(state))?,
        hosts: Hosts::new(Settings::default())?,
        runner: runner::Runner::Local(Local::new(Leftovers::new(state), [])),
        forges: Default::default(),
        http: airplanes::net::Http::new()?,
        url: None,
        secrets: Vec::new(),
        templates: Default::default(),
    };
    let apps: BTreeMap<AppName, App> = (0..apps).map(|n| Ok((name(n)?, app(n)?))).collect::<Result<_>>()?;
    Ok(Setup { state: state.to_owned(), rooms, apps, concurrency: 1 })
}

fn delivery(turn: usize) -> Result<NewDelivery> {
    let push = Push {
        urls: vec![url(&format!("hot-{turn}"))?],
        branch: "main".parse()?,
        before: None,
        after: sha(1_000_000 + turn)?,
        default_branch: Some("main".parse()?),
        pusher: None,
        subject: None,
    };
    Ok(NewDelivery {
        forge: Forge::Github,
        forge_id: Some(format!("turn-{turn}")),
        event: "push".to_owned(),
        repo: push.urls.first().map(RepoUrl::id),
        tags: Vec::new(),
        meaning: Ok(vec![push]),
    })
}

/// This process's resident memory, in bytes.
fn resident() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split(' ').nth(1).context("no resident memory")?.parse()?;
    Ok(pages * 4096.0)
}
