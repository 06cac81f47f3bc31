//! A source text as it is shown beside a fault: its lines, but of one that is very long only what is near the fault.
//!
//! Must never show a byte that the text does not have.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, NamedSource, SourceCode, SourceSpan, SpanContents};

use crate::edn::position;

/// Bytes; a longer line is cut.
const LONG: usize = 240;
/// How many bytes of a long line are shown before a fault, and after it.
const NEAR: usize = 80;

/// The text of one file.
pub(super) struct Excerpt {
    name: String,
    source: NamedSource<String>,
}

impl Excerpt {
    pub fn new(name: String, text: String) -> Self {
        Self { source: NamedSource::new(&name, text), name }
    }
    /// What of a fault's bytes is underlined.
    pub fn underlined(&self, fault: Range<usize>) -> Range<usize> {
        let text = self.source.inner();
        let mut end = fault.end.min(fault.start + NEAR);
        while !text.is_char_boundary(end) {
            end += 1;
        }
        fault.start..end
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let whole = self.source.read_span(span, lines_before, lines_after)?;
        let (data, first) = (whole.data(), whole.span().offset());
        let is_long = data.split(|byte| *byte == b'\n').any(|line| line.len() > LONG);
        let named = |data: &'a [u8], first: usize| {
            // miette counts a column in bytes, people and the API in characters.
            let at = position(self.source.inner(), u32::try_from(first).unwrap_or(u32::MAX));
            let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
            let span = (first, data.len()).into();
            Box::new(MietteSpanContents::new_named(self.name.clone(), data, span, at.line - 1, at.column - 1, lines))
        };
        if !is_long || (lines_before == 0 && lines_after == 0) {
            return Ok(named(data, first));
        }
        // Positions in `data`, moved outwards to where a character begins.
        let is_inside = |at: usize| data.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
        let mut start = (span.offset() - first).saturating_sub(NEAR);
        while is_inside(start) {
            start -= 1;
        }
        let mut end = (span.offset() + span.len() - first + NEAR).min(data.len());
        while is_inside(end) {
            end += 1;
        }
        let shown = data.get(start..end).ok_or(MietteError::OutOfBounds)?;
        Ok(named(shown, first + start))
    }
}
