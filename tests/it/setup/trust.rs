//! `host trust`: a real sshd's keys, shown, compared and recorded.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use airplanes::demo::sshd::{Sshd, SshdOptions};

use super::Desk;

fn sshd(folder: &Path, port: u16) -> Sshd {
    let address: IpAddr = "127.0.0.7".parse().unwrap();
    let mut options = SshdOptions::new(folder, address);
    options.port = port;
    Sshd::start(&options).unwrap()
}

/// A desk whose configuration has `web-1` at an sshd.
fn desk(sshd: &Sshd, known_hosts: &str) -> Desk {
    let desk = Desk::new();
    let at = sshd.address();
    let hosts = format!(":hosts {{:web-1 {{:address \"{}\" :port {} :user \"{}\"}}}}", at.ip(), at.port(), sshd.user());
    let known = format!("{{:known-hosts \"{known_hosts}\"}}");
    desk.write("config.edn", &format!("{{:git {known} :ssh {known} {hosts}}}"));
    desk.write("deploy.edn", "{}");
    desk
}

/// What ssh-keygen says of the sshd's key.
fn fingerprint(sshd: &Sshd) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(sshd.folder().join("host_ed25519.pub")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

/// A real ssh with the file that was written.
fn logs_in(desk: &Desk, sshd: &Sshd) -> bool {
    let output = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", desk.path("etc/known_hosts").display()))
        .args(["-o", "GlobalKnownHostsFile=/dev/null", "-p", &sshd.address().port().to_string(), "-i"])
        .arg(sshd.client_key())
        .args(["-l", sshd.user(), &sshd.address().ip().to_string(), "true"])
        .output()
        .unwrap();
    output.status.success()
}

#[test]
fn a_host_is_shown_and_recorded_once_somebody_agrees_and_ssh_then_knows_it() {
    let dir = crate::support::world::folder();
    let sshd = sshd(&dir.path().join("host"), 0);
    let desk = desk(&sshd, "known_hosts");
    desk.write("known_hosts", "# mine\nother.example.com ssh-rsa AAAA");
    let print = fingerprint(&sshd);

    let alone = desk.run(&["host", "trust", "web-1"]);
    assert_eq!(alone.code, 2);
    assert!(alone.err.contains(&print) && alone.err.contains("--fingerprint"), "{}", alone.err);
    assert!(!logs_in(&desk, &sshd));

    let other = desk.run(&["host", "trust", "web-1", "--fingerprint", "SHA256:AAAA"]);
    assert_eq!(other.code, 6);
    assert!(other.err.contains(&print) && other.err.contains("nothing was recorded"), "{}", other.err);
    assert_eq!(desk.read("known_hosts"), "# mine\nother.example.com ssh-rsa AAAA");

    for slip in ["zzz", "SHA256:", "MD5:16:27:ac"] {
        let said = desk.run(&["host", "trust", "web-1", "--fingerprint", slip]);
        assert!(said.code == 2 && said.err.contains("no fingerprint like SHA256:"), "{slip}: {said:?}");
    }
    desk.run(&["host", "trust", "web-1", "--fingerprint", &print]).done();
    assert!(logs_in(&desk, &sshd));
    let known = desk.read("known_hosts");
    let name = format!("[{}]:{}", sshd.address().ip(), sshd.address().port());
    assert!(known.starts_with(&format!("# mine\nother.example.com ssh-rsa AAAA\n{name} ssh-ed25519 ")), "{known}");

    let again = desk.run(&["host", "trust", "web-1"]).done();
    assert!(again.err.contains("trusted already"), "{}", again.err);
    let by_address = format!("{}", sshd.address());
    assert!(desk.run(&["host", "trust", &by_address, "--yes"]).done().err.contains("trusted already"));
    assert_eq!(desk.read("known_hosts"), known);
}

#[test]
fn a_changed_key_is_refused_loudly_until_it_is_replaced() {
    let dir = crate::support::world::folder();
    let old = sshd(&dir.path().join("old"), 0);
    let desk = desk(&old, "known_hosts");
    desk.run(&["host", "trust", "web-1", "--yes"]).done();
    let (port, before) = (old.address().port(), fingerprint(&old));
    drop(old);
    let new = sshd(&dir.path().join("new"), port);
    let after = fingerprint(&new);
    let known = desk.read("known_hosts");
    for args in [&["host", "trust", "web-1"][..], &["host", "trust", "web-1", "--yes"]] {
        let said = desk.run(args);
        assert_eq!(said.code, 6);
        assert!(said.err.contains("ANOTHER KEY") && said.err.contains(&before) && said.err.contains(&after));
        assert!(said.err.contains("known_hosts:1") && said.err.contains("host trust web-1 --replace"), "{}", said.err);
        assert_eq!(desk.read("known_hosts"), known);
    }
    assert!(!logs_in(&desk, &new));
    desk.run(&["host", "trust", "web-1", "--replace", "--fingerprint", &after]).done();
    assert!(logs_in(&desk, &new));
    assert!(!desk.read("known_hosts").contains(known.trim()));
}

#[test]
fn a_configuration_that_names_no_known_hosts_is_made_to() {
    let dir = crate::support::world::folder();
    let sshd = sshd(&dir.path().join("host"), 0);
    let desk = Desk::new();
    let at = sshd.address();
    desk.write(
        "config.edn",
        &format!(
            "{{:hosts {{:web-1 {{:address \"{}\" :port {}}} :web-2 {{:address \"10.0.0.2\"}}}}}}",
            at.ip(),
            at.port()
        ),
    );
    desk.write("deploy.edn", "{}");
    let said = desk.run(&["host", "trust", "web-1", "--yes"]).done();
    assert!(said.err.contains("still to do: airplanes host trust 10.0.0.2\n"), "{}", said.err);
    assert!(desk.read("config.edn").contains(":ssh {:known-hosts \"known_hosts\"}"), "{}", desk.read("config.edn"));
    desk.run(&["check"]).done();
    assert!(logs_in(&desk, &sshd));
}

#[test]
fn what_is_no_host_or_does_not_answer_is_said_so() {
    let desk = Desk::new();
    desk.write("config.edn", "{}");
    desk.write("deploy.edn", "{}");
    for (host, code) in [("-oProxyCommand=x", 2), ("a b", 2), ("127.0.0.1:1", 1)] {
        let said = desk.run(&["host", "trust", "--yes", "--", host]);
        assert_eq!(said.code, code, "{host}: {}", said.err);
        assert!(said.err.contains("hint:") || said.err.contains("see that"), "{}", said.err);
    }
    assert_eq!(desk.files().len(), 2);
}

/// A command with a terminal, on which `typed` is typed, by util-linux's `script`.
fn at_a_terminal(desk: &Desk, args: &str, typed: &str) -> (bool, String) {
    let command = format!("'{}' {args} --config '{}'", env!("CARGO_BIN_EXE_airplanes"), desk.config());
    let mut script = Command::new("script")
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The end of the input is the end of the terminal, so it stays open until the answer is in.
    let mut stdin = script.stdin.take().unwrap();
    stdin.write_all(typed.as_bytes()).unwrap();
    let mut said = String::new();
    script.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    drop(stdin);
    (script.wait().unwrap().success(), said)
}

#[test]
fn a_person_at_a_terminal_is_asked_and_only_yes_is_yes() {
    let dir = crate::support::world::folder();
    let sshd = sshd(&dir.path().join("host"), 0);
    let desk = desk(&sshd, "known_hosts");
    let (done, said) = at_a_terminal(&desk, "host trust web-1", "maybe\n");
    assert!(!done && said.contains("type yes:") && said.contains("nothing was recorded"), "{said}");
    assert_eq!(desk.read("known_hosts"), "");
    let (done, said) = at_a_terminal(&desk, "host trust web-1", "yes\n");
    assert!(done && said.contains(&fingerprint(&sshd)), "{said}");
    assert!(logs_in(&desk, &sshd));

    // `keys` asks about git hosts alike.
    let (at, user) = (sshd.address(), sshd.user());
    desk.write("deploy.edn", &format!("{{:a {{:git-url \"ssh://{user}@{at}/a\"}}}}"));
    std::fs::remove_file(desk.path("etc/known_hosts")).unwrap();
    let (done, said) = at_a_terminal(&desk, "keys", "yes\n");
    assert!(done && said.contains(&fingerprint(&sshd)), "{said}");
    assert!(logs_in(&desk, &sshd));
}

#[test]
fn all_types_of_keys_that_a_host_shows_are_recorded_and_each_serves() {
    let desk = Desk::new();
    desk.write("config.edn", "{:git {:known-hosts \"known_hosts\"} :ssh {:known-hosts \"known_hosts\"}}");
    desk.write("deploy.edn", "{}");
    // Makes what any sshd needs here, and says where the program is not.
    drop(sshd(&desk.path("other"), 0));
    let port = std::net::TcpListener::bind("127.0.0.9:0").unwrap().local_addr().unwrap().port();
    let mut text = format!("Port {port}\nListenAddress 127.0.0.9\nPidFile none\nUsePAM no\nStrictModes no\n");
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let key = desk.path(kind).display().to_string();
        assert!(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f", &key]).status().unwrap().success());
        text.push_str(&format!("HostKey {key}\n"));
    }
    let file = desk.path("sshd_config").display().to_string();
    std::fs::write(&file, text).unwrap();
    let program =
        ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|p| Path::new(p).exists());
    let mut server = Command::new(program.unwrap()).args(["-D", "-f", &file]).stdin(Stdio::null()).spawn().unwrap();
    let place = format!("127.0.0.9:{port}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::net::TcpStream::connect(&place).is_err() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    let said = desk.run(&["host", "trust", &place, "--yes"]);
    let known = desk.read("known_hosts");
    let kinds: Vec<&str> = known.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let refused = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"].map(|kind| {
        let options = [
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            format!("UserKnownHostsFile={}", desk.path("etc/known_hosts").display()),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            format!("HostKeyAlgorithms={kind}"),
        ];
        let options = options.iter().flat_map(|option| ["-o", option]);
        let port = port.to_string();
        let output =
            Command::new("ssh").args(["-F", "none", "-p", &port]).args(options).args(["127.0.0.9", "true"]).output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    });
    let (_, _) = (server.kill(), server.wait());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(kinds, ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"], "{known}");
    for words in refused {
        // Nobody may log in, so the host's key was accepted if that is what fails.
        assert!(words.contains("Permission denied"), "{words}");
    }
}
