//! What would happen, what hangs together and what did happen: `plan`, `graph` and `explain`, on the real binary.

use std::io::Write as _;
use std::process::{Command, Stdio};

use airplanes::forge;
use airplanes::model::Forge;
use serde_json::{Value, json};

use super::support::git_graph::settled;
use super::support::world::World;

/// `lib` is no app; `mid` depends on it; `app` on both, with `lib` pinned in an alias; `by-hand` runs only by `deploy`.
async fn four() -> World {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let mid = world.commit("mid", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    let url = world.url("lib");
    let pinned = format!("^:airplanes/hold {{:git/url \"{url}\" :git/sha \"{lib}\"}}");
    let text = world.deps(&[("mid", mid), ("lib", lib)]);
    let text =
        text.replace(" #_#_ :old", &format!(" :aliases {{:x {{:extra-deps {{acme/lib {pinned}}}}}}}\n #_#_ :old"));
    world.commit("app", &[("deps.edn", &text)]);
    world.commit("by-hand", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(
        r#":mid {:git-url "{repo:mid}" :update? true :build "test ! -e {dir}/broken"}
           :app {:git-url "{repo:app}" :update? true}
           :by-hand {:git-url "{repo:by-hand}" :update? true :trigger :manual}"#,
    );
    world.start().await;
    for _ in 0..400 {
        let view = world.get("/graph").await.to_string();
        // The mirror of `lib`, which is no app's, is made in the background.
        if !view.contains("is not known") && view.matches("branch main").count() >= 4 {
            return world;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("not read: {:#}\n{}", world.get("/graph").await, world.log());
}

fn bumps(app: &Value) -> Vec<String> {
    let tell = |bump: &Value| {
        let text = |key: &str| bump[key].as_str().unwrap().to_owned();
        format!("{}:{} {} -> {}", text("file"), bump["line"], text("lib"), text("to"))
    };
    app["bumps"].as_array().unwrap().iter().map(tell).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_the_lines_that_would_change_is_read_only_and_needs_no_remote_after_a_start() {
    let mut world = four().await;
    let refs = || ["lib", "mid", "app", "by-hand"].map(|repo| world.in_bare(repo, &["show-ref"]));
    let before = (world.get("/jobs").await, world.get("/deliveries").await, refs());
    let lib = world.url("lib").to_string();
    let (code, told) = world.cli(&["plan", &lib, "--json"]);
    assert_eq!(code, 0, "{told}");
    let view: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(view["apps"].as_array().unwrap().len(), 2, "{view:#}");
    assert_eq!(bumps(&view["apps"][0]), ["deps.edn:3 acme/lib -> what is pushed"]);
    let app = &view["apps"][1];
    assert_eq!(bumps(app), ["deps.edn:3 acme/mid -> what mid publishes", "deps.edn:4 acme/lib -> what is pushed"]);
    assert_eq!(
        (app["kept"][0]["line"].as_u64(), app["kept"][0]["why"].as_str()),
        (Some(6), Some("it is pinned (^:airplanes/hold)"))
    );
    assert_eq!(before, (world.get("/jobs").await, world.get("/deliveries").await, refs()));
    for name in ["acme/lib", &lib, world.url("lib").id().as_str()] {
        let (code, by_name) = world.cli(&["plan", name, "--json"]);
        assert_eq!((code, serde_json::from_str::<Value>(&by_name).unwrap()), (0, view.clone()), "{name}");
        let said = world.call(&["repos", name]).await;
        assert!(said.code == Some(0) && said.out.lines().count() == 2 && said.out.contains("by-hand mid"), "{said:?}");
    }
    for args in [["repos", "nosuch"], ["plan", "acme/nosuch"], ["impact", "acme/nosuch"]] {
        let more: &[&str] = if args[0] == "impact" { &["main"] } else { &[] };
        let said = world.call(&[&args, more].concat()).await;
        assert!(said.code == Some(1) && said.err.contains("`airplanes repos` lists"), "{said:?}");
    }
    // For a commit that is there, and that nobody told the daemon of.
    let new = world.commit("lib", &[("x", "1")]);
    let (code, told) = world.cli(&["plan", &format!("{lib}@{new}"), "--json"]);
    assert_eq!(code, 0, "{told}");
    let view: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(bumps(&view["apps"][0]), [format!("deps.edn:3 acme/lib -> {new}")], "{view:#}");
    assert_eq!(view["apps"][1]["kept"][0]["why"], "it is pinned");
    let (_, told) = world.cli(&["plan", &format!("{lib}@{new}")]);
    assert!(told.contains("mid: deps.edn:3 acme/lib ") && told.contains(&new.to_string()[..7]), "{told}");
    world.in_bare("lib", &["tag", "v1.10.0", &new.to_string()]);
    for rev in [&new.to_string()[..7], "v1.10.0"] {
        let (_, by_rev) = world.cli(&["plan", &format!("{lib}@{rev}")]);
        assert_eq!(by_rev, told, "{rev}");
    }
    for rev in ["1".repeat(40).as_str(), "1111111", "v9"] {
        let said = world.call(&["plan", &format!("{lib}@{rev}")]).await;
        assert!(said.code == Some(2) && said.err.contains("has no commit and no tag"), "{said:?}");
    }
    // What tools.deps would refuse of it is known before it is pushed anywhere.
    let broken = world.commit("lib", &[("deps.edn", "{:deps {acme/x {:local/root \"gone\"}}}")]);
    let (_, told) = world.cli(&["plan", &format!("{lib}@{broken}")]);
    assert!(
        told.contains("mid: tools.deps would refuse: ") && told.contains("Local lib acme/x not found: gone"),
        "{told}"
    );
    world.in_bare("lib", &["update-ref", "refs/heads/main", &new.to_string()]);
    assert_eq!(before.0, world.get("/jobs").await, "nothing ran");

    // A daemon that begins knows it from its store: with no remote in reach and no mirror left.
    world.kill();
    std::fs::rename(world.path("repos"), world.path("away")).unwrap();
    std::fs::remove_dir_all(world.state("mirrors")).unwrap();
    world.start().await;
    assert!(!world.get("/graph").await.to_string().contains("is not known"), "{}", world.log());
    let (status, answer) = world.hook(Forge::Github, "lib", None, new, "after the start").await;
    assert_eq!(status, 202, "{answer}");
    let planned = async || Some(world.get("/jobs").await["jobs"].clone()).filter(|jobs| !jobs[0].is_null());
    let jobs = world.until("it is planned", planned).await;
    let apps: Vec<&str> = jobs.as_array().unwrap().iter().map(|job| job["app"].as_str().unwrap()).collect();
    assert_eq!(apps, ["app", "mid"], "{jobs:#}");
    let event = world.get("/deliveries?limit=1").await["deliveries"][0]["events"][0].clone();
    assert!(!event["notes"].to_string().contains("is not known"), "{event:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_told_by_waves_and_drawn() {
    let world = four().await;
    let (code, told) = world.cli(&["graph"]);
    assert_eq!(code, 0, "{told}");
    let at = |what: &str| told.find(what).unwrap_or_else(|| panic!("{what}: {told}"));
    assert!(at("wave 0") < at("mid") && at("mid") < at("wave 1") && at("wave 1") < at("app"), "{told}");
    assert!(told.contains("(branch main, nothing)"), "one follows it and one is pinned: {told}");
    assert!(told.contains("note: nothing moves acme/lib: it is pinned (^:airplanes/hold)"), "{told}");
    let (_, one) = world.cli(&["graph", "by-hand", "--json"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!((one["nodes"].as_array().unwrap().len(), one["edges"].as_array().unwrap().len()), (2, 1), "{one:#}");
    let (code, missing) = world.cli(&["graph", "nobody"]);
    assert!(code == 1 && missing.contains("nobody"), "{code} {missing}");
    let (_, dot) = world.cli(&["graph", "--dot"]);
    assert!(
        dot.starts_with("digraph airplanes {\n") && dot.contains("\"mid\" -> \"app\" [label=\"branch main\"];"),
        "{dot}"
    );
    let Ok(mut drawing) =
        Command::new("dot").arg("-Tsvg").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    else {
        eprintln!("skipped: Graphviz is not here to draw it");
        return;
    };
    drawing.stdin.take().unwrap().write_all(dot.as_bytes()).unwrap();
    let drawn = drawing.wait_with_output().unwrap();
    assert!(drawn.status.success() && String::from_utf8_lossy(&drawn.stdout).contains("<svg"));
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_job_ran_and_why_it_ended_is_explained() {
    let world = four().await;
    std::fs::write(world.path("broken"), "").unwrap();
    let before = world.head("lib");
    let new = world.push("lib", &[("x", "1")]).await;
    settled(&world).await;
    let (code, told) = world.cli(&["explain", "app"]);
    assert_eq!(code, 0, "{told}");
    for part in [
        "skipped".to_owned(),
        "push to main of".to_owned(),
        before.short(),
        new.short(),
        "no longer counts: mid failed".to_owned(),
        "after mid failed".to_owned(),
        "not in the plan: by-hand: its :trigger is :manual".to_owned(),
    ] {
        assert!(told.contains(&part), "{part}: {told}");
    }
    let (_, told) = world.cli(&["graph", "by-hand"]);
    assert!(told.contains("airplanes deploy by-hand (its :trigger is :manual)"), "{told}");
    std::fs::remove_file(world.path("broken")).unwrap();
    world.push("lib", &[("x", "2")]).await;
    settled(&world).await;
    let (_, told) = world.cli(&["explain", "app", "--json"]);
    let view: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(view["state"], "succeeded", "{view:#}");
    assert_eq!(view["causes"][0]["waited_for"][0]["app"], "mid");
    assert_eq!(view["bumps"].as_array().unwrap().len(), 2);
    assert!(view["left_alone"].to_string().contains("pinned"), "{view:#}");
    let (code, told) = world.cli(&["hold", "app", "--reason", "not today"]);
    assert_eq!(code, 0, "{told}");
    // Whoever pushes can't draw on the terminal.
    let (before, after) = (world.head("lib"), world.commit("lib", &[("x", "3")]));
    let body = forge::push_payload(Forge::Github, &world.url("lib"), &"main".parse().unwrap(), Some(before), after);
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    body["pusher"] = json!({"name": "eve\u{202e}live"});
    let sent = world.signed_body(Forge::Github, serde_json::to_vec(&body).unwrap(), "eve").send().await.unwrap();
    assert_eq!(sent.status(), 202);
    settled(&world).await;
    let (_, told) = world.cli(&["explain", "mid"]);
    assert!(told.contains("by eve\\u{202e}live") && !told.contains('\u{202e}'), "{told}");
    let (_, told) = world.cli(&["explain", "mid", "--json"]);
    assert!(serde_json::from_str::<Value>(&told).unwrap().to_string().contains("eve\u{202e}live"), "{told}");
    for what in ["explain", "graph"] {
        let (_, told) = world.cli(&[what, "app"]);
        assert!(told.contains("held: app is held by operator") && told.contains("not today"), "{what}: {told}");
    }
    // An event, with who was left out of it: by hand, by a hold, and what hangs on those that ran.
    let event = world.get("/deliveries?limit=1").await["deliveries"][0]["events"][0]["id"].as_str().unwrap().to_owned();
    let (code, told) = world.cli(&["explain", &event]);
    assert_eq!(code, 0, "{told}");
    for part in [
        "push to main of",
        "wave 0 mid succeeded",
        "not in the plan: by-hand: its :trigger is :manual",
        "not in the plan: app: app is held by operator",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (_, told) = world.cli(&["explain", &event, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["jobs"][0]["app"], "mid", "{told}");
    let (code, told) = world.cli(&["explain", "1jq3m8x2k4a0c"]);
    assert!(code == 1 && told.contains("no event 1jq3m8x2k4a0c"), "{code} {told}");
    let (code, told) = world.cli(&["explain", "nobody"]);
    assert!(
        code == 1 && told.contains("nobody has no job") && told.contains("airplanes deploy nobody"),
        "{code} {told}"
    );
    for args in [&["job", "mid"][..], &["logs", "mid", "update"]] {
        let (code, told) = world.cli(args);
        assert!(code == 0 && (told.contains("succeeded") || told.contains("acme/lib")), "{args:?}: {told}");
    }
}
