//! House rules that no compiler checks: which module may use which, and what every file must and must not have.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the bottom up. A module may use what stands in a lower layer, or to its left in its own.
const LAYERS: [&[&str]; 6] = [
    &["model"],
    &["edn", "deps", "config", "forge", "planner", "render"],
    &["files", "store", "process", "watch", "net", "git", "ssh", "cloud", "auth", "runner"],
    &["host", "bumps", "pipeline", "report", "reconcile", "servers", "upkeep", "notify", "doctor"],
    &["http", "cli"],
    &["daemon", "demo", "main"],
];
/// What pure modules may not name: they are given what they need.
const IMPURE: [&str; 5] = ["tokio", "std::fs", "std::process", "std::env", "reqwest"];
const MAX_LINES: usize = 500;

struct Source {
    /// Its path from the crate's folder.
    name: String,
    text: String,
}

impl Source {
    /// The top-level module it belongs to; none for `lib.rs`, which is the map.
    fn module(&self) -> Option<&str> {
        let inside = self.name.strip_prefix("src/")?;
        let first = inside.split('/').next()?.trim_end_matches(".rs");
        (first != "lib").then_some(first)
    }
    /// Its lines with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(i, line)| (i + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
    /// As `code`, without the unit tests, which stand at a file's end or in a file `tests.rs`.
    fn code_without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let only_tests = self.name.ends_with("/tests.rs");
        self.code().take_while(move |(_, line)| !only_tests && line.trim() != "#[cfg(test)]")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under `folder`, by name.
fn sources(folder: &str) -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                files.push(Source { name, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!files.is_empty());
    files
}

fn layer(module: &str) -> Option<(usize, usize)> {
    LAYERS.iter().enumerate().find_map(|(level, names)| Some((level, names.iter().position(|n| *n == module)?)))
}

/// The top-level modules that a text names through `crate::`, with where they stand in it.
fn imports(text: &str) -> Vec<(usize, String)> {
    let ident = |from: &str| -> String { from.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = Vec::new();
    for start in ["crate::", "airplanes::"] {
        for (at, _) in text.match_indices(start) {
            let rest = &text[at + start.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                // Names at the group's own depth: after its bracket or after a comma.
                let (mut depth, mut fresh) = (1, true);
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => fresh = true,
                        c if fresh && depth == 1 && c.is_alphabetic() => {
                            found.push((at, ident(&group[i..])));
                            fresh = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            } else {
                found.push((at, ident(rest)));
            }
        }
    }
    found
}

fn complain(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn modules_use_only_what_stands_below_them_or_to_their_left() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let Some(module) = source.module() else { continue };
        let Some(own) = layer(module) else {
            faults.push(format!("{}: module {module} has no place in LAYERS", source.name));
            continue;
        };
        // Comments stay as empty lines, so that positions still tell the line.
        let code: Vec<&str> =
            source.text.lines().map(|l| if l.trim_start().starts_with("//") { "" } else { l }).collect();
        let code = code.join("\n");
        for (at, used) in imports(&code) {
            let Some(other) = layer(&used) else { continue };
            let allowed = used == module || other.0 < own.0 || (other.0 == own.0 && other.1 < own.1);
            if !allowed {
                let line = code[..at].matches('\n').count() + 1;
                faults.push(format!("{}:{line}: {module} may not use {used}", source.name));
            }
        }
    }
    complain(&faults);
}

#[test]
fn the_import_reader_sees_groups_and_paths() {
    let text = "use crate::{edn::{Node, deps}, model::Sha,\n git};\nlet x = crate::store::Store;";
    let names: Vec<String> = imports(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["edn", "model", "git", "store"]);
}

#[test]
fn every_module_of_the_crate_is_named_through_the_crate() {
    // `super::` out of a top-level module would pass by the layer rule.
    let mut faults = Vec::new();
    for source in sources("src") {
        let depth = source.name.trim_end_matches("/mod.rs").matches('/').count();
        if depth == 0 {
            continue;
        }
        let too_far = "super::".repeat(depth);
        for (line, code) in source.code() {
            let from = code.trim_start_matches("pub ").trim_start_matches("use ");
            if from.starts_with(&too_far) {
                faults.push(format!("{}:{line}: use crate:: to leave a top-level module", source.name));
            }
        }
    }
    complain(&faults);
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    let unsaid = |s: &Source| !s.text.starts_with("//! ");
    let all = sources("src").into_iter().chain(sources("tests")).filter(unsaid);
    complain(&all.map(|s| format!("{}: does not open with `//!`", s.name)).collect::<Vec<_>>());
}

#[test]
fn no_file_is_longer_than_it_can_be_read() {
    let lines = |s: &Source| s.text.lines().count();
    let long = sources("src").into_iter().chain(sources("tests")).filter(|s| lines(s) > MAX_LINES);
    let words = long.map(|s| format!("{}: {} lines; {MAX_LINES} at most, it wants to be two", s.name, lines(&s)));
    complain(&words.collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_to_be_done() {
    let mut faults = Vec::new();
    for source in sources("src") {
        for (line, code) in source.code() {
            for left in ["todo!(", "unimplemented!(", "dbg!("] {
                if code.contains(left) {
                    faults.push(format!("{}:{line}: {left}…)", source.name));
                }
            }
        }
    }
    complain(&faults);
}

#[test]
fn modules_are_named_for_what_they_hold() {
    let vague = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];
    let is_vague =
        |s: &Source| Path::new(&s.name).iter().any(|p| vague.contains(&p.to_string_lossy().trim_end_matches(".rs")));
    let all = sources("src").into_iter().chain(sources("tests")).filter(is_vague);
    complain(&all.map(|s| format!("{}: a name that says nothing", s.name)).collect::<Vec<_>>());
}

#[test]
fn unsafe_is_allowed_in_one_place() {
    let mut places = Vec::new();
    for source in sources("src") {
        let found = source.code().filter(|(_, code)| code.contains("allow(unsafe_code")).map(|(line, _)| line);
        places.extend(found.map(|line| format!("{}:{line}", source.name)));
    }
    assert!(places.len() <= 1, "git2's time-outs are the one unsafe call: {places:?}");
    assert!(places.iter().all(|place| place.starts_with("src/git/")), "{places:?}");
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let pure = [LAYERS[0], LAYERS[1]].concat();
    let mut faults = Vec::new();
    for source in sources("src").iter().filter(|s| s.module().is_some_and(|m| pure.contains(&m))) {
        for (line, code) in source.code_without_tests() {
            for impure in IMPURE {
                if code.contains(&format!("{impure}::")) || code.contains(&format!("use {impure};")) {
                    faults.push(format!("{}:{line}: names {impure}", source.name));
                }
            }
        }
    }
    complain(&faults);
}

#[test]
fn every_integration_test_is_in_the_one_binary() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    let mut faults = Vec::new();
    for entry in fs::read_dir(root().join("tests/it")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        if module != "main" && !main.lines().any(|line| line == format!("mod {module};")) {
            faults.push(format!("tests/it/{name} is not declared in tests/it/main.rs"));
        }
    }
    complain(&faults);
}

#[test]
fn scripts_can_be_run_and_stop_at_the_first_error() {
    use std::os::unix::fs::PermissionsExt;
    let mut faults = Vec::new();
    let scripts = fs::read_dir(root().join("scripts")).unwrap().map(|entry| entry.unwrap().path());
    for path in scripts.filter(|p| p.is_file()).chain([root().join(".ci/run")]) {
        let text = fs::read_to_string(&path).unwrap();
        let shell = text.starts_with("#!/bin/sh\n") || text.starts_with("#!/usr/bin/env bash\n");
        if !shell {
            faults.push(format!("{}: no shebang of sh or bash", path.display()));
        }
        if !text.lines().any(|line| line.starts_with("set -eu")) {
            faults.push(format!("{}: no `set -eu`", path.display()));
        }
        if fs::metadata(&path).unwrap().permissions().mode() & 0o111 == 0 {
            faults.push(format!("{}: not executable", path.display()));
        }
    }
    complain(&faults);
}
