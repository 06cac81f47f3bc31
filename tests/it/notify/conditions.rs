//! What is told of the daemon itself, and the dead-man url, which is called while it is well.

use std::time::Duration;

use airplanes::model::{Forge, RepoId};
use airplanes::notify::Pace;
use airplanes::store::NewDelivery;
use serde_json::Value;

use super::stage::{Stage, pace};
use crate::support::receiver::Receiver;
use crate::support::world::folder;

fn events(notices: &[Value]) -> Vec<&str> {
    notices.iter().map(|notice| notice["event"].as_str().unwrap()).collect()
}

async fn stage(receiver: &Receiver) -> Stage {
    Stage::start(folder(), &format!(":notify [{}]", receiver.entry()), pace()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_edit_and_a_full_disk_are_told_once_and_when_they_are_over() {
    let receiver = Receiver::start().await;
    let stage = stage(&receiver).await;
    stage.config_fault.store(Some("config.edn: a token of tests".to_owned().into()));
    let told = receiver.has(1).await;
    assert_eq!(events(&told), ["config.refused"]);
    assert_eq!(told[0]["detail"], "config.edn: ***", "the operator's token is told");
    stage.config_fault.store(None);
    receiver.has(2).await;
    stage.min_free(u64::MAX / 4);
    receiver.has(3).await;
    stage.min_free(0);
    let told = receiver.has(4).await;
    assert_eq!(events(&told), ["config.refused", "config.well", "disk.low", "disk.well"]);
    assert_eq!(told[3]["earlier"][0], told[2]["id"]);
    // Nothing of it is told again.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.calls().len(), 4);
    stage.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_nothing_is_told_and_stops_the_dead_man() {
    let (receiver, dead_man) = (Receiver::start().await, Receiver::start().await);
    let config = format!(":notify [{}] :dead-man {{:url \"{}\" :every \"1s\"}}", receiver.entry(), dead_man.url());
    let stage = Stage::start(folder(), &config, pace()).await;
    wait(&dead_man, 2).await;
    let (db, away) = (stage.folder.path().join("store/db"), stage.folder.path().join("store/away"));
    std::fs::rename(&db, &away).unwrap();
    let told = receiver.has(1).await;
    assert_eq!(events(&told), ["store.fault"]);
    let before = dead_man.calls().len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(dead_man.calls().len(), before, "called though the store is at fault");
    let view = stage.notify.view().dead_man.unwrap();
    assert!(view.error.unwrap().contains("not called"));
    std::fs::rename(&away, &db).unwrap();
    let told = receiver.has(2).await;
    assert_eq!(events(&told), ["store.fault", "store.well"]);
    assert_eq!(told[1]["earlier"][0], told[0]["id"]);
    wait(&dead_man, before + 1).await;
    assert_eq!(dead_man.calls()[0].method, "GET");
    stage.end();
}

async fn wait(receiver: &Receiver, count: usize) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while receiver.calls().len() < count {
        assert!(std::time::Instant::now() < deadline, "it was not called");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planner_that_does_nothing_stops_the_dead_man() {
    let dead_man = Receiver::start().await;
    let config = format!(":dead-man {{:url \"{}\" :every \"1s\"}}", dead_man.url());
    let pace = Pace { plan: Duration::from_millis(500), ..pace() };
    let stage = Stage::start(folder(), &config, pace).await;
    wait(&dead_man, 1).await;
    // The pipeline has ended, so nobody plans this.
    let app = "a".parse().unwrap();
    stage.store.submit(airplanes::model::EventKind::Deploy { app, by: "jane".into(), makes_up: false }).await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while stage.notify.view().dead_man.unwrap().error.is_none() {
        assert!(std::time::Instant::now() < deadline, "it is called for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = dead_man.calls().len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(dead_man.calls().len(), before);
    assert!(stage.notify.view().dead_man.unwrap().error.unwrap().contains("waited"));
    stage.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_used_to_call_is_missed_and_heard_again() {
    let receiver = Receiver::start().await;
    let config = format!(":notify [{}] :webhooks {{:github {{:secret \"a secret of tests\"}}}}", receiver.entry());
    let pace = Pace { silence: Duration::from_secs(2), ..pace() };
    let stage = Stage::start(folder(), &config, pace).await;
    let call = |number: usize| NewDelivery {
        forge: Forge::Github,
        forge_id: Some(number.to_string()),
        event: "ping".into(),
        repo: None::<RepoId>,
        tags: Vec::new(),
        meaning: Err("a ping".into()),
    };
    for number in 0..5 {
        stage.store.accept(call(number)).await.unwrap();
    }
    let told = receiver.has(1).await;
    assert_eq!(events(&told), ["webhooks.silent"]);
    // The next daemon knows that it was told.
    let stage = Stage::start(stage.end(), &config, pace).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.calls().len(), 1);
    stage.store.accept(call(9)).await.unwrap();
    let told = receiver.has(2).await;
    assert_eq!(events(&told)[1], "webhooks.back");
    assert_eq!(told[1]["earlier"][0], told[0]["id"]);
    stage.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_job_is_told_and_its_release_too() {
    let receiver = Receiver::start().await;
    let config = format!(":notify [{}]", receiver.entry());
    let stage = Stage::start(folder(), &config, pace()).await;
    let job = stage.jobs(&["a"]).await[0];
    let folder = stage.end();
    {
        let config = sled::Config::new().path(folder.path().join("store")).segment_size(2 << 20);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let db = loop {
            match config.open() {
                Ok(db) => break db,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mut key = b"r".to_vec();
        key.extend(job.to_key());
        key.extend(1u64.to_be_bytes());
        assert!(db.insert(key, &b"torn"[..]).unwrap().is_some());
        db.flush().unwrap();
    }
    let stage = Stage::start(folder, &config, pace()).await;
    let told = receiver.has(1).await;
    assert_eq!(events(&told), ["job.parked"]);
    assert!(told[0]["next"].as_str().unwrap().contains(&format!("airplanes cancel {job}")));
    stage.store.release_parked(job).await.unwrap();
    assert_eq!(events(&receiver.has(2).await), ["job.parked", "job.released"]);
    stage.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_one_event_are_told_together_at_its_end_or_after_a_while() {
    let receiver = Receiver::start().await;
    let config = format!(":notify [{}]", receiver.entry());
    let holds = [Duration::from_secs(1), Duration::from_secs(1800), Duration::from_secs(1800)];
    let stage = Stage::start(folder(), &config, Pace { holds, ..pace() }).await;
    let jobs = stage.jobs(&["a", "b", "c"]).await;
    stage.fail(jobs[0], "the remote is gone: a token of tests").await;
    // The event is open: told after a while, alone.
    let told = receiver.has(1).await;
    assert_eq!(told[0]["title"], "a failed in prepare");
    assert_eq!(told[0]["apps"][0]["error"], "the remote is gone: ***");
    assert_eq!((&told[0]["push"]["by"], &told[0]["push"]["repo"]), (&Value::from("jane"), &Value::Null));
    stage.fail(jobs[1], "the same").await;
    stage.fail(jobs[2], "the same").await;
    let told = receiver.has(2).await;
    assert_eq!(told[1]["title"], "b, c failed in prepare");
    // All of them recover at once: one notice, which follows both.
    let jobs = stage.jobs(&["a", "b", "c"]).await;
    for job in jobs {
        stage.recover(job).await;
    }
    let told = receiver.has(3).await;
    assert_eq!(told[2]["title"], "a, b, c recovered");
    assert_eq!(told[2]["earlier"].as_array().unwrap().len(), 2);
    assert_eq!(receiver.calls().len(), 3);
    stage.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_given_up_in_the_end() {
    let receiver = Receiver::start().await;
    let config = format!(":notify [{}]", receiver.entry());
    let stage = Stage::start(folder(), &config, pace()).await;
    receiver.will((0..5).map(|_| crate::support::receiver::Next::Status(404)));
    let job = stage.jobs(&["a"]).await[0];
    stage.fail(job, "the first").await;
    wait(&receiver, 5).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while stage.notify.view().ways[0].given_up == 0 {
        assert!(std::time::Instant::now() < deadline, "never given up: {:?}", stage.notify.view());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stage.notify.view().ways[0].waiting, 0);
    let error = stage.notify.view().ways[0].error.clone().unwrap();
    assert!(error.contains("404"), "{error}");
    // The way is not: what comes next is told.
    let job = stage.jobs(&["b"]).await[0];
    stage.fail(job, "the second").await;
    let told = receiver.has(6).await;
    assert_eq!(told[5]["title"], "b failed in prepare");
    // Ended between an answer and its mark, it would rightly be told once more.
    while stage.notify.view().ways[0].told_at.is_none() {
        assert!(std::time::Instant::now() < deadline, "it is never marked as told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let folder = stage.end();
    let again = Stage::start(folder, &config, pace()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.calls().len(), 6, "what was told or given up is told again");
    again.end();
}
