//! Bumps made again from what was written down of them: the same bytes, whatever is newer by now.

use super::bump::{Error, excludes, set};
use super::scan::scan;
use crate::edn::TextEdit;
use crate::model::Bump;

/// The source of the file `file` with those of `bumps` made that are of it. They are taken in their order, which is
/// that of the places where they were found.
pub fn replay(source: &str, file: &str, bumps: &[Bump]) -> Result<String, Error> {
    let mut edit = TextEdit::default();
    let mut left = bumps.iter().filter(|bump| bump.file == file).peekable();
    for coord in scan(source)?.coords.iter().filter(|coord| coord.is_movable()) {
        let Some(bump) = left.peek() else { break };
        let (from, to) = bump.sha.as_ref().map_or((&bump.from, &bump.to), |(from, to)| (from, to));
        let tag = bump.sha.is_some().then_some((bump.from.as_str(), bump.to.as_str()));
        let stands = coord.lib.as_ref() == Some(&bump.lib)
            && coord.sha() == Some(from)
            && tag.is_none_or(|(from, _)| coord.tag() == Some(from))
            && coord.repo().as_ref() == Some(&bump.repo)
            && !excludes(coord, tag.map(|(_, to)| to), to);
        if !stands {
            continue;
        }
        if let Some(field) = coord.sha_field() {
            set(&mut edit, field, to)?;
        }
        if let (Some((_, to)), Some(field)) = (tag, coord.tag_field()) {
            set(&mut edit, field, to)?;
        }
        left.next();
    }
    Ok(edit.apply(source)?)
}
