//! Git and ssh as a person at this machine would run them, without that person's own configuration.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::DemoError;

/// Runs git in `folder` to its end and gives its standard output.
pub(super) fn git(folder: &Path, args: &[&str]) -> Result<String, DemoError> {
    Ok(git_output(folder, args)?.0)
}

/// As [`git`], and its standard error, where a push shows what the remote says.
pub(super) fn git_output(folder: &Path, args: &[&str]) -> Result<(String, String), DemoError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(args);
    run(command, "git", "git")
}

/// Runs a command line on a host through its sshd, with the host's key and nothing else.
pub(super) fn ssh(options: &[String], host: &str, line: &str) -> Result<String, DemoError> {
    let mut command = Command::new("ssh");
    command.args(options).args(["--", host, line]);
    Ok(run(command, "ssh", "openssh-client")?.0)
}

/// Refuses at once, and by name, if a program that will be needed is not there.
pub(super) fn need(program: &'static str, package: &'static str) -> Result<(), DemoError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if found { Ok(()) } else { Err(DemoError::Missing { program, package }) }
}

fn run(mut command: Command, program: &'static str, package: &'static str) -> Result<(String, String), DemoError> {
    // A signing key, a hook or an alias of the person's own would change what is shown.
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null());
    for set_by_git in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_SSH_COMMAND"] {
        command.env_remove(set_by_git);
    }
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => DemoError::Missing { program, package },
        _ => DemoError::Command { command: words(&command), said: error.to_string() },
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if !output.status.success() {
        let said = if err.trim().is_empty() { output.status.to_string() } else { err.trim().to_owned() };
        return Err(DemoError::Command { command: words(&command), said });
    }
    Ok((out, err))
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
