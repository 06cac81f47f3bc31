//! What is wrong with a text, where, and what was expected there.

use super::{SourceId, Span};

/// Why a text was refused: the place and the reason. The message doesn't repeat the place; see [`position`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    /// Where.
    pub span: Span,
    /// Why.
    pub kind: ErrorKind,
    /// An earlier place that explains it: the bracket that was opened, the first of two equal keys.
    pub related: Option<Span>,
}

impl Error {
    pub(super) fn new(span: Span, kind: ErrorKind) -> Self {
        Self { span, kind, related: None }
    }
    pub(super) fn relating(mut self, span: Span) -> Self {
        self.related = Some(span);
        self
    }
    /// What to write beside `related`, if that is there.
    pub fn related_label(&self) -> &'static str {
        match self.kind {
            ErrorKind::DuplicateKey { .. } | ErrorKind::DuplicateElement { .. } => "the first is here",
            ErrorKind::Trailing => "the first value is here",
            _ => "opened here",
        }
    }
    /// The same error in a numbered text.
    pub fn in_source(mut self, source: SourceId) -> Self {
        self.span = self.span.in_source(source);
        self.related = self.related.map(|span| span.in_source(source));
        self
    }
}

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// Larger than the cap.
    #[error("the text has {0} bytes; at most {max} are read", max = super::MAX_BYTES)]
    TooLarge(usize),
    /// Nested deeper than the cap.
    #[error("nested deeper than {max} levels", max = super::MAX_DEPTH)]
    TooDeep,
    /// Nothing but white space, comments and discards.
    #[error("there is no value here; expected exactly one")]
    Empty,
    /// A second value after the first.
    #[error("a second value; expected the end, since a file holds exactly one value")]
    Trailing,
    /// A byte order mark at the start.
    #[error("the text begins with a byte order mark (U+FEFF); save it as UTF-8 without one")]
    ByteOrderMark,
    /// The end came inside brackets.
    #[error("`{open}` is never closed; expected `{close}` before the end")]
    Unclosed {
        /// The bracket as it was opened: `{`, `#{`, `(`, `[`.
        open: &'static str,
        /// What was expected.
        close: char,
    },
    /// The end came where a form was due.
    #[error("the text ends here; expected {0}")]
    UnexpectedEnd(&'static str),
    /// A closing bracket of another kind, or of none.
    #[error("`{found}` {}", match expected { Some(e) => format!("does not match; expected `{e}`"), None => "closes nothing; expected a value or the end".to_owned() })]
    Unmatched {
        /// The bracket that stands there.
        found: char,
        /// The bracket that was due, if any was.
        expected: Option<char>,
    },
    /// A bracket closed right after a prefix that needs a form.
    #[error("`{found}` comes too early; expected {expected}")]
    MissingForm {
        /// The bracket that stands there.
        found: char,
        /// What was expected.
        expected: &'static str,
    },
    /// A map with a key and no value.
    #[error("the key `{0}` has no value; a map needs an even number of forms")]
    OddMap(String),
    /// Two equal keys in a map.
    #[error("the key `{0}` stands twice in this map")]
    DuplicateKey(String),
    /// Two equal elements in a set.
    #[error("the element `{0}` stands twice in this set")]
    DuplicateElement(String),
    /// Not a symbol, keyword or literal.
    #[error("`{text}` is no valid {what}")]
    BadToken {
        /// The token.
        text: String,
        /// `symbol`, `keyword`.
        what: &'static str,
    },
    /// `@`, `` ` `` or `~`.
    #[error("`{0}` is not allowed in EDN outside strings, characters and comments")]
    BadCharacter(char),
    /// Begins like a number and is none.
    #[error("`{0}` is no valid number; expected one like 42, -7N, 0x1F, 2/3, 1.5e3 or 1.50M")]
    BadNumber(String),
    /// `1/0`.
    #[error("`{0}` divides by zero")]
    DivideByZero(String),
    /// A backslash and no known character.
    #[error("`\\{0}` is no valid character; expected one like \\a, \\newline, \\space, \\tab, \\u03BB or \\o101")]
    BadChar(String),
    /// A wrong escape in a string.
    #[error(
        "`{0}` is no valid escape; expected \\t \\r \\n \\b \\f \\\\ \\\" \\u and four hex digits, or up to three octal digits to 377"
    )]
    BadEscape(String),
    /// `#` and something EDN doesn't have.
    #[error(
        "`#{0}` is not allowed in EDN; expected `#{{`, `#_`, `#:ns{{`, `##Inf`, `#^` or a tag that begins with a letter"
    )]
    BadDispatch(char),
    /// `##` and another name.
    #[error("`##{0}` is unknown; expected ##Inf, ##-Inf or ##NaN")]
    BadSymbolicValue(String),
    /// `#:` and no plain name.
    #[error("`#:` needs a namespace without a slash; expected a map like #:git{{:sha \"…\"}}")]
    BadMapNamespace,
    /// `#:ns` and no map.
    #[error("`#:{0}` must be followed by a map; expected `{{`")]
    MapExpected(String),
    /// Metadata of another kind.
    #[error("metadata must be a keyword, symbol, string or map")]
    BadMetadata,
    /// Metadata on a value that can't bear it.
    #[error("metadata can stand only before a symbol, list, vector, map or set")]
    NoMetadataHere,
    /// `#nil`, `#true`, `#false`.
    #[error("`#{0}` is no tag; expected a symbol")]
    BadTag(String),
    /// `#inst` and no time.
    #[error("`#inst` needs a string like \"2024-01-31T23:59:59.999Z\"")]
    BadInst,
    /// `#uuid` and no UUID.
    #[error("`#uuid` needs a string like \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\"")]
    BadUuid,
}

/// A place for people: both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line. Lines end with `\n`, `\r\n` or a lone `\r`.
    pub line: usize,
    /// The column in characters, a tab being one.
    pub column: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The line and column of a byte offset. An offset beyond the text is its end; one inside a character is its start.
pub fn position(text: &str, offset: u32) -> Position {
    let mut offset = (offset as usize).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let bytes = text.as_bytes();
    let (mut line, mut line_start) = (1, 0);
    for (i, &byte) in bytes[..offset].iter().enumerate() {
        if byte == b'\n' || (byte == b'\r' && bytes.get(i + 1) != Some(&b'\n')) {
            line += 1;
            line_start = i + 1;
        }
    }
    Position { line, column: text[line_start..offset].chars().count() + 1 }
}
