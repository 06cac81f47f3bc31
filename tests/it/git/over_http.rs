//! The same over http, with git's own http-backend and a token.

use std::sync::atomic::Ordering;

use airplanes::git::{GitConfig, GitError, Mirrors, PushError, Pushed};
use airplanes::model::Secret;

use super::{bump, go, main_branch};
use crate::support::git_http::GitHttp;
use crate::support::git_remote::Scene;

const TOKEN: &str = "glpat-s3cret";

fn config(scene: &Scene, server: &GitHttp, token: &str) -> GitConfig {
    let mut config = scene.config();
    config.https_tokens =
        [(format!("127.0.0.1:{}", server.port), Secret::new("#credential gitlab-token", token))].into_iter().collect();
    config
}

#[tokio::test]
async fn fetch_and_push_work_over_http_with_a_token() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    let server = GitHttp::start(scene.dir.path().to_owned(), Some(TOKEN)).await;
    let url = server.url("app.git");
    for token in [TOKEN.to_owned(), format!("deploy-user:{TOKEN}"), format!("{TOKEN}\n")] {
        Mirrors::new(config(&scene, &server, &token)).unwrap().heads(&url, &go()).await.unwrap();
    }
    let mirrors = Mirrors::new(config(&scene, &server, TOKEN)).unwrap();
    let head = mirrors.fetch(&url, &go()).await.unwrap().heads.branches[&main_branch()];
    let clone = mirrors.clone_for_job(&url, &main_branch(), head, &scene.path("work")).await.unwrap();
    let ours = bump(&clone, "{:deps {a 1}}\n").await;
    assert_eq!(mirrors.push(&clone, ours, &go()).await.unwrap(), Pushed::Done);
    assert_eq!(repo.at("main"), ours.to_string());
    assert_eq!(mirrors.push(&clone, ours, &go()).await.unwrap(), Pushed::AlreadyThere);
    let config = std::fs::read_to_string(mirrors.path(&url.id()).join("config")).unwrap();
    assert!(!config.contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_token_is_tried_once_and_named_but_not_shown() {
    let scene = Scene::new();
    scene.repo("app");
    let server = GitHttp::start(scene.dir.path().to_owned(), Some(TOKEN)).await;
    let mirrors = Mirrors::new(config(&scene, &server, "wr0ng")).unwrap();
    let error = mirrors.fetch(&server.url("app.git"), &go()).await.unwrap_err();
    assert!(matches!(error, GitError::Auth { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("#credential gitlab-token") && !words.contains("wr0ng"), "{words}");
    assert_eq!(server.wrong_logins.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn no_token_is_said_with_where_to_put_one() {
    let scene = Scene::new();
    scene.repo("app");
    let server = GitHttp::start(scene.dir.path().to_owned(), Some(TOKEN)).await;
    let error = scene.mirrors().heads(&server.url("app.git"), &go()).await.unwrap_err();
    assert!(matches!(error, GitError::Auth { .. }), "{error:?}");
    assert!(error.to_string().contains(":https-tokens"), "{error}");
}

#[tokio::test]
async fn a_public_repository_needs_none_and_one_that_is_not_there_is_not_found() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    let server = GitHttp::start(scene.dir.path().to_owned(), None).await;
    let heads = scene.mirrors().heads(&server.url("app.git"), &go()).await.unwrap();
    assert_eq!(heads.branches[&main_branch()].to_string(), repo.at("main"));
    let error = scene.mirrors().heads(&server.url("nope.git"), &go()).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_by_a_hook_over_http_is_told_in_its_own_words() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    let server = GitHttp::start(scene.dir.path().to_owned(), Some(TOKEN)).await;
    let mirrors = Mirrors::new(config(&scene, &server, TOKEN)).unwrap();
    let url = server.url("app.git");
    let head = mirrors.fetch(&url, &go()).await.unwrap().heads.branches[&main_branch()];
    let clone = mirrors.clone_for_job(&url, &main_branch(), head, &scene.path("work")).await.unwrap();
    let ours = bump(&clone, "{:deps {a 1}}\n").await;
    repo.hook("pre-receive", "#!/bin/sh\necho 'protected branch, ask Anna' >&2\nexit 1\n");
    let error = mirrors.push(&clone, ours, &go()).await.unwrap_err();
    assert!(matches!(error, PushError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("protected branch, ask Anna"), "{error}");

    repo.hook("pre-receive", "#!/bin/sh\nexit 0\n");
    let theirs = repo.pushes("more", "x");
    assert!(matches!(mirrors.push(&clone, ours, &go()).await,
        Err(PushError::Faster { head: Some(head), .. }) if head == theirs));
    assert_eq!(repo.at("main"), theirs.to_string());
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed_with_the_token() {
    let scene = Scene::new();
    scene.repo("app");
    let elsewhere = GitHttp::start(scene.dir.path().to_owned(), Some("another token")).await;
    let to = format!("http://localhost:{}", elsewhere.port);
    let server = GitHttp::start_redirecting(to).await;
    let mirrors = Mirrors::new(config(&scene, &server, TOKEN)).unwrap();
    let error = mirrors.fetch(&server.url("app.git"), &go()).await.unwrap_err();
    assert_eq!(elsewhere.wrong_logins.load(Ordering::Relaxed), 0, "{error}");
    assert!(error.to_string().contains("redirect"), "{error}");
}
