//! What files would say if something were merged or published that is not: for trying it out. No remote is asked.

use std::collections::{BTreeMap, HashMap};

use super::{Asking, BumpsError, Due, File, Kept, Rules, Stays, scan};
use crate::deps::{self, Coord};
use crate::edn;
use crate::model::{Follows, RepoId, Sha};
use crate::planner::Moved;

/// Where a repository would stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instead {
    /// At this commit, which its mirror, or what stands in for that, has.
    pub sha: Sha,
    /// What would have moved there.
    pub moved: Moved,
}

impl Asking<'_> {
    /// The moves that would be due in `files`. Of `rules` counts what holds of libraries, not what moved.
    pub async fn tried(
        &self,
        files: &[File],
        instead: &BTreeMap<RepoId, Instead>,
        rules: &Rules<'_>,
    ) -> Result<Due, BumpsError> {
        let mut due = Due::default();
        for file in files {
            let mut moves: HashMap<u32, deps::To> = HashMap::new();
            for (_, coord) in scan(file)?.live() {
                let Some(repo) = coord.repo().filter(|repo| rules.own != Some(repo)) else { continue };
                let Some(there) = instead.get(&repo) else { continue };
                match self.would_move(coord, &file.path, (&repo, there), rules).await? {
                    Ok(to) => drop(moves.insert(coord.span.start, to)),
                    Err(why) => due.kept.push(Kept {
                        lib: coord.lib_text.as_deref().unwrap_or("a coordinate").to_owned(),
                        file: file.path.clone(),
                        line: edn::position(&file.text, coord.span.start).line,
                        why,
                        named: true,
                    }),
                }
            }
            due.take(file, |coord| moves.get(&coord.span.start).cloned())?;
        }
        Ok(due)
    }

    async fn would_move(
        &self,
        coord: &Coord<'_>,
        path: &str,
        (repo, there): (&RepoId, &Instead),
        rules: &Rules<'_>,
    ) -> Result<Result<deps::To, Stays>, BumpsError> {
        if let Some(problem) = coord.problem() {
            return Ok(Err(Stays::Problem(problem)));
        }
        if !coord.is_movable() {
            return Ok(Err(Stays::Pinned));
        }
        if let Some(words) = coord.lib.as_ref().and_then(|lib| (rules.held)(lib, path)) {
            return Ok(Err(Stays::Held(words)));
        }
        let follows = self.follows(coord, rules.track, rules.lives_on, None).await;
        let current = coord.full_sha();
        match (&follows, current) {
            (Follows::Tags, _) => return Ok(Err(Stays::Tagged)),
            (Follows::Branch(branch) | Follows::Seen(branch), Some(current)) if !there.moved.concerns(&follows) => {
                return Ok(Err(Stays::Elsewhere { current, follows: branch.clone(), head: there.sha }));
            }
            // What nobody knows is tried.
            _ => {}
        }
        if let Some(current) = current
            && self.git.is_ancestor(repo, there.sha, current).await?
        {
            return Ok(Err(Stays::Has { current, head: there.sha }));
        }
        if deps::excludes(coord, None, &there.sha.to_string()) {
            return Ok(Err(Stays::Excluded(there.sha.short())));
        }
        Ok(Ok(deps::To { sha: there.sha, tag: None, unique: 0 }))
    }
}
