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
mod environments;
mod excerpt;
mod forges;
mod nginx;
mod notify;
mod prefix;
mod providers;
mod publish;
mod rollout;
mod secrecy;
mod section;
mod service;
mod settings;
mod ship;
mod source;
mod suggest;
mod tags;
mod templates;
mod updates;
mod values;
mod window;
mod zero_downtime;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::edn::{Node, Span};
use crate::model::{App, AppName};

pub use addition::{Addition, Key, NotAdded, add};
pub use builds::Builds;
pub use diagnostic::{Diagnostics, Finding};
pub use forges::{ApiKind, ForgeApi};
pub use notify::{DeadMan, Notify, Smtp, Tls, Way};
pub use prefix::ByPrefix;
pub use providers::ProviderApi;
pub use settings::{Config, Git, Keep, Ssh};
pub use source::Source;
pub use templates::Templates;

use diagnostic::Fault;
use section::{Context, Section};
use settings::Deploy;
use source::{Printed, Texts};
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
    /// What spans point into, without secrets.
    texts: Texts,
    /// Of all that was read: two of one print say the same.
    print: u64,
}

impl Loaded {
    /// Whether it was read from the same files and variables, and nothing in them was other than now.
    pub fn is_as(&self, other: &Self) -> bool {
        (self.print, &self.files) == (other.print, &other.files)
    }

    /// That `:builds {:write}` opens none of these places to builds: those of the daemon's own that are known only where
    /// it runs. [`load`] has looked at those that the files name.
    pub fn keeps_from_builds(&self, places: &[PathBuf], source: &dyn Source) -> Result<(), Diagnostics> {
        let faults = builds::too_wide(&self.config.builds.write, places, source);
        if faults.is_empty() { Ok(()) } else { Err(Diagnostics::new(self.texts.clone(), faults, self.files.clone())) }
    }
}

/// Reads config.edn at `path` and the apps: `:deploy` is the path of deploy.edn (by default the one beside config.edn)
/// or, as in `config.example.edn`, a map with what would stand in it.
///
/// Everything is read anew. `Err` has every fault that was found, and the files to watch until it is cured.
pub fn load(source: &dyn Source, path: &Path) -> Result<Loaded, Diagnostics> {
    let printed = Printed::of(source);
    let mut files = Files::new(&printed);
    let Some(root) = files.read(path, None).filter(|_| files.faults.is_empty()) else {
        return Err(Diagnostics::new(files.shown, files.faults, files.files));
    };
    let mut context = Context { texts: files.texts.clone(), faults: Vec::new() };
    let Some(section) = Section::of(&root, "config.edn", &mut context) else {
        return Err(Diagnostics::new(files.shown, context.faults, files.files));
    };
    let (mut config, deploy, folder) = settings::read(section, &mut context);
    if let Some(folder) = &folder {
        config.templates = templates::read(folder, &mut files);
    }
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
    let own = own_places(&config, &files.files);
    context.faults.append(&mut builds::too_wide(&config.builds.write, &own, source));
    context.faults.sort_by_key(|fault| (fault.span.map(|span| (span.source, span.start)), fault.warning));
    let (warnings, errors): (Vec<Fault>, Vec<Fault>) = context.faults.into_iter().partition(|fault| fault.warning);
    if !errors.is_empty() {
        let faults = errors.into_iter().chain(warnings).collect();
        return Err(Diagnostics::new(files.shown, faults, files.files));
    }
    let warnings = Diagnostics::new(files.shown.clone(), warnings, files.files.clone());
    Ok(Loaded { config, apps, files: files.files, warnings, texts: files.shown, print: printed.print() })
}

/// What the files name that is the daemon's own: no build may have any of it.
fn own_places(config: &Config, files: &[PathBuf]) -> Vec<PathBuf> {
    let known = config.git.known_hosts.iter().chain(&config.ssh.known_hosts);
    let keys = config.git.keys.iter().map(|(_, key)| key).chain(&config.ssh.identity);
    std::iter::once(&config.state).chain(files).chain(keys).chain(known).cloned().collect()
}

/// The apps' file, unless it has faults of syntax or tags.
fn deploy_file(files: &mut Files<'_>, path: &Path, at: Option<Span>) -> Option<Node> {
    let before = files.faults.len();
    files.read(path, at).filter(|_| files.faults.len() == before)
}
