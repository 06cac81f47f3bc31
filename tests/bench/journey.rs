//! (b) From the webhook of a push to a library until the app that depends on it is live on its host, over real sshds,
//! with a build that takes no time: beside a shell script that a competent person would write for the same
//! (`journey.sh`), with a kept clone and the same git, build and ssh commands.
//!
//! Both have an app of their own on the same git host and the same host, and the same health url. They take turns, and
//! no connection of ours is left over from the turn before: pushes are seldom a minute apart.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use airplanes::model::{Forge, Sha};
use anyhow::{Context, Result, ensure};

use crate::Extent;
use crate::script::{Script, compare, ssh_options};
use crate::support::world::{World, git};
use crate::table::Table;

pub fn measure(extent: Extent, table: &mut Table) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let port = healthy()?;
    let mut world = World::new(1);
    world.env.push(("RUST_LOG".to_owned(), "info".to_owned()));
    let mut before = world.commit("lib", &[("deps.edn", "{:deps {}}\n")]);
    for app in ["ours", "theirs"] {
        let deps = world.deps(&[("lib", before)]);
        world.commit(app, &[("deps.edn", &deps), ("src/app.clj", "(ns app)\n")]);
        let bare = world.path("repos").join(format!("{app}.git"));
        git(&world.open(), &["clone", "-q", &bare.display().to_string(), &format!("srv-{app}")]);
    }
    let script = script(&world, port)?;
    world.deploy_edn(&format!(
        r#":ours {{:git-url "{{repo:ours}}" :update? true :build "true" :working-directory "{{dir}}/srv-ours" :hosts [:web-1]
            :restart "true" :health {{:url "http://127.0.0.1:{port}/" :stable "0s"}}}}"#
    ));
    runtime.block_on(async {
        world.start().await;
        world.get("/apps").await;
    });
    compare(table, "(b) push to live on one host over ssh, empty build", 0.7, extent.pick(12, 4), |turn| {
        let after = world.commit("lib", &[("change", &turn.to_string())]);
        let peer = script.run()?;
        let live = git(&world.path("srv-theirs"), &["show", "HEAD:deps.edn"]);
        ensure!(live.contains(&after.to_string()), "the script's host does not have the bump");
        if let Some(host) = &world.hosts[0] {
            host.drop_connections();
        }
        let own = runtime.block_on(ours_takes(&world, before, after))?;
        before = after;
        Ok((own, peer))
    })
}

/// Seconds from the webhook's first byte to the end of the job that it made.
async fn ours_takes(world: &World, before: Sha, after: Sha) -> Result<f64> {
    let began = Instant::now();
    let (status, answer) = world.hook(Forge::Github, "lib", Some(before), after, &after.to_string()).await;
    ensure!(status == 202, "the push was answered with {status}: {answer}");
    let event = answer["event"].as_str().context("no event")?.to_owned();
    loop {
        let jobs = world.get("/jobs?limit=1").await;
        let job = &jobs["jobs"][0];
        if job["event"] == event.as_str() && !job["finished_at"].is_null() {
            let took = began.elapsed().as_secs_f64();
            ensure!(job["state"] == "succeeded", "the job ended otherwise: {job:#}\n{}", world.log());
            let live = git(&world.path("srv-ours"), &["show", "HEAD:deps.edn"]);
            ensure!(live.contains(&after.to_string()), "the host does not have the bump");
            if std::env::var_os("BENCH_STEPS").is_some() {
                eprintln!("{took:.3} s: {:#}", job["steps"]);
            }
            return Ok(took);
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "the app does not go live: {job:#}\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn script(world: &World, port: u16) -> Result<Script> {
    let host = world.hosts[0].as_ref().context("no host")?;
    let (options, clone) = (ssh_options(world, host.client_key()), world.path("script-clone"));
    let ssh = format!("ssh {options} -p {} {}@{}", host.address().port(), host.user(), host.address().ip());
    let script = Script {
        file: "journey.sh",
        env: vec![
            ("CLONE", clone.display().to_string()),
            ("LIBRARY", world.url("lib").to_string()),
            ("GIT_SSH_COMMAND", format!("ssh {options}")),
            ("SSH", ssh),
            ("FOLDER", world.path("srv-theirs").display().to_string()),
            ("HEALTH", format!("http://127.0.0.1:{port}/")),
        ],
    };
    let made = script.command("git").args(["clone", "-q", world.url("theirs").as_str()]).arg(&clone).status()?;
    ensure!(made.success(), "the script's clone could not be made");
    Ok(script)
}

/// Answers every call with 200, on the port that it gives.
fn healthy() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who asks and goes away without an answer is none of ours.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    Ok(port)
}
