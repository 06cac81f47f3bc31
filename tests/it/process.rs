//! `process` and `runner` with real processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airplanes::model::{AppName, BuildStep, EventId, JobId, Secret, Sha};
use airplanes::process::{Command, Ended, Leftovers, Limits, LogFile, Masker, ProcessError, run};
use airplanes::runner::{Build, BuildOutcome, Limit, Local, Runner};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const JOB: JobId = JobId { event: EventId(42), index: 7 };

/// A state directory, and a shell in it.
struct Place {
    folder: TempDir,
    cancel: CancellationToken,
    limits: Limits,
}

impl Place {
    fn new() -> Self {
        let minute = Duration::from_secs(60);
        let limits = Limits { grace: Duration::from_millis(300), ..Limits::new(minute, minute) };
        Self { folder: TempDir::new().unwrap(), cancel: CancellationToken::new(), limits }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    fn leftovers(&self) -> Leftovers {
        Leftovers::new(self.folder.path())
    }
    fn shell(&self, script: &str) -> Command {
        Command {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            dir: self.folder.path().to_owned(),
            env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            cgroup: None,
        }
    }
    async fn log(&self) -> LogFile {
        LogFile::open(self.path("log"), Masker::default()).await.unwrap()
    }
    async fn run(&self, script: &str) -> Result<Ended, ProcessError> {
        self.run_into(script, &mut self.log().await).await
    }
    async fn run_into(&self, script: &str, log: &mut LogFile) -> Result<Ended, ProcessError> {
        run(self.shell(script), self.limits, JOB, &self.leftovers(), log, &self.cancel).await
    }
    fn output(&self) -> String {
        String::from_utf8(std::fs::read(self.path("log")).unwrap()).unwrap()
    }
    fn records(&self) -> usize {
        std::fs::read_dir(self.path("builds")).map_or(0, |entries| entries.count())
    }
    /// The pids that a script wrote to these files.
    async fn pids(&self, names: &[&str]) -> Vec<i32> {
        let mut pids = Vec::new();
        for name in names {
            let path = self.path(name);
            eventually(|| std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))).await;
            pids.push(std::fs::read_to_string(&path).unwrap().trim().parse().unwrap());
        }
        pids
    }
}

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

async fn eventually(mut what: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it did not come to pass");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A child, a grandchild, one in a session of its own, all deaf to SIGTERM, with their pids in `a`, `b`, `c`.
const FAMILY: &str = r#"trap '' TERM
sleep 3600 & echo $! > b
setsid sh -c 'echo $$ > c; exec sleep 3600' &
echo $$ > a; echo ready; wait"#;

#[tokio::test]
async fn the_exit_code_and_the_signal_are_kept() {
    let place = Place::new();
    assert_eq!(place.run("exit 0").await.unwrap(), Ended::Exited(0));
    assert_eq!(place.run("exit 37").await.unwrap(), Ended::Exited(37));
    assert_eq!(place.run("kill -SEGV $$").await.unwrap(), Ended::Signaled(11));
    assert_eq!(place.records(), 0);
}

#[tokio::test]
async fn output_and_errors_are_kept_byte_by_byte_in_their_order() {
    let place = Place::new();
    let script = r"for i in 1 2 3; do echo out $i; echo err $i >&2; printf '\000\377'; done; printf tail";
    place.run(script).await.unwrap();
    let want: Vec<u8> = (1..=3).flat_map(|i| format!("out {i}\nerr {i}\n\0\u{1}").into_bytes()).collect();
    let want: Vec<u8> = want.into_iter().map(|b| if b == 1 { 0xff } else { b }).chain(*b"tail").collect();
    assert_eq!(std::fs::read(place.path("log")).unwrap(), want);
    place.run("echo more").await.unwrap();
    assert!(std::fs::read(place.path("log")).unwrap().ends_with(b"tailmore\n"), "a log goes on at its end");
}

#[tokio::test]
async fn the_input_is_empty_and_the_environment_is_what_was_given() {
    let place = Place::new();
    place.run("cat; env | cut -d= -f1 | grep -v -e _ -e PWD | sort | tr '\\n' ' '").await.unwrap();
    assert_eq!(place.output(), "PATH ");
    place.run("ps -o pid=,pgid=,sid= -p $$ | tr -s ' '").await.unwrap();
    let ids = place.output().replace("PATH ", "");
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert!(ids.len() == 3 && ids[0] == ids[1] && ids[1] == ids[2], "it leads its group and session: {ids:?}");
}

#[tokio::test]
async fn what_is_announced_can_be_read_from_the_file() {
    let place = Place::new();
    let mut log = place.log().await;
    let mut length = log.subscribe();
    let path = place.path("log");
    let follower = tokio::spawn(async move {
        let mut seen = Vec::new();
        while length.changed().await.is_ok() {
            let announced = *length.borrow_and_update();
            seen = std::fs::read(&path).unwrap();
            assert!(seen.len() as u64 >= announced);
        }
        seen
    });
    place.run_into("for i in 1 2 3; do echo $i; sleep 0.05; done", &mut log).await.unwrap();
    drop(log);
    assert_eq!(follower.await.unwrap(), b"1\n2\n3\n");
}

#[tokio::test]
async fn cancel_ends_everything_even_a_grandchild_that_left_the_session() {
    let place = Place::new();
    let (ended, pids) = tokio::join!(place.run(FAMILY), async {
        let pids = place.pids(&["a", "b", "c"]).await;
        assert!(pids.iter().all(|pid| alive(*pid)));
        place.cancel.cancel();
        pids
    });
    assert_eq!(ended.unwrap(), Ended::Canceled);
    assert_eq!(pids.into_iter().filter(|pid| alive(*pid)).count(), 0);
    assert_eq!(place.output(), "ready\n");
    assert_eq!(place.records(), 0);
    assert_eq!(place.run("echo never").await.unwrap(), Ended::Canceled);
    assert_eq!(place.output(), "ready\n", "what is canceled before it starts does not start");
}

#[tokio::test]
async fn a_child_asked_to_end_may_say_its_last_words() {
    let place = Place::new();
    let script = "trap 'seq 1 40000; echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done";
    let mut log = place.log().await;
    let mut length = log.subscribe();
    let limits = Limits { grace: Duration::from_secs(20), ..place.limits };
    let leftovers = place.leftovers();
    let (ended, ()) = tokio::join!(run(place.shell(script), limits, JOB, &leftovers, &mut log, &place.cancel), async {
        length.changed().await.unwrap();
        place.cancel.cancel();
    });
    assert_eq!(ended.unwrap(), Ended::Canceled);
    assert!(place.output().ends_with("40000\nbye\n"));
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_does_not_hold_the_job() {
    let mut place = Place::new();
    place.limits.linger = Duration::from_millis(200);
    let begun = Instant::now();
    assert_eq!(place.run("sleep 3600 & echo $! > a; echo out; exit 5").await.unwrap(), Ended::Exited(5));
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(!alive(place.pids(&["a"]).await[0]));
    assert_eq!(place.output(), "out\n");
    // Nor does one that lets go of the pipe and would stay for ever.
    let quiet = "setsid sleep 3600 >/dev/null 2>&1 & echo $! > b; exit 0";
    assert_eq!(place.run(quiet).await.unwrap(), Ended::Exited(0));
    assert!(!alive(place.pids(&["b"]).await[0]));
}

#[tokio::test]
async fn silence_is_counted_from_the_last_byte() {
    let mut place = Place::new();
    place.limits.silence = Duration::from_millis(400);
    let script = "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; sleep 3600";
    assert_eq!(place.run(script).await.unwrap(), Ended::SilenceTimeout(place.limits.silence));
    assert_eq!(place.output(), "1\n2\n3\n4\n5\n6\n");
}

#[tokio::test]
async fn a_chatterbox_meets_the_total_time_out() {
    let mut place = Place::new();
    place.limits.total = Duration::from_millis(300);
    let ended = place.run("echo $$ > a; while :; do echo x; done").await.unwrap();
    assert_eq!(ended, Ended::TotalTimeout(place.limits.total));
    assert!(!alive(place.pids(&["a"]).await[0]));
}

#[tokio::test]
async fn secrets_never_reach_the_log_even_in_two_halves() {
    let place = Place::new();
    let secrets = [Secret::new("a", "hunter22"), Secret::new("short", "abc"), Secret::new("key", "BEGIN\nMIIabc/+=\n")];
    let mut log = LogFile::open(place.path("log"), Masker::new(&secrets)).await.unwrap();
    let script =
        "printf 'pw=hun'; sleep 0.1; printf 'ter22 abc\\n'; printf 'MIIa'; sleep 0.1; echo 'bc/+='; printf hunt";
    place.run_into(script, &mut log).await.unwrap();
    assert_eq!(place.output(), "pw=*** abc\n***\nhunt");
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_ends_the_command() {
    let place = Place::new();
    let mut log = LogFile::open("/dev/full", Masker::default()).await.unwrap();
    let error = place.run_into("echo $$ > a; echo x; exec sleep 3600", &mut log).await.unwrap_err();
    assert!(matches!(error, ProcessError::DiskFull { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the disk is full: /dev/full could not be written, so the command was ended; free some space and run it again"
    );
    assert!(!alive(place.pids(&["a"]).await[0]));
}

#[tokio::test]
async fn a_command_that_cannot_start_says_so_and_leaves_nothing() {
    let place = Place::new();
    let mut log = place.log().await;
    let command = Command { dir: "/no/such/folder".into(), ..place.shell("true") };
    let error = run(command, place.limits, JOB, &place.leftovers(), &mut log, &place.cancel).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not start `/bin/sh` in /no/such/folder: No such file or directory (os error 2); \
         see that the program is in PATH and the folder exists"
    );
    assert_eq!(place.records(), 0);
}

#[tokio::test]
async fn a_run_that_is_dropped_kills_what_it_started() {
    let place = Place::new();
    let pids = tokio::select! {
        _ = place.run(FAMILY) => panic!("it ran on"),
        pids = place.pids(&["a", "b", "c"]) => pids,
    };
    eventually(|| !pids.iter().any(|pid| alive(*pid))).await;
    assert_eq!(place.records(), 1, "not confirmed, so it stays recorded");
    place.leftovers().sweep().await.unwrap();
    assert_eq!(place.records(), 0);
}

/// A test that needs a process of its own runs itself again with this variable, which names its folder.
const AGAIN: &str = "AIRPLANES_TEST_FOLDER";

fn again(test: &str, folder: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(AGAIN, folder).stdout(std::process::Stdio::null());
    command
}

#[tokio::test]
async fn what_a_killed_daemon_left_is_found_and_ended() {
    let mut place = Place::new();
    if let Some(folder) = std::env::var_os(AGAIN).map(PathBuf::from) {
        let command = Command { dir: folder.clone(), ..place.shell(FAMILY) };
        place.limits.linger = Duration::from_secs(60);
        let mut log = place.log().await;
        run(command, place.limits, JOB, &Leftovers::new(&folder), &mut log, &place.cancel).await.unwrap();
        return;
    }
    let test = "process::what_a_killed_daemon_left_is_found_and_ended";
    let mut daemon = again(test, place.folder.path()).spawn().unwrap();
    let pids = place.pids(&["a", "b", "c"]).await;
    eventually(|| {
        std::fs::read_to_string(place.path(&format!("builds/{JOB}.pid"))).is_ok_and(|t| t.contains("leader\":["))
    })
    .await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(pids.iter().all(|pid| alive(*pid)), "they outlive the daemon");
    // The leader goes, so that pid and start time find nothing: the rest is found by its mark.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pids[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually(|| !alive(pids[0])).await;
    let swept = place.leftovers().sweep().await.unwrap();
    assert_eq!(swept.len(), 1);
    assert_eq!((swept[0].job, swept[0].processes), (JOB, 2));
    assert!(!pids.iter().any(|pid| alive(*pid)));
    assert_eq!(place.leftovers().sweep().await.unwrap(), []);
}

#[tokio::test]
async fn a_recycled_pid_and_a_pid_of_another_boot_are_left_alone() {
    let place = Place::new();
    let mut innocent = std::process::Command::new("sleep").arg("3600").spawn().unwrap();
    let pid = innocent.id();
    let start: u64 = {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap()
    };
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    std::fs::create_dir(place.path("builds")).unwrap();
    let path = place.path(&format!("builds/{JOB}.pid"));
    let record = |boot: &str, start: u64| {
        let boot = boot.trim();
        let text = format!(r#"{{"version":1,"job":"{JOB}","mark":"feed","boot":"{boot}","leader":[{pid},{start}]}}"#);
        std::fs::write(&path, text).unwrap();
    };
    for (boot, start) in [(boot.as_str(), start - 1), ("another", start)] {
        record(boot, start);
        assert_eq!(place.leftovers().sweep().await.unwrap()[0].processes, 0);
        assert!(alive(pid as i32));
        assert!(!path.exists());
    }
    std::fs::write(&path, "{").unwrap();
    assert_eq!(place.leftovers().sweep().await.unwrap(), []);
    // The very process that was recorded, though, is ended; its group is ours then, so give it one of its own.
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    use std::os::unix::process::CommandExt;
    let mut ours = std::process::Command::new("sleep").arg("3600").process_group(0).spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", ours.id())).unwrap();
    let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap();
    let text = format!(
        r#"{{"version":1,"job":"{JOB}","mark":"feed","boot":"{}","leader":[{},{start}]}}"#,
        boot.trim(),
        ours.id()
    );
    std::fs::write(&path, text).unwrap();
    assert_eq!(place.leftovers().sweep().await.unwrap()[0].processes, 1);
    assert!(!alive(ours.id() as i32));
    ours.wait().unwrap();
}

#[tokio::test]
async fn fifty_megabytes_of_output_are_whole_and_never_in_memory() {
    let place = Place::new();
    if let Some(folder) = std::env::var_os(AGAIN).map(PathBuf::from) {
        let mut log = LogFile::open(folder.join("log"), Masker::new(&[Secret::new("a", "hunter22")])).await.unwrap();
        assert_eq!(place.run_into("seq 1000000 7553600", &mut log).await.unwrap(), Ended::Exited(0));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        return std::fs::write(folder.join("peak"), peak.trim().trim_end_matches(" kB")).unwrap();
    }
    let test = "process::fifty_megabytes_of_output_are_whole_and_never_in_memory";
    assert!(again(test, place.folder.path()).status().unwrap().success());
    let log = std::fs::read(place.path("log")).unwrap();
    assert_eq!(log.len(), 52_428_808);
    assert!(
        log.split(|b| *b == b'\n')
            .zip(1_000_000..)
            .all(|(line, n)| line.is_empty() || line == n.to_string().as_bytes())
    );
    let peak: u64 = std::fs::read_to_string(place.path("peak")).unwrap().parse().unwrap();
    assert!(peak < 48 * 1024, "{peak} kB at its peak");
}

async fn build(place: &Place, script: &str, limit: Duration) -> BuildOutcome {
    let daemon: Vec<(OsString, OsString)> = [
        ("PATH", std::env::var("PATH").unwrap().as_str()),
        ("HOME", "/home/deploy"),
        ("LC_ALL", "C"),
        ("AIRPLANES_TOKEN", "operator"),
        ("GITHUB_SECRET", "hook"),
        ("SSH_AUTH_SOCK", "/tmp/agent"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec();
    let runner = Runner::Local(Local::new(place.leftovers(), daemon));
    let step = BuildStep { name: None, run: script.into() };
    let build = Build {
        job: JOB,
        app: &AppName::new("shop").unwrap(),
        sha: "2455d6ab00000000000000000000000000000001".parse::<Sha>().unwrap(),
        step: &step,
        dir: place.folder.path(),
        directory: None,
        tmp: place.folder.path(),
        reads: &[],
        git_config: Some(Path::new("/state/gitconfig")),
        total: limit,
        silence: Duration::from_secs(60),
    };
    runner.run(build, &mut place.log().await, &place.cancel).await.unwrap()
}

#[tokio::test]
async fn a_build_gets_what_it_needs_and_nothing_of_the_daemons() {
    let place = Place::new();
    let minute = Duration::from_secs(60);
    let outcome = build(&place, "env | grep -v -e ^PATH= -e ^PWD= -e ^OLDPWD= -e ^_= -e ^SHLVL= | sort", minute).await;
    assert_eq!(outcome, BuildOutcome::Done);
    let output = place.output();
    let (mark, rest): (Vec<&str>, Vec<&str>) = output.lines().partition(|line| line.starts_with("AIRPLANES_RUN="));
    assert_eq!(mark.len(), 1);
    assert_eq!(
        rest,
        [
            "AIRPLANES_APP=shop",
            "AIRPLANES_JOB=000000000001a-007",
            "AIRPLANES_SHA=2455d6ab00000000000000000000000000000001",
            "CI=true",
            "GIT_CONFIG_GLOBAL=/state/gitconfig",
            "GIT_TERMINAL_PROMPT=0",
            "HOME=/home/deploy",
            "LANG=C.UTF-8",
            "LC_ALL=C",
            "SHELL=/bin/sh",
        ]
    );
}

#[tokio::test]
async fn the_ways_a_build_ends_are_told_in_words() {
    let place = Place::new();
    let minute = Duration::from_secs(60);
    let failed = build(&place, "exit 3", minute).await;
    assert_eq!(failed, BuildOutcome::Failed { exit_code: 3 });
    assert_eq!(failed.to_string(), "the build failed: exit code 3");
    let missing = build(&place, "no-such-command-at-all", minute).await;
    assert_eq!(
        missing.to_string(),
        "the build failed: exit code 127 (a command is not installed here, or not in PATH)"
    );
    let killed = build(&place, "kill -KILL $$", minute).await;
    assert_eq!(
        killed.to_string(),
        "the build was killed from outside: SIGKILL (9); `dmesg` tells whether the machine ran out of memory"
    );
    let late = build(&place, "exec sleep 3600", Duration::from_millis(250)).await;
    assert_eq!(late, BuildOutcome::TimedOut { limit: Limit::Total, after: Duration::from_millis(250) });
    assert_eq!(late.to_string(), "the build was ended: it took longer than 250 ms; :timeout allows more");
    place.cancel.cancel();
    assert_eq!(build(&place, "true", minute).await.to_string(), "the build was canceled");
}
