//! A sha follows the branch that holds it: never backwards, never sideways, and told in words.

use airplanes::bumps::BumpsError;

use super::{Ask, branch, force, goes_to, pushes_to};
use crate::support::git_remote::git;

fn says(told: &Option<Result<String, String>>, words: &[&str]) {
    let why = told.as_ref().unwrap().as_ref().unwrap_err();
    for word in words {
        assert!(why.contains(word), "{word}: {why}");
    }
}

#[tokio::test]
async fn a_sha_on_another_branch_follows_that_branch_and_not_the_default_one() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let old = lib.pushes("a", "1");
    let side = pushes_to(&lib, "2.x", "b");
    let along = pushes_to(&lib, "2.x", "c");
    goes_to(&lib, "main");
    let new = lib.pushes("a", "2");
    assert_eq!(ask.of(&lib, &side.to_string()).await, Some(Ok(along.to_string())));
    assert_eq!(ask.of(&lib, &along.to_string()).await, None);
    // Where both hold it, it is the default branch.
    assert_eq!(ask.of(&lib, &old.to_string()).await, Some(Ok(new.to_string())));
    assert_eq!(ask.of(&lib, &new.to_string()).await, None);
}

#[tokio::test]
async fn a_sha_on_two_branches_and_not_the_default_is_left_alone_and_says_which_to_name() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let both = pushes_to(&lib, "1.x", "a");
    let one = pushes_to(&lib, "1.x", "b");
    git(&lib.person, &["checkout", "-q", &both.to_string()]);
    let two = pushes_to(&lib, "2.x", "c");
    says(&ask.of(&lib, &both.to_string()).await, &["branches 1.x, 2.x", ":track {acme/lib {:branch \"1.x\"}}"]);
    // An app that lives on one of them says enough, and so does a push.
    ask.lives_on = vec![Some(branch("2.x"))];
    assert_eq!(ask.of(&lib, &both.to_string()).await, Some(Ok(two.to_string())));
    ask.lives_on.clear();
    ask.pushed(&lib, "1.x", one);
    assert_eq!(ask.of(&lib, &both.to_string()).await, Some(Ok(one.to_string())));
}

#[tokio::test]
async fn a_push_to_a_branch_that_a_dependency_does_not_follow_leaves_it_alone() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let old = lib.pushes("a", "1");
    let feature = pushes_to(&lib, "feature", "b");
    ask.pushed(&lib, "feature", feature);
    says(&ask.of(&lib, &old.to_string()).await, &["of branch main", &feature.short()]);
    // The default branch takes it in.
    force(&lib, &feature, "main");
    assert_eq!(ask.of(&lib, &old.to_string()).await, Some(Ok(feature.to_string())));
}

#[tokio::test]
async fn a_push_moves_to_what_was_pushed_and_not_beyond() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let old = lib.pushes("a", "1");
    let pushed = lib.pushes("a", "2");
    let later = lib.pushes("a", "3");
    ask.pushed(&lib, "main", pushed);
    assert_eq!(ask.of(&lib, &old.to_string()).await, Some(Ok(pushed.to_string())));
    says(&ask.of(&lib, &later.to_string()).await, &["newer than", &pushed.short()]);
}

#[tokio::test]
async fn two_lines_that_were_joined_since_lead_to_what_stands_on_both() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let left = lib.pushes("a", "1");
    git(&lib.person, &["checkout", "-q", "HEAD^"]);
    let right = pushes_to(&lib, "right", "b");
    goes_to(&lib, "main");
    git(&lib.person, &["merge", "-q", "--no-edit", "right"]);
    let joined = lib.pushes("c", "joined");
    ask.pushed(&lib, "main", left);
    assert_eq!(ask.of(&lib, &right.to_string()).await, Some(Ok(joined.to_string())));
}

#[tokio::test]
async fn a_rewritten_history_leaves_the_sha_and_says_what_to_do() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let base = lib.at("main").parse().unwrap();
    let gone = lib.pushes("a", "1");
    assert_eq!(ask.of(&lib, &gone.to_string()).await, None);
    ask.mirrors.fetch(&lib.url(), &super::CancellationToken::new()).await.unwrap();
    force(&lib, &base, "main");
    // Its branch went back: there is nothing to go forward to.
    says(&ask.of(&lib, &gone.to_string()).await, &["taken back", "by hand", &base.short()]);
    let new = lib.pushes("b", "2");
    says(&ask.of(&lib, &gone.to_string()).await, &["on no branch", "rewritten", "by hand once", &new.to_string()]);
    // Where it is the push that asks, the job has to fail with it.
    ask.pushed(&lib, "main", new);
    let text = format!("{{:deps\n {{acme/lib {{:git/url \"{}\" :git/sha \"{gone}\"}}}}}}", lib.url());
    let stuck = ask.files(&[("deps.edn", &text)]).await.unwrap_err();
    assert!(matches!(&stuck, BumpsError::Stuck(kept) if kept.line == 2), "{stuck:?}");
    assert!(stuck.to_string().starts_with("acme/lib in deps.edn: "), "{stuck}");
}

#[tokio::test]
async fn an_orphaned_sha_whose_commit_the_remote_no_longer_shows_is_told() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let head = lib.at("main");
    let never = "0123456789012345678901234567890123456789";
    says(&ask.of(&lib, never).await, &[never, "not in", "never pushed", &head]);
}

#[tokio::test]
async fn a_repository_that_can_t_be_asked_is_told_and_holds_up_no_other() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let old = lib.at("main");
    let new = lib.pushes("a", "1");
    let text = format!(
        "{{:deps {{acme/gone {{:git/url \"file:///nonexistent/gone\" :git/sha \"{old}\"}}\n acme/lib {{:git/url \"{}\" :git/sha \"{old}\"}}}}}}",
        lib.url()
    );
    let due = ask.due(&text).await;
    assert_eq!(due.bumps.len(), 1);
    assert_eq!(due.bumps[0].to, new.to_string());
    assert!(due.kept[0].to_string().contains("acme/gone in deps.edn: no repository at file:///nonexistent/gone"));
}
