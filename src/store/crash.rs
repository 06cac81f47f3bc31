//! Power cuts on demand, for `scripts/crash`: with the feature `crash-points`, the process kills itself at the n-th
//! commit, before or after it is on disk. Without the feature nothing of this is compiled.

#[cfg(feature = "crash-points")]
mod on {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static COMMITS: AtomicU64 = AtomicU64::new(0);
    static AT: OnceLock<Option<(u64, bool)>> = OnceLock::new();

    /// `AIRPLANES_CRASH_AT=17:before` or `17:after`.
    fn at() -> Option<(u64, bool)> {
        *AT.get_or_init(|| {
            let text = std::env::var("AIRPLANES_CRASH_AT").ok()?;
            let (n, side) = text.split_once(':')?;
            Some((n.parse().ok()?, side == "before"))
        })
    }

    pub(in crate::store) fn before() {
        let n = COMMITS.fetch_add(1, Ordering::SeqCst) + 1;
        if at() == Some((n, true)) {
            die(n, "before");
        }
    }

    pub(in crate::store) fn after() {
        let n = COMMITS.load(Ordering::SeqCst);
        if at() == Some((n, false)) {
            die(n, "after");
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
pub(super) fn before() {}
#[cfg(not(feature = "crash-points"))]
pub(super) fn after() {}
