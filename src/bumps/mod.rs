//! Which commit a dependency may move to, and what its file then says. It is decided here and nowhere else: jobs,
//! `airplanes update` and plans all ask [`Asking::due`].
//!
//! It reads mirrors and has them fetched; the rules of deps.edn are `deps`'. Must never know of jobs, journals or the
//! store, and never move a dependency backwards or sideways: what can't move forward stays and is told, with the reason.

mod choice;
mod files;
mod follows;
mod kept;
mod preflight;
mod tags;
mod trial;
mod view;

use std::collections::{BTreeMap, HashMap};

use tokio_util::sync::CancellationToken;

use crate::deps::{self, Coord};
use crate::edn;
use crate::git::{GitError, Mirrors};
use crate::model::{Branch, Bump, Lib, RepoId, RepoUrl, Sha, Track};
use choice::Verdict;
pub use files::{Tree, root_of};
pub use kept::{Kept, Stays};
pub use preflight::{Fault, FaultKind, Preflight, Wanted};
pub use trial::Instead;
use view::Views;

/// Who is asked: the mirrors, the urls under which keys are set up for repositories, and when to stop.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The mirrors.
    pub git: &'a Mirrors,
    /// The url by which deploy.edn names a repository: the one that keys and tokens are set up for.
    pub url_of: &'a (dyn Fn(&RepoId) -> Option<RepoUrl> + Sync),
    /// Ends everything.
    pub stop: &'a CancellationToken,
}

/// What a job has to bring to its app: not getting there is told as its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A commit that was pushed or published.
    Commit {
        /// It.
        sha: Sha,
        /// The branch that it is on, where that is known.
        branch: Option<Branch>,
    },
    /// A new tag. Where it leads, and whether it is the one to take, is looked at.
    Tag,
}

impl Want {
    fn is_tag(&self) -> bool {
        *self == Want::Tag
    }
}

/// What decides beside the files.
pub struct Rules<'a> {
    /// The repositories that moved, and where to: one commit a branch, the newest first. The newest is right for others.
    pub wants: &'a HashMap<RepoId, Vec<Want>>,
    /// Whether everything that is due moves, and not only what `wants` names.
    pub all: bool,
    /// Repositories of which nothing moves but what `wants` names, and why.
    pub apart: &'a BTreeMap<RepoId, String>,
    /// What deploy.edn says of libraries.
    pub track: &'a BTreeMap<Lib, Track>,
    /// Why a library stays where it is in the file of that path, if someone holds it.
    pub held: &'a (dyn Fn(&Lib, &str) -> Option<String> + Sync),
    /// The repository of the files: what it names of itself stays.
    pub own: Option<&'a RepoId>,
    /// The branches that apps which live in a repository follow; none stands for its default branch.
    pub lives_on: &'a (dyn Fn(&RepoId) -> Vec<Option<Branch>> + Sync),
    /// The heads that its branches were last known to have, also of those that were deleted since.
    pub had: &'a (dyn Fn(&RepoId) -> BTreeMap<Branch, Sha> + Sync),
    /// The branch that a library's commit was last seen on in these files, if somebody has looked.
    pub seen: &'a (dyn Fn(&Lib, &RepoId, Sha) -> Option<Branch> + Sync),
}

/// A file with dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path from the repository's root.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// What is due.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// The moves, in the order of the files and of the places in them.
    pub bumps: Vec<Bump>,
    /// The files that change, with what they say then.
    pub files: Vec<File>,
    /// What stays, and why.
    pub kept: Vec<Kept>,
}

impl Due {
    /// Adds the moves of a file's coordinates, as `to` has them.
    fn take(&mut self, file: &File, to: impl Fn(&Coord<'_>) -> Option<deps::To>) -> Result<(), BumpsError> {
        let broken = |error: &dyn std::fmt::Display| BumpsError::File(format!("{}: {error}", file.path));
        let update = deps::plan_update(&file.text, &file.path, to).map_err(|e| broken(&e))?;
        if !update.bumps.is_empty() {
            self.bumps.extend(update.bumps);
            let text = update.edit.apply(&file.text).map_err(|e| broken(&e))?;
            self.files.push(File { path: file.path.clone(), text });
        }
        Ok(())
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum BumpsError {
    /// A file that can't be read; the text says which, where in it, and what is wrong.
    #[error("{0}")]
    File(String),
    /// A repository that has to be asked could not be, or the asking was ended.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A fault in a file of a repository, as `file:line:column: what`.
pub fn at(file: &str, source: &str, error: &edn::Error) -> String {
    let place = edn::position(source, error.span.start);
    format!("{file}:{}:{}: {error}", place.line, place.column)
}

/// The repositories of the coordinates that may move, with a url of each.
pub fn movable(files: &[File]) -> Result<BTreeMap<RepoId, RepoUrl>, BumpsError> {
    let mut found = BTreeMap::new();
    for file in files {
        let scanned = scan(file)?;
        let urls = scanned.coords.iter().filter(|coord| coord.is_movable()).filter_map(Coord::repo_url);
        found.extend(urls.map(|url| (url.id(), url)));
    }
    Ok(found)
}

/// Files, those that were edited as they are then.
pub fn edited(files: &[File], edits: &[File]) -> Vec<File> {
    let now = |file: &File| edits.iter().find(|edit| edit.path == file.path).unwrap_or(file).clone();
    files.iter().map(now).collect()
}

fn scan(file: &File) -> Result<deps::DepsFile<'_>, BumpsError> {
    deps::scan(&file.text).map_err(|e| BumpsError::File(at(&file.path, &file.text, &e)))
}

impl Asking<'_> {
    /// The moves that are due in `files`.
    pub async fn due(&self, files: &[File], rules: &Rules<'_>) -> Result<Due, BumpsError> {
        let mut due = Due::default();
        let mut asked: BTreeMap<RepoId, RepoUrl> = BTreeMap::new();
        let mut scanned = Vec::new();
        for file in files {
            let found = scan(file)?;
            for (_, coord) in found.live() {
                if let (Ok(()), Some(url)) = (rules.concern(coord, &file.path), coord.repo_url()) {
                    asked.insert(url.id(), url);
                }
            }
            scanned.push((file, found));
        }
        let mut views = self.look(asked, rules).await?;
        for (file, found) in &scanned {
            let mut moves: HashMap<u32, deps::To> = HashMap::new();
            for (_, coord) in found.live() {
                let by_tags = rules.follows_tags(coord);
                let named = coord.repo().is_some_and(|repo| rules.of(&repo).iter().any(|w| w.is_tag() == by_tags));
                let why = match rules.concern(coord, &file.path) {
                    Ok(()) => match self.verdict(coord, &mut views, rules).await? {
                        Verdict::Move(to, told) => {
                            moves.insert(coord.span.start, to);
                            let Some(why) = told else { continue };
                            why
                        }
                        Verdict::Same => continue,
                        Verdict::Stay(why) => why,
                    },
                    Err(Some(why)) => why,
                    Err(None) => continue,
                };
                let kept = Kept {
                    lib: coord.lib_text.as_deref().unwrap_or("a coordinate").to_owned(),
                    file: file.path.clone(),
                    line: edn::position(&file.text, coord.span.start).line,
                    why,
                    named,
                };
                due.kept.push(kept);
            }
            due.take(file, |coord| moves.get(&coord.span.start).cloned())?;
        }
        Ok(due)
    }

    async fn verdict(&self, coord: &Coord<'_>, views: &mut Views, rules: &Rules<'_>) -> Result<Verdict, BumpsError> {
        let Some(repo) = coord.repo() else { return Ok(Verdict::Same) };
        match views.get_mut(&repo) {
            Some(Ok(view)) => match self.choose(coord, view, rules).await {
                Ok(verdict) => Ok(verdict),
                Err(error) if self.must_have(&repo, rules) => Err(error.into()),
                Err(error) => Ok(Verdict::Stay(Stays::Unreachable(error.to_string()))),
            },
            Some(Err(error)) => Ok(Verdict::Stay(Stays::Unreachable(error.to_string()))),
            None => Ok(Verdict::Same),
        }
    }

    /// Whether an error of asking this repository ends everything.
    fn must_have(&self, repo: &RepoId, rules: &Rules<'_>) -> bool {
        self.stop.is_cancelled() || rules.wants.contains_key(repo)
    }
}

impl Rules<'_> {
    /// Whether a coordinate of a file is to be judged; else why it stays, if that is worth a word.
    fn concern(&self, coord: &Coord<'_>, path: &str) -> Result<(), Option<Stays>> {
        if let Some(problem) = coord.problem() {
            return Err(Some(Stays::Problem(problem)));
        }
        if !coord.is_movable() {
            return Err(Some(Stays::Pinned));
        }
        let Some(repo) = coord.repo().filter(|repo| self.own != Some(repo)) else { return Err(None) };
        // A tag alone moves no branch.
        if !self.all && !self.of(&repo).iter().any(|want| !want.is_tag() || self.follows_tags(coord)) {
            return Err(None);
        }
        match coord.lib.as_ref().and_then(|lib| (self.held)(lib, path)) {
            Some(words) => Err(Some(Stays::Held(words))),
            None => match self.apart.get(&repo).filter(|_| self.of(&repo).is_empty()) {
                Some(words) => Err(Some(Stays::Apart(words.clone()))),
                None => Ok(()),
            },
        }
    }

    fn tracked(&self, coord: &Coord<'_>) -> Option<&Track> {
        self.track.get(coord.lib.as_ref()?)
    }

    fn follows_tags(&self, coord: &Coord<'_>) -> bool {
        coord.tag().is_some() || self.tracked(coord) == Some(&Track::Tags)
    }

    /// What is wanted of a repository.
    fn of(&self, repo: &RepoId) -> &[Want] {
        self.wants.get(repo).map_or(&[], Vec::as_slice)
    }

    /// The commits that are wanted of a repository, and their branches.
    fn commits(&self, repo: &RepoId) -> Vec<(Sha, Option<&Branch>)> {
        let commit = |want| match want {
            &Want::Commit { sha, ref branch } => Some((sha, branch.as_ref())),
            Want::Tag => None,
        };
        self.of(repo).iter().filter_map(commit).collect()
    }
}
