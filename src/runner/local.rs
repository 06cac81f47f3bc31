//! Builds on this machine, as the daemon's user: `sh -c` in the job's own clone.

use std::collections::BTreeMap;
use std::ffi::OsString;

use tokio_util::sync::CancellationToken;

use super::{Build, BuildOutcome, Limit};
use crate::process::{self, Command, Ended, Leftovers, Limits, LogFile, ProcessError};

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
}

impl Local {
    /// `daemon` is the daemon's environment (`std::env::vars_os()`), of which only what a build needs is kept.
    pub fn new(leftovers: Leftovers, daemon: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { leftovers, env: clean_env(daemon) }
    }

    pub(super) async fn run(
        &self,
        build: Build<'_>,
        log: &mut LogFile,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, ProcessError> {
        let mut env = self.env.clone();
        let mut set = |name: &str, value: OsString| env.insert(name.into(), value);
        set("AIRPLANES_APP", build.app.as_str().into());
        set("AIRPLANES_SHA", build.sha.to_string().into());
        set("AIRPLANES_JOB", build.job.to_string().into());
        set("CI", "true".into());
        set("GIT_TERMINAL_PROMPT", "0".into());
        if let Some(path) = build.git_config {
            set("GIT_CONFIG_GLOBAL", path.into());
        }
        let command = Command {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), build.step.run.clone().into()],
            dir: build.dir.to_owned(),
            env: env.into_iter().collect(),
        };
        let limits = Limits::new(build.total, build.silence);
        let ended = process::run(command, limits, build.job, &self.leftovers, log, cancel).await?;
        Ok(match ended {
            Ended::Exited(0) => BuildOutcome::Done,
            Ended::Exited(exit_code) => BuildOutcome::Failed { exit_code },
            Ended::Signaled(signal) => BuildOutcome::Signaled { signal },
            Ended::TotalTimeout(after) => BuildOutcome::TimedOut { limit: Limit::Total, after },
            Ended::SilenceTimeout(after) => BuildOutcome::TimedOut { limit: Limit::Silence, after },
            Ended::Canceled => BuildOutcome::Canceled,
        })
    }
}
