//! Inside the cell: one process, which gives up what a build is not to have and then becomes the build's command.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use super::mounts::elsewhere;
use super::places::{Entry, Kind, beside};
use super::{Abilities, Orders, PROBE, real};

/// The exit code of a cell that could not be entered: what `env`, `nice` and `timeout` use for that.
const NOT_ENTERED: u8 = 125;
/// Of 1000: builds are what the kernel ends first when memory runs out, and the daemon's ssh and git long after them.
const OOM_SCORE: &str = "900";
/// Of 19: a third of what the daemon and people get, where they want it too.
const NICE_BY: &str = "5";
const NICE: [&str; 3] = ["/usr/bin/nice", "-n", NICE_BY];
/// What is left to root in a build: to own, read and write files, and to act as other users. Nothing of it reaches the
/// kernel, its devices, or the memory of processes outside.
const POWERS: [&str; 4] = [
    "/usr/bin/setpriv",
    "--bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+net_bind_service",
    "--inh-caps=-all",
    "--",
];
/// The newest interface that this was written for. What the kernel lacks of it is left out.
const WRITTEN_FOR: ABI = ABI::V9;
/// The devices that a build may use; not disks, nor memory.
const DEVICES: [&str; 9] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm"];

/// Why a cell could not be entered.
#[derive(Debug, thiserror::Error)]
enum CellError {
    #[error("its orders can't be read: {0}")]
    Orders(#[from] serde_json::Error),
    #[error("it has no command")]
    NoCommand,
    #[error("{what} failed: {source}")]
    Step { what: String, source: io::Error },
    #[error("the kernel's Landlock refused it: {0}")]
    Landlock(#[from] landlock::RulesetError),
}

fn step(what: impl Into<String>) -> impl FnOnce(io::Error) -> CellError {
    let what = what.into();
    move |source| CellError::Step { what, source }
}

/// Runs the cell with the arguments after [`super::ARGUMENT`]. Comes back only if that failed, or for a probe.
pub fn enter(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let orders = args.next().unwrap_or_default();
    if orders == PROBE {
        return match serde_json::to_string(&look()) {
            Ok(told) => {
                println!("{told}");
                ExitCode::SUCCESS
            }
            Err(_) => ExitCode::FAILURE,
        };
    }
    let Err(error) = become_build(&orders.to_string_lossy(), args.collect());
    eprintln!("airplanes: the build could not be put in its place, so it was not started: {error}");
    NOT_ENTERED.into()
}

fn become_build(orders: &str, command: Vec<OsString>) -> Result<std::convert::Infallible, CellError> {
    let orders: Orders = serde_json::from_str(orders)?;
    let (program, args) = command.split_first().ok_or(CellError::NoCommand)?;
    if let Some(cgroup) = &orders.cgroup {
        let procs = cgroup.join("cgroup.procs");
        fs::write(&procs, "0").map_err(step(format!("joining {}", cgroup.display())))?;
    }
    last_in_line();
    // The daemon does without huge pages; a build may be the faster for them.
    let _ = nix::sys::prctl::set_thp_disable(false);
    // As the machine has it, without what is put over it here.
    let hidden = hidden(&orders)?;
    if orders.mounts {
        take_mounts()?;
        cover(&orders)?;
        // The same folder, by way of the new mounts.
        std::env::set_current_dir(&orders.dir).map_err(step("going to its clone"))?;
    }
    restrict(&orders, hidden)?;
    let mut command = politely(program);
    let source = command.args(args).exec();
    Err(CellError::Step { what: format!("starting {}", program.to_string_lossy()), source })
}

/// The command behind programs that take from it what only they can: with `nice` its place in the queue for processors,
/// and from root the powers that reach past the cell. Without them (they are there wherever systemd is) it has less
/// manners.
fn politely(program: &OsStr) -> Command {
    let mut line: Vec<&OsStr> = vec![program];
    if Path::new(NICE[0]).exists() {
        line.splice(0..0, NICE.map(OsStr::new));
    }
    if getuid().is_root() && Path::new(POWERS[0]).exists() {
        line.splice(0..0, POWERS.map(OsStr::new));
    }
    let mut command = Command::new(line[0]);
    command.args(&line[1..]);
    command
}

/// What is hidden, under all its names.
fn hidden(orders: &Orders) -> Result<Vec<PathBuf>, CellError> {
    let mut hidden: Vec<PathBuf> = orders.hidden.iter().map(|path| real(path)).collect();
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").map_err(step("reading the mounts"))?;
    hidden.extend(elsewhere(&hidden, &mountinfo));
    Ok(hidden)
}

/// To the end of the queues for memory and processors. Where the kernel has no such queue, there is none to go to.
fn last_in_line() {
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    // A build is a session of its own: where the kernel weighs sessions, `nice` alone would only count inside it.
    let _ = fs::write("/proc/self/autogroup", NICE_BY);
}

/// A mount namespace; below a user namespace, where the user is not root.
fn take_mounts() -> Result<(), CellError> {
    let (user, group) = (getuid(), getgid());
    if !(user.is_root() && unshare(CloneFlags::CLONE_NEWNS).is_ok()) {
        let both = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
        unshare(both).map_err(|e| step("taking a user namespace")(e.into()))?;
        let map = |name: &str, text: String| fs::write(name, text).map_err(step(format!("writing {name}")));
        map("/proc/self/setgroups", "deny".to_owned())?;
        map("/proc/self/uid_map", format!("{user} {user} 1"))?;
        map("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(|e| step("making the mounts its own")(e.into()))
}

/// Landlock does not yet keep anyone from connecting to a socket by its path: what lies over it does. And a /tmp of
/// the job's own, since what Landlock opens there it would open for all builds.
fn cover(orders: &Orders) -> Result<(), CellError> {
    for place in orders.covered.iter().map(|place| real(place)) {
        let covered = match place.symlink_metadata() {
            Ok(found) if found.is_dir() => empty(&place, "size=4k,nr_inodes=2,mode=0500", MsFlags::MS_RDONLY),
            Ok(_) => over(Path::new("/dev/null"), &place),
            // Also what this user can't see can't be connected to.
            Err(_) => Ok(()),
        };
        covered.map_err(step(format!("covering {}", place.display())))?;
    }
    if orders.tmp_is_own {
        over(&orders.tmp, Path::new("/tmp")).map_err(step("giving it a /tmp of its own"))?;
        let shared = Path::new("/dev/shm");
        if shared.is_dir() {
            empty(shared, "mode=1777", MsFlags::empty()).map_err(step("giving it a /dev/shm of its own"))?;
        }
    }
    Ok(())
}

fn empty(place: &Path, options: &str, flags: MsFlags) -> io::Result<()> {
    let flags = flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options))?)
}

fn over(what: &Path, place: &Path) -> io::Result<()> {
    let none: Option<&str> = None;
    Ok(mount(Some(what), place, none, MsFlags::MS_BIND, none)?)
}

/// The Landlock ruleset: all may be read and run but what is hidden, and little may be written. With it goes that no
/// process outside can be signalled, traced or looked into, and that no program gains rights (`sudo`).
fn restrict(orders: &Orders, mut hidden: Vec<PathBuf>) -> Result<RestrictionStatus, CellError> {
    let all = AccessFs::from_all(WRITTEN_FOR);
    let read = AccessFs::from_read(WRITTEN_FOR) | AccessFs::ResolveUnix;
    // Not even as root may a build make itself a way to the disks.
    let write = all & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    let mut rules = Ruleset::default().handle_access(all)?.scope(Scope::from_all(WRITTEN_FOR))?.create()?;
    let mut allow = |path: &Path, rights: BitFlags<AccessFs>, kind: Kind| -> Result<(), CellError> {
        // What is not there, or can't be passed through to, needs no rule.
        let Ok(place) = PathFd::new(path) else { return Ok(()) };
        let rights = if kind == Kind::Folder { rights } else { rights & AccessFs::from_file(WRITTEN_FOR) };
        Ok((&mut rules).add_rule(PathBeneath::new(place, rights)).map(drop)?)
    };
    let (dev, tmp) = (PathBuf::from("/dev"), PathBuf::from("/tmp"));
    if !orders.tmp_is_own {
        for entry in beside(&tmp, &hidden, &list) {
            allow(&entry.path, write, entry.kind)?;
        }
    }
    hidden.extend([dev.clone(), tmp]);
    for entry in beside(Path::new("/"), &hidden, &list) {
        allow(&entry.path, read, entry.kind)?;
    }
    for name in DEVICES {
        let path = dev.join(name);
        allow(&path, write, kind(&path))?;
    }
    for (paths, rights) in [(&orders.read, read), (&orders.write, write)] {
        for path in paths {
            allow(path, rights, kind(path))?;
        }
    }
    Ok(rules.restrict_self()?)
}

fn kind(path: &Path) -> Kind {
    if path.is_dir() { Kind::Folder } else { Kind::File }
}

/// What lies in a folder. Nothing, if it can't be read: it can't be read from inside then either.
fn list(folder: &Path) -> Vec<Entry> {
    let entry = |entry: fs::DirEntry| {
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_dir() => Kind::Folder,
            Ok(kind) if kind.is_symlink() => Kind::Link,
            _ => Kind::File,
        };
        Entry { path: entry.path(), kind }
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(entry).collect()
}

/// What the kernel can do, by doing it.
fn look() -> Abilities {
    let no_mounts = take_mounts().and_then(|()| {
        let try_one = empty(Path::new("/tmp"), "size=4k,mode=0700", MsFlags::empty());
        try_one.map_err(step("mounting something"))
    });
    let restricted = || -> Result<RestrictionStatus, landlock::RulesetError> {
        Ruleset::default().handle_access(AccessFs::from_all(ABI::V1))?.create()?.restrict_self()
    };
    let landlock = match restricted().map(|status| status.landlock) {
        Ok(LandlockStatus::Available { effective_abi, kernel_abi }) => Some(kernel_abi.unwrap_or(effective_abi as i32)),
        _ => None,
    };
    Abilities { landlock, no_mounts: no_mounts.err().map(|e| e.to_string()) }
}
