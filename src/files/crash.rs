//! Power cuts on demand, for `scripts/crash`: with the feature `crash-points`, the process kills itself at the n-th
//! commit of the store, before or after it is on disk, or at a place that has a name. Without the feature nothing of
//! this is compiled.

#[cfg(feature = "crash-points")]
mod on {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static COMMITS: AtomicU64 = AtomicU64::new(0);
    static AT: OnceLock<Option<(String, String)>> = OnceLock::new();

    /// `AIRPLANES_CRASH_AT=17:before` is the 17th commit, `"host-restarting","host":"web-1":after` the first that
    /// holds this text, `adopt:here` a place.
    fn asked() -> Option<&'static (String, String)> {
        let read = || {
            let text = std::env::var("AIRPLANES_CRASH_AT").ok()?;
            text.rsplit_once(':').map(|(what, side)| (what.to_owned(), side.to_owned()))
        };
        AT.get_or_init(read).as_ref()
    }

    /// Whether it is this commit; `holds` says whether a text is in it.
    pub fn before(holds: impl Fn(&str) -> bool) -> bool {
        let n = COMMITS.fetch_add(1, Ordering::SeqCst) + 1;
        let Some((what, side)) = asked().filter(|(_, side)| side != "here") else { return false };
        let here = what.parse::<u64>().map_or_else(|_| holds(what), |at| at == n);
        if here && side == "before" {
            die(n, "before");
        }
        here
    }

    /// The commit is on disk.
    pub fn after(here: bool) {
        if here {
            die(COMMITS.load(Ordering::SeqCst), "after");
        }
    }

    /// A place that is no commit.
    pub fn at(place: &str) {
        if asked().is_some_and(|(what, side)| what == place && side == "here") {
            die(COMMITS.load(Ordering::SeqCst), place);
        }
    }

    fn die(n: u64, side: &str) {
        eprintln!("crash-points: killed {side} commit {n}");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(feature = "crash-points")]
pub use on::{after, at, before};

/// Whether it is this commit; `holds` says whether a text is in it.
#[cfg(not(feature = "crash-points"))]
pub fn before(_: impl Fn(&str) -> bool) -> bool {
    false
}
/// The commit is on disk.
#[cfg(not(feature = "crash-points"))]
pub fn after(_: bool) {}
/// A place that is no commit.
#[cfg(not(feature = "crash-points"))]
pub fn at(_: &str) {}
