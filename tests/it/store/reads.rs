//! Opening and reading: what is there is seen, what can't be read holds its app and is said.

use airplanes::model::Follows;
use airplanes::store::{AppIndex, DepRow, JobFilter, MakeUp};

use super::*;

fn record_key(job: JobId, seq: u64) -> Vec<u8> {
    [&b"r"[..], &job.to_key(), &seq.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_second_open_says_that_it_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let _store = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Locked { .. })));
}

#[tokio::test]
async fn an_app_that_is_given_up_is_noted_once_and_a_plan_without_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let app = name("gone");
    let of = async |n: u32, unread: &[AppName], given_up: &[AppName]| {
        let event = events(&store.accept(delivery(&format!("d{n}"), vec![push(n)])).await.unwrap())[0];
        let draft = Draft { unread: unread.to_vec(), given_up: given_up.to_vec(), ..Draft::default() };
        store.plan(event, draft).await.unwrap();
        (event, store.plan_of(event).unwrap().unwrap().0.incomplete)
    };
    let unread = [app.clone()];
    let (first, incomplete) = of(1, &unread, &[]).await;
    assert!(incomplete && !store.missed().unwrap()[0].1.given_up);
    let (_, incomplete) = of(2, &[], &unread).await;
    let missed = store.missed().unwrap();
    assert!(!incomplete && missed[0].1.given_up && missed[0].1.first == first, "{missed:?}");
    of(3, &unread, &[]).await;
    assert_eq!(store.missed().unwrap(), missed, "a later daemon, which has not given it up yet, takes nothing back");
    let made = MakeUp { app: app.clone(), missed: missed[0].1, by: Some("the daemon".to_owned()) };
    assert!(store.make_up(made).await.unwrap().is_some());
    assert!(store.missed().unwrap().is_empty());
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let db = raw(folder.path());
    db.insert(b"m/version", b"9").unwrap();
    drop(db);
    let refused = Store::open(folder.path()).map(|_| ());
    assert!(matches!(refused, Err(StoreError::Newer { found: 9, known: 3, .. })), "{refused:?}");
    let db = sled::Config::new().path(folder.path().join("store")).segment_size(2 << 20).open().unwrap();
    assert_eq!(db.get(b"m/version").unwrap().unwrap(), b"9");
}

#[tokio::test]
async fn ids_go_on_from_the_last_when_the_clock_has_gone_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let event = events(&store.accept(delivery("d1", vec![push(1)])).await.unwrap())[0];
    drop(store);
    // As if the last event had come an hour from now.
    let db = raw(folder.path());
    let later = EventId(event.0 + (3_600_000 << 20));
    let row = db.get([&b"e"[..], &event.0.to_be_bytes()].concat()).unwrap().unwrap();
    db.insert([&b"e"[..], &later.0.to_be_bytes()].concat(), row).unwrap();
    drop(db);
    let store = open_again(folder.path());
    let mut last = later;
    for n in 2..10 {
        let next = events(&store.accept(delivery(&format!("d{n}"), vec![push(n)])).await.unwrap())[0];
        assert!(next > last && next.0 - last.0 < 10, "{next:?} after {last:?}");
        last = next;
    }
}

#[tokio::test]
async fn a_mark_that_cant_be_read_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    store.append(jobs[0], success()).await.unwrap();
    drop(store);
    raw(folder.path()).insert([&b"E"[..], &1u64.to_be_bytes()].concat(), &b"\xff\0garbage"[..]).unwrap();
    let marks = open_again(folder.path()).unjudged(10).unwrap();
    assert_eq!((marks[0], marks[1].1), ((1, JobId::NONE), jobs[0]));
}

#[tokio::test]
async fn a_delivery_that_cant_be_read_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(store.accept(delivery(&format!("d{n}"), vec![push(n)])).await.unwrap().delivery);
    }
    drop(store);
    raw(folder.path()).insert([&b"d"[..], &ids[1].0.to_be_bytes()].concat(), &b"\xff\0garbage"[..]).unwrap();
    let left: Vec<_> = open_again(folder.path()).deliveries(None, 10).unwrap().iter().map(|d| d.id).collect();
    assert_eq!(left, [ids[2], ids[0]]);
}

async fn torn(seq: u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (event, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    store.append(jobs[0], success()[..4].to_vec()).await.unwrap();
    drop(store);
    let db = raw(folder.path());
    db.insert(record_key(jobs[0], seq), &b"\xff\0garbage"[..]).unwrap();
    drop(db);
    let store = open_again(folder.path());
    let open = store.open_jobs();
    assert_eq!(open.len(), 1, "torn at {seq}");
    assert_eq!((open[0].id, open[0].outcome()), (jobs[0], Some(Outcome::Parked)));
    assert_eq!(open[0].app.name, name("a"));
    let refused = store.append(jobs[0], vec![Entry::Resumed]).await;
    assert!(matches!(refused, Err(StoreError::NotOpen(_))), "{refused:?}");
    // What comes meanwhile does not join it.
    let (_, second) = planned_event(&store, 2, vec![planned("a", &[])]).await;
    assert_eq!(second.len(), 1);
    assert!(matches!(store.release_parked(second[0]).await, Err(StoreError::NotOpen(_))));
    store.release_parked(jobs[0]).await.unwrap();
    assert_eq!(store.open_jobs().iter().map(|j| j.id).collect::<Vec<_>>(), second);
    assert_eq!(store.event(event).unwrap().unwrap().state, EventState::Closed);
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(store.open_jobs().iter().map(|j| j.id).collect::<Vec<_>>(), second);
    assert_eq!(store.job(jobs[0]).unwrap().unwrap().outcome(), Some(Outcome::Parked));
    // It did not end well: its delivery runs again.
    events(&store.accept(delivery("d1", vec![push(1)])).await.unwrap());
}

#[tokio::test]
async fn a_torn_journal_parks_its_job_until_a_person_releases_it() {
    for seq in [3, 5, 1] {
        torn(seq).await;
    }
}

#[tokio::test]
async fn an_entry_lost_from_the_middle_of_a_journal_parks_its_job() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    let canceling = |by: &str| Entry::Canceling { by: by.into() };
    store.append(jobs[0], vec![canceling("ada"), canceling("bob")]).await.unwrap();
    drop(store);
    let db = raw(folder.path());
    db.remove(record_key(jobs[0], 2)).unwrap();
    drop(db);
    assert_eq!(open_again(folder.path()).open_jobs()[0].outcome(), Some(Outcome::Parked));
}

#[tokio::test]
async fn a_row_of_the_head_index_that_can_not_be_read_does_not_close_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    events(&store.accept(delivery("d1", vec![push(1)])).await.unwrap());
    drop(store);
    let db = raw(folder.path());
    for row in db.scan_prefix(b"h") {
        db.insert(row.unwrap().0, &b"garbage"[..]).unwrap();
    }
    drop(db);
    let store = open_again(folder.path());
    events(&store.accept(delivery("d2", vec![push(2)])).await.unwrap());
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_cursor_app_and_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut all = Vec::new();
    for n in 1..=6 {
        let (_, jobs) = planned_event(&store, n, vec![planned("a", &[]), planned("ab", &[])]).await;
        let outcome = if n % 2 == 0 { Outcome::Failed } else { Outcome::Canceled };
        if n < 6 {
            store.append(jobs[0], ended(outcome)).await.unwrap();
            store.append(jobs[1], ended(Outcome::Skipped)).await.unwrap();
        }
        all.extend(jobs);
    }
    all.reverse();
    let list = |filter: JobFilter| store.jobs(&filter).unwrap().iter().map(|j| j.id).collect::<Vec<_>>();
    let every = JobFilter { limit: 100, ..JobFilter::default() };
    assert_eq!(list(every.clone()), all);
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let page = list(JobFilter { before, limit: 5, ..JobFilter::default() });
        let Some(last) = page.last() else { break };
        before = Some(*last);
        pages.extend(page);
    }
    assert_eq!(pages, all);
    let of = |app: &str| JobFilter { app: Some(name(app)), ..every.clone() };
    assert_eq!(list(of("a")), all.iter().copied().filter(|j| j.index == 0).collect::<Vec<_>>());
    assert_eq!(list(JobFilter { before: Some(all[5]), limit: 2, ..of("a") }), [all[7], all[9]]);
    assert_eq!(list(of("b")), []);
    let ended = |outcome| JobFilter { outcome: Some(outcome), ..every.clone() };
    assert_eq!(list(ended(Some(Outcome::Failed))), [all[5], all[9]]);
    assert_eq!(list(JobFilter { app: Some(name("ab")), ..ended(None) }), [all[0]]);
    assert_eq!(list(ended(None)), all[..2]);
    assert_eq!(list(JobFilter { before: Some(all[0]), ..ended(None) }), [all[1]]);
    assert_eq!(list(JobFilter { limit: 1, ..ended(None) }), [all[0]]);
}

#[tokio::test]
async fn deliveries_and_records_are_read_from_a_cursor_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut ids = Vec::new();
    for n in 1..=5 {
        ids.push(store.accept(delivery(&format!("d{n}"), vec![push(n)])).await.unwrap().delivery);
    }
    ids.reverse();
    let list = |before, limit| store.deliveries(before, limit).unwrap().iter().map(|d| d.id).collect::<Vec<_>>();
    assert_eq!(list(None, 2), ids[..2]);
    assert_eq!(list(Some(ids[1]), 2), ids[2..4]);
    assert_eq!(list(Some(ids[4]), 2), []);
    let (_, jobs) = planned_event(&store, 9, vec![planned("a", &[])]).await;
    store.append(jobs[0], success()).await.unwrap();
    let places = |seq| store.records(jobs[0], seq).unwrap().iter().map(|r| r.0).collect::<Vec<_>>();
    let all: Vec<u64> = (1..=1 + success().len() as u64).collect();
    assert_eq!(places(0), all);
    assert_eq!(places(4), all[4..]);
    assert!(places(all.len() as u64).is_empty());
    assert!(places(u64::MAX).is_empty());
}

#[tokio::test]
async fn what_an_app_depends_on_takes_as_many_rows_as_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let dep = |n: u32| DepRow {
        lib: format!("acme/a-library-with-a-name-{n}").parse().unwrap(),
        repo: app("snow").repo(),
        url: Some(app("snow").git_url),
        follows: Follows::Branch(branch("main")),
        at: Some(sha(n)),
        tag: None,
        stays: None,
        root: None,
    };
    let index = |count: u32, at: u32| AppIndex {
        repo: app("a").repo(),
        branch: branch("main"),
        sha: sha(at),
        files: (Some("shop".to_owned()), vec!["**/deps.edn".to_owned()]),
        deps: (0..count).map(dep).collect(),
    };
    store.put_index(name("a-b"), index(3, 9)).await.unwrap();
    for (n, count) in [600, 0, 250, 1].into_iter().enumerate() {
        let index = index(count, u32::try_from(n).unwrap());
        store.put_index(name("a"), index.clone()).await.unwrap();
        assert_eq!(store.index(&name("a")).unwrap(), Some(index), "{count}");
    }
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(store.index(&name("a")).unwrap().unwrap().deps.len(), 1);
    assert_eq!(store.index(&name("a-b")).unwrap().unwrap(), index(3, 9));
}
