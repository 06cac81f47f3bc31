//! Everything one child started: found in its cgroup, and in /proc by session, group and mark, ended, and seen to be
//! gone.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::{MARK, ProcessError, cgroup};

/// How long SIGKILL may take to be seen.
pub(super) const CONFIRM: Duration = Duration::from_secs(10);

/// One line of /proc/PID/stat, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub pid: i32,
    pub group: i32,
    pub session: i32,
    /// In clock ticks since boot: with the pid, a process's identity.
    pub start: u64,
    /// A zombie: its parent has not asked for its exit code yet.
    pub over: bool,
}

impl Stat {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in brackets may hold anything, so fields are counted from the last bracket (proc_pid_stat(5)).
    fn parse(line: &str) -> Option<Self> {
        let pid = line.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let over = matches!(*fields.first()?, "Z" | "X") && number(17)? <= 1;
        Some(Self { pid, group: number(2)? as i32, session: number(3)? as i32, start: number(19)?, over })
    }
}

/// How a child's processes are recognised.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The child itself, leader of its group and session, and when it started. None if only the mark is known.
    pub leader: Option<(i32, u64)>,
    /// The value of [`MARK`].
    pub mark: String,
    /// Its cgroup, where it has one.
    pub cgroup: Option<PathBuf>,
}

impl Group {
    /// Those of its processes that are alive. Blocks for a few milliseconds.
    ///
    /// A pid is not used again while a group or session has that number, so as long as the leader's pid is the
    /// leader's or nobody's, the number means our group; if someone else has it, our group is empty.
    pub fn members(&self) -> Vec<i32> {
        let me = std::process::id() as i32;
        let mark = format!("{MARK}={}", self.mark);
        let leader = self.leader.filter(|(pid, start)| Stat::of(*pid).is_none_or(|stat| stat.start == *start));
        let inside = self.cgroup.as_deref().map(cgroup::procs).unwrap_or_default();
        let Ok(entries) = std::fs::read_dir("/proc") else { return inside };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid != me)
            .filter_map(Stat::of)
            .filter(|stat| !stat.over)
            .filter(|stat| {
                leader.is_some_and(|(pid, start)| (stat.group == pid || stat.session == pid) && stat.start >= start)
                    || inside.contains(&stat.pid)
                    || marked(stat.pid, mark.as_bytes())
            })
            .map(|stat| stat.pid)
            .collect()
    }

    /// Kills what there is now and waits for nothing: for a run that is dropped in flight.
    pub fn kill_now(&self) {
        self.kill_cgroup();
        for pid in self.members() {
            send(pid, Signal::SIGKILL);
        }
    }

    /// Ends all of it: SIGTERM, `grace`, SIGKILL, and returns when it is gone. How many there were at first.
    pub async fn end(&self, grace: Duration) -> Result<usize, ProcessError> {
        let begun = Instant::now();
        let (mut first, mut empty) = (None, 0);
        let mut pause = Duration::from_millis(5);
        loop {
            let members = self.look().await;
            let asking = first.is_none();
            first.get_or_insert(members.len());
            // Twice, since one that forks while /proc is read can slip through once.
            empty = if members.is_empty() { empty + 1 } else { 0 };
            if empty == 2 {
                return Ok(first.unwrap_or(0));
            }
            let waited = begun.elapsed();
            if waited > grace + CONFIRM {
                return Err(ProcessError::Survivors { pids: members });
            }
            if waited >= grace && !members.is_empty() {
                self.kill_cgroup();
            }
            for pid in members {
                if waited >= grace {
                    send(pid, Signal::SIGKILL);
                } else if asking {
                    // Those of now, once: what they start in order to end well is left to do its work.
                    send(pid, Signal::SIGTERM);
                }
            }
            if empty == 0 {
                let left = grace.saturating_sub(waited);
                tokio::time::sleep(if left.is_zero() { pause } else { pause.min(left) }).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }

    fn kill_cgroup(&self) {
        if let Some(path) = &self.cgroup {
            cgroup::kill(path);
        }
    }

    async fn look(&self) -> Vec<i32> {
        let group = self.clone();
        // A scan that panicked counts as one that saw nothing; there is nothing in it that can.
        tokio::task::spawn_blocking(move || group.members()).await.unwrap_or_default()
    }
}

/// A process that has just ended is no error: that is what was wanted.
fn send(pid: i32, signal: Signal) {
    if let Err(error) = kill(Pid::from_raw(pid), signal)
        && error != nix::errno::Errno::ESRCH
    {
        tracing::warn!(pid, %signal, %error, "could not signal a process of a build");
    }
}

fn marked(pid: i32, mark: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == mark))
}

/// Changes with every boot: pids and start times of another boot mean nothing.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let line = "42 (a) R (b) c) S 1 40 41 0 -1 4194304 99 0 0 0 1 2 3 4 20 0 7 0 86459 3133440 388";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat, Stat { pid: 42, group: 40, session: 41, start: 86459, over: false });
        assert!(Stat::parse(&line.replace(" S 1", " Z 1").replace(" 7 0 86459", " 1 0 86459")).unwrap().over);
        assert!(Stat::parse("42 (x").is_none());
    }
}
