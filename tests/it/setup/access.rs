//! Written by root for a daemon that is somebody else: its group reads it, nobody else does, and ssh and git take it.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use airplanes::demo::sshd::{Sshd, SshdOptions};
use nix::unistd::{Uid, User};

use super::{Desk, Said, mode};
use crate::support::world::git;

/// The group of a daemon that this machine does not have.
const GROUP: u32 = 65_533;

/// A program as `nobody` in a group; none if this is not root, which alone can.
fn as_other(group: u32, program: &str) -> Option<Command> {
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return None;
    }
    let nobody = User::from_name("nobody").unwrap().expect("every Linux has nobody");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &nobody.uid.to_string(), "--regid", &group.to_string(), "--clear-groups", "--", program]);
    command.env("HOME", "/nonexistent");
    Some(command)
}

/// The binary as the daemon's user. None if that may not even run it, where the checkout is in somebody's home.
fn binary() -> Option<Command> {
    let path = env!("CARGO_BIN_EXE_airplanes");
    if !as_other(GROUP, "test")?.args(["-x", path]).status().unwrap().success() {
        eprintln!("skipped: another user may not run {path}");
        return None;
    }
    as_other(GROUP, path)
}

/// A desk whose folder is as the install script makes /etc/airplanes.
fn desk() -> Desk {
    let desk = Desk::new();
    std::fs::set_permissions(desk.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let etc = desk.path("etc");
    std::fs::create_dir(&etc).unwrap();
    chown(&etc, Some(0), Some(GROUP)).unwrap();
    std::fs::set_permissions(&etc, PermissionsExt::from_mode(0o2750)).unwrap();
    desk
}

#[test]
fn what_root_writes_is_the_daemons_group_to_read_and_nobody_elses_and_ssh_and_git_take_it() {
    let reads = |path: &Path, group| as_other(group, "cat").map(|mut c| c.arg(path).output().unwrap().status.success());
    if reads(Path::new("/dev/null"), GROUP).is_none() {
        return;
    }
    let desk = desk();
    let mut options = SshdOptions::new(desk.path("sshd"), "127.0.0.8".parse().unwrap());
    let sshd = Sshd::start(&options).unwrap();
    let (at, user) = (sshd.address(), sshd.user().to_owned());
    let bare = desk.path("snow.git");
    let url = format!("ssh://{user}@{at}{}", bare.display());
    let snow = desk.checkout("snow", &url, &[("deps.edn", "{}")]);
    let snow = Path::new(&snow);
    let commit = |words| {
        git(snow, &["add", "-A"]);
        git(snow, &["commit", "-q", "--allow-empty", "-m", words]);
        git(snow, &["rev-parse", "HEAD"])
    };
    let (old, new) = (commit("old"), commit("new"));
    git(snow, &["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let deps = format!("{{:deps {{acme/snow {{:git/url \"{url}\" :git/sha \"{old}\"}}}}}}");
    let shop = desk.checkout("shop", "git@git.example.com:acme/shop.git", &[("deps.edn", &deps)]);

    desk.run(&["init", snow.to_str().unwrap(), &shop]).done();
    desk.run(&["keys"]).done();
    desk.run(&["host", "trust", &at.to_string(), "--yes"]).done();
    let files = desk.files();
    assert!(files.len() >= 10, "{files:?}");
    for (path, _) in &files {
        assert_eq!(mode(path), 0o640, "{}", path.display());
        assert_eq!((reads(path, GROUP), reads(path, 65_532)), (Some(true), Some(false)), "{}", path.display());
    }
    for folder in ["etc/keys", "etc/secrets"] {
        assert_eq!(mode(&desk.path(folder)), 0o2750, "{folder}");
    }

    // The repository's key is pasted.
    let key = files.iter().map(|(path, _)| path).find(|path| path.to_string_lossy().ends_with("-snow")).unwrap();
    drop(sshd);
    (options.client_key, options.port) = (Some(key.clone()), at.port());
    let sshd = Sshd::start(&options).unwrap();
    let mut ssh = as_other(GROUP, "ssh").unwrap();
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", desk.path("etc/known_hosts").display()))
        .args(["-p", &at.port().to_string(), "-l", &user, "-i"])
        .arg(key)
        .args([&at.ip().to_string(), "echo", "in"]);
    let said = Said::of(ssh.output().unwrap());
    assert_eq!(said.out, "in\n", "{}\n{}", said.err, sshd.log());

    let Some(mut update) = binary() else { return };
    update.args(["update", "--dry-run", "--config", &desk.config(), &shop]);
    let said = Said::of(update.output().unwrap()).done();
    assert!(said.out.contains(&new), "{}\n{}", said.out, said.err);
}

#[test]
fn in_a_folder_of_a_group_of_people_secrets_are_for_their_owner_alone() {
    let groups = ["users", "staff", "adm"].into_iter().filter_map(|name| nix::unistd::Group::from_name(name).unwrap());
    let groups: Vec<u32> = groups.map(|group| group.gid.as_raw()).collect();
    if !Uid::effective().is_root() || groups.is_empty() {
        eprintln!("skipped: only root can give a folder to a group, and the machine has to have one of people");
        return;
    }
    for group in groups {
        let desk = desk();
        chown(desk.path("etc"), None, Some(group)).unwrap();
        std::fs::set_permissions(desk.path("etc"), PermissionsExt::from_mode(0o2770)).unwrap();
        let shop = desk.checkout("shop", "git@git.example.com:acme/shop.git", &[("deps.edn", "{}")]);
        desk.run(&["init", &shop]).done();
        desk.run(&["keys"]).done();
        let files = desk.files();
        assert!(files.len() >= 5, "{files:?}");
        for (path, _) in &files {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
        for folder in ["etc/keys", "etc/secrets"] {
            assert_eq!(mode(&desk.path(folder)) & 0o777, 0o700, "{folder}");
        }
    }
}

#[test]
fn who_may_not_write_there_is_told_what_to_do_and_nothing_is_half_written() {
    let Some(mut init) = binary() else { return };
    let desk = desk();
    let said = Said::of(init.args(["init", "--config", &desk.config()]).output().unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("Permission denied") && said.err.contains("sudo"), "{}", said.err);
    assert_eq!(desk.files().len(), 0);
}
