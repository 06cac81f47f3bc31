//! A daemon that moves with jobs under way: its state folder under another name, or a backup of it on another disk.
//! Jobs go on where they were, whatever paths the old place had left behind.

use serde_json::Value;

use super::super::support::acts::text;
use super::super::support::world::{World, git};

/// A library and an app on a host, whose build waits for a file `go`, and whose restart waits for `on`.
async fn under_way() -> (World, String) {
    let mut world = World::new(1);
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(
        r#":lib {:git-url "{repo:lib}"}
 :app {:git-url "{repo:app}" :update? true
       :build "echo begun >> {dir}/begun; git rev-list HEAD --count; while [ ! -e {dir}/go ]; do sleep 0.05; done"
       :working-directory "{dir}/srv/{host}" :hosts [:web-1] :restart "echo restart >> {dir}/restarts"}"#,
    );
    world.clone_to_hosts("app");
    world.start().await;
    world.push("lib", &[("a", "1")]).await;
    world.until("the build runs", async || Some(()).filter(|()| !world.read("begun").is_empty())).await;
    let jobs = world.get("/jobs?app=app&limit=1").await;
    let id = text(&jobs["jobs"][0], "id").to_owned();
    (world, id)
}

/// The job ends as if nothing had been.
async fn goes_on(world: &World, id: &str) -> Value {
    std::fs::write(world.path("go"), "").unwrap();
    let job = world.ended(id).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    assert_eq!(world.count("app"), 2, "one commit for one push");
    let host = world.path("srv/web-1");
    assert_eq!(git(&host, &["rev-parse", "HEAD"]), world.head("app").to_string());
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_was_moved_after_a_kill_goes_on_with_its_jobs() {
    let (mut world, id) = under_way().await;
    let token = world.token();
    world.kill();
    std::fs::rename(world.path("state"), world.own("elsewhere")).unwrap();
    world.use_state("elsewhere");
    world.start().await;
    assert_eq!(world.token(), token);
    goes_on(&world, &id).await;
    assert!(!world.path("state").exists(), "nothing is written to the old place");
    assert_eq!(world.read("begun"), "begun\nbegun\n", "the build that was killed began again, in a new clone");
    // What is left of the old place is in no file of the new one that is read again.
    let old = world.path("state").display().to_string() + "/";
    let mirrors = std::process::Command::new("grep").args(["-rl", "--", &old]).arg(world.state("mirrors")).output();
    assert_eq!(String::from_utf8(mirrors.unwrap().stdout).unwrap(), "");
    // And the next push goes through.
    world.push("lib", &[("a", "2")]).await;
    assert_eq!(world.job("app").await["state"], "succeeded");
}

/// Killed where the commit is made and not pushed, or half-way on the host: the clone's objects are borrowed from a
/// mirror that is not where it was.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_step_and_moved_it_goes_on() {
    let (mut world, _) = under_way().await;
    std::fs::write(world.path("go"), "").unwrap();
    assert_eq!(world.job("app").await["state"], "succeeded");
    let moments = ["\"based\"", "\"updated\"", "\"publishing\"", "\"host-started\"", "\"host-restarting\""];
    for (n, moment) in moments.iter().enumerate() {
        world.stop();
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), format!("{moment}:after"))];
        world.start().await;
        let count = world.count("app");
        world.push("lib", &[("b", &n.to_string())]).await;
        let died = world.until("the daemon is killed", async || {
            Some(()).filter(|()| world.log().matches("crash-points: killed").count() > n)
        });
        died.await;
        world.kill();
        world.env.clear();
        let (from, to) = (world.state(""), world.own(&format!("moved-{n}")));
        std::fs::rename(from, &to).unwrap();
        world.use_state(&format!("moved-{n}"));
        world.start().await;
        let job = world.job("app").await;
        assert_eq!(job["state"], "succeeded", "{moment}: {job:#}\n{}", world.log());
        assert_eq!(world.count("app"), count + 1, "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_daemon_at_work_goes_on_elsewhere_with_its_jobs_and_logs() {
    let (mut world, id) = under_way().await;
    let log = format!("/jobs/{id}/logs/build?attempt=1");
    let is_told = async || world.text(&log).await.contains("\n2\n").then_some(());
    world.until("the log that is to come along", is_told).await;
    let file = world.path("b.airplanes").display().to_string();
    let backup = world.call(&["backup", &file]).await;
    assert_eq!(backup.code, Some(0), "{backup:?}");
    assert!(backup.err.contains("1 under way, 1 deliveries"), "{backup:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let piped = world.call(&["backup", "-", "--no-logs"]).await;
    assert!(piped.out.starts_with("airplanes backup 1\n") && piped.code == Some(0));

    let config = world.path("config.edn").display().to_string();
    let restore = async |world: &World, more: &[&str]| {
        let args = [&["restore", &file, "--config", &config], more].concat();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_airplanes"));
        let output = command.args(args).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{said}\n{}", world.log());
        (output.status.code().unwrap(), said)
    };
    let (code, said) = restore(&world, &["--replace"]).await;
    assert!(code == 6 && said.contains("stop the daemon first"), "{code}: {said}");
    world.kill();
    let (code, said) = restore(&world, &[]).await;
    assert!(code == 6 && said.contains("--replace keeps that store aside"), "{code}: {said}");

    let token = world.token();
    world.use_state("new");
    let (code, said) = restore(&world, &["--dry-run"]).await;
    assert!(code == 0 && said.contains("where there is none") && !world.own("new").exists(), "{code}: {said}");
    let (code, said) = restore(&world, &[]).await;
    assert!(code == 0 && said.contains("restored to"), "{code}: {said}");
    std::fs::rename(world.path("state"), world.own("burnt")).unwrap();
    world.start().await;
    assert_eq!(world.token(), token);
    let job = goes_on(&world, &id).await;
    for attempt in [1, 2] {
        let log = world.text(&format!("/jobs/{id}/logs/build?attempt={attempt}")).await;
        assert!(log.contains("\n2\n"), "attempt {attempt}: {log}");
    }
    assert_eq!(text(&job, "id"), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_said_in_words_with_the_way_back_and_after_it_the_daemon_runs() {
    let (mut world, id) = under_way().await;
    std::fs::write(world.path("go"), "").unwrap();
    world.ended(&id).await;
    let backups = world.state("backups");
    let first = async || {
        std::fs::read_dir(&backups)
            .ok()?
            .flatten()
            .map(|e| e.path())
            .find(|p| p.extension().is_some_and(|e| e == "airplanes"))
    };
    let daily = world.until("the daily backup", first).await;
    world.kill();
    let db = world.state("store/db");
    let length = std::fs::metadata(&db).unwrap().len();
    std::fs::File::options().write(true).open(&db).unwrap().set_len(0).unwrap();
    std::fs::File::options().write(true).open(&db).unwrap().set_len(length).unwrap();
    let serve = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_airplanes"));
        let output =
            command.args(["serve", "--config"]).arg(world.path("config.edn")).env("RUST_BACKTRACE", "1").output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = serve();
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("panicked") && !said.contains("stack backtrace"), "{said}");
    let command = format!("airplanes restore {} --state {} --replace", daily.display(), world.state("").display());
    let command = command.replace("/ --replace", " --replace");
    assert!(said.contains("is damaged") && said.contains(&command), "{said}\n{command}");
    // As it is told.
    let args: Vec<&str> = command.split(' ').skip(1).collect();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_airplanes")).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    world.start().await;
    world.push("lib", &[("a", "3")]).await;
    assert_eq!(world.job("app").await["state"], "succeeded");
}
