//! Holds in the store: whose is over whose, and that none starts what it holds.

use airplanes::model::hold::{Hold, HoldKind};
use airplanes::model::rollout::{Because, Carried};
use airplanes::model::{App, Entry, EventId, Host, HostResult, JobId, Outcome, Planned, Sha, Step, StepResult, Why};
use airplanes::store::{Release, Store, StoreError};
use jiff::Timestamp;

use super::{app, draft, open_again, planned, planned_event, sha};

fn a_job() -> JobId {
    JobId { event: EventId(1), index: 0 }
}

#[tokio::test]
async fn a_persons_hold_over_a_rollbacks_leaves_that_when_it_ends_and_each_is_let_go_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let of_person = Hold {
        kind: HoldKind::Manual,
        ..Hold::of_rollback(app("a").name, sha(1), a_job(), "by hand", Timestamp::now())
    };
    let key = (app("a").name, None);
    let release = |id| Release { held: key.clone(), id, catch_up: Some("its end".into()) };
    let roll_back = async |store: &Store, n: u32| {
        let (_, jobs) = planned_event(store, n, draft(vec![planned("a", &[])]).apps).await;
        store.append(jobs[0], rolled_back(sha(n))).await.unwrap();
    };
    let bad = |hold: &Hold| match hold.kind {
        HoldKind::Rollback { bad, .. } => Some(bad),
        HoldKind::Manual | HoldKind::MovedBack { .. } => None,
    };
    let first = store.put_hold(of_person.clone()).await.unwrap();
    let second = store.put_hold(of_person.clone()).await.unwrap();
    assert!(second.id > first.id && second.beneath.is_none());
    // A rollback while a person holds the app is beneath, and the person's is what it was.
    roll_back(&store, 7).await;
    let both = store.holds()[&key].clone();
    assert_eq!(both.beneath.as_deref().and_then(bad), Some(sha(7)));
    assert!(both.stops_all() && both.to_string().contains("over a rollback's"), "{both}");
    assert_eq!(Hold { beneath: None, ..both.clone() }, second);
    assert!(store.release(release(first.id)).await.unwrap().is_none());
    // Its end leaves the rollback's, and makes up for nothing yet.
    assert_eq!(store.release(release(second.id)).await.unwrap().unwrap().event, None);
    drop(store);
    let store = open_again(folder.path());
    let left = store.holds()[&key].clone();
    assert_eq!((bad(&left), left.stops_all()), (Some(sha(7)), false), "{left}");
    // The other way round: a person's is put over a rollback's, and another rollback replaces that.
    let third = store.put_hold(of_person).await.unwrap();
    assert_eq!(third.beneath.as_deref(), Some(&left));
    roll_back(&store, 8).await;
    let beneath = store.holds()[&key].beneath.clone().unwrap();
    assert!(bad(&beneath) == Some(sha(8)) && beneath.id > third.id, "{beneath}");
    // A push that ends the one beneath leaves the person's alone.
    assert_eq!(store.release(release(beneath.id)).await.unwrap().unwrap().hold, *beneath);
    assert!(store.release(release(left.id)).await.unwrap().is_none());
    drop(store);
    let store = open_again(folder.path());
    assert_eq!(store.holds()[&key], Hold { beneath: None, ..third.clone() });
    let released = store.release(release(third.id)).await.unwrap().unwrap();
    assert_eq!(store.unplanned().iter().map(|event| Some(event.id)).collect::<Vec<_>>(), [released.event]);
    assert!(store.release(release(third.id)).await.unwrap().is_none() && store.holds().is_empty());
    drop(store);
    let store = open_again(folder.path());
    assert_eq!((store.unplanned().len(), store.holds().len()), (1, 0));
}

#[tokio::test]
async fn no_job_starts_once_its_hold_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (_, jobs) = planned_event(&store, 1, draft(vec![planned("a", &[])]).apps).await;
    // A worker has looked for holds, and there was none.
    let seen = store.job(jobs[0]).unwrap().unwrap();
    let hold = Hold::of_rollback(app("a").name, sha(1), a_job(), "by hand", Timestamp::now());
    let hold = store.put_hold(Hold { kind: HoldKind::Manual, ..hold }).await.unwrap();
    let started = store.append_to(&seen, vec![Entry::Started]).await;
    assert!(matches!(started, Err(StoreError::Moved(_))), "{started:?}");
    let release = Release { held: (app("a").name, None), id: hold.id, catch_up: None };
    store.release(release).await.unwrap();
    assert!(store.append_to(&seen, vec![Entry::Started]).await.unwrap().started);
}

#[tokio::test]
async fn a_second_rollback_remembers_what_the_first_took_back_and_partial_counts_as_the_last_good_where_it_is_live() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let hosts: Vec<Host> = ["web-1", "web-2"].map(host).into();
    let folder = Some("/srv/a".to_owned());
    let run = async |n: u32, why: Why, results: [HostResult; 2], outcome| {
        let app = App { hosts: hosts.clone(), working_directory: folder.clone(), update: false, ..app("a") };
        let is_carried = matches!(why, Why::Rollout(_));
        let planned = Planned { app, why, ..planned("a", &[]) };
        let (_, jobs) = planned_event(&store, n, vec![planned]).await;
        let mut entries = if is_carried { vec![Entry::Started] } else { published(sha(n)) };
        entries.push(Entry::StepStarted { step: Step::Rollout });
        for (host, result) in hosts.iter().zip(results) {
            let host = host.name.clone();
            if matches!(result, HostResult::Done { .. }) {
                entries.push(Entry::HostStarted { host: host.clone(), previous: None, sum: None });
            }
            entries.push(Entry::HostFinished { host, result });
        }
        let failed = StepResult::Failed { error: "web-2 is away".into(), exit_code: None, retry: false };
        let result = if outcome == Outcome::Succeeded { StepResult::Done } else { failed };
        entries.push(Entry::StepFinished { step: Step::Rollout, result });
        entries.push(Entry::Ended { outcome, reason: "a test".into() });
        store.append(jobs[0], entries).await.unwrap();
        jobs[0]
    };
    let done = || HostResult::Done { changed: true };
    let away = || HostResult::Unreachable { error: "no route".into() };
    let good = || store.last_good(&app("a").name).unwrap().map(|good| (good.sha, good.job));
    let asked = || Why::Asked { by: "ada".into() };
    let carried = |of, to, because| {
        let (branch, hosts, by) = ("main".parse().unwrap(), Vec::new(), "ada".to_owned());
        Why::Rollout(Carried { of, commit: sha(to), sum: None, branch, hosts, because, by })
    };
    let rollback = |of, to, bad| carried(of, to, Because::Rollback { bad: sha(bad) });
    let kind = || store.holds()[&(app("a").name, None)].kind.clone();

    let first = run(1, asked(), [done(), done()], Outcome::Succeeded).await;
    let second = run(2, asked(), [done(), away()], Outcome::Partial).await;
    assert_eq!(good(), Some((sha(2), second)), "what is live but on a host that is away");
    run(3, asked(), [done(), HostResult::Failed { error: "it died".into() }], Outcome::Partial).await;
    assert_eq!(good(), Some((sha(2), second)), "what was halted");
    let third = run(4, asked(), [done(), done()], Outcome::Succeeded).await;
    run(5, carried(first, 1, Because::CatchUp), [done(), done()], Outcome::Succeeded).await;
    assert_eq!(good(), Some((sha(4), third)), "what a host catches up with is its own affair");

    let job = run(6, rollback(second, 2, 4), [done(), done()], Outcome::Succeeded).await;
    assert_eq!((good(), kind()), (Some((sha(2), second)), HoldKind::Rollback { bad: sha(4), job, before: vec![] }));
    let job = run(7, rollback(first, 1, 2), [done(), done()], Outcome::Succeeded).await;
    assert_eq!(kind(), HoldKind::Rollback { bad: sha(2), job, before: vec![sha(4)] });
    // Nothing was brought anywhere: the hold is what it was.
    run(8, rollback(third, 4, 1), [away(), away()], Outcome::Failed).await;
    assert_eq!(kind(), HoldKind::Rollback { bad: sha(2), job, before: vec![sha(4)] });
    // What a person brings again is not bad any more.
    let job = run(9, rollback(third, 4, 1), [done(), done()], Outcome::Succeeded).await;
    assert_eq!(kind(), HoldKind::Rollback { bad: sha(1), job, before: vec![sha(2)] });
    let job = run(10, rollback(first, 1, 4), [done(), done()], Outcome::Succeeded).await;
    assert_eq!(kind(), HoldKind::Rollback { bad: sha(4), job, before: vec![sha(2)] });
}

fn host(name: &str) -> Host {
    Host { name: name.parse().unwrap(), address: name.parse().unwrap(), port: 22, user: "deploy".into() }
}

/// A job's life up to where its rollout begins.
fn published(commit: Sha) -> Vec<Entry> {
    let mut entries = rolled_back(commit);
    entries.pop();
    let done = StepResult::Done;
    entries.push(Entry::StepStarted { step: Step::Publish });
    entries.extend([Entry::Published { commit }, Entry::StepFinished { step: Step::Publish, result: done }]);
    entries
}

/// A job's life up to a rollback of a commit.
pub fn rolled_back(commit: Sha) -> Vec<Entry> {
    let start = |step| Entry::StepStarted { step };
    let done = |step| Entry::StepFinished { step, result: StepResult::Done };
    let (time, tree, bumps) = (Timestamp::UNIX_EPOCH, "t".to_owned(), Vec::new());
    let based = Entry::Based { branch: "main".parse().unwrap(), sha: commit };
    let mut entries = vec![Entry::Started, start(Step::Prepare), based, done(Step::Prepare), start(Step::Update)];
    entries.extend([Entry::Updated { commit, tree, time, bumps }, done(Step::Update)]);
    entries.push(Entry::Ended { outcome: Outcome::RolledBack, reason: "web-1 was not well".to_owned() });
    entries
}
