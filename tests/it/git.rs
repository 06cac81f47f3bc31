//! Git against real repositories: mirrors, clones, commits and pushes over files; ssh, http and builds in submodules.

mod damage;
mod for_builds;
mod over_http;
mod over_ssh;
mod slow;

use airplanes::git::{Author, Fetched, GitConfig, GitError, PushError, Pushed, Rev, Stamp, WorkClone};
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
async fn paths_on_this_machine_are_for_apps_that_live_there_and_never_lead_into_the_state() {
    let scene = Scene::new();
    let repo = scene.repo("lib");
    let mirrors = scene.mirrors();
    mirrors.fetch(&repo.url(), &go()).await.unwrap();
    let own = mirrors.path(&repo.url().id());
    let link = scene.dir.path().join("link");
    std::os::unix::fs::symlink(&own, &link).unwrap();
    let hidden = format!("file://{}", own.display()).replace("mirrors", "%6dirrors");
    for url in [own.display().to_string(), format!("file://{}", own.display()), link.display().to_string(), hidden] {
        let refused = mirrors.fetch(&RepoUrl::new(url.as_str()).unwrap(), &go()).await.unwrap_err();
        assert!(matches!(refused, GitError::Closed { .. }) && !refused.is_retryable(), "{url}: {refused:?}");
    }
    let elsewhere = mirrors.reconfigured(GitConfig { local: false, ..mirrors.config().clone() });
    let refused = elsewhere.fetch(&repo.url(), &go()).await.unwrap_err().to_string();
    assert!(refused.contains("no app of deploy.edn has its own repository on it"), "{refused}");
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
async fn a_symlink_or_a_path_that_leads_out_is_not_written() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    std::os::unix::fs::symlink("deps.edn", repo.person.join("bb.edn")).unwrap();
    let head = repo.pushes("a", "1");
    let mirrors = scene.mirrors();
    mirrors.fetch(&repo.url(), &go()).await.unwrap();
    assert_eq!(mirrors.read_file(&repo.url().id(), head, "bb.edn").await.unwrap(), None);
    let clone = mirrors.clone_for_job(&repo.url(), &main_branch(), head, &scene.path("work")).await.unwrap();
    for path in ["bb.edn", "../out", "/out", ".git/config"] {
        let error = clone.commit(&[(path.to_owned(), b"x".to_vec())], "x", &stamp()).await.unwrap_err();
        assert!(path != "bb.edn" || (error.to_string().contains("bb.edn is a symlink") && !error.is_retryable()));
        assert_eq!(clone.head().await.unwrap(), head, "{path}");
    }
    assert!(!scene.path("out").exists());
}

#[tokio::test]
async fn a_clone_whose_run_was_killed_between_commit_and_checkout_is_brought_in_line() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    let mirrors = scene.mirrors();
    let head = mirrors.fetch(&repo.url(), &go()).await.unwrap().heads.branches[&main_branch()];
    let dir = scene.path("work");
    let clone = mirrors.clone_for_job(&repo.url(), &main_branch(), head, &dir).await.unwrap();
    let ours = bump(&clone, "{:deps {a 1}}\n").await;
    git(&dir, &["reset", "-q", "--hard", &head.to_string()]);
    git(&dir, &["update-ref", "refs/heads/main", &ours.to_string()]);
    std::fs::write(dir.join(".git/index.lock"), "").unwrap();
    let again = mirrors.clone_for_job(&repo.url(), &main_branch(), head, &dir).await.unwrap();
    assert_eq!(bump(&again, "{:deps {a 1}}\n").await, ours);
    assert_eq!(std::fs::read_to_string(dir.join("deps.edn")).unwrap(), "{:deps {a 1}}\n");
    assert_eq!(git(&dir, &["status", "--porcelain"]), "");
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

/// Killed at any moment, the next run finds a mirror that is whole or makes it so.
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

#[tokio::test]
async fn a_fetch_that_began_late_enough_is_good_for_others_too_and_an_earlier_one_is_not() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    let (mirrors, url, branch) = (scene.mirrors(), repo.url(), main_branch());
    let before = std::time::Instant::now();
    let first = mirrors.fetch(&url, &go()).await.unwrap();
    let after = std::time::Instant::now();
    let new = repo.pushes("src/a.clj", "(ns a)\n");
    let since = async |at| mirrors.fetch_since(&url, at, &go()).await.unwrap();
    assert_eq!(since(Some(before)).await, Fetched { changed: false, ..first.clone() }, "nothing was asked");
    assert_eq!(since(Some(after)).await.heads.branches[&branch], new);
    let newer = repo.pushes("src/a.clj", "(ns a.b)\n");
    assert_eq!(since(None).await.heads.branches[&branch], newer);
}

#[tokio::test]
async fn what_was_pushed_is_in_the_mirror_without_asking_the_remote_and_only_ever_forward() {
    let scene = Scene::new();
    let repo = scene.repo("app");
    repo.pushes("deps.edn", "{:deps {a 0}}\n");
    let (mirrors, url, branch) = (scene.mirrors(), repo.url(), main_branch());
    let head = mirrors.fetch(&url, &go()).await.unwrap().heads.branches[&branch];
    let clone = mirrors.bare_for_job(&url, &branch, head, &scene.path("work")).await.unwrap();
    let ours = bump(&clone, "{:deps {a 1}}\n").await;
    mirrors.push(&clone, ours, &go()).await.unwrap();
    let id = url.id();
    assert!(!mirrors.contains(&id, ours).await.unwrap());
    // Twice, as after a crash.
    for _ in 0..2 {
        assert!(mirrors.adopt(&clone, ours).await.unwrap());
    }
    std::fs::remove_dir_all(&clone.dir).unwrap();
    let text = mirrors.read_file(&id, ours, "deps.edn").await.unwrap();
    assert_eq!(text.as_deref(), Some(&b"{:deps {a 1}}\n"[..]));
    assert_eq!(mirrors.resolve(&id, Rev::Branch(branch.clone())).await.unwrap(), Some(ours));
    assert!(git(&mirrors.path(&id), &["fsck", "--full", "--strict"]).is_empty());
    assert!(!mirrors.fetch(&url, &go()).await.unwrap().changed, "the remote has nothing that the mirror lacks");
    // Where the branch has gone elsewhere, only the remote can tell.
    let beside = mirrors.bare_for_job(&url, &branch, head, &scene.path("beside")).await.unwrap();
    let other = bump(&beside, "{:deps {a 2}}\n").await;
    assert!(!mirrors.adopt(&beside, other).await.unwrap());
    assert_eq!(mirrors.resolve(&id, Rev::Branch(branch.clone())).await.unwrap(), Some(ours));
    // What is newer there stays.
    let again = mirrors.bare_for_job(&url, &branch, head, &scene.path("again")).await.unwrap();
    assert!(mirrors.adopt(&again, head).await.unwrap());
    assert_eq!(mirrors.resolve(&id, Rev::Branch(branch)).await.unwrap(), Some(ours));
}
