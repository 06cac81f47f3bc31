//! Whether a remote lets us read, or write: asked without changing anything there.
//!
//! For writing the remote's git-receive-pack is opened, as a push opens it (and `git push --dry-run`, which does no
//! more): a key that may only read is refused there. What a remote decides only when it sees the commits, as protected
//! branches and hooks do, can't be asked.

use std::path::Path;

use git2::{Direction, Repository};
use tokio_util::sync::CancellationToken;

use super::error::GitError;
use super::mirror::{Mirrors, settle};
use super::remote::{Heads, Listing, Talk, proxy};
use super::task;
use crate::model::RepoUrl;
use crate::model::url::Transport;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To fetch.
    Read,
    /// To push.
    Write,
}

impl Mirrors {
    /// Opens the remote for reading or writing, with the credentials and host keys of a job, lists its heads and hangs
    /// up. Nothing changes there or here.
    pub async fn ask(&self, url: &RepoUrl, right: Right, stop: &CancellationToken) -> Result<Heads, GitError> {
        let (inner, asked) = (self.inner.clone(), url.clone());
        let what = match right {
            Right::Read => format!("listing the branches of {url}"),
            Right::Write => format!("asking {url} for the right to push"),
        };
        task::run(what, self.inner.config.deadline, stop, async {}, move |(), halt| {
            let talk = Talk::new(&inner.config, &asked, halt)?;
            let heads = open(&talk, &inner.config.state.join("mirrors"), right)?.heads();
            if right == Right::Write && asked.parts().transport == Transport::File {
                may_write(asked.parts().path)
                    .map_err(|words| GitError::Auth { remote: asked.as_str().to_owned(), words })?;
            }
            Ok(heads)
        })
        .await
    }
}

fn open(talk: &Talk, mirrors: &Path, right: Right) -> Result<Listing, GitError> {
    // A repository of its own, so that libgit2 has the settings of a job's talk: it follows no redirect to elsewhere.
    let other = |words: String| GitError::Other { what: format!("the talk with {}", talk.name), words };
    let scratch = tempfile::tempdir().map_err(|e| other(format!("no temporary folder: {e}")))?;
    let repo = Repository::init_bare(scratch.path()).map_err(|e| other(e.message().to_owned()))?;
    settle(&repo, mirrors).map_err(|e| other(e.message().to_owned()))?;
    let direction = match right {
        Right::Read => Direction::Fetch,
        Right::Write => Direction::Push,
    };
    let mut remote = repo.remote_anonymous(&talk.url).map_err(|e| talk.fail(e))?;
    let connection = remote.connect_auth(direction, Some(talk.callbacks()), Some(proxy())).map_err(|e| talk.fail(e))?;
    Ok(Listing::of(connection.list().map_err(|e| talk.fail(e))?))
}

/// A remote that is a folder has no git-receive-pack to ask.
fn may_write(path: &str) -> Result<(), String> {
    let bare = Path::new(path);
    let objects = [bare.join("objects"), bare.join(".git/objects")].into_iter().find(|folder| folder.is_dir());
    let folder = objects.ok_or_else(|| format!("{path} holds no git repository"))?;
    nix::unistd::access(&folder, nix::unistd::AccessFlags::W_OK)
        .map_err(|error| format!("{} can't be written: {}", folder.display(), error.desc()))
}
