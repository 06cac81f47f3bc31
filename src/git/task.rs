//! Blocking work off the async threads, under a deadline and a cancellation: a caller is never stuck, even where the
//! thread still sits in a system call (libgit2's own time-outs end that a little later).

use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::GitError;

/// Tells the blocking thread to stop at its next progress report.
#[derive(Clone, Default)]
pub(super) struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Whether it was told to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets the halt when the caller goes away, for whatever reason.
struct HaltOnDrop(Halt);

impl Drop for HaltOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `prepare` (which may wait for a lock) and then `work` on a blocking thread. `what` stands in the errors.
pub(super) async fn run<P, T>(
    what: String,
    deadline: Duration,
    stop: &CancellationToken,
    prepare: impl Future<Output = P>,
    work: impl FnOnce(P, &Halt) -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError>
where
    P: Send + 'static,
    T: Send + 'static,
{
    let halt = Halt::default();
    let _end = HaltOnDrop(halt.clone());
    let whole = async {
        let prepared = prepare.await;
        tokio::task::spawn_blocking(move || work(prepared, &halt)).await
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(GitError::Canceled { what }),
        done = tokio::time::timeout(deadline, whole) => match done {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(GitError::Other { what, words: format!("a bug or a ref name that is not UTF-8 ({panic})") }),
            Err(_) => Err(GitError::TimedOut { what, seconds: deadline.as_secs() }),
        },
    }
}

/// Tells libgit2 how long a remote may take to answer a connect, and how long it may say nothing. These are globals
/// of the process: the first call in a process wins.
pub(super) fn set_timeouts(connect: Duration, silence: Duration) {
    static ONCE: Once = Once::new();
    let millis = |d: Duration| i32::try_from(d.as_millis()).unwrap_or(i32::MAX);
    ONCE.call_once(|| {
        // SAFETY: the two options write an int each in libgit2 without synchronization. This is the only place that
        // writes them, runs once, and runs in `Mirrors::new`, before any of this module's connections can read them.
        #[allow(unsafe_code)]
        let set = unsafe {
            git2::opts::set_server_connect_timeout_in_milliseconds(millis(connect))
                .and_then(|()| git2::opts::set_server_timeout_in_milliseconds(millis(silence)))
        };
        if let Err(error) = set {
            tracing::warn!(%error, "libgit2 did not take its time-outs; a hung remote is given up by the deadline only");
        }
    });
}
