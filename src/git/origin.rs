//! Where a checkout on this machine is from.
//!
//! Only its configuration file is read, not the repository: that works for checkouts of other users too, which libgit2
//! does not open, and starts nothing.

use std::path::{Path, PathBuf};

use git2::Config;

/// A checkout and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The folder that has the `.git`.
    pub root: PathBuf,
    /// The url of `origin`, or of the only remote, as it is written there. None if there is no such remote.
    pub url: Option<String>,
}

/// The checkout that `folder` is in. None if it is in none.
pub fn origin(folder: &Path) -> Option<Origin> {
    let root = folder.ancestors().find(|folder| folder.join(".git").exists())?;
    let url = config_of(&root.join(".git")).and_then(|path| Config::open(&path).ok()).and_then(|config| url(&config));
    Some(Origin { root: root.to_owned(), url })
}

fn url(config: &Config) -> Option<String> {
    if let Ok(url) = config.get_string("remote.origin.url") {
        return Some(url);
    }
    let mut urls = Vec::new();
    let mut entries = config.entries(Some(r"^remote\..*\.url$")).ok()?;
    while let Some(Ok(entry)) = entries.next() {
        urls.extend(entry.value().ok().map(str::to_owned));
    }
    if urls.len() == 1 { urls.pop() } else { None }
}

/// The configuration file of a `.git`, which in a worktree or a submodule is a file that leads to the folder.
fn config_of(git: &Path) -> Option<PathBuf> {
    if git.is_dir() {
        return Some(git.join("config"));
    }
    let text = std::fs::read_to_string(git).ok()?;
    let folder = git.parent()?.join(text.strip_prefix("gitdir:")?.trim());
    let common = std::fs::read_to_string(folder.join("commondir")).ok();
    Some(common.map_or(folder.clone(), |common| folder.join(common.trim())).join("config"))
}
