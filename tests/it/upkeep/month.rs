//! Thirty days in some minutes: the real daemon under a clock that is put forward each night (libfaketime; its monotonic
//! clock is left alone), three libraries and five apps, pushes all day, upkeep, and now and then an end by SIGTERM or, in
//! the middle of it all, by SIGKILL. What it holds on the thirtieth day is compared with the third.
//!
//! `scripts/month` runs all of it and prints a table (`AIRPLANES_MONTH=full`); a test run takes three short days.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::support::acts::{is_alive, processes};
use super::super::support::world::World;

/// Three libraries, and five apps: one with a host, one whose build leaves a process behind, one whose build fails.
const APPS: &str = r#":lib1 {:git-url "{repo:lib1}"} :lib2 {:git-url "{repo:lib2}"} :lib3 {:git-url "{repo:lib3}" :update? true}
 :app1 {:git-url "{repo:app1}" :update? true :build "git rev-parse HEAD" :working-directory "{dir}/srv/{host}"
        :hosts [:web-1] :restart "true"}
 :app2 {:git-url "{repo:app2}" :update? true :build [{:name "a" :run "head -c 20000 /dev/zero | tr '\\0' x"} {:name "b" :run "date > made"}]}
 :app3 {:git-url "{repo:app3}" :update? true :build "setsid sleep 300 >/dev/null 2>&1 & echo left one behind"}
 :app4 {:git-url "{repo:app4}" :update? true :build "git log -1 --format=%H | grep -q '[0-7]$'"}
 :app5 {:git-url "{repo:app5}" :update? true :build "cat deps.edn"}"#;
/// What each depends on.
const DEPS: [(&str, &[&str]); 6] = [
    ("lib3", &["lib1"]),
    ("app1", &["lib1", "lib2"]),
    ("app2", &["lib1"]),
    ("app3", &["lib2"]),
    ("app4", &["lib3", "lib2"]),
    ("app5", &["lib3"]),
];

/// What the daemon holds at the end of a day.
#[derive(Debug, Clone, Default)]
struct Held {
    jobs: usize,
    /// Megabytes: of memory now, at its highest, and of the state folder.
    memory: u64,
    /// Of the memory, what is no file's.
    own: u64,
    highest: u64,
    state: u64,
    /// Of the state folder: the store, the mirrors, the logs.
    parts: [u64; 3],
    /// Counts of what may leak.
    counts: BTreeMap<&'static str, usize>,
}

fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = folders.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    found.find(|path| path.exists())
}

struct Month {
    world: World,
    clock: PathBuf,
    pushes: usize,
    jobs: usize,
}

impl Month {
    fn new(clock: PathBuf) -> Self {
        let mut world = World::new(1);
        world.by_file = true;
        let mut heads = BTreeMap::new();
        for name in ["lib1", "lib2"] {
            heads.insert(name, world.commit(name, &[("deps.edn", "{}")]));
        }
        for (name, deps) in DEPS {
            let deps: Vec<_> = deps.iter().map(|dep| (*dep, heads[dep])).collect();
            let head = world.commit(name, &[("deps.edn", &world.deps(&deps))]);
            heads.insert(name, head);
        }
        world.clone_to_hosts("app1");
        world.deploy_edn(APPS);
        world.edit("config.edn", ":disk {", ":keep {:jobs 15 :days 10} :disk {");
        std::fs::create_dir(world.path("tmp")).unwrap();
        Self { world, clock, pushes: 0, jobs: 0 }
    }

    /// Puts the clock forward to that day. The daemon looks at it once a second.
    async fn dawn(&mut self, day: usize) {
        std::fs::write(self.world.path("clock"), format!("+{day}d\n")).unwrap();
        if self.world.daemon.is_none() {
            let path = |name: &str| self.world.path(name).display().to_string();
            let env = [
                ("LD_PRELOAD", self.clock.display().to_string()),
                ("FAKETIME_TIMESTAMP_FILE", path("clock")),
                ("FAKETIME_CACHE_DURATION", "1".to_owned()),
                ("DONT_FAKE_MONOTONIC", "1".to_owned()),
                // As its unit has it.
                ("MALLOC_ARENA_MAX", "2".to_owned()),
                ("TMPDIR", path("tmp")),
            ];
            self.world.env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
            self.world.start().await;
            assert!(self.world.daemon.is_some(), "day {day}");
        }
        // A round of upkeep tells the daemon's time.
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * day as i64 - 1);
        let it_is = async || {
            self.world.call(&["gc", "--dry-run"]).await;
            let round = self.world.get("/gc").await;
            (round["started_at"].as_str()?.parse::<jiff::Timestamp>().ok()? > at).then_some(())
        };
        self.world.until("the daemon's clock has moved", it_is).await;
    }

    /// A push to a library in its turn, and what follows from it. Gives how many jobs that were.
    async fn push(&mut self) {
        let lib = ["lib1", "lib2", "lib3"][self.pushes % 3];
        self.pushes += 1;
        self.world.push(lib, &[("n", &self.pushes.to_string())]).await;
    }

    async fn day(&mut self, day: usize, jobs: usize) -> Held {
        self.dawn(day).await;
        let before = self.count().await;
        let mut made = 0;
        while made < jobs {
            self.push().await;
            self.world.settled().await;
            made = self.count().await - before;
        }
        self.jobs += made;
        let said = self.world.call(&["gc", "--json"]).await;
        assert_eq!(said.code, Some(0), "day {day}: {said:?}\n{}", self.world.log());
        self.held().await
    }

    /// The night: the daemon goes on, or is ended by SIGTERM, or in the middle of two pushes by SIGKILL.
    async fn end(&mut self, day: usize) {
        if day % 8 == 2 {
            self.push().await;
            self.push().await;
            let running = async || self.world.get("/jobs?state=running").await["jobs"].get(0).cloned();
            self.world.until("a job is under way", running).await;
            self.world.kill();
        } else if day % 8 == 6 {
            assert_eq!(self.world.stop(), Some(0), "day {day}");
        }
    }

    /// How many jobs there were: those that are gone count, since ids of plans go on.
    async fn count(&self) -> usize {
        let text = self.world.text("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with("airplanes_jobs_ended_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
    }

    async fn held(&self) -> Held {
        let world = &self.world;
        let pid = world.daemon.as_ref().unwrap().id();
        // A killed daemon's ssh master goes after a minute by itself.
        let masters = || processes(&world.path("run").display().to_string()).len();
        let deadline = Instant::now() + Duration::from_secs(90);
        while masters() > 1 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let under = |folder: &str| tree(&world.path(folder));
        let count = |folder: &str| world.names(folder).len();
        let rests = world.names("state/mirrors").iter().filter(|name| !name.ends_with(".git")).count();
        let counts = BTreeMap::from([
            ("open files", std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()),
            ("threads", line("Threads") as usize),
            ("processes", processes_of(world.open().parent().unwrap()).len()),
            ("ssh masters", masters()),
            ("worktrees", count("state/work")),
            ("build records", count("state/builds")),
            ("temporary files", count("tmp")),
            ("control folders", count("run")),
            ("cgroups", cgroups(pid)),
            ("mirrors", count("state/mirrors") - rests),
            ("beside mirrors", rests),
            ("jobs' logs", count("state/logs")),
            ("jobs kept", world.get("/jobs?limit=500").await["jobs"].as_array().unwrap().len()),
        ]);
        let state = under("state").1;
        let parts = ["state/store", "state/mirrors", "state/logs"].map(|folder| under(folder).1);
        Held {
            jobs: self.jobs,
            memory: line("VmRSS"),
            own: line("RssAnon"),
            highest: line("VmHWM"),
            state,
            parts,
            counts,
        }
    }
}

/// How many files a folder holds, and how many kilobytes they take.
fn tree(folder: &Path) -> (usize, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let (mut files, mut blocks) = (0, 0);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        blocks += meta.blocks() / 2;
        files += 1;
        if meta.is_dir() {
            let below = tree(&entry.path());
            (files, blocks) = (files + below.0, blocks + below.1);
        }
    }
    (files, blocks)
}

/// The live processes that have the world's folder in their environment or command line, sshds aside.
fn processes_of(dir: &Path) -> Vec<String> {
    let dir = dir.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let named = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.to_owned();
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let (line, env) = (read("cmdline"), read("environ"));
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let ours = line.contains(&dir) || String::from_utf8_lossy(&env).contains(&dir);
        (ours && !line.contains("sshd") && is_alive(&pid)).then_some(line)
    };
    entries.filter_map(named).collect()
}

/// The cgroups below the daemon's own.
fn cgroups(pid: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let Some(own) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return 0 };
    let folder = Path::new("/sys/fs/cgroup").join(own);
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names.filter(|entry| entry.path().is_dir() && entry.file_name().to_string_lossy().contains("airplanes")).count()
}

fn row(day: usize, held: &Held) {
    let mb = |kb: u64| format!("{:.1}", kb as f64 / 1024.0);
    let counts: Vec<String> = held.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let [store, mirrors, logs] = held.parts.map(mb);
    println!(
        "day {day:2} | {:4} jobs | RSS {} MB (own {}), at most {} | state {} MB (store {store}, mirrors {mirrors}, logs {logs}) | {}",
        held.jobs,
        mb(held.memory),
        mb(held.own),
        mb(held.highest),
        mb(held.state),
        counts.join(", ")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_month_it_holds_no_more_than_after_three_days() {
    let Some(clock) = libfaketime() else {
        eprintln!("skipped: libfaketime is not there; scripts/setup installs it");
        return;
    };
    let full = std::env::var("AIRPLANES_MONTH").is_ok_and(|v| v == "full");
    let optimised = std::env::var("AIRPLANES_DAEMON").is_ok_and(|path| path.contains("/release/"));
    let (days, jobs, compared) = if full { (30, 34, 3) } else { (3, 20, 1) };
    let mut month = Month::new(clock);
    let mut all: Vec<Held> = Vec::new();
    for day in 1..=days {
        let held = month.day(day, jobs).await;
        row(day, &held);
        // A build for tests has a lot of code; what it holds of its own is no different.
        let memory = if optimised { held.memory } else { held.own };
        assert!(memory < 64 * 1024, "day {day}: {memory} KB of memory");
        assert!(held.state < 1 << 20, "day {day}: {} KB of state", held.state);
        all.push(held);
        month.end(day).await;
    }
    let (early, late) = (&all[compared - 1], &all[days - 1]);
    for (what, count) in &late.counts {
        let before = early.counts[what];
        let slack = match *what {
            // Idle connections of the test's own come and go.
            "open files" => 12,
            // So do threads that wait ten seconds for more work: a busy evening has twenty of them.
            "threads" => 40,
            // Fifteen of each of the eight.
            "jobs kept" | "jobs' logs" => 8 * 15 + 8,
            _ => 0,
        };
        assert!(*count <= before + slack, "{what}: {before} on day {compared}, {count} on day {days}");
    }
    assert_eq!((late.counts["worktrees"], late.counts["build records"], late.counts["beside mirrors"]), (0, 0, 1));
    assert!(late.jobs >= days * jobs);
}
