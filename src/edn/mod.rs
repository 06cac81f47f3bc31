//! EDN: a lossless reader with byte spans, values with spans for serde, text edits and a writer.
//!
//! Everything in EDN that comes from outside (deps.edn, bb.edn, config.edn, deploy.edn) is read here, as
//! `clojure.edn` 1.11 with `:default tagged-literal` reads it. Two levels:
//! - [`read`] gives a [`Document`]: a flat tree that borrows the source and keeps discards, metadata and spans;
//!   `deps` edits files by it.
//! - [`read_node`] gives a [`Node`]: an owned value with spans, without discards and metadata; `config` rewrites its
//!   tagged nodes and deserialises it with [`de`].
//!
//! Must never do I/O, panic on any input or recurse deeper than [`MAX_DEPTH`].

pub mod de;
mod edit;
mod eight;
mod equality;
mod error;
mod form;
mod instant;
mod lex;
mod node;
mod number;
mod reader;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use edit::{EditError, TextEdit};
pub use error::{Error, ErrorKind, Position, position};
pub use form::{Child, Children, Document, Form, Kind, Name};
pub use instant::{instant_millis, uuid_bits};
pub use node::{Node, Rewrite, Value};
pub use number::Number;
pub use reader::{MAX_BYTES, MAX_DEPTH, read, read_all};
pub use write::{map_key, string_literal, to_edn};

/// Which source text a span points into. `config` numbers the files it reads; a lone text is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SourceId(pub u16);

/// A half-open range of bytes of a source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// Its first byte.
    pub start: u32,
    /// The byte after its last.
    pub end: u32,
}

impl Span {
    /// A span of the lone text, source 0.
    pub fn new(start: usize, end: usize) -> Self {
        Self::within(SourceId::default(), start, end)
    }
    /// A span of a numbered text. Offsets beyond 4 GB are cut; the reader refuses such texts.
    pub fn within(source: SourceId, start: usize, end: usize) -> Self {
        let clamp = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { source, start: clamp(start), end: clamp(end) }
    }
    /// As a range of bytes, to slice the text with.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
    /// The same range in another text.
    pub fn in_source(self, source: SourceId) -> Self {
        Self { source, ..self }
    }
}

/// Reads exactly one value as an owned tree whose spans carry `source`.
pub fn read_node(text: &str, source: SourceId) -> Result<Node, Error> {
    match read(text) {
        Ok(document) => Ok(document.root().to_node(source)),
        Err(error) => Err(error.in_source(source)),
    }
}
