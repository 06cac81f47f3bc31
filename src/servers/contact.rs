//! The first login: by the host key that the server was given, and by no other.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Pace, USER, keys};
use crate::config::Ssh;
use crate::git::known_hosts::host_name;
use crate::model::{Host, HostName, ServerState};
use crate::ssh::{Cause, Error, Hosts, Settings};

/// How long one try may take to connect.
const CONNECT: Duration = Duration::from_secs(10);

/// A try that did not let us in.
pub(super) struct Silent {
    /// Why not.
    pub why: String,
    /// Whether waiting may mend it: a server that starts refuses, shows the keys of its image, and knows nobody, before
    /// cloud-init has come to them.
    pub is_passing: bool,
}

/// Logs in once.
pub(super) async fn try_once(
    (state, address): (&ServerState, &HostName),
    folder: &std::path::Path,
    ssh: &Ssh,
    pace: Pace,
    cancel: &CancellationToken,
) -> Result<(), Silent> {
    let broken = |why: String| Silent { why, is_passing: false };
    let public = state.host_key.as_deref().unwrap_or_default();
    let name = host_name(address.as_str(), Some(pace.port));
    let known = keys::known_hosts(folder, &name, public).map_err(|e| broken(e.to_string()))?;
    let settings = Settings {
        identity: ssh.identity.clone(),
        known_hosts: Some(known),
        connect_timeout: CONNECT,
        ..Settings::default()
    };
    let hosts = Hosts::new(settings).map_err(|e| broken(e.to_string()))?;
    let name = HostName::new(state.spec.name.as_str()).unwrap_or_else(|_| address.clone());
    let host = Host { name, address: address.clone(), port: pace.port, user: USER.to_owned() };
    hosts.warm(&host, cancel).await.map_err(|error| {
        let is_passing = matches!(&error, Error::Unreachable { .. });
        let why = match &error {
            Error::Unreachable { cause: Cause::HostKeyChanged | Cause::HostKeyUnknown, .. } => format!(
                "{address} shows another host key than the one that it was given ({}): its image may not have taken \
                 the user data, or it is not that server",
                keys::fingerprint(public)
            ),
            other => other.to_string(),
        };
        Silent { why, is_passing }
    })
}
