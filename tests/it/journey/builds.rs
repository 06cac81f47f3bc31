//! Builds of the real binary: what fails, hangs, is canceled or killed, and what its logs hold.

use std::time::{Duration, Instant};

use super::super::support::acts::{is_alive, said, step, text};
use super::super::support::world::{SECRET, World};

/// A daemon with one app that has no hosts. In `build`, `{dir}` is the world's folder.
async fn app(build: &str) -> World {
    apps(&[("app", build)]).await
}

/// A daemon with apps of one repository, each with a build.
async fn apps(builds: &[(&str, &str)]) -> World {
    let mut world = World::new(0);
    world.commit("app", &[("deps.edn", "{}")]);
    let entry = |(name, build): &(&str, &str)| {
        format!(":{name} {{:git-url \"file://{{dir}}/repos/{name}.git\" :build {build}}}\n")
    };
    for (name, _) in builds.iter().filter(|(name, _)| *name != "app") {
        world.commit(name, &[("deps.edn", "{}")]);
    }
    world.deploy_edn(&builds.iter().map(entry).collect::<String>());
    world.start().await;
    world
}

/// A daemon with a library and an app without hosts that depends on it and builds so.
async fn lib_and_app(build: &str) -> World {
    let mut world = World::new(0);
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(&format!(
        ":lib {{:git-url \"{{repo:lib}}\"}} :app {{:git-url \"{{repo:app}}\" :update? true :build {build}}}"
    ));
    world.start().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_pushes_nothing_and_keeps_its_exit_code() {
    let world = lib_and_app(
        r#"[{:name "lint" :run "true"} {:name "test" :run "echo no luck >&2; exit 42"} {:name "jar" :run "true"}]"#,
    )
    .await;
    let before = world.head("app");
    world.push("lib", &[("a", "1")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    assert_eq!(job["reason"], "build/test: the build failed: exit code 42");
    let told = |name: &str| (step(&job, name)["state"].clone(), step(&job, name)["exit_code"].clone());
    assert_eq!(told("build/lint"), ("done".into(), 0.into()));
    assert_eq!(told("build/test"), ("failed".into(), 42.into()));
    assert_eq!(told("build/jar"), ("skipped".into(), serde_json::Value::Null));
    assert_eq!(told("publish").0, "skipped");
    assert_eq!((world.head("app"), world.count("app")), (before, 1), "nothing was pushed");
    let log = world.whole_log(text(&job, "id"), "build/test").await;
    assert!(log.starts_with("$ echo no luck >&2; exit 42\nno luck\n[the build failed: exit code 42 after "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_a_build_share_a_clean_clone_with_history_and_leave_nothing_but_logs() {
    let mut world = World::new(0);
    world.env.push(("AIRPLANES_TOKEN".into(), "never to be seen by a build".into()));
    world.env.push(("SSH_AUTH_SOCK".into(), "/run/agent".into()));
    world.commit("app", &[("deps.edn", "{}")]);
    world.commit("app", &[("a", "1")]);
    world.deploy_edn(
        r#":app {:git-url "file://{dir}/repos/app.git"
           :build [{:name "one" :run "git rev-list --count HEAD > n; git status --porcelain > dirt"}
                   {:name "two" :run "cat n dirt; rm n; env"}
                   {:name "three" :run "ls; cat {dir}/token"}]}"#,
    );
    world.start().await;
    world.save("token", &world.token());
    for _ in 0..2 {
        let job = world.deploy_to_the_end("app").await;
        assert!(["succeeded", "unchanged"].contains(&text(&job, "state")), "{job:#}");
        if job["state"] == "unchanged" {
            continue;
        }
        let id = text(&job, "id");
        let two = world.whole_log(id, "build/two").await;
        assert!(two.contains("\n2\n?? dirt\n?? n\n"), "{two}");
        let env = |name: &str| two.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        let head = world.head("app").to_string();
        assert_eq!(env("AIRPLANES_APP"), Some("app"));
        assert_eq!((env("AIRPLANES_SHA"), env("AIRPLANES_JOB")), (Some(head.as_str()), Some(id)));
        assert_eq!((env("AIRPLANES_TOKEN"), env("SSH_AUTH_SOCK")), (None, None), "{two}");
        let three = world.whole_log(id, "build/three").await;
        assert!(three.contains("\ndeps.edn\n") && three.contains("\ndirt\n") && !three.contains("\nn\n"), "{three}");
        assert!(!three.contains(&world.token()) && three.contains("***"), "{three}");
        let left = || std::fs::read_dir(world.path("state/work")).unwrap().count();
        world.until("the clone is gone", async || (left() == 0).then_some(())).await;
        let records = std::fs::read_dir(world.path("state/builds")).unwrap().count();
        assert_eq!(records, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_be_read_while_it_grows_and_shows_no_secret() {
    let mut world = World::new(0);
    world.edit("config.edn", ":keys {", ":https-tokens {\"gitlab.com\" \"glpat-0123456789\"} :keys {");
    world.commit("app", &[("deps.edn", "{}")]);
    let (a, b) = SECRET.split_at(9);
    world.deploy_edn(&format!(
        r#":app {{:git-url "file://{{dir}}/repos/app.git"
            :build "echo with {SECRET}; printf '{a}'; sleep 0.3; echo '{b}'; echo token glpat-0123456789.; until [ -e {{dir}}/go ]; do sleep 0.05; done; echo the end"}}"#
    ));
    world.start().await;
    let id = world.deploy("app").await;
    let (first, next) = world
        .until("the token's line", async || {
            let (log, next, complete) = world.log_from(&id, "build", 0).await;
            assert!(!complete, "{log}");
            log.contains("token ***.\n").then_some((log, next))
        })
        .await;
    assert_eq!(first.len() as u64, next);
    let lines: Vec<&str> = first.lines().skip(1).collect();
    assert_eq!(lines, ["with ***", "***", "token ***."], "{first}");
    std::fs::write(world.path("go"), "").unwrap();
    world.ended(&id).await;
    let (rest, end, complete) = world.log_from(&id, "build", next).await;
    assert!(rest.starts_with("the end\n[done after ") && complete, "{rest}");
    assert_eq!(end, next + rest.len() as u64);
    let whole = world.whole_log(&id, "build").await;
    assert_eq!(whole, first + &rest);
    assert!(!whole.contains(SECRET) && !whole.contains("glpat-0"), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_takes_too_long_or_says_nothing_is_ended() {
    let mut world = World::new(0);
    world.edit("config.edn", ":builds {", ":builds {:silence \"1500ms\" ");
    for name in ["long", "mute"] {
        world.commit(name, &[("deps.edn", "{}")]);
    }
    world.deploy_edn(
        r#":long {:git-url "file://{dir}/repos/long.git" :timeout "2s"
             :build [{:name "one" :run "sleep 1.2"} {:name "two" :run "while true; do echo tick; sleep 0.1; done"}]}
           :mute {:git-url "file://{dir}/repos/mute.git" :build "echo $$ > {dir}/mute; sleep 300"}"#,
    );
    world.start().await;
    let (long, mute) = (world.deploy("long").await, world.deploy("mute").await);
    let (long, mute) = (world.ended(&long).await, world.ended(&mute).await);
    let why = "build/two: the build was ended: it took longer than 2 s; :timeout allows more";
    assert_eq!((&long["state"], text(&long, "reason")), (&"failed".into(), why), "{long:#}");
    let why = "build: the build was ended: it printed nothing for 1500 ms; :silence allows more";
    assert_eq!((&mute["state"], text(&mute, "reason")), (&"failed".into(), why), "{mute:#}");
    assert_eq!(
        (step(&mute, "build")["attempt"].clone(), step(&long, "build/two")["attempt"].clone()),
        (1.into(), 1.into())
    );
    assert!(!is_alive(&world.line("mute").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_build_is_gone_with_all_that_it_started() {
    let world = app(r#""setsid sh -c 'trap : TERM; echo $$ > {dir}/grand; while :; do sleep 1; done' & echo $$ > {dir}/pid; sleep 300""#).await;
    let id = world.deploy("app").await;
    let (pid, grand) = (world.line("pid").await, world.line("grand").await);
    assert!(is_alive(&pid) && is_alive(&grand));
    let (status, answer) = world.post(&format!("/jobs/{id}/cancel")).await;
    assert_eq!((status, text(&answer, "reason")), (202, "being canceled by operator"), "{answer:#}");
    let job = world.ended(&id).await;
    assert_eq!((text(&job, "state"), text(&job, "reason")), ("canceled", "canceled by operator"), "{job:#}");
    assert!(!is_alive(&pid) && !is_alive(&grand));
    assert_eq!(step(&job, "build")["state"], "failed");
    let gone = async || (!world.path("state/work").join(&id).exists()).then_some(());
    world.until("the clone is gone", gone).await;
    let (status, answer) = world.post(&format!("/jobs/{id}/cancel")).await;
    assert_eq!((status, text(&answer["error"], "code")), (409, "already-ended"), "{answer:#}");
    assert!(text(&answer["error"], "message").contains("has ended already, as canceled"), "{answer:#}");
    assert_eq!(world.call(&["cancel", &id]).await.code, Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_jobs_two_build_and_the_third_says_that_it_is_queued() {
    let build = r#""echo up >> {dir}/begun; until [ -e {dir}/go ]; do sleep 0.05; done""#;
    let world = apps(&[("a", build), ("b", build), ("c", build), ("d", build)]).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        ids.push(world.deploy(name).await);
    }
    world.until("two builds", async || (world.read("begun").lines().count() == 2).then_some(())).await;
    let state = async |id: &str| {
        let job = world.get(&format!("/jobs/{id}")).await;
        (text(&job, "state").to_owned(), text(&job, "reason").to_owned())
    };
    assert_eq!(state(&ids[0]).await, ("running".into(), "in build".into()));
    assert_eq!(state(&ids[2]).await, ("queued".into(), "for a build slot: a and b are building".into()));
    let behind = world.deploy("a").await;
    let why = format!("for job {}, which has a now", ids[0]);
    assert_eq!(state(&behind).await, ("queued".into(), why.clone()));
    assert!(world.call(&["explain", "a"]).await.out.contains(&why));
    assert_eq!(state(&ids[3]).await.0, "queued");
    assert_eq!(world.call(&["cancel", &ids[3]]).await.code, Some(0));
    let canceled = world.ended(&ids[3]).await;
    assert_eq!(text(&canceled, "reason"), "canceled by operator before it started");
    assert_eq!(canceled["state"], "canceled");
    assert_eq!(world.read("begun").lines().count(), 2);
    std::fs::write(world.path("go"), "").unwrap();
    for id in &ids[..3] {
        assert_eq!(world.ended(id).await["state"], "succeeded");
    }
    assert_eq!(world.read("begun").lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_in_a_build_its_leftovers_are_ended_and_it_is_built_again_in_a_clean_clone() {
    let mut world = lib_and_app(
        r#"[{:name "one" :run "test ! -e half; touch half"}
            {:name "two" :run "setsid sh -c 'echo $$ >> {dir}/pids; exec sleep 300' & [ -e {dir}/go ] || sleep 300"}]"#,
    )
    .await;
    world.push("lib", &[("a", "1")]).await;
    let grand = world.line("pids").await;
    world.kill();
    assert!(is_alive(&grand), "it outlives the daemon");
    std::fs::create_dir_all(world.path("state").join("work").join("of-nobody")).unwrap();
    std::fs::write(world.path("go"), "").unwrap();
    world.start().await;
    assert!(!is_alive(&grand), "it is ended before anything else is begun");
    assert!(world.log().contains("ended what a killed daemon's build left"));
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(
        (step(&job, "build/one")["attempt"].clone(), step(&job, "build/two")["attempt"].clone()),
        (2.into(), 2.into())
    );
    assert_eq!(world.count("app"), 2, "one commit for one push");
    let left = || std::fs::read_dir(world.path("state/work")).unwrap().count();
    world.until("no folder is left of jobs that are over", async || (left() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_build_in_time_and_the_next_start_goes_on() {
    let mut world = lib_and_app(r#""echo $$ >> {dir}/pids; [ -e {dir}/go ] || sleep 300""#).await;
    world.push("lib", &[("a", "1")]).await;
    let pid = world.line("pids").await;
    let begun = Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(!is_alive(&pid));
    std::fs::write(world.path("go"), "").unwrap();
    world.start().await;
    let job = world.job("app").await;
    assert_eq!((text(&job, "state"), world.count("app")), ("succeeded", 2), "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_ends_as_the_job_does() {
    let world = apps(&[
        ("app", r#""echo one; sleep 0.5; echo two""#),
        ("bad", r#"[{:name "test" :run "echo so it is; exit 7"}]"#),
    ])
    .await;
    let good = world.call(&["deploy", "app", "--watch"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    let bad = world.call(&["deploy", "bad", "--watch"]).await;
    assert_eq!(bad.code, Some(3), "{bad:?}");
    assert!(bad.err.contains("exit code 7"), "{bad:?}");
    world.commit("app", &[("a", "1")]);
    let id = world.deploy("app").await;
    let followed = said(world.command_line(&["logs", &id, "-f"])).await;
    assert_eq!(followed.code, Some(0), "{followed:?}");
    assert!(followed.out.contains("\none\ntwo\n"), "{followed:?}");
    let followed = world.call(&["logs", bad.out.trim(), "-f"]).await;
    assert_eq!(followed.code, Some(3), "{followed:?}");
    assert!(followed.out.contains("so it is\n") && followed.err.contains("==> build/test"), "{followed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_fails_the_job_and_says_so() {
    let mut world = World::new(0);
    world.commit("app", &[("deps.edn", "{}")]);
    world.deploy_edn(r#":app {:git-url "file://{dir}/repos/app.git" :build "true"}"#);
    std::fs::create_dir_all(world.path("state")).unwrap();
    std::fs::write(world.path("state/logs"), "in the way").unwrap();
    world.start().await;
    let job = world.deploy_to_the_end("app").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    assert!(text(&job, "reason").starts_with("prepare: could not write the log "), "{job:#}");
    assert_eq!(step(&job, "prepare")["attempt"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn interruptions_are_no_errors_but_a_job_that_gets_nowhere_is_given_up() {
    let mut world = app(r#""echo up >> {dir}/begun; exec sleep 300""#).await;
    let id = world.deploy("app").await;
    for begun in 1..=11 {
        world.until("the build begins", async || (world.read("begun").lines().count() == begun).then_some(())).await;
        let job = world.get(&format!("/jobs/{id}")).await;
        assert_eq!((text(&job, "state"), &step(&job, "build")["attempt"]), ("running", &begun.into()), "{job:#}");
        world.kill();
        world.start().await;
    }
    let job = world.ended(&id).await;
    let why = "it was interrupted 10 times with no step done in between";
    assert_eq!((text(&job, "state"), text(&job, "reason")), ("failed", why), "{job:#}");
    assert_eq!(world.read("begun").lines().count(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_log_leads_nowhere_but_to_logs() {
    let world = app("\"echo built\"").await;
    let (job, token) = (world.deployed("app").await, world.token());
    let id = text(&job, "id");
    assert!(world.text(&format!("/jobs/{id}/logs/build")).await.contains("built"));
    for name in [
        "..%2f..%2f..%2foperator-token",
        "%2e%2e/%2e%2e/operator-token",
        "build%2f..%2f..%2f..%2foperator-token",
        "rollout/..%2f..%2f..%2f..%2foperator-token",
        "%2foperator-token",
        "build%00",
        ".%2fbuild",
    ] {
        let answer = world.text(&format!("/jobs/{id}/logs/{name}")).await;
        assert!(answer.contains("\"error\"") && !answer.contains(&token), "{name}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_roots_inside_a_git_dep_are_mirrored_for_the_build_which_has_no_keys() {
    let mut world = World::new(0);
    let base = world.commit("base", &[("deps.edn", "{}")]);
    let module = world.deps(&[("base", base)]);
    let lib = "{:deps {acme/module {:local/root \"module\"}}}";
    let lib = world.commit("lib", &[("deps.edn", lib), ("module/deps.edn", &module)]);
    let tool = world.commit("tool", &[("deps.edn", "{}")]);
    let alias = format!("{{:deps {{acme/tool {{:git/url \"{}\" :git/sha \"{tool}\"}}}}}}", world.url("tool"));
    let text = world.deps(&[("lib", lib)]).replace("#_#_ :old {:x 1}", &format!(":aliases {{:build {alias}}}"));
    world.commit("app", &[("deps.edn", &text)]);
    let clone = |repo: &str| format!("git clone -q {} {repo}", world.url(repo));
    let build = format!("{} && {} && git -C base cat-file -e {base}", clone("base"), clone("tool"));
    world.deploy_edn(&format!(":app {{:git-url \"{{repo:app}}\" :build \"{build}\"}}"));
    world.start().await;
    let job = world.deployed("app").await;
    let log = world.whole_log(job["id"].as_str().unwrap(), "build").await;
    assert_eq!(job["state"], "succeeded", "{log}\n{}", world.log());
    // What is kept with the job is what was brought for the build.
    let runs = world.get(&format!("/where?lib=acme/base&sha={base}")).await;
    assert_eq!(runs["runs"][0]["locked"]["via"], "acme/module", "{runs:#}");
    let runs = world.get(&format!("/where?lib=acme/tool&sha={tool}")).await;
    assert_eq!(runs["runs"][0]["app"], "app", "{runs:#}");
}
