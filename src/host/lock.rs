//! The lock on an app's folder on a host: it keeps two daemons, and a person at work there, apart. It is held by a process
//! on the host that lives as long as our connection, so that nothing has to be freed by hand: the kernel does that.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::calls;
use super::error::Error;
use super::ops::{Remote, Subject};
use crate::model::Host;
use crate::ssh::{self, Hosts, Output};

/// What the script says once it has it.
const OURS: &[u8] = b"the lock is ours";
/// How long one may be held.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who holds a lock, since when and why: what whoever is refused is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which daemon or person, without spaces: the same one takes its own lock over.
    #[serde(skip)]
    pub id: String,
    /// Who, for people.
    pub who: String,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: String,
}

/// A lock that is held. It is freed when this is dropped.
#[derive(Debug)]
pub struct Lock {
    stop: CancellationToken,
    task: JoinHandle<Result<Output, ssh::Error>>,
}

impl Lock {
    /// Waits until it is lost: the connection is gone.
    pub async fn lost(&mut self) {
        let _ = (&mut self.task).await;
    }
    /// Frees it, and waits until that is so.
    pub async fn free(mut self) {
        self.stop.cancel();
        self.lost().await;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Takes the lock of a folder on a host. None where the folder is not there yet, or the host has no `flock`.
pub async fn lock(
    hosts: &Hosts,
    host: &Host,
    working_directory: &str,
    holder: &Holder,
    cancel: &CancellationToken,
) -> Result<Option<Lock>, Error> {
    // Plain data always has a JSON form.
    let note = serde_json::to_string(holder).unwrap_or_default();
    let call = calls::lock(working_directory, &holder.id, &note);
    let (stop, (has, got)) = (cancel.child_token(), oneshot::channel());
    let place = hosts.long_place(host).await;
    let mut task = {
        let (hosts, host, call, stop) = (hosts.clone(), host.clone(), call.clone(), stop.clone());
        let mut has = Some(has);
        tokio::spawn(async move {
            let _place = place;
            let mut said = Vec::new();
            let mut log = |bytes: &[u8]| {
                said.extend_from_slice(bytes);
                if said.windows(OURS.len()).any(|words| words == OURS) {
                    // Who went away meanwhile has dropped the lock.
                    has.take().map(|has| has.send(()));
                    said.clear();
                }
            };
            hosts.run(&host, &call, LONGEST, &stop, &mut log).await
        })
    };
    let ended = tokio::select! {
        Ok(()) = got => return Ok(Some(Lock { stop, task })),
        ended = &mut task => ended,
    };
    let output = match ended {
        Ok(output) => output?,
        Err(_) => return Err(ssh::Error::Lost { host: host.name.to_string(), what: call.what }.into()),
    };
    let mut quiet = |_: &[u8]| ();
    let remote = Remote { hosts, host, timeout: LONGEST, cancel, log: &mut quiet };
    remote.read(&call, Subject::path(working_directory), output).map(|_| None)
}
