//! What a deps.edn or bb.edn means: its git coordinates, where they come from, and how their shas and tags are edited.
//!
//! [`scan`] finds the coordinates, [`bump`] and [`plan_update`] edit them; [`guess_build`] is for a first deploy.edn. The rules are tools.deps' own
//! (`extensions/git.clj`, `gitlibs`), as its deps_edn reference tells them. A coordinate is known by where it stands,
//! its library and its url, never by the text of its sha, which may stand in the file many times.
//!
//! Must never do I/O, and never change a byte of a file but those of shas and tags.

mod build;
mod bump;
mod coord;
mod expand;
pub mod glob;
mod manifest;
mod replay;
mod scan;
mod url;
mod version;

pub use build::{Guess, guess_build};
pub use bump::{Change, Error, To, Update, bump, excludes, plan_update};
pub use coord::{Coord, Field, Pin, Problem};
pub use expand::{Child, Chosen, Conflict, Dep, Expanded, Facts, Need, Place, expand};
pub use manifest::{Manifest, Named, NamedKind, manifest};
pub use replay::replay;
pub use scan::{DepsFile, Local, scan};
pub use url::inferred_url;
pub use version::Version;

/// The files in a repository's root that name git dependencies.
pub const FILES: [&str; 2] = ["deps.edn", "bb.edn"];
