//! The HTTP door with a real store, a real socket and signed calls.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

mod full_disk;
mod hooks;
mod jobs;
mod server;

use serde_json::Value;

use self::server::{A, B, Server, error};

#[tokio::test]
async fn without_the_token_only_what_names_nothing_is_told() {
    let server = Server::start().await;
    server.job("shop").await;
    server.push("1", B, A).await;
    let paths = ["/metrics", "/jobs", "/jobs/x", "/jobs/x/events", "/jobs/x/logs/build", "/deliveries", "/apps"];
    for path in paths.into_iter().chain(["/doctor", "/gc", "/backup"]) {
        let (status, code, text) = error(server.open(path).send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (401, "unauthorized"), "{path}");
        assert!(text.contains("operator-token") && text.contains("AIRPLANES_TOKEN"), "{text}");
        let wrong = server.open(path).bearer_auth("operators-tokem").send().await.unwrap();
        assert_eq!(wrong.status(), 401, "{path}");
    }
    for path in ["/gc", "/notify/test", "/doctor/hook", "/plans", "/apps/shop/deploy", "/jobs/x/cancel"] {
        let (status, ..) = error(server.client.post(format!("{}{path}", server.base)).send().await.unwrap()).await;
        assert_eq!(status, 401, "POST {path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.open(path).send().await.unwrap().status(), 200, "{path}");
    }
    let short = server.open("/status").send().await.unwrap().text().await.unwrap();
    assert!(short.contains("\"apps\": 1"), "{short}");
    assert!(short.contains("1.2.3") && !short.contains("shop") && !short.contains("acme"), "{short}");
    assert_eq!(server.open("/status").bearer_auth("x").send().await.unwrap().status(), 401);
    let long = server.get("/status").send().await.unwrap().text().await.unwrap();
    assert!(long.contains("shop") && long.contains("acme"), "{long}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_backup_is_taken_at_a_time_and_one_that_breaks_off_is_no_answer() {
    let server = Server::start().await;
    let state = server.folder.path().join("store");
    std::fs::create_dir_all(state.join("logs/x")).unwrap();
    std::fs::write(state.join("logs/x/build.1"), vec![b'x'; 16 << 20]).unwrap();
    let first = server.get("/backup").send().await.unwrap();
    assert_eq!(first.status(), 200);
    let second = error(server.get("/backup").send().await.unwrap()).await;
    assert_eq!((second.0, second.1.as_str()), (409, "busy"));
    let whole = first.bytes().await.unwrap();
    assert!(String::from_utf8_lossy(&whole[whole.len() - 200..]).contains("\nend "));
    // Where the token should be is a folder, which can't be read.
    std::fs::create_dir(state.join("operator-token")).unwrap();
    loop {
        // It may break off before its head is sent, too: that is no answer either.
        let Ok(answer) = server.get("/backup?logs=false").send().await else { break };
        // The first one's turn ends a moment after its last byte.
        if answer.status() != 409 {
            assert!(answer.bytes().await.is_err(), "half a backup looks whole");
            break;
        }
    }
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
