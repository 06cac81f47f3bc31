//! What moves a coordinate: what the planner finds an app by. As far as mirrors tell it; no remote is asked.

use std::collections::{BTreeMap, HashMap};

use super::view::View;
use super::{Asking, Rules, Stays};
use crate::deps::Coord;
use crate::model::{Branch, Follows, Lib, RepoId, Track};

impl Asking<'_> {
    /// What moves this coordinate. Where several branches hold its sha by now, or nothing can be read, it is the one that
    /// it was `seen` on before: a topic branch that begins there changes nothing.
    pub async fn follows(
        &self,
        coord: &Coord<'_>,
        track: &BTreeMap<Lib, Track>,
        lives_on: &(dyn Fn(&RepoId) -> Vec<Option<Branch>> + Sync),
        seen: Option<&Branch>,
    ) -> Follows {
        if !coord.is_movable() {
            return Follows::Nothing;
        }
        let (wants, held, had) = (HashMap::new(), |_: &Lib, _: &str| None, |_: &RepoId| BTreeMap::new());
        let apart = BTreeMap::new();
        let rules =
            Rules { wants: &wants, all: true, apart: &apart, track, held: &held, own: None, lives_on, had: &had };
        // What has a tag moves by tags, if only by those of the branch that is tracked.
        if coord.tag().is_some() || rules.follows_tags(coord) {
            return Follows::Tags;
        }
        if let Some(Track::Branch(branch)) = rules.tracked(coord) {
            return Follows::Branch(branch.clone());
        }
        let unread = || seen.cloned().map_or(Follows::Unknown, Follows::Seen);
        let (Some(url), Some(current)) = (coord.repo_url(), coord.full_sha()) else { return Follows::Unknown };
        let repo = url.id();
        let Ok(heads) = self.git.known_heads(&repo).await else { return unread() };
        let view = View { repo, url, heads, mirrored: true, fresh: false };
        match self.followed(coord, current, &view, &rules).await {
            Ok(Ok(branch)) => Follows::Seen(branch),
            Ok(Err(Stays::Ambiguous { on, .. })) if seen.is_some_and(|seen| on.contains(seen)) => unread(),
            // On none, or on several that nobody has chosen between: an update will tell.
            Ok(Err(_)) => Follows::Unknown,
            Err(_) => unread(),
        }
    }
}
