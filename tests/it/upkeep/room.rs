//! Room on the disk: builds wait for it, deliveries do not, and a disk that is really full loses nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use airplanes::model::Forge;

use super::super::support::acts::{is_alive, step, text};
use super::super::support::git_http::GitHttp;
use super::super::support::world::World;

async fn app(build: &str) -> World {
    let mut world = World::new(0);
    world.by_file = true;
    world.commit("app", &[("deps.edn", "{}")]);
    world.deploy_edn(&format!(r#":app {{:git-url "{{repo:app}}" :build "{build}"}}"#));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn below_min_free_jobs_wait_and_say_so_webhooks_are_taken_and_an_edit_lets_them_go_on() {
    let mut world = app("echo built").await;
    world.edit("config.edn", "\"1MB\"", "\"900TB\"");
    world.start().await;
    world.push("app", &[("n", "1")]).await;
    let reason = "less than 900 TB free in";
    let held = async || {
        let job = world.get("/jobs?app=app").await["jobs"].get(0).cloned()?;
        job["reason"].as_str().is_some_and(|said| said.contains(reason)).then_some(job)
    };
    let job = world.until("the job says what it waits for", held).await;
    assert_eq!(job["state"], "queued", "{job:#}");
    assert!(text(&job, "reason").contains(&world.path("state").display().to_string()), "{job:#}");
    // What comes in meanwhile is taken, and joins what waits.
    world.push("app", &[("n", "2")]).await;
    let status = world.get("/status").await;
    assert!(text(&status["disk"], "low").contains(reason), "{status:#}");
    let said = world.call(&["status"]).await;
    assert!(said.out.contains("no build begins:") && said.out.contains(reason), "{said:?}");
    let metrics = world.text("/metrics").await;
    assert!(
        metrics.contains("airplanes_jobs_without_room 1\n") && metrics.contains("airplanes_disk_free_bytes "),
        "{metrics}"
    );
    assert!(world.names("state/work").is_empty() && world.names("state/logs").is_empty());

    world.edit("config.edn", "\"900TB\"", "\"1MB\"");
    let job = world.job("app").await;
    assert_eq!(
        (job["state"].as_str(), job["sha"].as_str()),
        (Some("succeeded"), Some(&*world.head("app").to_string()))
    );
    let metrics = world.text("/metrics").await;
    assert!(metrics.contains("airplanes_jobs_without_room 0\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_room_can_be_canceled_and_does_not_hold_up_the_daemons_end() {
    let mut world = app("echo built").await;
    world.edit("config.edn", "\"1MB\"", "\"900TB\"");
    world.start().await;
    let id = world.deploy("app").await;
    let held = async || world.get(&format!("/jobs/{id}")).await["reason"].as_str()?.contains("less than").then_some(());
    world.until("it waits", held).await;
    let begun = std::time::Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    world.start().await;
    assert_eq!(world.call(&["cancel", &id]).await.code, Some(0));
    assert_eq!(world.ended(&id).await["state"], "canceled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_does_not_take_in_update_is_tried_again_once_there_is_room() {
    let mut world = app("true").await;
    let lib = world.commit("lib", &[("lib", "")]);
    let http = GitHttp::start(world.path("repos"), None).await;
    let url = http.url("lib.git");
    let deps = format!("{{:deps {{acme/lib {{:git/url \"{url}\" :git/sha \"{lib}\"}}}}}}");
    world.commit("app", &[("deps.edn", &deps)]);
    world.deploy_edn(r#":app {:git-url "{repo:app}" :update? true :build "true"}"#);
    world.start().await;
    world.knows(2).await;
    let gate = http.gate.clone().write_owned().await;
    let pushed = world.commit("lib", &[("x", "1")]);
    assert_eq!(world.hook_from(Forge::Github, &url, Some(lib), pushed, "a push").await.0, 202);
    world.in_step("app", "update").await;
    world.edit("config.edn", "\"1MB\"", "\"900TB\"");
    world.until("it is in force", async || world.get("/status").await["disk"]["low"].as_str().map(|_| ())).await;
    drop(std::fs::remove_dir(world.state("work")));
    std::fs::write(world.state("work"), "in the way of every folder").unwrap();
    drop(gate);
    let waits = async || {
        let job = world.get("/jobs?app=app").await["jobs"].get(0).cloned()?;
        job["reason"].as_str()?.contains("less than 900 TB free").then_some(job)
    };
    let waits = world.until("it waits for room", waits).await;
    assert!(step(&waits, "update")["error"].as_str().is_some(), "{waits:#}");
    std::fs::remove_file(world.state("work")).unwrap();
    world.edit("config.edn", "\"900TB\"", "\"1MB\"");
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(world.file("app", "deps.edn").contains(&pushed.to_string()));
}

/// A file system of some megabytes, unmounted when it goes.
struct Small(PathBuf);

impl Small {
    /// ext4 in a file where this machine can loop, else a tmpfs; none where it may mount nothing.
    fn mount(at: &Path, megabytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let image = at.with_extension("image");
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let ran = |program: &str, args: &[&str]| {
            let done = Command::new(program).args(args).arg(at).output();
            done.is_ok_and(|done| done.status.success())
        };
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image).output();
        let is_ext4 = made.is_ok_and(|made| made.status.success());
        if is_ext4 && ran("mount", &["-o", "loop", image.to_str().unwrap()])
            || ran("mount", &["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
        {
            return Some(Self(at.to_owned()));
        }
        eprintln!("skipped: this test mounts a small file system, which only root may, and not everywhere");
        None
    }

    /// Writes until there is no more room; what is written is given.
    fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        for block in [1 << 20, 4096, 512] {
            while file.write_all(&vec![b'x'; block]).is_ok() && file.sync_data().is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_webhooks_in_words_and_once_there_is_room_all_goes_on_without_a_restart() {
    let wait = "echo begun; while [ ! -e {dir}/go ]; do sleep 0.05; done; head -c 3000000 /dev/zero | tr '\\\\0' x; echo; echo end";
    let mut world = app(wait).await;
    world.commit("other", &[("deps.edn", "{}")]);
    let Some(small) = Small::mount(&world.path("state"), 48) else { return };
    world.start().await;
    let pid = world.daemon.as_ref().unwrap().id();
    let id = world.deploy("app").await;
    let begun = async || world.read(&format!("state/logs/{id}/build.1")).contains("begun\n").then_some(());
    world.until("the build is under way", begun).await;
    let mut acknowledged = Vec::new();
    for n in 0..5 {
        acknowledged.push(world.push("other", &[("n", &n.to_string())]).await);
    }

    let ballast = small.fill();
    std::fs::write(world.path("go"), "").unwrap();
    let before = world.head("other");
    let after = world.commit("other", &[("n", "while it is full")]);
    let call = async |id: &str| world.hook(Forge::Github, "other", Some(before), after, id).await;
    // What sled has room for in files that are there already is still taken.
    let mut called = 0;
    let refused = loop {
        called += 1;
        let (status, answer) = call(&format!("full-{called}")).await;
        if status != 202 && status != 200 {
            break (status, answer);
        }
        assert!(called < 20_000, "the disk is never full");
    };
    assert_eq!(refused.0, 503, "{}", refused.1);
    for n in 0..20 {
        let status = call(&format!("still-{n}")).await.0;
        assert!(status == 503 || status == 200, "{status}");
    }
    let fault = async || {
        let status = world.get("/status").await;
        let why = status["store"]["why"].as_str()?.to_owned();
        (status["store"]["state"] == "fault").then_some(why)
    };
    let why = world.until("the status says why", fault).await;
    assert!(why.contains("No space left") || why.contains("space"), "{why}");
    let job = world.log();
    assert!(job.contains("the job waits for the store") || job.contains("No space left"), "{job}");
    // It stays full for a while, and nothing ends.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(is_alive(&pid.to_string()));

    std::fs::remove_file(ballast).unwrap();
    let ready = async || {
        let answer = world.http.get(format!("{}/readyz", world.base())).send().await.ok()?;
        (answer.status() == 200).then_some(())
    };
    world.until("the store takes writes again", ready).await;
    let job = world.ended(&id).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    let attempt =
        job["steps"].as_array().unwrap().iter().find(|step| step["name"] == "build").unwrap()["attempt"].as_u64();
    let log = world.read(&format!("state/logs/{id}/build.{}", attempt.unwrap()));
    assert!(log.len() > 3_000_000 && log.contains("\nend\n"), "{} bytes in attempt {attempt:?}", log.len());
    let (status, answer) = call("after").await;
    assert!(status == 202 || status == 200, "{answer}");
    let (mut deliveries, mut before) = (String::new(), String::new());
    loop {
        let page = world.get(&format!("/deliveries?limit=500{before}")).await;
        deliveries.push_str(&page["deliveries"].to_string());
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    for push in acknowledged.iter().chain([&after]) {
        assert!(deliveries.contains(&push.to_string()), "{push} is lost");
    }
    assert_eq!(world.daemon.as_ref().unwrap().id(), pid);
    assert_eq!(world.call(&["gc"]).await.code, Some(0));
    assert_eq!(world.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_build_that_prints_without_end_64_mb_are_kept_and_it_is_not_ended() {
    let mut world = app("head -c 70000000 /dev/zero | tr '\\\\0' x; echo; echo the end of it; exit 7").await;
    world.start().await;
    let job = world.deploy_to_the_end("app").await;
    let step = job["steps"].as_array().unwrap().iter().find(|step| step["name"] == "build").unwrap().clone();
    assert_eq!((job["state"].as_str(), step["exit_code"].as_i64()), (Some("failed"), Some(7)), "{job:#}");
    let path = world.path("state/logs").join(text(&job, "id")).join("build.1");
    let log = std::fs::read(path).unwrap();
    assert!(log.len() < (64 << 20) + 1000 && log.len() > 64 << 20, "{}", log.len());
    let end = String::from_utf8_lossy(&log[log.len() - 200..]).into_owned();
    assert!(end.contains("[more than 64 MB: what follows is not kept, and the command goes on]\n"), "{end}");
    assert!(end.trim_end().ends_with("s]") && end.contains("exit code 7") && !end.contains("the end of it"), "{end}");
}
