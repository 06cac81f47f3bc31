//! Power cuts on demand, for `scripts/crash`: with the feature `crash-points`, the process kills itself at the n-th
//! commit, before or after it is on disk. Without the feature nothing of this is compiled.

#[cfg(feature = "crash-points")]
mod on {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::store::tx::Tx;

    static COMMITS: AtomicU64 = AtomicU64::new(0);
    static AT: OnceLock<Option<(String, String)>> = OnceLock::new();

    /// `AIRPLANES_CRASH_AT=17:before` is the 17th commit, `"host-restarting","host":"web-1":after` the first that
    /// holds this text.
    fn at() -> Option<&'static (String, String)> {
        let read = || {
            let text = std::env::var("AIRPLANES_CRASH_AT").ok()?;
            text.rsplit_once(':').map(|(what, side)| (what.to_owned(), side.to_owned()))
        };
        AT.get_or_init(read).as_ref()
    }

    /// Whether it is this commit.
    pub(in crate::store) fn before(tx: &Tx<'_>) -> bool {
        let n = COMMITS.fetch_add(1, Ordering::SeqCst) + 1;
        let Some((what, side)) = at() else { return false };
        let here = what.parse::<u64>().map_or_else(|_| tx.holds(what), |at| at == n);
        if here && side == "before" {
            die(n, "before");
        }
        here
    }

    pub(in crate::store) fn after(here: bool) {
        if here {
            die(COMMITS.load(Ordering::SeqCst), "after");
        }
    }

    fn die(n: u64, side: &str) {
        eprintln!("crash-points: killed {side} commit {n}");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(feature = "crash-points")]
pub(super) use on::{after, before};

#[cfg(not(feature = "crash-points"))]
pub(super) fn before(_: &super::tx::Tx<'_>) -> bool {
    false
}
#[cfg(not(feature = "crash-points"))]
pub(super) fn after(_: bool) {}
