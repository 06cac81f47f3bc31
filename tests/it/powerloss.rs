//! Power cuts, which kill -9 is not: the kernel's memory goes too. What the daemon asked the kernel is read from
//! strace, and the disk is put together again from what had been synced at a moment.
//!
//! `scripts/powerloss` runs more of it (`AIRPLANES_POWERLOSS=full`).

mod trace;

use std::collections::BTreeMap;
use std::path::Path;

use airplanes::model::{Forge, Sha};
use airplanes::store::Store;

use super::support::world::{World, git};
use trace::{Call, Trace};

fn is_full() -> bool {
    std::env::var("AIRPLANES_POWERLOSS").is_ok_and(|v| v == "full")
}

/// A daemon with a library and an app on one host, traced if it can be.
async fn traced() -> Option<World> {
    let mut world = World::new(1);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.clone_to_hosts("app");
    world.deploy_edn(
        r#":lib {:git-url "{repo:lib}"}
 :app {:git-url "{repo:app}" :update? true :build "true" :working-directory "{dir}/srv/{host}" :hosts [:web-1]
       :restart "echo the-restart-itself >> {dir}/restarts"}"#,
    );
    if let Err(why) = trace::can() {
        eprintln!("skipped: {why}");
        return None;
    }
    world.under = trace::line(&world.path("trace"));
    world.start().await;
    Some(world)
}

/// Webhooks, some at once, of branches that nobody builds; gives each one's delivery.
async fn webhooks(world: &World, rounds: usize, at_once: usize) -> Vec<String> {
    let head = world.head("lib");
    let mut deliveries = Vec::new();
    for round in 0..rounds {
        let calls = (0..at_once).map(|n| {
            let n = round * at_once + n;
            let after: Sha = format!("{:040x}", n + 1).parse().unwrap();
            let id = format!("power-{n:06}");
            let url = airplanes::model::RepoUrl::new(format!("https://example.com/x/r{n}.git")).unwrap();
            async move {
                let (status, answer) = world.hook_from(Forge::Github, &url, Some(head), after, &id).await;
                assert_eq!(status, 202, "{answer}");
                answer["delivery"].as_str().unwrap().to_owned()
            }
        });
        deliveries.extend(futures_util::future::join_all(calls).await);
    }
    deliveries
}

/// The first sync of the file that began after the first write of `text` into it was over.
fn synced<'t>(trace: &'t Trace, text: &str) -> &'t Call {
    let written = trace.store_writes().find(|call| call.holds(text));
    let written = written.unwrap_or_else(|| panic!("{text} was never written"));
    let sync = trace.store_syncs().find(|sync| sync.entered > written.left && sync.path == written.path);
    sync.unwrap_or_else(|| panic!("{text} was never synced"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_synced_before_their_202_and_entries_before_their_effects_and_the_synced_store_has_them_all() {
    let Some(mut world) = traced().await else { return };
    let (rounds, pushes) = if is_full() { (40, 4) } else { (6, 1) };
    let deliveries = webhooks(&world, rounds, 8).await;
    for n in 0..pushes {
        world.push("lib", &[("a", &n.to_string())]).await;
        assert_eq!(world.job("app").await["state"], "succeeded", "{}", world.log());
    }
    world.kill();
    let trace = Trace::read(&world.path("trace"), &world.state("store")).await;

    // The files' names, before anything else.
    let first = trace.calls.iter().position(|call| call.holds("HTTP/1.1 202")).unwrap();
    for name in ["store/db", "store/conf", "store/wal-0", "store/wal-1", "store", ""] {
        let path = world.state(name).display().to_string();
        let path = path.trim_end_matches('/');
        let is = |call: &Call| call.is_sync() && call.path == path;
        assert!(trace.calls[..first].iter().any(is), "{path} is not synced before the first 202");
    }
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in &deliveries {
        let row = format!("{{\"id\":\"{delivery}\"");
        let sync = synced(&trace, &row);
        let answer = trace.calls.iter().find(|call| call.holds("HTTP/1.1 202") && call.holds(delivery));
        let answer = answer.unwrap_or_else(|| panic!("no answer to {delivery}"));
        assert!(sync.left < answer.entered, "{delivery}: answered in line {}, synced in {}", answer.entered, sync.left);
        answers.insert(delivery, answer.entered);
    }
    // Entries before effects, for the first job: its push, the move of the host's tree, the restart.
    let push = synced(&trace, "\"entry\":\"publishing\"");
    let remote = world.path("repos/app.git").display().to_string();
    let effect = trace.calls.iter().find(|call| call.changes(&remote)).expect("no push was seen");
    assert!(push.left < effect.entered, "pushed in line {}, synced in {}", effect.entered, push.left);
    let is_sent = |call: &&Call, text: &str| call.is_to_host() && call.holds(text);
    for (entry, sent) in [("host-started", "reset -q --keep"), ("host-restarting", "the-restart-itself")] {
        let sync = synced(&trace, &format!("\"entry\":\"{entry}\""));
        let effect =
            trace.calls.iter().find(|call| is_sent(call, sent)).unwrap_or_else(|| panic!("{sent} was not sent"));
        assert!(sync.left < effect.entered, "{sent} in line {}, {entry} synced in {}", effect.entered, sync.left);
    }
    eprintln!(
        "{} calls, {} writes and {} syncs of the store; {} webhooks: each synced before its 202; push, move and restart after their entries",
        trace.calls.len(),
        trace.store_writes().count(),
        trace.store_syncs().count(),
        answers.len()
    );
    cut_back(&world, &trace, &answers);
}

/// The disk after a power cut just before each sync: what had been synced by the one before, and nothing else, or the
/// last of what came after it too. No file of sled's but those that the daemon syncs.
fn cut_back(world: &World, trace: &Trace, answers: &BTreeMap<&str, usize>) {
    let syncs: Vec<&Call> = trace.store_syncs().collect();
    let every = if is_full() { 1 } else { (syncs.len() / 12).max(1) };
    let copy = world.path("copy");
    let mut cuts = 0;
    for n in (0..syncs.len()).rev().step_by(every) {
        let next = syncs.get(n + 1).map_or(usize::MAX, |sync| sync.left);
        let after: Vec<&Call> =
            trace.store_writes().filter(|w| w.left > syncs[n].entered && w.entered < next).collect();
        for also in [None, after.last()] {
            let _ = std::fs::remove_dir_all(&copy);
            std::fs::create_dir_all(copy.join("store/blobs")).unwrap();
            std::fs::copy(world.state("store/conf"), copy.join("store/conf")).unwrap();
            trace.replay(&copy.join("store"), syncs[n], also.copied());
            let acknowledged: Vec<&&str> = answers.iter().filter(|(_, at)| **at < next).map(|(id, _)| id).collect();
            match Store::open(&copy) {
                Ok(store) => {
                    let kept: Vec<String> =
                        store.deliveries(None, 100_000).unwrap().iter().map(|d| d.id.to_string()).collect();
                    let lost: Vec<_> = acknowledged.iter().filter(|id| !kept.iter().any(|k| k == **id)).collect();
                    assert!(lost.is_empty(), "cut after sync {n} of {}: lost {lost:?}", syncs.len());
                    let parked = store.open_jobs().iter().filter(|job| job.ended.is_some()).count();
                    assert_eq!(parked, 0, "cut after sync {n}: a journal can't be read");
                }
                Err(error) => panic!("cut after sync {n} of {}, and {:?}: {error}", syncs.len(), also.is_some()),
            }
            cuts += 1;
        }
    }
    eprintln!("{cuts} power cuts, nothing acknowledged lost in any");
}

/// Whether a file, by its path, is one of those.
type Which = fn(&str) -> bool;

/// Sets every byte of each file under `folder` that `which` names to zero, as blocks that were never written are.
fn zero(folder: &Path, which: Which) -> usize {
    let mut zeroed = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            zeroed += zero(&path, which);
        } else if entry.file_type().unwrap().is_file() && which(&path.display().to_string()) {
            let length = entry.metadata().unwrap().len();
            // Git's objects are read-only.
            std::fs::remove_file(&path).unwrap();
            std::fs::File::create(&path).unwrap().set_len(length).unwrap();
            zeroed += 1;
        }
    }
    zeroed
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_and_clones_whose_files_were_never_written_come_right_by_themselves() {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}"), ("src/a.clj", "1")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)])), ("src/b.clj", "1")]);
    world.deploy_edn(
        r#":lib {:git-url "{repo:lib}"}
 :app {:git-url "{repo:app}" :update? true :build "echo begun >> {dir}/begun; cat src/b.clj; while [ ! -e {dir}/go ]; do sleep 0.05; done"}"#,
    );
    let kinds: [(&str, Which); 5] = [
        ("objects", |path| path.contains("/objects/")),
        ("refs", |path| path.contains("/refs/") || path.ends_with("packed-refs")),
        ("packs", |path| path.ends_with(".pack")),
        ("HEAD and config", |path| path.ends_with("/HEAD") || path.ends_with("/config")),
        ("all", |_| true),
    ];
    for (n, (what, which)) in kinds.iter().enumerate() {
        // The second push reads both mirrors, so both are whole after it.
        for during in [true, false] {
            let _ = std::fs::remove_file(world.path("go"));
            let count = world.count("app");
            let begun = world.read("begun").len();
            world.start().await;
            if during {
                // The build runs, with a clone that borrows from the mirror.
                world.push("lib", &[("src/a.clj", &format!("{n} during"))]).await;
                world.until("the build runs", async || Some(()).filter(|()| world.read("begun").len() > begun)).await;
            }
            world.kill();
            let zeroed = zero(&world.state("mirrors"), *which) + zero(&world.state("work"), *which);
            std::fs::write(world.path("go"), "").unwrap();
            world.start().await;
            if !during {
                world.push("lib", &[("src/a.clj", &format!("{n} after"))]).await;
            }
            let job = world.job("app").await;
            assert_eq!(job["state"], "succeeded", "{what}, {zeroed} files, {during}: {job:#}\n{}", world.log());
            assert_eq!(world.count("app"), count + 1, "{what}, {during}");
            world.kill();
        }
        let mirrors = std::fs::read_dir(world.state("mirrors")).unwrap().map(|e| e.unwrap().path());
        for mirror in mirrors.filter(|path| path.extension().is_some_and(|e| e == "git")) {
            git(&mirror, &["fsck", "--full"]);
        }
    }
}
