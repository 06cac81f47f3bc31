//! The lock on an app's folder on a host: it keeps two daemons, and a person at work there, apart. It is held by the
//! shell of a conversation with that host, so that nothing has to be freed by hand: the kernel does that when it ends.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::calls;
use super::error::Error;
use super::ops::{Remote, Subject};
use crate::model::Host;
use crate::ssh::{Call, Hosts};

/// How long it may take to get a lock, or to be refused.
const WITHIN: Duration = Duration::from_secs(60);

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
    hosts: Hosts,
}

impl Lock {
    /// Waits until it is lost: the connection is gone.
    pub async fn lost(&mut self) {
        self.hosts.hung_up().await;
    }
    /// Frees it, and waits until that is so.
    pub async fn free(self) {
        self.hosts.hang_up().await;
    }
}

/// The pool for somebody who has to be alone in a folder on a host: all that they ask there is one conversation, which has
/// the folder's lock for as long as it lasts. Where it was lost, the lock is taken again before anything else is asked. A
/// folder that is not there yet, and a host without `flock`, have none.
pub fn alone(hosts: &Hosts, host: &Host, working_directory: &str, holder: &Holder) -> Hosts {
    hosts.in_conversation(host, Some(opening(working_directory, holder)))
}

fn opening(working_directory: &str, holder: &Holder) -> Call {
    // Plain data always has a JSON form.
    let note = serde_json::to_string(holder).unwrap_or_default();
    calls::lock(working_directory, &holder.id, &note)
}

/// Takes the lock of a folder on a host. None where the folder is not there yet, or the host has no `flock`.
pub async fn lock(
    hosts: &Hosts,
    host: &Host,
    working_directory: &str,
    holder: &Holder,
    cancel: &CancellationToken,
) -> Result<Option<Lock>, Error> {
    let (mut quiet, call) = (|_: &[u8]| (), opening(working_directory, holder));
    let hosts = alone(hosts, host, working_directory, holder);
    let Some(output) = hosts.begin(host, WITHIN, cancel, &mut quiet).await? else { return Ok(None) };
    let remote = Remote { hosts: &hosts, host, timeout: WITHIN, cancel, log: &mut quiet };
    let answer = remote.read(&call, Subject::path(working_directory), output)?;
    Ok(answer.get("absent").is_none().then_some(Lock { hosts }))
}

/// Which daemon this is, as its locks say: a name of its own, made once and kept in its state. So it knows its locks of
/// before it was killed, and no other daemon's.
pub fn identity(state: &Path) -> String {
    let path = state.join("host-lock.id");
    let is_whole = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(id) = std::fs::read_to_string(&path).ok().map(|id| id.trim().to_owned()).filter(is_whole) {
        return id;
    }
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness the time still tells two daemons apart.
        bytes = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
    }
    let id = crate::model::hex(bytes);
    if let Err(error) = crate::files::write(&path, format!("{id}\n").as_bytes()) {
        tracing::warn!(path = %path.display(), %error, "a lock that this daemon leaves on a host will not be known as its own");
    }
    id
}
