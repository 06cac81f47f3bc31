//! Which files of a repository count for an app: those that its `:deps-files` name below its `:directory`, and the
//! deps.edn of each folder of the repository that one of them names by `:local/root`, and so on. It is said here and
//! nowhere else.

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::Path;

use super::{BumpsError, File};
use crate::deps::{self, Coord};
use crate::git::Mirrors;
use crate::model::{RepoId, Sha, Updates};

/// How many files count at the most.
const MOST: usize = 500;

/// What files are read from.
#[derive(Clone, Copy)]
pub enum Tree<'a> {
    /// A commit, from a mirror that has it.
    Commit {
        /// The mirrors.
        git: &'a Mirrors,
        /// The repository.
        repo: &'a RepoId,
        /// The commit.
        sha: Sha,
    },
    /// A folder on this machine: that of a repository.
    Folder(&'a Path),
}

impl Tree<'_> {
    /// The files that count for an app whose entry says this, each once: those that are named, then what they lead to.
    pub async fn files(&self, updates: &Updates) -> Result<Vec<File>, BumpsError> {
        let directory = updates.directory.as_deref().unwrap_or_default();
        let mut queue: VecDeque<String> = VecDeque::new();
        match updates.deps_files.as_slice() {
            [] => queue.extend(deps::FILES.map(|name| inside(directory, name))),
            globs => {
                for glob in globs {
                    queue.extend(self.named(directory, inside(directory, glob)).await?);
                }
            }
        }
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut files: Vec<File> = Vec::new();
        while let Some(path) = queue.pop_front() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let Some(text) = self.read(&path).await? else { continue };
            if files.len() == MOST {
                let place = if directory.is_empty() { "the repository" } else { directory };
                return Err(BumpsError::File(format!(
                    "over {MOST} files of {place} count for its dependencies; narrow its :deps-files in deploy.edn"
                )));
            }
            queue.extend(locals(&path, &text).into_iter().map(|folder| inside(&folder, "deps.edn")));
            files.push(File { path, text });
        }
        Ok(files)
    }

    /// The folders of the repository that the files of an app are of: its own, and those that they name.
    pub async fn folders(&self, updates: &Updates) -> Result<BTreeSet<String>, BumpsError> {
        let mut folders: BTreeSet<String> = updates.directory.iter().cloned().collect();
        for file in self.files(updates).await? {
            folders.extend(locals(&file.path, &file.text));
        }
        Ok(folders)
    }

    /// The paths that a glob names.
    async fn named(&self, under: &str, glob: String) -> Result<Vec<String>, BumpsError> {
        if !glob.contains(['*', '?']) {
            return Ok(vec![glob]);
        }
        match self {
            Tree::Commit { git, repo, sha } => {
                Ok(git.files(repo, *sha, under, move |path| deps::glob::matches(&glob, path)).await?)
            }
            Tree::Folder(root) => {
                let mut found = Vec::new();
                let mut folders = vec![under.to_owned()];
                while let Some(folder) = folders.pop() {
                    // What can't be listed holds nothing that could be bumped.
                    for entry in std::fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
                        let Ok(name) = entry.file_name().into_string() else { continue };
                        let path = inside(&folder, &name);
                        match entry.file_type() {
                            Ok(kind) if kind.is_dir() && name != ".git" => folders.push(path),
                            Ok(kind) if kind.is_file() && deps::glob::matches(&glob, &path) => found.push(path),
                            _ => {}
                        }
                    }
                }
                found.sort();
                Ok(found)
            }
        }
    }

    /// A file's text. None if there is no such file.
    pub async fn read(&self, path: &str) -> Result<Option<String>, BumpsError> {
        let bytes = match self {
            Tree::Commit { git, repo, sha } => git.read_file(repo, *sha, path).await?,
            Tree::Folder(root) => match std::fs::read(root.join(path)) {
                Ok(bytes) => Some(bytes),
                // As in git: a folder is no file, and nothing lies below a file.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
                Err(error) => return Err(BumpsError::File(format!("{path} can't be read: {error}"))),
            },
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let not_utf8 = |e: std::string::FromUtf8Error| {
            let at = e.utf8_error().valid_up_to();
            BumpsError::File(format!("{path}: byte {at} is not UTF-8; save the file as UTF-8"))
        };
        String::from_utf8(bytes).map(Some).map_err(not_utf8)
    }
}

/// The folders of its repository that a file names by `:local/root`. None of a file that can't be read: that is told
/// by whoever has to read it.
pub(super) fn locals(path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let Ok(scanned) = deps::scan(text) else { return Vec::new() };
    scanned.locals.iter().filter_map(|local| below(folder, &local.root)).collect()
}

/// A path in a folder.
pub(super) fn inside(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// A folder below another, if it stays in the repository.
pub(super) fn below(folder: &str, relative: &str) -> Option<String> {
    if relative.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The folder of its repository that a coordinate says its library is in; none where that is all of it.
pub fn root_of(coord: &Coord<'_>) -> Option<String> {
    below("", coord.deps_root()?).filter(|root| !root.is_empty())
}
