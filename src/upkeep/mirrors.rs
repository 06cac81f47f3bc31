//! Mirrors: those that nothing refers to any more go, and git joins packs and refs in those that need it. An
//! untouched mirror costs a look at its folders.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::UpkeepError;
use super::folders::size;
use super::round::{Round, Sum};
use crate::git::{HeldMirror, Mirrors};
use crate::model::{JobId, RepoId};
use crate::process::{self, Command, Ended, Leftovers, Limits, LogFile, Masker};

/// How long a mirror stays that no app lives in or depends on. Builds' own dependencies are of use when they are built.
const UNUSED: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How long git's maintenance of one mirror may take.
const LONGEST: Duration = Duration::from_secs(1800);

impl Round {
    pub(super) async fn care_for_mirrors(&mut self) {
        self.doing("mirrors that nothing refers to");
        let git = self.inner.pipeline.rooms().git.clone();
        let all = match git.all() {
            Ok(all) => all,
            Err(error) => return self.fault(error.into()),
        };
        let mut of_use = self.inner.pipeline.repos();
        of_use.extend(self.inner.store.open_jobs().iter().map(|job| job.app.repo()));
        let (mut unused, mut worn) = (Sum::default(), Sum::default());
        let is_unused =
            |repo: &RepoId| !of_use.contains(repo) && Timestamp::now().duration_since(git.used_at(repo)) > UNUSED;
        let (gone, kept): (BTreeSet<RepoId>, BTreeSet<RepoId>) = all.into_iter().partition(is_unused);
        for repo in gone {
            let bytes = size(&git.path(&repo));
            if !self.dry_run
                && let Err(error) = forget(&git, &repo).await
            {
                self.fault(error);
                continue;
            }
            unused.add(bytes);
        }
        self.done("mirrors", unused);
        for repo in kept {
            if self.is_over() {
                return;
            }
            if !git.is_worn(&repo) {
                continue;
            }
            if self.dry_run {
                // What git will save can't be told without doing it.
                worn.add(0);
                continue;
            }
            self.doing(format!("git maintenance of {repo}"));
            let before = size(&git.path(&repo));
            match self.maintain(&git, &repo).await {
                Ok(true) => worn.add(before.saturating_sub(size(&git.path(&repo)))),
                Ok(false) => {}
                Err(error) => self.fault(error),
            }
        }
        self.done("maintenance", worn);
    }

    /// Runs git's maintenance at the lowest priority; false if the mirror is damaged, which the next fetch sees to.
    async fn maintain(&self, git: &Mirrors, repo: &RepoId) -> Result<bool, UpkeepError> {
        let state = &self.inner.state;
        let Some(held) = git.hold(repo).await else { return Ok(false) };
        let path = state.join("logs/upkeep");
        // The last one's words are enough.
        let _ = std::fs::remove_file(&path);
        let mut log = LogFile::open(&path, Masker::new(&[])).await?;
        let limits = Limits::new(LONGEST, LONGEST);
        // Recorded as builds are: what a killed daemon leaves of it is ended by the next.
        let ended =
            process::run(command(&held), limits, JobId::NONE, &Leftovers::new(state), &mut log, &self.inner.stop)
                .await?;
        let how = match ended {
            Ended::Exited(0) => return Ok(true),
            Ended::Canceled => return Err(UpkeepError::Ending),
            Ended::Exited(code) => format!("exit code {code}"),
            Ended::Signaled(signal) => format!("signal {signal}"),
            Ended::TotalTimeout(after) | Ended::SilenceTimeout(after) => format!("nothing after {} s", after.as_secs()),
        };
        Err(UpkeepError::Maintenance { repo: repo.to_string(), how, log: path.display().to_string() })
    }
}

async fn forget(git: &Mirrors, repo: &RepoId) -> Result<(), UpkeepError> {
    match git.hold(repo).await {
        Some(held) => Ok(tokio::task::spawn_blocking(move || held.remove()).await.unwrap_or(Ok(()))?),
        // Damaged: it goes all the same, as a rest.
        None => super::folders::remove(&git.path(repo)),
    }
}

/// git at the lowest priority, with nobody's configuration.
fn command(held: &HeldMirror) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let env = [("PATH", path), ("GIT_CONFIG_GLOBAL", "/dev/null".into()), ("GIT_CONFIG_NOSYSTEM", "1".into())];
    let mut args = ["-n", "19", "git"].map(Into::into).to_vec();
    args.extend(held.maintenance());
    Command {
        program: "nice".into(),
        args,
        dir: PathBuf::from("/"),
        env: env.into_iter().map(|(name, value)| (name.into(), value)).collect(),
        cgroup: None,
    }
}
