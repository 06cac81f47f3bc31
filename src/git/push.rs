//! Pushing a commit to a remote's branch: fast-forward or not at all, and believed only when the remote says so.
//! It must never force, and never take "no error" for "done": libgit2 says Ok when a hook refuses.

use std::cell::RefCell;
use std::path::Path;

use git2::{Direction, ErrorCode, PushOptions};
use tokio_util::sync::CancellationToken;

use super::clone::WorkClone;
use super::error::{GitError, PushError};
use super::mirror::{Mirrors, settle};
use super::read::descends;
use super::remote::{Listing, Talk, oid, proxy, sha};
use super::task::{self, Halt};
use crate::model::Sha;

/// How a push came out well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The remote's branch has the commit now, by us.
    Done,
    /// It had it before: an earlier attempt got through.
    AlreadyThere,
}

/// What a push on the blocking thread came to.
enum Came {
    Done,
    AlreadyThere,
    Faster(Option<Sha>),
    Refused(String),
}

impl Mirrors {
    /// Pushes `commit` of the clone to the branch it is on. Idempotent: asked again after a crash it says
    /// `AlreadyThere`, even if others have pushed on top meanwhile. A branch the remote lacks is made.
    pub async fn push(&self, clone: &WorkClone, commit: Sha, stop: &CancellationToken) -> Result<Pushed, PushError> {
        let (url, branch) = (&clone.url, &clone.branch);
        let inner = self.inner.clone();
        let what = format!("the push to {branch} of {url}");
        let asked = inner.asked.begin(&url.id());
        let job = clone.clone();
        let came = task::run(what, self.inner.config.deadline, stop, async {}, move |(), halt| {
            let talk = |halt: &Halt| Talk::new(&inner.config, &job.url, halt);
            push(&job, &commit, &inner.config.state.join("mirrors"), &talk(halt)?, &talk(halt)?)
        })
        .await?;
        drop(asked);
        let head = match came {
            Came::Done => return Ok(Pushed::Done),
            Came::AlreadyThere => return Ok(Pushed::AlreadyThere),
            Came::Refused(words) => {
                return Err(PushError::Refused { remote: url.to_string(), branch: branch.clone(), words });
            }
            Came::Faster(head) => head,
        };
        // Theirs may stand on ours, if an earlier attempt of ours got through. Only their history can tell.
        let fetched = self.fetch(url, stop).await?;
        let head = fetched.heads.branches.get(branch).copied().or(head);
        if let Some(head) = head
            && self.is_ancestor(&url.id(), commit, head).await?
        {
            return Ok(Pushed::AlreadyThere);
        }
        Err(PushError::Faster { remote: url.to_string(), branch: branch.clone(), head })
    }
}

fn push(clone: &WorkClone, commit: &Sha, mirrors: &Path, talk: &Talk, after: &Talk) -> Result<Came, GitError> {
    let repo = clone.repo()?;
    settle(&repo, mirrors).map_err(|e| clone.unusable(&e))?;
    let name = format!("refs/heads/{}", clone.branch);
    let wanted = oid(commit);
    repo.find_commit(wanted).map_err(|e| clone.unusable(&e))?;
    let mut remote = repo.remote_anonymous(&talk.url).map_err(|e| talk.fail(e))?;
    let mut connection =
        remote.connect_auth(Direction::Push, Some(talk.callbacks()), Some(proxy())).map_err(|e| talk.fail(e))?;
    let listing = Listing::of(connection.list().map_err(|e| talk.fail(e))?);
    if let Some(head) = listing.refs.get(&name) {
        if descends(&repo, *head, wanted).map_err(|e| clone.unusable(&e))? {
            return Ok(Came::AlreadyThere);
        }
        if !descends(&repo, wanted, *head).map_err(|e| clone.unusable(&e))? {
            return Ok(Came::Faster(sha(*head)));
        }
    }
    let status: RefCell<Option<Option<String>>> = RefCell::new(None);
    let mut callbacks = talk.callbacks();
    callbacks.push_update_reference(|_, refused| {
        *status.borrow_mut() = Some(refused.map(str::to_owned));
        Ok(())
    });
    // The last moment at which a caller who has gone can still be heeded.
    callbacks.push_negotiation(|_| match talk.is_halted() {
        true => Err(git2::Error::from_str("canceled")),
        false => Ok(()),
    });
    let mut options = PushOptions::new();
    options.remote_callbacks(callbacks).proxy_options(proxy()).packbuilder_parallelism(1);
    // No leading `+`: libgit2 and the remote both refuse what is not a fast-forward.
    let pushed = connection.remote().push(&[format!("{wanted}:{name}")], Some(&mut options));
    drop(options);
    drop(connection);
    match pushed {
        Err(e) if e.code() == ErrorCode::NotFastForward => return Ok(Came::Faster(None)),
        Err(e) if someone_was_there(e.message()) => return Ok(Came::Faster(None)),
        Err(e) => return Err(talk.fail(e)),
        Ok(()) => {}
    }
    match status.into_inner() {
        Some(Some(words)) if someone_was_there(&words) => Ok(Came::Faster(None)),
        Some(Some(words)) => Ok(Came::Refused(match talk.printed() {
            printed if printed.is_empty() => words,
            printed => format!("{words}: {printed}"),
        })),
        // Its own report, after its hooks: asking again would cost another connection and tell no more.
        Some(None) => Ok(Came::Done),
        // No report, as from a file: it is asked whether it is so.
        None => match after.list_by(&repo)?.refs.get(&name) {
            Some(head) if *head == wanted => Ok(Came::Done),
            head => Ok(Came::Faster(head.copied().and_then(sha))),
        },
    }
}

/// Whether a status means that the branch moved, or was being moved, and not that a rule forbids the push.
fn someone_was_there(words: &str) -> bool {
    const SIGNS: [&str; 11] = [
        "non-fast-forward",
        "non-fastforward",
        "fetch first",
        "stale info",
        "cannot lock ref",
        "failed to lock",
        "failed to update ref",
        "reference already exists",
        "but expected",
        "incorrect old value",
        "reference has changed",
    ];
    let words = words.to_ascii_lowercase();
    SIGNS.iter().any(|sign| words.contains(sign))
}
