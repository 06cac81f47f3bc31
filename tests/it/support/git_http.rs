//! A git server over http: git's own `http-backend` behind a small server that asks for a token.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;

/// Serves the repositories in `root` on a port of 127.0.0.1 until dropped.
pub struct GitHttp {
    pub port: u16,
    /// How often a login that was not right has been tried.
    pub wrong_logins: Arc<AtomicUsize>,
    /// How often a repository's refs have been asked for.
    pub listings: Arc<AtomicUsize>,
    /// Who takes it for writing keeps what is ready from being answered.
    pub gate: Arc<tokio::sync::RwLock<()>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Server {
    root: PathBuf,
    token: Option<&'static str>,
    wrong_logins: Arc<AtomicUsize>,
    listings: Arc<AtomicUsize>,
    gate: Arc<tokio::sync::RwLock<()>>,
}

impl GitHttp {
    pub async fn start(root: PathBuf, token: Option<&'static str>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wrong_logins = Arc::new(AtomicUsize::new(0));
        let listings = Arc::new(AtomicUsize::new(0));
        let gate = Arc::<tokio::sync::RwLock<()>>::default();
        let (wrong, list) = (wrong_logins.clone(), listings.clone());
        let server = Server { root, token, wrong_logins: wrong, listings: list, gate: gate.clone() };
        let router = Router::new().fallback(serve).with_state(server);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, wrong_logins, listings, gate, task }
    }
    /// Sends every caller to the same path at `to`.
    pub async fn start_redirecting(to: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let send_on = move |request: Request| async move {
            let path = request.uri().path_and_query().unwrap().as_str().to_owned();
            (StatusCode::FOUND, [(header::LOCATION, format!("{to}{path}"))])
        };
        let router = Router::new().fallback(send_on);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, wrong_logins: Arc::default(), listings: Arc::default(), gate: Arc::default(), task }
    }
    pub fn url(&self, path: &str) -> airplanes::model::RepoUrl {
        airplanes::model::RepoUrl::new(format!("http://127.0.0.1:{}/{path}", self.port)).unwrap()
    }
}

impl Drop for GitHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(status: StatusCode) -> Response {
    Response::builder()
        .status(status)
        .header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")
        .body(Body::empty())
        .unwrap()
}

async fn serve(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if parts.uri.path().ends_with("/info/refs") {
        server.listings.fetch_add(1, Ordering::Relaxed);
    }
    let login = text("authorization");
    if let Some(token) = server.token {
        let given = login.strip_prefix("Basic ").and_then(|b| STANDARD.decode(b).ok()).unwrap_or_default();
        if !String::from_utf8_lossy(&given).ends_with(&format!(":{token}")) {
            if !given.is_empty() {
                server.wrong_logins.fetch_add(1, Ordering::Relaxed);
            }
            return answer(StatusCode::UNAUTHORIZED);
        }
    }
    let body: Bytes = axum::body::to_bytes(body, 100 << 20).await.unwrap();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &server.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "http.receivepack")
        .env("GIT_CONFIG_VALUE_0", "true")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let output = child.wait_with_output().await.unwrap().stdout;
    let _ = feed.await;
    drop(server.gate.read().await);
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).unwrap()
}
