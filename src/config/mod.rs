//! config.edn and deploy.edn: from files to a typed [`Config`] and apps, or to diagnostics that point into the files.
//!
//! [`load`] reads through a [`Source`], resolves the tags, then reads key by key: a value is deserialised by
//! `edn::de`, a key that nobody asked for is a fault. Faults are collected, so that one run shows them all: first
//! those of syntax and tags, and if there are none, those of meaning.
//!
//! Must never touch a file or the environment but through the `Source`, show a secret (source lines are blacked out
//! before they are shown), or give a `Config` while there is an error.

mod addition;
mod apps;
mod builds;
mod diagnostic;
mod excerpt;
mod notify;
mod secrecy;
mod section;
mod settings;
mod source;
mod suggest;
mod tags;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::edn::{Node, Span};
use crate::model::{App, AppName};

pub use addition::{Addition, Key, NotAdded, add};
pub use builds::Builds;
pub use diagnostic::{Diagnostics, Finding};
pub use notify::{DeadMan, Notify, Smtp, Tls, Way};
pub use settings::{Config, Git, Keep, Ssh};
pub use source::Source;

use diagnostic::Fault;
use section::{Context, Section};
use settings::Deploy;
use tags::Files;

/// What a good config.edn and deploy.edn say.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The daemon's settings.
    pub config: Config,
    /// The apps.
    pub apps: BTreeMap<AppName, App>,
    /// Every file that was read or looked for, secrets too: a change in any of them is a reason to load again.
    pub files: Vec<PathBuf>,
    /// What looks wrong but holds nothing up.
    pub warnings: Diagnostics,
}

/// Reads config.edn at `path` and the apps: `:deploy` is the path of deploy.edn (by default the one beside config.edn)
/// or, as in `config.example.edn`, a map with what would stand in it.
///
/// Everything is read anew. `Err` has every fault that was found, and the files to watch until it is cured.
pub fn load(source: &dyn Source, path: &Path) -> Result<Loaded, Diagnostics> {
    let mut files = Files::new(source);
    let Some(root) = files.read(path, None).filter(|_| files.faults.is_empty()) else {
        return Err(Diagnostics::new(files.shown, files.faults, files.files));
    };
    let mut context = Context { texts: files.texts.clone(), faults: Vec::new() };
    let Some(section) = Section::of(&root, "config.edn", &mut context) else {
        return Err(Diagnostics::new(files.shown, context.faults, files.files));
    };
    let (config, deploy) = settings::read(section, &mut context);
    let node = match deploy {
        Deploy::Inline(node) => Some(node.clone()),
        Deploy::Broken => None,
        Deploy::File(named) => {
            let at = named.as_ref().map(|name| name.span);
            let name = named.map_or("deploy.edn".to_owned(), |name| name.value);
            let path = files.resolve(&name, at.unwrap_or(root.span));
            deploy_file(&mut files, &path, at)
        }
    };
    context.texts = files.texts.clone();
    context.faults.append(&mut files.faults);
    let apps = node.map(|node| apps::read(&node, &config, &mut context)).unwrap_or_default();
    context.faults.sort_by_key(|fault| (fault.span.map(|span| (span.source, span.start)), fault.warning));
    let (warnings, errors): (Vec<Fault>, Vec<Fault>) = context.faults.into_iter().partition(|fault| fault.warning);
    if !errors.is_empty() {
        let faults = errors.into_iter().chain(warnings).collect();
        return Err(Diagnostics::new(files.shown, faults, files.files));
    }
    let warnings = Diagnostics::new(files.shown, warnings, files.files.clone());
    Ok(Loaded { config, apps, files: files.files, warnings })
}

/// The apps' file, unless it has faults of syntax or tags.
fn deploy_file(files: &mut Files<'_>, path: &Path, at: Option<Span>) -> Option<Node> {
    let before = files.faults.len();
    files.read(path, at).filter(|_| files.faults.len() == before)
}
