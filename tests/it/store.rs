//! The store: what it says it has is on disk, and a reload gives it again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the functions that tests share")]

mod backup;
mod disk;
mod forget;
mod formats;
pub mod holds;
mod plan;
mod reads;
mod torn;

use std::path::Path;
use std::time::Duration;

use airplanes::model::event::Answer;
use airplanes::model::{
    App, AppName, Branch, Draft, Entry, EventId, EventKind, Forge, JobId, Outcome, Planned, Push, RepoUrl, Sha, Step,
    StepResult, TagPush, Why,
};
use airplanes::store::{Accepted, EventState, NewDelivery, Store, StoreError};

pub fn sha(n: u32) -> Sha {
    format!("{n:039x}f").parse().unwrap()
}
pub fn branch(name: &str) -> Branch {
    name.parse().unwrap()
}
pub fn push(after: u32) -> Push {
    push_to("main", after)
}
pub fn push_to(name: &str, after: u32) -> Push {
    Push {
        urls: vec![RepoUrl::new("https://github.com/acme/snow").unwrap()],
        branch: branch(name),
        before: None,
        after: sha(after),
        default_branch: None,
        pusher: Some("ada".into()),
        subject: Some("A change".into()),
    }
}
pub fn delivery(forge_id: &str, pushes: Vec<Push>) -> NewDelivery {
    NewDelivery {
        forge: Forge::Github,
        forge_id: Some(forge_id.to_owned()),
        event: "push".into(),
        repo: pushes.first().map(|p| p.urls[0].id()),
        meaning: Ok(pushes),
        tags: Vec::new(),
    }
}
pub fn name(app: &str) -> AppName {
    app.parse().unwrap()
}
/// A library: three steps and no hosts.
pub fn app(app: &str) -> App {
    App { update: true, ..App::bare(name(app), RepoUrl::new(format!("git@github.com:acme/{app}.git")).unwrap()) }
}
pub fn planned(name_: &str, after: &[&str]) -> Planned {
    Planned {
        app: app(name_),
        why: Why::Dependency,
        wave: u16::from(!after.is_empty()),
        after: after.iter().map(|a| name(a)).collect(),
        targets: Vec::new(),
        tags: Vec::new(),
    }
}
pub fn draft(apps: Vec<Planned>) -> Draft {
    Draft { apps, notes: vec!["a note".into()], ..Draft::default() }
}
pub fn ended(outcome: Outcome) -> Vec<Entry> {
    vec![Entry::Ended { outcome, reason: "the test says so".into() }]
}
/// A whole job of a library, after it was created.
pub fn success() -> Vec<Entry> {
    let start = |step| Entry::StepStarted { step };
    let done = |step| Entry::StepFinished { step, result: StepResult::Done };
    let updated =
        Entry::Updated { commit: sha(7), tree: "t".into(), time: jiff::Timestamp::UNIX_EPOCH, bumps: Vec::new() };
    let mut entries = vec![Entry::Started, start(Step::Prepare), Entry::Based { branch: branch("main"), sha: sha(6) }];
    entries.extend([done(Step::Prepare), start(Step::Update), updated, done(Step::Update), start(Step::Publish)]);
    entries.extend([Entry::Published { commit: sha(7) }, done(Step::Publish)]);
    entries.extend(ended(Outcome::Succeeded));
    entries
}
pub fn events(accepted: &Accepted) -> Vec<EventId> {
    match &accepted.answer {
        Answer::Accepted { events } => events.clone(),
        other => panic!("not accepted but {other:?}"),
    }
}
pub fn duplicate_of(accepted: &Accepted) -> EventId {
    match &accepted.answer {
        Answer::Duplicate { of, .. } => *of,
        other => panic!("not a duplicate but {other:?}"),
    }
}
/// How long a store may take to be let go of, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The handle's last clone is gone a moment after its writer has let go of the lock.
pub fn open_again(path: &Path) -> Store {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match Store::open(path) {
            Err(StoreError::Locked { .. }) if std::time::Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other.unwrap(),
        }
    }
}
/// Once the writer has let go of it.
pub fn raw(path: &Path) -> sled::Db {
    drop(open_again(path));
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match sled::Config::new().path(path.join("store")).segment_size(2 << 20).open() {
            Err(_) if std::time::Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            other => return other.unwrap(),
        }
    }
}
/// An accepted push whose plan has these apps.
pub async fn planned_event(store: &Store, after: u32, apps: Vec<Planned>) -> (EventId, Vec<JobId>) {
    let event = events(&store.accept(delivery(&format!("d{after}"), vec![push(after)])).await.unwrap())[0];
    let outcome = store.plan(event, draft(apps)).await.unwrap();
    (event, outcome.created)
}

#[tokio::test]
async fn an_accepted_push_is_there_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let accepted = store.accept(delivery("d1", vec![push(1)])).await.unwrap();
    drop(store);
    let store = open_again(folder.path());
    let unplanned = store.unplanned();
    assert_eq!(unplanned.iter().map(|e| e.id).collect::<Vec<_>>(), events(&accepted));
    assert_eq!(unplanned[0].what, EventKind::Push(push(1)));
    assert_eq!(unplanned[0].delivery, Some(accepted.delivery));
    assert_eq!(store.deliveries(None, 10).unwrap()[0].answer, accepted.answer);
}

#[tokio::test]
async fn an_ignored_delivery_is_kept_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let ignored = NewDelivery { meaning: Err("a tag".into()), ..delivery("d1", vec![push(1)]) };
    let accepted = store.accept(ignored).await.unwrap();
    assert_eq!(accepted.answer, Answer::Ignored { reason: "a tag".into() });
    assert!(store.unplanned().is_empty());
    assert_eq!(store.deliveries(None, 10).unwrap().len(), 1);
}

#[tokio::test]
async fn the_same_delivery_or_the_same_head_is_a_duplicate_while_its_event_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let first = events(&store.accept(delivery("d1", vec![push(1)])).await.unwrap())[0];
    let same_id = store.accept(delivery("d1", vec![push(1)])).await.unwrap();
    assert_eq!(duplicate_of(&same_id), first);
    let same_head = store.accept(delivery("d2", vec![push(1)])).await.unwrap();
    assert_eq!(duplicate_of(&same_head), first);
    store.plan(first, draft(vec![planned("a", &[])])).await.unwrap();
    assert_eq!(duplicate_of(&store.accept(delivery("d1", vec![push(1)])).await.unwrap()), first);
    // Another branch, and another repository, are other pushes, even with the id of a delivery that is known.
    events(&store.accept(delivery("d1", vec![push_to("dev", 1)])).await.unwrap());
    let elsewhere = Push { urls: vec![RepoUrl::new("https://github.com/acme/ice").unwrap()], ..push(1) };
    events(&store.accept(delivery("d1", vec![elsewhere])).await.unwrap());
}

#[tokio::test]
async fn a_b_a_by_force_push_is_three_pushes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for (id, after) in [("d1", 1), ("d2", 2), ("d3", 1)] {
        assert_eq!(events(&store.accept(delivery(id, vec![push(after)])).await.unwrap()).len(), 1, "{id}");
    }
    // The first delivery again is the first push again, not a fourth.
    duplicate_of(&store.accept(delivery("d1", vec![push(1)])).await.unwrap());
}

#[tokio::test]
async fn a_redelivery_runs_again_only_what_did_not_end_well() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (failed, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    store.append(jobs[0], ended(Outcome::Failed)).await.unwrap();
    let second = events(&store.accept(delivery("d1", vec![push(1)])).await.unwrap())[0];
    let event = store.event(second).unwrap().unwrap().event;
    assert_eq!(event.again, Some(failed));
    // The same head under another id while the second runs, and after it has ended well: known.
    assert_eq!(duplicate_of(&store.accept(delivery("d9", vec![push(1)])).await.unwrap()), second);
    let job = store.plan(second, draft(vec![planned("a", &[])])).await.unwrap().created[0];
    store.append(job, success()).await.unwrap();
    assert_eq!(store.event(second).unwrap().unwrap().state, EventState::Closed);
    assert_eq!(duplicate_of(&store.accept(delivery("d1", vec![push(1)])).await.unwrap()), second);
    assert_eq!(duplicate_of(&store.accept(delivery("other", vec![push(1)])).await.unwrap()), second);
}

#[tokio::test]
async fn a_delivery_that_failed_is_known_even_where_the_same_head_went_well_under_another_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    store.append(jobs[0], ended(Outcome::Failed)).await.unwrap();
    let second = events(&store.accept(delivery("other", vec![push(1)])).await.unwrap())[0];
    let job = store.plan(second, draft(vec![planned("a", &[])])).await.unwrap().created[0];
    store.append(job, success()).await.unwrap();
    assert_eq!(duplicate_of(&store.accept(delivery("d1", vec![push(1)])).await.unwrap()), second);
}

#[tokio::test]
async fn a_redelivery_of_what_the_branch_moved_on_from_does_not_move_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    store.append(jobs[0], ended(Outcome::Failed)).await.unwrap();
    let newer = events(&store.accept(delivery("d2", vec![push(2)])).await.unwrap())[0];
    events(&store.accept(delivery("d1", vec![push(1)])).await.unwrap());
    assert_eq!(duplicate_of(&store.accept(delivery("d3", vec![push(2)])).await.unwrap()), newer);
}

#[tokio::test]
async fn a_delivery_of_several_pushes_is_known_again_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let several = || vec![push_to("main", 1), push_to("dev", 2), push_to("main", 3), push_to("main", 1)];
    let first = store.accept(delivery("d1", several())).await.unwrap();
    let first = events(&first);
    assert_eq!(first.len(), 4);
    assert!(first.is_sorted());
    assert_eq!(store.unplanned().len(), 4);
    assert!(first.contains(&duplicate_of(&store.accept(delivery("d1", several())).await.unwrap())));
    assert_eq!(store.unplanned().len(), 4);
}

#[tokio::test]
async fn a_thousand_concurrent_deliveries_are_all_kept_and_their_ids_are_distinct() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let store = store.clone();
        tasks.spawn(async move { store.accept(delivery(&format!("d{n}"), vec![push_to(&format!("b{n}"), n)])).await });
    }
    let mut ids = std::collections::BTreeSet::new();
    while let Some(accepted) = tasks.join_next().await {
        ids.extend(events(&accepted.unwrap().unwrap()));
    }
    assert_eq!(ids.len(), 1000);
    drop(store);
    let kept: Vec<EventId> = open_again(folder.path()).unplanned().iter().map(|e| e.id).collect();
    assert_eq!(kept, ids.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_new_tag_is_an_event_once_and_what_is_known_of_it_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let tag = |name: &str, n: u32| TagPush {
        urls: push(1).urls,
        tag: name.into(),
        after: sha(n),
        commit: None,
        pusher: None,
    };
    let tagged = |id: &str, tag: TagPush| NewDelivery { tags: vec![tag], ..delivery(id, Vec::new()) };
    let first = events(&store.accept(tagged("t1", tag("v1", 1))).await.unwrap())[0];
    for (id, known) in [("t1", tag("v1", 1)), ("t2", tag("v1", 1))] {
        assert_eq!(duplicate_of(&store.accept(tagged(id, known)).await.unwrap()), first);
    }
    // Another tag there, the same one elsewhere, and a branch of that name are others.
    let second = events(&store.accept(tagged("t3", tag("v2", 1))).await.unwrap())[0];
    let moved = events(&store.accept(tagged("t4", tag("v1", 2))).await.unwrap())[0];
    let branch = events(&store.accept(delivery("t5", vec![push_to("v1", 1)])).await.unwrap())[0];
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(store.unplanned().iter().map(|event| event.id).collect::<Vec<_>>(), [first, second, moved, branch]);
    for event in [first, second, moved] {
        store.plan(event, draft(Vec::new())).await.unwrap();
    }
    assert_eq!(duplicate_of(&store.accept(tagged("t6", tag("v2", 1))).await.unwrap()), second);
    let gone = store.forget(airplanes::store::Forget::Events(vec![first, second, moved])).await.unwrap();
    assert_eq!(gone, [0, 1, 2]);
    drop(store);
    let db = raw(folder.path());
    let count = |prefix: u8| db.scan_prefix([prefix]).count();
    assert_eq!((count(b'h'), count(b'k'), count(b'e')), (1, 1, 1), "what is left is the branch's");
}
