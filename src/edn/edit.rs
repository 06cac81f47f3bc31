//! Edits of a text as sorted, disjoint byte ranges: what no range covers is untouched by construction.

use std::ops::Range;

/// Replacements to be applied to one text at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextEdit {
    /// In order of their ranges, none of which overlap.
    replacements: Vec<(Range<usize>, String)>,
}

/// Why an edit was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Two replacements want the same bytes.
    #[error("the edit of bytes {}..{} overlaps the one of bytes {}..{}", .new.start, .new.end, .old.start, .old.end)]
    Overlap {
        /// The one that was there.
        old: Range<usize>,
        /// The one that was to be added.
        new: Range<usize>,
    },
    /// A range that the text doesn't have, or that cuts a character.
    #[error("the text has no bytes {}..{} to edit, or a character begins or ends inside them", .0.start, .0.end)]
    Outside(Range<usize>),
}

impl TextEdit {
    /// Adds a replacement of a range of bytes. Two insertions at one place overlap: their order would be arbitrary.
    pub fn replace(&mut self, range: Range<usize>, text: impl Into<String>) -> Result<(), EditError> {
        if range.start > range.end {
            return Err(EditError::Outside(range));
        }
        let at = self.replacements.partition_point(|(other, _)| other.start < range.start);
        let clash =
            |other: &Range<usize>| other.start == range.start || (other.start < range.end && range.start < other.end);
        let neighbours = self.replacements[at.saturating_sub(1)..].iter().take(2);
        if let Some((old, _)) = neighbours.into_iter().find(|(other, _)| clash(other)) {
            return Err(EditError::Overlap { old: old.clone(), new: range });
        }
        self.replacements.insert(at, (range, text.into()));
        Ok(())
    }
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.replacements.is_empty()
    }
    /// The ranges and what comes in their place, in order.
    pub fn replacements(&self) -> impl Iterator<Item = (&Range<usize>, &str)> {
        self.replacements.iter().map(|(range, text)| (range, text.as_str()))
    }
    /// The text with every range replaced.
    pub fn apply(&self, source: &str) -> Result<String, EditError> {
        let mut out = String::with_capacity(source.len() + 64);
        let mut at = 0;
        for (range, text) in &self.replacements {
            let outside = || EditError::Outside(range.clone());
            out.push_str(source.get(at..range.start).ok_or_else(outside)?);
            source.get(range.clone()).ok_or_else(outside)?;
            out.push_str(text);
            at = range.end;
        }
        out.push_str(&source[at..]);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_apply_in_the_order_of_their_places() {
        let mut edit = TextEdit::default();
        edit.replace(4..6, "XY").unwrap();
        edit.replace(0..1, "").unwrap();
        edit.replace(1..1, "+").unwrap();
        assert_eq!(edit.apply("abcdefg").unwrap(), "+bcdXYg");
        assert_eq!(TextEdit::default().apply("é").unwrap(), "é");
    }

    #[test]
    fn edits_that_overlap_or_lie_outside_are_refused() {
        let mut edit = TextEdit::default();
        edit.replace(2..5, "x").unwrap();
        for range in [0..3, 3..4, 4..9, 2..5, 2..2, 1..9] {
            assert!(matches!(edit.replace(range.clone(), ""), Err(EditError::Overlap { .. })), "{range:?}");
        }
        edit.replace(5..6, "").unwrap();
        edit.replace(0..2, "").unwrap();
        assert!(edit.apply("abc").is_err());
        let mut inside = TextEdit::default();
        inside.replace(1..2, "").unwrap();
        assert_eq!(inside.apply("é"), Err(EditError::Outside(1..2)));
    }
}
