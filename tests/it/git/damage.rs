//! Mirrors that a killed run, a disk or a person has damaged, and how they come right again.

use std::path::Path;

use airplanes::git::{GitConfig, GitError, Mirrors, Rev};
use airplanes::model::RepoUrl;

use super::{go, main_branch};
use crate::support::git_remote::{Scene, git};

#[tokio::test]
async fn what_a_killed_run_left_is_swept_at_first_use() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let id = repo.url().id();
    scene.mirrors().fetch(&repo.url(), &go()).await.unwrap();
    let mirror = scene.mirrors().path(&id);
    let left = ["refs/heads/main.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "objects/pack/pack_abc123"];
    for name in left {
        std::fs::write(mirror.join(name), "").unwrap();
    }
    let new = repo.pushes("a", "1");
    let fetched = scene.mirrors().fetch(&repo.url(), &go()).await.unwrap();
    assert!(fetched.changed && !fetched.remade);
    assert_eq!(fetched.heads.branches[&main_branch()], new);
    assert!(left.iter().all(|name| !mirror.join(name).exists()));
}

fn break_it(mirror: &Path, how: &str) {
    let packs = || {
        let entries = std::fs::read_dir(mirror.join("objects/pack")).unwrap().flatten();
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "pack")).collect::<Vec<_>>()
    };
    match how {
        "no HEAD" => std::fs::remove_file(mirror.join("HEAD")).unwrap(),
        "no objects" => std::fs::remove_dir_all(mirror.join("objects")).unwrap(),
        "empty folder" => {
            std::fs::remove_dir_all(mirror).unwrap();
            std::fs::create_dir(mirror).unwrap();
        }
        "garbled ref" => std::fs::write(mirror.join("refs/heads/main"), "xyz\n").unwrap(),
        "zeroed ref" => std::fs::write(mirror.join("refs/heads/main"), [0; 41]).unwrap(),
        "ref to nothing" => std::fs::write(mirror.join("refs/heads/main"), format!("{}\n", "ab".repeat(20))).unwrap(),
        "cut pack" => {
            // A local fetch may write loose objects; a pack is what a network fetch writes.
            git(mirror, &["repack", "-qad"]);
            for pack in packs() {
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o644)).unwrap();
                let length = std::fs::metadata(&pack).unwrap().len();
                std::fs::File::options().write(true).open(&pack).unwrap().set_len(length / 2).unwrap();
            }
        }
        "no pack" => {
            git(mirror, &["repack", "-qad"]);
            packs().iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
        }
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew_whatever_is_wrong_with_it() {
    for how in
        ["no HEAD", "no objects", "empty folder", "garbled ref", "zeroed ref", "ref to nothing", "cut pack", "no pack"]
    {
        let scene = Scene::new();
        let repo = scene.repo("lib");
        let id = repo.url().id();
        scene.mirrors().fetch(&repo.url(), &go()).await.unwrap();
        let head = repo.pushes("a", "1");
        break_it(&scene.mirrors().path(&id), how);
        let mirrors = scene.mirrors();
        let fetched = mirrors.fetch(&repo.url(), &go()).await.unwrap_or_else(|e| panic!("{how}: {e}"));
        assert!(fetched.remade, "{how}");
        assert_eq!(mirrors.resolve(&id, Rev::Branch(main_branch())).await.unwrap(), Some(head), "{how}");
        git(&mirrors.path(&id), &["fsck", "--full"]);
    }
}

#[tokio::test]
async fn damage_that_shows_only_when_reading_is_mended_by_the_next_fetch() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let id = repo.url().id();
    let mirrors = scene.mirrors();
    let head = mirrors.fetch(&repo.url(), &go()).await.unwrap().heads.branches[&main_branch()];
    git(&mirrors.path(&id), &["repack", "-qad"]);
    break_it(&mirrors.path(&id), "cut pack");
    assert!(mirrors.contains(&id, head).await.is_err(), "damage is not taken for absence");
    let error = mirrors.read_file(&id, head, "deps.edn").await.unwrap_err();
    assert!(matches!(error, GitError::Mirror { .. }), "{error:?}");
    assert!(error.is_retryable());
    assert!(mirrors.fetch(&repo.url(), &go()).await.unwrap().remade);
    assert!(mirrors.read_file(&id, head, "deps.edn").await.unwrap().is_some());
}

#[tokio::test]
async fn damage_that_comes_while_the_daemon_runs_is_mended_by_a_fetch_of_something_new() {
    for how in ["cut pack", "no objects", "empty folder", "gone", "garbled ref"] {
        let scene = Scene::new();
        let repo = scene.repo("lib");
        let mirrors = scene.mirrors();
        let mirror = mirrors.path(&repo.url().id());
        mirrors.fetch(&repo.url(), &go()).await.unwrap();
        let new = repo.pushes("deps.edn", "{:deps {a 1}}\n");
        match how {
            "gone" => std::fs::remove_dir_all(&mirror).unwrap(),
            how => break_it(&mirror, how),
        }
        let fetched = mirrors.fetch(&repo.url(), &go()).await.unwrap_or_else(|e| panic!("{how}: {e}"));
        assert_eq!(fetched.heads.branches[&main_branch()], new, "{how}");
        git(&mirror, &["rev-list", "--objects", "--all"]);
    }
}

#[tokio::test]
async fn many_packs_are_joined_at_first_use_and_even_unreachable_commits_stay() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let mirrors = scene.mirrors();
    let id = repo.url().id();
    let old = repo.pushes("a", "old");
    mirrors.fetch(&repo.url(), &go()).await.unwrap();
    git(&repo.person, &["reset", "-q", "--hard", "HEAD^"]);
    git(&repo.person, &["push", "-q", "--force", "origin", "HEAD:main"]);
    for sha in repo.gets_commits(52) {
        std::fs::write(repo.bare.join("refs/heads/main"), format!("{sha}\n")).unwrap();
        mirrors.fetch(&repo.url(), &go()).await.unwrap();
    }
    let packs = || std::fs::read_dir(mirrors.path(&id).join("objects/pack")).unwrap().count();
    assert!(packs() > 100, "{}", packs());
    let fetched = scene.mirrors().fetch(&repo.url(), &go()).await.unwrap();
    assert!(!fetched.changed && !fetched.remade);
    assert!(packs() < 10, "{}", packs());
    assert!(mirrors.contains(&id, old).await.unwrap());
    git(&mirrors.path(&id), &["fsck", "--full"]);
}

#[tokio::test]
async fn a_daemon_killed_while_it_fetches_leaves_nothing_that_stays_broken() {
    use std::process::{Command, Stdio};
    let scene = Scene::new();
    let repo = scene.repo("lib");
    for i in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "git::damage::fetches_until_it_is_killed"])
            .env("AIRPLANES_TEST_URL", repo.url().as_str())
            .env("AIRPLANES_TEST_STATE", scene.path("state"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        repo.pushes(&format!("f{i}"), "x");
        git(&repo.person, &["push", "-q", "origin", &format!("HEAD:refs/heads/b{i}")]);
        tokio::time::sleep(std::time::Duration::from_millis(i * 7 % 23)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let mirrors = scene.mirrors();
        let heads = mirrors.fetch(&repo.url(), &go()).await.unwrap().heads;
        assert_eq!(heads.branches[&main_branch()].to_string(), repo.at("main"));
        git(&mirrors.path(&repo.url().id()), &["fsck", "--full"]);
    }
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn fetches_until_it_is_killed() {
    let url = RepoUrl::new(std::env::var("AIRPLANES_TEST_URL").unwrap()).unwrap();
    let config = GitConfig::new(std::env::var("AIRPLANES_TEST_STATE").unwrap());
    let mirrors = Mirrors::new(config).unwrap();
    loop {
        let _ = mirrors.fetch(&url, &go()).await;
    }
}

#[tokio::test]
async fn a_clone_from_a_damaged_mirror_says_so_and_works_after_the_next_fetch() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let mirrors = scene.mirrors();
    let head = mirrors.fetch(&repo.url(), &go()).await.unwrap().heads.branches[&main_branch()];
    break_it(&mirrors.path(&repo.url().id()), "cut pack");
    let dir = scene.path("work");
    let error = mirrors.clone_for_job(&repo.url(), &main_branch(), head, &dir).await.unwrap_err();
    assert!(matches!(error, GitError::Mirror { .. }) && error.is_retryable(), "{error:?}");
    assert!(mirrors.fetch(&repo.url(), &go()).await.unwrap().remade);
    mirrors.clone_for_job(&repo.url(), &main_branch(), head, &dir).await.unwrap();
}
