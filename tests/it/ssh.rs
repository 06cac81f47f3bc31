//! Hosts over ssh: a real sshd on a loopback address, real git.

mod host;
mod ship;
mod talk;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use airplanes::demo::sshd::{Sshd, SshdOptions};
use airplanes::model::{Host, HostName};
use airplanes::ssh::{Call, Cause, Error, Hosts, Settings};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// One host that is a real sshd, and a pool that knows it.
pub struct Site {
    pub folder: TempDir,
    pub sshd: Sshd,
    pub host: Host,
    pub hosts: Hosts,
}

pub fn settings(sshd: &Sshd) -> Settings {
    Settings {
        identity: Some(sshd.client_key().to_owned()),
        known_hosts: Some(sshd.known_hosts()),
        config_file: Some("/dev/null".into()),
        idle: Duration::from_secs(20),
        ..Settings::default()
    }
}

pub fn host_of(sshd: &Sshd) -> Host {
    Host {
        name: HostName::new("web-1").unwrap(),
        address: HostName::new(sshd.address().ip().to_string()).unwrap(),
        port: sshd.address().port(),
        user: sshd.user().to_owned(),
    }
}

pub fn site(last: u8) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(&SshdOptions::new(folder.path().join("sshd"), loopback(last))).unwrap();
    let hosts = Hosts::new(settings(&sshd)).unwrap();
    Site { host: host_of(&sshd), folder, sshd, hosts }
}

fn loopback(last: u8) -> std::net::IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

impl Site {
    async fn sh_for(&self, script: &'static str, args: &[&str], timeout: Duration) -> Result<String, Error> {
        let cancel = CancellationToken::new();
        let call = call(script, args);
        let output = self.hosts.run(&self.host, &call, timeout, &cancel, &mut |_| ()).await?;
        assert_eq!(output.status, 0, "{}", String::from_utf8_lossy(&output.stderr));
        Ok(output.text().into_owned())
    }
    async fn sh(&self, script: &'static str, args: &[&str]) -> Result<String, Error> {
        self.sh_for(script, args, Duration::from_secs(30)).await
    }
}

fn call(script: &'static str, args: &[&str]) -> Call {
    Call { what: "try", script, args: args.iter().map(|arg| (*arg).to_owned()).collect() }
}

fn ssh(sshd: &Sshd, command: &str) -> std::process::Output {
    Command::new("ssh")
        .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o"])
        .arg(format!("UserKnownHostsFile=\"{}\"", sshd.known_hosts().display()))
        .arg("-i")
        .arg(sshd.client_key())
        .args(["-p", &sshd.address().port().to_string(), "-l", sshd.user()])
        .arg(sshd.address().ip().to_string())
        .arg(command)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The pid that a script wrote, once it has.
async fn pid_in(file: &Path) -> String {
    for _ in 0..500 {
        if let Ok(text) = std::fs::read_to_string(file)
            && text.ends_with('\n')
        {
            return text.trim().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no pid in {}", file.display());
}

#[test]
fn our_sshd_runs_commands_and_leaves_nothing_behind_when_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(&SshdOptions::new(folder.path().join("a b"), loopback(2))).unwrap();
    let daemon = ssh(&sshd, "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!");
    assert!(daemon.status.success(), "{daemon:?} {}", sshd.log());
    let daemon = String::from_utf8(daemon.stdout).unwrap();
    assert!(alive(&daemon));
    let address = sshd.address();
    drop(sshd);
    assert!(!alive(&daemon));
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn our_sshd_can_force_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = SshdOptions::new(folder.path(), loopback(3));
    options.forced_command = Some(r#"echo "forced: $SSH_ORIGINAL_COMMAND""#.into());
    let sshd = Sshd::start(&options).unwrap();
    let output = ssh(&sshd, "git-upload-pack 'x'");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "forced: git-upload-pack 'x'\n");
}

#[test]
fn our_sshd_refuses_an_address_that_others_can_reach() {
    let folder = tempfile::tempdir().unwrap();
    let error = Sshd::start(&SshdOptions::new(folder.path(), Ipv4Addr::new(0, 0, 0, 0).into())).unwrap_err();
    assert!(error.to_string().contains("not a loopback address"));
}

#[tokio::test]
async fn arguments_reach_a_script_byte_for_byte_and_never_its_text() {
    let site = site(4);
    let nasty = ["a b", "'; touch /tmp/owned #", "$(id)`id`\\n", "-n", "", "line\nline", "ünï!!", "\"*\""];
    let answer = site.sh(r#"for a in "$@"; do printf '%s\0' "$a"; done"#, &nasty).await.unwrap();
    let back: Vec<&str> = answer.split_terminator('\0').collect();
    assert_eq!(back, nasty);
}

#[tokio::test]
async fn a_script_gives_its_answer_its_words_and_its_exit_code() {
    let site = site(5);
    let mut words = Vec::new();
    let call = call("echo answer; echo words >&2; exit 127", &[]);
    let cancel = CancellationToken::new();
    let output = site
        .hosts
        .run(&site.host, &call, Duration::from_secs(20), &cancel, &mut |b| words.extend_from_slice(b))
        .await
        .unwrap();
    assert_eq!((output.status, output.stdout.as_slice(), output.cut), (127, b"answer\n".as_slice(), false));
    assert_eq!((output.stderr.as_slice(), words.as_slice()), (b"words\n".as_slice(), b"words\n".as_slice()));
}

#[tokio::test]
async fn a_flood_of_output_is_all_logged_and_little_of_it_kept() {
    let site = site(6);
    let mut logged = 0;
    let call = call("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2", &[]);
    let cancel = CancellationToken::new();
    let output =
        site.hosts.run(&site.host, &call, Duration::from_secs(60), &cancel, &mut |b| logged += b.len()).await.unwrap();
    assert_eq!((output.status, logged, output.stdout.len()), (0, 3_000_000, 1 << 20));
    assert!(output.cut && output.stderr.len() <= 64 << 10);
}

#[tokio::test]
async fn a_daemon_that_a_script_leaves_behind_does_not_hold_the_run_up() {
    let site = site(7);
    // It keeps the streams open, as a careless :restart command does.
    let started = Instant::now();
    let pid = site.sh("sleep 600 & echo $!", &[]).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(alive(&pid));
}

#[tokio::test]
async fn out_of_time_a_script_is_ended_on_the_host_with_its_whole_group() {
    let site = site(8);
    let file = site.folder.path().join("pid");
    // The child ignores TERM, so only the KILL that follows ends it.
    let script = r#"(trap '' TERM; sleep 600) & echo $! >"$1"; sleep 600"#;
    let error = site.sh_for(script, &[file.to_str().unwrap()], Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { ended: true, .. }), "{error}");
    assert!(error.to_string().contains("its processes are gone"), "{error}");
    assert!(!alive(&pid_in(&file).await));
}

#[tokio::test]
async fn canceled_a_script_is_ended_on_the_host() {
    let site = site(9);
    let file = site.folder.path().join("pid");
    let cancel = CancellationToken::new();
    let call = call(r#"echo $$ >"$1"; exec sleep 600"#, &[file.to_str().unwrap()]);
    let mut log = |_: &[u8]| ();
    let run = site.hosts.run(&site.host, &call, Duration::from_secs(60), &cancel, &mut log);
    let (result, pid) = tokio::join!(run, async {
        let pid = pid_in(&file).await;
        cancel.cancel();
        pid
    });
    assert!(matches!(result, Err(Error::Canceled { ended: true, .. })), "{result:?}");
    assert!(!alive(&pid));
}

#[tokio::test]
async fn a_script_whose_caller_went_away_is_ended_too() {
    let site = site(10);
    let file = site.folder.path().join("pid");
    let script = r#"echo $$ >"$1"; exec sleep 600"#;
    let args = [file.to_str().unwrap()];
    let pid = tokio::select! {
        _ = site.sh(script, &args) => panic!("it ended"),
        pid = pid_in(&file) => pid,
    };
    for _ in 0..500 {
        if !alive(&pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{pid} still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_runs_at_once_share_one_connection_under_sshds_defaults() {
    let site = site(11);
    let runs = (0..20).map(|n| {
        let n = n.to_string();
        let site = &site;
        async move { (site.sh("sleep 0.2; echo \"$1\"", &[&n]).await.unwrap(), n) }
    });
    for (answer, n) in futures_util::future::join_all(runs).await {
        assert_eq!(answer.trim(), n);
    }
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 1, "{}", site.sshd.log());
}

#[tokio::test]
async fn a_connection_that_died_is_made_again() {
    let site = site(12);
    site.hosts.warm(&site.host, &CancellationToken::new()).await.unwrap();
    assert_eq!(site.sh("echo 1", &[]).await.unwrap(), "1\n");
    site.sshd.drop_connections();
    assert_eq!(site.sh("echo 2", &[]).await.unwrap(), "2\n");
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 2);
}

#[tokio::test]
async fn a_killed_ssh_process_is_replaced() {
    let site = site(19);
    assert_eq!(site.sh("echo 1", &[]).await.unwrap(), "1\n");
    // The connection's process has the path of its socket in its arguments; the pool knows the folder of it.
    let pool = format!("{:?}", site.hosts);
    let folder = pool.split_once("airplanes-").unwrap().1.split_once('"').unwrap().0;
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.starts_with("ssh") && line.contains(&format!("airplanes-{folder}/")) {
            let pid: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
            killed += 1;
        }
    }
    assert_eq!(killed, 1);
    assert_eq!(site.sh("echo 2", &[]).await.unwrap(), "2\n");
}

#[tokio::test]
async fn a_connection_lost_during_a_run_is_said_and_may_be_tried_again() {
    let site = site(13);
    let file = site.folder.path().join("pid");
    let args = [file.to_str().unwrap()];
    let (result, ()) = tokio::join!(site.sh(r#"echo $$ >"$1"; sleep 600"#, &args), async {
        pid_in(&file).await;
        site.sshd.drop_connections();
    });
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }) && error.is_retryable() && error.is_unreachable(), "{error}");
    assert_eq!(site.sh("echo back", &[]).await.unwrap(), "back\n");
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_and_the_error_says_how_to_add_it() {
    let site = site(14);
    let empty = site.folder.path().join("my known hosts");
    std::fs::write(&empty, "").unwrap();
    let hosts = Hosts::new(Settings { known_hosts: Some(empty.clone()), ..settings(&site.sshd) }).unwrap();
    let error = hosts.warm(&site.host, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { cause: Cause::HostKeyUnknown, .. }), "{error}");
    assert!(!error.is_retryable());
    assert!(
        error.to_string().contains("`airplanes host trust ") && error.to_string().contains("my known hosts"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&empty).unwrap(), "");
    // The same file with the key in it, its name with spaces, is good.
    std::fs::copy(site.sshd.known_hosts(), &empty).unwrap();
    hosts.warm(&site.host, &CancellationToken::new()).await.unwrap();
}

#[tokio::test]
async fn a_changed_host_key_is_told_apart_from_an_unknown_one() {
    let site = site(15);
    let other = Sshd::start(&SshdOptions::new(site.folder.path().join("other"), loopback(15))).unwrap();
    let known = std::fs::read_to_string(other.known_hosts()).unwrap();
    let known = known.replace(&other.address().port().to_string(), &site.host.port.to_string());
    let file = site.folder.path().join("known_hosts");
    std::fs::write(&file, known).unwrap();
    let hosts = Hosts::new(Settings { known_hosts: Some(file), ..settings(&site.sshd) }).unwrap();
    let error = hosts.warm(&site.host, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { cause: Cause::HostKeyChanged, .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("SHA256:")
            && text.contains("known_hosts:2")
            && text.contains("host trust")
            && text.contains("--replace"),
        "{text}"
    );
}

#[tokio::test]
async fn a_key_that_sshd_does_not_take_and_a_port_that_refuses_are_told_apart() {
    let site = site(16);
    let other = Sshd::start(&SshdOptions::new(site.folder.path().join("other"), loopback(16))).unwrap();
    let hosts = Hosts::new(Settings { identity: Some(other.client_key().to_owned()), ..settings(&site.sshd) }).unwrap();
    let error = hosts.warm(&site.host, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { cause: Cause::Auth, .. }) && !error.is_retryable(), "{error}");
    assert!(error.to_string().contains("authorized_keys"), "{error}");
    let gone = host_of(&other);
    drop(other);
    let error = site.hosts.warm(&gone, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { cause: Cause::Refused, .. }) && error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_host_that_says_nothing_is_given_up_in_time_and_canceled_at_once() {
    let site = site(17);
    let silent = std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, 17), 0)).unwrap();
    let host = Host { port: silent.local_addr().unwrap().port(), ..site.host.clone() };
    let quick = Settings { connect_timeout: Duration::from_secs(1), ..settings(&site.sshd) };
    let hosts = Hosts::new(quick).unwrap();
    let error = hosts.warm(&host, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { cause: Cause::TimedOut, .. }), "{error}");
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert!(hosts.warm(&host, &cancel).await.unwrap_err().is_canceled());
}

#[tokio::test]
async fn a_user_that_ssh_would_take_for_an_option_is_refused() {
    let site = site(18);
    let host = Host { user: "-oProxyCommand=id".into(), ..site.host.clone() };
    let error = site.hosts.warm(&host, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::BadHost { .. }), "{error}");
}
