//! `:artifact` on real sshds: what a build made is kept, sent to hosts that have no git, and put in force by one rename.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::support::acts::text;
use super::support::world::World;

/// A daemon with so many hosts and an app whose build makes `out/app.jar` of the app's file `a`. A restart fails where that
/// names the host, and is a line of the host and of what it runs.
async fn app(hosts: usize, more: &str) -> World {
    let mut world = World::new(hosts);
    world.by_file = true;
    world.commit("app", &[("deps.edn", "{}"), ("a", "first\n")]);
    fs::create_dir_all(world.path("srv")).unwrap();
    let names: Vec<String> = (1..=hosts).map(|n| format!(":web-{n}")).collect();
    world.deploy_edn(&format!(
        r#":app {{:git-url "{{repo:app}}" :working-directory "{{dir}}/srv/{{host}}" :hosts [{}]
            :build "mkdir -p out && cp a out/app.jar && (! grep -q huge a || truncate -s 8T out/app.jar) && echo built >> {{dir}}/builds"
            :artifact "out/app.jar" :keep-releases 1
            :restart "h=$(basename $PWD); echo $h $(cat current/app.jar) >> ../turns; ! grep -q \"^$h$\" current/app.jar" {more}}}"#,
        names.join(" ")
    ));
    world.start().await;
    world
}

/// What a host says of itself: the commit that `current` leads to, the marker's state, and what the file holds.
fn at(world: &World, host: &str) -> (String, String, String) {
    let folder = world.path("srv").join(host);
    let current = fs::read_link(folder.join("current")).map(|link| link.display().to_string()).unwrap_or_default();
    let marker: Value = serde_json::from_str(&world.read(&format!("srv/{host}/airplanes.json"))).unwrap_or_default();
    let file = fs::read_to_string(folder.join("current/app.jar")).unwrap_or_default();
    let state =
        format!("{} {}", marker["state"].as_str().unwrap_or_default(), marker["sha"].as_str().unwrap_or_default());
    (commit_of(current.trim_start_matches("releases/")), state, file.trim().to_owned())
}
/// A release's name is its commit and how the sum of its file begins.
fn commit_of(release: &str) -> String {
    release.split_once('-').map(|(sha, sum)| (sha, sum.len())).filter(|(_, digits)| *digits == 12).unwrap().0.to_owned()
}
fn live(sha: &str, file: &str) -> (String, String, String) {
    (sha.to_owned(), format!("live {sha}"), file.to_owned())
}
fn releases(world: &World, host: &str) -> Vec<String> {
    let folder = world.path("srv").join(host).join("releases");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut commits: Vec<String> = names.map(|name| commit_of(&name)).collect();
    commits.sort();
    commits
}
/// The kept files of the app, each with what it holds.
fn kept(world: &World) -> Vec<(PathBuf, String)> {
    let sums = fs::read_dir(world.state("artifacts/app")).into_iter().flatten().flatten();
    let files = sums.flat_map(|sum| fs::read_dir(sum.path()).unwrap().map(|file| file.unwrap().path()));
    files.map(|file| (file.clone(), fs::read_to_string(file).unwrap().trim().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_built_once_is_what_every_host_gets_and_goes_back_to() {
    let ready = r#":rollout {} :prepare "test ! -e ../../current || cat ../../current/app.jar >> ../../../before; cat app.jar >> ../../../prepared"
        :migrate "basename $(dirname $(dirname $PWD)) >> ../../../migrated; cat app.jar >> ../../../migrated" :reversible? true"#;
    let mut world = app(2, ready).await;
    let first = world.head("app").to_string();
    let plan = world.call(&["deploy", "app", "--plan"]).await;
    assert!(plan.out.contains("each host is sent out/app.jar into releases/SHA"), "{plan:?}");
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(text(&job, "state"), "succeeded", "{job:#}");
    for name in ["web-1", "web-2"] {
        assert_eq!(at(&world, name), live(&first, "first"));
    }
    let log = world.whole_log(text(&job, "id"), "build").await;
    assert!(log.contains("kept out/app.jar for the hosts: 6 B, sha256 "), "{log}");
    let log = world.whole_log(text(&job, "id"), "rollout/web-1").await;
    assert!(log.contains("sending app.jar, sha256 ") && log.contains(&format!("live at {first}")), "{log}");
    assert!(!world.path("srv/web-1/.git").exists());
    // Both ran in the release, before anything was restarted; the second once.
    assert_eq!((world.read("srv/prepared"), world.read("srv/before")), ("first\nfirst\n".to_owned(), String::new()));
    assert_eq!(world.read("srv/migrated"), "web-1\nfirst\n");
    assert_eq!(world.deploy_to_the_end("app").await["state"], "unchanged");
    assert_eq!(world.read("builds"), "built\n");
    let drift = world.get("/drift").await;
    assert_eq!((&drift["hosts"][0]["state"], &drift["hosts"][0]["has"]), (&"in-step".into(), &first.clone().into()));
    let doctor = world.call(&["doctor", "--json"]).await;
    assert!(doctor.out.contains(&format!("is at release {}", &first[..7])), "{doctor:?}");

    // One that is bad: both go back to what they have already, and nothing is sent for that.
    let bad = world.commit("app", &[("a", "web-2\n")]).to_string();
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(text(&job, "state"), "rolled-back", "{job:#}");
    for name in ["web-1", "web-2"] {
        assert_eq!(at(&world, name), live(&first, "first"), "{job:#}");
        assert!(releases(&world, name).contains(&bad));
    }
    let log = world.whole_log(text(&job, "id"), "rollout/web-2").await;
    assert_eq!(log.matches("sending app.jar").count(), 1, "{log}");
    assert_eq!(world.read("srv/before"), "first\nfirst\n", "what ran was in force while it was prepared");

    // One that was away catches up with the same bytes: nothing is built again.
    world.host_down(2);
    let second = world.push("app", &[("a", "second\n")]).await.to_string();
    assert_eq!(world.job("app").await["state"], "partial");
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (live(&second, "second"), live(&first, "first")));
    let drift = world.get("/drift").await;
    assert_eq!(drift["hosts"][1]["state"], "unreachable", "{drift:#}");
    let builds = world.read("builds");
    world.host_up(2);
    world.edit("config.edn", ":poll false", ":poll \"5s\"");
    let caught = async || (at(&world, "web-2") == live(&second, "second")).then_some(());
    world.until("web-2 has caught up", caught).await;
    assert_eq!((world.job("app").await["state"].as_str(), world.read("builds")), (Some("succeeded"), builds.clone()));
    assert_eq!(kept(&world).len(), 3);

    // A third leaves the second for the way back; the first is no more on the hosts, and the daemon has it still.
    let third = world.push("app", &[("a", "third\n")]).await.to_string();
    assert_eq!(world.job("app").await["state"], "succeeded");
    assert_eq!(at(&world, "web-1"), live(&third, "third"));
    assert!(!releases(&world, "web-1").contains(&first), "{:?}", releases(&world, "web-1"));
    let back = world.call(&["rollback", "app", "--to", &first, "--watch"]).await;
    assert_eq!(back.code, Some(0), "{back:?}");
    assert_eq!((at(&world, "web-1"), at(&world, "web-2")), (live(&first, "first"), live(&first, "first")));
    assert_eq!(world.read("builds").lines().count(), builds.lines().count() + 1);

    // What hosts run and what was live before stays; the rest goes once it is old, and is no way back any more.
    assert_eq!(swept(&world).await, ["first", "third"]);
    let gone = world.call(&["rollback", "app", "--to", &second, "--watch"]).await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.err.contains("the daemon does not keep it any more"), "{gone:?}");
    assert_eq!(at(&world, "web-1"), live(&first, "first"));

    // What would fill the daemon's disk is refused before a byte of it is copied.
    world.push("app", &[("a", "huge\n")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    for words in ["out/app.jar, which :artifact names, has ", ":disk {:min-free} asks for"] {
        assert!(text(&job, "reason").contains(words), "{job:#}");
    }
    assert_eq!(kept(&world).len(), 2);
}

/// The kept files once they are old and nobody needs the others.
async fn swept(world: &World) -> Vec<String> {
    for (file, _) in kept(world) {
        let aged = std::process::Command::new("touch").args(["-d", "2 hours ago"]).arg(file.parent().unwrap()).status();
        assert!(aged.unwrap().success());
    }
    let swept = world.call(&["gc"]).await;
    assert_eq!(swept.code, Some(0), "{swept:?}");
    let mut left: Vec<String> = kept(world).into_iter().map(|(_, text)| text).collect();
    left.sort();
    left
}

/// What a host runs: the release in force, its file, and what `:prepare` made of that.
fn runs(world: &World, host: &str) -> (String, String, String) {
    let folder = world.path("srv").join(host);
    let release = fs::read_link(folder.join("current")).map(|link| link.display().to_string()).unwrap_or_default();
    let file = |name: &str| fs::read_to_string(folder.join("current").join(name)).unwrap_or_default();
    (release, file("app.jar"), file("unpacked"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_built_again_is_another_file_and_what_is_promoted_is_the_one_that_staging_runs() {
    let mut world = World::new(3);
    world.by_file = true;
    world.commit("app", &[("deps.edn", "{}"), ("a", "first\n")]);
    fs::create_dir_all(world.path("srv")).unwrap();
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :working-directory "{dir}/srv/{host}"
            :build "mkdir -p out && echo built >> {dir}/builds && { cat a; wc -l <{dir}/builds; ! test -e {dir}/sick || echo sick; } >out/app.jar"
            :artifact "out/app.jar" :keep-releases 1 :prepare "cp app.jar unpacked" :rollout {}
            :restart "! grep -q sick current/app.jar"
            :environments {:staging {:hosts [:web-1]} :production {:hosts [:web-2 :web-3] :promote :manual}}}"#,
    );
    world.start().await;
    let head = world.head("app").to_string();
    let built = world.deploy_to_the_end("app").await;
    assert_eq!(text(&built, "state"), "succeeded", "{built:#}");
    let one = runs(&world, "web-1");
    assert_eq!((&*one.1, &*one.2), ("first\n1\n", "first\n1\n"));
    assert!(one.0.starts_with(&format!("releases/{head}-")), "{one:?}");
    world.host_down(3);
    let promoted = world.call(&["promote", "app", "--yes", "--watch"]).await;
    assert_eq!((promoted.code, runs(&world, "web-2")), (Some(5), one.clone()), "{promoted:?}");

    // Built again, and not well: staging is back at the file that it ran, with what :prepare made of that.
    let forget = || fs::remove_file(world.path("srv/web-1/airplanes.json")).unwrap();
    world.save("sick", "");
    forget();
    let again = world.deploy_to_the_end("app").await;
    assert_eq!((text(&again, "state"), runs(&world, "web-1")), ("rolled-back", one.clone()), "{again:#}");
    assert_eq!((world.read("builds").lines().count(), text(&again, "sha")), (2, &*head));
    assert_eq!(swept(&world).await, ["first\n1"], "what hosts run stays, though its commit was built again");
    let plan = world.call(&["promote", "app", "--plan"]).await;
    assert_eq!(plan.code, Some(0), "{plan:?}");

    // Who was away catches up with what the others got.
    fs::remove_file(world.path("sick")).unwrap();
    forget();
    let again = world.deploy_to_the_end("app").await;
    let three = runs(&world, "web-1");
    assert_eq!((text(&again, "state"), &*three.1, &*three.2), ("succeeded", "first\n3\n", "first\n3\n"), "{again:#}");
    world.host_up(3);
    world.edit("config.edn", ":poll false", ":poll \"5s\"");
    let caught = async || (world.job("app").await["causes"][0]["why"] == "catch-up").then_some(());
    world.until("web-3 has caught up", caught).await;
    let (release, file, _) = runs(&world, "web-3");
    assert_eq!((&release, &*file), (&one.0, "first\n1\n"));

    // The same commit, and the other file: the daemon needs neither mirror nor forge for it.
    world.kill();
    world.edit("config.edn", ":poll \"5s\"", ":poll false");
    fs::remove_dir_all(world.state("mirrors")).unwrap();
    let bare = world.path("repos").join("app.git");
    fs::rename(&bare, bare.with_extension("gone")).unwrap();
    world.start().await;
    // One that can't be read is not said to be gone.
    let file = kept(&world).into_iter().find(|(_, text)| text == "first\n3").unwrap().0;
    let folder = file.parent().unwrap();
    fs::rename(folder, folder.with_extension("away")).unwrap();
    fs::write(folder, "no folder").unwrap();
    let promoted = world.call(&["promote", "app", "--yes", "--watch"]).await;
    assert!(promoted.code == Some(1) && promoted.err.contains("can't be read in `artifacts`"), "{promoted:?}");
    assert_eq!((runs(&world, "web-2"), runs(&world, "web-3").0), (one.clone(), one.0.clone()));
    fs::remove_file(folder).unwrap();
    fs::rename(folder.with_extension("away"), folder).unwrap();
    let promoted = world.call(&["promote", "app", "--yes", "--watch"]).await;
    assert_eq!(promoted.code, Some(0), "{promoted:?}");
    assert_eq!((runs(&world, "web-2"), runs(&world, "web-3")), (three.clone(), three.clone()));
    let job = world.job("app").await;
    let log = world.whole_log(text(&job, "id"), "rollout/web-3").await;
    assert!(log.contains(&format!("sending app.jar, sha256 {}", three.0.rsplit('-').next().unwrap())), "{log}");
    // And back to the file of the job that is named.
    let back = world.call(&["rollback", "app", "--env", "staging", "--to", text(&built, "id"), "--watch"]).await;
    assert_eq!((back.code, runs(&world, "web-1")), (Some(0), one), "{back:?}");
}

/// Killed while the file is kept, in front of and behind what is journaled of a host, and while it is sent and put there.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_the_next_start_ends_with_the_same_file_everywhere() {
    let mut world = app(2, r#":rollout {:batches ["100%"]}"#).await;
    assert_eq!(world.deploy_to_the_end("app").await["state"], "succeeded");
    let points = [
        ("artifact-copied:here", 2),
        (r#""entry":"step-finished","step":"build":before"#, 2),
        (r#""entry":"step-finished","step":"build":after"#, 1),
        ("artifact-sent:here", 1),
        ("artifact-placed:here", 1),
        (r#""entry":"host-restarting","host":"web-2":after"#, 1),
        (r#""entry":"host-finished","host":"web-1":before"#, 1),
    ];
    for (n, (point, builds)) in points.into_iter().enumerate() {
        world.kill();
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), point.to_owned())];
        world.start().await;
        world.save("builds", "");
        let text_now = format!("good {n}");
        let sha = world.commit("app", &[("a", &text_now)]).to_string();
        let id = world.deploy("app").await;
        world.dies().await;
        world.start().await;
        let job = world.ended(&id).await;
        assert_eq!(text(&job, "state"), "succeeded", "{point}: {job:#}");
        for name in ["web-1", "web-2"] {
            assert_eq!(at(&world, name), live(&sha, &text_now), "{point}");
            let left = releases(&world, name).into_iter().filter(|name| name.starts_with('.')).count();
            assert_eq!(left, 0, "{point}");
        }
        assert_eq!(world.read("builds").lines().count(), builds, "{point}");
        let kept: Vec<String> = kept(&world).into_iter().map(|(_, text)| text).filter(|t| *t == text_now).collect();
        assert_eq!(kept.len(), 1, "{point}");
    }
}
