//! The host key that a server is given: made here, kept until it was shown.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::git::known_hosts::HostKey;
use crate::model::{Secret, ServerState};
use crate::ssh;

/// Why there is no host key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// ssh-keygen.
    #[error(transparent)]
    Tool(#[from] ssh::ToolError),
    /// The state folder.
    #[error("{} can't be written or read: {source}; see that the disk has room and the folder is the daemon's", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// The folder of what is kept of a server while it is being made.
pub(super) fn folder(servers: &Path, state: &ServerState) -> PathBuf {
    servers.join(state.id.to_string())
}

/// Makes a new host key, in place of one that is there, and gives its public half.
pub(super) async fn make(folder: &Path, name: &str) -> Result<String, KeyError> {
    let io = |source| KeyError::Io { path: folder.to_owned(), source };
    remove(folder).map_err(io)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    let private = folder.join("host_ed25519");
    ssh::make_key(&private, name).await?;
    ssh::public_key(&private).await.map_err(KeyError::from).map(|line| two_words(&line))
}

/// Whether the private half of this public one is there.
pub(super) fn is_there(folder: &Path) -> bool {
    folder.join("host_ed25519").exists()
}

/// What cloud-init reads: the host key, and that root may log in, with a key alone. JSON is YAML too.
pub(super) fn user_data(folder: &Path, public: &str) -> Result<Secret, KeyError> {
    let path = folder.join("host_ed25519");
    let private = std::fs::read_to_string(&path).map_err(|source| KeyError::Io { path, source })?;
    let config = serde_json::json!({
        "ssh_deletekeys": true,
        "ssh_keys": { "ed25519_private": private, "ed25519_public": public },
        "disable_root": false,
        "ssh_pwauth": false,
    });
    Ok(Secret::new("user data", format!("#cloud-config\n{config}\n")))
}

/// A known_hosts file that knows this server alone.
pub(super) fn known_hosts(folder: &Path, name: &str, public: &str) -> Result<PathBuf, KeyError> {
    let io = |source| KeyError::Io { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    let path = folder.join("known_hosts");
    crate::files::write(&path, format!("{name} {public}\n").as_bytes()).map_err(io)?;
    Ok(path)
}

/// Removes what was kept.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A public key's line without its comment, which often tells who made it and where.
pub(super) fn two_words(line: &str) -> String {
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// `SHA256:…` of a public key's line.
pub(super) fn fingerprint(public: &str) -> String {
    HostKey::of_line(&format!("it {public}")).map(|(_, key)| key.fingerprint()).unwrap_or_default()
}
