//! A conversation with a host: many calls in one session, and the lock that its shell holds.

use std::process::Command;
use std::time::{Duration, Instant};

use airplanes::host::lock::{Holder, alone, identity, lock};
use airplanes::host::{Error as HostError, Remote};
use airplanes::model::Host;
use airplanes::ssh::{Error, Hosts, Output};
use tokio_util::sync::CancellationToken;

use super::{Site, alive, call, pid_in, site};

const LONG: Duration = Duration::from_secs(60);

async fn ask_for(
    hosts: &Hosts,
    host: &Host,
    script: &'static str,
    args: &[&str],
    time: Duration,
) -> Result<Output, Error> {
    hosts.run(host, &call(script, args), time, &CancellationToken::new(), &mut |_| ()).await
}

async fn ask(hosts: &Hosts, host: &Host, script: &'static str, args: &[&str]) -> Result<Output, Error> {
    ask_for(hosts, host, script, args, LONG).await
}

async fn text(hosts: &Hosts, host: &Host, script: &'static str, args: &[&str]) -> String {
    ask(hosts, host, script, args).await.unwrap().text().trim().to_owned()
}

fn holder(id: &str) -> Holder {
    Holder {
        id: id.to_owned(),
        who: format!("{id}, who tests"),
        since: jiff::Timestamp::now(),
        why: "a test".to_owned(),
    }
}

/// A clone to lock, and who it is locked for: whatever is asked is asked in that conversation.
fn locked(site: &Site, id: &str) -> (String, Hosts) {
    let folder = site.folder.path().join("shop").display().to_string();
    assert!(Command::new("git").args(["init", "-q", &folder]).status().unwrap().success());
    let hosts = alone(&site.hosts, &site.host, &folder, &holder(id));
    (folder, hosts)
}

async fn until_gone(pid: &str) {
    let begun = Instant::now();
    while alive(pid) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{pid} still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_opening_that_ends_at_once_leaves_a_conversation_that_stands() {
    let site = site(67);
    for n in 0..40 {
        let hosts = site.hosts.in_conversation(&site.host, None);
        assert_eq!(text(&hosts, &site.host, "echo \"$1\"", &[&n.to_string()]).await, n.to_string());
        assert_eq!(text(&hosts, &site.host, "echo more", &[]).await, "more");
        hosts.hang_up().await;
    }
}

#[tokio::test]
async fn many_calls_run_in_one_session_each_with_its_own_arguments_words_and_exit_code() {
    let site = site(60);
    let hosts = site.hosts.in_conversation(&site.host, None);
    let long = "x'\n\"$(id)`\\ü".repeat(5_000);
    for n in 0..20 {
        let script = r#"printf '%s' "$1"; echo "$2 $PPID" >&2; exit "$2""#;
        let output = ask(&hosts, &site.host, script, &[&long, &n.to_string()]).await.unwrap();
        assert_eq!((output.status, output.stdout == long.as_bytes()), (n, true));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with(&format!("{n} ")));
    }
    // Each call is a child of a child of the same shell.
    let one = text(&hosts, &site.host, r#"sed -n 's/^PPid:\s*//p' "/proc/$PPID/status""#, &[]).await;
    let other = text(&hosts, &site.host, r#"sed -n 's/^PPid:\s*//p' "/proc/$PPID/status""#, &[]).await;
    assert_eq!(one, other);
    let flood = r#"head -c 3000000 /dev/zero | tr '\0' x; head -c 3000000 /dev/zero | tr '\0' y >&2"#;
    let mut logged = 0;
    let cancel = CancellationToken::new();
    let output = hosts.run(&site.host, &call(flood, &[]), LONG, &cancel, &mut |b| logged += b.len()).await.unwrap();
    assert_eq!((output.status, logged, output.stdout.len(), output.cut), (0, 3_000_000, 1 << 20, true));
    assert!(ask(&hosts, &site.host, "echo", &["\0"]).await.is_err_and(|error| matches!(error, Error::BadHost { .. })));
}

#[tokio::test]
async fn what_a_call_leaves_behind_neither_holds_the_conversation_up_nor_ends_with_it() {
    let site = site(61);
    let (_, hosts) = locked(&site, "one");
    let pid = text(&hosts, &site.host, "sleep 600 & echo $!", &[]).await;
    assert_eq!(text(&hosts, &site.host, "echo on", &[]).await, "on");
    hosts.hang_up().await;
    // Nor does it keep the lock.
    let (_, other) = locked(&site, "two");
    assert_eq!(text(&other, &site.host, "echo ours", &[]).await, "ours");
    assert!(alive(&pid));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse().unwrap()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
}

#[tokio::test]
async fn out_of_time_canceled_or_dropped_a_call_ends_on_the_host_and_the_next_has_a_conversation_again() {
    let site = site(62);
    let (_, hosts) = locked(&site, "one");
    let file = |n: u32| site.folder.path().join(format!("pid{n}"));
    let path = |n: u32| file(n).display().to_string();
    // The child ignores TERM, so only the KILL that follows ends it.
    let script = r#"(trap '' TERM; sleep 600) & echo $! >"$1"; sleep 600"#;
    let error = ask_for(&hosts, &site.host, script, &[&path(1)], Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { ended: true, .. }), "{error}");
    assert!(!alive(&pid_in(&file(1)).await));
    assert_eq!(text(&hosts, &site.host, "echo again", &[]).await, "again");

    let (cancel, script) = (CancellationToken::new(), r#"echo $$ >"$1"; exec sleep 600"#);
    let (name, mut quiet) = (path(2), |_: &[u8]| ());
    let canceled = call(script, &[&name]);
    let run = hosts.run(&site.host, &canceled, LONG, &cancel, &mut quiet);
    let (result, pid) = tokio::join!(run, async {
        let pid = pid_in(&file(2)).await;
        cancel.cancel();
        pid
    });
    assert!(matches!(result, Err(Error::Canceled { ended: true, .. })) && !alive(&pid), "{result:?}");

    let name = path(3);
    let args = [name.as_str()];
    let pid = tokio::select! {
        _ = ask(&hosts, &site.host, script, &args) => panic!("it ended"),
        pid = async { pid_in(&file(3)).await } => pid,
    };
    until_gone(&pid).await;
    assert_eq!(text(&hosts, &site.host, "echo again", &[]).await, "again");
    // An opening has a time of its own.
    let hung = site.hosts.in_conversation(&site.host, Some(call("sleep 600", &[])));
    let error = ask_for(&hung, &site.host, "echo never", &[], Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_lost_conversation_has_the_lock_again_before_anything_else_is_asked_or_is_refused() {
    let site = site(63);
    let (folder, hosts) = locked(&site, "one");
    let file = site.folder.path().join("pid");
    let name = file.display().to_string();
    let args = [name.as_str()];
    // Lost in a call: it ends there, and the lock is free.
    let (result, ()) = tokio::join!(ask(&hosts, &site.host, r#"echo $$ >"$1"; sleep 600"#, &args), async {
        pid_in(&file).await;
        site.sshd.drop_connections();
    });
    assert!(matches!(result, Err(Error::Lost { .. })), "{result:?}");
    until_gone(&pid_in(&file).await).await;
    assert_eq!(text(&hosts, &site.host, "echo ours", &[]).await, "ours");
    // Lost between two calls, and somebody else was faster.
    site.sshd.drop_connections();
    let (cancel, begun) = (CancellationToken::new(), Instant::now());
    let person = loop {
        match lock(&site.hosts, &site.host, &folder, &holder("person:1"), &cancel).await {
            Ok(held) => break held,
            Err(error) => assert!(begun.elapsed() < LONG, "{error}"),
        }
    };
    let mut quiet = |_: &[u8]| ();
    let mut remote = Remote { hosts: &hosts, host: &site.host, timeout: LONG, cancel: &cancel, log: &mut quiet };
    let error = remote.observe(&folder, None).await.unwrap_err();
    assert!(matches!(&error, HostError::Locked { said, .. } if said.contains("person:1, who tests")), "{error}");
    person.unwrap().free().await;
    remote.observe(&folder, None).await.unwrap();
}

#[tokio::test]
async fn a_daemon_takes_its_own_lock_over_and_signals_nobody_for_a_note_that_is_stale() {
    let site = site(64);
    let (folder, old) = locked(&site, "one");
    let file = site.folder.path().join("pid");
    let name = file.display().to_string();
    let args = [name.as_str()];
    // What the older conversation is at ends with it.
    let script = r#"echo $$ >"$1"; sleep 600"#;
    let (result, ()) = tokio::join!(ask(&old, &site.host, script, &args), async {
        let pid = pid_in(&file).await;
        let (_, new) = locked(&site, "one");
        assert_eq!(text(&new, &site.host, "echo mine", &[]).await, "mine");
        assert!(!alive(&pid));
    });
    assert!(!matches!(&result, Ok(output) if output.status == 0), "{result:?}");

    // A note of ours, whose number is somebody else's by now; and the holder is one who left no note.
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(format!("{folder}/.git/airplanes.holder"), format!("{} 1 one {{}}\n", other.id())).unwrap();
    let mut stranger = Command::new("flock").args(["--no-fork", &folder, "sleep", "600"]).spawn().unwrap();
    let begun = Instant::now();
    let refused = loop {
        let (_, new) = locked(&site, "one");
        let output = ask(&new, &site.host, "echo mine", &[]).await.unwrap();
        if output.status != 0 {
            break output;
        }
        assert!(begun.elapsed() < LONG, "the stranger does not get it");
    };
    assert!(refused.text().contains("refused locked\nsaid somebody who does not say who"), "{}", refused.text());
    assert_eq!(other.try_wait().unwrap(), None);
    for process in [&mut other, &mut stranger] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

#[test]
fn a_daemon_keeps_its_name_and_no_other_has_it() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(identity(one.path()), identity(one.path()));
    assert_ne!(identity(one.path()), identity(two.path()));
}
