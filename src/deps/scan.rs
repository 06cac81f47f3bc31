//! Finding the coordinates in a file.

use std::borrow::Cow;

use super::coord::{Coord, Field, Pin};
use crate::edn::{self, Child, Form, Kind, Span};
use crate::model::Lib;

/// What a deps.edn or bb.edn depends on. What is told as it is written is borrowed from the source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DepsFile<'s> {
    /// Its git coordinates, discarded ones too, as they stand in it.
    pub coords: Vec<Coord<'s>>,
    /// Its directories that are in force.
    pub locals: Vec<Local<'s>>,
}

/// A `:local/root` dependency. In a monorepo its directory can have a deps.edn of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local<'s> {
    /// The library as it is written.
    pub lib: Cow<'s, str>,
    /// The keys that lead to it.
    pub path: Vec<Cow<'s, str>>,
    /// The directory, relative to the file's.
    pub root: Cow<'s, str>,
    /// Where its map stands.
    pub span: Span,
}

impl<'s> DepsFile<'s> {
    /// The coordinates that are in force.
    pub fn live(&self) -> impl Iterator<Item = (usize, &Coord<'s>)> {
        self.coords.iter().enumerate().filter(|(_, coord)| !coord.discarded)
    }
}

/// The keys of an alias that hold dependencies.
const ALIAS_KEYS: [&str; 5] = [":deps", ":replace-deps", ":extra-deps", ":override-deps", ":default-deps"];

/// The dependencies of a deps.edn or bb.edn: those of its top-level `:deps`, of its aliases, and of bb's `:tasks`.
/// A file that is blank, or valid EDN and no map, has none.
pub fn scan(source: &str) -> Result<DepsFile<'_>, edn::Error> {
    let document = match edn::read(source) {
        Err(error) if error.kind == edn::ErrorKind::Empty => return Ok(DepsFile::default()),
        document => document?,
    };
    let mut scanner = Scanner { source, found: DepsFile::default() };
    for (key, value) in document.root().entries() {
        if key.is_keyword("deps") {
            scanner.deps(value, &[key]);
        } else if key.is_keyword("aliases") {
            for (alias, options) in value.entries() {
                for (inner, deps) in options.entries() {
                    if ALIAS_KEYS.contains(&inner.spelled().as_ref()) {
                        scanner.deps(deps, &[key, alias, inner]);
                    }
                }
            }
        } else if key.is_keyword("tasks") {
            for (task, options) in value.entries() {
                for (inner, deps) in options.entries().filter(|(inner, _)| inner.is_keyword("extra-deps")) {
                    scanner.deps(deps, &[key, task, inner]);
                }
            }
        }
    }
    Ok(scanner.found)
}

/// What has been found in a source so far.
struct Scanner<'s> {
    source: &'s str,
    found: DepsFile<'s>,
}

/// The keys that lead to a map of dependencies.
type Path<'p> = &'p [Form<'p>];

impl<'s> Scanner<'s> {
    /// Adds the coordinates of a map of dependencies.
    fn deps(&mut self, map: Form<'_>, path: Path<'_>) {
        if map.kind() != Kind::Map {
            return;
        }
        let namespace = map.map_namespace();
        let mut lib: Option<Form<'_>> = None;
        for child in map.children() {
            match child {
                Child::Discarded(discard) => self.discarded(discard, namespace, path),
                Child::Value(form) => match lib.take() {
                    None => lib = Some(form.in_namespace(namespace)),
                    Some(lib) => {
                        if let Some(root) = self.coord(Some(lib), form, path, false) {
                            self.local(lib, form, root, path);
                        }
                    }
                },
            }
        }
    }

    /// Adds what a `#_` takes out: its form, and those of the discards before it. In `#_#_lib {…}` the one before is
    /// the library's name.
    fn discarded(&mut self, discard: Form<'_>, namespace: Option<&str>, path: Path<'_>) {
        let mut before: Option<Form<'_>> = None;
        for child in discard.children() {
            match child {
                Child::Discarded(inner) => {
                    self.discarded(inner, namespace, path);
                    before = inner.values().next();
                }
                Child::Value(form) => {
                    let lib = before.filter(|form| form.kind() == Kind::Symbol);
                    self.coord(lib.map(|lib| lib.in_namespace(namespace)), form, path, true);
                }
            }
        }
    }

    /// Adds a coordinate if it is a git coordinate, and gives the value of its `:local/root`.
    fn coord<'d>(&mut self, lib: Option<Form<'_>>, map: Form<'d>, path: Path<'_>, discarded: bool) -> Option<Form<'d>> {
        let (mut is_git, mut pinned, mut root) = (false, map.has_metadata(), None);
        for (key, value) in map.entries() {
            match key.spelled().as_ref() {
                ":git/url" | ":git/sha" | ":git/tag" | ":sha" => is_git = true,
                ":local/root" => root = Some(value),
                ":airplanes/hold" | ":antq/exclude" | ":neil/pinned" => pinned = true,
                _ => {}
            }
        }
        if !is_git {
            return root;
        }
        let mut fields = Vec::with_capacity(4);
        for (key, value) in map.entries().filter(|(key, _)| key.kind() == Kind::Keyword) {
            let (key, string) = (self.spelled(key), self.string(value));
            fields.push(Field { key, span: value.outer_span(), text: &self.source[value.span().range()], string });
        }
        let lib_text = lib.map(|lib| self.spelled(lib));
        let symbol = lib_text.as_deref().filter(|_| lib.is_some_and(|lib| lib.kind() == Kind::Symbol));
        let coord = Coord {
            lib: symbol.and_then(|lib| Lib::new(lib).ok()),
            lib_text,
            path: path.iter().map(|key| self.spelled(*key)).collect(),
            discarded,
            pin: if pinned || lib.is_some_and(|lib| lib.has_metadata()) { pin(lib, map) } else { None },
            fields,
            span: map.span(),
        };
        self.found.coords.push(coord);
        root
    }

    fn local(&mut self, lib: Form<'_>, map: Form<'_>, root: Form<'_>, path: Path<'_>) {
        if let Some(root) = self.string(root) {
            let path = path.iter().map(|key| self.spelled(*key)).collect();
            self.found.locals.push(Local { lib: self.spelled(lib), path, root, span: map.span() });
        }
    }

    /// A key as it is meant, from the source itself where it is written so.
    fn spelled(&self, key: Form<'_>) -> Cow<'s, str> {
        if key.is_given_namespace() {
            return Cow::Owned(key.spelled().into_owned());
        }
        Cow::Borrowed(&self.source[key.span().range()])
    }

    /// A string's content, from the source itself where it is written so.
    fn string(&self, form: Form<'_>) -> Option<Cow<'s, str>> {
        Some(match form.string()? {
            Cow::Borrowed(_) => {
                Cow::Borrowed(&self.source[form.span().start as usize + 1..form.span().end as usize - 1])
            }
            Cow::Owned(text) => Cow::Owned(text),
        })
    }
}

/// What says that a dependency should be left alone: metadata of the library or of the coordinate, or a key in it.
fn pin(lib: Option<Form<'_>>, map: Form<'_>) -> Option<Pin> {
    let marks: Vec<Form<'_>> = lib.into_iter().chain([map]).flat_map(|form| form.metadata()).collect();
    ["airplanes/hold", "antq/exclude", "neil/pinned"].into_iter().find_map(|by| {
        let pin = |value: Form<'_>| {
            let only = match value.kind() {
                Kind::Nil => return None,
                Kind::Bool if value.boolean() == Some(false) => return None,
                // antq: the versions it should not offer.
                Kind::Str if by == "antq/exclude" => value.string().map(|s| s.into_owned()).into_iter().collect(),
                Kind::Vector | Kind::List | Kind::Set if by == "antq/exclude" => {
                    value.values().filter_map(|v| v.string().map(|s| s.into_owned())).collect()
                }
                _ => Vec::new(),
            };
            let names_none = only.is_empty() && matches!(value.kind(), Kind::Vector | Kind::List | Kind::Set);
            (!names_none).then_some(Pin { by, only })
        };
        let marked = marks.iter().find_map(|mark| match mark.kind() {
            Kind::Keyword if mark.is_keyword(by) => Some(Pin { by, only: Vec::new() }),
            Kind::Map => mark.get(by).and_then(pin),
            _ => None,
        });
        marked.or_else(|| map.get(by).and_then(pin))
    })
}
