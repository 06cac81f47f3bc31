//! Jobs: lists, logs by offset, live events, cancel.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

use std::time::Duration;

use airplanes::http::Limits;
use airplanes::model::{Branch, Entry, JobId, Sha, Step, StepResult};
use reqwest::Response;
use serde_json::Value;

use super::server::{A, Server, error};

#[tokio::test]
async fn jobs_are_listed_newest_first_by_app_by_state_and_by_cursor() {
    let server = Server::start().await;
    let first = server.job("shop").await;
    server.end(first).await;
    let second = server.job("shop").await;
    let third = server.job("blog").await;
    let ids = |list: &Value| -> Vec<String> {
        list["jobs"].as_array().unwrap().iter().map(|j| j["id"].as_str().unwrap().to_owned()).collect()
    };
    let texts = |jobs: &[JobId]| -> Vec<String> { jobs.iter().map(ToString::to_string).collect() };
    assert_eq!(ids(&server.json("/jobs").await), texts(&[third, second, first]));
    assert_eq!(ids(&server.json("/jobs?app=shop").await), texts(&[second, first]));
    assert_eq!(ids(&server.json("/jobs?state=failed").await), texts(&[first]));
    assert_eq!(ids(&server.json("/jobs?state=queued&app=blog").await), texts(&[third]));
    assert_eq!(ids(&server.json("/jobs?state=open&limit=1").await), texts(&[third]));
    let page = server.json("/jobs?limit=2").await;
    assert_eq!(page["next"], second.to_string());
    let page = server.json(&format!("/jobs?limit=2&before={second}")).await;
    assert_eq!((ids(&page), &page["next"]), (texts(&[first]), &Value::Null));
    let job = server.json(&format!("/jobs/{first}")).await;
    assert_eq!((&job["state"], &job["app"], &job["kind"]), (&"failed".into(), &"shop".into(), &"app".into()));
    server.stop().await;
}

/// Reads a stream of events until it ends, or until so many came: their ids and words.
async fn events(response: Response, most: usize) -> Vec<(u64, String)> {
    use futures_util::StreamExt;
    let mut stream = response.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    while events.len() < most {
        let Ok(next) = tokio::time::timeout(Duration::from_secs(10), stream.next()).await else { break };
        let Some(Ok(bytes)) = next else { break };
        text.push_str(std::str::from_utf8(&bytes).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
            if let (Some(id), Some(word), Some(data)) = (field("id:"), field("event:"), field("data:")) {
                let data: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(data["entry"]["entry"], word.as_str());
                assert_eq!(data["job"]["seq"].as_u64().unwrap().to_string(), id);
                events.push((id.parse().unwrap(), word));
            }
            text = rest.to_owned();
        }
    }
    events
}

#[tokio::test]
async fn events_come_from_the_journal_then_live_and_end_with_the_job() {
    let server = Server::start().await;
    let job = server.job("shop").await;
    server.append(job, [Entry::Started]).await;
    let path = format!("/jobs/{job}/events");
    let response = server.get(&path).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let reading = tokio::spawn(events(response, usize::MAX));
    let step = Step::Prepare;
    server.append(job, [Entry::StepStarted { step: step.clone() }]).await;
    let sha: Sha = A.parse().unwrap();
    server.append(job, [Entry::Based { branch: Branch::new("master").unwrap(), sha }]).await;
    server.append(job, [Entry::StepFinished { step, result: StepResult::Done }]).await;
    server.end(job).await;
    let all = reading.await.unwrap();
    let words: Vec<&str> = all.iter().map(|(_, word)| word.as_str()).collect();
    assert_eq!(words, ["created", "started", "step-started", "based", "step-finished", "ended"]);
    assert_eq!(all.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let rest = server.get(&path).header("Last-Event-ID", "4").send().await.unwrap();
    assert_eq!(events(rest, usize::MAX).await, all[4..]);
    let seen = server.get(&path).header("Last-Event-ID", "6").send().await.unwrap();
    assert_eq!(seen.status(), 204);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_of_events_does_not_hold_up_the_shutdown() {
    let server = Server::start().await;
    let job = server.job("shop").await;
    let response = server.get(&format!("/jobs/{job}/events")).send().await.unwrap();
    let reading = tokio::spawn(events(response, usize::MAX));
    let began = std::time::Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Limits::default().drain);
    assert!(reading.await.unwrap().len() <= 1);
}

#[tokio::test]
async fn a_path_or_query_that_cannot_be_read_is_refused_in_the_shape_of_every_error() {
    let server = Server::start().await;
    for path in ["/jobs/%ff", "/jobs?limit=many", "/jobs?wat=1"] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (400, &"application/json".parse().unwrap())
        );
        let body: serde_json::Value = response.json().await.unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("can't be read") && !message.contains("deserialize"), "{path}: {message}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_log_is_read_from_any_offset_until_it_is_complete() {
    let server = Server::start().await;
    let job = server.job("shop").await;
    let read = async |query: &str| {
        let response = server.get(&format!("/jobs/{job}/logs/prepare{query}")).send().await.unwrap();
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (next, complete) = (header("next-offset"), header("complete"));
        (
            response.status().as_u16(),
            next.unwrap_or_default(),
            complete.unwrap_or_default(),
            response.bytes().await.unwrap(),
        )
    };
    assert_eq!(read("").await, (200, "0".into(), "false".into(), "".into()));
    let step = Step::Prepare;
    server.append(job, [Entry::Started, Entry::StepStarted { step: step.clone() }]).await;
    let folder = server.folder.path().join("logs").join(job.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let bytes = [vec![b'a'; 1 << 20], b"\xff\x00 the end\n".to_vec()].concat();
    std::fs::write(folder.join("prepare.1"), &bytes).unwrap();
    let (status, next, complete, first) = read("").await;
    assert_eq!((status, next.as_str(), complete.as_str(), first.len()), (200, "1048576", "false", 1 << 20));
    let rest = read("?offset=1048576").await;
    assert_eq!(rest, (200, bytes.len().to_string(), "false".into(), bytes[1 << 20..].to_vec().into()));
    server.append(job, [Entry::Canceling { by: "test".into() }]).await;
    server.end(job).await;
    assert_eq!(read("?offset=1048576").await.2, "true");
    assert_eq!(read("?offset=0").await.2, "false");
    assert_eq!(read("?attempt=1&offset=3").await.1, "1048579");
    assert_eq!(read("?attempt=2").await, (200, "0".into(), "true".into(), "".into()));
    assert_eq!(read("?offset=9999999").await.0, 416);
    let outside = format!("/jobs/{job}/logs/..%2F..%2F..%2Foperator-token");
    for path in [outside, format!("/jobs/{job}/logs/deploy"), format!("/jobs/{job}/logs/rollout/web-1")] {
        let (status, code, text) = error(server.get(&path).send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (404, "not-found"), "{path}");
        assert!(text.contains("it has prepare, update, publish"), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_job_is_canceled_once_and_an_ended_one_is_not() {
    let server = Server::start().await;
    let job = server.job("shop").await;
    let path = format!("/jobs/{job}/cancel");
    let response = server.post(&path, "").await;
    assert_eq!(response.status(), 202);
    assert!(response.text().await.unwrap().contains("being canceled by operator"));
    let (one, counts) = (server.json(&format!("/jobs/{job}")).await, server.json("/status").await["counts"].clone());
    assert_eq!((&one["state"], &counts["running"], &counts["queued"]), (&"running".into(), &1.into(), &0.into()));
    server.end(job).await;
    let (status, code, text) = error(server.post(&path, "").await).await;
    assert_eq!((status, code.as_str()), (409, "already-ended"));
    assert!(text.contains("failed"), "{text}");
    assert_eq!(error(server.post("/jobs/0000000000000-000/cancel", "").await).await.0, 404);
    assert_eq!(error(server.post("/jobs/x/cancel", "").await).await.0, 400);
    assert_eq!(server.client.post(format!("{}{path}", server.base)).send().await.unwrap().status(), 401);
    server.stop().await;
}
