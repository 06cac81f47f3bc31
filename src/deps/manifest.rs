//! The libraries that a deps.edn brings to those that depend on it, its top-level `:deps`; and, told apart, what a build
//! of its own may take by its aliases.

use std::collections::BTreeSet;

use super::coord::Coord;
use super::scan::{DepsFile, scan};
use crate::edn::{self, Form, Kind};

/// So much of what is no map is shown.
const SHOWN: usize = 40;

/// A library as a deps.edn names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The library, qualified.
    pub lib: String,
    /// What kind of coordinate it has.
    pub kind: NamedKind,
    /// `:exclusions`, qualified.
    pub exclusions: Option<BTreeSet<String>>,
}

/// A kind of coordinate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedKind {
    /// Git's: its place in [`DepsFile::coords`].
    Git(usize),
    /// The folder that `:local/root` names.
    Local {
        /// It, as it is written.
        root: String,
        /// Whether the coordinate itself says what its manifest is, or where.
        says: bool,
    },
    /// Another.
    Other,
}

/// What a source brings along, and what [`scan`] finds in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest<'s> {
    /// Its top-level `:deps`.
    pub deps: Vec<Named>,
    /// What a build may take by an alias or a task, for each map of them: with the top-level `:deps` that it does not
    /// replace or override.
    pub others: Vec<Vec<Named>>,
    /// All of its coordinates.
    pub file: DepsFile<'s>,
    /// What stands where a map has to, as tools.deps shows it: `nil` for a blank file.
    pub not_a_map: Option<String>,
}

/// What a source brings along.
pub fn manifest(source: &str) -> Result<Manifest<'_>, edn::Error> {
    let file = scan(source)?;
    let document = match edn::read(source) {
        Err(error) if error.kind == edn::ErrorKind::Empty => {
            let not_a_map = Some("nil".to_owned());
            return Ok(Manifest { deps: Vec::new(), others: Vec::new(), file, not_a_map });
        }
        document => document?,
    };
    let root = document.root();
    let not_a_map = (root.kind() != Kind::Map).then(|| source[root.span().range()].chars().take(SHOWN).collect());
    let deps = root.get("deps").map(|deps| named(deps, &file)).unwrap_or_default();
    let mut others = Vec::new();
    let groups = ["aliases", "tasks"].into_iter().filter_map(|key| root.get(key));
    for (_, options) in groups.flat_map(|group| group.entries()) {
        for (key, map) in options.entries() {
            let alone = match key.spelled().as_ref() {
                ":deps" | ":replace-deps" => true,
                ":extra-deps" | ":override-deps" | ":default-deps" => false,
                _ => continue,
            };
            let mut found = named(map, &file);
            if !alone {
                let more: Vec<Named> =
                    deps.iter().filter(|dep| found.iter().all(|own| own.lib != dep.lib)).cloned().collect();
                found.extend(more);
            }
            others.push(found);
        }
    }
    Ok(Manifest { deps, others, file, not_a_map })
}

fn named(map: Form<'_>, file: &DepsFile<'_>) -> Vec<Named> {
    let mut found = Vec::new();
    if map.kind() != Kind::Map {
        return found;
    }
    for (lib, coord) in map.entries() {
        if lib.kind() != Kind::Symbol || coord.kind() != Kind::Map {
            continue;
        }
        let git = file.coords.iter().position(|known: &Coord<'_>| known.span == coord.span());
        let root = coord.get("local/root").and_then(|root| root.string());
        let kind = match (git, root) {
            (Some(index), _) => NamedKind::Git(index),
            (None, Some(root)) => {
                let says = ["deps/manifest", "deps/root"].iter().any(|key| coord.get(key).is_some());
                NamedKind::Local { root: root.into_owned(), says }
            }
            (None, None) => NamedKind::Other,
        };
        let exclusions = coord.get("exclusions").map(|list| list.values().map(qualified).collect());
        found.push(Named { lib: qualified(lib), kind, exclusions });
    }
    found
}

/// An unqualified `snow` is `snow/snow`.
fn qualified(symbol: Form<'_>) -> String {
    let text = symbol.spelled();
    if text.contains('/') { text.into_owned() } else { format!("{text}/{text}") }
}
