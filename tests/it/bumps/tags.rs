//! A tagged coordinate follows tags: tag and sha in one edit, forward only, and a tag that was moved is not believed.

use airplanes::bumps::Due;
use airplanes::deps::replay;
use airplanes::model::{Sha, Track};

use super::{Ask, File, branch, goes_to, pushes_to};
use crate::support::git_remote::{Repo, git};

/// The person tags a commit and pushes the tag.
fn tags(repo: &Repo, name: &str, sha: &Sha) {
    git(&repo.person, &["tag", name, &sha.to_string()]);
    git(&repo.person, &["push", "-q", "origin", name]);
}

fn text(repo: &Repo, tag: &str, sha: &str) -> String {
    format!("{{:deps {{acme/lib {{:git/url \"{}\", :git/tag \"{tag}\" :git/sha \"{sha}\"}}}}}} ; kept", repo.url())
}

fn moved(due: &Due) -> Option<(&str, &str)> {
    due.bumps.first().map(|bump| (bump.from.as_str(), bump.to.as_str()))
}

fn why(due: &Due) -> String {
    due.kept.iter().map(|kept| kept.why.to_string()).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn tag_and_sha_move_together_in_one_edit_and_an_annotated_tag_is_peeled() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    tags(&lib, "v1.9", &one);
    let two = lib.pushes("a", "2");
    git(&lib.person, &["tag", "-a", "v1.10", "-m", "ten"]);
    git(&lib.person, &["push", "-q", "origin", "v1.10"]);
    lib.pushes("a", "no tag yet");
    // A short sha keeps its length, and a full one stays full.
    for (old, new) in
        [(one.short(), two.to_string()[..one.short().len()].to_owned()), (one.to_string(), two.to_string())]
    {
        let before = text(&lib, "v1.9", &old);
        let due = ask.due(&before).await;
        assert_eq!(due.files[0].text, text(&lib, "v1.10", &new));
        assert_eq!(moved(&due), Some(("v1.9", "v1.10")));
        assert_eq!(due.bumps[0].sha, Some((old, new)));
        assert!(due.kept.is_empty(), "{due:?}");
        // From what is written down of it the same bytes come out again.
        assert_eq!(replay(&before, "deps.edn", &due.bumps).unwrap(), due.files[0].text);
        assert!(ask.due(&due.files[0].text).await.bumps.is_empty());
    }
    // The older spelling stays as it is.
    let legacy = text(&lib, "v1.9", &one.short()).replace(":git/tag", ":tag").replace(":git/sha", ":sha");
    let due = ask.due(&legacy).await;
    assert_eq!(due.files[0].text, legacy.replace("v1.9", "v1.10").replace(&one.short(), &two.short()));
}

#[tokio::test]
async fn a_moved_tag_is_told_and_not_followed() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    tags(&lib, "v1", &one);
    let two = lib.pushes("a", "2");
    assert!(ask.due(&text(&lib, "v1", &one.short())).await.kept.is_empty());
    git(&lib.person, &["tag", "-f", "v1", &two.to_string()]);
    git(&lib.person, &["push", "-q", "--force", "origin", "v1"]);
    tags(&lib, "v2", &two);
    let due = ask.due(&text(&lib, "v1", &one.short())).await;
    assert!(due.bumps.is_empty());
    assert!(why(&due).contains(&format!("tag v1 names {two} now and not {}", one.short())), "{due:?}");
    // And one that is gone.
    git(&lib.person, &["push", "-q", "origin", ":v1"]);
    let due = ask.due(&text(&lib, "v1", &one.short())).await;
    assert!(due.bumps.is_empty() && why(&due).contains("does not have (any more)"), "{due:?}");
}

#[tokio::test]
async fn pre_releases_only_from_a_pre_release() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    tags(&lib, "v1.0.0", &one);
    let two = lib.pushes("a", "2");
    tags(&lib, "v2.0.0-alpha1", &two);
    assert_eq!(moved(&ask.due(&text(&lib, "v1.0.0", &one.short())).await), None);
    let three = lib.pushes("a", "3");
    tags(&lib, "v2.0.0-alpha2", &three);
    let due = ask.due(&text(&lib, "v2.0.0-alpha1", &two.short())).await;
    assert_eq!(moved(&due), Some(("v2.0.0-alpha1", "v2.0.0-alpha2")));
    tags(&lib, "v2.0.0", &three);
    let due = ask.due(&text(&lib, "v2.0.0-alpha2", &three.short())).await;
    assert_eq!(moved(&due), Some(("v2.0.0-alpha2", "v2.0.0")));
    assert_eq!(due.bumps[0].sha, Some((three.short(), three.short())), "the same commit");
    let due = ask.due(&text(&lib, "v1.0.0", &one.short())).await;
    assert_eq!(moved(&due), Some(("v1.0.0", "v2.0.0")));
}

#[tokio::test]
async fn a_higher_tag_on_another_line_is_told_and_not_taken() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let fork = pushes_to(&lib, "2.x", "b");
    tags(&lib, "v2.0.0", &fork);
    goes_to(&lib, "main");
    let one = lib.pushes("a", "1");
    tags(&lib, "v1.0.0", &one);
    let due = ask.due(&text(&lib, "v1.0.0", &one.short())).await;
    assert!(due.bumps.is_empty());
    assert!(why(&due).contains("v2.0.0 is on another line than v1.0.0"), "{due:?}");
    let two = lib.pushes("a", "2");
    tags(&lib, "v1.1.0", &two);
    let due = ask.due(&text(&lib, "v1.0.0", &one.short())).await;
    assert_eq!(moved(&due), Some(("v1.0.0", "v1.1.0")));
    assert!(why(&due).contains("v2.0.0 is on another line"), "{due:?}");
}

#[tokio::test]
async fn tags_of_another_module_are_not_ours_and_a_tag_without_a_number_stays() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    tags(&lib, "a-v1", &one);
    tags(&lib, "stable", &one);
    let two = lib.pushes("a", "2");
    tags(&lib, "b-v2", &two);
    assert!(ask.due(&text(&lib, "a-v1", &one.short())).await.bumps.is_empty());
    tags(&lib, "a-v1.0.1", &two);
    assert_eq!(moved(&ask.due(&text(&lib, "a-v1", &one.short())).await), Some(("a-v1", "a-v1.0.1")));
    let due = ask.due(&text(&lib, "stable", &one.short())).await;
    assert!(due.bumps.is_empty() && why(&due).contains("tells no version"), "{due:?}");
}

#[tokio::test]
async fn an_exclusion_of_one_version_skips_it_and_takes_the_next_tag() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    tags(&lib, "v1", &one);
    tags(&lib, "v2", &lib.pushes("a", "2"));
    let three = lib.pushes("a", "3");
    tags(&lib, "v3", &three);
    let pinned = |tags: &str| {
        text(&lib, "v1", &one.short()).replace("acme/lib", &format!("^{{:antq/exclude [{tags}]}} acme/lib"))
    };
    assert_eq!(moved(&ask.due(&pinned("\"v3\"")).await), Some(("v1", "v2")));
    assert_eq!(moved(&ask.due(&pinned("\"v2\" \"v3\"")).await), None);
    // Of a sha too, which is told.
    let sha = format!(
        "{{:deps {{^{{:antq/exclude \"{}\"}} acme/lib {{:git/url \"{}\" :git/sha \"{one}\"}}}}}}",
        three.short(),
        lib.url()
    );
    let due = ask.due(&sha).await;
    assert!(due.bumps.is_empty() && why(&due).contains("pinned against"), "{due:?}");
}

#[tokio::test]
async fn a_short_sha_grows_when_it_would_be_ambiguous_in_that_repository() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    tags(&lib, "v1", &one);
    // So many commits that two share their first four digits.
    let many = lib.gets_commits(1000);
    let shares = |sha: &&Sha| many.iter().filter(|other| other.to_string()[..4] == sha.to_string()[..4]).count() > 1;
    let twin = *many.iter().find(shares).expect("of 1000 commits two share four digits");
    git(&lib.bare, &["update-ref", "refs/heads/many", &many.last().unwrap().to_string()]);
    git(&lib.bare, &["tag", "v2", &twin.to_string()]);
    let due = ask.due(&text(&lib, "v1", &one.to_string()[..4])).await;
    // What git says of it is what counts.
    let least = git(&lib.bare, &["rev-parse", "--short=4", &twin.to_string()]);
    assert!(least.len() > 4, "{least}");
    assert_eq!(due.bumps.first().and_then(|bump| bump.sha.clone()).map(|(_, sha)| sha), Some(least.clone()), "{due:?}");
    // A branch of that name would be taken for it.
    git(&lib.bare, &["branch", &least, "main"]);
    let due = ask.due(&text(&lib, "v1", &one.to_string()[..4])).await;
    assert_eq!(due.bumps[0].sha.as_ref().unwrap().1, twin.to_string()[..least.len() + 1]);
}

#[tokio::test]
async fn track_names_the_branch_or_tags_and_wins() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let base = lib.pushes("a", "1");
    tags(&lib, "v1", &base);
    let ahead = pushes_to(&lib, "2.x", "b");
    goes_to(&lib, "main");
    let tagged = lib.pushes("a", "2");
    tags(&lib, "v2", &tagged);
    lib.pushes("a", "3");
    let name = "acme/lib".parse().unwrap();
    ask.track.insert(name, Track::Branch(branch("2.x")));
    assert_eq!(ask.of(&lib, &base.to_string()).await, Some(Ok(ahead.to_string())));
    // What that branch does not stand on is told, and nothing goes sideways.
    let told = ask.of(&lib, &tagged.to_string()).await.unwrap().unwrap_err();
    assert!(told.contains("branch 2.x that :track names is not built on") && told.contains("by hand"), "{told}");
    // Tags too are of that branch only.
    assert_eq!(moved(&ask.due(&text(&lib, "v1", &base.short())).await), None);

    ask.track.insert("acme/lib".parse().unwrap(), Track::Tags);
    assert_eq!(ask.of(&lib, &base.to_string()).await, Some(Ok(tagged.to_string())), "not the head");
    assert_eq!(ask.of(&lib, &tagged.to_string()).await, None);

    ask.track.insert("acme/lib".parse().unwrap(), Track::Branch(branch("3.x")));
    let told = ask.of(&lib, &base.to_string()).await.unwrap().unwrap_err();
    assert!(told.contains("has no branch 3.x") && told.contains("correct its :track"), "{told}");
}

#[tokio::test]
async fn a_push_of_a_tag_moves_what_follows_tags_and_no_branch() {
    let mut ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    tags(&lib, "v1", &one);
    let two = lib.pushes("a", "2");
    tags(&lib, "v2", &two);
    ask.all = false;
    ask.wants.insert(lib.url().id(), vec![super::Want::Tag]);
    assert_eq!(moved(&ask.due(&text(&lib, "v1", &one.short())).await), Some(("v1", "v2")));
    assert_eq!(ask.of(&lib, &one.to_string()).await, None);
}

#[test]
fn one_library_at_two_tags_is_made_again_each_as_it_was() {
    let text = "{:deps {a/a {:git/url \"/x\" :git/tag \"v1\" :git/sha \"aaaaaaa\"}} :aliases {:o {:deps {a/a {:git/url \"/x\" :git/tag \"v1\" :git/sha \"aaaaaaa\"}}}}}";
    let file = File { path: "deps.edn".to_owned(), text: text.to_owned() };
    let bump = airplanes::model::Bump {
        lib: "a/a".parse().unwrap(),
        file: file.path.clone(),
        repo: airplanes::model::RepoUrl::new("/x").unwrap().id(),
        from: "v1".to_owned(),
        to: "v2".to_owned(),
        sha: Some(("aaaaaaa".to_owned(), "bbbbbbb".to_owned())),
    };
    let again = replay(&file.text, &file.path, &[bump.clone(), bump]).unwrap();
    assert_eq!(again, text.replace("v1", "v2").replace("aaaaaaa", "bbbbbbb"));
}
