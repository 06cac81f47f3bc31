//! The libraries that a deps.edn brings to those that depend on it: its top-level `:deps`, and no alias's.

use std::collections::BTreeSet;

use super::coord::Coord;
use super::scan::{DepsFile, scan};
use crate::edn::{self, Form, Kind};

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
    Local(String),
    /// Another.
    Other,
}

/// The top-level `:deps` of a source, and what [`scan`] finds in it.
pub fn manifest(source: &str) -> Result<(Vec<Named>, DepsFile<'_>), edn::Error> {
    let file = scan(source)?;
    let document = edn::read(source)?;
    let mut found = Vec::new();
    let deps = document.root().get("deps").filter(|deps| deps.kind() == Kind::Map);
    for (lib, coord) in deps.iter().flat_map(|deps| deps.entries()) {
        if lib.kind() != Kind::Symbol || coord.kind() != Kind::Map {
            continue;
        }
        let git = file.coords.iter().position(|known: &Coord<'_>| known.span == coord.span());
        let root = coord.get("local/root").and_then(|root| root.string());
        let kind = match (git, root) {
            (Some(index), _) => NamedKind::Git(index),
            (None, Some(root)) => NamedKind::Local(root.into_owned()),
            (None, None) => NamedKind::Other,
        };
        let exclusions = coord.get("exclusions").map(|list| list.values().map(qualified).collect());
        found.push(Named { lib: qualified(lib), kind, exclusions });
    }
    Ok((found, file))
}

/// An unqualified `snow` is `snow/snow`.
fn qualified(symbol: Form<'_>) -> String {
    let text = symbol.spelled();
    if text.contains('/') { text.into_owned() } else { format!("{text}/{text}") }
}
