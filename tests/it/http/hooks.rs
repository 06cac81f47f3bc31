//! Webhooks at the door: what is accepted, ignored, refused, and kept.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

use std::time::Duration;

use airplanes::http::Limits;
use airplanes::model::inbox::{DeliveryList, HookAnswer};
use airplanes::model::{Draft, Forge, Planned, Why};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::corpus;

use super::server::{A, B, Server, app_of, error};

/// Sends these bytes and reads until the server closes.
async fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer));
    let _ = read.await.unwrap();
    answer
}

#[tokio::test]
async fn a_push_is_accepted_once_and_a_to_b_to_a_is_three_pushes() {
    let server = Server::start().await;
    let (status, first) = server.push("1", B, A).await;
    assert_eq!((status.as_u16(), first.status.as_str()), (202, "accepted"));
    assert_eq!(first.event, first.events.first().copied());
    let (status, again) = server.push("1", B, A).await;
    assert_eq!((status.as_u16(), again.status.as_str()), (200, "duplicate"));
    assert_eq!(again.event, first.event);
    assert!(again.reason.unwrap().contains("delivery id"));
    assert_eq!(server.push("2", A, B).await.0, 202);
    assert_eq!(server.push("3", B, A).await.0, 202);
    assert_eq!(server.store.unplanned().len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn every_payload_of_the_corpus_is_accepted_or_ignored_at_the_door() {
    let Some(corpus) = corpus() else { return };
    let server = Server::start().await;
    let index = std::fs::read_to_string(corpus.join("webhooks/index.tsv")).unwrap();
    let (mut accepted, mut ignored) = (0, 0);
    for (number, line) in index.lines().skip(1).enumerate() {
        let column: Vec<&str> = line.split('\t').collect();
        let &[file, provider, kind, _, name, _, _, deleted, ..] = column.as_slice() else { panic!("{line}") };
        let (forge, event) = match (provider, kind) {
            ("github", other) => (Forge::Github, other),
            ("gitlab", _) if file.contains("/system-") => (Forge::Gitlab, "System Hook"),
            ("gitlab", "push") => (Forge::Gitlab, "Push Hook"),
            ("gitlab", "tag_push") => (Forge::Gitlab, "Tag Push Hook"),
            ("gitlab", other) => (Forge::Gitlab, other),
            ("gitea" | "gogs", other) => (Forge::Gitea, other),
            _ => continue,
        };
        let event = if kind == "create_or_delete" { "delete" } else { event };
        let body = std::fs::read(corpus.join("webhooks").join(file)).unwrap();
        let response = server.hook(forge, Some(event), &number.to_string(), body).await;
        let status = response.status().as_u16();
        let answer: HookAnswer = response.json().await.unwrap();
        if name.starts_with("refs/") && deleted == "no" {
            // Two collections hold the same push: the second is the first again.
            assert!(matches!((status, answer.status.as_str()), (202, "accepted") | (200, "duplicate")), "{file}");
            accepted += 1;
        } else {
            assert_eq!((status, answer.status.as_str()), (200, "ignored"), "{file}");
            assert!(!answer.reason.unwrap().is_empty(), "{file}");
            ignored += 1;
        }
    }
    assert!(accepted > 10 && ignored > 80, "{accepted} {ignored}");
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_is_not_authentic_is_told_nothing() {
    let server = Server::start().await;
    let url = format!("{}/hooks/github", server.base);
    let call = server.client.post(&url).header("x-github-event", "push").body("{}");
    let (status, code, text) = error(call.send().await.unwrap()).await;
    assert_eq!((status, code.as_str()), (401, "signature"));
    assert!(!text.contains("x-hub") && !text.contains("test"), "{text}");
    // No secret is configured for this one: the same answer.
    let response = server.hook(Forge::Bitbucket, None, "1", b"{}".to_vec()).await;
    assert_eq!(error(response).await.0, 401);
    assert_eq!(server.store.deliveries(None, 10).unwrap().len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn refusals_are_counted_for_the_operator_alone() {
    let server = Server::start().await;
    let refused = async |id: &str| {
        let call = server.client.post(format!("{}/hooks/github", server.base)).header("x-github-delivery", id);
        assert_eq!(call.body("{}").send().await.unwrap().status(), 401);
    };
    for id in 0..8 {
        refused(&id.to_string()).await;
    }
    let open: serde_json::Value = server.open("/status").send().await.unwrap().json().await.unwrap();
    assert!(open.get("refusals").is_none(), "{open}");
    let known = server.json("/status").await;
    let refusal = &known["refusals"][0];
    assert_eq!((refusal["forge"].as_str(), refusal["count"].as_u64()), (Some("github"), Some(8)), "{known}");
    let reason = refusal["last_reason"].as_str().unwrap();
    assert!(reason.contains("2 bytes") && reason.contains("X-Hub-Signature-256 is missing"), "{reason}");
    server.stop().await;
}

#[tokio::test]
async fn an_authentic_call_that_is_no_json_is_malformed() {
    let server = Server::start().await;
    let response = server.hook(Forge::Github, None, "1", b"{\"ref\":".to_vec()).await;
    let (status, code, _) = error(response).await;
    assert_eq!((status, code.as_str()), (400, "malformed"));
    server.stop().await;
}

#[tokio::test]
async fn a_body_over_25_megabytes_is_refused_before_and_while_it_is_read() {
    let server = Server::start().await;
    let head = "POST /hooks/github HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let answer = raw(&server, &format!("{head}Content-Length: 26214401\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("too-large"), "{answer}");
    // Without a length it has to be counted.
    let mut stream = TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        for _ in 0..26 {
            if writer.write_all(&chunk).await.is_err() {
                return;
            }
        }
    });
    let mut answer = [0; 13];
    reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413 ");
    sending.abort();
    server.stop().await;
}

#[tokio::test]
async fn a_caller_that_dawdles_over_headers_or_body_is_let_go() {
    let brief = Duration::from_millis(200);
    let server = Server::with(Limits { headers: brief, body: brief, ..Limits::default() }).await;
    let head = "POST /hooks/github HTTP/1.1\r\nHost: x\r\n";
    assert_eq!(raw(&server, head).await, "");
    let answer = raw(&server, &format!("{head}Content-Length: 100\r\n\r\nslow")).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("too-slow"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn deliveries_say_what_became_of_each() {
    let server = Server::start().await;
    let (_, accepted) = server.push("1", B, A).await;
    server.push("1", B, A).await;
    server.hook(Forge::Github, Some("ping"), "2", b"{\"zen\":\"x\"}".to_vec()).await;
    let event = accepted.event.unwrap();
    let planned =
        Planned { app: app_of("shop"), why: Why::Dependency, wave: 0, after: vec![], targets: vec![], tags: vec![] };
    let draft = Draft { apps: vec![planned], notes: vec!["blog is left out".into()], ..Draft::default() };
    let job = server.store.plan(event, draft).await.unwrap().created[0];
    let list: DeliveryList = server.get("/deliveries").send().await.unwrap().json().await.unwrap();
    let [ping, duplicate, push] = list.deliveries.as_slice() else { panic!("{list:?}") };
    assert_eq!((ping.status.as_str(), ping.reason.is_some()), ("ignored", true));
    assert_eq!(duplicate.duplicate_of, Some(event));
    assert_eq!((push.forge_id.as_deref(), push.events[0].state.as_str()), (Some("1"), "planned"));
    assert_eq!(push.events[0].notes, ["blog is left out"]);
    assert_eq!((push.events[0].jobs[0].id, push.events[0].jobs[0].state.as_str()), (job, "queued"));
    let page: DeliveryList = server.get("/deliveries?limit=1").send().await.unwrap().json().await.unwrap();
    let next = format!("/deliveries?limit=1&before={}", page.next.unwrap());
    let page: DeliveryList = server.get(&next).send().await.unwrap().json().await.unwrap();
    assert_eq!(page.deliveries[0].status, "duplicate");
    server.stop().await;
}
