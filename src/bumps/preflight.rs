//! What tools.deps would say to files, asked before a build is begun: of each coordinate, and of all that they bring
//! with them. Read from mirrors; what can't be reached is told and not held against anyone.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::files::{below, inside, locals};
use super::{Asking, BumpsError, File, at};
use crate::deps::{self, Child, Chosen, Conflict, Coord, Dep, Expanded, Facts, NamedKind, Need, Place};
use crate::edn;
use crate::git::{GitError, Rev};
use crate::model::{RepoId, RepoUrl, Sha};

/// How many deps.edn are read at the most.
const MOST: usize = 2000;
/// How often the expansion may ask for more.
const ROUNDS: usize = 500;

/// What was found.
#[derive(Debug, Default)]
pub struct Preflight {
    /// The git libraries that a build gets, transitive ones too.
    pub libs: Vec<Chosen>,
    /// What tools.deps would refuse.
    pub faults: Vec<Fault>,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
}

/// Something that tools.deps would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, of a dependency with its repository and commit.
    pub file: String,
    /// The line in it.
    pub line: usize,
    /// The library.
    pub lib: String,
    /// Its kind.
    pub kind: FaultKind,
    /// In tools.deps' words.
    pub words: String,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The coordinate.
    Coordinate,
    /// The tag, or what it leads to.
    Tag,
    /// The commit is not there.
    Commit,
    /// There is no deps.edn.
    Manifest,
    /// Versions of it that can't be compared.
    Conflict,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.words)
    }
}

impl Preflight {
    /// The faults that are not among those of `before`: a bump is not to blame for what was there.
    pub fn new_faults(&self, before: &Preflight) -> Vec<&Fault> {
        let known = |fault: &&Fault| !before.faults.iter().any(|old| (&old.lib, old.kind) == (&fault.lib, fault.kind));
        self.faults.iter().filter(known).collect()
    }
}

/// Why a coordinate leads nowhere.
enum Refusal {
    Fault(FaultKind, String),
    Unknown(String),
}

/// What one look has come across.
#[derive(Default)]
struct Look {
    found: Preflight,
    /// Repositories that were fetched in it.
    fetched: HashSet<RepoId>,
    facts: Facts,
}

impl Asking<'_> {
    /// Looks at the top-level dependencies of `files`, which stand on a commit of the repository `own`: at the
    /// coordinates of each, and at what those bring that no other leads to. What they say counts, not what the commit
    /// says.
    pub async fn preflight(&self, files: &[File], own: (&RepoId, Sha)) -> Result<Preflight, BumpsError> {
        let mut look = Look::default();
        let led_to: BTreeSet<String> = files
            .iter()
            .flat_map(|file| locals(&file.path, &file.text).into_iter().map(|folder| inside(&folder, "deps.edn")))
            .collect();
        let mut tops = Vec::new();
        for (n, file) in files.iter().enumerate() {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            let place = Place { repo: own.0.clone(), sha: own.1, folder };
            let children = self.children(&place, &file.text, &file.path, &mut look).await?;
            if n == 0 || !led_to.contains(&file.path) {
                tops.push((file, children.clone()));
            }
            if file.path == inside(&place.folder, "deps.edn") {
                look.facts.manifests.insert(place, children);
            }
        }
        for (file, top) in tops {
            let expanded = self.expanded(&top, &mut look).await?;
            for conflict in &expanded.conflicts {
                let fault = in_words(conflict, file);
                if !look.found.faults.contains(&fault) {
                    look.found.faults.push(fault);
                }
            }
            for locked in expanded.libs {
                if !look.found.libs.contains(&locked) {
                    look.found.libs.push(locked);
                }
            }
        }
        Ok(look.found)
    }

    /// What tools.deps would take of `top`.
    async fn expanded(&self, top: &[Child], look: &mut Look) -> Result<Expanded, BumpsError> {
        let mut expanded = Expanded::default();
        for _ in 0..ROUNDS {
            expanded = deps::expand(top, &look.facts);
            if expanded.needs.is_empty() || look.facts.manifests.len() > MOST {
                break;
            }
            for need in std::mem::take(&mut expanded.needs) {
                self.answer(need, look).await?;
            }
        }
        Ok(expanded)
    }

    async fn answer(&self, need: Need, look: &mut Look) -> Result<(), BumpsError> {
        match need {
            Need::Manifest(place) => {
                let path = inside(&place.folder, "deps.edn");
                let bytes = self.git.read_file(&place.repo, place.sha, &path).await?;
                let children = match bytes.map(String::from_utf8) {
                    Some(Ok(text)) => {
                        let name = format!("{} {} {path}", place.repo, place.sha.short());
                        self.children(&place, &text, &name, look).await?
                    }
                    _ => Vec::new(),
                };
                look.facts.manifests.insert(place, children);
            }
            Need::Order(repo, one, other) => {
                let git = self.git;
                let order = if git.is_ancestor(&repo, other, one).await? {
                    Some(Ordering::Greater)
                } else if git.is_ancestor(&repo, one, other).await? {
                    Some(Ordering::Less)
                } else {
                    None
                };
                look.facts.orders.insert((repo, one, other), order);
            }
        }
        Ok(())
    }

    /// The libraries that a deps.edn names, as far as they lead anywhere.
    async fn children(&self, place: &Place, text: &str, name: &str, look: &mut Look) -> Result<Vec<Child>, BumpsError> {
        let (named, scanned) = match deps::manifest(text) {
            Ok(read) => read,
            Err(error) => {
                let line = edn::position(text, error.span.start).line;
                let words = format!("{} can't be read: {}", name, at(name, text, &error));
                let (file, lib, kind) = (name.to_owned(), name.to_owned(), FaultKind::Manifest);
                look.found.faults.push(Fault { file, line, lib, kind, words });
                return Ok(Vec::new());
            }
        };
        let mut children = Vec::new();
        for one in named {
            let dep = match &one.kind {
                NamedKind::Other => Dep::Other,
                NamedKind::Local(root) => match below(&place.folder, root) {
                    Some(folder) => Dep::Local(Place { folder, ..place.clone() }),
                    None => Dep::Other,
                },
                NamedKind::Git(index) => {
                    let Some(coord) = scanned.coords.get(*index) else { continue };
                    match self.canonical(coord, look).await? {
                        Ok(dep) => dep,
                        Err(Refusal::Unknown(words)) => {
                            look.found.unknown.push(words);
                            continue;
                        }
                        Err(Refusal::Fault(kind, words)) => {
                            let line = edn::position(text, coord.span.start).line;
                            let fault = Fault { file: name.to_owned(), line, lib: one.lib, kind, words };
                            look.found.faults.push(fault);
                            continue;
                        }
                    }
                }
            };
            children.push(Child { lib: one.lib, dep, exclusions: one.exclusions });
        }
        Ok(children)
    }

    /// What a coordinate stands for, or what tools.deps would say to it.
    async fn canonical(&self, coord: &Coord<'_>, look: &mut Look) -> Result<Result<Dep, Refusal>, BumpsError> {
        let refuse = |kind, words| Ok(Err(Refusal::Fault(kind, words)));
        if let Some(problem) = coord.problem() {
            return refuse(FaultKind::Coordinate, problem.to_string());
        }
        let (Some(lib), Some(url), Some(digits)) = (&coord.lib, coord.repo_url(), coord.sha()) else {
            return Ok(Ok(Dep::Other));
        };
        let repo = url.id();
        let commit = match coord.tag() {
            None => coord.full_sha(),
            Some(tag) => match self.found(&repo, &url, Rev::Tag(tag.to_owned()), look).await? {
                Err(words) => return Ok(Err(Refusal::Unknown(words))),
                Ok(None) => return refuse(FaultKind::Tag, format!("Library {lib} has invalid tag: {tag}")),
                Ok(Some(commit)) => {
                    let is_its = commit.to_string().starts_with(&digits.to_ascii_lowercase())
                        && self.git.unique_len(&repo, commit, digits.len()).await? <= digits.len();
                    if !is_its {
                        let words = format!("Library {lib} has sha and tag that point to different commits");
                        return refuse(FaultKind::Tag, words);
                    }
                    Some(commit)
                }
            },
        };
        let Some(commit) = commit else { return Ok(Ok(Dep::Other)) };
        match self.found(&repo, &url, Rev::Sha(commit), look).await? {
            Err(words) => return Ok(Err(Refusal::Unknown(words))),
            Ok(None) => {
                return refuse(FaultKind::Commit, format!("Commit not found for {lib} in repo {url} at {commit}"));
            }
            Ok(Some(_)) => {}
        }
        let Some(folder) = below("", coord.deps_root().unwrap_or_default()) else { return Ok(Ok(Dep::Other)) };
        if coord.field(":deps/manifest").is_none() {
            let mut there = false;
            for name in ["deps.edn", "pom.xml"] {
                there = there || self.git.read_file(&repo, commit, &inside(&folder, name)).await?.is_some();
            }
            if !there {
                let folder = if folder.is_empty() { String::new() } else { format!(" (in {folder})") };
                let words = format!("Manifest file not found for {lib} in coordinate {url} at {commit}{folder}");
                return refuse(FaultKind::Manifest, words);
            }
        }
        Ok(Ok(Dep::Git { url: url.to_string(), place: Place { repo, sha: commit, folder } }))
    }

    /// The commit that a revision names in a mirror, which is fetched if it lacks it; in words why that can't be told.
    async fn found(
        &self,
        repo: &RepoId,
        url: &RepoUrl,
        rev: Rev,
        look: &mut Look,
    ) -> Result<Result<Option<Sha>, String>, BumpsError> {
        let found = self.git.resolve(repo, rev.clone()).await.ok().flatten();
        if found.is_some() || !look.fetched.insert(repo.clone()) {
            return Ok(Ok(found));
        }
        let url = (self.url_of)(repo).unwrap_or_else(|| url.clone());
        match self.git.fetch(&url, self.stop).await {
            Ok(_) => Ok(Ok(self.git.resolve(repo, rev).await?)),
            Err(error @ GitError::Canceled { .. }) => Err(error.into()),
            Err(error) => {
                look.fetched.remove(repo);
                Ok(Err(error.to_string()))
            }
        }
    }
}

/// A conflict as tools.deps tells it, with the ways that lead to both.
fn in_words(conflict: &Conflict, file: &File) -> Fault {
    let lib = &conflict.lib;
    let way = |(dep, via): &(Dep, Vec<String>)| {
        let what = match dep {
            Dep::Git { url, place } => format!("{url} at {}", place.sha),
            Dep::Local(place) => format!("the folder {}", place.folder),
            Dep::Other => "another kind of coordinate".to_owned(),
        };
        let via: Vec<&str> = via.iter().map(String::as_str).chain([lib.as_str()]).collect();
        format!("{what} (by {})", via.join(" > "))
    };
    let both_git = matches!((&conflict.one.0, &conflict.other.0), (Dep::Git { .. }, Dep::Git { .. }));
    let begin = match both_git {
        true => format!("No known ancestor relationship between git versions for {lib}"),
        false => format!("Unable to compare versions for {lib}"),
    };
    let words = format!(
        "{begin}: {}, and {}. Name {lib} in the top-level :deps with the one that is meant",
        way(&conflict.one),
        way(&conflict.other)
    );
    let tops: BTreeSet<&String> =
        [&conflict.one, &conflict.other].into_iter().filter_map(|(_, via)| via.first()).collect();
    let scanned = deps::scan(&file.text).ok();
    let at_top = |coord: &&Coord<'_>| coord.lib.as_ref().is_some_and(|lib| tops.contains(&lib.to_string()));
    let coord = scanned.as_ref().and_then(|scanned| scanned.coords.iter().rev().find(at_top));
    let line = coord.map_or(1, |coord| edn::position(&file.text, coord.span.start).line);
    Fault { file: file.path.clone(), line, lib: lib.clone(), kind: FaultKind::Conflict, words }
}
