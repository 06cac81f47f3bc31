//! What a build leaves for the app's hosts: kept and journaled by the last of its commands before that is journaled as
//! done, and found again, by what the journal says, by whichever rollout brings it to hosts.

use super::{StepError, Work};
use crate::model::upkeep::Bytes;
use crate::model::{Entry, FileSum};
use crate::pipeline::artifacts::{self, ArtifactError, Kept};

impl Work {
    /// Keeps the file of `:artifact`, if hosts are sent one; gives what the build's log says of it.
    pub(super) async fn keep_artifact(&mut self) -> Result<Option<String>, StepError> {
        let app = self.job.app.clone();
        let Some(artifact) = app.rollout.ship.artifact().cloned().filter(|_| !app.hosts.is_empty()) else {
            return Ok(None);
        };
        let (state, clone) = (self.inner.state.clone(), self.clone_folder());
        let path = artifact.path.clone();
        let room = self.inner.spare();
        let keep = move || artifacts::keep(&state, &app, &artifact, &clone, room);
        let kept = tokio::task::spawn_blocking(keep).await;
        match kept.map_err(|panic| StepError::Retry(panic.to_string()))? {
            Ok(Kept { sum, size, .. }) => {
                let said = format!("kept {path} for the hosts: {}, sha256 {sum}", Bytes(size));
                self.append(vec![Entry::Artifact { sum }]).await?;
                Ok(Some(said))
            }
            Err(error @ (ArtifactError::NotMade { .. } | ArtifactError::NoRoom { .. })) => {
                Err(StepError::failed(error.to_string()))
            }
            Err(error @ ArtifactError::Keep { .. }) => Err(StepError::Retry(error.to_string())),
        }
    }

    /// The file with that sum; none if it is not kept any more, or nobody knows which it is.
    pub(super) async fn kept(&self, sum: Option<&FileSum>) -> Result<Option<Kept>, StepError> {
        let Some(sum) = sum.cloned() else { return Ok(None) };
        let (state, app, words) = (self.inner.state.clone(), self.job.app.name.clone(), sum.clone());
        let found = tokio::task::spawn_blocking(move || artifacts::find(&state, &app, &sum)).await;
        let found = found.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        found.map_err(|error| {
            StepError::Retry(format!("the kept file {words} can't be read in `artifacts` of the state folder: {error}"))
        })
    }
}
