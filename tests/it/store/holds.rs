//! Holds in the store: whose is over whose, and that none starts what it holds.

use airplanes::model::hold::{Hold, HoldKind};
use airplanes::model::{Entry, EventId, JobId, Outcome, Sha, Step, StepResult};
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
