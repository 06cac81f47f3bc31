//! A sha follows the branch that holds it: never backwards, never sideways, and told in words.

use std::collections::BTreeMap;

use super::{Ask, branch, force, goes_to, pushes_to};
use crate::support::git_remote::{Repo, git};

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
async fn of_pushes_to_two_branches_a_dependency_takes_the_one_of_its_own() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let fork = lib.pushes("a", "1");
    let side = pushes_to(&lib, "2.x", "b");
    let along = pushes_to(&lib, "2.x", "c");
    goes_to(&lib, "main");
    let main = lib.pushes("a", "2");
    ask.pushed(&lib, "2.x", along);
    ask.pushed(&lib, "main", main);
    assert_eq!(ask.of(&lib, &side.to_string()).await, Some(Ok(along.to_string())));
    assert_eq!(ask.of(&lib, &fork.to_string()).await, Some(Ok(main.to_string())), "both hold it");
    ask.wants.values_mut().for_each(|wants| wants.reverse());
    assert_eq!(ask.of(&lib, &side.to_string()).await, Some(Ok(along.to_string())));
    assert_eq!(ask.of(&lib, &fork.to_string()).await, Some(Ok(main.to_string())), "whichever came last");
    // Neither was pushed to its branch, which takes one of them in.
    git(&lib.person, &["checkout", "-q", &fork.to_string()]);
    let third = pushes_to(&lib, "3.x", "d");
    says(&ask.of(&lib, &third.to_string()).await, &["of branch 3.x"]);
    git(&lib.person, &["merge", "-q", "--no-edit", "2.x"]);
    let joined = lib.pushes("e", "joined");
    ask.mirrors.fetch(&lib.url(), &super::CancellationToken::new()).await.unwrap();
    assert_eq!(ask.of(&lib, &third.to_string()).await, Some(Ok(joined.to_string())));
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
    // Also where it is the push that asks, and the rest is bumped.
    let other = ask.scene.repo("other");
    let old = other.pushes("a", "1");
    ask.pushed(&other, "main", other.pushes("a", "2"));
    ask.pushed(&lib, "main", new);
    let coord = |repo: &Repo, name, sha| format!("acme/{name} {{:git/url \"{}\" :git/sha \"{sha}\"}}", repo.url());
    let text = format!("{{:deps\n {{{}\n {}}}}}", coord(&lib, "lib", gone), coord(&other, "other", old));
    let due = ask.files(&[("deps.edn", &text)]).await.unwrap();
    let [kept] = due.kept.as_slice() else { panic!("{due:?}") };
    assert!(kept.line == 2 && kept.why.is_lost() && kept.named, "{kept:?}");
    assert_eq!(due.bumps.iter().map(|bump| bump.lib.as_str()).collect::<Vec<_>>(), ["acme/other"]);
    // A branch that is known to have held it was deleted: nobody rewrote anything.
    ask.had = BTreeMap::from([(branch("feat"), gone)]);
    says(&ask.of(&lib, &gone.to_string()).await, &["branch feat", "was deleted", "by hand once", &new.to_string()]);
}

#[tokio::test]
async fn where_the_branch_that_it_was_seen_on_was_rewritten_it_goes_nowhere_though_another_branch_has_it() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let base = lib.at("main").parse().unwrap();
    let dropped = lib.pushes("a", "1");
    let unmerged = pushes_to(&lib, "wip", "b");
    ask.mirrors.fetch(&lib.url(), &super::CancellationToken::new()).await.unwrap();
    goes_to(&lib, "main");
    force(&lib, &base, "main");
    let new = lib.pushes("c", "2");
    // Nobody has looked before: all that is known is where it is now.
    assert_eq!(ask.of(&lib, &dropped.to_string()).await, Some(Ok(unmerged.to_string())));
    ask.seen = Some((branch("main"), dropped));
    let words = ["on the branch main", "rewritten", "by hand once", &new.to_string()];
    says(&ask.of(&lib, &dropped.to_string()).await, &words);
    ask.pushed(&lib, "wip", unmerged);
    says(&ask.of(&lib, &dropped.to_string()).await, &words);
    // A branch that was merged before it was rewritten is done: the default one has what it had.
    ask.wants.clear();
    (ask.all, ask.seen) = (true, Some((branch("wip"), unmerged)));
    git(&lib.person, &["merge", "-q", "--no-edit", &unmerged.to_string()]);
    let merged = lib.pushes("d", "3");
    force(&lib, &base, "wip");
    assert_eq!(ask.of(&lib, &unmerged.to_string()).await, Some(Ok(merged.to_string())));
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
