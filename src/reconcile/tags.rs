//! Tags at a remote beside those that were there when it was last listed: each new one is an event, once. Where a
//! remote's tags are listed for the first time they are where they begin, but for apps that stand at an older one.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::Inner;
use crate::deps::Version;
use crate::git::Heads;
use crate::model::{RepoUrl, Sha, TagPush};
use crate::pipeline::{Remote, StandsAt};
use crate::store::SeenTags;

/// How many new tags of one listing are events: who follows tags looks at all of them, whichever tells.
const MOST: usize = 20;

impl Inner {
    /// What a listing says of tags beside those that were known before; none where they never were listed.
    pub(super) async fn tags(
        &self,
        remote: &Remote,
        url: &RepoUrl,
        known: Option<BTreeSet<String>>,
        heads: &Heads,
    ) -> SeenTags {
        let (mut new, gone): (Vec<&String>, Vec<String>) = match &known {
            Some(known) => (
                heads.tags.keys().filter(|tag| !known.contains(*tag)).collect(),
                known.iter().filter(|tag| !heads.tags.contains_key(*tag)).cloned().collect(),
            ),
            None => (self.ahead(remote, heads).await.into_iter().collect(), Vec::new()),
        };
        if new.len() > MOST {
            tracing::info!(repo = %remote.repo, tags = new.len(), "many tags are new: the last {MOST} by name tell of all");
            new.drain(..new.len() - MOST);
        }
        let told: Vec<TagPush> = heads
            .tags
            .iter()
            .filter(|(tag, _)| new.contains(tag))
            .map(|(tag, after)| TagPush {
                urls: vec![url.clone()],
                tag: tag.clone(),
                after: *after,
                commit: None,
                pusher: None,
            })
            .collect();
        let is_noted = |tag: &&String| !new.contains(tag) && known.as_ref().is_none_or(|known| !known.contains(*tag));
        SeenTags { noted: heads.tags.keys().filter(is_noted).cloned().collect(), told, gone }
    }

    /// The newest tags above those that apps stand at.
    async fn ahead<'a>(&self, remote: &Remote, heads: &'a Heads) -> BTreeSet<&'a String> {
        let mut ahead = BTreeSet::new();
        for stand in &remote.tags {
            match stand {
                StandsAt::At(tag) => ahead.extend(Version::of(tag).and_then(|ours| newest(heads, &ours))),
                StandsAt::On(sha) => ahead.extend(self.newest_not_behind(remote, *sha, heads).await),
            }
        }
        ahead
    }

    /// Of the newest tag of each line the first that a commit does not have behind it, as far as the mirror knows.
    async fn newest_not_behind<'a>(&self, remote: &Remote, on: Option<Sha>, heads: &'a Heads) -> Option<&'a String> {
        let git = self.pipeline.rooms().git.clone();
        let done = |tag: &&String| Version::of(tag).is_some_and(|version| !version.is_pre_release());
        let mut lines = BTreeSet::new();
        for tag in heads.tags.keys().filter(done) {
            let newest = Version::of(tag).map(|version| newest(heads, &version).unwrap_or(tag));
            lines.extend(newest);
        }
        for tag in lines {
            let (Some(on), Some(commit)) = (on, heads.tags.get(tag).copied()) else { return Some(tag) };
            if commit != on && !git.is_ancestor(&remote.repo, commit, on).await.unwrap_or(false) {
                return Some(tag);
            }
        }
        None
    }
}

/// The newest tag above a version in its line; one before it is done only for what is before it is done itself.
fn newest<'a>(heads: &'a Heads, ours: &Version) -> Option<&'a String> {
    let versions = heads.tags.keys().filter_map(|tag| Some((Version::of(tag)?, tag)));
    let above = versions.filter(|(version, _)| version.may_follow(ours));
    let newest = above.max_by(|(a, _), (b, _)| a.order(b).unwrap_or(Ordering::Equal));
    newest.map(|(_, tag)| tag)
}
