//! `airplanes demo`, as a person runs it: it shows what it promises, and leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far more than it takes, for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

fn demo(tmp: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airplanes"));
    command.arg("demo").args(args).env("TMPDIR", tmp).stdin(Stdio::null());
    command
}

/// A folder for its folder, with a path that is short enough to be taken.
fn short_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ap-").rand_bytes(4).tempdir_in("/tmp").unwrap()
}

/// Live processes that name `folder` in their arguments, environment or working directory.
fn processes_of(folder: &Path) -> Vec<String> {
    let needle = folder.to_str().unwrap().as_bytes();
    let names = |bytes: Vec<u8>| bytes.windows(needle.len()).any(|w| w == needle);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().chars().all(|c| c.is_ascii_digit()) {
            continue;
        }
        let read = |file: &str| fs::read(path.join(file)).unwrap_or_default();
        let state = String::from_utf8_lossy(&read("stat")).rsplit(')').next().unwrap_or_default().trim().to_owned();
        let inside = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        if !state.starts_with('Z') && (inside || names(read("cmdline")) || names(read("environ"))) {
            found.push(String::from_utf8_lossy(&read("cmdline")).replace('\0', " "));
        }
    }
    found
}

fn nothing_is_left(tmp: &Path) {
    assert_eq!(processes_of(tmp), Vec::<String>::new());
    let files: Vec<_> = fs::read_dir(tmp).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.is_empty(), "{files:?}");
}

/// Reads lines until one holds `text`.
fn read_until(lines: &mut impl Iterator<Item = String>, text: &str, all: &mut String) {
    for line in lines.by_ref() {
        all.push_str(&line);
        all.push('\n');
        if line.contains(text) {
            return;
        }
    }
    panic!("the demo ended before it said {text:?}:\n{all}");
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_demo_shows_a_push_going_live_and_leaves_nothing() {
    let tmp = short_folder();
    let output = demo(tmp.path(), &["--once"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}\n{said}");
    let shown = [
        "web-2          GET http://127.0.0.4:", // before the push
        "Good morning!",
        "202 Accepted",
        "build/resolve",
        "+                       :git/sha",
        "Airplanes-Job: ",
        "1 file changed, 1 insertion(+), 1 deletion(-)",
        "web-2 says: Good evening! (greeting ",
        "one commit, one sha changed, both hosts live on it",
    ];
    for part in shown {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours where there is no terminal");
    assert_eq!(said, "");
    nothing_is_left(tmp.path());
}

#[test]
fn the_demo_reacts_to_the_push_that_it_tells_and_ends_on_ctrl_c() {
    let tmp = short_folder();
    let mut child = demo(tmp.path(), &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut text = String::new();
    read_until(&mut lines, "Push again:", &mut text);
    let push = lines.next().unwrap();
    read_until(&mut lines, "Ctrl-C", &mut text);
    let pushed = Command::new("sh").args(["-c", push.trim()]).output().unwrap();
    assert!(pushed.status.success(), "{push}: {}", String::from_utf8_lossy(&pushed.stderr));
    read_until(&mut lines, "web-2 says: Good night! (greeting ", &mut text);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let mut rest = String::new();
    lines.for_each(|line| rest.push_str(&line));
    assert!(wait(&mut child).success(), "{text}{rest}");
    nothing_is_left(tmp.path());
}
