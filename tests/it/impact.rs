//! Who would break if a branch were merged, before anyone merges it; and which commit of a dependency broke a build.

mod bisect;
mod turns;

use std::collections::BTreeMap;
use std::path::Path;

use airplanes::model::Sha;
use serde_json::Value;

use super::support::forge_api::{ForgeApi, Kind, Next};
use super::support::world::{World, git};

/// Builds that fail where a file of the library says so. The library's files are read by git itself, with the build's
/// own configuration, as tools.gitlibs does: from whatever commit deps.edn names.
const CHECK: &str = r#"
fetch() {
  line=$(grep "acme/$1 " deps.edn) || return 0
  url=$(echo "$line" | sed 's/.*:git\/url \"\([^\"]*\)\".*/\1/')
  sha=$(echo "$line" | sed 's/.*:git\/sha \"\([^\"]*\)\".*/\1/')
  git clone -q --mirror -- "$url" "$TMPDIR/$1" && git --git-dir "$TMPDIR/$1" show "$sha:api" >"$TMPDIR/$1.api" || exit 9
}
"#;

/// `lib`; `b` and `c` on it, `app` on all three, and `other` that has nothing to do with it. What each asks of the
/// library's file `api` is in its own file `needs`.
async fn diamond() -> World {
    let mut world = World::new(0);
    let lib = world.commit("lib", &[("api", "old new\n")]);
    for app in ["b", "c"] {
        world.commit(app, &[("deps.edn", &world.deps(&[("lib", lib)])), ("needs", "old\n"), ("api", "x\n")]);
    }
    let (b, c) = (world.head("b"), world.head("c"));
    let deps = world.deps(&[("lib", lib), ("b", b), ("c", c)]);
    world.commit("app", &[("deps.edn", &deps), ("needs", "new\n")]);
    world.commit("other", &[("deps.edn", "{}")]);
    std::fs::write(world.path("check.sh"), format!("{CHECK}\nfor lib in lib b c; do fetch $lib; done\n{TEST}"))
        .unwrap();
    let entry =
        |name: &str| format!(":{name} {{:git-url \"{{repo:{name}}}\" :update? true :build \"sh {{dir}}/check.sh\"}}\n");
    world.deploy_edn(&["b", "c", "app", "other"].map(entry).concat());
    world.start().await;
    world.knows(5).await;
    world
}

/// What is needed has to be in the library's file. What was built is noted: who, and with which deps.edn.
const TEST: &str = r#"
dir=$(dirname "$0")
echo "$AIRPLANES_APP $(sha1sum <deps.edn | cut -c1-8)" >>"$dir/built"
grep -q -w -f needs "$TMPDIR/lib.api" 2>/dev/null || { [ -e needs ] || exit 0; echo "needs $(cat needs), which is not there"; exit 3; }
"#;

/// A branch of a repository with files, on top of what is there. Nobody is told.
fn branch(world: &World, repo: &str, name: &str, from: &str, files: &[(&str, &str)]) -> String {
    let person = world.path("people").join(repo);
    git(&person, &["fetch", "-q", "origin"]);
    git(&person, &["checkout", "-q", "-B", name, from]);
    for (file, text) in files {
        std::fs::write(person.join(file), text).unwrap();
    }
    git(&person, &["add", "-A"]);
    git(&person, &["commit", "-q", "--allow-empty", "-m", &format!("{name}: a change")]);
    git(&person, &["push", "-q", "origin", name]);
    let sha = git(&person, &["rev-parse", "HEAD"]);
    git(&person, &["checkout", "-q", "main"]);
    sha
}

/// Every file of every repository, by its path.
fn bytes_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn states(view: &Value) -> BTreeMap<&str, &str> {
    let apps = view["apps"].as_array().unwrap_or_else(|| panic!("{view:#}"));
    apps.iter().map(|app| (app["app"].as_str().unwrap(), app["state"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn says_who_would_break_and_pushes_nothing() {
    let world = diamond().await;
    let sha = branch(&world, "lib", "faster", "main", &[("api", "new\n")]);
    let more = branch(&world, "lib", "more", "main", &[("api", "old new newer\n")]);
    let (before, jobs) = (bytes_of(&world.path("repos")), world.get("/jobs").await);
    let said = world.call(&["impact", &world.url("lib").id().to_string(), "faster", "--json"]).await;
    assert_eq!(said.code, Some(3), "{said:?}\n{}", world.log());
    let view: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((view["sha"].as_str(), view["tried"].as_str()), (Some(&*sha), Some(&*sha)), "{view:#}");
    assert_eq!(states(&view), [("app", "downstream"), ("b", "breaks"), ("c", "breaks")].into(), "{view:#}");
    let b = &view["apps"][0];
    assert!(b["log"].as_str().unwrap().contains("needs old, which is not there"), "{b:#}");
    assert_eq!((b["exit_code"].as_i64(), b["bumps"][0]["to"].as_str()), (Some(3), Some(&*sha)), "{b:#}");
    assert!(said.err.contains("b breaks") && said.err.contains("c building"), "{said:?}");

    // What it could be merged as: nobody minds, and the app is built with what b and c would publish.
    std::fs::remove_file(world.path("built")).unwrap();
    let said = world.call(&["impact", world.url("lib").as_str(), "more"]).await;
    assert_eq!(said.code, Some(0), "{said:?}\n{}", world.log());
    assert!(said.err.contains("0 would break, 3 build, 0 broken before"), "{said:?}");
    assert_eq!(world.read("built").lines().count(), 3, "{}", world.read("built"));
    let said = world.call(&["impact", world.url("lib").as_str(), &more, "--app", "c", "--json"]).await;
    let view: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(states(&view), [("c", "builds")].into(), "{said:?}");
    let said = world.call(&["impact", world.url("lib").as_str(), "more", "--app", "other"]).await;
    assert!(said.code == Some(0) && said.out.contains("does not depend on"), "{said:?}");

    assert!(before == bytes_of(&world.path("repos")), "a remote is another than it was");
    assert_eq!(world.get("/jobs").await, jobs, "and no job was made");
    assert!(std::fs::read_dir(world.state("work")).unwrap().next().is_none(), "nothing is left");
}

/// `shop` and `admin` in one repository, each in a folder that depends on `lib`, `till` on a file that is shop's too, and
/// `desk` on that repository.
#[tokio::test(flavor = "multi_thread")]
async fn apps_of_one_repository_are_tried_on_top_of_each_other_and_who_depends_on_it_gets_what_all_of_them_take() {
    let mut world = World::new(0);
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let deps = world.deps(&[("lib", lib)]);
    let mono = world.commit("mono", &[("shop/deps.edn", &deps), ("admin/deps.edn", &deps)]);
    world.commit("desk", &[("deps.edn", &world.deps(&[("mono", mono)]))]);
    let app = |name: &str, more: &str| {
        let build = format!("cat ../*/deps.edn > {{dir}}/saw-{name}");
        format!(":{name} {{:git-url \"{{repo:mono}}\" :update? true :build \"{build}\" {more}}}\n")
    };
    let desk = r#":desk {:git-url "{repo:desk}" :update? true :build "cat deps.edn > {dir}/saw-desk"}"#;
    let apps = app("admin", ":directory \"admin\"") + &app("shop", ":directory \"shop\"");
    world.deploy_edn(&(apps + &app("till", ":directory \"shop\"") + desk));
    world.start().await;
    world.knows(3).await;
    let sha = branch(&world, "lib", "faster", "main", &[("x", "1\n")]);
    let said = world.call(&["impact", world.url("lib").as_str(), "faster", "--json"]).await;
    let view: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}\n{}", world.log()));
    let all = [("admin", "builds"), ("desk", "builds"), ("shop", "builds"), ("till", "builds")];
    assert_eq!(states(&view), all.into(), "{view:#}");
    // The first one's build has one file moved, the later ones' both.
    let saw = |app: &str| world.read(&format!("saw-{app}"));
    let moved = ["admin", "shop", "till"].map(|app| saw(app).matches(&sha).count());
    assert_eq!(moved, [1, 2, 2], "{}{}{}", saw("admin"), saw("shop"), saw("till"));
    let desk = view["apps"].as_array().unwrap().iter().find(|app| app["app"] == "desk").unwrap();
    assert!(saw("desk").contains(desk["bumps"][0]["to"].as_str().unwrap()), "{desk:#}");
    let till = view["apps"].as_array().unwrap().iter().find(|app| app["app"] == "till").unwrap();
    assert_eq!(till["bumps"][0]["to"], sha, "{till:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn was_broken_before_is_not_blamed_and_who_is_pinned_is_not_affected() {
    let world = diamond().await;
    let old = world.head("lib");
    // What nobody has built so far: b needs what is not there, and c has pinned the library.
    world.commit("b", &[("needs", "never\n")]);
    let pinned = world.deps(&[("lib", old)]).replace("acme/lib", "^:airplanes/hold acme/lib");
    world.commit("c", &[("deps.edn", &pinned)]);
    // The library's branch has moved on, and the app with it: what merging makes has both.
    world.commit("lib", &[("more", "1\n")]);
    let moved = world.head("lib");
    let deps = world.file("app", "deps.edn").replace(&old.to_string(), &moved.to_string());
    world.commit("app", &[("deps.edn", &deps)]);
    branch(&world, "lib", "old-stand", &old.to_string(), &[("api", "old new newest\n")]);
    let before = bytes_of(&world.path("repos"));
    let said = world.call(&["impact", world.url("lib").as_str(), "old-stand", "--json"]).await;
    assert_eq!(said.code, Some(0), "{said:?}\n{}", world.log());
    let view: Value = serde_json::from_str(&said.out).unwrap();
    let wanted = [("app", "downstream"), ("b", "broken-before"), ("c", "not-affected")];
    assert_eq!(states(&view), wanted.into(), "{view:#}");
    assert!(said.err.contains("main has moved on since"), "{said:?}");
    assert_ne!((&view["sha"], &view["tried"]), (&view["tried"], &view["sha"]), "{view:#}");
    let why = |app: &str| {
        let rows = view["apps"].as_array().unwrap();
        rows.iter().find(|row| row["app"] == app).unwrap()["why"].as_str().unwrap().to_owned()
    };
    assert!(why("c").contains("follow") || why("c").contains("pinned"), "{}", why("c"));
    assert_eq!(why("app"), "b does not build, with or without it");

    // Without b it would come to the app, which has the merged commit then, with both files.
    world.commit("b", &[("needs", "newest\n")]);
    let said = world.call(&["impact", world.url("lib").as_str(), "old-stand", "--json"]).await;
    let view: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(states(&view)["app"], "builds", "{view:#}\n{}", world.log());
    assert_eq!(states(&view)["b"], "builds", "{view:#}");
    let app = view["apps"].as_array().unwrap().iter().find(|row| row["app"] == "app").unwrap();
    let to: Vec<&str> = app["bumps"].as_array().unwrap().iter().map(|bump| bump["to"].as_str().unwrap()).collect();
    assert!(to.len() == 2 && to.contains(&view["tried"].as_str().unwrap()), "{app:#}");

    // One that both have changed can't be merged: it is tried as it is.
    world.commit("lib", &[("api", "other\n")]);
    let said = world.call(&["impact", world.url("lib").as_str(), "old-stand", "--app", "b"]).await;
    assert!(said.code == Some(0) && said.err.contains("both have changed api"), "{said:?}");
    let said = world.call(&["impact", world.url("lib").as_str(), "nowhere"]).await;
    assert!(said.code == Some(1) && said.err.contains("has no branch nowhere; it has main, old-stand"), "{said:?}");
    let after = bytes_of(&world.path("repos"));
    let of_app = |all: &BTreeMap<String, Vec<u8>>| all.iter().filter(|(path, _)| path.contains("app.git")).count();
    assert_eq!(of_app(&before), of_app(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_ended_and_no_job_waits_for_it() {
    let mut world = diamond().await;
    branch(&world, "lib", "slow", "main", &[("api", "old new slow\n")]);
    // The build of b waits for a word.
    std::fs::write(
        world.path("check.sh"),
        "dir=$(dirname \"$0\")\n[ $AIRPLANES_APP != b ] || while [ ! -e $dir/go ]; do sleep 0.05; done\n",
    )
    .unwrap();
    let body = serde_json::json!({"repo": world.url("lib").as_str(), "branch": "slow"});
    let ask = || world.http.post(format!("{}/impact", world.base())).bearer_auth(world.token()).json(&body).send();
    let answer = ask().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let building = async || Some(world.get(&location).await).filter(|view| view["apps"][0]["state"] == "building");
    world.until("b is being built", building).await;
    // A second one waits; jobs go on beside it.
    let second: Value = ask().await.unwrap().json().await.unwrap();
    let second = format!("/impact/{}", second["id"].as_str().unwrap());
    assert_eq!(world.get(&second).await["state"], "waiting");
    assert_eq!(world.deploy_to_the_end("c").await["state"], "succeeded");
    let end = |path: &str| world.http.delete(format!("{}{path}", world.base())).bearer_auth(world.token()).send();
    let view: Value = end(&location).await.unwrap().json().await.unwrap();
    assert_eq!(view["state"], "canceled", "{view:#}");
    let building = async || Some(world.get(&second).await).filter(|view| view["apps"][0]["state"] == "building");
    world.until("the second has its turn", building).await;
    // A restart forgets it, with all that it left.
    world.kill();
    world.start().await;
    let gone = world.get(&second).await;
    assert!(gone["error"]["message"].as_str().unwrap().contains("none over a restart"), "{gone}");
    assert!(std::fs::read_dir(world.state("work")).unwrap().next().is_none(), "nothing is left");
    assert_eq!(world.stop(), Some(0));
}

/// An app on libraries, as its deps.edn says, that looks for what broke its build. Each build is noted in `built`.
async fn searching(mut world: World, deps: &str, needs: &str) -> World {
    world.commit("app", &[("deps.edn", deps), ("needs", needs)]);
    let test = r#"
dir=$(dirname "$0")
echo "$AIRPLANES_JOB" >>"$dir/built"
[ $(wc -l <"$dir/built") != "$(cat "$dir/pause" 2>/dev/null)" ] || { : >"$dir/paused"; while [ ! -e "$dir/go" ]; do sleep 0.05; done; }
for api in "$TMPDIR"/*.api; do
  grep -q -w -f needs "$api" || { echo "$api has no $(cat needs)"; exit 4; }
done
"#;
    std::fs::write(world.path("check.sh"), format!("{CHECK}\nfor lib in lib low; do fetch $lib; done\n{test}"))
        .unwrap();
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :update? true :bisect? true :build [{:name "lint" :run "true"} {:name "test" :run "sh {dir}/check.sh"}]}"#,
    );
    world.start().await;
    let read = async || (world.get("/repos").await["repos"].as_array()?.len() > 1).then_some(());
    world.until("all are read", read).await;
    world
}

/// Commits of people to `main` in one push: what each makes of the file `api`. Gives their ids.
fn commits(world: &World, repo: &str, apis: &[String]) -> Vec<String> {
    let person = world.path("people").join(repo);
    let mut made = Vec::new();
    for (n, api) in apis.iter().enumerate() {
        std::fs::write(person.join("api"), format!("{api}\n")).unwrap();
        std::fs::write(person.join("n"), format!("{n}\n")).unwrap();
        git(&person, &["add", "-A"]);
        let author = format!("Ann {n} <ann@example.com>");
        git(&person, &["commit", "-q", "--author", &author, "-m", &format!("change {n} of {repo}")]);
        made.push(git(&person, &["rev-parse", "HEAD"]));
    }
    git(&person, &["push", "-q", "origin", "HEAD:main"]);
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_bad_commit_of_30_is_found_in_5_builds_and_the_app_advances_to_the_last_good() {
    let (world, before) = with_library("lib");
    let deps = world.deps(&[("lib", before)]);
    let world = searching(world, &deps, "old\n").await;
    let apis: Vec<String> = (1..=30).map(|n| if n < 18 { "old".to_owned() } else { "new".to_owned() }).collect();
    let made = commits(&world, "lib", &apis);
    let after = world.head("lib");
    let (status, _) = world.hook(airplanes::model::Forge::Github, "lib", Some(before), after, "push").await;
    assert_eq!(status, 202);
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    // The job's own, one without anything new, five to search, and the one that is published.
    assert_eq!(world.read("built").lines().count(), 1 + 1 + 5 + 1, "{}", world.log());
    assert!(world.file("app", "deps.edn").contains(&made[16]), "{}", world.file("app", "deps.edn"));
    assert_eq!(world.count("app"), 2);
    let reason = job["reason"].as_str().unwrap();
    let wanted = format!("acme/lib {} by Ann 17, \"change 17 of lib\", breaks the build", &made[17][..10]);
    assert!(reason.contains(&wanted) && reason.contains(&format!("moves to {}", &made[16][..10])), "{reason}");
    assert_eq!(job["narrowed"][0]["culprit"]["sha"], made[17], "{job:#}");
    let id = job["id"].as_str().unwrap();
    let said = world.call(&["job", id]).await;
    assert!(said.out.contains("first bad") && said.out.contains("Ann 17"), "{said:?}");
    assert!(world.whole_log(id, "culprit/2").await.contains("sh "), "a log of its own");
    assert!(world.call(&["explain", id]).await.out.contains("Ann 17"));

    // The next push meets the same: nothing can move, and nothing is published.
    world.push("lib", &[("n", "more\n")]).await;
    let job = world.job("app").await;
    assert_eq!((job["state"].as_str(), world.count("app")), (Some("failed"), 2), "{job:#}");
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.contains(&wanted) && reason.contains("stays at"), "{reason}");
    // Nor is it to blame if the app was broken before.
    world.commit("app", &[("needs", "never\n")]);
    let job = world.deploy_to_the_end("app").await;
    assert!(job["reason"].as_str().unwrap().contains("it was broken before"), "{job:#}");
}

/// A world with a library.
fn with_library(name: &str) -> (World, Sha) {
    let mut world = World::new(0);
    world.by_file = true;
    let sha = world.commit(name, &[("api", "old\n")]);
    (world, sha)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_libraries_the_lower_one_goes_first_tags_go_by_tag_and_a_kill_in_the_middle_is_harmless() {
    let (mut world, low) = with_library("low");
    world.in_bare("low", &["tag", "v1.0.0", &low.to_string()]);
    let tagged =
        format!("acme/low {{:git/url \"{}\" :git/tag \"v1.0.0\" :git/sha \"{}\"}}", world.url("low"), low.short());
    let lib = world.commit("lib", &[("api", "old\n"), ("deps.edn", &format!("{{:deps {{{tagged}}}}}"))]);
    let deps = world.deps(&[("lib", lib)]).replace("        }\n", &format!("        {tagged}\n        }}\n"));
    world = searching(world, &deps, "old\n").await;
    // What is new of both breaks: v1.2.0 and all after it, and the third of the library's commits.
    let apis = |bad: usize| -> Vec<String> {
        (0..6).map(|n| if n < bad { "old".to_owned() } else { "new".to_owned() }).collect()
    };
    for (n, sha) in commits(&world, "low", &apis(1)).iter().enumerate() {
        world.in_bare("low", &["tag", &format!("v1.{}.0", n + 1), sha]);
    }
    let made = commits(&world, "lib", &apis(2));
    std::fs::write(world.path("pause"), "4\n").unwrap();
    let id = world.deploy("app").await;
    let paused = async || world.path("paused").exists().then_some(());
    world.until("the fourth build", paused).await;
    let log = world.whole_log(&id, "build/test").await;
    assert!(log.contains("culprit/3: acme/low at v1.3.0, acme/lib as it was"), "{log}");
    world.kill();
    std::fs::write(world.path("go"), "").unwrap();
    world.start().await;
    let job = world.ended(&id).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    let deps = world.file("app", "deps.edn");
    assert!(deps.contains(":git/tag \"v1.1.0\"") && deps.contains(&made[1]), "{deps}");
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.contains("acme/low v1.2.0 (") && reason.contains("Ann 1, \"change 1 of low\""), "{reason}");
    assert!(reason.contains(&format!("acme/lib {} by Ann 2", &made[2][..10])), "{reason}");
    assert_eq!(world.count("app"), 2);
    let gone = async || std::fs::read_dir(world.state("work")).unwrap().next().is_none().then_some(());
    world.until("nothing is left", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_it_is_a_status_on_the_commit_if_asked() {
    let (mut world, lib) = with_library("lib");
    world.by_file = false;
    let api = ForgeApi::start(Kind::Github, world.path("repos")).await;
    world.commit("shop", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    let entry = ":shop {:git-url \"{repo:shop}\" :update? true :build \"! grep BAD deps.edn\"}";
    let (bad, good) = (branch(&world, "lib", "bad", "main", &[]), branch(&world, "lib", "good", "main", &[("a", "1")]));
    world.deploy_edn(&entry.replace("BAD", &bad));
    world.start().await;
    let url = world.url("lib").to_string();
    world.knows(2).await;
    let said = world.call(&["impact", &url, "bad", "--report"]).await;
    assert!(said.code == Some(2) && said.err.contains("no entry in :forges"), "{said:?}");
    let text = world.read("config.edn");
    world.save("config.edn", &text.replacen('{', &format!("{{{} ", api.config()), 1));
    let taken = async || {
        let said = world.call(&["impact", &url, "bad", "--report"]).await;
        (said.code == Some(3)).then_some(said)
    };
    world.until("the edit is in force", taken).await;
    let told = api.until("lib", &bad, "airplanes/impact", "failure").await;
    assert!(told.last().unwrap().description.contains("would break shop"), "{told:#?}");
    assert_eq!(told.len(), 2, "begun and ended: {told:#?}");
    // A host that is busy is asked again.
    api.will([Next::Status(500), Next::Status(500)]);
    let said = world.call(&["impact", &url, "good", "--report"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    api.until("lib", &good, "airplanes/impact", "success").await;
    assert!(api.heard().wrong.is_empty(), "{:?}", api.heard().wrong);
}
