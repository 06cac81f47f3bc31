//! What moves a coordinate: what the planner finds an app by. As far as mirrors tell it; no remote is asked.

use std::collections::{BTreeMap, HashMap};

use super::view::View;
use super::{Asking, Rules, Stays};
use crate::deps::Coord;
use crate::model::{Branch, Follows, Lib, RepoId, Sha, Track};

/// The branch that a coordinate was seen on, and at which commit.
pub type Seen<'a> = (&'a Branch, Option<Sha>);

impl Asking<'_> {
    /// What moves this coordinate. Where several branches hold its sha by now, or nothing can be read, it is the one that
    /// it was `seen` on before: a topic branch that begins there changes nothing.
    pub async fn follows(
        &self,
        coord: &Coord<'_>,
        track: &BTreeMap<Lib, Track>,
        lives_on: &(dyn Fn(&RepoId) -> Vec<Option<Branch>> + Sync),
        seen: Option<Seen<'_>>,
    ) -> Follows {
        self.moved_by(coord, track, lives_on, seen).await.0
    }

    /// The same, and why no push moves it whatever it is, if that is so.
    pub async fn moved_by(
        &self,
        coord: &Coord<'_>,
        track: &BTreeMap<Lib, Track>,
        lives_on: &(dyn Fn(&RepoId) -> Vec<Option<Branch>> + Sync),
        seen: Option<Seen<'_>>,
    ) -> (Follows, Option<Stays>) {
        if !coord.is_movable() {
            return (Follows::Nothing, None);
        }
        let (wants, held, had) = (HashMap::new(), |_: &Lib, _: &str| None, |_: &RepoId| BTreeMap::new());
        let apart = BTreeMap::new();
        let is_seen = |_: &Lib, _: &RepoId, current: Sha| {
            seen.filter(|(_, at)| *at == Some(current)).map(|(branch, _)| branch.clone())
        };
        let rules = Rules {
            wants: &wants,
            all: true,
            apart: &apart,
            track,
            held: &held,
            own: None,
            lives_on,
            had: &had,
            seen: &is_seen,
        };
        // What has a tag moves by tags, if only by those of the branch that is tracked.
        if coord.tag().is_some() || rules.follows_tags(coord) {
            return (Follows::Tags, None);
        }
        if let Some(Track::Branch(branch)) = rules.tracked(coord) {
            return (Follows::Branch(branch.clone()), None);
        }
        let unread = || (seen.map_or(Follows::Unknown, |(branch, _)| Follows::Seen(branch.clone())), None);
        let (Some(url), Some(current)) = (coord.repo_url(), coord.full_sha()) else { return (Follows::Unknown, None) };
        let repo = url.id();
        let Ok(heads) = self.git.known_heads(&repo).await else { return unread() };
        let view = View { repo, url, heads, mirrored: true, fresh: false };
        match self.followed(coord, current, &view, &rules).await {
            Ok(Ok(branch)) => (Follows::Seen(branch), None),
            Ok(Err(Stays::Ambiguous { on, .. })) if seen.is_some_and(|(seen, _)| on.contains(seen)) => unread(),
            // On none, or on several that nobody has chosen between: an update will tell.
            Ok(Err(stays)) => (Follows::Unknown, Some(stays)),
            Err(_) => unread(),
        }
    }
}
