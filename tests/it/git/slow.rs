//! Remotes that hang, and callers who have had enough.

use std::time::{Duration, Instant};

use airplanes::git::{GitError, Mirrors};
use airplanes::model::RepoUrl;
use tokio::net::TcpListener;

use super::go;
use crate::support::git_remote::Scene;

/// Takes connections and never says a word.
async fn silent() -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    (port, task)
}

fn url(scheme: &str, port: u16) -> RepoUrl {
    RepoUrl::new(format!("{scheme}://127.0.0.1:{port}/x/y.git")).unwrap()
}

#[tokio::test]
async fn a_hung_remote_is_given_up_at_the_deadline_and_the_next_caller_too() {
    let scene = Scene::new();
    let (port, task) = silent().await;
    let mut config = scene.config();
    config.deadline = Duration::from_secs(1);
    let mirrors = Mirrors::new(config).unwrap();
    for scheme in ["ssh", "http", "git"] {
        let began = Instant::now();
        let url = url(scheme, port);
        let error = mirrors.heads(&url, &go()).await.unwrap_err();
        assert!(matches!(error, GitError::TimedOut { .. }), "{scheme}: {error:?}");
        assert!(error.is_retryable() && error.to_string().contains(url.as_str()), "{error}");
        let error = mirrors.fetch(&url, &go()).await.unwrap_err();
        assert!(matches!(error, GitError::TimedOut { .. }), "{scheme}: {error:?}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    task.abort();
}

#[tokio::test]
async fn a_caller_who_cancels_is_let_go_at_once() {
    let scene = Scene::new();
    let (port, task) = silent().await;
    let mirrors = scene.mirrors();
    let stop = go();
    let canceler = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        canceler.cancel();
    });
    let error = mirrors.fetch(&url("ssh", port), &stop).await.unwrap_err();
    assert!(matches!(error, GitError::Canceled { .. }), "{error:?}");
    task.abort();
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_the_networks_fault_and_worth_a_retry() {
    let scene = Scene::new();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for scheme in ["ssh", "http"] {
        let error = scene.mirrors().heads(&url(scheme, port), &go()).await.unwrap_err();
        assert!(matches!(error, GitError::Network { .. }) && error.is_retryable(), "{error:?}");
    }
}

/// libgit2's own time-outs are the process's, so they are tried in a process of their own.
#[test]
fn libgit2_itself_gives_up_a_silent_remote_so_that_no_thread_stays_behind() {
    let own = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "git::slow::in_a_process_of_its_own"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&own.stdout);
    assert!(own.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn in_a_process_of_its_own() {
    let scene = Scene::new();
    let (port, task) = silent().await;
    let mut config = scene.config();
    config.silence = Duration::from_secs(1);
    let mirrors = Mirrors::new(config).unwrap();
    for scheme in ["ssh", "http", "git"] {
        let began = Instant::now();
        let error = mirrors.heads(&url(scheme, port), &go()).await.unwrap_err();
        assert!(matches!(error, GitError::Network { .. }), "{scheme}: {error:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{scheme}");
    }
    task.abort();
}
