//! Builds on this machine, as the daemon's user: `sh -c` in the job's own clone.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use tokio_util::sync::CancellationToken;

use super::cell::{Cells, Needs};
use super::{Build, BuildOutcome, Limit};
use crate::model::upkeep::Bytes;
use crate::process::{self, Command, Ended, Leftovers, Limits, LogFile, OutOfMemory, ProcessError};

/// What a build sees of the daemon's environment. Everything else stays out.
const PASSED: [&str; 30] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "TERM",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "JAVA_HOME",
    "GRAALVM_HOME",
    "JAVA_TOOL_OPTIONS",
    "JAVA_CMD",
    "CLJ_CONFIG",
    "CLJ_CACHE",
    "GITLIBS",
    "LEIN_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
];
/// What a build has in any case.
const DEFAULTS: [(&str, &str); 4] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/"),
    ("LANG", "C.UTF-8"),
    ("SHELL", "/bin/sh"),
];

/// What of the daemon's environment (`std::env::vars_os()`) its children may see.
pub fn clean_env(daemon: impl IntoIterator<Item = (OsString, OsString)>) -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<OsString, OsString> =
        DEFAULTS.iter().map(|(name, value)| (name.into(), value.into())).collect();
    env.extend(daemon.into_iter().filter(|(name, _)| PASSED.iter().any(|passed| name == passed)));
    env
}

/// Runs builds as children of the daemon.
#[derive(Debug, Clone)]
pub struct Local {
    leftovers: Leftovers,
    env: BTreeMap<OsString, OsString>,
    cells: Option<Cells>,
}

impl Local {
    /// `daemon` is the daemon's environment (`std::env::vars_os()`), of which only what a build needs is kept.
    pub fn new(leftovers: Leftovers, daemon: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { leftovers, env: clean_env(daemon), cells: None }
    }

    /// The same, with each build in a cell.
    pub fn in_cells(mut self, cells: Cells) -> Self {
        self.env.insert("HOME".into(), cells.home.clone().into());
        for other in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            // In the daemon's own home, which a build may not write.
            self.env.remove(OsStr::new(other));
        }
        self.cells = Some(cells);
        self
    }

    /// What each build may take, in words, unless it is limited in nothing; and what it is not kept from or limited in
    /// here.
    pub(super) fn kept(&self) -> Option<(Option<String>, Vec<String>)> {
        let cells = self.cells.as_ref()?;
        let limits = |what| cells.cgroups.as_ref().is_ok_and(|cgroups| cgroups.limits(what));
        let memory = limits("memory").then(|| format!("{} of memory", Bytes(cells.share.memory)));
        let cpus = match cells.share.cpus.filter(|_| limits("cpu")) {
            Some(cpus) => Some(format!("{cpus} processors")),
            None => memory.is_some().then(|| "all processors".to_owned()),
        };
        let each: Vec<String> = memory.into_iter().chain(cpus).collect();
        Some(((!each.is_empty()).then(|| each.join(", ")), cells.lacking()))
    }

    pub(super) async fn run(
        &self,
        build: Build<'_>,
        log: &mut LogFile,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, ProcessError> {
        let mut env = self.env.clone();
        let mut set = |name: &str, value: OsString| drop(env.insert(name.into(), value));
        set("AIRPLANES_APP", build.app.as_str().into());
        set("AIRPLANES_SHA", build.sha.to_string().into());
        set("AIRPLANES_JOB", build.job.to_string().into());
        set("CI", "true".into());
        set("GIT_TERMINAL_PROMPT", "0".into());
        if let Some(path) = build.git_config {
            set("GIT_CONFIG_GLOBAL", path.into());
        }
        let cgroup = match &self.cells {
            Some(Cells { cgroups: Ok(cgroups), share, .. }) => {
                let failed = |source| ProcessError::Cgroup { job: build.job, source };
                Some(cgroups.make(build.job, *share).map_err(failed)?)
            }
            _ => None,
        };
        let dir = build.directory.map_or_else(|| build.dir.to_owned(), |folder| build.dir.join(folder));
        let path = cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
        let mut argv: Vec<OsString> = vec!["/bin/sh".into(), "-c".into(), build.step.run.clone().into()];
        if let Some(cells) = &self.cells {
            let needs =
                Needs { clone: build.dir, dir: &dir, tmp: build.tmp, read: build.reads, cgroup: path.as_deref() };
            let entrance = cells.entrance(needs).map_err(|e| ProcessError::Start {
                program: cells.exe.display().to_string(),
                dir: dir.clone(),
                source: std::io::Error::other(e),
            })?;
            env.insert("TMPDIR".into(), entrance.tmp.into());
            argv = [vec![entrance.program], entrance.args, argv].concat();
        }
        let program = argv.remove(0);
        let command = Command { program, args: argv, dir, env: env.into_iter().collect(), cgroup: path };
        let limits = Limits::new(build.total, build.silence);
        let ended = process::run(command, limits, build.job, &self.leftovers, log, cancel).await;
        let short = match cgroup {
            Some(cgroup) => {
                let short = cgroup.out_of_memory();
                // A panic in there leaves a cgroup for the next step, which begins by removing it.
                let _ = tokio::task::spawn_blocking(|| cgroup.remove()).await;
                short
            }
            None => None,
        };
        Ok(match ended? {
            Ended::Exited(0) => BuildOutcome::Done,
            Ended::Exited(_) | Ended::Signaled(_) if short.is_some() => BuildOutcome::OutOfMemory {
                limit: short
                    .filter(|short| *short == OutOfMemory::Own)
                    .and_then(|_| self.cells.as_ref().map(|cells| cells.share.memory)),
            },
            Ended::Exited(exit_code) => BuildOutcome::Failed { exit_code },
            Ended::Signaled(signal) => BuildOutcome::Signaled { signal },
            Ended::TotalTimeout(after) => BuildOutcome::TimedOut { limit: Limit::Total, after },
            Ended::SilenceTimeout(after) => BuildOutcome::TimedOut { limit: Limit::Silence, after },
            Ended::Canceled => BuildOutcome::Canceled,
        })
    }
}
