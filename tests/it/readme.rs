//! The README is true: what it tells to write is accepted, and every command is in it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn readme() -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The fenced blocks in a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_configuration_that_it_shows_passes_check_without_a_warning() {
    let blocks = blocks(&readme(), "clojure");
    let [config, deploy] = blocks.as_slice() else { panic!("config.edn and deploy.edn, and no other") };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.edn"), config).unwrap();
    fs::write(folder.path().join("deploy.edn"), deploy).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_airplanes"))
        .args(["check", "--config"])
        .arg(folder.path().join("config.edn"))
        .env("GITHUB_SECRET", "a secret")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 app, 2 hosts"));
}

#[test]
fn every_command_is_in_its_reference() {
    let readme = readme();
    let output = Command::new(env!("CARGO_BIN_EXE_airplanes")).arg("help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    for name in names.filter(|name| *name != "help") {
        let named = readme.lines().any(|line| {
            line.starts_with('|') && (line.contains(&format!("`{name}`")) || line.contains(&format!("`{name} ")))
        });
        assert!(named, "`{name}` is not in the README's reference");
    }
}

#[test]
fn the_scripts_that_it_names_are_there() {
    let readme = readme();
    for name in ["scripts/deb", "scripts/demo", "scripts/first-day", "scripts/install", "scripts/test", ".ci/run"] {
        assert!(readme.contains(name), "{name}");
        assert!(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name).is_file(), "{name}");
    }
}
