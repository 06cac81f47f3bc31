//! Moving coordinates to other commits: edits of the bytes of shas and tags, and nothing else.

use super::coord::{Coord, Field, Problem};
use super::scan::scan;
use crate::edn::{self, EditError, TextEdit};
use crate::model::{Bump, Sha};

/// Where a coordinate should point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct To {
    /// The commit.
    pub sha: Sha,
    /// The tag, peeled to `sha`, for a coordinate that has one.
    pub tag: Option<String>,
    /// How many digits of `sha` the repository needs to be sure; 0 if that wasn't asked. A short sha beside a tag
    /// keeps its length unless that is too short.
    pub unique: usize,
}

/// A coordinate of a scanned file and where it should point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its index in [`DepsFile::coords`](super::DepsFile::coords) of the same source.
    pub coord: usize,
    /// Where to.
    pub to: To,
}

/// What an update changes in one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// The edits.
    pub edit: TextEdit,
    /// The dependencies that move, as they stand in the file.
    pub bumps: Vec<Bump>,
}

/// Why a file wasn't edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no EDN.
    #[error(transparent)]
    Read(#[from] edn::Error),
    /// There is no such coordinate.
    #[error("the file has no coordinate number {0}; scan the same source that is edited")]
    NoCoord(usize),
    /// It is discarded or pinned.
    #[error("{0} is discarded or pinned, so it is left alone")]
    LeftAlone(String),
    /// It can't be used as it is.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// A tagged coordinate and a change without a tag.
    #[error("{0} has a tag; sha and tag must change together, and no tag was found for the new sha")]
    TagMissing(String),
    /// Two changes of one coordinate.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// The source with coordinates moved.
pub fn bump(source: &str, changes: &[Change]) -> Result<String, Error> {
    let file = scan(source)?;
    let mut edit = TextEdit::default();
    for change in changes {
        let coord = file.coords.get(change.coord).ok_or(Error::NoCoord(change.coord))?;
        if let Some(problem) = coord.problem() {
            return Err(problem.into());
        }
        if !coord.is_movable() {
            return Err(Error::LeftAlone(name(coord)));
        }
        add(&mut edit, coord, &change.to)?;
    }
    Ok(edit.apply(source)?)
}

/// What to change in `source`, the file `file` of its repository, so that every coordinate that may be moved points
/// where `lookup` says. One that points there already, or that `lookup` knows nothing of, stays.
pub fn plan_update(source: &str, file: &str, lookup: impl Fn(&Coord<'_>) -> Option<To>) -> Result<Update, Error> {
    let mut update = Update::default();
    for coord in scan(source)?.coords.iter().filter(|coord| coord.is_movable()) {
        let Some(target) = lookup(coord) else { continue };
        if coord.pin.is_some() && excludes(coord, target.tag.as_deref(), &target.sha.to_string()) {
            continue;
        }
        let (Some(lib), Some(url)) = (&coord.lib, coord.repo_url()) else { continue };
        let moved = add(&mut update.edit, coord, &target)?;
        // What people know a version by: the tag, unless only the sha beside it moved.
        let beside = || moved.sha.clone().or_else(|| coord.sha().map(|sha| (sha.to_owned(), sha.to_owned())));
        let sha = moved.tag.is_some().then(beside).flatten();
        if let Some((from, to)) = moved.tag.or(moved.sha) {
            update.bumps.push(Bump { lib: lib.clone(), file: file.to_owned(), repo: url.id(), from, to, sha });
        }
    }
    Ok(update)
}

/// Whether a pin of `coord` names this version, by its tag or by digits of its sha.
pub fn excludes(coord: &Coord<'_>, tag: Option<&str>, sha: &str) -> bool {
    let names = |version: &String| tag == Some(version) || (version.len() >= 7 && sha.starts_with(version.as_str()));
    coord.pin.as_ref().is_some_and(|pin| pin.only.iter().any(names))
}

fn name(coord: &Coord<'_>) -> String {
    coord.lib_text.as_deref().unwrap_or("the coordinate").to_owned()
}

/// What moved: from and to.
#[derive(Default)]
struct Moved {
    sha: Option<(String, String)>,
    tag: Option<(String, String)>,
}

/// Adds the edits that point `coord`, which may be moved, at `target`.
fn add(edit: &mut TextEdit, coord: &Coord<'_>, target: &To) -> Result<Moved, Error> {
    let mut moved = Moved::default();
    let Some(sha) = coord.sha_field() else { return Ok(moved) };
    let length = match coord.tag_field() {
        Some(tag) => {
            let to = target.tag.as_deref().ok_or_else(|| Error::TagMissing(name(coord)))?;
            moved.tag = set(edit, tag, to)?;
            sha.string.as_ref().map_or(40, |sha| sha.len()).max(target.unique).min(40)
        }
        None => 40,
    };
    let full = target.sha.to_string();
    // The same commit in more digits or in upper case is no change.
    let stands = sha.string.as_deref().is_some_and(|old| {
        full.get(..old.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(old))
            && old.len() >= length.min(target.unique)
    });
    if !stands {
        moved.sha = set(edit, sha, &full[..length])?;
    }
    Ok(moved)
}

/// Adds the edit of a string's content; none if it is the same.
pub(super) fn set(edit: &mut TextEdit, field: &Field<'_>, to: &str) -> Result<Option<(String, String)>, EditError> {
    let (Some(old), Some(span)) = (&field.string, field.content_span()) else { return Ok(None) };
    if old == to {
        return Ok(None);
    }
    let plain = !to.contains(['\\', '"']);
    let content = if plain { to.to_owned() } else { to.replace('\\', "\\\\").replace('"', "\\\"") };
    edit.replace(span.range(), content)?;
    Ok(Some((old.to_string(), to.to_owned())))
}
