//! What a host lacks of a commit, as a bundle: made once for all hosts that have the same, and gone with the job.
//!
//! A small one goes along with the call that needs it. So it does with `:ship :pull`, too, where the mirror has what the
//! host has: thirty hosts don't ask the git server at once then, each with a handshake, for what was fetched a moment ago.
//! For a host that fetches by itself nothing is asked of the forge here, and a bundle that does not do is no error: it asks
//! its own origin.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;

use super::super::StepError;
use super::turn::{Cut, Turn};
use crate::git::GitError;
use crate::host::{Error, Remote, Source};
use crate::model::rollout::Ship;
use crate::model::{Branch, Sha};

/// What goes along with a call has at most so many bytes: in base64, and with the call's script, it has to fit into one
/// argument of a program (128 KiB).
const ALONG: usize = 60_000;

/// Those that were made, by what a host has and the commit that it is to get.
pub(in crate::pipeline) type Bundles = Mutex<HashMap<(Option<Sha>, Sha), Bundle>>;

/// Where a host has what it lacks of a commit from.
#[derive(Debug, Clone)]
pub(in crate::pipeline) enum Bundle {
    /// It lacks nothing.
    Needless,
    /// From its own origin.
    Fetched,
    /// From a file that is sent.
    File(PathBuf),
    /// From the call itself.
    Along {
        /// In base64.
        text: Arc<str>,
        or_origin: bool,
    },
}

impl Bundle {
    /// Sends what does not go along with the call; where it is on the host.
    pub(super) async fn send(&self, remote: &mut Remote<'_>, name: &str) -> Result<Option<String>, Error> {
        match self {
            Bundle::File(file) => remote.send(file, name).await.map(Some),
            Bundle::Needless | Bundle::Fetched | Bundle::Along { .. } => Ok(None),
        }
    }

    /// As the host is told; `sent` is what [`Bundle::send`] gave.
    pub(super) fn source<'a>(&'a self, sent: Option<&'a str>) -> Source<'a> {
        match self {
            Bundle::Along { text, or_origin } => Source::Along { bundle: text, or_origin: *or_origin },
            Bundle::Needless => Source::Itself,
            Bundle::Fetched | Bundle::File(_) => sent.map_or(Source::Origin, Source::Bundle),
        }
    }
}

impl Turn<'_> {
    /// What the host lacks of the commit if it has `has`.
    pub(super) async fn bundle(&self, branch: &Branch, has: Option<Sha>) -> Result<Bundle, Cut> {
        let fetches = self.app.rollout.ship == Ship::Pull;
        if has == Some(self.to) || (fetches && has.is_none()) {
            return Ok(Bundle::Fetched);
        }
        let (work, rooms, repo) = (self.work, self.work.rooms(), self.app.repo());
        let mut bundles = work.bundles.lock().await;
        if let Some(bundle) = bundles.get(&(has, self.to)) {
            return Ok(bundle.clone());
        }
        let ending = |error| match error {
            // Nobody cancels a turn.
            GitError::Canceled { .. } => StepError::Ending,
            error => work.git(error),
        };
        if !fetches {
            work.bring_until(self.to, &work.inner.ending).await.map_err(ending)?;
        }
        let small = match has {
            Some(has) => rooms.git.small_bundle(&repo, branch, self.to, has, ALONG).await.unwrap_or_else(|error| {
                tracing::debug!(app = %self.app.name, %error, "no small bundle");
                None
            }),
            None => None,
        };
        let bundle = match small {
            Some(bytes) => Bundle::Along { text: STANDARD.encode(bytes).into(), or_origin: fetches },
            None if fetches => Bundle::Fetched,
            None => {
                let from = has.map_or_else(|| "nothing".to_owned(), |has| has.to_string());
                let file = work.work_file(&format!("{from}-{}.bundle", self.to)).await?;
                rooms.git.bundle(&repo, branch, self.to, has, file.clone()).await.map_err(ending)?;
                Bundle::File(file)
            }
        };
        bundles.insert((has, self.to), bundle.clone());
        Ok(bundle)
    }

    /// What a bundle is called on the host.
    pub(super) fn name_there(&self) -> String {
        format!("{}-{}.bundle", self.work.job.id, self.host.name)
    }
}
