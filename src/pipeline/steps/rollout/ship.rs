//! What a host gets of a commit in its turn: the commit itself, which it fetches or is sent, or the file that the build
//! made of it.
//!
//! Idempotent: what is there already is not sent again, and a move that was interrupted is ended.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::installs;
use super::turn::{Cut, OPERATION, PATIENCE, Turn, again};
use crate::files::crash;
use crate::host::{Error, Release, Remote};
use crate::model::rollout::{Artifact, Ship};
use crate::model::{Branch, Sha};
use crate::pipeline::artifacts::Kept;

impl Turn<'_> {
    /// Shas that hosts may be at and that nobody else put there. What the host had before this turn is none by that: a
    /// person may have committed there.
    fn ours(&self) -> Result<Vec<Sha>, Cut> {
        let last = self.work.inner.store.goods(&self.app.name)?.into_iter().map(|good| good.sha);
        Ok(last.chain(self.work.job.published).collect())
    }

    /// Its tree at the commit; whether it moved. `has` is what it has.
    pub async fn bring(&self, has: Option<Sha>, kept: Option<&Kept>) -> Result<bool, Cut> {
        let (branch, _) = self.work.base()?;
        let bundle = match &self.app.rollout.ship {
            Ship::Artifact(artifact) => return self.place(artifact, kept).await,
            Ship::Push if has != Some(self.to) => Some(self.bundle(&branch, has).await?),
            _ => None,
        };
        let ours = self.ours()?;
        self.log.line(&format!("bringing {} to {} on {branch}", self.folder, self.to));
        let (folder, url) = (&self.folder, &self.app.git_url);
        let brought = again!(self, |remote| async {
            let sent = match &bundle {
                Some((file, name)) => Some(remote.send(file, name).await?),
                None => None,
            };
            remote.bring(folder, url, &branch, &self.to, sent.as_deref(), &ours).await
        });
        if let Some((file, _)) = &bundle {
            self.work.clear(file).await?;
        }
        let brought = brought?;
        if let Some(from) = brought.from.filter(|_| brought.moved) {
            self.log.line(&format!("moved from {from}"));
        }
        Ok(brought.moved)
    }

    /// What the host lacks of the commit, as a file, and the file's name there.
    async fn bundle(&self, branch: &Branch, has: Option<Sha>) -> Result<(PathBuf, String), Cut> {
        let (work, rooms) = (self.work, self.work.rooms());
        work.bring_base(self.to).await?;
        let name = format!("{}-{}.bundle", work.job.id, self.host.name);
        let file = work.work_file(&name).await?;
        rooms
            .git
            .bundle(&self.app.repo(), branch, self.to, has, file.clone())
            .await
            .map_err(|error| work.git(error))?;
        self.log.line("sending what it lacks");
        Ok((file, name))
    }

    /// The commit's files beside what runs, which is not touched; where they are.
    pub async fn stage(&self) -> Result<String, Cut> {
        let seen = self.observe().await?;
        if installs::wanted(self.work, self.host)?.is_some() {
            self.make_folder(&seen).await;
        }
        if let Ship::Artifact(artifact) = &self.app.rollout.ship {
            let kept = self.work.kept(self.to).await;
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
        let bundle = match &self.app.rollout.ship {
            Ship::Push if seen.head != Some(self.to) => Some(self.bundle(&branch, seen.head).await?),
            _ => None,
        };
        let (folder, url) = (&self.folder, &self.app.git_url);
        let staged = again!(self, |remote| async {
            let sent = match &bundle {
                Some((file, name)) => Some(remote.send(file, name).await?),
                None => None,
            };
            remote.stage(folder, url, &branch, &self.to, sent.as_deref()).await
        });
        if let Some((file, _)) = &bundle {
            self.work.clear(file).await?;
        }
        Ok(staged?)
    }

    /// The release of the commit in force; whether it was not before. The file is sent only where the host lacks it.
    async fn place(&self, artifact: &Artifact, kept: Option<&Kept>) -> Result<bool, Cut> {
        let (mut ours, release) = (self.ours()?, self.release(artifact, kept));
        // The release that it goes back to if need be stays there.
        ours.extend(self.state().and_then(|state| state.previous));
        self.log.line(&format!("bringing {} to {}", self.folder, self.to));
        let brought = again!(self, |remote| async {
            match (remote.place(&self.folder, &release, None, &ours).await, kept) {
                (Err(Error::NoRelease { .. }), Some(kept)) => {
                    let sent = self.send(remote, kept).await?;
                    remote.place(&self.folder, &release, Some(&sent), &ours).await
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
        let (sum, name) = (kept.map(|kept| &*kept.sha256), kept.map_or(artifact.name(), |kept| &kept.name));
        Release { sha: &self.to, name, sum, keep: artifact.keep }
    }

    /// Sends the file; where it is on the host.
    async fn send(&self, remote: &mut Remote<'_>, kept: &Kept) -> Result<String, Error> {
        self.log.line(&format!("sending {}, sha256 {}", kept.name, kept.sha256));
        let sent = remote.send(&kept.file, &format!("{}-{}.artifact", self.work.job.id, self.host.name)).await?;
        crash::at("artifact-sent");
        Ok(sent)
    }
}
