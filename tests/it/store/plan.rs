//! Plans, joins and journals: all or nothing, and only what the fold admits.

use airplanes::model::{Bump, Host, Publish, Updates};
use airplanes::model::{FoldError, HostResult, HostState, Progress};

use super::*;

#[tokio::test]
async fn a_plan_makes_jobs_whose_ids_come_from_the_event() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (event, jobs) = planned_event(&store, 1, vec![planned("a", &[]), planned("b", &["a"])]).await;
    assert_eq!(jobs, [JobId { event, index: 0 }, JobId { event, index: 1 }]);
    let b = store.job(jobs[1]).unwrap().unwrap();
    assert_eq!(b.causes[0].after, [jobs[0]]);
    assert!(store.unplanned().is_empty());
    assert_eq!(store.event(event).unwrap().unwrap().state, EventState::Planned);
    let (head, rows) = store.plan_of(event).unwrap().unwrap();
    assert_eq!((head.apps, head.notes), (2, vec!["a note".to_owned()]));
    assert_eq!(rows.iter().map(|r| r.job).collect::<Vec<_>>(), jobs);
    let twice = store.plan(event, draft(vec![planned("a", &[])])).await;
    assert!(matches!(twice, Err(StoreError::NotWaiting(e)) if e == event), "{twice:?}");
    let before: Vec<_> = store.open_jobs();
    drop(store);
    assert_eq!(open_again(folder.path()).open_jobs(), before);
}

#[tokio::test]
async fn an_event_with_nothing_to_do_is_closed_at_once_and_a_job_closes_its_event_when_it_is_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (none, _) = planned_event(&store, 1, Vec::new()).await;
    assert_eq!(store.event(none).unwrap().unwrap().state, EventState::Closed);
    let (event, jobs) = planned_event(&store, 2, vec![planned("a", &[]), planned("b", &["a"])]).await;
    store.append(jobs[0], success()).await.unwrap();
    assert_eq!(store.event(event).unwrap().unwrap().state, EventState::Planned);
    store.append(jobs[1], ended(Outcome::Skipped)).await.unwrap();
    assert_eq!(store.event(event).unwrap().unwrap().state, EventState::Closed);
    assert_eq!(store.last_good(&name("a")).unwrap().unwrap().sha, sha(7));
    assert!(store.last_good(&name("b")).unwrap().is_none());
    let after = store.append(jobs[0], vec![Entry::Started]).await;
    assert!(matches!(after, Err(StoreError::NotOpen(_))), "{after:?}");
}

#[tokio::test]
async fn a_job_that_has_not_started_is_joined_and_keeps_both_events_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (first, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    let second = events(&store.accept(delivery("d2", vec![push(2)])).await.unwrap())[0];
    let outcome = store.plan(second, draft(vec![planned("a", &[])])).await.unwrap();
    assert_eq!((outcome.created.len(), outcome.joined.as_slice()), (0, jobs.as_slice()));
    assert_eq!(store.job(jobs[0]).unwrap().unwrap().causes.len(), 2);
    drop(store);
    let store = open_again(folder.path());
    store.append(jobs[0], vec![Entry::Started]).await.unwrap();
    // It has started: the next event gets a job of its own.
    let (_, third) = planned_event(&store, 3, vec![planned("a", &[])]).await;
    assert_eq!(third.len(), 1);
    store.append(jobs[0], ended(Outcome::Failed)).await.unwrap();
    for event in [first, second] {
        assert_eq!(store.event(event).unwrap().unwrap().state, EventState::Closed);
    }
}

#[tokio::test]
async fn a_job_on_its_way_out_is_not_joined() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    store.append(jobs[0], vec![Entry::Canceling { by: "ada".into() }]).await.unwrap();
    let (_, second) = planned_event(&store, 2, vec![planned("a", &[])]).await;
    assert_eq!(second.len(), 1);
    // The end of the first does not make the second one forgotten.
    store.append(jobs[0], ended(Outcome::Canceled)).await.unwrap();
    let third = events(&store.accept(delivery("d3", vec![push(3)])).await.unwrap())[0];
    assert_eq!(store.plan(third, draft(vec![planned("a", &[])])).await.unwrap().joined, second);
}

#[tokio::test]
async fn what_need_not_wait_for_a_merge_joins_nothing_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let offered = |app: Planned| {
        let updates = Updates { publish: Publish::PullRequest, ..Updates::default() };
        Planned { app: App { updates, ..app.app }, ..app }
    };
    let own = |app: Planned| Planned { why: Why::OwnPush { before: None, after: sha(9) }, ..app };
    let cascade = || vec![offered(planned("a", &[])), planned("b", &["a"]), planned("c", &["b"])];
    let (_, jobs) = planned_event(&store, 1, cascade()).await;
    // Its own push, a library's that comes by nobody, and a cascade once more.
    let (_, pushed) = planned_event(&store, 2, vec![own(planned("c", &[]))]).await;
    assert_eq!(pushed.len(), 1, "c waits for the merge of a, by b: its push does not");
    let plan = async |n: u32, draft_: Vec<Planned>| {
        let event = events(&store.accept(delivery(&format!("d{n}"), vec![push(n)])).await.unwrap())[0];
        store.plan(event, draft(draft_)).await.unwrap()
    };
    assert_eq!(plan(3, vec![planned("c", &[])]).await.joined, pushed);
    assert_eq!(plan(4, cascade()).await.joined, jobs);
    // What goes into a pull request itself takes no person's push with it.
    assert_eq!(plan(5, vec![own(offered(planned("a", &[])))]).await.created.len(), 1);
    assert_eq!(plan(6, vec![offered(planned("a", &[]))]).await.joined, [jobs[0]]);
    // The same after a reload.
    let before = store.open_jobs();
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(store.open_jobs(), before);
    let event = events(&store.accept(delivery("d7", vec![push(7)])).await.unwrap())[0];
    let outcome = store.plan(event, draft(vec![own(planned("c", &[]))])).await.unwrap();
    assert_eq!((outcome.created.len(), outcome.joined), (0, pushed));
}

#[tokio::test]
async fn an_edge_that_would_close_a_circle_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[]), planned("b", &["a"]), planned("c", &["b"])]).await;
    // Meanwhile deploy.edn has turned round: a depends on c.
    let second = events(&store.accept(delivery("d2", vec![push(2)])).await.unwrap())[0];
    let outcome = store.plan(second, draft(vec![planned("c", &[]), planned("a", &["c"])])).await.unwrap();
    assert_eq!(outcome.joined, [jobs[2], jobs[0]]);
    let a = store.job(jobs[0]).unwrap().unwrap();
    assert!(a.causes.iter().all(|c| c.after.is_empty()), "{:?}", a.causes);
    // What was pushed to one that it can't wait for, it takes from there.
    let pushed = push(3);
    let third = events(&store.accept(delivery("d3", vec![pushed.clone()])).await.unwrap())[0];
    let mut own = planned("c", &[]);
    own.why = Why::OwnPush { before: None, after: pushed.after };
    store.plan(third, draft(vec![own, planned("a", &["c"])])).await.unwrap();
    let a = store.job(jobs[0]).unwrap().unwrap();
    let targets: Vec<_> = a.causes[2].targets.iter().map(|t| (t.repo.clone(), t.branch.clone(), t.after)).collect();
    assert_eq!(targets, [(app("c").repo(), pushed.branch, pushed.after)], "{:?}", a.causes);
}

#[tokio::test]
async fn an_append_that_the_fold_refuses_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    let before = store.job(jobs[0]).unwrap();
    let mut changes = store.changes();
    let entries = vec![Entry::Started, Entry::StepStarted { step: Step::Publish }];
    let refused = store.append(jobs[0], entries).await;
    assert!(matches!(&refused, Err(StoreError::Fold { why: FoldError::Order { .. }, .. })), "{refused:?}");
    assert_eq!(store.job(jobs[0]).unwrap(), before);
    assert_eq!(store.records(jobs[0], 0).unwrap().len(), 1);
    assert!(changes.try_recv().is_err());
    drop(store);
    assert_eq!(open_again(folder.path()).job(jobs[0]).unwrap(), before);
}

#[tokio::test]
async fn a_change_is_told_after_it_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    let mut changes = store.changes();
    let reader = store.clone();
    let listener = tokio::spawn(async move {
        for seq in 2.. {
            let change = changes.recv().await.unwrap();
            assert_eq!(change.seq, seq);
            let records = reader.records(change.job, seq - 1).unwrap();
            assert_eq!(records[0], (seq, (*change.record).clone()));
            if change.state.ended.is_some() {
                return seq;
            }
        }
        0
    });
    for entry in success() {
        store.append(jobs[0], vec![entry]).await.unwrap();
    }
    assert_eq!(listener.await.unwrap(), 1 + success().len() as u64);
}

#[tokio::test]
async fn a_job_of_two_hundred_hosts_with_long_errors_is_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut wide = planned("a", &[]);
    wide.app.working_directory = Some("/srv/a".into());
    let host = |n: u32| format!("web-{n}").parse::<airplanes::model::HostName>().unwrap();
    wide.app.hosts =
        (0..200).map(|n| Host { name: host(n), address: host(n), port: 22, user: "deploy".into() }).collect();
    let (_, jobs) = planned_event(&store, 1, vec![wide]).await;
    let mut entries = success();
    entries.truncate(entries.len() - 1);
    entries.push(Entry::StepStarted { step: Step::Rollout });
    for n in 0..200 {
        entries.push(Entry::HostStarted { host: host(n), previous: Some(sha(3)), sum: None });
        let error = format!("begins {}ends", "é line of the unit's journal\n".repeat(2000));
        entries.push(Entry::HostFinished { host: host(n), result: HostResult::Failed { error } });
    }
    entries.extend(ended(Outcome::Failed));
    store.append(jobs[0], entries).await.unwrap();
    let job = store.job(jobs[0]).unwrap().unwrap();
    assert_eq!(job.outcome(), Some(Outcome::Failed));
    let whole = |h: &HostState| h.state == Progress::Failed && h.previous == Some(sha(3));
    assert!(job.hosts.len() == 200 && job.hosts.iter().all(whole));
    let error = job.hosts[0].error.as_deref().unwrap();
    assert!(error.starts_with("begins") && error.ends_with("ends") && error.len() < 8000, "{}", error.len());
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(store.job(jobs[0]).unwrap().unwrap(), job);
    drop(store);
    let db = raw(folder.path());
    for row in db.iter() {
        let (key, value) = row.unwrap();
        assert!(value.len() <= 16 << 10, "{} has {} bytes", key.escape_ascii(), value.len());
    }
}

/// sled does not sync what it puts into files of its own: a power cut would take rows that were acknowledged.
#[tokio::test]
async fn rows_near_the_limit_stay_in_the_file_that_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for n in 1..60 {
        let (_, jobs) = planned_event(&store, n, vec![planned("a", &[])]).await;
        let mut entries = vec![Entry::Started, Entry::StepStarted { step: Step::Prepare }];
        let error = "x".repeat(10_000);
        let result = StepResult::Failed { error: error.clone(), exit_code: None, retry: false };
        entries.push(Entry::StepFinished { step: Step::Prepare, result });
        entries.push(Entry::Ended { outcome: Outcome::Failed, reason: error });
        store.append(jobs[0], entries).await.unwrap();
    }
    let blobs = std::fs::read_dir(folder.path().join("store/blobs")).unwrap().count();
    assert_eq!(blobs, 0);
}

#[tokio::test]
async fn a_commit_of_hundreds_of_bumps_is_journaled_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[])]).await;
    let start = |step| Entry::StepStarted { step };
    let done = |step| Entry::StepFinished { step, result: StepResult::Done };
    let based = Entry::Based { branch: branch("main"), sha: sha(1) };
    let begun = vec![Entry::Started, start(Step::Prepare), based, done(Step::Prepare), start(Step::Update)];
    store.append(jobs[0], begun).await.unwrap();
    let bump = |n: u32| Bump {
        lib: format!("acme/lib-{n}").parse().unwrap(),
        file: "modules/with/a/long/path/deps.edn".into(),
        repo: app("lib").repo(),
        from: sha(n).to_string(),
        to: sha(n + 1000).to_string(),
        sha: None,
    };
    let bumps: Vec<Bump> = (0..500).map(bump).collect();
    let time = jiff::Timestamp::UNIX_EPOCH;
    let updated = Entry::Updated { commit: sha(7), tree: "t".into(), time, bumps: bumps.clone() };
    let job = store.append(jobs[0], vec![updated]).await.unwrap();
    assert_eq!(job.updated.as_ref().unwrap().bumps, bumps);
    assert!(store.records(jobs[0], 0).unwrap().iter().filter(|r| r.1.entry.word() == "bumped").count() > 3);
    assert_eq!(store.own_commit(&sha(7)).unwrap().unwrap().job, jobs[0]);
    drop(store);
    assert_eq!(open_again(folder.path()).job(jobs[0]).unwrap().unwrap(), job);
}

#[tokio::test]
async fn what_is_too_long_for_a_row_is_refused_and_nothing_of_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let event = events(&store.accept(delivery("d", vec![push(1)])).await.unwrap())[0];
    let mut long = planned("b", &["a"]);
    long.app.restart = Some("x".repeat(20_000));
    let refused = store.plan(event, draft(vec![planned("a", &[]), long])).await;
    assert!(matches!(&refused, Err(StoreError::Row { why, .. }) if why.contains("16384")), "{refused:?}");
    assert!(store.open_jobs().is_empty() && store.plan_of(event).unwrap().is_none());
    let outcome = store.plan(event, draft(vec![planned("a", &[])])).await.unwrap();
    assert_eq!(outcome.created.len(), 1);
}
