//! What `config` reads through, and the texts it has read.

use std::io;
use std::path::{Path, PathBuf};

use crate::edn::{SourceId, Span};

/// The world outside, given to [`super::load`]: `watch::FsSource` for the real one, a map in tests.
pub trait Source {
    /// The bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// An environment variable, if it is set and is text.
    fn env(&self, name: &str) -> Option<String>;
    /// A path without links in it, as far as it leads; the path itself where there are none.
    fn real(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// A text that spans point into, and which of its bytes must not be shown.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub path: PathBuf,
    pub text: String,
}

/// All texts of one load, by [`SourceId`].
#[derive(Debug, Default, Clone)]
pub(super) struct Texts(pub Vec<Text>);

impl Texts {
    pub fn add(&mut self, path: &Path, text: String) -> SourceId {
        let id = SourceId(u16::try_from(self.0.len()).unwrap_or(u16::MAX));
        self.0.push(Text { path: path.to_owned(), text });
        id
    }
    /// The source text under a span; empty if there is none.
    pub fn slice(&self, span: Span) -> &str {
        self.0.get(usize::from(span.source.0)).and_then(|text| text.text.get(span.range())).unwrap_or_default()
    }
    pub fn path(&self, source: SourceId) -> &Path {
        self.0.get(usize::from(source.0)).map_or(Path::new(""), |text| &text.path)
    }
}
