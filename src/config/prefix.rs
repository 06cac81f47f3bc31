//! What is configured by a prefix of a repository's identity: `github.com/acme/snow`, `gitlab.com`.

use std::collections::HashMap;

use crate::model::RepoUrl;

/// Values by prefix, as people write them. Asked once for each repository, however many there are.
#[derive(Debug, Clone)]
pub struct ByPrefix<T> {
    /// By the prefix as the beginning of a [`crate::model::RepoId`]; with it as it is written.
    entries: HashMap<String, (String, T)>,
}

impl<T> Default for ByPrefix<T> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<T> FromIterator<(String, T)> for ByPrefix<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Self {
        let plain = entries.into_iter().map(|(written, value)| (plain(&written), (written, value)));
        Self { entries: plain.filter(|(prefix, _)| !prefix.is_empty()).collect() }
    }
}

impl<T> ByPrefix<T> {
    /// The entry whose prefix, in whole path segments, is the longest that fits `id`.
    pub fn longest(&self, id: &str) -> Option<(&str, &T)> {
        let ends = std::iter::once(id.len()).chain(id.rmatch_indices('/').map(|(at, _)| at));
        let (written, value) = ends.filter_map(|end| self.entries.get(&id[..end])).next()?;
        Some((written, value))
    }
    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|(_, value)| value)
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A prefix as people write it, as the beginning of a [`crate::model::RepoId`].
fn plain(text: &str) -> String {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    // A made-up path turns a bare host into a url, so that hosts, ports and case follow the one rule there is.
    let (text, made_up) = if text.trim_end_matches('/').contains('/') { (text, "") } else { (text, "/x") };
    let whole = format!("https://{}{made_up}", text.trim_end_matches('/'));
    let id = RepoUrl::new(whole).map(|url| url.id().as_str().to_owned()).unwrap_or_default();
    id.strip_suffix(made_up).unwrap_or(&id).to_owned()
}
