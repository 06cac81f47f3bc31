//! What tools.deps would say to files, asked before a build is begun: of each coordinate, and of all that they bring
//! with them. Read from mirrors; what can't be reached is told and not held against anyone.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;

use super::files::{below, inside, locals};
use super::{Asking, BumpsError, File, at, edited};
use crate::deps::{
    self, Child, Chosen, Conflict, Coord, Dep, Expanded, Facts, Manifest, Named, NamedKind, Need, Place,
};
use crate::edn;
use crate::git::{GitError, Mirrors, Rev};
use crate::model::{RepoId, RepoUrl, Sha};

/// How many deps.edn are read at the most.
const MOST: usize = 2000;
/// How often the expansion may ask for more.
const ROUNDS: usize = 100;

/// What was found.
#[derive(Debug, Default)]
pub struct Preflight {
    /// The git libraries that a build gets, transitive ones too; by any alias.
    pub libs: Vec<Chosen>,
    /// What tools.deps would refuse.
    pub faults: Vec<Fault>,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
    /// What a build may ask git for on the way there, as the files name it.
    pub wanted: BTreeSet<Wanted>,
    /// Those of whose repositories there is no mirror now, and why.
    pub left: Vec<(RepoUrl, GitError)>,
    /// The repositories whose mirrors have the rest, with the urls that they are named by.
    repos: BTreeMap<RepoId, BTreeSet<RepoUrl>>,
}

/// A dependency that a build will fetch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Its url as the file has it.
    pub url: RepoUrl,
    /// The commit, or the tag that stands for it.
    pub rev: String,
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
    /// The folder that `:local/root` names is not there.
    Local,
    /// Versions of it that can't be compared.
    Conflict,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.words)
    }
}

impl Preflight {
    /// The text of a git configuration by which a build finds its dependencies in the mirrors, without keys or network.
    pub fn git_config(&self, git: &Mirrors) -> String {
        let repos: Vec<(RepoId, Vec<RepoUrl>)> =
            self.repos.iter().map(|(repo, urls)| (repo.clone(), urls.iter().cloned().collect())).collect();
        git.build_git_config(&repos)
    }
    /// The mirrors that it leads to.
    pub fn mirrors(&self, git: &Mirrors) -> Vec<PathBuf> {
        self.repos.keys().map(|repo| git.path(repo)).collect()
    }
    /// The faults that are not among those of `before`: a bump is not to blame for what was there.
    pub fn new_faults(&self, before: &Preflight) -> Vec<&Fault> {
        let known = |fault: &&Fault| !before.faults.iter().any(|old| (&old.lib, old.kind) == (&fault.lib, fault.kind));
        self.faults.iter().filter(known).collect()
    }
}

impl Asking<'_> {
    /// What is found of files of a commit of `repo` with the edits made, and what tools.deps would refuse since then.
    pub async fn refused(
        &self,
        files: &[File],
        edits: &[File],
        at: (&RepoId, Sha),
    ) -> Result<(Preflight, Vec<Fault>), BumpsError> {
        let after = self.preflight(&edited(files, edits), at).await?;
        if after.faults.is_empty() {
            return Ok((after, Vec::new()));
        }
        let before = self.preflight(files, at).await?;
        let new = after.new_faults(&before).into_iter().cloned().collect();
        Ok((after, new))
    }
}

/// Why a coordinate leads nowhere.
enum Refusal {
    /// What it stands for all the same, if anything.
    Fault(FaultKind, String, Option<Dep>),
    Unknown(String),
}

/// What is wrong with the folder of a `:local/root`.
enum LocalFault {
    Absent,
    NoManifest,
}

/// What one look has come across.
#[derive(Default)]
struct Look {
    found: Preflight,
    /// Repositories that were fetched in it, and why they could not be.
    fetched: HashMap<RepoId, Option<String>>,
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
        let (mut tops, mut others) = (Vec::new(), Vec::new());
        for (n, file) in files.iter().enumerate() {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            let place = Place { repo: own.0.clone(), sha: own.1, folder };
            // What they say counts, and not what the commit says.
            for folder in locals(&file.path, &file.text) {
                look.facts.manifests.entry(Place { folder, ..place.clone() }).or_default();
            }
            let manifest = match self.manifest(&file.text, &file.path, &mut look) {
                Some(manifest) => manifest,
                None => continue,
            };
            let children =
                self.children(&place, &manifest, &manifest.deps, (&file.text, &file.path), &mut look).await?;
            if n == 0 || !led_to.contains(&file.path) {
                tops.push((file, children.clone()));
                others.push((file, place.clone(), manifest));
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
            look.take(expanded.libs);
        }
        // Which aliases a build takes nobody knows, so what tools.deps would refuse of them is the build's to tell.
        let faults = look.found.faults.len();
        for (file, place, manifest) in others {
            for named in &manifest.others {
                let top = self.children(&place, &manifest, named, (&file.text, &file.path), &mut look).await?;
                let expanded = self.expanded(&top, &mut look).await?;
                look.take(expanded.libs);
            }
        }
        look.found.faults.truncate(faults);
        Ok(look.found)
    }

    /// What tools.deps would take of `top`.
    async fn expanded(&self, top: &[Child], look: &mut Look) -> Result<Expanded, BumpsError> {
        for _ in 0..ROUNDS {
            let expanded = deps::expand(top, &look.facts);
            if expanded.needs.is_empty() {
                return Ok(expanded);
            }
            if look.facts.manifests.len() > MOST {
                break;
            }
            for need in expanded.needs {
                self.answer(need, look).await?;
            }
        }
        let words = format!(
            "it has more dependencies than are followed ({MOST} deps.edn, {ROUNDS} steps down): conflicts among them are \
             the build's to find, and the rest its own git's to fetch"
        );
        if !look.found.unknown.contains(&words) {
            look.found.unknown.push(words);
        }
        // Half of it may be what the other half rules out.
        Ok(Expanded { conflicts: Vec::new(), ..deps::expand(top, &look.facts) })
    }

    async fn answer(&self, need: Need, look: &mut Look) -> Result<(), BumpsError> {
        match need {
            Need::Manifest(place) => {
                let path = inside(&place.folder, "deps.edn");
                let bytes = self.git.read_file(&place.repo, place.sha, &path).await?;
                let children = match bytes.map(String::from_utf8) {
                    Some(Ok(text)) => {
                        let name = format!("{} {} {path}", place.repo, place.sha.short());
                        match self.manifest(&text, &name, look) {
                            Some(manifest) => {
                                self.children(&place, &manifest, &manifest.deps, (&text, &name), look).await?
                            }
                            None => Vec::new(),
                        }
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

    /// What a file brings along; a fault if it can't be read.
    fn manifest<'t>(&self, text: &'t str, name: &str, look: &mut Look) -> Option<Manifest<'t>> {
        let mut refuse = |line, words| {
            let (file, lib, kind) = (name.to_owned(), name.to_owned(), FaultKind::Manifest);
            look.found.faults.push(Fault { file, line, lib, kind, words });
        };
        match deps::manifest(text) {
            Ok(manifest) => {
                // babashka takes a blank bb.edn.
                if let Some(found) = manifest.not_a_map.as_ref().filter(|_| name.ends_with("deps.edn")) {
                    refuse(1, format!("Error reading deps {name}. Found: {found}, expected: map?"));
                }
                Some(manifest)
            }
            Err(error) => {
                let line = edn::position(text, error.span.start).line;
                refuse(line, format!("{} can't be read: {}", name, at(name, text, &error)));
                None
            }
        }
    }

    /// The libraries that are named in a file, as far as they lead anywhere.
    async fn children(
        &self,
        place: &Place,
        manifest: &Manifest<'_>,
        named: &[Named],
        (text, name): (&str, &str),
        look: &mut Look,
    ) -> Result<Vec<Child>, BumpsError> {
        let mut children = Vec::new();
        for one in named {
            let dep = match &one.kind {
                NamedKind::Other => Dep::Other,
                NamedKind::Local { root, says } => match below(&place.folder, root) {
                    Some(folder) => {
                        let words = match self.local_refused(place, &folder, *says).await {
                            Some(LocalFault::Absent) => format!("Local lib {} not found: {folder}", one.lib),
                            Some(LocalFault::NoManifest) => {
                                format!("Manifest file not found for {} in coordinate {folder}", one.lib)
                            }
                            None => {
                                children.push(child(one, Dep::Local(Place { folder, ..place.clone() })));
                                continue;
                            }
                        };
                        let line = text.lines().position(|line| line.contains(&one.lib)).map_or(1, |at| at + 1);
                        let (file, kind) = (name.to_owned(), FaultKind::Local);
                        let fault = Fault { file, line, lib: one.lib.clone(), kind, words };
                        if !look.found.faults.contains(&fault) {
                            look.found.faults.push(fault);
                        }
                        continue;
                    }
                    None => Dep::Other,
                },
                NamedKind::Git(index) => {
                    let Some(coord) = manifest.file.coords.get(*index) else { continue };
                    match self.canonical(coord, look).await? {
                        Ok(dep) => dep,
                        Err(Refusal::Unknown(words)) => {
                            if !look.found.unknown.contains(&words) {
                                look.found.unknown.push(words);
                            }
                            continue;
                        }
                        Err(Refusal::Fault(kind, words, dep)) => {
                            let line = edn::position(text, coord.span.start).line;
                            let fault = Fault { file: name.to_owned(), line, lib: one.lib.clone(), kind, words };
                            look.found.faults.push(fault);
                            let Some(dep) = dep else { continue };
                            dep
                        }
                    }
                }
            };
            children.push(child(one, dep));
        }
        Ok(children)
    }

    /// Why tools.deps refuses the folder that a `:local/root` leads to. Where the commit can't be read, nothing is said.
    async fn local_refused(&self, place: &Place, folder: &str, says: bool) -> Option<LocalFault> {
        let has = async |path: &str| self.git.has_path(&place.repo, place.sha, path).await.unwrap_or(true);
        if folder.is_empty() {
            return None;
        }
        if !has(folder).await {
            return Some(LocalFault::Absent);
        }
        let is_file =
            async || self.git.read_file(&place.repo, place.sha, folder).await.is_ok_and(|file| file.is_some());
        let lacks = !says
            && !has(&inside(folder, "deps.edn")).await
            && !has(&inside(folder, "pom.xml")).await
            && !is_file().await;
        lacks.then_some(LocalFault::NoManifest)
    }

    /// What a coordinate stands for, or what tools.deps would say to it.
    async fn canonical(&self, coord: &Coord<'_>, look: &mut Look) -> Result<Result<Dep, Refusal>, BumpsError> {
        let refuse = |kind, words| Ok(Err(Refusal::Fault(kind, words, None)));
        if let Some(problem) = coord.problem() {
            return refuse(FaultKind::Coordinate, problem.to_string());
        }
        let (Some(lib), Some(url), Some(digits)) = (&coord.lib, coord.repo_url(), coord.sha()) else {
            return Ok(Ok(Dep::Other));
        };
        let repo = url.id();
        if let Some(rev) = coord.full_sha().map(|sha| sha.to_string()).or_else(|| coord.tag().map(str::to_owned)) {
            look.found.wanted.insert(Wanted { url: url.clone(), rev });
        }
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
        let mut there = coord.field(":deps/manifest").is_some();
        for name in ["deps.edn", "pom.xml"] {
            there = there || self.git.read_file(&repo, commit, &inside(&folder, name)).await?.is_some();
        }
        let shown = if folder.is_empty() { String::new() } else { format!(" (in {folder})") };
        let dep = Dep::Git { url: url.to_string(), place: Place { repo, sha: commit, folder } };
        if !there {
            let words = format!("Manifest file not found for {lib} in coordinate {url} at {commit}{shown}");
            return Ok(Err(Refusal::Fault(FaultKind::Manifest, words, Some(dep))));
        }
        Ok(Ok(dep))
    }

    /// The commit that a revision names in a mirror, which is fetched if it lacks it; in words why that can't be told.
    async fn found(
        &self,
        repo: &RepoId,
        url: &RepoUrl,
        rev: Rev,
        look: &mut Look,
    ) -> Result<Result<Option<Sha>, String>, BumpsError> {
        let known_by = (self.url_of)(repo).unwrap_or_else(|| url.clone());
        let mut found = self.git.resolve(repo, rev.clone()).await.ok().flatten();
        if found.is_none() {
            match look.fetched.get(repo) {
                Some(None) => {}
                Some(Some(words)) => return Ok(Err(words.clone())),
                None => {
                    let fetched = match self.git.fetch(&known_by, self.stop).await {
                        Ok(_) => None,
                        Err(error @ GitError::Canceled { .. }) => return Err(error.into()),
                        Err(error) if self.stop.is_cancelled() => return Err(error.into()),
                        Err(error) => Some(error),
                    };
                    look.fetched.insert(repo.clone(), fetched.as_ref().map(ToString::to_string));
                    if let Some(error) = fetched {
                        let words = error.to_string();
                        look.found.left.push((known_by, error));
                        return Ok(Err(words));
                    }
                    found = self.git.resolve(repo, rev).await?;
                }
            }
        }
        self.git.mark_used(repo);
        look.found.repos.entry(repo.clone()).or_default().extend([url.clone(), known_by]);
        Ok(Ok(found))
    }
}

impl Look {
    /// Keeps libraries that were chosen, each commit of each once.
    fn take(&mut self, libs: Vec<Chosen>) {
        for locked in libs {
            let is_it = |known: &Chosen| (&known.lib, &known.place) == (&locked.lib, &locked.place);
            if !self.found.libs.iter().any(is_it) {
                self.found.libs.push(locked);
            }
        }
    }
}

fn child(named: &Named, dep: Dep) -> Child {
    Child { lib: named.lib.clone(), dep, exclusions: named.exclusions.clone() }
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
