//! What a job has pushed goes into the mirror without asking the remote for it: whoever depends on it finds it there.
//!
//! Objects are on disk before a ref names them, and a branch only ever moves forward here: where it does not, the next
//! fetch tells what is so. Killed in between it leaves objects that nobody needs. Done again it does nothing.

use std::path::Path;

use super::clone::WorkClone;
use super::error::GitError;
use super::mirror::{Health, Mirrors, check, damaged, open, packs, suspect_mark, sync_new_packs};
use super::read::{absent, descends};
use super::remote::oid;
use super::task;
use crate::files::crash;
use crate::model::Sha;

impl Mirrors {
    /// Brings a commit of the clone, which the remote has on the clone's branch by now, into the mirror. False where
    /// only a fetch can tell how the branch stands.
    pub async fn adopt(&self, clone: &WorkClone, commit: Sha) -> Result<bool, GitError> {
        let (clone, dir, url) = (clone.clone(), self.path(&clone.url.id()), clone.url.clone());
        let lock = self.slot(&url.id()).lock_owned();
        let what = format!("taking in {} of {url}", commit.short());
        // It is short, and half of it would be done again by the next fetch.
        let stop = tokio_util::sync::CancellationToken::new();
        task::run(what, self.config().deadline, &stop, lock, move |slot, _| {
            if *slot != Health::Sound && check(&dir).is_err() || suspect_mark(&dir).exists() {
                return Ok(false);
            }
            take_in(&clone, &commit, &dir)
        })
        .await
    }
}

fn take_in(clone: &WorkClone, commit: &Sha, dir: &Path) -> Result<bool, GitError> {
    let (mirror, from) = (open(dir)?, clone.repo()?);
    let name = format!("refs/heads/{}", clone.branch);
    let wanted = oid(commit);
    let Some(head) = absent(mirror.refname_to_id(&name)).map_err(|e| damaged(dir, &e))? else { return Ok(false) };
    // The clone borrows from the mirror: it knows both.
    let stands = |new, old| descends(&from, new, old).map_err(|e| clone.unusable(&e));
    if stands(head, wanted)? {
        return Ok(true);
    }
    if !stands(wanted, head)? {
        return Ok(false);
    }
    let before = packs(dir);
    let pack = || -> Result<(), git2::Error> {
        let mut walk = from.revwalk()?;
        walk.push(wanted)?;
        walk.hide(head)?;
        let mut builder = from.packbuilder()?;
        builder.insert_walk(&mut walk)?;
        builder.write(&dir.join("objects/pack"), 0)
    };
    pack().map_err(|e| clone.unusable(&e))?;
    sync_new_packs(dir, &before)?;
    // The objects are there, and no branch has them yet.
    crash::at("adopt");
    let put = || mirror.reference_matching(&name, wanted, true, head, "published").map(drop);
    put().map_err(|e| damaged(dir, &e))?;
    Ok(true)
}
