//! What tools.deps would refuse is refused in its words, and what it would take is taken as it takes it.

use airplanes::bumps::{Asking, File, Preflight};
use airplanes::model::{RepoUrl, Sha};
use tokio_util::sync::CancellationToken;

use super::{Ask, pushes_to};
use crate::support::git_remote::{Repo, git};

async fn look(ask: &Ask, text: &str) -> Preflight {
    let app = RepoUrl::new("file:///nowhere/app").unwrap().id();
    let stop = CancellationToken::new();
    let asking = Asking { git: &ask.mirrors, url_of: &|_| None, stop: &stop };
    let file = File { path: "deps.edn".to_owned(), text: text.to_owned() };
    let base = "0123456789012345678901234567890123456789".parse().unwrap();
    asking.preflight(&[file], (&app, base)).await.unwrap()
}

/// `lib {URL SHA REST}`
fn dep(lib: &str, repo: &Repo, sha: &Sha, rest: &str) -> String {
    format!("acme/{lib} {{:git/url \"{}\" :git/sha \"{sha}\" {rest}}}", repo.url())
}

fn deps(all: &[String]) -> String {
    format!("{{:deps {{{}}}}}", all.join("\n "))
}

fn chosen(found: &Preflight) -> Vec<(String, String)> {
    assert!(found.faults.is_empty() && found.unknown.is_empty(), "{found:?}");
    found.libs.iter().map(|locked| (locked.lib.clone(), locked.place.sha.short())).collect()
}

#[tokio::test]
async fn what_tools_deps_would_refuse_is_refused_in_its_words() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    git(&lib.person, &["tag", "v1"]);
    git(&lib.person, &["push", "-q", "origin", "v1"]);
    let two = lib.pushes("a", "2");
    let (url, short) = (lib.url(), one.short());
    let never = "f".repeat(40);
    let cases = [
        (format!(":git/sha \"{short}\""), format!("Library acme/lib has prefix sha {short}, use full sha or add tag")),
        (
            format!(":git/sha \"{two}\" :git/tag \"v1\""),
            "Library acme/lib has sha and tag that point to different commits".into(),
        ),
        (
            format!(":git/sha \"{}\" :git/tag \"v1\"", two.short()),
            "Library acme/lib has sha and tag that point to different commits".into(),
        ),
        (format!(":git/sha \"{one}\" :git/tag \"v9\""), "Library acme/lib has invalid tag: v9".into()),
        // A branch is no tag.
        (format!(":git/sha \"{two}\" :git/tag \"main\""), "Library acme/lib has invalid tag: main".into()),
        (format!(":git/sha \"{one}\" :sha \"{one}\""), "git coord has both :sha and :git/sha for acme/lib".into()),
        (":git/tag \"v1\"".into(), "Library acme/lib has coord with missing sha".into()),
        (format!(":git/sha \"{never}\""), format!("Commit not found for acme/lib in repo {url} at {never}")),
        (
            format!(":git/sha \"{one}\" :deps/root \"modules/no\""),
            "Manifest file not found for acme/lib in coordinate".into(),
        ),
    ];
    for (rest, words) in cases {
        let found = look(&ask, &format!("{{:deps\n {{acme/lib {{:git/url \"{url}\" {rest}}}}}}}")).await;
        assert_eq!(found.faults.len(), 1, "{rest}: {found:?}");
        assert!(
            found.faults[0].to_string().starts_with(&format!("deps.edn:2: {words}")),
            "{rest}: {}",
            found.faults[0]
        );
    }
    for good in [
        format!(":sha \"{}\" :tag \"v1\"", short),
        format!(":git/sha \"{}\" :tag \"v1\"", short),
        format!(":git/sha \"{}\"", one.to_string().to_uppercase()),
    ] {
        let found = look(&ask, &format!("{{:deps {{acme/lib {{:git/url \"{url}\" {good}}}}}}}")).await;
        assert_eq!(chosen(&found), [("acme/lib".to_owned(), one.short())], "{good}");
    }
    let gone =
        look(&ask, &format!("{{:deps {{acme/lib {{:git/url \"file:///nowhere/lib\" :git/sha \"{one}\"}}}}}}")).await;
    assert!(gone.faults.is_empty() && gone.unknown.len() == 1, "what can't be reached is nobody's fault: {gone:?}");
}

#[tokio::test]
async fn the_descendant_wins_a_top_dependency_hides_and_unrelated_ones_are_named_with_both_paths() {
    let ask = Ask::new();
    let [base, left, right] = ["base", "left", "right"].map(|name| ask.scene.repo(name));
    let old = base.pushes("a", "1");
    let new = base.pushes("a", "2");
    git(&base.person, &["checkout", "-q", &old.to_string()]);
    let aside = pushes_to(&base, "aside", "b");
    let of = |repo: &Repo, sha: &Sha| repo.pushes("deps.edn", &deps(&[dep("base", &base, sha, "")]));
    let (l, r) = (of(&left, &new), of(&right, &old));
    let both = |l: &Sha, r: &Sha| vec![dep("left", &left, l, ""), dep("right", &right, r, "")];
    let sha = |found: &Preflight| chosen(found).into_iter().find(|(lib, _)| lib == "acme/base").map(|(_, sha)| sha);
    assert_eq!(sha(&look(&ask, &deps(&both(&l, &r))).await), Some(new.short()));
    // Two levels down, of lines that parted.
    let parted = of(&right, &aside);
    let found = look(&ask, &deps(&both(&l, &parted))).await;
    assert_eq!(found.faults.len(), 1, "{found:?}");
    let words = found.faults[0].to_string();
    for word in [
        "deps.edn:2: No known ancestor relationship between git versions for acme/base",
        &format!("{} at {new} (by acme/left > acme/base)", base.url()),
        &format!("{} at {aside} (by acme/right > acme/base)", base.url()),
        "Name acme/base in the top-level :deps",
    ] {
        assert!(words.contains(word), "{word}: {words}");
    }
    // Named at the top, older or not, it wins and nothing is compared.
    let mut all = both(&l, &parted);
    all.push(dep("base", &base, &old, ""));
    assert_eq!(sha(&look(&ask, &deps(&all)).await), Some(old.short()));
    // By another name it is another library.
    let other = right.pushes("deps.edn", &deps(&[dep("other", &base, &aside, "")]));
    let libs: Vec<String> =
        chosen(&look(&ask, &deps(&both(&l, &other))).await).into_iter().map(|(lib, _)| lib).collect();
    assert_eq!(libs, ["acme/base", "acme/left", "acme/other", "acme/right"]);
    // An exclusion cuts a path.
    let cut = [dep("left", &left, &l, ":exclusions [acme/base]"), dep("right", &right, &parted, "")];
    assert_eq!(sha(&look(&ask, &deps(&cut)).await), Some(aside.short()));
}

#[tokio::test]
async fn deps_root_and_local_roots_lead_to_the_right_manifest() {
    let ask = Ask::new();
    let (base, mono) = (ask.scene.repo("base"), ask.scene.repo("mono"));
    let head = base.pushes("a", "1");
    mono.commits("core/deps.edn", &deps(&[dep("base", &base, &head, "")]));
    let sha = mono
        .pushes("web/deps.edn", "{:deps {acme/core {:local/root \"../core\"} acme/far {:local/root \"../../out\"}}}");
    let found = look(&ask, &deps(&[dep("web", &mono, &sha, ":deps/root \"web\"")])).await;
    assert_eq!(chosen(&found), [("acme/base".to_owned(), head.short()), ("acme/web".to_owned(), sha.short())]);
    assert_eq!(found.libs[0].via, ["acme/web", "acme/core"]);
    assert!(chosen(&look(&ask, &deps(&[dep("web", &mono, &sha, "")])).await).len() == 1, "its root names nothing");
    // A folder that the commit does not have.
    let sha = mono.pushes("web/deps.edn", "{:deps\n {acme/gone {:local/root \"../gone\"}}}");
    let found = look(&ask, &deps(&[dep("web", &mono, &sha, ":deps/root \"web\"")])).await;
    let [fault] = found.faults.as_slice() else { panic!("{found:?}") };
    assert_eq!((fault.line, fault.words.as_str()), (2, "Local lib acme/gone not found: gone"));
}

#[tokio::test]
async fn a_deps_edn_that_is_no_map_and_a_local_root_without_a_manifest_are_told_as_tools_deps_does() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    for (text, shown) in [("", "nil"), ("; later\n", "nil"), ("[1 2]", "[1 2]")] {
        let words = format!("Error reading deps deps.edn. Found: {shown}, expected: map?");
        let found = look(&ask, text).await;
        assert_eq!(found.faults.iter().map(|fault| &fault.words).collect::<Vec<_>>(), [&words], "{text}");
    }
    let blank = lib.pushes("deps.edn", "");
    let found = look(&ask, &deps(&[dep("lib", &lib, &blank, "")])).await;
    assert!(found.faults[0].words.contains("Found: nil, expected: map?"), "{found:?}");
    lib.commits("old/src/a.clj", "");
    lib.commits("libs/a.jar", "");
    let text = "{:deps {acme/old {:local/root \"../old\"}
                        acme/jar {:local/root \"../libs/a.jar\"}
                        acme/pom {:local/root \"../old\" :deps/manifest :pom}}}";
    let sha = lib.pushes("web/deps.edn", text);
    let found = look(&ask, &deps(&[dep("web", &lib, &sha, ":deps/root \"web\"")])).await;
    let [fault] = found.faults.as_slice() else { panic!("{found:?}") };
    assert_eq!((fault.line, fault.words.as_str()), (1, "Manifest file not found for acme/old in coordinate old"));
}

#[tokio::test]
async fn a_dep_whose_own_deps_edn_is_broken_is_named() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let sha = lib.pushes("deps.edn", "{:deps\n {]}");
    let found = look(&ask, &deps(&[dep("lib", &lib, &sha, "")])).await;
    let words = found.faults[0].to_string();
    assert!(words.contains(&sha.short()) && words.contains("deps.edn:2:"), "{words}");
    // A bump is not to blame for what was there before it.
    assert!(found.new_faults(&look(&ask, &deps(&[dep("lib", &lib, &sha, "")])).await).is_empty());
    assert_eq!(found.new_faults(&Preflight::default()).len(), 1);
}

#[tokio::test]
async fn aliases_and_local_roots_inside_a_git_dep_are_in_what_a_build_gets_and_no_fault_of_theirs_counts() {
    let ask = Ask::new();
    let [lib, deep, tool, pair] = ["lib", "deep", "tool", "pair"].map(|name| ask.scene.repo(name));
    let d = deep.pushes("a", "1");
    lib.commits("modules/m/deps.edn", &deps(&[dep("deep", &deep, &d, "")]));
    let l = lib.pushes("deps.edn", "{:deps {acme/m {:local/root \"modules/m\"}}}");
    let p = pair.pushes("a", "1");
    let t = tool.pushes("deps.edn", &deps(&[dep("pair", &pair, &p, "")]));
    let never: Sha = "f".repeat(40).parse().unwrap();
    let text = format!(
        "{{:deps {{{}}}\n :aliases {{:build {{:deps {{{}}}}} :odd {{:extra-deps {{{}}}}}}}}}",
        dep("lib", &lib, &l, ""),
        dep("tool", &tool, &t, ""),
        dep("pair", &pair, &never, "")
    );
    let found = look(&ask, &text).await;
    let expected = [("acme/deep", &d), ("acme/lib", &l), ("acme/pair", &p), ("acme/tool", &t)];
    let mut chosen = chosen(&found);
    chosen.sort();
    assert_eq!(chosen, expected.map(|(lib, sha)| (lib.to_owned(), sha.short())));
    let via = |lib: &str| found.libs.iter().find(|locked| locked.lib == lib).unwrap().via.clone();
    assert_eq!(via("acme/deep"), ["acme/lib", "acme/m"]);
    assert_eq!(found.mirrors(&ask.mirrors).len(), 4);
    let config = found.git_config(&ask.mirrors);
    for repo in [&lib, &deep, &tool, &pair] {
        assert!(config.contains(repo.url().as_str()), "{}: {config}", repo.url());
    }
    assert_eq!(found.wanted.len(), 5, "also what can't be had: {:?}", found.wanted);
}

#[tokio::test]
async fn each_file_that_no_other_leads_to_is_looked_at_by_itself() {
    let ask = Ask::new();
    let [base, left, right] = ["base", "left", "right"].map(|name| ask.scene.repo(name));
    let old = base.pushes("a", "1");
    git(&base.person, &["checkout", "-q", "HEAD^"]);
    let aside = pushes_to(&base, "aside", "b");
    let l = left.pushes("deps.edn", &deps(&[dep("base", &base, &old, "")]));
    let r = right.pushes("deps.edn", &deps(&[dep("base", &base, &aside, "")]));
    let (one, both) =
        (deps(&[dep("left", &left, &l, "")]), deps(&[dep("left", &left, &l, ""), dep("right", &right, &r, "")]));
    let local = "{:deps {acme/m {:local/root \"../m\"}}}".to_owned();
    let hides = format!("{{:deps {{acme/m {{:local/root \"../m\"}} {}}}}}", dep("base", &base, &old, ""));
    let app = RepoUrl::new("file:///nowhere/app").unwrap().id();
    let stop = CancellationToken::new();
    let asking = Asking { git: &ask.mirrors, url_of: &|_| None, stop: &stop };
    let faults = async |files: &[(&str, &String)]| {
        let file = |(path, text): &(&str, &String)| File { path: (*path).to_owned(), text: (*text).clone() };
        let files: Vec<File> = files.iter().map(file).collect();
        let found = asking.preflight(&files, (&app, Sha::from_bytes([1; 20]))).await;
        found.unwrap().faults.iter().map(|fault| format!("{}:{}", fault.file, fault.line)).collect::<Vec<_>>()
    };
    assert_eq!(faults(&[("shop/deps.edn", &one), ("shop/bb.edn", &both)]).await, ["shop/bb.edn:2"]);
    // By the module that both are of, as its text is now and not as the commit has it.
    assert_eq!(faults(&[("shop/deps.edn", &local), ("m/deps.edn", &both)]).await, ["shop/deps.edn:1"]);
    assert!(faults(&[("shop/deps.edn", &hides), ("m/deps.edn", &both)]).await.is_empty());
    assert_eq!(faults(&[("a/deps.edn", &hides), ("m/deps.edn", &one), ("n/deps.edn", &both)]).await, ["n/deps.edn:2"]);
}

#[tokio::test]
async fn what_goes_deeper_than_is_followed_is_left_to_the_build_and_said() {
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let mut sha = lib.pushes("a", "1");
    // Each commit depends on the one before it, by another name.
    let bare = git2::Repository::open_bare(&lib.bare).unwrap();
    let who = git2::Signature::new("Ann", "ann@example.com", &git2::Time::new(1_700_000_000, 0)).unwrap();
    let mut parent = bare.find_commit(sha.to_string().parse().unwrap()).unwrap();
    for n in 0..110 {
        let text = deps(&[dep(&format!("lib{n}"), &lib, &sha, "")]);
        let mut tree = bare.treebuilder(None).unwrap();
        tree.insert("deps.edn", bare.blob(text.as_bytes()).unwrap(), 0o100_644).unwrap();
        let tree = bare.find_tree(tree.write().unwrap()).unwrap();
        let made = bare.commit(Some("refs/heads/main"), &who, &who, "deeper", &tree, &[&parent]).unwrap();
        (sha, parent) = (made.to_string().parse().unwrap(), bare.find_commit(made).unwrap());
    }
    let found = look(&ask, &deps(&[dep("top", &lib, &sha, "")])).await;
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    assert_eq!(found.unknown.len(), 1, "{:?}", found.unknown);
    assert!(found.unknown[0].contains("more dependencies than are followed"), "{:?}", found.unknown);
    assert!(found.libs.iter().any(|locked| locked.lib == "acme/top"), "what was seen counts");
}
