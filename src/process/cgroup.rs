//! Cgroups (version 2): one for each build, below the daemon's own, where systemd has given us that to divide
//! (`Delegate=yes`).
//!
//! In one, a build has limits, and nothing that it starts can leave it: it is ended whole, whatever it did to its
//! session and environment. Must never touch a cgroup that holds processes of others, or that is not below our own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::model::JobId;

/// What limits need, in the order of what matters most.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// The cgroup that the daemon moves to: one that has others below it can't hold processes itself.
const DAEMON: &str = "daemon";
const BUILD: &str = "build-";
/// Of the processors, where others want them too; the daemon has 100.
const WEIGHT: &str = "20";
/// Processes and threads of one build. A JVM has hundreds.
const MOST_TASKS: &str = "4096";
/// How long what is killed may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// The cgroup that is ours to divide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    root: PathBuf,
    controllers: Vec<&'static str>,
}

/// What one build may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Bytes of memory.
    pub memory: u64,
    /// Processors; all of them if none.
    pub cpus: Option<f64>,
}

/// The cgroup of one build.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

/// Why a build was ended by the kernel for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfMemory {
    /// It met its own limit.
    Own,
    /// The machine, or a cgroup above, had no more.
    Machine,
}

impl Cgroups {
    /// Takes our own cgroup, if it is ours alone: moves the daemon one down, ends what a killed daemon's builds left,
    /// and switches on what limits there are. The error says why there are no cgroups, in words.
    pub fn take() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| format!("/proc/self/cgroup: {e}"))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
        let own = folder(&own, &mounts).ok_or("cgroups of version 2 are not to be seen here")?;
        Self::take_at(&own, std::process::id())
    }

    fn take_at(own: &Path, pid: u32) -> Result<Self, String> {
        // systemd's DelegateSubgroup= may have put us there already.
        let root = if own.ends_with(DAEMON) { own.parent().unwrap_or(own) } else { own };
        if !root.join("cgroup.events").exists() {
            return Err("the daemon runs in the root cgroup, which is everybody's".to_owned());
        }
        if procs(own).iter().any(|other| *other != pid as i32) {
            return Err(format!("{} holds other processes too: it is not the daemon's own", own.display()));
        }
        let refused = |what: &str, error: io::Error| {
            format!(
                "{what} in {} is refused: {error}; systemd allows it with `Delegate=yes` in the unit",
                root.display()
            )
        };
        let cgroups = Self { root: root.to_owned(), controllers: Vec::new() };
        if let Err(error) = fs::create_dir(root.join(DAEMON))
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(refused("making cgroups", error));
        }
        let moved = fs::write(root.join(DAEMON).join("cgroup.procs"), pid.to_string());
        moved.map_err(|error| refused("moving the daemon", error))?;
        for left in fs::read_dir(root).into_iter().flatten().flatten() {
            if left.file_name().to_string_lossy().starts_with(BUILD) {
                tracing::warn!(cgroup = %left.path().display(), "ended what a killed daemon's build left");
                Cgroup { path: left.path() }.remove();
            }
        }
        let switch = |name: &&str| fs::write(root.join("cgroup.subtree_control"), format!("+{name}")).is_ok();
        Ok(Self { controllers: CONTROLLERS.into_iter().filter(switch).collect(), ..cgroups })
    }

    /// What builds are not limited in, in words; empty if it is as it should be.
    pub fn lacking(&self) -> Option<String> {
        let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !self.controllers.contains(name)).collect();
        (!missing.is_empty()).then(|| {
            let missing = missing.join(", ");
            format!(
                "builds are not limited in {missing}: version 2 of cgroups does not have that here (version 1 has?)"
            )
        })
    }

    /// Whether builds are limited in it: `memory`, `cpu`, `pids`.
    pub fn limits(&self, controller: &str) -> bool {
        self.controllers.contains(&controller)
    }

    /// A cgroup for the next step of a job's build.
    pub fn make(&self, job: JobId, share: Share) -> io::Result<Cgroup> {
        let path = self.root.join(format!("{BUILD}{job}"));
        if path.exists() {
            Cgroup { path: path.clone() }.remove();
        }
        fs::create_dir(&path)?;
        let cgroup = Cgroup { path };
        let set = |controller: &str, file: &str, value: &str| match self.limits(controller) {
            true => fs::write(cgroup.path.join(file), value),
            false => Ok(()),
        };
        set("memory", "memory.max", &share.memory.to_string())?;
        // A build that has lost a part has lost.
        set("memory", "memory.oom.group", "1")?;
        set("cpu", "cpu.weight", WEIGHT)?;
        if let Some(cpus) = share.cpus {
            set("cpu", "cpu.max", &format!("{} 100000", (cpus * 100_000.0) as u64))?;
        }
        set("pids", "pids.max", MOST_TASKS)?;
        Ok(cgroup)
    }
}

impl Cgroup {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel has ended processes in it for want of memory.
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        out_of_memory(&fs::read_to_string(self.path.join("memory.events")).ok()?)
    }

    /// Ends what is left in it, and removes it. Blocks for as long as that takes.
    pub fn remove(self) {
        kill(&self.path);
        let begun = Instant::now();
        while let Err(error) = fs::remove_dir(&self.path) {
            if error.kind() == io::ErrorKind::NotFound {
                return;
            }
            if begun.elapsed() > GONE {
                tracing::warn!(cgroup = %self.path.display(), %error, "a build's cgroup could not be removed");
                return;
            }
            // It is busy until the last process is reaped, and tells nobody when.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The processes in a cgroup.
pub(super) fn procs(path: &Path) -> Vec<i32> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 0).collect()
}

/// Kills all that is in a cgroup, at once, where the kernel can (5.14).
pub(super) fn kill(path: &Path) {
    let _ = fs::write(path.join("cgroup.kill"), "1");
}

/// The folder of our cgroup, by the texts of /proc/self/cgroup and /proc/self/mountinfo.
fn folder(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if !kind.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        Some(Path::new(point).join(Path::new(path).strip_prefix(root).ok()?))
    })
}

fn out_of_memory(events: &str) -> Option<OutOfMemory> {
    let count = |name: &str| {
        let line = events.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    match (count("oom_kill"), count("oom")) {
        (0, _) => None,
        (_, 0) => Some(OutOfMemory::Machine),
        _ => Some(OutOfMemory::Own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_cgroup_is_found_on_pure_and_on_mixed_machines() {
        let pure = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let mixed = "30 25 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                     31 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                     32 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let own = "4:memory:/x\n0::/system.slice/airplanes.service\n";
        let found = |own, mounts| folder(own, mounts).map(|path| path.display().to_string());
        assert_eq!(found(own, pure).unwrap(), "/sys/fs/cgroup/system.slice/airplanes.service");
        assert_eq!(found(own, mixed).unwrap(), "/sys/fs/cgroup/unified/system.slice/airplanes.service");
        assert_eq!(found("4:memory:/x\n", mixed), None);
        let inside = "29 22 0:26 /machine/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(found("0::/machine/a/b\n", inside).unwrap(), "/sys/fs/cgroup/b");
        assert_eq!(found("0::/else\n", inside), None);
    }

    #[test]
    fn who_ran_out_of_memory_is_told_apart() {
        let events = |oom, kill| format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {kill}\noom_group_kill 1\n");
        assert_eq!(out_of_memory(&events(0, 0)), None);
        assert_eq!(out_of_memory(&events(1, 0)), None);
        assert_eq!(out_of_memory(&events(1, 3)), Some(OutOfMemory::Own));
        assert_eq!(out_of_memory(&events(0, 1)), Some(OutOfMemory::Machine));
    }
}
