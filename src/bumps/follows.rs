//! What moves a coordinate: what the planner finds an app by. As far as mirrors tell it; no remote is asked.

use std::collections::{BTreeMap, HashMap};

use super::view::View;
use super::{Asking, Rules};
use crate::deps::Coord;
use crate::model::{Branch, Follows, Lib, RepoId, Track};

impl Asking<'_> {
    /// What moves this coordinate.
    pub async fn follows(
        &self,
        coord: &Coord<'_>,
        track: &BTreeMap<Lib, Track>,
        lives_on: &(dyn Fn(&RepoId) -> Vec<Option<Branch>> + Sync),
    ) -> Follows {
        if !coord.is_movable() {
            return Follows::Nothing;
        }
        let (wants, held, had) = (HashMap::new(), |_: &Lib, _: &str| None, |_: &RepoId| BTreeMap::new());
        let rules = Rules { wants: &wants, all: true, track, held: &held, own: None, lives_on, had: &had };
        if let Some(Track::Branch(branch)) = rules.tracked(coord) {
            return Follows::Branch(branch.clone());
        }
        if rules.follows_tags(coord) {
            return Follows::Tags;
        }
        let (Some(url), Some(current)) = (coord.repo_url(), coord.full_sha()) else { return Follows::Unknown };
        let repo = url.id();
        let Ok(heads) = self.git.known_heads(&repo).await else { return Follows::Unknown };
        let view = View { repo, url, heads, mirrored: true, fresh: false };
        match self.followed(coord, current, &view, &rules).await {
            Ok(Ok(branch)) => Follows::Seen(branch),
            // On none, on several, or a mirror that can't be read: an update will tell.
            _ => Follows::Unknown,
        }
    }
}
