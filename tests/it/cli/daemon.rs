//! The commands that ask a daemon, against the real one with real repositories and hosts.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{airplanes, code, err, out};
use crate::support::world::World;

/// An app on one host; `{build}` is its build.
fn deploy_edn(build: &str) -> String {
    format!(
        r#":lib {{:git-url "{{repo:lib}}" :update? false :trigger :manual}}
 :app {{:git-url "{{repo:app}}" :update? true :build [{{:name "one" :run "echo from one"}} {{:name "two" :run "{build}"}}]
       :working-directory "{{dir}}/srv/{{host}}" :hosts [:web-1] :restart "true"}}"#
    )
}

async fn world(build: &str) -> World {
    let mut world = World::new(1);
    prepare(&mut world, build);
    world.start().await;
    world
}

fn prepare(world: &mut World, build: &str) {
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(&deploy_edn(build));
    world.clone_to_hosts("app");
}

/// A command with the world's configuration.
fn ask(world: &World, args: &[&str]) -> Output {
    airplanes(args).env("AIRPLANES_CONFIG", world.path("config.edn")).output().unwrap()
}

/// Waits until it is so.
async fn until(world: &World, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "it is never so\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_is_watched_to_its_end_and_read_in_every_form() {
    let world = world("echo from two; echo also >&2").await;
    let new = world.commit("lib", &[("src/lib.clj", "(ns lib)")]);

    // No proxy is asked for what is on this machine: it would be shown the token.
    let mut proxied = airplanes(&["jobs"]);
    proxied.env("AIRPLANES_CONFIG", world.path("config.edn")).env("http_proxy", "http://127.0.0.1:1");
    let jobs = proxied.output().unwrap();
    assert_eq!(code(&jobs), 0, "{}", err(&jobs));

    let deploy = ask(&world, &["deploy", "app", "--watch"]);
    assert_eq!(code(&deploy), 0, "{}\n{}", err(&deploy), world.log());
    let id = out(&deploy).trim().to_owned();
    let said = err(&deploy);
    for line in ["▸ prepare", "✔ build/one", "✔ publish", "✔ web-1", "✔ succeeded: "] {
        assert!(said.lines().any(|l| l.starts_with(line)), "{line} is not in\n{said}");
    }
    assert!(
        said.contains(&format!("acme/lib {} -> {} in deps.edn", &said_short(&world, "lib~1"), new.short())),
        "{said}"
    );
    assert!(!said.contains('\x1b') && !out(&deploy).contains('\x1b'));

    let jobs = out(&ask(&world, &["jobs"]));
    assert!(jobs.starts_with("JOB ") && jobs.contains(&id) && jobs.contains("succeeded"), "{jobs}");
    let json: Value = serde_json::from_str(&out(&ask(&world, &["jobs", "--json"]))).unwrap();
    assert_eq!(json["jobs"][0]["id"], id.as_str());
    let edn = out(&ask(&world, &["job", "last", "--edn"]));
    assert!(edn.contains(&format!(":id \"{id}\"")), "{edn}");
    airplanes::edn::read(&edn).unwrap();
    let page = out(&ask(&world, &["job", "last"]));
    for text in ["build/two", "web-1", "acme/lib", "asked"] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }

    let logs = ask(&world, &["logs", &id]);
    assert!(out(&logs).contains("from one\n") && out(&logs).contains("from two\nalso\n"), "{}", out(&logs));
    assert!(err(&logs).contains("==> build/two"), "{}", err(&logs));
    let one = ask(&world, &["logs", "last", "build/one"]);
    assert!(out(&one).contains("from one") && !out(&one).contains("from two"), "{}", out(&one));
    assert_eq!(code(&ask(&world, &["logs", "last", "-f"])), 0);
    assert_eq!(code(&ask(&world, &["logs", "last", "build/three"])), 1);

    let apps = out(&ask(&world, &["apps"]));
    assert!(apps.contains("manual") && apps.contains("web-1"), "{apps}");
    let plan = out(&ask(&world, &["plan", world.url("lib").as_str()]));
    assert!(plan.contains("app") && plan.contains("web-1"), "{plan}");
    let status = out(&ask(&world, &["status"]));
    assert!(status.contains("2 apps") && status.contains("store ok"), "{status}");
    let deliveries = ask(&world, &["deliveries"]);
    assert_eq!((code(&deliveries), out(&deliveries)), (0, String::new()));

    let ended = ask(&world, &["cancel", &id]);
    assert_eq!(code(&ended), 6);
    assert!(err(&ended).contains("succeeded"), "{}", err(&ended));
    let unknown = ask(&world, &["deploy", "appp"]);
    assert_eq!(code(&unknown), 1);
    assert!(err(&unknown).contains("`appp`") && err(&unknown).contains("it has app"), "{}", err(&unknown));
    let mut wrong = airplanes(&["jobs", "--url", &world.base()]);
    let wrong = wrong.env("AIRPLANES_TOKEN", "x").output().unwrap();
    assert_eq!(code(&wrong), 6);
    assert!(err(&wrong).contains("operator-token"), "{}", err(&wrong));

    let again = ask(&world, &["deploy", "app", "--watch"]);
    assert_eq!(code(&again), 0);
    assert!(err(&again).contains("✔ unchanged: "), "{}", err(&again));
}

fn said_short(world: &World, rev: &str) -> String {
    let (repo, back) = rev.split_once('~').unwrap();
    world.in_bare(repo, &["rev-parse", &format!("main~{back}")])[..10].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_is_3_and_a_canceled_one_is_told_while_it_is_followed() {
    let mut world = world("echo broken; exit 9").await;
    assert_eq!(code(&ask(&world, &["jobs", "-n", "0"])), 2, "none is not one");
    let failed = ask(&world, &["deploy", "app", "-w"]);
    assert_eq!(code(&failed), 3, "{}", err(&failed));
    assert!(err(&failed).contains("✘ build/two") && err(&failed).contains("exit code 9"), "{}", err(&failed));
    let logs = ask(&world, &["logs", "last", "-f"]);
    assert_eq!(code(&logs), 3);
    assert!(out(&logs).contains("broken\n"), "{}", out(&logs));

    let marker = "\n :marker {:git-url \"{repo:lib}\" :trigger :manual}";
    world.deploy_edn(&(deploy_edn("echo begun; sleep 60") + marker));
    until(&world, || out(&ask(&world, &["apps"])).contains("marker")).await;
    let id = out(&ask(&world, &["deploy", "app"])).trim().to_owned();
    let mut follow = airplanes(&["logs", &id, "-f"]);
    follow.env("AIRPLANES_CONFIG", world.path("config.edn")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let follow = follow.spawn().unwrap();
    until(&world, || out(&ask(&world, &["logs", &id, "build/two"])).contains("begun\n")).await;
    let cancel = ask(&world, &["cancel", &id]);
    assert_eq!(code(&cancel), 0, "{}", err(&cancel));
    let follow = follow.wait_with_output().unwrap();
    assert_eq!(code(&follow), 1, "{}", err(&follow));
    assert!(out(&follow).contains("begun\n"), "{}", out(&follow));
    assert!(out(&ask(&world, &["jobs", "--state", "canceled"])).contains(&id));
    world.stop();
    assert_eq!(code(&ask(&world, &["jobs"])), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_is_watched_on_while_the_daemon_is_killed_and_started_again() {
    let mut world = World::new(1);
    prepare(&mut world, "test -e {dir}/again || { touch {dir}/again; sleep 60; }");
    // A port that stays the same.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = std::fs::read_to_string(world.path("config.edn")).unwrap();
    std::fs::write(world.path("config.edn"), config.replace("127.0.0.1:0", &free.to_string())).unwrap();
    world.start().await;
    let mut watch = airplanes(&["deploy", "app", "--watch"]);
    let told = std::fs::File::create(world.path("watch.err")).unwrap();
    watch.env("AIRPLANES_CONFIG", world.path("config.edn")).stdout(Stdio::piped()).stderr(told);
    let watch = watch.spawn().unwrap();
    until(&world, || world.path("again").exists()).await;
    world.kill();
    until(&world, || world.read("watch.err").contains("; trying again for 30 s")).await;
    world.start().await;
    let watch = watch.wait_with_output().unwrap();
    let said = world.read("watch.err");
    assert_eq!(code(&watch), 0, "{said}\n{}", world.log());
    assert!(said.contains("the daemon answers again"), "{said}");
    assert!(said.contains("taken up again") && said.contains("succeeded"), "{said}");
    assert_eq!(said.matches("✔ prepare").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_stopped_is_waited_for_aloud_and_not_for_long() {
    let mut world = World::new(0);
    world.deploy_edn("");
    world.start().await;
    let pid = nix::unistd::Pid::from_raw(world.daemon.as_ref().unwrap().id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let began = Instant::now();
    let jobs = ask(&world, &["jobs"]);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(code(&jobs), 7, "{}", err(&jobs));
    assert!(err(&jobs).starts_with("waiting for the daemon at http://"), "{}", err(&jobs));
    assert!(err(&jobs).contains("it may be stopped"), "{}", err(&jobs));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_is_told_once_where_it_belongs() {
    let mut world = World::new(1);
    prepare(&mut world, "true");
    let long = "x".repeat(300);
    let text = deploy_edn("true").replace(":restart \"true\"", &format!(":restart \"echo {long}; exit 4\""));
    world.deploy_edn(&text);
    world.start().await;
    let deploy = ask(&world, &["deploy", "app", "--watch"]);
    assert_ne!(code(&deploy), 0);
    // The unit's own words, and not the command that is quoted beside them.
    let times = |text: &str| text.lines().filter(|line| line.contains(&long)).count();
    assert_eq!(times(&err(&deploy)), 1, "{}", err(&deploy));
    let page = out(&ask(&world, &["job", "last"]));
    assert_eq!(times(&page), 1, "{page}");
    assert!(page.contains(" …"), "{page}");
}
