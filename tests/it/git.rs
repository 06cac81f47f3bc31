//! Git against real repositories: mirrors, clones, commits and pushes over files; ssh, http and builds in submodules.

mod for_builds;
mod over_http;
mod over_ssh;
mod slow;

use std::path::Path;

use airplanes::git::{Author, Fetched, GitError, PushError, Pushed, Rev, Stamp, WorkClone};
use airplanes::model::{Branch, RepoUrl, Sha};
use tokio_util::sync::CancellationToken;

use crate::support::git_remote::{Scene, git};

fn main_branch() -> Branch {
    Branch::new("main").unwrap()
}

fn go() -> CancellationToken {
    CancellationToken::new()
}

fn stamp() -> Stamp {
    let author = Author { name: "airplanes".into(), email: "airplanes@example.com".into() };
    Stamp { author, time: "2026-03-01T12:00:00Z".parse().unwrap() }
}

fn deps(text: &str) -> Vec<(String, Vec<u8>)> {
    vec![("deps.edn".to_owned(), text.as_bytes().to_vec())]
}

async fn bump(clone: &WorkClone, text: &str) -> Sha {
    clone.commit(&deps(text), "Update\n\nAirplanes-Job: x\n", &stamp()).await.unwrap()
}

#[tokio::test]
async fn a_mirror_is_made_and_fetches_only_what_is_new() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let mirrors = scene.mirrors();
    let (url, id) = (repo.url(), repo.url().id());

    let heads = mirrors.heads(&url, &go()).await.unwrap();
    assert_eq!(heads.head_branch, Some(main_branch()));
    assert!(!mirrors.path(&id).exists(), "listing clones nothing");

    let first = mirrors.fetch(&url, &go()).await.unwrap();
    assert!(first.changed && !first.remade);
    assert_eq!(first.heads, heads);
    let again = mirrors.fetch(&url, &go()).await.unwrap();
    assert_eq!(again, Fetched { changed: false, ..first.clone() });

    let old = heads.branches[&main_branch()];
    let new = repo.pushes("src/a.clj", "(ns a)\n");
    git(&repo.person, &["tag", "-a", "v1", "-m", "one"]);
    git(&repo.person, &["push", "-q", "origin", "v1"]);
    let next = mirrors.fetch(&url, &go()).await.unwrap();
    assert!(next.changed);
    assert_eq!(next.heads.branches[&main_branch()], new);
    assert_eq!(next.heads.tags["v1"], new, "annotated tags are peeled");

    assert_eq!(mirrors.resolve(&id, Rev::Branch(main_branch())).await.unwrap(), Some(new));
    assert_eq!(mirrors.resolve(&id, Rev::Tag("v1".into())).await.unwrap(), Some(new));
    assert_eq!(mirrors.resolve(&id, Rev::Prefix(new.short())).await.unwrap(), Some(new));
    assert_eq!(mirrors.resolve(&id, Rev::Prefix("HEAD".into())).await.unwrap(), None);
    assert_eq!(mirrors.resolve(&id, Rev::Branch(Branch::new("nope").unwrap())).await.unwrap(), None);
    assert_eq!(mirrors.head_branch(&id).await.unwrap(), Some(main_branch()));
    assert!(mirrors.is_ancestor(&id, old, new).await.unwrap());
    assert!(!mirrors.is_ancestor(&id, new, old).await.unwrap());
    assert_eq!(mirrors.branches_with(&id, old).await.unwrap(), vec![main_branch()]);
    assert_eq!(mirrors.read_file(&id, old, "deps.edn").await.unwrap().unwrap(), b"{:deps {}}\n");
    assert_eq!(mirrors.read_file(&id, old, "src/a.clj").await.unwrap(), None);
    assert_eq!(mirrors.read_file(&id, new, "src").await.unwrap(), None);
    let info = mirrors.commit_info(&id, new).await.unwrap();
    assert_eq!(
        (info.subject.as_str(), info.author.as_str(), info.time.as_second()),
        ("write src/a.clj", "Anna", 1_700_000_000)
    );
    assert_eq!(info.parents, vec![old]);
    assert_eq!(mirrors.tree_id(&id, new).await.unwrap().to_string(), repo.at("main^{tree}"));
}

#[tokio::test]
async fn a_clone_has_the_history_the_branch_and_the_real_origin() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    repo.pushes("sub/deps.edn", "{}\n");
    let head = repo.pushes("run.sh", "true\n");
    let mirrors = scene.mirrors();
    mirrors.fetch(&repo.url(), &go()).await.unwrap();
    let found = mirrors.find_files(&repo.url().id(), head, &["deps.edn"]).await.unwrap();
    assert_eq!(found, ["deps.edn", "sub/deps.edn"]);

    let dir = scene.path("work");
    let clone = mirrors.clone_for_job(&repo.url(), &main_branch(), head, &dir).await.unwrap();
    assert_eq!(git(&dir, &["rev-list", "--count", "HEAD"]), "3");
    assert_eq!(git(&dir, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!(git(&dir, &["rev-parse", "--abbrev-ref", "HEAD"]), "main");
    assert_eq!(git(&dir, &["remote", "get-url", "origin"]), repo.url().as_str());
    assert_eq!(git(&dir, &["rev-parse", "origin/main"]), head.to_string());
    git(&dir, &["fsck"]);

    let kept = std::fs::metadata(dir.join(".git/config")).unwrap().modified().unwrap();
    mirrors.clone_for_job(&repo.url(), &main_branch(), head, &dir).await.unwrap();
    assert_eq!(std::fs::metadata(dir.join(".git/config")).unwrap().modified().unwrap(), kept, "a clean one is kept");
    std::fs::write(dir.join("left-over"), "x").unwrap();
    mirrors.clone_for_job(&repo.url(), &main_branch(), head, &dir).await.unwrap();
    assert!(!dir.join("left-over").exists(), "one that is not clean is made anew");
    assert_eq!(clone.head().await.unwrap(), head);

    let missing: Sha = "00000000000000000000000000000000000000ff".parse().unwrap();
    let refused = mirrors.clone_for_job(&repo.url(), &main_branch(), missing, &dir).await;
    assert!(matches!(refused, Err(GitError::NoCommit { .. })));
}

#[tokio::test]
async fn the_same_input_makes_the_same_commit_and_the_tree_holds_the_bytes_given() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    repo.commits(".gitattributes", "*.edn text eol=crlf\n");
    let head = repo.pushes("bin/run", "true\n");
    let mirrors = scene.mirrors();
    mirrors.fetch(&repo.url(), &go()).await.unwrap();
    let mut made = Vec::new();
    for name in ["one", "two"] {
        let dir = scene.path(name);
        let clone = mirrors.clone_for_job(&repo.url(), &main_branch(), head, &dir).await.unwrap();
        let sha = bump(&clone, "{:deps {a 1}}\n").await;
        assert_eq!(clone.read_file("deps.edn").await.unwrap().unwrap(), b"{:deps {a 1}}\n");
        assert_eq!(git(&dir, &["status", "--porcelain"]), "");
        assert_eq!(
            git(&dir, &["log", "-1", "--format=%an %ae %aI %cn %cI"]),
            "airplanes airplanes@example.com 2026-03-01T12:00:00Z airplanes 2026-03-01T12:00:00Z"
        );
        assert_eq!(git(&dir, &["diff", "--stat", "HEAD^", "HEAD", "--name-only"]), "deps.edn");
        assert_eq!(bump(&clone, "{:deps {a 1}}\n").await, sha, "the same bytes again are no commit");
        made.push((sha, clone.tree_id(sha).await.unwrap()));
    }
    assert_eq!(made[0], made[1]);
}

#[tokio::test]
async fn a_push_goes_through_once_and_is_known_the_second_time() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    let mirrors = scene.mirrors();
    let head = mirrors.fetch(&repo.url(), &go()).await.unwrap().heads.branches[&main_branch()];
    let clone = mirrors.clone_for_job(&repo.url(), &main_branch(), head, &scene.path("work")).await.unwrap();
    let ours = bump(&clone, "{:deps {a 1}}\n").await;
    assert_eq!(mirrors.push(&clone, ours, &go()).await.unwrap(), Pushed::Done);
    assert_eq!(repo.at("main"), ours.to_string());
    assert_eq!(mirrors.push(&clone, ours, &go()).await.unwrap(), Pushed::AlreadyThere);

    git(&repo.person, &["pull", "-q", "--rebase", "origin", "main"]);
    let theirs = repo.pushes("more", "x");
    assert_eq!(mirrors.push(&clone, ours, &go()).await.unwrap(), Pushed::AlreadyThere, "theirs stands on ours");
    assert_eq!(repo.at("main"), theirs.to_string());
}

#[tokio::test]
async fn a_push_after_someone_faster_loses_nothing_and_names_their_head() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    let mirrors = scene.mirrors();
    let head = mirrors.fetch(&repo.url(), &go()).await.unwrap().heads.branches[&main_branch()];
    let clone = mirrors.clone_for_job(&repo.url(), &main_branch(), head, &scene.path("work")).await.unwrap();
    let ours = bump(&clone, "{:deps {a 1}}\n").await;
    let theirs = repo.pushes("more", "x");
    match mirrors.push(&clone, ours, &go()).await {
        Err(PushError::Faster { head, .. }) => assert_eq!(head, Some(theirs)),
        other => panic!("{other:?}"),
    }
    assert_eq!(repo.at("main"), theirs.to_string());
    assert!(mirrors.contains(&repo.url().id(), theirs).await.unwrap(), "their head is in the mirror to go on from");
}

#[tokio::test]
async fn a_rewritten_branch_is_followed_and_the_old_commits_stay() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let old = repo.pushes("a", "1");
    git(&repo.person, &["push", "-q", "origin", "HEAD:refs/heads/gone", "HEAD:refs/heads/a"]);
    let mirrors = scene.mirrors();
    let id = repo.url().id();
    mirrors.fetch(&repo.url(), &go()).await.unwrap();
    git(&repo.person, &["reset", "-q", "--hard", "HEAD^"]);
    let new = repo.commits("b", "2");
    git(&repo.person, &["push", "-q", "--force", "origin", "HEAD:main", ":gone", ":a"]);
    git(&repo.person, &["push", "-q", "origin", "HEAD:refs/heads/a/b"]);
    let fetched = mirrors.fetch(&repo.url(), &go()).await.unwrap();
    let names: Vec<&str> = fetched.heads.branches.keys().map(Branch::as_str).collect();
    assert_eq!(names, ["a/b", "main"]);
    assert_eq!(mirrors.resolve(&id, Rev::Branch(main_branch())).await.unwrap(), Some(new));
    assert_eq!(mirrors.resolve(&id, Rev::Branch(Branch::new("gone").unwrap())).await.unwrap(), None);
    assert!(mirrors.contains(&id, old).await.unwrap(), "no object is lost");
    assert!(!mirrors.is_ancestor(&id, old, new).await.unwrap());
}

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

/// Killed at any moment, the next run finds a mirror that is whole or makes it so.
#[tokio::test]
async fn a_daemon_killed_while_it_fetches_leaves_nothing_that_stays_broken() {
    use std::process::{Command, Stdio};
    let scene = Scene::new();
    let repo = scene.repo("lib");
    for i in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "git::fetches_until_it_is_killed"])
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
    let config = airplanes::git::GitConfig::new(std::env::var("AIRPLANES_TEST_STATE").unwrap());
    let mirrors = airplanes::git::Mirrors::new(config).unwrap();
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

#[tokio::test]
async fn odd_branch_names_and_hundreds_of_tags_are_no_trouble() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let odd = Branch::new("we\"ird'/b;ü").unwrap();
    git(&repo.person, &["push", "-q", "origin", &format!("HEAD:refs/heads/{odd}")]);
    let head = repo.at("main");
    let tags: String = (0..500).map(|i| format!("{head} refs/tags/v{i}\n")).collect();
    std::fs::write(repo.bare.join("packed-refs"), tags).unwrap();
    let mirrors = scene.mirrors();
    let fetched = mirrors.fetch(&repo.url(), &go()).await.unwrap();
    assert_eq!(fetched.heads.tags.len(), 500);
    assert!(!mirrors.fetch(&repo.url(), &go()).await.unwrap().changed);
    let dir = scene.path("work");
    let clone = mirrors.clone_for_job(&repo.url(), &odd, head.parse().unwrap(), &dir).await.unwrap();
    assert_eq!(git(&dir, &["describe", "--tags", "--always"]).chars().next(), Some('v'));
    let ours = bump(&clone, "{:deps {a 1}}\n").await;
    assert_eq!(mirrors.push(&clone, ours, &go()).await.unwrap(), Pushed::Done);
    assert_eq!(repo.at(&format!("refs/heads/{odd}")), ours.to_string());
    assert_eq!(repo.at("main"), head);
}

#[tokio::test]
async fn many_fetches_of_one_mirror_at_once_leave_it_whole() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let mirrors = scene.mirrors();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..8 {
        repo.pushes(&format!("f{i}"), "x");
        let (mirrors, url) = (mirrors.clone(), repo.url());
        tasks.spawn(async move { mirrors.fetch(&url, &go()).await });
    }
    while let Some(done) = tasks.join_next().await {
        assert!(!done.unwrap().unwrap().remade);
    }
    let last = mirrors.fetch(&repo.url(), &go()).await.unwrap();
    assert_eq!(last.heads.branches[&main_branch()].to_string(), repo.at("main"));
    git(&mirrors.path(&repo.url().id()), &["fsck", "--full"]);
}

#[tokio::test]
async fn a_remote_that_is_not_there_is_said_so() {
    let scene = Scene::new();
    let url = RepoUrl::new(format!("file://{}", scene.path("nope.git").display())).unwrap();
    let error = scene.mirrors().fetch(&url, &go()).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
    assert!(error.to_string().contains(url.as_str()), "{error}");
    assert!(!scene.mirrors().path(&url.id()).exists());
    let error = scene.mirrors().resolve(&url.id(), Rev::Branch(main_branch())).await.unwrap_err();
    assert!(matches!(error, GitError::NoMirror { .. }), "{error:?}");
}

#[tokio::test]
async fn an_empty_repository_has_no_heads_and_a_branch_like_an_option_is_left_out() {
    let scene = Scene::new();
    let bare = scene.path("empty.git");
    std::fs::create_dir(&bare).unwrap();
    git(&bare, &["init", "-q", "--bare"]);
    let url = RepoUrl::new(format!("file://{}", bare.display())).unwrap();
    assert!(scene.mirrors().fetch(&url, &go()).await.unwrap().heads.branches.is_empty());

    let repo = scene.repo("lib");
    std::fs::write(repo.bare.join("refs/heads/-x"), format!("{}\n", repo.at("main"))).unwrap();
    let heads = scene.mirrors().fetch(&repo.url(), &go()).await.unwrap().heads;
    assert_eq!(heads.branches.keys().map(Branch::as_str).collect::<Vec<_>>(), ["main"]);
    assert!(Branch::new("-x").is_err());
    assert!(RepoUrl::new("-x").is_err());
    assert!(RepoUrl::new("ssh://-oProxyCommand=touch/x").is_err());
}

#[tokio::test]
async fn a_canceled_call_ends_at_once() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let stop = go();
    stop.cancel();
    let error = scene.mirrors().fetch(&repo.url(), &stop).await.unwrap_err();
    assert!(matches!(error, GitError::Canceled { .. }), "{error:?}");
}
