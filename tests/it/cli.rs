//! The real binary: help, usage, exit codes, and its commands against a served store.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

mod daemon;

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

const COMMANDS: [&str; 23] = [
    "init",
    "secret",
    "render",
    "keys",
    "host",
    "completions",
    "backup",
    "restore",
    "serve",
    "demo",
    "check",
    "jobs",
    "job",
    "logs",
    "deploy",
    "cancel",
    "plan",
    "apps",
    "deliveries",
    "status",
    "update",
    "doctor",
    "hook",
];

#[test]
fn help_names_every_command_and_teaches_each_by_an_example() {
    let help = run(&["--help"]);
    assert_eq!(code(&help), 0);
    for command in COMMANDS {
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
fn completions_are_made_of_the_commands_that_there_are() {
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef airplanes"), ("fish", "complete -c airplanes")] {
        let made = run(&["completions", shell]);
        assert_eq!(code(&made), 0, "{shell}");
        assert!(out(&made).contains(sign) && out(&made).contains("trust"), "{shell}");
    }
    assert_eq!(code(&run(&["completions", "ed"])), 2);
}

#[test]
fn bad_usage_ends_with_2_and_says_what_was_meant() {
    let typo = run(&["deplyo"]);
    assert_eq!(code(&typo), 2);
    assert!(err(&typo).contains("deploy"), "{}", err(&typo));
    assert_eq!(code(&run(&[])), 2);
    assert_eq!(code(&run(&["jobs", "--json", "--edn"])), 2);
    assert_eq!(code(&run(&["--log", "a=b=c", "jobs"])), 2);
    // What may be an app's name is one; `cancel` wants a job.
    for args in [["cancel", "nonsense"], ["job", "non sense"], ["logs", "non sense"]] {
        let id = run(&["--url", "http://127.0.0.1:1", args[0], args[1]]);
        assert_eq!(code(&id), 2);
        assert!(err(&id).contains("1jq3m8x2k4a0c-000"), "{}", err(&id));
    }
    let url = run(&["--url", "nonsense", "jobs"]);
    assert_eq!(code(&url), 2);
    assert!(err(&url).contains("http://127.0.0.1:8787"), "{}", err(&url));
}

#[test]
fn with_json_an_error_is_one_line_of_json_whatever_went_wrong() {
    let url = ["--url", "http://127.0.0.1:1"];
    for (args, exit) in [
        (&["status", "--json"][..], 7),
        (&["job", "non sense", "--json"], 2),
        (&["jobs", "--json", "--limit", "x"], 2),
        (&["jobs", "--edn", "--json"], 2),
        (&["hold", "shop", "--json"], 2),
    ] {
        let failed = run(&[&url, args].concat());
        let told: serde_json::Value = serde_json::from_str(err(&failed).lines().last().unwrap_or_default()).unwrap();
        assert_eq!((code(&failed), &told["exit"]), (exit, &exit.into()), "{args:?}: {told}");
        assert!(out(&failed).is_empty() && told["error"].as_str().is_some_and(|text| text.len() > 10), "{told}");
    }
    let failed = run(&[&url[..], &["status", "--edn"]].concat());
    assert!(err(&failed).starts_with("{:error \"the daemon at http://127.0.0.1:1"), "{}", err(&failed));
    assert!(err(&failed).contains(":hint ") && err(&failed).contains(":exit 7"), "{}", err(&failed));
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
fn a_backup_takes_the_place_of_no_device_and_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _held = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for there in ["/dev/null", "/dev/stdout", socket.to_str().unwrap(), folder.path().to_str().unwrap()] {
        // What is there is looked at before the daemon is asked.
        let refused = run(&["--url", "http://127.0.0.1:1", "backup", there]);
        assert_eq!(code(&refused), 2, "{there}: {}", err(&refused));
        assert!(err(&refused).contains("no plain file") && err(&refused).contains("`-`"), "{}", err(&refused));
    }
}

#[test]
fn doctor_sends_who_may_not_read_the_config_to_sudo() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "config.edn", "{}");
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = airplanes(&["doctor", "--config", &config]);
    if std::fs::File::open(&config).is_ok() {
        // Root reads everything; nobody can't get into the folder even.
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
    }
    let Ok(said) = command.current_dir("/").output() else {
        return eprintln!("skipped: another user can't run the binary where it is");
    };
    let page = out(&said);
    assert_eq!(page.matches("mend: sudo airplanes doctor --config").count(), 2, "{page}{}", err(&said));
    assert!(!page.contains("airplanes check"), "{page}");
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

/// Runs git in a folder, as nobody in particular, and gives what it prints.
fn git(folder: &Path, args: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").current_dir(folder).args(identity).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(folder: &Path, name: &str) -> String {
    write(folder, name, name);
    git(folder, &["add", "-A"]);
    git(folder, &["commit", "-q", "-m", name]);
    git(folder, &["rev-parse", "HEAD"])
}

#[test]
fn update_moves_the_sha_bytes_of_a_checkout_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let lib = folder.path().join("lib");
    std::fs::create_dir(&lib).unwrap();
    git(&lib, &["init", "-q"]);
    let old = commit(&lib, "one");
    git(&lib, &["checkout", "-q", "-b", "side"]);
    let side = commit(&lib, "aside");
    let along = commit(&lib, "further aside");
    git(&lib, &["checkout", "-q", "main"]);
    let new = commit(&lib, "two");
    let url = format!("file://{}", lib.display());
    let app = folder.path().join("app");
    std::fs::create_dir(&app).unwrap();
    let text = |sha: &str, side: &str| {
        format!(
            ";; sha {old}\r\n{{:deps {{acme/lib   {{:git/url \"{url}\" :sha \"{sha}\"}} ; ours\n\
             \x20       ^:antq/exclude acme/pin {{:git/url \"{url}\" :git/sha \"{old}\"}}\n\
             \x20       acme/side {{:git/url \"{url}\" :git/sha \"{side}\"}}\n\
             \x20       acme/tag {{:git/url \"{url}\" :git/tag \"v1\" :git/sha \"{}\"}}\n\
             \x20       acme/short {{:git/url \"{url}\" :git/sha \"abc\"}}}}}}",
            &old[..7]
        )
    };
    let file = write(&app, "deps.edn", &text(&old, &side));
    let folder = app.display().to_string();

    let dry = run(&["update", &folder, "--dry-run"]);
    assert_eq!(code(&dry), 0, "{}", err(&dry));
    assert!(out(&dry).starts_with("--- a/deps.edn\n+++ b/deps.edn\n@@ "), "{}", out(&dry));
    // The one on another branch follows that branch.
    for sha in [&new, &along] {
        assert_eq!(out(&dry).lines().filter(|l| l.starts_with('+') && l.contains(sha)).count(), 1, "{}", out(&dry));
    }
    for why in ["acme/pin in deps.edn: it is pinned", "the tag v1", "prefix sha abc"] {
        assert!(err(&dry).contains(why), "{why}: {}", err(&dry));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text(&old, &side));

    let real = run(&["update", &folder]);
    assert_eq!((code(&real), out(&real)), (0, out(&dry)));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text(&new, &along));

    let again = run(&["update", &folder]);
    assert_eq!((code(&again), out(&again)), (0, String::new()));
    assert!(err(&again).contains("up to date"), "{}", err(&again));
}

#[test]
fn update_says_what_is_missing_or_broken_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let none = run(&["update", &path]);
    assert_eq!(code(&none), 2);
    assert!(err(&none).contains("no deps.edn"), "{}", err(&none));
    write(folder.path(), "deps.edn", "{:deps\n  {a/b {:git/sha ]}}");
    let broken = run(&["update", &path]);
    assert_eq!(code(&broken), 1);
    assert!(err(&broken).contains("deps.edn:2:18: "), "{}", err(&broken));
    let sha = "a".repeat(40);
    let text = format!("{{:deps {{a/b {{:git/url \"file:///nonexistent\" :git/sha \"{sha}\"}}}}}}");
    write(folder.path(), "deps.edn", &text);
    let lost = run(&["update", &path]);
    assert_eq!(code(&lost), 1);
    assert!(err(&lost).contains("/nonexistent"), "{}", err(&lost));
    assert!(!err(&lost).contains("up to date"), "{}", err(&lost));
    let nowhere = run(&["update", &format!("{path}/nowhere")]);
    assert_eq!(code(&nowhere), 2);
    assert!(err(&nowhere).contains("nowhere is not a folder"), "{}", err(&nowhere));
}

#[test]
fn update_goes_by_what_deploy_edn_says_of_the_repositorys_apps_and_writes_nothing_that_tools_deps_would_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let lib = at("lib");
    git(&lib, &["init", "-q"]);
    write(&lib, "deps.edn", "{}");
    let old = commit(&lib, "one");
    git(&lib, &["checkout", "-q", "-b", "2.x"]);
    let two = commit(&lib, "two");
    git(&lib, &["checkout", "-q", "main"]);
    let new = commit(&lib, "new");
    let dep = |sha: &str| format!("acme/lib {{:git/url \"file://{}\" :git/sha \"{sha}\"}}", lib.display());
    let mono = at("mono");
    git(&mono, &["init", "-q"]);
    git(&mono, &["remote", "add", "origin", "https://git.example.com/acme/mono.git"]);
    at("mono/shop");
    at("mono/core");
    at("mono/alone");
    let text = |sha: &str, more: &str| format!("{{:deps {{{} {more}}}}}\n", dep(sha));
    let local = "acme/core {:local/root \"../core\"}";
    write(&mono, "shop/deps.edn", &text(&old, local));
    write(&mono, "core/deps.edn", &text(&old, ""));
    write(&mono, "alone/deps.edn", &text(&old, ""));
    let config = write(folder.path(), "config.edn", "{}");
    let deploy = "{:shop {:git-url \"git@git.example.com:acme/mono.git\" :directory \"shop\" :track {acme/lib {:branch \"2.x\"}}}}";
    write(folder.path(), "deploy.edn", deploy);
    let update = |below: &str| {
        let below = mono.join(below).display().to_string();
        run(&["update", &below, "--config", &config])
    };
    let read = |name: &str| std::fs::read_to_string(mono.join(name)).unwrap();

    let all = update("");
    assert_eq!(code(&all), 0, "{}", err(&all));
    assert!(out(&all).contains("--- a/shop/deps.edn") && out(&all).contains("--- a/core/deps.edn"), "{}", out(&all));
    assert_eq!([read("shop/deps.edn"), read("core/deps.edn")], [text(&two, local), text(&two, "")]);
    assert_eq!(read("alone/deps.edn"), text(&old, ""), "no app's");
    let alone = update("alone");
    assert_eq!((code(&alone), read("alone/deps.edn")), (0, text(&new, "")), "{}", err(&alone));

    // Two lines of a library that only meet by what they bring along.
    let [left, right] = ["left", "right"].map(|name| {
        let path = at(name);
        git(&path, &["init", "-q"]);
        write(&path, "deps.edn", &text(&old, ""));
        (commit(&path, "one"), path)
    });
    write(&right.1, "deps.edn", &text(&two, ""));
    write(&left.1, "deps.edn", &text(&new, ""));
    commit(&right.1, "apart");
    commit(&left.1, "apart");
    let of = |(sha, path): &(String, std::path::PathBuf)| {
        let name = path.file_name().unwrap().to_str().unwrap();
        format!("acme/{name} {{:git/url \"file://{}\" :git/sha \"{sha}\"}}", path.display())
    };
    let both = format!("{{:deps {{{}\n {}}}}}", of(&left), of(&right));
    write(&mono, "alone/deps.edn", &both);
    let refused = update("alone");
    assert_eq!((code(&refused), read("alone/deps.edn")), (1, both), "{}", err(&refused));
    for words in ["alone/deps.edn:2: No known ancestor relationship", "nothing was written"] {
        assert!(err(&refused).contains(words), "{words}: {}", err(&refused));
    }
}
