//! What a build leaves for the app's hosts: kept by the last of its commands before that is journaled as done, and found
//! again by whichever rollout brings that tree to hosts.

use super::{StepError, Work};
use crate::host::HostState;
use crate::model::Sha;
use crate::model::upkeep::Bytes;
use crate::pipeline::artifacts::{self, ArtifactError, Kept};

impl Work {
    /// Keeps the file of `:artifact`, if hosts are sent one; gives what the build's log says of it.
    pub(super) async fn keep_artifact(&self, tree: &str) -> Result<Option<String>, StepError> {
        let app = self.job.app.clone();
        let Some(artifact) = app.rollout.ship.artifact().cloned().filter(|_| !app.hosts.is_empty()) else {
            return Ok(None);
        };
        let (state, clone, tree) = (self.inner.state.clone(), self.clone_folder(), tree.to_owned());
        let path = artifact.path.clone();
        let keep = move || artifacts::keep(&state, &app, &artifact, &tree, &clone);
        let kept = tokio::task::spawn_blocking(keep).await;
        match kept.map_err(|panic| StepError::Retry(panic.to_string()))? {
            Ok(kept) => Ok(Some(format!("kept {path} for the hosts: {}, sha256 {}", Bytes(kept.size), kept.sha256))),
            Err(error @ ArtifactError::NotMade { .. }) => Err(StepError::failed(error.to_string())),
            Err(error @ ArtifactError::Keep { .. }) => Err(StepError::Retry(error.to_string())),
        }
    }

    /// What was kept of the build of a commit; none if hosts are sent no file, or it is not kept any more.
    pub(super) async fn kept(&self, commit: Sha) -> Option<Kept> {
        self.job.app.rollout.ship.artifact()?;
        let ours = self.job.updated.as_ref().filter(|_| self.job.commit() == Some(commit));
        let tree = match ours {
            Some(updated) => updated.tree.clone(),
            // Without its repository nobody knows which tree that is: what the host has of it will do.
            None => {
                self.bring_base(commit).await.ok()?;
                let rooms = self.rooms();
                rooms.git.tree_id(&self.job.app.repo(), commit).await.ok()?.to_string()
            }
        };
        let (state, app) = (self.inner.state.clone(), self.job.app.name.clone());
        tokio::task::spawn_blocking(move || artifacts::find(&state, &app, &tree)).await.ok()?
    }
}

/// Whether what a host has is what was built, as far as that is kept: a commit may have been built twice.
pub(super) fn is_same(kept: Option<&Kept>, seen: &HostState) -> bool {
    let sum = seen.marker.as_ref().and_then(|marker| marker.sum.as_deref());
    kept.is_none_or(|kept| sum == Some(&kept.sha256))
}
