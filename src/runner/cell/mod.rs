//! Where a build is kept: what it may read and write, and what it can't reach.
//!
//! The daemon works out [`Cells`] from its configuration. A build is started as the daemon's own binary with the
//! [`ARGUMENT`], its orders and its command: that process ([`enter`]) goes to the end of the machine's queues,
//! joins its cgroup, takes mounts of its own and a Landlock ruleset, and becomes the command. It is a process of its
//! own since none of it can be undone or done to another, and between fork and exec only unsafe code could do it.
//!
//! Must never start the command if it could not be put where it belongs. What the kernel lacks is told by [`probe`]
//! when the daemon starts; it is not asked for then.

mod enter;
mod mounts;
mod places;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::{Cgroups, Share};
use crate::watch::real;

pub use enter::enter;

/// The first argument of the binary where it is to be a cell. No command of the command line: people don't call it.
pub const ARGUMENT: &str = "build-cell";
/// In place of orders: say what the kernel can do.
const PROBE: &str = "probe";
/// How long that may take.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// What the kernel lets the daemon's user do here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Abilities {
    /// The version of Landlock's interface; none if the kernel has none.
    pub landlock: Option<i32>,
    /// Why a process can't have mounts of its own; none if it can.
    pub no_mounts: Option<String>,
}

impl Abilities {
    /// What builds are not kept from here, in words; empty if it is as it should be.
    pub fn lacking(&self) -> Vec<String> {
        let mut lacking = Vec::new();
        match self.landlock {
            None => lacking.push(
                "the kernel has no Landlock (Linux 5.13, and `landlock` among the `lsm=`): a build can read the \
                 daemon's state and keys"
                    .to_owned(),
            ),
            Some(version) if version < 6 => lacking.push(format!(
                "the kernel's Landlock is of version {version}: a build can signal the daemon (Linux 6.12 prevents it)"
            )),
            Some(_) => {}
        }
        if let Some(why) = &self.no_mounts {
            lacking.push(format!(
                "builds can't have mounts of their own ({why}): they share /tmp, and could find the sockets of the \
                 daemon's ssh connections"
            ));
        }
        lacking
    }
}

/// What a cell is told, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Orders {
    /// Where the command runs.
    dir: PathBuf,
    /// What can't be opened, with all below it.
    hidden: Vec<PathBuf>,
    /// Where sockets are that can't be connected to.
    covered: Vec<PathBuf>,
    /// What can be read in spite of that.
    read: Vec<PathBuf>,
    /// What can be read and written in spite of that.
    write: Vec<PathBuf>,
    /// The job's own folder for temporary files.
    tmp: PathBuf,
    /// Whether that is /tmp.
    tmp_is_own: bool,
    /// Whether it has mounts of its own.
    mounts: bool,
    /// The cgroup that it joins.
    cgroup: Option<PathBuf>,
}

/// How builds are kept, by the configuration in force.
#[derive(Debug, Clone)]
pub struct Cells {
    /// The daemon's own binary.
    pub exe: PathBuf,
    /// What the kernel can do.
    pub abilities: Abilities,
    /// What no build may open: the daemon's state, its configuration and its keys.
    pub hidden: Vec<PathBuf>,
    /// Where sockets are that no build may connect to.
    pub covered: Vec<PathBuf>,
    /// What all builds may write: their home, and what `:builds {:write}` names.
    pub write: Vec<PathBuf>,
    /// The home of all builds.
    pub home: PathBuf,
    /// The state folder, with the clones of jobs and the mirrors in it.
    pub state: PathBuf,
    /// The cgroups of builds, or why there are none.
    pub cgroups: Result<Cgroups, String>,
    /// What each may take of the machine.
    pub share: Share,
}

/// What one build needs of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs<'a> {
    /// Its clone.
    pub clone: &'a Path,
    /// The folder of it that it begins in.
    pub dir: &'a Path,
    /// The job's folder for temporary files.
    pub tmp: &'a Path,
    /// What it reads of what is hidden.
    pub read: &'a [PathBuf],
    /// Its cgroup.
    pub cgroup: Option<&'a Path>,
}

/// The line a cell is entered by.
pub(super) struct Entrance {
    pub program: OsString,
    /// The arguments before the command itself.
    pub args: Vec<OsString>,
    /// What `TMPDIR` should be.
    pub tmp: PathBuf,
}

impl Cells {
    /// What builds are not kept from and not limited in here, in words; empty if it is as it should be.
    pub fn lacking(&self) -> Vec<String> {
        let mut lacking = self.abilities.lacking();
        if let Some(path) = self.below_tmp().filter(|_| self.abilities.no_mounts.is_none()) {
            lacking.push(format!(
                "{} is below /tmp: builds can't have a /tmp of their own, so they share it and /dev/shm, and get a folder \
                 in TMPDIR (move it out of /tmp)",
                path.display()
            ));
        }
        match &self.cgroups {
            Ok(cgroups) => lacking.extend(cgroups.lacking()),
            Err(why) => lacking.push(format!(
                "builds have no cgroups, so no limits, and what hides from the daemon outlives them: {why}"
            )),
        }
        lacking
    }

    /// What builds need that lies under /tmp, if anything does: then that can't be replaced for them.
    fn below_tmp(&self) -> Option<&Path> {
        let needed = std::iter::once(&self.state).chain(&self.write);
        needed.map(PathBuf::as_path).find(|path| real(path).starts_with("/tmp"))
    }

    /// How to enter a cell.
    pub(super) fn entrance(&self, needs: Needs<'_>) -> Result<Entrance, serde_json::Error> {
        let mut write = self.write.clone();
        write.extend([needs.clone.to_owned(), needs.tmp.to_owned()]);
        let mounts = self.abilities.no_mounts.is_none();
        let tmp_is_own = mounts && self.below_tmp().is_none();
        let orders = Orders {
            dir: needs.dir.to_owned(),
            hidden: self.hidden.clone(),
            covered: self.covered.clone(),
            read: needs.read.to_vec(),
            write,
            tmp: needs.tmp.to_owned(),
            tmp_is_own,
            mounts,
            cgroup: needs.cgroup.map(Path::to_owned),
        };
        let args = vec![ARGUMENT.into(), serde_json::to_string(&orders)?.into()];
        let tmp = if tmp_is_own { "/tmp".into() } else { needs.tmp.to_owned() };
        Ok(Entrance { program: self.exe.clone().into(), args, tmp })
    }
}

/// Asks the binary `exe` what the kernel lets a cell do. A process of its own, since the tries can't be undone.
pub async fn probe(exe: &Path) -> Result<Abilities, String> {
    let asked = tokio::process::Command::new(exe)
        .args([ARGUMENT, PROBE])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let told = match tokio::time::timeout(PROBE_LIMIT, asked).await {
        Ok(told) => told.map_err(|e| format!("{} could not be run: {e}", exe.display()))?,
        Err(_) => return Err(format!("{} did not answer", exe.display())),
    };
    serde_json::from_slice(&told.stdout).map_err(|_| {
        let words = String::from_utf8_lossy(&told.stderr).trim().to_owned();
        format!("{} can't put builds into their place ({}): {words}", exe.display(), told.status)
    })
}
