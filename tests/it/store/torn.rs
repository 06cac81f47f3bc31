//! Files cut or zeroed anywhere at their end, as a power cut or a full disk leaves them: the store opens with all that
//! was acknowledged up to there, or says that it is damaged and what to do. It never panics, and never begins anew.
//!
//! sled writes its segments anew when their rows have moved on: what lies far before the end of the file may be newer
//! than what lies behind it, so a deep cut is damage. What a power cut can take is in `powerloss`.

use airplanes::store;

use super::*;

/// A store that was acknowledged step by step: how long its file was after each event.
async fn steps(state: &Path, events_: u32) -> Vec<(u64, EventId)> {
    let store = Store::open(state).unwrap();
    let mut steps = Vec::new();
    for n in 0..events_ {
        let mut push = push_to(&format!("b{n}"), n);
        push.subject = Some("x".repeat(3000));
        let event = events(&store.accept(delivery(&format!("d{n}"), vec![push])).await.unwrap())[0];
        steps.push((std::fs::metadata(state.join("store/db")).unwrap().len(), event));
    }
    steps
}

#[derive(Clone, Copy, Debug)]
enum Tear {
    Cut,
    Zeroed,
}

/// A copy of the store whose file ends at `length`.
fn torn(from: &Path, to: &Path, length: u64, tear: Tear) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to.join("store/blobs")).unwrap();
    for entry in std::fs::read_dir(from.join("store")).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join("store").join(entry.file_name())).unwrap();
        }
    }
    let file = std::fs::File::options().write(true).open(to.join("store/db")).unwrap();
    let whole = file.metadata().unwrap().len();
    file.set_len(length).unwrap();
    if let Tear::Zeroed = tear {
        file.set_len(whole).unwrap();
    }
}

#[tokio::test]
async fn a_store_torn_anywhere_opens_with_what_was_acknowledged_up_to_there_or_says_that_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let steps = steps(&state, 500).await;
    // As it is at a kill: no orderly end.
    let killed = folder.path().join("killed");
    let whole = std::fs::metadata(state.join("store/db")).unwrap().len();
    torn(&state, &killed, whole, Tear::Cut);
    drop(open_again(&state));
    let backup = folder.path().join("b.airplanes");
    std::fs::write(&backup, open_again(&state).backup(false, Vec::new()).unwrap()).unwrap();
    // Most of them near the end: that is where a power cut tears.
    let mut lengths: Vec<u64> = (1..6).map(|n| whole * n / 6 + n * 37).collect();
    lengths.extend((0..8).map(|n| whole - n * n * 4001));
    lengths.extend([0, 1, (2 << 20) + 17, whole - 1, whole - 100]);
    let copy = folder.path().join("copy");
    let (mut opened, mut damaged) = (0, 0);
    for length in lengths {
        for tear in [Tear::Cut, Tear::Zeroed] {
            torn(&killed, &copy, length, tear);
            let had_version = length > 4096;
            match Store::open(&copy) {
                Ok(store) => {
                    opened += 1;
                    assert!(had_version, "{tear:?} at {length}: it began anew");
                    let kept: std::collections::HashSet<EventId> = store.unplanned().iter().map(|e| e.id).collect();
                    let promised = steps.iter().filter(|(at, _)| *at <= length);
                    let lost: Vec<_> = promised.filter(|(_, event)| !kept.contains(event)).collect();
                    assert!(lost.is_empty(), "{tear:?} at {length} of {whole}: lost {}", lost.len());
                    let again = store.accept(delivery("again", vec![push_to("again", 1)])).await;
                    assert!(again.is_ok(), "{tear:?} at {length}: {again:?}");
                }
                Err(error) => {
                    damaged += 1;
                    let said = error.to_string();
                    assert!(matches!(error, StoreError::Damaged { .. }), "{tear:?} at {length}: {said}");
                    assert!(said.contains("airplanes restore"), "{said}");
                    if damaged > 3 {
                        continue;
                    }
                    store::restore(&backup, &copy, true, false).unwrap_or_else(|e| panic!("{tear:?} at {length}: {e}"));
                    let store = Store::open(&copy).unwrap();
                    assert_eq!(store.unplanned().len(), steps.len());
                }
            }
        }
    }
    eprintln!("{opened} opened, {damaged} were damaged and restored; {} bytes", whole);
}
