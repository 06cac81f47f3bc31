//! Written by root for a daemon that is somebody else: its group reads it, nobody else does, and ssh takes it.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use airplanes::demo::sshd::{Sshd, SshdOptions};
use nix::unistd::{Gid, Uid, User};

use super::{Desk, mode};

/// Some user and group that are neither root's nor each other's own, for want of a daemon's.
const GROUP: u32 = 65_533;

/// A program as `nobody` with the daemon's group.
fn as_daemon(program: &str) -> Command {
    let nobody = User::from_name("nobody").unwrap().expect("every Linux has nobody");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &nobody.uid.to_string(), "--regid", &GROUP.to_string(), "--clear-groups", "--"]);
    command.arg(program);
    command
}

fn reads(path: &Path, group: u32) -> bool {
    let nobody = User::from_name("nobody").unwrap().expect("every Linux has nobody");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &nobody.uid.to_string(), "--regid", &group.to_string(), "--clear-groups", "--", "cat"]);
    command.arg(path).output().unwrap().status.success()
}

#[test]
fn what_root_writes_is_the_daemons_group_to_read_and_nobody_elses() {
    if !Uid::effective().is_root() {
        return eprintln!("skipped: only root can write for somebody else");
    }
    let desk = Desk::new();
    std::fs::set_permissions(desk.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let etc = desk.path("etc");
    std::fs::create_dir(&etc).unwrap();
    chown(&etc, Some(0), Some(GROUP)).unwrap();
    std::fs::set_permissions(&etc, PermissionsExt::from_mode(0o2750)).unwrap();

    let git = SshdOptions::new(desk.path("sshd"), "127.0.0.8".parse().unwrap());
    let mut git = git;
    let sshd = Sshd::start(&git).unwrap();
    let at = sshd.address();
    let origin = format!("ssh://{}@{at}/srv/git/shop.git", sshd.user());
    let shop = desk.checkout("shop", &origin, &[("deps.edn", "{}")]);
    desk.run(&["init", &shop]).done();
    desk.run(&["keys"]).done();
    desk.run(&["host", "trust", &at.to_string(), "--yes"]).done();
    let files = desk.files();
    assert!(files.len() >= 8, "{files:?}");
    for (path, _) in &files {
        assert_eq!(mode(path), 0o640, "{}", path.display());
        assert!(reads(path, GROUP) && !reads(path, 65_532), "{}", path.display());
    }
    for folder in ["etc/keys", "etc/secrets"] {
        assert_eq!(mode(&desk.path(folder)), 0o2750, "{folder}");
    }

    // The key lets ssh in as the daemon's user, though it is root's file and its group's to read.
    let key = files.iter().map(|(path, _)| path).find(|path| path.ends_with("hosts")).unwrap();
    git.client_key = Some(key.clone());
    git.port = at.port();
    drop(sshd);
    let sshd = Sshd::start(&git).unwrap();
    let output = as_daemon("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", etc.join("known_hosts").display()))
        .args(["-p", &at.port().to_string(), "-l", sshd.user(), "-i"])
        .arg(key)
        .args([&at.ip().to_string(), "echo", "in"])
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in\n", "{said}\n{}", sshd.log());
    assert_eq!(Gid::effective().as_raw(), 0);
}
