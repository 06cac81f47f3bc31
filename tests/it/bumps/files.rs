//! Which coordinates of a file move, and what else of it stays.

use super::Ask;

/// A file with its `URL`, `OLD` and `NEW` filled in.
fn fill(text: &str, url: &str, old: &str, new: &str) -> String {
    text.replace("URL", &format!(":git/url \"{url}\"")).replace("OLD", old).replace("NEW", new)
}

/// `NEW` stands for a sha that has to move to `NEW`, `OLD` for one that has to stay.
async fn moves(file: &str, text: &str) -> airplanes::bumps::Due {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let old = lib.at("main");
    let new = lib.pushes("a", "1").to_string();
    let before = fill(text, lib.url().as_str(), &old, &old);
    let due = ask.files(&[(file, &before)]).await.unwrap();
    assert_eq!(due.files.len(), 1, "{due:?}");
    assert_eq!(due.files[0].text, fill(text, lib.url().as_str(), &old, &new));
    assert_eq!(due.bumps.len(), text.matches("NEW").count());
    due
}

#[tokio::test]
async fn all_five_alias_keys_are_bumped() {
    let text = ";; kept\n{:deps {acme/a {URL :git/sha \"NEW\"}},,, ; kept\n :aliases\n {:one {:deps {acme/b {URL :git/sha \"NEW\"}}\n\
         :replace-deps {acme/c {URL :sha \"NEW\"}} :extra-deps {c/c {URL :git/sha \"NEW\"}}}\n\
         :two {:override-deps {d {URL :git/sha \"NEW\"}}\t:default-deps {e/e {:git/sha \"NEW\" URL}}\n\
         :deps/other {f/f {URL :git/sha \"OLD\"}}}}}\r\n";
    moves("deps.edn", text).await;
}

#[tokio::test]
async fn one_namespaced_map_does_not_lose_the_rest_of_the_file() {
    let text = "{:deps {acme/a #:git{:url \"THE_PLACE\" :sha \"NEW\"}\n acme/b {URL :git/sha \"NEW\"}}}";
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let old = lib.at("main");
    let new = lib.pushes("a", "1").to_string();
    let with = |sha: &str| fill(text, lib.url().as_str(), sha, sha).replace("THE_PLACE", lib.url().as_str());
    assert_eq!(ask.due(&with(&old)).await.files[0].text, with(&new));
}

#[tokio::test]
async fn bb_edn_tasks_too() {
    let text = "{:deps {acme/a {URL :git/sha \"NEW\"}}\n :tasks {build {:extra-deps {acme/b {URL :git/sha \"NEW\"}}\n :task (shell \"OLD\")}}}";
    moves("bb.edn", text).await;
}

#[tokio::test]
async fn antq_exclude_neil_pinned_and_airplanes_hold_are_left_on_lib_coordinate_and_as_a_key() {
    let text = "{:deps {^:antq/exclude a/a {URL :git/sha \"OLD\"}\n ^:neil/pinned b/b {URL :git/sha \"OLD\"}\n\
         ^:airplanes/hold c/c {URL :git/sha \"OLD\"}\n d/d ^:antq/exclude {URL :git/sha \"OLD\"}\n\
         e/e {URL :git/sha \"OLD\" :neil/pinned true} f/f {URL :git/sha \"OLD\" :airplanes/hold \"why\"}\n\
         #_ g/g #_ {URL :git/sha \"OLD\"} h/h {:local/root \"..\" #_#_:git/sha \"OLD\"}\n i/i {URL :git/sha \"NEW\"}}}";
    let due = moves("deps.edn", text).await;
    assert_eq!(due.kept.iter().filter(|kept| kept.why.to_string() == "it is pinned").count(), 6, "{:?}", due.kept);
}

#[tokio::test]
async fn what_tools_deps_would_not_take_is_told_and_untouched() {
    let text = "{:deps {a/a {URL :git/sha \"{{sha}}\"} b/b {URL :git/sha \"OLD \"}\n c/c {URL :tag \"HEAD\"}\n\
         d/d {URL :git/sha \"OLD\" :sha \"OLD\"} i/i {URL :git/sha \"NEW\"}}}";
    let due = moves("deps.edn", text).await;
    let kept: Vec<(String, usize)> = due.kept.iter().map(|kept| (kept.to_string(), kept.line)).collect();
    assert_eq!(kept.len(), 4, "{kept:?}");
    for (word, line) in [("not made of hex digits", 1), ("missing sha", 2), ("both :sha and :git/sha", 3)] {
        assert!(kept.iter().any(|(words, at)| words.contains(word) && *at == line), "{word}: {kept:?}");
    }
}

#[tokio::test]
async fn one_library_with_two_shas_is_judged_each_by_itself() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let (old, mid) = (lib.at("main"), lib.pushes("a", "1").to_string());
    let new = lib.pushes("a", "2").to_string();
    let text = |a: &str, b: &str| {
        format!(
            "{{:deps {{acme/lib {{:git/url \"{0}\" :git/sha \"{a}\"}}}}\n :aliases {{:old {{:override-deps {{acme/lib {{:git/url \"{0}\" :git/sha \"{b}\"}}}}}}}}}}",
            lib.url()
        )
    };
    let due = ask.due(&text(&mid, &old)).await;
    assert_eq!(due.files[0].text, text(&new, &new));
    let moved: Vec<(&str, &str)> = due.bumps.iter().map(|bump| (bump.from.as_str(), bump.to.as_str())).collect();
    assert_eq!(moved, [(mid.as_str(), new.as_str()), (old.as_str(), new.as_str())]);
}
