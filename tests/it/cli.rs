//! The real binary: help, usage, exit codes, and its commands against a served store.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

use std::path::Path;
use std::process::{Command, Output};

/// The binary with an environment of its own.
fn airplanes(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airplanes"));
    for name in ["AIRPLANES_CONFIG", "AIRPLANES_URL", "AIRPLANES_TOKEN", "RUST_LOG", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.args(args);
    command
}

fn run(args: &[&str]) -> Output {
    airplanes(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

const COMMANDS: [&str; 11] =
    ["serve", "demo", "check", "jobs", "job", "logs", "deploy", "cancel", "plan", "apps", "deliveries"];

#[test]
fn help_names_every_command_and_teaches_each_by_an_example() {
    let help = run(&["--help"]);
    assert_eq!(code(&help), 0);
    for command in COMMANDS.iter().chain(&["status"]) {
        assert!(out(&help).contains(&format!("\n  {command} ")), "{command}");
        let own = run(&[command, "--help"]);
        assert_eq!(code(&own), 0, "{command}");
        assert!(out(&own).contains(&format!("\n  airplanes {command}")), "{command}: {}", out(&own));
    }
    for exit in ["0 done", "3 build failed", "7 daemon unreachable"] {
        assert!(out(&help).split_whitespace().collect::<Vec<_>>().join(" ").contains(exit), "{exit}");
    }
    assert_eq!(code(&run(&["--version"])), 0);
}

#[test]
fn bad_usage_ends_with_2_and_says_what_was_meant() {
    let typo = run(&["deplyo"]);
    assert_eq!(code(&typo), 2);
    assert!(err(&typo).contains("deploy"), "{}", err(&typo));
    assert_eq!(code(&run(&[])), 2);
    assert_eq!(code(&run(&["jobs", "--json", "--edn"])), 2);
    assert_eq!(code(&run(&["--log", "a=b=c", "jobs"])), 2);
    let id = run(&["--url", "http://127.0.0.1:1", "job", "nonsense"]);
    assert_eq!(code(&id), 2);
    assert!(err(&id).contains("1jq3m8x2k4a0c-000"), "{}", err(&id));
    let url = run(&["--url", "nonsense", "jobs"]);
    assert_eq!(code(&url), 2);
    assert!(err(&url).contains("http://127.0.0.1:8787"), "{}", err(&url));
}

#[test]
fn a_daemon_that_does_not_answer_is_7_and_a_missing_config_is_2() {
    let away = run(&["--url", "http://127.0.0.1:1", "status"]);
    assert_eq!(code(&away), 7);
    assert!(err(&away).contains("http://127.0.0.1:1") && err(&away).contains("airplanes serve"), "{}", err(&away));
    let lost = run(&["--config", "/nonexistent/config.edn", "jobs"]);
    assert_eq!(code(&lost), 2);
    assert!(err(&lost).contains("/nonexistent/config.edn") && err(&lost).contains("--url"), "{}", err(&lost));
}

#[test]
fn the_daemon_is_found_by_its_config_though_its_secrets_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{:listen \"127.0.0.1:1\" :webhooks {:github {:secret #env NOT_SET_HERE}}}";
    let config = write(folder.path(), "config.edn", text);
    let away = airplanes(&["jobs"]).env("AIRPLANES_CONFIG", &config).output().unwrap();
    assert_eq!(code(&away), 7);
    assert!(err(&away).contains("127.0.0.1:1"), "{}", err(&away));
    let tagged = "{:listen #or [#env NOT_SET_HERE \"127.0.0.1:2\"]}";
    let config = write(folder.path(), "tagged.edn", tagged);
    write(folder.path(), "deploy.edn", "{}");
    let away = run(&["--config", &config, "jobs"]);
    assert_eq!(code(&away), 7);
    assert!(err(&away).contains("127.0.0.1:2"), "{}", err(&away));
}

#[test]
fn check_counts_what_is_good_and_points_at_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "config.edn", "{:hosts {:web-1 {:address \"10.0.0.1\"}}}");
    let app = "{:shop {:git-url \"https://github.com/acme/shop\" :build \"make\"\n        :hosts [:web-1] :working-directory \"/srv/shop\" :restart \"true\"}}";
    write(folder.path(), "deploy.edn", app);
    let good = run(&["check", "--config", &config]);
    assert_eq!(code(&good), 0, "{}", err(&good));
    assert_eq!(out(&good), "✔ config.edn, deploy.edn: 1 app, 1 host\n");
    write(folder.path(), "deploy.edn", &app.replace(":build", ":biuld"));
    let bad = run(&["check", "--config", &config]);
    assert_eq!(code(&bad), 2);
    assert_eq!(out(&bad), "");
    let said = err(&bad);
    assert!(said.contains("deploy.edn") && said.contains(":biuld") && said.contains(":build"), "{said}");
    assert!(said.contains('^'), "{said}");
    assert!(!said.contains('\x1b'), "{said}");
    assert!(err(&run(&["check", "--color", "always", "--config", &config])).contains('\x1b'));
    let lost = run(&["check", "--config", "/nonexistent/config.edn"]);
    assert_eq!(code(&lost), 2);
    assert!(err(&lost).contains("/nonexistent/config.edn"), "{}", err(&lost));
}
