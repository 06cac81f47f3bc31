//! Hosts over ssh: a real sshd on a loopback address, real git.

use std::net::Ipv4Addr;
use std::process::Command;

use airplanes::demo::sshd::{Sshd, SshdOptions};

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

#[test]
fn our_sshd_runs_commands_and_leaves_nothing_behind_when_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(&SshdOptions::new(folder.path().join("a b"), Ipv4Addr::new(127, 0, 0, 2).into())).unwrap();
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
    let mut options = SshdOptions::new(folder.path(), Ipv4Addr::new(127, 0, 0, 3).into());
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
