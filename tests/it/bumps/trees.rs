//! Which files of a repository count for an app, of a commit and of a folder alike.

use airplanes::bumps::{BumpsError, Tree};
use airplanes::model::Updates;

use super::Ask;
use crate::support::git_remote::Repo;

/// The paths that count, which a commit and a folder have to agree on.
async fn counting(ask: &Ask, repo: &Repo, updates: &Updates) -> Vec<String> {
    let url = repo.url();
    ask.mirrors.fetch(&url, &super::CancellationToken::new()).await.unwrap();
    let sha = repo.at("main").parse().unwrap();
    let commit = Tree::Commit { git: &ask.mirrors, repo: &url.id(), sha }.files(updates).await.unwrap();
    assert_eq!(commit, Tree::Folder(&repo.person).files(updates).await.unwrap());
    commit.into_iter().map(|file| file.path).collect()
}

fn updates(directory: Option<&str>, globs: &[&str]) -> Updates {
    Updates {
        directory: directory.map(str::to_owned),
        deps_files: globs.iter().map(|glob| (*glob).to_owned()).collect(),
        ..Updates::default()
    }
}

fn local(roots: &[&str]) -> String {
    let deps = roots.iter().enumerate().map(|(n, root)| format!("acme/m{n} {{:local/root \"{root}\"}}"));
    format!("{{:deps {{{}}}}}", deps.collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn local_roots_are_followed_in_the_repository_in_circles_and_never_out_of_it() {
    let ask = Ask::new();
    let repo = ask.scene.repo("mono");
    repo.commits("shop/deps.edn", &local(&["../lib", "../../etc", "/etc", "jars/x.jar", "."]));
    repo.commits("lib/deps.edn", &local(&["../lib/deep", "../shop"]));
    repo.commits("lib/deep/deps.edn", "{:aliases {:t {:extra-deps {a/b {:local/root \"../../tests\"}}}}}");
    repo.commits("tests/deps.edn", "{");
    repo.commits("other/deps.edn", &local(&["../alone"]));
    repo.commits("shop/bb.edn", &local(&["../tool"]));
    repo.commits("tool/bb.edn", "{}");
    repo.pushes("tool/deps.edn", "{}");
    assert_eq!(
        counting(&ask, &repo, &updates(Some("shop"), &[])).await,
        ["shop/deps.edn", "shop/bb.edn", "lib/deps.edn", "tool/deps.edn", "lib/deep/deps.edn", "tests/deps.edn"]
    );
    assert_eq!(counting(&ask, &repo, &updates(None, &[])).await, ["deps.edn"]);
    assert!(counting(&ask, &repo, &updates(Some("nowhere"), &[])).await.is_empty());
}

#[tokio::test]
async fn globs_name_files_below_the_directory_each_once() {
    let ask = Ask::new();
    let repo = ask.scene.repo("mono");
    for path in ["a/deps.edn", "a/x/deps.edn", "b/deps.edn", "b/bb.edn", "b/x/deps.dev.edn"] {
        repo.commits(path, "{}");
    }
    repo.pushes("c/deps.edn", &local(&["../a"]));
    let of = async |directory, globs: &[&str]| counting(&ask, &repo, &updates(directory, globs)).await.join(" ");
    assert_eq!(of(None, &["**/deps.edn"]).await, "a/deps.edn a/x/deps.edn b/deps.edn c/deps.edn deps.edn");
    assert_eq!(of(None, &["b/bb.edn", "?/deps.edn"]).await, "b/bb.edn a/deps.edn b/deps.edn c/deps.edn");
    assert_eq!(of(Some("b"), &["**/deps*.edn", "*.edn"]).await, "b/deps.edn b/x/deps.dev.edn b/bb.edn");
    assert_eq!(of(Some("c"), &["deps.edn"]).await, "c/deps.edn a/deps.edn");
}

#[tokio::test]
async fn a_file_that_is_no_text_is_named() {
    let ask = Ask::new();
    let repo = ask.scene.repo("mono");
    std::fs::write(repo.person.join("bb.edn"), b"{:a \"\xff\"}").unwrap();
    let error = Tree::Folder(&repo.person).files(&Updates::default()).await.unwrap_err();
    assert!(matches!(&error, BumpsError::File(words) if words.starts_with("bb.edn: byte 5 is not UTF-8")), "{error}");
}
