//! What a host gets of a commit in its turn: the commit itself, which it fetches or is sent, or the file that the build
//! made of it.
//!
//! Idempotent: what is there already is not sent again, and a move that was interrupted is ended.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::bundle::Bundle;
use super::installs;
use super::turn::{Cut, OPERATION, PATIENCE, Turn, again};
use crate::files::crash;
use crate::host::{Error, Release, Remote};
use crate::model::rollout::{Artifact, Ship};
use crate::model::{FileSum, Sha};
use crate::pipeline::artifacts::Kept;

impl Turn<'_> {
    /// Shas that hosts may be at and that nobody else put there. What the host had before this turn is none by that: a
    /// person may have committed there.
    fn ours(&self) -> Result<Vec<Sha>, Cut> {
        let last = self.work.inner.store.goods(&self.app.name)?.into_iter().map(|good| good.sha);
        Ok(last.chain(self.work.job.published).collect())
    }

    /// Releases that stay there for a way back: what did well last, and what the host goes back to if need be.
    fn ways_back(&self) -> Result<Vec<(Sha, Option<FileSum>)>, Cut> {
        let store = &self.work.inner.store;
        let mut ways = Vec::new();
        for good in store.goods(&self.app.name)? {
            ways.push((good.sha, store.job(good.brought_by())?.and_then(|job| job.sum.clone())));
        }
        ways.extend(self.state().and_then(|state| Some((state.previous?, state.previous_sum))));
        Ok(ways)
    }

    /// Its tree at the commit; whether it moved. `has` is what it has.
    pub async fn bring(&self, has: Option<Sha>) -> Result<bool, Cut> {
        let (branch, _) = self.work.base()?;
        let is_sent = match &self.app.rollout.ship {
            Ship::Artifact(artifact) => return self.place(artifact).await,
            Ship::Push => has != Some(self.to),
            Ship::Pull => false,
        };
        let ours = self.ours()?;
        self.log.line(&format!("bringing {} to {} on {branch}", self.folder, self.to));
        let bring = async |bundle: Bundle| {
            let (folder, url, name) = (&self.folder, &self.app.git_url, self.name_there());
            again!(self, |remote| async {
                let sent = bundle.send(remote, &name).await?;
                remote.bring(folder, url, &branch, &self.to, bundle.source(sent.as_deref()), &ours).await
            })
        };
        // What it ran before it has, and needs neither mirror nor forge for its way back.
        let had = match is_sent && self.state().is_some_and(|state| state.previous == Some(self.to)) {
            true => match bring(Bundle::Needless).await {
                Err(Error::NoCommit { .. }) => None,
                brought => Some(brought?),
            },
            false => None,
        };
        let brought = match had {
            Some(brought) => brought,
            None => bring(self.bundle(&branch, has).await?).await?,
        };
        if let Some(from) = brought.from.filter(|_| brought.moved) {
            self.log.line(&format!("moved from {from}"));
        }
        Ok(brought.moved)
    }

    /// The commit's files beside what runs, which is not touched; where they are.
    pub async fn stage(&self) -> Result<String, Cut> {
        let seen = self.observe().await?;
        if installs::wanted(self.work, self.host)?.is_some() {
            self.make_folder(&seen).await;
        }
        if let Ship::Artifact(artifact) = &self.app.rollout.ship {
            let kept = self.work.kept(self.sum.as_ref()).await?;
            let (release, folder) = (self.release(artifact, kept.as_ref()), &self.folder);
            return Ok(again!(self, |remote| async {
                match (remote.place_beside(folder, &release, None).await, &kept) {
                    (Err(Error::NoRelease { .. }), Some(kept)) => {
                        let sent = self.send(remote, kept).await?;
                        remote.place_beside(folder, &release, Some(&sent)).await
                    }
                    (placed, _) => placed,
                }
            })?);
        }
        let (branch, _) = self.work.base()?;
        let bundle = self.bundle(&branch, seen.head).await?;
        let (folder, url, name) = (&self.folder, &self.app.git_url, self.name_there());
        let staged = again!(self, |remote| async {
            let sent = bundle.send(remote, &name).await?;
            remote.stage(folder, url, &branch, &self.to, bundle.source(sent.as_deref())).await
        });
        Ok(staged?)
    }

    /// The release of the commit in force; whether it was not before. The file is sent only where the host lacks it.
    async fn place(&self, artifact: &Artifact) -> Result<bool, Cut> {
        let kept = self.work.kept(self.sum.as_ref()).await?;
        let (ways_back, release) = (self.ways_back()?, self.release(artifact, kept.as_ref()));
        self.log.line(&format!("bringing {} to {}", self.folder, self.to));
        let brought = again!(self, |remote| async {
            match (remote.place(&self.folder, &release, None, &ways_back).await, &kept) {
                (Err(Error::NoRelease { .. }), Some(kept)) => {
                    let sent = self.send(remote, kept).await?;
                    remote.place(&self.folder, &release, Some(&sent), &ways_back).await
                }
                (placed, _) => placed,
            }
        })?;
        crash::at("artifact-placed");
        if let Some(from) = brought.from.filter(|_| brought.moved) {
            self.log.line(&format!("moved from {from}"));
        }
        Ok(brought.moved)
    }

    fn release<'r>(&'r self, artifact: &'r Artifact, kept: Option<&'r Kept>) -> Release<'r> {
        let name = kept.map_or(artifact.name(), |kept| &kept.name);
        // All of it, where the host knew no more than how it begins.
        let sum = kept.map(|kept| &kept.sum).or(self.sum.as_ref());
        Release { sha: &self.to, name, sum, keep: artifact.keep }
    }

    /// Sends the file; where it is on the host.
    async fn send(&self, remote: &mut Remote<'_>, kept: &Kept) -> Result<String, Error> {
        self.log.line(&format!("sending {}, sha256 {}", kept.name, kept.sum));
        let sent = remote.send(&kept.file, &format!("{}-{}.artifact", self.work.job.id, self.host.name)).await?;
        crash::at("artifact-sent");
        Ok(sent)
    }
}
