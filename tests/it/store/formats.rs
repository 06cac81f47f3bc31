//! A store of an earlier format is backed up and brought to this one; a store that has grown by deletes is made small;
//! and wherever that is interrupted, the next start has one whole store.

use std::path::PathBuf;

use airplanes::store::{self, JobFilter};

use super::*;

/// What a daemon of an earlier format held after one push to a library and one job that followed from it.
fn of_format(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/store/fixtures/format-{format}.airplanes"))
}

/// That daemon's own store, as sled has it.
fn store_of_format(format: u32, state: &Path) {
    store::restore(&of_format(format), state, true, false).unwrap();
    let db = raw_unopened(state);
    db.insert(b"m/version", format.to_string().as_bytes()).unwrap();
    // Which it had no place for.
    for row in db.scan_prefix([b'R']) {
        db.remove(row.unwrap().0).unwrap();
    }
    db.flush().unwrap();
    drop(db);
    let_go(state);
}

/// Waits until nobody has a store's file: sled's threads let go of it, and write to it, a moment after its last handle
/// is gone.
pub fn let_go(state: &Path) {
    let deadline = std::time::Instant::now() + PATIENCE;
    let is_free = |name| {
        let Ok(file) = std::fs::File::open(state.join(name)) else { return true };
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).is_ok()
    };
    while !(is_free("store.lock") && is_free("store/db")) {
        assert!(std::time::Instant::now() < deadline, "the store stays locked");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn old_store(state: &Path) {
    store_of_format(1, state);
}

/// As `raw`, but without opening it as a daemon does first.
pub fn raw_unopened(state: &Path) -> sled::Db {
    let_go(state);
    sled::Config::new().path(state.join("store")).segment_size(2 << 20).open().unwrap()
}

fn format_of(state: &Path) -> String {
    String::from_utf8(raw_unopened(state).get(b"m/version").unwrap().unwrap().to_vec()).unwrap()
}

/// What the fixture's daemon knew.
fn is_all_there(store: &Store) {
    let jobs = store.jobs(&airplanes::store::JobFilter { limit: 10, ..Default::default() }).unwrap();
    assert_eq!(jobs.iter().map(|job| job.outcome()).collect::<Vec<_>>(), [Some(Outcome::Succeeded)]);
    assert_eq!(store.records(jobs[0].id, 0).unwrap().len() as u64, jobs[0].seq);
    assert_eq!(store.deliveries(None, 10).unwrap().len(), 2);
    assert!(store.last_good(&name("hello")).unwrap().is_some() && store.index(&name("hello")).unwrap().is_some());
    assert!(store.plan_of(jobs[0].id.event).unwrap().is_some());
}

#[tokio::test]
async fn an_earlier_format_is_backed_up_and_brought_here() {
    for format in [1, 2] {
        is_brought_here(format).await;
    }
}

async fn is_brought_here(format: u32) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    store_of_format(format, &state);
    let store = Store::open(&state).unwrap();
    is_all_there(&store);
    for job in store.jobs(&JobFilter { limit: 100, ..JobFilter::default() }).unwrap() {
        let mut of_app = store.rollouts(&job.app.name).unwrap().map(|job| job.unwrap().id);
        assert!(of_app.any(|id| id == job.id), "{} has a place among the rollouts", job.id);
    }
    events(&store.accept(delivery("new", vec![push(1)])).await.unwrap());
    drop(store);
    drop(open_again(&state));
    assert_eq!(format_of(&state), "3");
    let backups: Vec<PathBuf> = std::fs::read_dir(state.join("backups")).unwrap().map(|e| e.unwrap().path()).collect();
    let [backup] = backups.as_slice() else { panic!("{backups:?}") };
    assert!(backup.file_name().unwrap().to_str().unwrap().starts_with("before-format-3-"), "{backup:?}");
    let contents = store::inspect(backup).unwrap();
    assert_eq!((contents.about.format, contents.ended, contents.deliveries), (format, 1, 2));
    assert_eq!(contents.rows, store::inspect(&of_format(format)).unwrap().rows);
    for left in ["store.building", "store.rewritten", "store.outdated", "backups/unfinished"] {
        assert!(!state.join(left).exists(), "{left}");
    }
}

#[tokio::test]
async fn a_store_that_can_not_be_backed_up_is_not_migrated() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path());
    std::fs::write(folder.path().join("backups"), "a file where a folder should be").unwrap();
    let error = Store::open(folder.path()).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::NotMigrated { format: 1, .. }), "{error}");
    assert_eq!(format_of(folder.path()), "1");
    std::fs::remove_file(folder.path().join("backups")).unwrap();
    is_all_there(&open_again(folder.path()));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Killed before each of the renames that put another store in place, and half-way in making it.
#[tokio::test]
async fn wherever_a_rewrite_is_killed_there_is_one_whole_store() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    old_store(&old);
    old_store(&new);
    drop(Store::open(&new).unwrap());
    let_go(&new);
    let (old, new) = (old.join("store"), new.join("store"));
    let half = folder.path().join("half");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("db"), [0; 4096]).unwrap();
    let cases: [(&str, &[(&str, &Path)]); 7] = [
        ("making it", &[("store", &old), ("store.building", &half)]),
        ("before it is ready", &[("store", &old), ("store.building", &new)]),
        ("ready", &[("store", &old), ("store.rewritten", &new)]),
        ("none in place", &[("store.outdated", &old), ("store.rewritten", &new)]),
        ("the old one is left", &[("store", &new), ("store.outdated", &old)]),
        ("restored and ready", &[("store", &old), ("store.restored", &new)]),
        ("restored, none in place", &[("store.before-restore-20261122T000000Z", &old), ("store.restored", &new)]),
    ];
    for (n, (what, folders)) in cases.into_iter().enumerate() {
        let state = folder.path().join(format!("case-{n}"));
        for (name, from) in folders {
            copy(from, &state.join(name));
        }
        let store = Store::open(&state).unwrap_or_else(|error| panic!("{what}: {error}"));
        is_all_there(&store);
        drop(store);
        drop(open_again(&state));
        let stores = std::fs::read_dir(&state).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut stores: Vec<String> = stores.filter(|name| name.starts_with("store") && name != "store.lock").collect();
        stores.sort();
        if what.starts_with("restored") {
            assert!(stores.len() == 2 && stores[1].starts_with("store.before-restore-"), "{what}: {stores:?}");
        } else {
            assert_eq!(stores, ["store"], "{what}");
        }
    }
}

#[tokio::test]
async fn a_hold_on_sled_s_file_that_passes_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path());
    let_go(folder.path());
    let db = std::fs::File::open(folder.path().join("store/db")).unwrap();
    let held = nix::fcntl::Flock::lock(db, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(held);
    });
    is_all_there(&Store::open(folder.path()).unwrap());
    release.join().unwrap();
}

#[tokio::test]
async fn a_first_start_that_was_killed_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("store")).unwrap();
    std::fs::write(folder.path().join("store/db"), "").unwrap();
    let damaged = Store::open(folder.path()).map(|_| ()).unwrap_err();
    assert!(matches!(damaged, StoreError::Damaged { .. }), "{damaged}");
    std::fs::write(folder.path().join("store.beginning"), "").unwrap();
    let store = Store::open(folder.path()).unwrap();
    events(&store.accept(delivery("d", vec![push(1)])).await.unwrap());
    assert!(!folder.path().join("store.beginning").exists());
}

#[tokio::test]
async fn a_store_that_has_grown_by_deletes_is_made_small_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let kept = events(&store.accept(delivery("d", vec![push(1)])).await.unwrap())[0];
    drop(store);
    let db = raw(folder.path());
    for batch in 0..100u32 {
        let mut rows = sled::Batch::default();
        for n in 0..100u32 {
            rows.insert([&b"zz"[..], &batch.to_be_bytes(), &n.to_be_bytes()].concat(), vec![b'x'; 8 << 10]);
        }
        db.apply_batch(rows).unwrap();
    }
    for batch in 0..100u32 {
        let mut rows = sled::Batch::default();
        for n in 1..100u32 {
            rows.remove([&b"zz"[..], &batch.to_be_bytes(), &n.to_be_bytes()].concat());
        }
        db.apply_batch(rows).unwrap();
    }
    db.flush().unwrap();
    drop(db);
    let size = || std::fs::metadata(folder.path().join("store/db")).unwrap().len();
    let before = size();
    assert!(before > 64 << 20, "{before}");
    let store = open_again(folder.path());
    let after = size();
    eprintln!("{before} bytes before, {after} after");
    assert!(after < before / 10, "{before} {after}");
    assert_eq!(store.unplanned()[0].id, kept);
    drop(store);
    assert_eq!(raw(folder.path()).scan_prefix(b"zz").count(), 100);
    // As it was made small, and a segment for what has been written since.
    assert!(size() <= after + (2 << 20), "it is made small once: {after} {}", size());
}
