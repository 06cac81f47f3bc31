//! The HTTP door with a real store, a real socket and signed calls.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use airplanes::forge;
use airplanes::git::{GitConfig, Mirrors};
use airplanes::http::{self, Door, Limits};
use airplanes::model::inbox::{DeliveryList, HookAnswer};
use airplanes::model::{
    App, AppName, Branch, Draft, Entry, EventKind, Forge, ForgeSecrets, JobId, Outcome, Planned, RepoUrl, Runner,
    Secret, Sha, Step, StepResult, Trigger, Why,
};
use airplanes::pipeline::{Pipeline, Rooms, Setup};
use airplanes::process::Leftovers;
use airplanes::runner::Local;
use airplanes::ssh::{Hosts, Settings};
use airplanes::store::Store;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::corpus;

const SECRET: &str = "It's a Secret to Everybody";
const TOKEN: &str = "operators-token";
const A: &str = "4522cbcefc20728a5b72b3a86af35e608622c514";
const B: &str = "9836a96a253cce25d17988fcf41b8c4205cf779f";

/// A pipeline that has ended: these tests play its part in the store themselves.
async fn pipeline(store: Store, state: &std::path::Path) -> Pipeline {
    let rooms = Rooms {
        git: Mirrors::new(GitConfig::new(state)).unwrap(),
        hosts: Hosts::new(Settings::default()).unwrap(),
        runner: airplanes::runner::Runner::Local(Local::new(Leftovers::new(state), [])),
        secrets: Vec::new(),
    };
    let apps = BTreeMap::from([(AppName::new("anna/shop").unwrap(), app_of("anna/shop"))]);
    let pipeline = Pipeline::start(store, Setup { state: state.to_owned(), rooms, apps, concurrency: 1 });
    pipeline.end().await;
    pipeline
}

struct Server {
    base: String,
    client: Client,
    store: Store,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    /// Everything but Bitbucket has the secret.
    async fn with(limits: Limits) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let secrets = || ForgeSecrets { secrets: vec![Secret::new("test", SECRET)], signing_tokens: vec![] };
        let forges: BTreeMap<_, _> =
            [Forge::Github, Forge::Gitlab, Forge::Gitea].into_iter().map(|f| (f, secrets())).collect();
        let door = Door {
            store: store.clone(),
            pipeline: pipeline(store.clone(), folder.path()).await,
            forges: Arc::new(ArcSwap::from_pointee(forges)),
            token: Arc::new(Secret::new("operator-token", TOKEN)),
            started_at: Timestamp::now(),
            version: "1.2.3",
            limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let served = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { http::serve(listener, door, shutdown).await.unwrap() }
        });
        Self { base, client: Client::new(), store, shutdown, served, folder }
    }

    fn open(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }
    fn get(&self, path: &str) -> RequestBuilder {
        self.open(path).bearer_auth(TOKEN)
    }
    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// A signed call.
    async fn hook(&self, forge: Forge, event: Option<&str>, id: &str, body: Vec<u8>) -> Response {
        let url = format!("{}/hooks/{}", self.base, forge.as_str());
        let mut headers = forge::push_headers(forge, id);
        headers.extend(forge::sign(forge, &Secret::new("test", SECRET), &body));
        let mut call = self.client.post(url);
        for (name, value) in headers {
            let is_event = ["x-github-event", "x-gitlab-event", "x-gitea-event", "x-event-key"]
                .contains(&name.to_lowercase().as_str());
            call = call.header(name, event.filter(|_| is_event).map_or(value, str::to_owned));
        }
        call.body(body).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: &'static str) -> Response {
        let call = self.client.post(format!("{}{path}", self.base)).bearer_auth(TOKEN);
        call.body(body).send().await.unwrap()
    }

    async fn push(&self, id: &str, before: &str, after: &str) -> (StatusCode, HookAnswer) {
        let url = RepoUrl::new("https://github.com/acme/snow.git").unwrap();
        let branch = Branch::new("master").unwrap();
        let body =
            forge::push_payload(Forge::Github, &url, &branch, Some(before.parse().unwrap()), after.parse().unwrap());
        let response = self.hook(Forge::Github, None, id, body).await;
        (response.status(), response.json().await.unwrap())
    }

    /// A job that is queued.
    async fn job(&self, app: &str) -> JobId {
        let app = app_of(app);
        let what = EventKind::Deploy { app: app.name.clone(), by: "test".into() };
        let event = self.store.submit(what).await.unwrap();
        let why = Why::Asked { by: "test".into() };
        let planned = Planned { app, why, wave: 0, after: vec![], targets: vec![] };
        let draft = Draft { apps: vec![planned], notes: vec![] };
        self.store.plan(event, draft).await.unwrap().created[0]
    }

    async fn append(&self, job: JobId, entries: impl IntoIterator<Item = Entry>) {
        self.store.append(job, entries.into_iter().collect()).await.unwrap();
    }

    async fn end(&self, job: JobId) {
        let reason = "a test".to_owned();
        self.append(job, [Entry::Ended { outcome: Outcome::Failed, reason }]).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.served).await.unwrap().unwrap();
    }
}

fn app_of(name: &str) -> App {
    App {
        name: AppName::new(name).unwrap(),
        git_url: RepoUrl::new(format!("https://github.com/acme/{name}.git")).unwrap(),
        branch: None,
        update: true,
        trigger: Trigger::PushAny,
        build: vec![],
        build_timeout: Duration::from_secs(60),
        build_silence: Duration::from_secs(60),
        working_directory: None,
        hosts: vec![],
        service: None,
        restart: None,
        health: None,
        runner: Runner::Local,
    }
}

async fn error(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), format!("{} / {}", text("message"), text("hint")))
}

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
        if name.starts_with("refs/heads/") && deleted == "no" {
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
async fn without_the_token_only_what_names_nothing_is_told() {
    let server = Server::start().await;
    server.job("shop").await;
    server.push("1", B, A).await;
    for path in ["/metrics", "/jobs", "/jobs/x", "/jobs/x/events", "/jobs/x/logs/build", "/deliveries", "/apps"] {
        let (status, code, text) = error(server.open(path).send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (401, "unauthorized"), "{path}");
        assert!(text.contains("operator-token") && text.contains("AIRPLANES_TOKEN"), "{text}");
        let wrong = server.open(path).bearer_auth("operators-tokem").send().await.unwrap();
        assert_eq!(wrong.status(), 401, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.open(path).send().await.unwrap().status(), 200, "{path}");
    }
    let short = server.open("/status").send().await.unwrap().text().await.unwrap();
    assert!(short.contains("1.2.3") && !short.contains("shop") && !short.contains("acme"), "{short}");
    assert_eq!(server.open("/status").bearer_auth("x").send().await.unwrap().status(), 401);
    let long = server.get("/status").send().await.unwrap().text().await.unwrap();
    assert!(long.contains("shop") && long.contains("acme"), "{long}");
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_have_the_shape_of_every_error() {
    let server = Server::start().await;
    assert_eq!(error(server.get("/nothing").send().await.unwrap()).await.1, "not-found");
    assert_eq!(error(server.get("/hooks/github").send().await.unwrap()).await.1, "method-not-allowed");
    assert_eq!(error(server.get("/jobs/zzz").send().await.unwrap()).await.0, 400);
    assert_eq!(error(server.get("/jobs/0000000000000-000").send().await.unwrap()).await.0, 404);
    assert_eq!(error(server.get("/jobs?stat=failed").send().await.unwrap()).await.0, 400);
    assert_eq!(error(server.get("/jobs?state=done").send().await.unwrap()).await.0, 400);
    let sourcehut = server.client.post(format!("{}/hooks/sourcehut", server.base)).send().await.unwrap();
    assert!(error(sourcehut).await.2.contains("/hooks/gitea"));
    server.stop().await;
}

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

#[tokio::test]
async fn every_answer_is_edn_for_who_wants_edn() {
    let server = Server::start().await;
    let job = server.job("shop").await;
    for (path, status, holds) in [
        ("/jobs".to_owned(), 200, format!(":id \"{job}\"")),
        (format!("/jobs/{job}"), 200, ":state \"queued\"".to_owned()),
        ("/status".to_owned(), 200, ":version \"1.2.3\"".to_owned()),
        ("/nothing".to_owned(), 404, ":code \"not-found\"".to_owned()),
        ("/jobs?limit=x".to_owned(), 400, ":code \"bad-request\"".to_owned()),
    ] {
        let response = server.get(&path).header("Accept", "application/edn").send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/edn"));
        let text = response.text().await.unwrap();
        assert!(text.contains(&holds), "{path}: {text}");
        airplanes::edn::read(&text).unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn deliveries_say_what_became_of_each() {
    let server = Server::start().await;
    let (_, accepted) = server.push("1", B, A).await;
    server.push("1", B, A).await;
    server.hook(Forge::Github, Some("ping"), "2", b"{\"zen\":\"x\"}".to_vec()).await;
    let event = accepted.event.unwrap();
    let planned = Planned { app: app_of("shop"), why: Why::Dependency, wave: 0, after: vec![], targets: vec![] };
    let draft = Draft { apps: vec![planned], notes: vec!["blog is left out".into()] };
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

#[tokio::test]
async fn metrics_count_what_happened() {
    let server = Server::start().await;
    server.push("1", B, A).await;
    server.push("1", B, A).await;
    server.client.post(format!("{}/hooks/gitlab", server.base)).send().await.unwrap();
    let job = server.job("shop").await;
    let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        "airplanes_deliveries_total{forge=\"github\",answer=\"accepted\"} 1",
        "airplanes_deliveries_total{forge=\"github\",answer=\"duplicate\"} 1",
        "airplanes_signature_refusals_total{forge=\"gitlab\"} 1",
        "airplanes_jobs_open{state=\"queued\"} 1",
        "airplanes_events_unplanned 1",
        "airplanes_store_up 1",
        "airplanes_hook_duration_seconds_count{forge=\"github\"} 2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let mut changes = server.store.changes();
    server.end(job).await;
    changes.recv().await.unwrap();
    let ended = "airplanes_jobs_ended_total{outcome=\"failed\"} 1";
    for _ in 0..100 {
        if server.get("/metrics").send().await.unwrap().text().await.unwrap().contains(ended) {
            return server.stop().await;
        }
        tokio::task::yield_now().await;
    }
    panic!("the job's end was not counted");
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
    server.end(job).await;
    let (status, code, text) = error(server.post(&path, "").await).await;
    assert_eq!((status, code.as_str()), (409, "already-ended"));
    assert!(text.contains("failed"), "{text}");
    assert_eq!(error(server.post("/jobs/0000000000000-000/cancel", "").await).await.0, 404);
    assert_eq!(error(server.post("/jobs/x/cancel", "").await).await.0, 400);
    assert_eq!(server.client.post(format!("{}{path}", server.base)).send().await.unwrap().status(), 401);
    server.stop().await;
}

#[tokio::test]
async fn an_app_is_found_by_its_name_and_by_its_owner_and_name() {
    let server = Server::start().await;
    let apps = server.json("/apps").await;
    assert_eq!((apps["apps"][0]["name"].as_str(), &apps["next"]), (Some("anna/shop"), &Value::Null));
    assert_eq!(server.json("/apps/anna/shop").await["trigger"], "push-any");
    for (path, status) in [("/apps/shop", 404), ("/apps/anna/blog", 404), ("/apps/-x", 400)] {
        assert_eq!(error(server.get(path).send().await.unwrap()).await.0, status, "{path}");
    }
    // This pipeline has ended, as it has when the daemon shuts down.
    let response = server.post("/apps/anna/shop/deploy", "").await;
    assert_eq!(response.headers()["retry-after"], "5");
    assert_eq!(error(response).await.1, "ending");
    assert_eq!(error(server.get("/apps/anna/shop/deploy").send().await.unwrap()).await.0, 405);
    server.stop().await;
}

#[tokio::test]
async fn a_plan_is_shown_for_what_is_known_and_nothing_happens() {
    let server = Server::start().await;
    let response = server.post("/plans", r#"{"repo": "anna/shop"}"#).await;
    assert_eq!(response.status(), 200);
    let plan: Value = response.json().await.unwrap();
    assert_eq!(plan["apps"][0]["app"], "anna/shop", "{plan}");
    let (status, _, text) = error(server.post("/plans", "{}").await).await;
    assert!(status == 400 && text.contains("repo"), "{text}");
    assert_eq!(error(server.post("/plans", r#"{"repo": "anna/blog"}"#).await).await.0, 404);
    assert!(server.store.unplanned().is_empty() && server.store.open_jobs().is_empty());
    server.stop().await;
}
