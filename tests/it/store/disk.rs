//! Disks that are full, and processes that are killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::model::{EventId, EventKind};
use airplanes::store::{Store, StoreError};

use super::*;

/// A file system of a few megabytes, unmounted when it goes.
struct Tiny(PathBuf);

impl Tiny {
    fn mount(path: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(path).output();
        if mounted.is_ok_and(|m| m.status.success()) {
            return Some(Self(path.to_owned()));
        }
        eprintln!("skipped: this test mounts a small tmpfs, which only root may");
        None
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

async fn accept_until_full(store: &Store, acked: &mut Vec<EventId>, from: u32) -> StoreError {
    for n in from..from + 100_000 {
        let mut push = push_to(&format!("b{n}"), n);
        push.subject = Some("x".repeat(200));
        let accepted = store.accept(delivery(&format!("d{n}"), vec![push; 1])).await;
        match accepted {
            Ok(accepted) => acked.extend(events(&accepted)),
            Err(error) => return error,
        }
    }
    panic!("it never filled");
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_acknowledged_is_lost_and_writing_goes_on_once_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let Some(tiny) = Tiny::mount(folder.path()) else { return };
    let path = tiny.0.join("db");
    std::fs::create_dir(&path).unwrap();
    let ballast = tiny.0.join("ballast");
    std::fs::write(&ballast, vec![0u8; 3 << 20]).unwrap();
    let store = Store::open(&path).unwrap();
    let mut acked = Vec::new();
    let error = tokio::time::timeout(Duration::from_secs(60), accept_until_full(&store, &mut acked, 0)).await.unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(acked.len() > 10, "{}", acked.len());
    // Still full: still said so, at once.
    let begun = Instant::now();
    let again = store.accept(delivery("still", vec![push_to("still", 1)])).await;
    assert!(matches!(again, Err(StoreError::Unavailable { .. })), "{again:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(store.fault().is_some());

    std::fs::remove_file(&ballast).unwrap();
    let begun = Instant::now();
    let after = loop {
        match store.accept(delivery("after", vec![push_to("after", 2)])).await {
            Ok(accepted) => break events(&accepted)[0],
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not recover: {:?}", store.fault());
    };
    assert!(store.fault().is_none());
    let kept: Vec<EventId> = store.unplanned().iter().map(|e| e.id).collect();
    assert!(acked.iter().all(|id| kept.contains(id)), "{} acknowledged, {} kept", acked.len(), kept.len());
    assert!(after > *acked.last().unwrap());
    drop(store);
    let kept: Vec<EventId> = open_again(&path).unplanned().iter().map(|e| e.id).collect();
    assert!(acked.iter().chain([&after]).all(|id| kept.contains(id)));
}

#[tokio::test]
async fn a_store_that_was_moved_away_takes_nothing_and_makes_no_new_one_and_goes_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("store"), folder.path().join("away"));
    let store = Store::open(&path).unwrap();
    let first = events(&store.accept(delivery("first", vec![push_to("a", 1)])).await.unwrap())[0];
    std::fs::rename(&path, &away).unwrap();
    let error = store.accept(delivery("lost", vec![push_to("b", 2)])).await.unwrap_err();
    assert!(error.to_string().contains("moved or deleted under the daemon"), "{error}");
    let error = store.accept(delivery("lost", vec![push_to("b", 2)])).await.unwrap_err();
    assert!(error.to_string().contains("moved or deleted under the daemon"), "{error}");
    assert!(!path.join("store/db").exists());
    std::fs::remove_dir_all(&path).ok();
    std::fs::rename(&away, &path).unwrap();
    let begun = Instant::now();
    while let Err(error) = store.accept(delivery("later", vec![push_to("c", 3)])).await {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not recover: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(store.unplanned().iter().any(|event| event.id == first));
}

#[tokio::test]
async fn a_store_that_may_not_be_read_is_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    // Also for root, whom no mode keeps away: a dangling link into a folder that can't hold files.
    std::os::unix::fs::symlink("/proc/self/nowhere", &path).unwrap();
    let error = Store::open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(!error.contains("restore a backup"), "{error}");
}

const CHILD: &str = "AIRPLANES_TEST_STORE_CHILD";

/// Not a test of its own: what `a_killed_process_…` runs and kills.
#[tokio::test]
async fn child_that_accepts_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let store = Store::open(Path::new(&folder)).unwrap();
    for n in 0.. {
        let what = EventKind::Deploy { app: name("a"), by: format!("{n}"), makes_up: false };
        let id = store.submit(what).await.unwrap();
        println!("\nacked {id}");
    }
}

#[test]
fn a_process_killed_twenty_times_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acked: Vec<EventId> = Vec::new();
    for round in 0..20u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::disk::child_that_accepts_until_it_is_killed", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let want = acked.len() + 10 + (round as usize * 37) % 200;
        let mut killed = false;
        for id in lines.filter_map(|l| l.strip_prefix("acked ").and_then(|id| id.parse().ok())) {
            acked.push(id);
            if acked.len() >= want && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "the child ended by itself in round {round}");
    }
    let kept: std::collections::BTreeSet<EventId> =
        open_again(folder.path()).unplanned().iter().map(|e| e.id).collect();
    let lost: Vec<_> = acked.iter().filter(|id| !kept.contains(id)).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acked.len());
    assert!(acked.is_sorted());
}
