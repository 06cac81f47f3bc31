//! (a) A signed push of 8 KiB to its durable 202, at 1, 16 and 64 kept connections: requests a second, beside Debian's
//! `webhook` on the same rule (`webhook`) and beside a bare hyper server that only appends and syncs (`limit`).
//!
//! The three take turns on the same machine with the same client, each when the others are at rest. At the end the
//! daemon is killed outright and started again, and every 202 has to be in `/deliveries`.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::Extent;
use crate::limit::Limit;
use crate::load::{self, Calls, Seen};
use crate::push::Pushes;
use crate::stats::{median, percentile, time};
use crate::support::world::World;
use crate::table::{Table, Target};
use crate::webhook::{self, Webhook};

/// Connections, and how many calls a turn of ours, of the limit and of webhook has.
const TURNS: [(usize, [usize; 3]); 3] =
    [(1, [2_000, 2_000, 1_000]), (16, [12_000, 12_000, 2_000]), (64, [12_000, 12_000, 2_000])];

pub fn measure(extent: Extent, table: &mut Table) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut world = runtime.block_on(residence());
    // Not beside config.edn, which the daemon watches.
    let folder = tempfile::tempdir()?;
    let limit = Limit::start(&folder.path().join("appended"))?;
    let webhook = Webhook::start(folder.path())?;
    let mut pushes = Pushes::new()?;
    let ours = address(&world)?;
    let settled = |world: &World| runtime.block_on(planned(world));

    let mut accepted = 0;
    // Warm-up, not counted.
    let calls = pushes.make(2_000, "/hooks/github");
    accepted += load::closed(ours, 16, &calls)?.only(202)?.times.len();
    load::closed(limit.address, 16, &calls)?.only(202)?;
    load::closed(webhook.address, 16, &pushes.make(500, webhook::PATH))?.only(200)?;
    settled(&world)?;
    webhook.settle()?;

    for (connections, counts) in TURNS {
        let mut rounds = Vec::new();
        for _ in 0..extent.pick(7, 3) {
            let calls = pushes.make(counts[0], "/hooks/github");
            let own = load::closed(ours, connections, &calls)?.only(202)?;
            accepted += own.times.len();
            settled(&world)?;
            let bare = load::closed(limit.address, connections, &first(&calls, counts[1]))?.only(202)?;
            drop(calls);
            let peer = load::closed(webhook.address, connections, &pushes.make(counts[2], webhook::PATH))?.only(200)?;
            webhook.settle()?;
            rounds.push([own, bare, peer]);
        }
        let ratio = |of: usize| median(&rounds.iter().map(|r| r[0].rate() / r[of].rate()).collect::<Vec<_>>());
        let cell = |of: usize| shown(&rounds, of);
        let target = |least: f64| (connections == 16).then_some(Target::AtLeast(least));
        let what = |peer: &str| format!("(a) push to durable 202, {connections} connections, beside {peer}");
        table.compare(what("webhook"), cell(0), cell(2), ratio(2), target(5.0));
        table.compare(what("the bare limit"), cell(0), cell(1), ratio(1), target(0.6));
    }
    world.kill();
    let kept = runtime.block_on(async {
        world.start().await;
        deliveries(&world).await
    });
    ensure!(kept == accepted, "{accepted} pushes were answered with 202, and /deliveries has {kept}");
    eprintln!("bench: all of {accepted} pushes that were answered with 202 are there after kill -9");
    Ok(())
}

/// A daemon with eight apps, none of which has the repository that is pushed to.
pub async fn residence() -> World {
    let mut world = World::new(0);
    world.by_file = true;
    world.env.push(("RUST_LOG".to_owned(), "info".to_owned()));
    let mut apps = String::new();
    for n in 1..=8 {
        let name = format!("app-{n}");
        world.commit(&name, &[("deps.edn", "{:deps {}}\n")]);
        apps.push_str(&format!(
            ":{name} {{:git-url \"{{repo:{name}}}\" :update? true :build \"true\" :working-directory \"{{dir}}/srv\" :hosts []}}\n"
        ));
    }
    world.deploy_edn(&apps);
    world.start().await;
    world
}

pub fn address(world: &World) -> Result<SocketAddr> {
    Ok(world.base().trim_start_matches("http://").parse()?)
}

fn first(calls: &Calls, count: usize) -> Calls {
    calls.iter().take(count).cloned().collect()
}

/// Requests a second and the percentiles of the turn that is the median one.
fn shown(rounds: &[[Seen; 3]], of: usize) -> String {
    let rate = median(&rounds.iter().map(|r| r[of].rate()).collect::<Vec<_>>());
    let times: Vec<_> = rounds.iter().flat_map(|r| r[of].times.iter().copied()).collect();
    format!("{rate:.0}/s, p50 {}, p99 {}", time(percentile(&times, 0.5)), time(percentile(&times, 0.99)))
}

/// Waits until every event has its plan.
pub async fn planned(world: &World) -> Result<()> {
    let began = std::time::Instant::now();
    loop {
        let metrics = world.text("/metrics").await;
        let open = metrics.lines().find_map(|line| line.strip_prefix("airplanes_events_unplanned "));
        if open == Some("0") {
            return Ok(());
        }
        ensure!(began.elapsed().as_secs() < 60, "the daemon does not come to rest: {open:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// How many deliveries the daemon tells of.
async fn deliveries(world: &World) -> usize {
    let (mut count, mut before) = (0, String::new());
    loop {
        let page = world.get(&format!("/deliveries?limit=500{before}")).await;
        count += page["deliveries"].as_array().map_or(0, Vec::len);
        match &page["next"] {
            Value::String(next) => before = format!("&before={next}"),
            _ => return count,
        }
    }
}
