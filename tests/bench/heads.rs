//! (f) The heads of 200 dependencies that lie in 60 repositories, over ssh and over http on loopback, as `airplanes sync`
//! asks for them: beside `xargs -P 8 -n 1 git ls-remote` of the 200 urls with the same key, which is what a script does.
//!
//! A commit that nobody told of is there to be found in each turn, by both. They take turns; the daemon makes nothing of
//! it (a dry run), so that no turn is another than the one before.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::model::Sha;
use anyhow::{Context, Result, ensure};

use crate::Extent;
use crate::stats::{median, time};
use crate::support::git_http::GitHttp;
use crate::support::world::World;
use crate::table::{Table, Target};

/// How many dependencies the app has, and in how many repositories they lie.
const DEPS: usize = 200;
const REPOS: usize = 60;
/// How long the daemon may take to read the apps and to look into their libraries.
const READ_WITHIN: Duration = Duration::from_secs(180);

pub fn measure(extent: Extent, table: &mut Table) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut world = World::new(0);
    world.env.push(("RUST_LOG".to_owned(), "info".to_owned()));
    let http = runtime.block_on(GitHttp::start(world.path("repos"), None));
    let heads: Vec<Sha> = (0..REPOS).map(|n| world.commit(&lib(n), &[("n", &n.to_string())])).collect();
    let by_ssh = |repo: &str| world.url(repo).to_string();
    let by_http = |repo: &str| http.url(&format!("{repo}.git")).to_string();
    let (ssh_urls, http_urls) = (urls(by_ssh), urls(by_http));
    for (app, urls) in [("ssh", &ssh_urls), ("http", &http_urls)] {
        world.commit(app, &[("deps.edn", &deps(urls, &heads)?)]);
    }
    let entries = format!(
        ":ssh {{:git-url \"{}\" :update? true :build \"true\"}} :http {{:git-url \"{}\" :update? true :build \"true\"}}",
        by_ssh("ssh"),
        by_http("http")
    );
    world.deploy_edn(&entries);
    runtime.block_on(read(&mut world))?;
    let moved = world.commit(&lib(7), &[("moved", "")]);
    for (app, urls, name) in [("ssh", &ssh_urls, "ssh"), ("http", &http_urls, "http")] {
        let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..extent.pick(6, 3) {
            let peer = theirs_takes(&world, urls, moved)?;
            let own = runtime.block_on(ours_takes(&world, app, moved))?;
            // The first is a warm-up.
            if turn > 0 {
                ratios.push(own / peer);
                ours.push(own);
                theirs.push(peer);
            }
        }
        let shown = |seconds: &[f64]| time(Duration::from_secs_f64(median(seconds)));
        let what = format!("(f) heads of {DEPS} dependencies in {REPOS} repositories, {name}");
        table.compare(what, shown(&ours), shown(&theirs), median(&ratios), Some(Target::AtMost(0.7)));
    }
    Ok(())
}

fn lib(n: usize) -> String {
    format!("lib-{n}")
}

/// The url of each dependency.
fn urls(url: impl Fn(&str) -> String) -> Vec<String> {
    (0..DEPS).map(|n| url(&lib(n % REPOS))).collect()
}

fn deps(urls: &[String], heads: &[Sha]) -> Result<String> {
    let mut text = String::from("{:deps {");
    for (n, url) in urls.iter().enumerate() {
        writeln!(text, "acme/d-{n} {{:git/url \"{url}\" :git/sha \"{}\"}}", heads[n % REPOS])?;
    }
    Ok(text + "}}\n")
}

/// Starts the daemon, and returns once it has read both apps, looked into their libraries and seen where all begin.
async fn read(world: &mut World) -> Result<()> {
    world.start().await;
    let deadline = Instant::now() + READ_WITHIN;
    let mirrors = world.state("mirrors");
    loop {
        let made = std::fs::read_dir(&mirrors).into_iter().flatten().flatten();
        let made = made.filter(|entry| entry.path().extension().is_some_and(|end| end == "git")).count();
        if made == 2 * (REPOS + 1) {
            break;
        }
        ensure!(Instant::now() < deadline, "{made} mirrors are made, no more\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, answer) = world.post("/sync").await;
    ensure!(status == 200 && answer["asked"] == 2 * (REPOS + 1), "{answer}");
    Ok(())
}

/// Seconds until the daemon has said what moved at the app's remotes.
async fn ours_takes(world: &World, app: &str, moved: Sha) -> Result<f64> {
    let began = Instant::now();
    let (status, answer) = world.post(&format!("/sync?app={app}&dry_run=true")).await;
    let took = began.elapsed().as_secs_f64();
    let all = answer["asked"] == REPOS + 1 && answer["failed"].as_array().is_some_and(Vec::is_empty);
    let found = answer["moved"].as_array().map(|moved| moved.iter().map(|m| m["now"].as_str()).collect::<Vec<_>>());
    let moved = moved.to_string();
    ensure!(status == 200 && all && found == Some(vec![Some(&*moved)]), "{answer}\n{}", world.log());
    Ok(took)
}

/// Seconds that the script takes.
fn theirs_takes(world: &World, urls: &[String], moved: Sha) -> Result<f64> {
    let (key, known_hosts) = (&world.ground.git_key.1, world.path("known_hosts"));
    let ssh = format!(
        "ssh -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o BatchMode=yes",
        key.display(),
        known_hosts.display()
    );
    let began = Instant::now();
    let mut xargs = Command::new("xargs")
        .args(["-P", "8", "-n", "1", "git", "ls-remote"])
        .env("GIT_SSH_COMMAND", ssh)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(Path::new("/"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    xargs.stdin.take().context("no stdin")?.write_all(urls.join("\n").as_bytes())?;
    let output = xargs.wait_with_output()?;
    let took = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stdout);
    let heads = said.lines().filter(|line| line.ends_with("\tHEAD")).count();
    let found = said.matches(&format!("{moved}\tHEAD")).count();
    let wanted = (0..DEPS).filter(|n| n % REPOS == 7).count();
    ensure!(output.status.success() && (heads, found) == (DEPS, wanted), "{heads} heads, {found} moved: {said}");
    Ok(took)
}
