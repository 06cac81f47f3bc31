//! What `config` reads through, and the texts it has read.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
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

/// A source that remembers by a number what it gave.
pub(super) struct Printed<'s> {
    source: &'s dyn Source,
    hasher: RefCell<DefaultHasher>,
}

impl<'s> Printed<'s> {
    pub fn of(source: &'s dyn Source) -> Self {
        Self { source, hasher: RefCell::default() }
    }
    pub fn print(&self) -> u64 {
        self.hasher.borrow().finish()
    }
}

impl Source for Printed<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.source.read(path);
        (path, read.as_ref().ok()).hash(&mut *self.hasher.borrow_mut());
        read
    }
    fn env(&self, name: &str) -> Option<String> {
        let value = self.source.env(name);
        (name, &value).hash(&mut *self.hasher.borrow_mut());
        value
    }
    fn real(&self, path: &Path) -> PathBuf {
        self.source.real(path)
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
