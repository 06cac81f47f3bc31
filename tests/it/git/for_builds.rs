//! The git configuration of a build, judged by the real git.

use std::path::{Path, PathBuf};
use std::process::Command;

use airplanes::git::Mirrors;
use airplanes::model::{RepoId, RepoUrl};

use super::go;
use crate::support::git_remote::{Scene, git};

/// Git as a build runs it: this configuration and no other, no network, no questions.
fn build_git(config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", config.parent().unwrap())
        .env("GIT_CONFIG_GLOBAL", config)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    command
}

/// Where git would go for `url`.
fn goes_to(config: &Path, url: &str) -> String {
    let output = build_git(config, &["ls-remote", "--get-url", url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn written(scene: &Scene, mirrors: &Mirrors, repos: &[&[&str]]) -> PathBuf {
    let repos: Vec<(RepoId, Vec<RepoUrl>)> = repos
        .iter()
        .map(|urls| {
            let urls: Vec<RepoUrl> = urls.iter().map(|url| RepoUrl::new(*url).unwrap()).collect();
            (urls[0].id(), urls)
        })
        .collect();
    let file = scene.path("gitconfig");
    std::fs::write(&file, mirrors.build_git_config(&repos)).unwrap();
    file
}

fn id(url: &str) -> RepoId {
    RepoUrl::new(url).unwrap().id()
}

#[tokio::test]
async fn every_form_of_a_url_leads_to_its_mirror_and_nothing_that_begins_alike_does() {
    let scene = Scene::new();
    let mirrors = scene.mirrors();
    let config = written(
        &scene,
        &mirrors,
        &[
            &["https://github.com/acme/lib"],
            &["https://github.com/acme/lib-ours.git"],
            &["https://github.com/acme/lib.core"],
            &["git@github.com:acme/acme.git", "https://github.com/Acme/Acme"],
            &["ssh://me@git.example.com:2222/x/y.git"],
        ],
    );
    let mirror = |url: &str| format!("file://{}", mirrors.path(&id(url)).display());
    for (of, urls) in [
        (
            "https://github.com/acme/lib",
            vec![
                "https://github.com/acme/lib",
                "https://github.com/acme/lib.git",
                "http://github.com/acme/lib",
                "http://github.com/acme/lib.git",
                "git://github.com/acme/lib.git",
                "ssh://git@github.com/acme/lib",
                "ssh://git@github.com/acme/lib.git",
                "git@github.com:acme/lib",
                "git@github.com:acme/lib.git",
            ],
        ),
        (
            "https://github.com/acme/lib-ours",
            vec!["https://github.com/acme/lib-ours", "git@github.com:acme/lib-ours.git"],
        ),
        (
            "https://github.com/acme/lib.core",
            vec!["https://github.com/acme/lib.core", "https://github.com/acme/lib.core.git"],
        ),
        (
            "https://github.com/acme/acme",
            vec!["https://github.com/acme/acme", "https://github.com/Acme/Acme.git", "git@github.com:Acme/Acme"],
        ),
        (
            "https://git.example.com/x/y",
            vec![
                "ssh://me@git.example.com:2222/x/y.git",
                "ssh://me@git.example.com:2222/x/y",
                "me@git.example.com:x/y",
                "git@git.example.com:x/y.git",
                "https://git.example.com/x/y.git",
            ],
        ),
    ] {
        for url in urls {
            assert_eq!(goes_to(&config, url), mirror(of), "{url}");
        }
    }
    for url in [
        "https://github.com/acme/lib-other",
        "https://github.com/acme/lib-other.git",
        "https://github.com/acme/lib-ours-too",
        "https://github.com/acme/lib2",
        "https://github.com/acme/library",
        "https://github.com/acme/LIBX",
        "https://github.com/acme/libX",
        "https://github.com/acme/lib_x",
        "https://github.com/acme/lib.js",
        "https://github.com/acme/lib.github.io",
        "https://github.com/acme/lib.gitx.git",
        "https://github.com/acme/lib.core.async",
        "https://github.com/acme/acme.github.io",
        "https://github.com/acme/lib/wiki",
        "https://github.com/acme/lib~x",
        "https://github.com/acme/li",
        "git@github.com:acme/lib-other.git",
        "ssh://git@github.com/acme/lib-other",
        "ssh://me@git.example.com:2222/x/yy",
        "ssh://me@git.example.com:22/x/y",
        "https://gitlab.com/acme/lib",
    ] {
        assert_eq!(goes_to(&config, url), url);
    }
}

#[tokio::test]
async fn a_build_clones_and_fetches_its_dependencies_as_clj_does_with_no_network() {
    let scene = Scene::new();
    let (lib, other) = (scene.repo("lib"), scene.repo("lib-other"));
    let mirrors = scene.mirrors();
    let (lib_url, other_url) = (lib.url(), other.url());
    mirrors.fetch(&lib_url, &go()).await.unwrap();
    let config = written(&scene, &mirrors, &[&[lib_url.as_str()]]);
    assert_eq!(goes_to(&config, other_url.as_str()), other_url.as_str());

    // The commands of tools.gitlibs.
    let run = |args: &[&str]| {
        let output = build_git(&config, args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {args:?}: {said}");
        assert_eq!(said, "", "a build's log is not to be troubled");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let cached = scene.path("gitlibs/_repos/lib");
    let cached_text = cached.to_str().unwrap();
    run(&["clone", "--quiet", "--mirror", lib_url.as_str(), cached_text]);
    // The remote itself is not asked: it moves on, the mirror does not.
    let before = run(&["--git-dir", cached_text, "rev-parse", "main"]);
    let new = lib.pushes("a", "1");
    let fetch = ["--git-dir", cached_text, "fetch", "--quiet", "--all", "--tags", "--prune"];
    run(&fetch);
    assert_eq!(run(&["--git-dir", cached_text, "rev-parse", "main"]), before);
    mirrors.fetch(&lib_url, &go()).await.unwrap();
    run(&fetch);
    assert_eq!(run(&["--git-dir", cached_text, "rev-parse", "main"]), new.to_string());
    let tree = scene.path("gitlibs/libs/lib");
    let work = ["--git-dir", cached_text, "worktree", "add", "--force", "--detach"];
    run(&[work.as_slice(), &["--quiet", tree.to_str().unwrap(), &new.to_string()]].concat());
    assert!(tree.join("a").exists());
    let plain = scene.path("other");
    run(&["clone", "--quiet", other_url.as_str(), plain.to_str().unwrap()]);
    assert_eq!(git(&plain, &["rev-parse", "HEAD"]), other.at("main"));
}

#[tokio::test]
async fn a_state_directory_with_odd_characters_is_found_all_the_same() {
    let remote = Scene::new();
    let lib = remote.repo("lib");
    let scene = Scene::new();
    let mut config = scene.config();
    config.state = scene.path("a b%20\"ü'\\x");
    let mirrors = Mirrors::new(config).unwrap();
    mirrors.fetch(&lib.url(), &go()).await.unwrap();
    let config = written(&scene, &mirrors, &[&[lib.url().as_str()]]);
    git(&lib.bare, &["branch", "-m", "main", "moved"]);
    let output = build_git(&config, &["ls-remote", lib.url().as_str()]).output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(listed.contains("refs/heads/main"), "{listed} {}", String::from_utf8_lossy(&output.stderr));
}
