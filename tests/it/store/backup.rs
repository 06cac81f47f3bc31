//! Backups and putting them back: of one moment, whole or refused, and nothing that is there is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use airplanes::store::{self, BackupError};

use super::*;

/// Every row of a store that nobody has open.
/// All but where the log of these very files goes on.
fn rows(state: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let rows = raw(state).iter().map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap());
    rows.filter(|(key, _)| key != b"m/merged").collect()
}

fn back_up(store: &Store, to: &Path) -> PathBuf {
    let file = to.join("b.airplanes");
    std::fs::write(&file, store.backup(true, Vec::new()).unwrap()).unwrap();
    file
}

/// A state folder with a job that has ended, one under way, a token and two logs; and its backup.
async fn state_and_backup(folder: &Path) -> (PathBuf, PathBuf) {
    let state = folder.join("state");
    let store = Store::open(&state).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[]), planned("b", &[])]).await;
    store.append(jobs[0], success()).await.unwrap();
    store.append(jobs[1], vec![Entry::Started]).await.unwrap();
    std::fs::write(state.join("operator-token"), "t".repeat(64)).unwrap();
    let logs = state.join("logs").join(jobs[0].to_string());
    std::fs::create_dir_all(logs.join("build")).unwrap();
    std::fs::write(logs.join("build/test.1"), b"\xff\x00 bytes\nend 3 .\n").unwrap();
    std::fs::write(logs.join("publish.1"), vec![b'x'; 600 << 10]).unwrap();
    std::fs::write(logs.join("update.1"), "").unwrap();
    let file = back_up(&store, folder);
    drop(store);
    (state, file)
}

#[tokio::test]
async fn what_is_restored_is_what_was_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let (state, file) = state_and_backup(folder.path()).await;
    let contents = store::inspect(&file).unwrap();
    assert_eq!((contents.ended, contents.open, contents.deliveries, contents.logs), (1, 1, 1, 3));
    let new = folder.path().join("new");
    let restored = store::restore(&file, &new, false, false).unwrap();
    assert_eq!((restored.had_store, restored.aside, restored.keeps_token), (false, None, false));
    assert_eq!(rows(&new), rows(&state));
    assert!(new.join("operator-token").metadata().unwrap().len() == 64);
    let logs = |state: &Path| {
        let job = std::fs::read_dir(state.join("logs")).unwrap().next().unwrap().unwrap().path();
        ["build/test.1", "publish.1", "update.1"].map(|name| std::fs::read(job.join(name)).unwrap())
    };
    assert_eq!(logs(&new), logs(&state));
    assert!(!new.join("restoring").exists() && !new.join("store.building").exists());
}

#[tokio::test]
async fn a_backup_cut_anywhere_or_altered_anywhere_is_refused_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (state, file) = state_and_backup(folder.path()).await;
    std::fs::remove_dir_all(state.join("logs")).unwrap();
    let small = open_again(&state);
    let whole = small.backup(true, Vec::new()).unwrap();
    drop(small);
    let target = folder.path().join("target");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&file, bytes).unwrap();
        let error = store::restore(&file, &target, true, false).unwrap_err();
        assert!(matches!(error, BackupError::Unusable { .. }), "{what}: {error}");
        assert!(!target.exists(), "{what}");
        error.to_string()
    };
    for length in (0..whole.len()).step_by(7) {
        refused(&whole[..length], &format!("cut at {length}"));
    }
    assert!(refused(&whole[..whole.len() / 2], "half").contains("cut off after"));
    let end = whole.len() - 200;
    for at in (0..end).step_by(7).chain(end..whole.len()) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        refused(&altered, &format!("altered at {at}"));
    }
    refused(&[&whole[..], b"more"].concat(), "more");
    assert!(refused(b"PK\x03\x04", "a zip").contains("no backup of airplanes"));
}

#[tokio::test]
async fn a_store_that_is_there_is_kept_and_one_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = state_and_backup(folder.path()).await;
    let target = folder.path().join("target");
    let running = Store::open(&target).unwrap();
    let mine = events(&running.accept(delivery("mine", vec![push(9)])).await.unwrap())[0];
    std::fs::write(target.join("operator-token"), "mine").unwrap();
    let in_use = store::restore(&file, &target, true, false).unwrap_err();
    assert!(matches!(in_use, BackupError::InUse { .. }), "{in_use}");
    drop(running);
    drop(open_again(&target));
    let before = loop {
        // The writer lets go of the lock a moment after its last handle is gone.
        match store::restore(&file, &target, false, false).unwrap_err() {
            BackupError::InUse { .. } => tokio::task::yield_now().await,
            error => break error,
        }
    };
    assert!(matches!(before, BackupError::NotEmpty { .. }), "{before}");
    let dry = store::restore(&file, &target, true, true).unwrap();
    assert!(dry.had_store && dry.aside.is_none() && dry.keeps_token);
    assert_eq!(open_again(&target).unplanned()[0].id, mine);
    let restored = loop {
        match store::restore(&file, &target, true, false) {
            Err(BackupError::InUse { .. }) => tokio::task::yield_now().await,
            other => break other.unwrap(),
        }
    };
    assert_eq!(open_again(&target).open_jobs().len(), 1);
    assert_eq!(std::fs::read_to_string(target.join("operator-token")).unwrap(), "mine");
    // What was kept aside is a whole store.
    let kept = folder.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::rename(restored.aside.unwrap(), kept.join("store")).unwrap();
    assert_eq!(open_again(&kept).unplanned()[0].id, mine);
}

#[tokio::test]
async fn a_link_among_the_logs_leads_no_log_out_of_the_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = state_and_backup(folder.path()).await;
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let job = std::fs::read_dir(folder.path().join("state/logs")).unwrap().next().unwrap().unwrap().file_name();
    let job = job.to_str().unwrap();
    for (name, link) in
        [("one", "logs".to_owned()), ("two", format!("logs/{job}")), ("three", format!("logs/{job}/build"))]
    {
        let link = folder.path().join(name).join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let refused = store::restore(&file, &folder.path().join(name), false, false).unwrap_err().to_string();
        assert!(refused.contains("a link is not followed"), "{refused}");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "{link:?}");
        // As it is told.
        std::fs::remove_file(&link).unwrap();
        store::restore(&file, &folder.path().join(name), false, false).unwrap();
        assert_eq!(std::fs::read(folder.path().join(name).join("logs").join(job).join("update.1")).unwrap(), b"");
    }
    // One in a log's own place goes, and what it leads to stays.
    let (state, outside) = (folder.path().join("four"), elsewhere.join("outside"));
    std::fs::create_dir_all(state.join("logs").join(job)).unwrap();
    std::fs::write(&outside, "precious").unwrap();
    let log = state.join("logs").join(job).join("publish.1");
    std::os::unix::fs::symlink(&outside, &log).unwrap();
    store::restore(&file, &state, false, false).unwrap();
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "precious");
    assert_eq!(std::fs::symlink_metadata(&log).unwrap().len(), 600 << 10);
}

/// Each delivery is one batch, and they come one after the other: of one moment is what has no gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_while_deliveries_come_and_jobs_end_is_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state")).unwrap();
    let mut all = Vec::new();
    for n in 0..1500 {
        all.extend(events(&store.accept(delivery(&format!("d{n}"), vec![push_to("main", n)])).await.unwrap()));
    }
    let before = all.len();
    let backup = tokio::task::spawn_blocking({
        let (store, folder) = (store.clone(), folder.path().to_owned());
        move || back_up(&store, &folder)
    });
    let mut meanwhile = 0;
    while !backup.is_finished() {
        // Rows that are new, changed and deleted, at both ends of what is read.
        all.extend(events(
            &store.accept(delivery(&format!("e{meanwhile}"), vec![push_to("x", meanwhile)])).await.unwrap(),
        ));
        store.plan(all[meanwhile as usize], draft(Vec::new())).await.unwrap();
        store.plan(all[before - 1 - meanwhile as usize], draft(Vec::new())).await.unwrap();
        meanwhile += 1;
        assert!(meanwhile < 700, "the backup does not end");
    }
    let file = backup.await.unwrap();
    assert!(meanwhile > 0);
    let new = folder.path().join("new");
    store::restore(&file, &new, false, false).unwrap();
    let restored = open_again(&new);
    let accepted = restored.deliveries(None, 10_000).unwrap().len();
    assert!(accepted >= before, "{accepted} of {before}");
    let rounds = accepted - before;
    // After that many rounds, so many events were planned at each end; the moment may lie within a round.
    let mut open: Vec<EventId> = restored.unplanned().iter().map(|e| e.id).collect();
    open.sort();
    let planned = |from: usize, to: usize| {
        all[from..before - to].iter().chain(&all[before..accepted]).copied().collect::<Vec<_>>()
    };
    let last = rounds.saturating_sub(1);
    let possible = [planned(rounds, rounds), planned(rounds, last), planned(last, last)];
    assert!(possible.contains(&open), "{rounds} rounds, {} open", open.len());
    eprintln!("{meanwhile} rounds while it was made, {rounds} of them in it");
}

#[tokio::test]
async fn the_daily_backup_is_made_once_a_day_and_three_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.accept(delivery("d", vec![push(1)])).await.unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3 * 86400);
    for n in 0..4u64 {
        let made = store.daily_backup().unwrap().unwrap();
        assert_eq!(store::inspect(&made).unwrap().deliveries, 1);
        assert_eq!(store.daily_backup().unwrap(), None);
        let old = folder.path().join(format!("backups/daily-2020010{n}T000000Z.airplanes"));
        std::fs::rename(made, &old).unwrap();
        std::fs::File::options()
            .append(true)
            .open(&old)
            .unwrap()
            .set_modified(long_ago + Duration::from_secs(n))
            .unwrap();
    }
    let made = store.daily_backup().unwrap().unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("backups")).unwrap().count(), 3);
    // One of before the clock went back is not in the way, and does not make one an hour either.
    let ahead = std::time::SystemTime::now() + Duration::from_secs(9 * 86400);
    std::fs::File::options().append(true).open(&made).unwrap().set_modified(ahead).unwrap();
    std::fs::rename(made, folder.path().join("backups/daily-20990101T000000Z.airplanes")).unwrap();
    store.daily_backup().unwrap().unwrap();
    assert_eq!(store.daily_backup().unwrap(), None);
}
