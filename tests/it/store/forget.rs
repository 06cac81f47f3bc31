//! Forgetting: what may go goes whole, what may not stays, and what was answered stays answered.

use airplanes::model::rollout::{Because, Carried, Rollout};
use airplanes::model::{Bump, Environment, Host, HostName, HostResult};
use airplanes::store::{Forget, JobFilter, Old, OwnCommit, Past, Retention};
use jiff::{SignedDuration, Timestamp};

use super::*;

/// So many jobs of each app, and nothing by age.
fn newest(jobs: usize) -> Retention {
    Retention { jobs, jobs_since: Timestamp::UNIX_EPOCH, events_since: Timestamp::UNIX_EPOCH }
}
/// Whatever there is now is of long ago.
fn nothing_old() -> Retention {
    let later = Timestamp::now() + SignedDuration::from_secs(3600);
    Retention { jobs: 1000, jobs_since: later, events_since: later }
}
/// Lets go of all that is not kept; gives how many of each.
async fn forget(store: &Store, keep: Retention) -> (usize, usize, usize) {
    let Old { jobs, events, deliveries } = store.old(&keep).unwrap();
    let jobs = store.forget(Forget::Jobs(jobs.into_iter().map(|(id, _)| id).collect())).await.unwrap().len();
    let events = store.forget(Forget::Events(events.into_iter().map(|(id, _)| id).collect())).await.unwrap().len();
    let deliveries = deliveries.into_iter().map(|(id, _)| id).collect();
    (jobs, events, store.forget(Forget::Deliveries(deliveries)).await.unwrap().len())
}
/// So many pushes to apps, each planned, its jobs ended well.
async fn history(store: &Store, pushes: u32, apps: &[&str]) -> Vec<(EventId, Vec<JobId>)> {
    let mut all = Vec::new();
    for n in 1..=pushes {
        let (event, jobs) = planned_event(store, n, apps.iter().map(|app| planned(app, &[])).collect()).await;
        for job in &jobs {
            store.append(*job, success()).await.unwrap();
        }
        all.push((event, jobs));
    }
    all
}

#[tokio::test]
async fn jobs_beyond_the_number_go_with_their_journals_and_the_newest_of_each_app_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let history = history(&store, 5, &["a", "b"]).await;
    let old = store.old(&newest(2)).unwrap();
    assert_eq!(old.jobs.len(), 6);
    assert!(old.jobs.iter().all(|(_, bytes)| *bytes > 500), "{old:?}");
    assert_eq!(forget(&store, newest(2)).await, (6, 0, 0));
    assert_eq!(store.old(&newest(2)).unwrap(), Old::default());
    drop(store);
    let store = open_again(folder.path());
    let left: Vec<JobId> =
        store.jobs(&JobFilter { limit: 100, ..JobFilter::default() }).unwrap().iter().map(|j| j.id).collect();
    let newest: Vec<JobId> = history[3..].iter().rev().flat_map(|(_, jobs)| jobs.iter().rev().copied()).collect();
    assert_eq!(left, newest);
    let of_a = JobFilter { app: Some(name("a")), limit: 100, ..JobFilter::default() };
    assert_eq!(store.jobs(&of_a).unwrap().len(), 2);
    assert!(store.job(history[0].1[0]).unwrap().is_none());
    assert!(store.records(history[0].1[0], 0).unwrap().is_empty());
    drop(store);
    let rows = raw(folder.path()).scan_prefix([b'r']).count();
    assert_eq!(rows, 4 * (success().len() + 1));
}

/// An app whose production gets what a person promotes.
fn two_environments(app_: &str) -> App {
    let host =
        |n: usize| Host { name: web(n), address: web(n).as_str().parse().unwrap(), port: 22, user: "deploy".into() };
    let there = |name: &str, n: usize, manual| Environment {
        name: name.parse().unwrap(),
        hosts: vec![web(n)],
        manual,
        rollout: Rollout::default(),
        health: None,
        window: None,
    };
    let environments = vec![there("staging", 1, false), there("production", 2, true)];
    App { hosts: vec![host(1), host(2)], environments, ..app(app_) }
}
fn web(n: usize) -> HostName {
    format!("web-{n}").parse().unwrap()
}
/// The entries of a job up to its rollout, and those of that on one host.
fn built(commit: u32) -> Vec<Entry> {
    let start = |step| Entry::StepStarted { step };
    let done = |step| Entry::StepFinished { step, result: StepResult::Done };
    let (commit, tree, bumps) = (sha(commit), "t".to_owned(), Vec::new());
    let mut entries = vec![Entry::Started, start(Step::Prepare), Entry::Based { branch: branch("main"), sha: commit }];
    entries.extend([done(Step::Prepare), start(Step::Update)]);
    entries.extend([Entry::Updated { commit, tree, time: Timestamp::UNIX_EPOCH, bumps }, done(Step::Update)]);
    entries.extend([start(Step::Publish), Entry::Published { commit }, done(Step::Publish)]);
    entries
}
fn brought_to(n: usize) -> Vec<Entry> {
    let step = Step::Rollout;
    let mut entries = vec![Entry::StepStarted { step: step.clone() }];
    entries.push(Entry::HostStarted { host: web(n), previous: None, sum: None });
    entries.push(Entry::HostFinished { host: web(n), result: HostResult::Done { changed: true } });
    entries.push(Entry::StepFinished { step, result: StepResult::Done });
    entries.extend(ended(Outcome::Succeeded));
    entries
}

#[tokio::test]
async fn what_built_and_brought_what_an_environment_runs_stays_and_what_came_later_is_told_by_the_rollouts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let of_app = |why| Planned { app: two_environments("a"), why, ..planned("a", &[]) };
    let mut builds = Vec::new();
    for n in 1..=2 {
        let job = planned_event(&store, n, vec![of_app(Why::Dependency)]).await.1[0];
        store.append(job, [built(n), brought_to(1)].concat()).await.unwrap();
        builds.push(job);
    }
    let (event, because) = (
        store.submit(EventKind::Deploy { app: name("a"), by: "ada".into(), makes_up: false }).await.unwrap(),
        Because::Promote { from: "staging".parse().unwrap(), to: "production".parse().unwrap() },
    );
    let carried = Carried {
        of: builds[1],
        commit: sha(2),
        sum: None,
        branch: branch("main"),
        hosts: vec![web(2)],
        because,
        by: "ada".into(),
    };
    let promotion = store.plan(event, draft(vec![of_app(Why::Rollout(carried))])).await.unwrap().created[0];
    store.append(promotion, [vec![Entry::Started], brought_to(2)].concat()).await.unwrap();
    for n in 3..=7 {
        let job = planned_event(&store, n, vec![of_app(Why::Dependency)]).await.1[0];
        store.append(job, [built(n), brought_to(1)].concat()).await.unwrap();
        builds.push(job);
    }
    assert_eq!(forget(&store, newest(1)).await.0, 4);
    let order =
        |store: &Store| -> Vec<JobId> { store.rollouts(&name("a")).unwrap().map(|job| job.unwrap().id).collect() };
    // The newest and the one before it, and what production runs: who brought it, and who built it.
    assert_eq!(order(&store), [builds[6], builds[5], promotion, builds[1]]);
    let good = store.last_good_in(&name("a"), &"production".parse().unwrap()).unwrap().unwrap();
    assert_eq!((good.job, good.brought_by()), (builds[1], promotion));

    // One that waited for people brings its commit after a younger one.
    let waits = planned_event(&store, 8, vec![of_app(Why::Dependency)]).await.1[0];
    store.append(waits, built(8)).await.unwrap();
    let younger = planned_event(&store, 9, vec![of_app(Why::Dependency)]).await.1[0];
    store.append(younger, [built(9), brought_to(1)].concat()).await.unwrap();
    assert_eq!(order(&store)[..2], [younger, builds[6]]);
    store.append(waits, brought_to(1)).await.unwrap();
    assert_eq!(order(&store)[..3], [waits, younger, builds[6]]);
    drop(store);
    assert_eq!(order(&open_again(folder.path()))[..3], [waits, younger, builds[6]]);
}

#[tokio::test]
async fn of_long_ago_only_the_last_job_of_an_app_its_event_and_a_branchs_last_head_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let history = history(&store, 4, &["a"]).await;
    store.accept(NewDelivery { meaning: Err("a tag".into()), ..delivery("t", vec![push(9)]) }).await.unwrap();
    assert_eq!(forget(&store, nothing_old()).await, (3, 3, 4));
    assert!(store.job(history[3].1[0]).unwrap().is_some());
    assert!(store.event(history[3].0).unwrap().is_some() && store.plan_of(history[3].0).unwrap().is_some());
    assert!(store.event(history[0].0).unwrap().is_none() && store.plan_of(history[0].0).unwrap().is_none());
    assert_eq!(store.deliveries(None, 10).unwrap().len(), 1);
    assert_eq!(store.last_good(&name("a")).unwrap().unwrap().job, history[3].1[0]);
    // The head is still known, also when the job that answered it goes one day.
    assert_eq!(duplicate_of(&store.accept(delivery("new", vec![push(4)])).await.unwrap()), history[3].0);
    drop(store);
    // One of each: version, delivery and its duplicate, event, plan and row, job, app's job, journal, dedupe, head, good.
    let db = raw(folder.path());
    let count = |prefix: u8| db.scan_prefix([prefix]).count();
    assert_eq!([b'k', b'h', b'e', b'p', b'q', b'j', b'a', b'R', b'g'].map(count), [1; 9]);
}

#[tokio::test]
async fn a_duplicate_stays_one_when_its_jobs_are_gone_and_what_failed_still_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (well, jobs) = planned_event(&store, 1, vec![planned("a", &[]), planned("b", &[])]).await;
    for job in jobs {
        store.append(job, success()).await.unwrap();
    }
    let (failed, jobs) = planned_event(&store, 2, vec![planned("a", &[]), planned("b", &[])]).await;
    store.append(jobs[0], success()).await.unwrap();
    store.append(jobs[1], ended(Outcome::Failed)).await.unwrap();
    for (_, jobs) in history_on(&store, "dev", 3).await {
        for job in jobs {
            store.append(job, success()).await.unwrap();
        }
    }
    // One at a time: the event's jobs do not go together.
    for (id, _) in store.old(&newest(1)).unwrap().jobs {
        assert_eq!(store.forget(Forget::Jobs(vec![id])).await.unwrap(), [0], "{id}");
    }
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(duplicate_of(&store.accept(delivery("d1", vec![push(1)])).await.unwrap()), well);
    let again = events(&store.accept(delivery("d2", vec![push(2)])).await.unwrap())[0];
    assert_eq!(store.event(again).unwrap().unwrap().event.again, Some(failed));
}

/// Pushes to another branch, whose jobs are under way.
async fn history_on(store: &Store, branch: &str, pushes: u32) -> Vec<(EventId, Vec<JobId>)> {
    let mut all = Vec::new();
    for n in 0..pushes {
        let pushed = delivery(&format!("{branch}{n}"), vec![push_to(branch, 100 + n)]);
        let event = events(&store.accept(pushed).await.unwrap())[0];
        let plan = draft(vec![planned("a", &[]), planned("b", &[])]);
        all.push((event, store.plan(event, plan).await.unwrap().created));
        if n + 1 < pushes {
            for job in &all[all.len() - 1].1 {
                store.append(*job, success()).await.unwrap();
            }
        }
    }
    let last = all.pop().unwrap();
    vec![last]
}

#[tokio::test]
async fn what_is_under_way_and_what_it_waits_for_stay_however_old() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (event, jobs) = planned_event(&store, 1, vec![planned("a", &[]), planned("b", &["a"])]).await;
    store.append(jobs[0], success()).await.unwrap();
    // Newer jobs of the same app, so that it is neither its last nor its last good one.
    history(&store, 0, &[]).await;
    for n in 2..4 {
        let (_, jobs) = planned_event(&store, n, vec![planned("a", &[])]).await;
        store.append(jobs[0], success()).await.unwrap();
    }
    let all = store.old(&nothing_old()).unwrap();
    assert_eq!(all.jobs.len(), 1, "{all:?}");
    assert!(store.forget(Forget::Jobs(jobs.clone())).await.unwrap().is_empty());
    assert!(store.forget(Forget::Events(vec![event])).await.unwrap().is_empty());
    forget(&store, nothing_old()).await;
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(store.open_jobs().len(), 1);
    assert!(store.job(jobs[0]).unwrap().is_some() && store.plan_of(event).unwrap().is_some());
    store.append(jobs[1], success()).await.unwrap();
    assert_eq!(forget(&store, nothing_old()).await.0, 1);
    assert!(store.job(jobs[0]).unwrap().is_none());
}

#[tokio::test]
async fn an_event_that_is_to_run_again_keeps_the_one_that_it_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (first, jobs) = planned_event(&store, 1, vec![planned("a", &[]), planned("b", &[])]).await;
    store.append(jobs[0], success()).await.unwrap();
    store.append(jobs[1], ended(Outcome::Failed)).await.unwrap();
    history_then(&store).await;
    let again = events(&store.accept(delivery("d1", vec![push(1)])).await.unwrap())[0];
    forget(&store, nothing_old()).await;
    // Its planner has yet to ask which of its apps were well.
    assert!(store.job(jobs[0]).unwrap().is_some() && store.event(first).unwrap().is_some());
    let job = store.plan(again, draft(vec![planned("b", &[])])).await.unwrap().created[0];
    store.append(job, success()).await.unwrap();
    forget(&store, nothing_old()).await;
    assert!(store.job(jobs[0]).unwrap().is_none());
    assert_eq!(duplicate_of(&store.accept(delivery("d1", vec![push(1)])).await.unwrap()), again);
}

async fn history_then(store: &Store) {
    for (_, jobs) in history_on(store, "dev", 2).await {
        for job in jobs {
            store.append(job, success()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_commit_of_ours_is_known_for_ever_with_the_apps_that_were_planned_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, vec![planned("a", &[]), planned("b", &[])]).await;
    let bump: Bump = serde_json::from_value(serde_json::json!({
        "lib": "acme/snow", "file": "deps.edn", "repo": "github.com/acme/snow", "from": sha(1), "to": sha(2)
    }))
    .unwrap();
    let entries = success().into_iter().map(|entry| match entry {
        Entry::Updated { commit, tree, time, .. } => Entry::Updated { commit, tree, time, bumps: vec![bump.clone()] },
        other => other,
    });
    let entries: Vec<Entry> = entries.collect();
    assert!(entries.iter().any(|entry| matches!(entry, Entry::StepStarted { step: Step::Publish })));
    store.append(jobs[0], entries).await.unwrap();
    store.append(jobs[1], success()).await.unwrap();
    assert_eq!(store.own_commit(&sha(7)).unwrap(), Some(OwnCommit { job: jobs[0], past: None }));
    history_then(&store).await;
    forget(&store, newest(1)).await;
    assert!(store.job(jobs[0]).unwrap().is_none());
    let past = Past { app: name("a"), apps: vec![name("a"), name("b")] };
    assert_eq!(store.own_commit(&sha(7)).unwrap(), Some(OwnCommit { job: jobs[0], past: Some(past) }));
}

#[tokio::test]
async fn webhooks_come_in_between_while_a_thousand_jobs_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for n in 1..=300 {
        let (_, jobs) = planned_event(&store, n, vec![planned("a", &[]), planned("b", &[]), planned("c", &[])]).await;
        for job in jobs {
            store.append(job, success()).await.unwrap();
        }
    }
    let old: Vec<JobId> = store.old(&newest(1)).unwrap().jobs.into_iter().map(|(id, _)| id).collect();
    assert_eq!(old.len(), 299 * 3);
    let forgetting = tokio::spawn({
        let store = store.clone();
        async move {
            for group in old.chunks(8) {
                assert_eq!(store.forget(Forget::Jobs(group.to_vec())).await.unwrap().len(), group.len());
            }
        }
    });
    let mut accepted = 0;
    while !forgetting.is_finished() {
        accepted += 1;
        events(
            &store.accept(delivery(&format!("x{accepted}"), vec![push_to("other", 10_000 + accepted)])).await.unwrap(),
        );
    }
    forgetting.await.unwrap();
    assert!(accepted > 20, "{accepted}");
    assert_eq!(store.unplanned().len(), accepted as usize);
}
