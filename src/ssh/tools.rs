//! ssh-keygen and ssh-keyscan: new keys, and the keys that a host shows.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::git::known_hosts::HostKey;

/// How long a host may take for each of its key types, in ssh-keyscan's own counting.
const SCAN_SECONDS: &str = "10";
/// How long either program may take in all.
const LIMIT: Duration = Duration::from_secs(60);

/// Why one of the programs did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there.
    #[error("{0} is not installed; install it with `apt-get install openssh-client`")]
    Missing(&'static str),
    /// It could not be run.
    #[error("{program} could not be run: {source}")]
    Run {
        /// The program.
        program: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// It did not end.
    #[error("{program} did not end within {} s, and was ended", LIMIT.as_secs())]
    TimedOut {
        /// The program.
        program: &'static str,
    },
    /// It did not do it.
    #[error("{program} failed for {what}: {words}")]
    Failed {
        /// The program.
        program: &'static str,
        /// The file or host.
        what: String,
        /// Its own words.
        words: String,
    },
    /// The host showed no key.
    #[error("{host} port {port} showed no ssh host key: {words}; see that its sshd runs and can be reached from here")]
    NoKeys {
        /// The host.
        host: String,
        /// Its port.
        port: u16,
        /// ssh-keyscan's own words.
        words: String,
    },
}

/// Makes an ed25519 key without a passphrase: `path` and `path`.pub, neither of which may be there.
pub async fn make_key(path: &Path, comment: &str) -> Result<(), ToolError> {
    let (program, what) = ("ssh-keygen", path.display().to_string());
    let argv = ["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"].map(OsStr::new);
    run(program, what, argv.into_iter().chain([path.as_os_str()])).await.map(drop)
}

/// The public key of a private one, in a line as authorized_keys has it. The private key's file has to be this user's
/// own and nobody else's to read.
pub async fn public_key(private: &Path) -> Result<String, ToolError> {
    let (program, what) = ("ssh-keygen", private.display().to_string());
    let argv = ["-y", "-P", "", "-f"].map(OsStr::new).into_iter().chain([private.as_os_str()]);
    run(program, what, argv).await.map(|out| out.trim().to_owned())
}

/// All the host keys that a host shows, one of each type. Nothing says yet that it is that host.
pub async fn scan(host: &str, port: u16) -> Result<Vec<HostKey>, ToolError> {
    let port_text = port.to_string();
    let argv = ["-T", SCAN_SECONDS, "-t", "ed25519,ecdsa,rsa", "-p", &port_text, "--", host].map(OsStr::new);
    let output = output("ssh-keyscan", argv.into_iter()).await?;
    let mut keys: Vec<HostKey> = Vec::new();
    for (_, key) in String::from_utf8_lossy(&output.stdout).lines().filter_map(HostKey::of_line) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        let words = said.lines().rfind(|line| !line.starts_with('#') && !line.trim().is_empty());
        let words = words.unwrap_or("it did not answer").to_owned();
        return Err(ToolError::NoKeys { host: host.to_owned(), port, words });
    }
    // The strongest first, whatever order they came in.
    let rank = |key: &HostKey| ["ssh-ed25519", "ecdsa-sha2-nistp256"].iter().position(|kind| *kind == key.kind());
    keys.sort_by_key(|key| rank(key).unwrap_or(usize::MAX));
    Ok(keys)
}

async fn run<'a>(
    program: &'static str,
    what: String,
    argv: impl Iterator<Item = &'a OsStr>,
) -> Result<String, ToolError> {
    let output = output(program, argv).await?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
        return Err(ToolError::Failed { program, what, words });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn output<'a>(
    program: &'static str,
    argv: impl Iterator<Item = &'a OsStr>,
) -> Result<std::process::Output, ToolError> {
    let running = Command::new(program).args(argv).stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(LIMIT, running).await {
        Err(_) => Err(ToolError::TimedOut { program }),
        Ok(Err(source)) if source.kind() == io::ErrorKind::NotFound => Err(ToolError::Missing(program)),
        Ok(Err(source)) => Err(ToolError::Run { program, source }),
        Ok(Ok(output)) => Ok(output),
    }
}
