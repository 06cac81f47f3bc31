//! What builds are kept from, by the configuration in force and by what the daemon was started with.
//!
//! Must hide every place from which the daemon takes a key or a secret, and every folder of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::{Config, Diagnostics, Loaded};
use crate::process::{Cgroups, Machine, Share};
use crate::runner::cell::{self, Abilities, Cells};
use crate::ssh::Hosts;
use crate::watch::FsSource;

/// Where people and programs keep keys and passwords in their home. A build has a home of its own; these are the
/// daemon's user's.
const IN_HOME: [&str; 14] = [
    ".ssh",
    ".gnupg",
    ".netrc",
    ".git-credentials",
    ".config/git",
    ".config/gh",
    ".config/gcloud",
    ".aws",
    ".azure",
    ".docker",
    ".kube",
    ".password-store",
    ".pgpass",
    ".clojars",
];
/// Folders of systemd's and others' that hold secrets of this daemon, or sockets that would act for its user.
const FROM_ENVIRONMENT: [&str; 3] = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "CREDENTIALS_DIRECTORY"];
/// Sockets through which root, and in a session its user, could have anything done outside.
const SYSTEM_SOCKETS: [&str; 3] = ["/run/systemd/private", "/run/dbus", "/run/user"];

/// What stays the same while the daemon runs.
pub(super) struct Grounds {
    /// The daemon's binary, as a build is to be started by.
    pub(super) exe: PathBuf,
    /// What the kernel can do.
    pub(super) abilities: Abilities,
    /// The cgroups of builds, or why there are none.
    pub(super) cgroups: Result<Cgroups, String>,
    /// How many builds run at once.
    pub(super) concurrency: usize,
    /// The machine.
    machine: Machine,
    /// The state directory.
    pub(super) state: PathBuf,
    /// The configuration's file.
    pub(super) config: PathBuf,
    /// The daemon's environment.
    pub(super) env: Vec<(OsString, OsString)>,
}

impl Grounds {
    /// Looks at what there is, says what is missing, and makes the home of builds.
    pub(super) async fn find(path: &Path, config: &Config) -> anyhow::Result<Self> {
        // Not the path: an upgrade may have put another binary there.
        let exe = PathBuf::from("/proc/self/exe");
        let abilities = cell::probe(&exe).await.unwrap_or_else(|why| {
            tracing::warn!(why, "what builds can be kept from here could not be found out");
            Abilities { landlock: None, no_mounts: Some(why) }
        });
        let machine = Machine::here();
        let cgroups = tokio::task::spawn_blocking(Cgroups::take).await?;
        let concurrency = config.builds.concurrency.unwrap_or_else(|| machine.builds());
        let (env, state, config) = (std::env::vars_os().collect(), config.state.clone(), path.to_owned());
        let grounds = Self { exe, abilities, cgroups, concurrency, machine, state, config, env };
        let home = grounds.home();
        std::fs::create_dir_all(&home)
            .with_context(|| format!("the home of builds, {}, can't be made", home.display()))?;
        Ok(grounds)
    }

    /// The home of all builds: in systemd's cache for us, since losing it costs time only.
    pub(super) fn home(&self) -> PathBuf {
        self.folder("CACHE_DIRECTORY").unwrap_or_else(|| self.state.clone()).join("home")
    }

    /// How builds are kept under this configuration; refused if it opens to them what they are to be kept from.
    pub(super) fn cells(&self, loaded: &Loaded, hosts: &Hosts) -> Result<Cells, Diagnostics> {
        let config = &loaded.config;
        let folders = FROM_ENVIRONMENT.iter().filter_map(|name| self.folder(name));
        let mut covered: Vec<PathBuf> = SYSTEM_SOCKETS.iter().map(PathBuf::from).chain(folders).collect();
        covered.extend(hosts.control_folder());
        covered.extend(self.folder("SSH_AUTH_SOCK"));
        let mut hidden = vec![self.state.clone()];
        hidden.extend(covered.iter().cloned());
        hidden.extend(self.config_folder());
        hidden.extend(loaded.files.iter().filter_map(|file| std::path::absolute(file).ok()));
        hidden.extend(config.git.keys.iter().map(|(_, key)| key.clone()));
        hidden.extend(config.ssh.identity.clone());
        hidden.extend(self.own_home().into_iter().flat_map(|home| IN_HOME.map(|name| home.join(name))));
        hidden.sort();
        hidden.dedup();
        let home = self.home();
        loaded.keeps_from_builds(&hidden, &FsSource)?;
        let mut write: Vec<PathBuf> = config.builds.write.iter().map(|path| path.value.clone()).collect();
        write.push(home.clone());
        let each = self.machine.memory_for_each(self.concurrency);
        let share = Share { memory: config.builds.memory.unwrap_or(each), cpus: config.builds.cpus };
        let (exe, abilities, cgroups) = (self.exe.clone(), self.abilities.clone(), self.cgroups.clone());
        let state = self.state.clone();
        Ok(Cells { exe, abilities, hidden, covered, write, home, state, cgroups, share })
    }

    /// The folder that config.edn is in, with all that people lay beside it; unless it is a home or one of the
    /// system's own, where builds need the rest: then its files are hidden one by one.
    fn config_folder(&self) -> Option<PathBuf> {
        let file = std::path::absolute(&self.config).ok()?;
        let folder = file.parent()?;
        let shared = folder.components().count() <= 2 || self.own_home().is_some_and(|home| home.starts_with(folder));
        (!shared).then(|| folder.to_owned())
    }

    fn own_home(&self) -> Option<PathBuf> {
        self.folder("HOME").filter(|home| home.parent().is_some())
    }

    /// What a variable of the environment names, if it is one path.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        let (_, value) = self.env.iter().find(|(known, _)| known == name)?;
        // systemd gives several with `:` between them; the first is ours.
        let first = value.to_str()?.split(':').next()?;
        Some(PathBuf::from(first)).filter(|path| path.is_absolute() && path != Path::new("/"))
    }
}
