//! `init`: a pair that passes `check`, whatever it is pointed at, and nothing overwritten.

use super::{Desk, mode};
use crate::support::corpus;

const SHA: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn dep(lib: &str, url: &str) -> String {
    format!("{{:deps {{{lib} {{:git/url \"{url}\" :git/sha \"{SHA}\"}}}} :aliases {{:build {{:ns-default build}}}}}}")
}

/// `d`, `snow` on it, `shop` on snow.
fn three(desk: &Desk) {
    desk.checkout("d", "git@github.com:acme/d.git", &[("deps.edn", "{}")]);
    desk.checkout("snow", "git@github.com:acme/snow.git", &[("deps.edn", &dep("a/d", "git@github.com:acme/d.git"))]);
    let shop = dep("acme/snow", "https://github.com/acme/snow");
    let build = "(ns build)\n(defn uber [_])";
    desk.checkout("shop", "git@github.com:acme/shop.git", &[("deps.edn", &shop), ("build.clj", build)]);
}

#[test]
fn checkouts_become_apps_and_libraries_in_a_pair_that_passes_check() {
    let desk = Desk::new();
    three(&desk);
    let src = desk.path("src").display().to_string();
    let said = desk.run(&["init", &src, "--url", "https://deploy.example.com/"]).done();
    let checked = desk.run(&["check"]).done();
    assert_eq!((checked.out.as_str(), checked.err.as_str()), ("✔ config.edn, deploy.edn: 2 apps, 0 hosts\n", ""));
    let deploy = desk.read("deploy.edn");
    assert!(deploy.contains(":git-url \"git@github.com:acme/shop.git\""), "{deploy}");
    assert!(deploy.contains(":build \"clojure -T:build uber\"") && deploy.contains("A guess"), "{deploy}");
    assert_eq!(deploy.matches(":update? true").count(), 2, "{deploy}");
    assert!(deploy.contains(";;   github.com/acme/d, for snow"), "{deploy}");
    let config = desk.read("config.edn");
    assert!(config.contains(":url \"https://deploy.example.com\""), "{config}");
    for name in ["d", "snow", "shop"] {
        assert!(config.contains(&format!("\"github.com/acme/{name}\" \"keys/github.com-acme-{name}\"")), "{config}");
    }
    let secret = desk.read("secrets/webhook");
    assert_eq!(secret.trim().len(), 64);
    assert!(said.out.contains(secret.trim()), "shown once: {}", said.out);
    assert!(said.out.contains("https://github.com/acme/snow/settings/hooks/new"), "{}", said.out);
    assert!(!config.contains(secret.trim()) && !said.err.contains(secret.trim()));
    for name in ["config.edn", "deploy.edn", "secrets/webhook"] {
        assert_eq!(mode(&desk.path("etc").join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&desk.path("etc")), 0o700);
}

#[test]
fn a_second_run_changes_nothing_shows_no_secret_and_says_so() {
    let desk = Desk::new();
    three(&desk);
    let src = desk.path("src").display().to_string();
    desk.run(&["init", &src]).done();
    let before = desk.files();
    let again = desk.run(&["init", &src]).done();
    assert_eq!(desk.files(), before);
    assert_eq!(again.out, "");
    assert_eq!(again.err.matches("is there already, just as it would be written").count(), 2, "{}", again.err);
    assert!(!again.err.contains(desk.read("secrets/webhook").trim()));

    std::fs::write(desk.path("etc/deploy.edn"), "{}").unwrap();
    let other = desk.run(&["init", &src]).done();
    assert_eq!(desk.read("deploy.edn"), "{}");
    assert!(other.err.contains("stays as it is; --dry-run prints"), "{}", other.err);
    assert!(desk.run(&["init", &src, "--dry-run"]).done().out.contains(":shop"));
}

#[test]
fn a_dry_run_writes_nothing() {
    let desk = Desk::new();
    three(&desk);
    let src = desk.path("src").display().to_string();
    let said = desk.run(&["init", &src, "--dry-run"]).done();
    assert!(said.out.contains(":shop") && said.out.contains("secrets/webhook"), "{}", said.out);
    assert!(!desk.path("etc").exists());
}

#[test]
fn with_nothing_to_take_in_there_is_still_a_good_pair() {
    let desk = Desk::new();
    desk.run(&["init", "--forge", "gitlab"]).done();
    let checked = desk.run(&["check"]).done();
    assert_eq!((checked.out.as_str(), checked.err.as_str()), ("✔ config.edn, deploy.edn: 0 apps, 0 hosts\n", ""));
    assert!(desk.read("config.edn").contains(":webhooks {:gitlab {:secret"));
    let nowhere = desk.run(&["init", "/nonexistent"]);
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.err.contains("/nonexistent"), "{}", nowhere.err);
}

#[test]
fn worktrees_and_folders_inside_a_checkout_have_its_origin() {
    let desk = Desk::new();
    let main = desk.checkout("shop", "git@github.com:acme/shop.git", &[("deps.edn", "{}")]);
    let inside = desk.path("src/shop/sub");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("deps.edn"), "{}").unwrap();
    let main = std::path::Path::new(&main);
    crate::support::world::git(main, &["add", "-A"]);
    crate::support::world::git(main, &["commit", "-q", "-m", "x"]);
    let tree = desk.path("tree").display().to_string();
    crate::support::world::git(main, &["worktree", "add", "-q", &tree]);
    for folder in [tree, inside.display().to_string()] {
        let said = desk.run(&["init", &folder, "--dry-run"]).done();
        assert!(said.out.contains(":git-url \"git@github.com:acme/shop.git\""), "{}", said.out);
    }
    let lonely = desk.path("lonely");
    std::fs::create_dir(&lonely).unwrap();
    std::fs::write(lonely.join("deps.edn"), "{}").unwrap();
    let said = desk.run(&["init", lonely.to_str().unwrap()]);
    assert!(said.code == 2 && said.err.contains("is in no git checkout"), "{said:?}");
}

#[test]
fn a_git_host_that_does_not_tell_its_forge_may_call_as_any_of_them() {
    let desk = Desk::new();
    let shop = desk.checkout("shop", "git@git.example.com:acme/shop.git", &[("deps.edn", "{}")]);
    let said = desk.run(&["init", &shop]).done();
    desk.run(&["check"]).done();
    let config = desk.read("config.edn");
    for forge in [":github {:secret", ":gitlab {:secret", ":gitea {:secret"] {
        assert!(config.contains(forge), "{config}");
    }
    assert!(
        said.out.contains("Whichever of these urls fits the git host of git.example.com/acme/shop"),
        "{}",
        said.out
    );
    assert!(!desk.run(&["init", &shop, "--forge", "gitea", "--dry-run"]).done().out.contains(":gitlab"));
}

#[test]
fn a_configuration_of_before_gets_what_it_lacks_and_no_secret_that_it_does_not_use() {
    let desk = Desk::new();
    desk.write("config.edn", "{:webhooks {:github {:secret \"of before\"}}}");
    let said = desk.run(&["init"]).done();
    assert!(said.err.contains(":url, and name your :hosts"), "{}", said.err);
    assert_eq!((said.out.as_str(), desk.path("etc/secrets/webhook").exists()), ("", false));
    assert_eq!(desk.read("config.edn"), "{:webhooks {:github {:secret \"of before\"}}}");
    assert!(desk.path("etc/deploy.edn").exists());
    desk.run(&["check"]).done();
    // What is there is not asked for.
    desk.write("config.edn", "{:url \"https://x.example.com\" :hosts {:web-1 {:address \"10.0.0.1\"}}}");
    let said = desk.run(&["init"]).done();
    assert!(!said.err.contains(":url") && !said.err.contains(":hosts"), "{}", said.err);
}

#[test]
fn hostile_names_and_urls_stay_what_they_are_and_no_password_is_kept() {
    let desk = Desk::new();
    let quote = desk.checkout("a\"b;c", "git@h.example.com:x/a\"};;\\b.git", &[("deps.edn", "{}")]);
    let secret = desk.checkout("token", "https://me:s3cr3t@gitlab.com/acme/token.git", &[("deps.edn", "{")]);
    let option = desk.checkout("option", "ssh://-oProxyCommand=x/y", &[("deps.edn", "{}")]);
    let twin = desk.checkout("twin", "git@gitlab.com:other/token.git", &[("bb.edn", "{}")]);
    let said = desk.run(&["init", &quote, &secret, &option, &twin]).done();
    desk.run(&["check"]).done();
    let (config, deploy) = (desk.read("config.edn"), desk.read("deploy.edn"));
    assert!(deploy.contains(r#":git-url "git@h.example.com:x/a\"};;\\b.git""#), "{deploy}");
    assert!(deploy.contains(":acme-token") && deploy.contains(":other-token"), "{deploy}");
    assert!(deploy.contains("Its deps.edn can't be read"), "{deploy}");
    assert!(said.err.contains("passed over:") && said.err.contains("/option"), "{}", said.err);
    for text in [&config, &deploy, &said.err, &said.out] {
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn a_repository_that_is_not_here_is_read_from_its_url() {
    let desk = Desk::new();
    let world = crate::support::git_remote::Scene::new();
    let bare = world.path("lib.git");
    let person = desk.checkout("lib", "/dev/null", &[("deps.edn", &dep("a/b", "https://github.com/a/b"))]);
    let person = std::path::Path::new(&person);
    crate::support::world::git(person, &["add", "-A"]);
    crate::support::world::git(person, &["commit", "-q", "-m", "x"]);
    crate::support::world::git(person, &["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let url = format!("file://{}", bare.display());
    desk.run(&["init", &url]).done();
    let deploy = desk.read("deploy.edn");
    assert!(deploy.contains(&url) && deploy.contains("github.com/a/b"), "{deploy}");
    let lost = desk.run(&["init", "file:///nonexistent/x.git", "--dry-run"]).done();
    assert!(lost.out.contains("what it depends on is not known"), "{}", lost.out);
}

#[test]
fn every_deps_edn_of_the_corpus_gives_a_pair_that_passes_check() {
    let Some(corpus) = corpus() else { return };
    let desk = Desk::new();
    let mut count = 0;
    for (folder, name) in [("deps-edn/dev", "deps.edn"), ("deps-edn/broken", "deps.edn"), ("bb-edn/dev", "bb.edn")] {
        for entry in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(text) = std::fs::read(&path) else { continue };
            let project = desk.path("src").join(format!("p{count}"));
            std::fs::create_dir_all(project.join(".git")).unwrap();
            // As `org__name@commit.deps.edn`.
            let file = path.file_name().unwrap().to_str().unwrap();
            let repo = file.split('@').next().unwrap().replace("__", "/");
            let remote = format!("[remote \"origin\"]\n\turl = git@github.com:{repo}-{count}.git\n");
            std::fs::write(project.join(".git/config"), remote).unwrap();
            std::fs::write(project.join(name), text).unwrap();
            std::fs::write(project.join("build.clj"), "(defn uber [_])").unwrap();
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
    desk.run(&["init", desk.path("src").to_str().unwrap()]).done();
    let checked = desk.run(&["check"]).done();
    assert_eq!(checked.err, "");
    let apps = desk.read("deploy.edn").matches(":git-url").count();
    assert!(checked.out.contains(&format!("{apps} apps")) && apps > 200, "{} {apps}", checked.out);
}

/// Of what is slower than linear, minutes; as it is, some seconds.
#[test]
fn a_project_with_thousands_of_private_libraries_is_no_long_wait() {
    const LIBRARIES: usize = 10_000;
    let desk = Desk::new();
    let lib = |n| format!("acme/l{n} {{:git/url \"git@git.example.com:acme/l{n}.git\" :git/sha \"{n:040}\"}}");
    let libs: Vec<String> = (1..=LIBRARIES).map(lib).collect();
    let deps = format!("{{:deps {{{}}}}}", libs.join("\n"));
    let shop = desk.checkout("shop", "git@git.example.com:acme/shop.git", &[("deps.edn", &deps)]);
    let begun = std::time::Instant::now();
    desk.run(&["init", &shop]).done();
    let keys = |said: super::Said| said.out.matches("would get the key").count();
    assert_eq!(keys(desk.run(&["keys", "--dry-run"]).done()), LIBRARIES + 2);
    // Without any of them in config.edn.
    desk.write("config.edn", "{}");
    assert_eq!(keys(desk.run(&["keys", "--dry-run", &shop]).done()), LIBRARIES + 2);
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
}
