//! A stand-in for whoever receives webhooks: it checks their signature and shape, and answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use airplanes::forge;
use airplanes::model::{Forge, ForgeSecrets, Secret};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// The secret of every receiver.
pub const SECRET: &str = "whsec_c2VjcmV0IG9mIGEgcmVjZWl2ZXI=";

/// How the next call is answered.
#[derive(Debug, Clone)]
pub enum Next {
    Status(u16),
    Redirect(String),
    /// Not at all.
    Silence,
}

/// A call that came.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Value,
    pub at: Instant,
}

#[derive(Default)]
struct Heard {
    calls: Vec<Call>,
    next: VecDeque<Next>,
}

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

impl Receiver {
    /// Answers 200 unless it is told otherwise.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self { address: listener.local_addr().unwrap(), heard: Arc::default() };
        let router = Router::new().fallback(hear).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        receiver
    }
    pub fn url(&self) -> String {
        format!("http://{}/hook?key=in-the-url", self.address)
    }
    /// The entry of `:notify` for it.
    pub fn entry(&self) -> String {
        format!("{{:webhook \"{}\" :secret \"{SECRET}\"}}", self.url())
    }
    /// What the next calls are answered.
    pub fn will(&self, next: impl IntoIterator<Item = Next>) {
        self.heard.lock().unwrap().next.extend(next);
    }
    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.heard.lock().unwrap().calls.clone()
    }
    /// The notices so far: each has been checked.
    pub fn notices(&self) -> Vec<Value> {
        self.calls().iter().map(checked).collect()
    }
    /// Waits until so many calls have come.
    pub async fn has(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.calls().len() < count {
            assert!(Instant::now() < deadline, "{count} calls did not come: {:#?}", self.notices());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.notices()
    }
}

async fn hear(State(receiver): State<Receiver>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    if method == Method::POST {
        // By the raw bytes, as receivers do; the library that checks is the one for incoming webhooks.
        let secrets = ForgeSecrets { secrets: Vec::new(), signing_tokens: vec![Secret::new("test", SECRET)] };
        let signed = forge::verify(Forge::Gitlab, &headers, &body, &secrets, jiff::Timestamp::now());
        if let Err(refused) = signed {
            return (StatusCode::UNAUTHORIZED, format!("{refused:?}")).into_response();
        }
    }
    let next = {
        let mut heard = receiver.heard.lock().unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        heard.calls.push(Call { method, headers, body, at: Instant::now() });
        heard.next.pop_front()
    };
    match next.unwrap_or(Next::Status(200)) {
        Next::Status(status) => (StatusCode::from_u16(status).unwrap(), "said the receiver").into_response(),
        Next::Redirect(to) => (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response(),
        Next::Silence => std::future::pending().await,
    }
}

/// A notice as a receiver may rely on it.
fn checked(call: &Call) -> Value {
    let notice = call.body.clone();
    assert_eq!(call.method, Method::POST);
    assert_eq!(call.headers["content-type"], "application/json");
    assert!(call.headers["user-agent"].to_str().unwrap().starts_with("airplanes/"));
    assert_eq!(notice["version"], 1);
    assert_eq!(notice["id"], call.headers["webhook-id"].to_str().unwrap());
    assert!(notice["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    for text in ["event", "title", "text", "content", "next"] {
        assert!(notice[text].as_str().is_some_and(|text| !text.is_empty()), "{text}: {notice:#}");
    }
    assert!(notice["text"].as_str().unwrap().starts_with(notice["title"].as_str().unwrap()));
    assert!(notice["content"].as_str().unwrap().chars().count() <= 2000);
    let known = [
        "version",
        "id",
        "at",
        "event",
        "title",
        "detail",
        "next",
        "url",
        "push",
        "apps",
        "more_apps",
        "held_back",
        "earlier",
        "text",
        "content",
        "allowed_mentions",
    ];
    for key in notice.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{key} is not in the README");
    }
    notice
}
