//! Finding the coordinates in a file.

use super::coord::{Coord, Field, Pin};
use crate::edn::{self, Child, Form, Kind, Span};
use crate::model::Lib;

/// What a deps.edn or bb.edn depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DepsFile {
    /// Its git coordinates, discarded ones too, as they stand in it.
    pub coords: Vec<Coord>,
    /// Its directories that are in force.
    pub locals: Vec<Local>,
}

/// A `:local/root` dependency. In a monorepo its directory can have a deps.edn of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The library as it is written.
    pub lib: String,
    /// The keys that lead to it.
    pub path: Vec<String>,
    /// The directory, relative to the file's.
    pub root: String,
    /// Where its map stands.
    pub span: Span,
}

impl DepsFile {
    /// The coordinates that are in force.
    pub fn live(&self) -> impl Iterator<Item = (usize, &Coord)> {
        self.coords.iter().enumerate().filter(|(_, coord)| !coord.discarded)
    }
}

/// The keys of an alias that hold dependencies.
const ALIAS_KEYS: [&str; 5] = ["deps", "replace-deps", "extra-deps", "override-deps", "default-deps"];

/// The keys that make a coordinate a git coordinate.
const GIT_KEYS: [&str; 4] = [":git/url", ":git/sha", ":git/tag", ":sha"];

/// The dependencies of a deps.edn or bb.edn: those of its top-level `:deps`, of its aliases, and of bb's `:tasks`.
/// A file that is valid EDN and no map has none.
pub fn scan(source: &str) -> Result<DepsFile, edn::Error> {
    let document = edn::read(source)?;
    let mut found = DepsFile::default();
    for (key, value) in document.root().entries() {
        match keyword(key).as_deref() {
            Some(":deps") => found.deps(value, &[":deps".to_owned()]),
            Some(":aliases") => {
                for (alias, options) in value.entries() {
                    for (key, deps) in options.entries() {
                        if key.keyword().is_some_and(|k| ALIAS_KEYS.iter().any(|name| k.is(name))) {
                            found.deps(deps, &[":aliases".to_owned(), written(alias), written(key)]);
                        }
                    }
                }
            }
            Some(":tasks") => {
                for (task, options) in value.entries() {
                    if let Some(deps) = options.get("extra-deps") {
                        found.deps(deps, &[":tasks".to_owned(), written(task), ":extra-deps".to_owned()]);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn keyword(form: Form<'_>) -> Option<String> {
    form.keyword().map(|name| format!(":{name}"))
}

/// A key as it is meant: with the namespace of its map, without metadata.
fn written(key: Form<'_>) -> String {
    keyword(key).or_else(|| key.symbol().map(|name| name.to_string())).unwrap_or_else(|| key.text().to_owned())
}

impl DepsFile {
    /// Adds the coordinates of a map of dependencies.
    fn deps(&mut self, map: Form<'_>, path: &[String]) {
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
                        self.coord(Some(lib), form, path, false);
                        self.local(lib, form, path);
                    }
                },
            }
        }
    }

    /// Adds what a `#_` takes out: its form, and those of the discards before it. In `#_#_lib {…}` the one before is
    /// the library's name.
    fn discarded(&mut self, discard: Form<'_>, namespace: Option<&str>, path: &[String]) {
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

    fn coord(&mut self, lib: Option<Form<'_>>, map: Form<'_>, path: &[String], discarded: bool) {
        if map.kind() != Kind::Map {
            return;
        }
        let field = |(key, value): (Form<'_>, Form<'_>)| {
            let (span, key) = (value.outer_span(), keyword(key)?);
            let text = value.text().to_owned();
            Some(Field { key, span, text, string: value.string().map(|s| s.into_owned()) })
        };
        let fields: Vec<Field> = map.entries().filter_map(field).collect();
        if !fields.iter().any(|field| GIT_KEYS.contains(&field.key.as_str())) {
            return;
        }
        self.coords.push(Coord {
            lib_text: lib.map(written),
            lib: lib.and_then(|lib| Lib::of_symbol(&lib.symbol()?.to_string()).ok()),
            path: path.to_vec(),
            discarded,
            pin: pin(lib, map),
            fields,
            span: map.span(),
        });
    }

    fn local(&mut self, lib: Form<'_>, map: Form<'_>, path: &[String]) {
        if let Some(root) = map.get("local/root").and_then(|root| root.string()) {
            let (lib, root) = (written(lib), root.into_owned());
            self.locals.push(Local { lib, path: path.to_vec(), root, span: map.span() });
        }
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
            Kind::Keyword if mark.keyword().is_some_and(|k| k.is(by)) => Some(Pin { by, only: Vec::new() }),
            Kind::Map => mark.get(by).and_then(pin),
            _ => None,
        });
        marked.or_else(|| map.get(by).and_then(pin))
    })
}
