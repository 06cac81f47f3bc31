//! Files cut, zeroed or altered anywhere, as a power cut, a full disk or a dying one leaves them: the store opens with
//! all that was acknowledged, or says that it is damaged and what to do. It never panics, never begins anew, and never
//! opens with less. Only the end of the log may be torn, for nobody was told of what was written last.

use std::collections::HashSet;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use airplanes::store;

use super::*;

/// The files of a store.
const FILES: [&str; 3] = ["db", "wal-0", "wal-1"];

/// A store as it is at a kill: half of its events are in sled, the others in the log only.
struct Killed {
    folder: tempfile::TempDir,
    events: Vec<EventId>,
    backup: PathBuf,
}

impl Killed {
    async fn after(events_: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut all = Vec::new();
        let mut store = Store::open(&state).unwrap();
        for n in 0..events_ {
            if n == events_ / 2 {
                drop(store);
                store = open_again(&state);
            }
            let mut push = push_to(&format!("b{n}"), n);
            push.subject = Some("x".repeat(3000));
            all.push(events(&store.accept(delivery(&format!("d{n}"), vec![push])).await.unwrap())[0]);
        }
        let backup = folder.path().join("b.airplanes");
        std::fs::write(&backup, store.backup(false, Vec::new()).unwrap()).unwrap();
        copy(&state, &folder.path().join("killed"));
        drop(store);
        Self { folder, events: all, backup }
    }
    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join("killed/store").join(name)).unwrap()
    }
    /// A copy of it with one file altered.
    fn torn(&self, name: &str, tear: impl FnOnce(&std::fs::File)) -> PathBuf {
        let to = self.folder.path().join("copy");
        copy(&self.folder.path().join("killed"), &to);
        tear(&std::fs::File::options().write(true).open(to.join("store").join(name)).unwrap());
        to
    }
    /// Opens a copy: it has all events but the last `lost`, or is damaged. Gives whether it opens.
    async fn opens(&self, what: &str, state: &Path, lost: usize) -> bool {
        match Store::open(state) {
            Ok(store) => {
                let kept: HashSet<EventId> = store.unplanned().iter().map(|e| e.id).collect();
                let promised = &self.events[..self.events.len() - lost];
                let missing = promised.iter().filter(|event| !kept.contains(event)).count();
                assert_eq!(missing, 0, "{what}: it opens with less");
                let again = store.accept(delivery("again", vec![push_to("again", 1)])).await;
                assert!(again.is_ok(), "{what}: {again:?}");
                true
            }
            Err(error) => {
                let said = error.to_string();
                assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {said}");
                assert!(said.contains("airplanes restore"), "{what}: {said}");
                false
            }
        }
    }
}

/// A fresh copy of a state folder.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to.join("store/blobs")).unwrap();
    for entry in std::fs::read_dir(from.join("store")).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join("store").join(entry.file_name())).unwrap();
        }
    }
}

/// Where the log's frames begin that hold an event, by the event, and where its last frame ends.
fn frames(file: &[u8], events: &[EventId]) -> Vec<(usize, EventId)> {
    let starts = |at: &usize| file[*at..].starts_with(b"AiRw");
    let at: Vec<usize> = (0..file.len()).step_by(8).filter(starts).chain([file.len()]).collect();
    let frame = |ends: &[usize]| {
        let text = String::from_utf8_lossy(&file[ends[0]..ends[1]]).into_owned();
        let event = events.iter().find(|event| text.contains(&format!("\"events\":[\"{event}\"]")))?;
        Some((ends[0], *event))
    };
    at.windows(2).filter_map(frame).collect()
}

#[tokio::test]
async fn a_store_torn_anywhere_opens_with_what_was_acknowledged_up_to_there_or_says_that_it_is_damaged() {
    let killed = Killed::after(400).await;
    let (mut opened, mut damaged) = (0, 0);
    for name in FILES {
        let file = killed.file(name);
        let frames = frames(&file, &killed.events);
        let whole = file.len() as u64;
        let end = file.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        // Most of them near the end: that is where a power cut tears.
        let mut lengths: Vec<u64> = (1..6).map(|n| whole * n / 6 + n * 37).collect();
        lengths.extend((0..8).map(|n| end.saturating_sub(n * n * 4001)));
        lengths.extend([0, 1, 4095, whole - 1, whole - 100, end - 1, end - 9, end - 100]);
        for length in lengths {
            for zeroed in [false, true] {
                let what = format!("{name} of {whole} bytes {} at {length}", if zeroed { "zeroed" } else { "cut" });
                let state = killed.torn(name, |file| {
                    file.set_len(length).unwrap();
                    if zeroed {
                        file.set_len(whole).unwrap();
                    }
                });
                // What lies behind the cut was not promised, in the file that was being written.
                let lost = frames.iter().filter(|(_, event)| *event == *killed.events.last().unwrap()).count();
                let lost =
                    if lost == 0 { 0 } else { frames.iter().filter(|(at, _)| *at as u64 + 1500 > length).count() + 1 };
                if killed.opens(&what, &state, lost).await {
                    opened += 1;
                    assert!(name != "db" || length > 4096, "{what}: it began anew");
                } else {
                    damaged += 1;
                    if damaged <= 3 {
                        store::restore(&killed.backup, &state, true, false).unwrap_or_else(|e| panic!("{what}: {e}"));
                        assert_eq!(Store::open(&state).unwrap().unplanned().len(), killed.events.len());
                    }
                }
            }
        }
    }
    eprintln!("{opened} opened, {damaged} were damaged");
    assert!(opened > 20 && damaged > 20);
}

#[tokio::test]
async fn a_store_damaged_in_its_middle_never_opens_with_less_than_was_acknowledged() {
    let killed = Killed::after(200).await;
    let (mut opened, mut damaged) = (0, 0);
    for name in FILES {
        let file = killed.file(name);
        let end = file.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let frames = frames(&file, &killed.events);
        let last = frames.iter().find(|(_, event)| *event == *killed.events.last().unwrap()).map_or(end, |(at, _)| *at);
        for n in 0..20 {
            let at = end * n / 20;
            for length in [1, 4096.min(end - at), (64 << 10).min(end - at)] {
                let what = format!("{name}: {length} bytes at {at} of {end}");
                let state = killed.torn(name, |out| {
                    let altered: Vec<u8> = file[at..at + length].iter().map(|byte| byte ^ 0x55).collect();
                    out.write_all_at(&altered, at as u64).unwrap();
                });
                // What reaches into the very last frame looks like a torn end, and may take what is before it too.
                let lost =
                    if at + length > last { frames.iter().filter(|(frame, _)| frame + 4000 > at).count() } else { 0 };
                match killed.opens(&what, &state, lost).await {
                    true => opened += 1,
                    false => damaged += 1,
                }
            }
        }
    }
    eprintln!("{opened} opened, {damaged} were damaged");
}

#[tokio::test]
async fn sled_that_lost_its_newest_rows_has_them_again_from_the_log() {
    let killed = Killed::after(100).await;
    // As a disk leaves it that wrote the log and not sled: sled as it was in the beginning.
    let early = killed.folder.path().join("early");
    drop(Store::open(&early).unwrap());
    drop(formats::raw_unopened(&early));
    for name in FILES.iter().skip(1) {
        let log = killed.folder.path().join("killed/store").join(name);
        std::fs::copy(log, early.join("store").join(name)).unwrap();
    }
    assert!(killed.opens("sled as it was in the beginning", &early, 0).await);
}

#[tokio::test]
async fn a_store_without_its_log_is_damaged() {
    let killed = Killed::after(10).await;
    for name in ["wal-0", "wal-1"] {
        let state = killed.torn(name, |_| {});
        std::fs::remove_file(state.join("store").join(name)).unwrap();
        assert!(!killed.opens(name, &state, 0).await, "{name}");
    }
}

#[tokio::test]
async fn what_sled_did_not_finish_damages_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let event = events(&store.accept(delivery("d", vec![push(1)])).await.unwrap())[0];
    drop(store);
    drop(open_again(folder.path()));
    let place = folder.path().join("store");
    // As a full disk and a power cut leave them.
    for (name, content) in
        [("snap.00000000FFFFFFF0.generating", b"".as_slice()), ("snap.00000000FFFFFFF1.generating", b"half of one")]
    {
        formats::let_go(folder.path());
        std::fs::write(place.join(name), content).unwrap();
        let store = open_again(folder.path());
        assert!(store.event(event).unwrap().is_some(), "{name}");
        assert!(!place.join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn a_folder_of_the_store_that_is_empty_where_there_was_one_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    std::fs::create_dir_all(folder.path().join("logs/j-1")).unwrap();
    let place = folder.path().join("store");
    formats::let_go(folder.path());
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    let damaged = Store::open(folder.path()).map(|_| ()).unwrap_err();
    assert!(matches!(damaged, StoreError::Damaged { .. }), "{damaged}");
    assert!(std::fs::read_dir(&place).unwrap().next().is_none());
    // As it says that one begins anew.
    std::fs::remove_dir(&place).unwrap();
    drop(open_again(folder.path()));
}
