//! The operations. Each is safe to run again, whatever became of it the last time.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::calls;
use super::error::Error;
use super::ship::Source;
use super::state::{Answer, HostState, Probe, UnitState};
use super::{install, instances, migration, setup};
use crate::model::{App, Branch, Host, RepoUrl, Sha, UnitName};
use crate::ssh::{self, Call, Hosts, Output};

/// A script's exit code where it refuses and its answer says why.
pub(super) const REFUSED: i32 = 10;
/// How long one look may take while verifying; more is a look that failed.
const LOOK: Duration = Duration::from_secs(20);
/// How long a host may be gone while verifying.
const GONE: Duration = Duration::from_secs(30);

/// A host to work on, and how.
pub struct Remote<'a> {
    /// The pool.
    pub hosts: &'a Hosts,
    /// The host.
    pub host: &'a Host,
    /// How long one operation may take (but for [`Remote::verify`], which is told its own time).
    pub timeout: Duration,
    /// Ends the operation in hand, on the host too.
    pub cancel: &'a CancellationToken,
    /// Where what is said on the host goes as it comes: the host's log.
    pub log: &'a mut (dyn FnMut(&[u8]) + Send),
}

/// How an app is restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// `systemctl restart`.
    Unit(UnitName),
    /// The app's own `:restart`, at least once.
    Command(String),
}

impl Restart {
    /// The app's own command, else its unit; none if it has neither, or two instances, which are switched.
    pub fn of(app: &App) -> Option<Self> {
        if app.zero_downtime.is_some() {
            return None;
        }
        let unit = || app.service.as_ref().map(|service| Restart::Unit(service.name.clone()));
        app.restart.clone().map(Restart::Command).or_else(unit)
    }
    /// The unit that tells whether it runs; an app with a command of its own has none that we know of.
    pub fn unit(&self) -> Option<&UnitName> {
        match self {
            Restart::Unit(unit) => Some(unit),
            Restart::Command(_) => None,
        }
    }
}

/// What [`Remote::bring`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Where HEAD was; none if the folder was absent. A resumed run tells where it was then.
    pub from: Option<Sha>,
    /// Whether the tree moved in this run.
    pub moved: bool,
}

/// What [`Remote::restart`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarted {
    /// Whether it was restarted in this run, and not found restarted.
    pub done: bool,
    /// The unit afterwards, with its new InvocationID; none for a command.
    pub unit: Option<UnitState>,
}

/// What [`Remote::verify`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check<'a> {
    /// The clone.
    pub working_directory: &'a str,
    /// The commit it has to be at.
    pub sha: &'a Sha,
    /// The unit that has to be active and not to restart.
    pub unit: Option<&'a UnitName>,
    /// The url that has to answer, asked on the host.
    pub health: Option<&'a str>,
    /// How long it may take to get well.
    pub timeout: Duration,
    /// How long it has to stay well.
    pub stable: Duration,
}

impl Remote<'_> {
    /// Looks at a working directory and a unit, in one round trip. Changes nothing.
    pub async fn observe(&mut self, working_directory: &str, unit: Option<&UnitName>) -> Result<HostState, Error> {
        let call = calls::observe(working_directory, unit);
        Ok(self.ask(&call, Subject::path(working_directory)).await?.host_state())
    }

    /// Brings a working directory to exactly `sha`: clones it if it is absent, else has the commit from where `source` says,
    /// and moves it with `git reset --keep`, on the branch that it is on. Refuses changed tracked files, untracked ones in
    /// the way, and a HEAD that neither is an ancestor of `sha` nor was put there by us (the marker, or `ours`).
    ///
    /// Idempotent: the marker says `moving` before anything moves, and a run that finds it so ends the move that was
    /// interrupted, once it has seen that the files which differ are its own. At `sha` with the marker about `sha`,
    /// it changes nothing. Lock files of a killed git are removed if no git is at work there.
    pub async fn bring(
        &mut self,
        working_directory: &str,
        url: &RepoUrl,
        branch: &Branch,
        sha: &Sha,
        source: Source<'_>,
        ours: &[Sha],
    ) -> Result<Brought, Error> {
        let call = calls::bring(working_directory, url, branch, sha, source, ours);
        let answer = self.ask(&call, Subject { path: working_directory, unit: "", sha: Some(sha) }).await?;
        Ok(Brought { from: answer.sha("from"), moved: answer.get("moved") == Some("yes") })
    }

    /// Has a clone that is there fetch `sha` of `branch` from its own origin, if it lacks it. Its files stay as they are.
    pub async fn fetch_ahead(&mut self, working_directory: &str, branch: &Branch, sha: &Sha) -> Result<(), Error> {
        let subject = Subject { path: working_directory, unit: "", sha: Some(sha) };
        self.ask(&calls::fetch_ahead(working_directory, branch, sha), subject).await.map(drop)
    }

    /// Restarts the app, with sudo where the user is not root. `before` is the unit's InvocationID as it was observed
    /// (and journaled) before the first try.
    ///
    /// A unit is restarted once: if its invocation is no longer `before` (none: it had not run), it has been already. A command of the app's
    /// own is run at least once; what it leaves running should have its output redirected.
    pub async fn restart(
        &mut self,
        working_directory: &str,
        restart: &Restart,
        before: Option<&str>,
    ) -> Result<Restarted, Error> {
        let (call, unit) = match restart {
            Restart::Unit(unit) => (calls::restart_unit(unit, before), unit.as_str()),
            Restart::Command(command) => (calls::restart_command(working_directory, command), ""),
        };
        let answer = self.ask(&call, Subject { path: working_directory, unit, sha: None }).await?;
        Ok(Restarted { done: answer.get("restarted") == Some("yes"), unit: answer.unit() })
    }

    /// Waits until all of `check` is so and has stayed so, then writes `live` into the marker. Fails at once if the
    /// tree is at another commit or the unit has failed for good.
    ///
    /// Idempotent: it looks, and the marker's last state is written only if it is not there.
    pub async fn verify(&mut self, check: &Check<'_>) -> Result<Probe, Error> {
        let probe = self.wait_until_well(check).await?;
        self.mark_live(check.working_directory, check.sha).await?;
        Ok(probe)
    }

    /// Writes `live` into the marker, the tree being on the disk first. Refuses if HEAD is not `sha`. Idempotent.
    pub async fn mark_live(&mut self, working_directory: &str, sha: &Sha) -> Result<(), Error> {
        let subject = Subject { path: working_directory, unit: "", sha: Some(sha) };
        self.ask(&calls::live(working_directory, sha), subject).await.map(drop)
    }

    /// How a unit is; none where the host has no systemd. Changes nothing.
    pub async fn unit(&mut self, unit: &UnitName) -> Result<Option<UnitState>, Error> {
        let subject = Subject { path: "", unit: unit.as_str(), sha: None };
        match self.ask(&calls::unit(unit), subject).await {
            Ok(answer) => Ok(answer.unit()),
            Err(Error::NoSystemd { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last lines of a unit's journal, oldest first; where they may not be read, a line that says so.
    pub async fn last_journal_lines(&mut self, unit: &UnitName, lines: u32) -> Result<Vec<String>, Error> {
        let subject = Subject { path: "", unit: unit.as_str(), sha: None };
        Ok(self.ask(&calls::journal(unit, lines), subject).await?.list("line"))
    }

    /// Waits until all of `check` is so and has stayed so. Changes nothing; else as [`Remote::verify`].
    pub async fn wait_until_well(&mut self, check: &Check<'_>) -> Result<Probe, Error> {
        let call = calls::probe(check.working_directory, check.unit, check.health);
        let subject = Subject { path: check.working_directory, unit: "", sha: Some(check.sha) };
        let every = (check.stable / 4).clamp(Duration::from_millis(100), Duration::from_secs(1));
        let start = Instant::now();
        let mut last_said = String::new();
        let mut well: Option<(Instant, Option<UnitState>)> = None;
        let mut gone: Option<Instant> = None;
        loop {
            let looked = self.look(&call, subject).await;
            if looked.is_ok() {
                gone = None;
            }
            let said = match looked {
                Ok(probe) => match judge(check, &probe, self.host)? {
                    Judged::Well => {
                        let restarted = well.as_ref().is_some_and(|(_, unit)| !same_start(unit, &probe.unit));
                        if restarted {
                            well = None;
                        }
                        let (since, _) = well.get_or_insert_with(|| (Instant::now(), probe.unit.clone()));
                        if since.elapsed() >= check.stable {
                            return Ok(probe);
                        }
                        let late = restarted && start.elapsed() >= check.timeout;
                        if late { restarts(&probe) } else { String::new() }
                    }
                    Judged::Ill(said) => {
                        well = None;
                        said
                    }
                    Judged::Dead(said) => return Err(self.unhealthy(check, start, said)),
                },
                Err(Error::Ssh(error))
                    if (error.is_retryable() || matches!(error, ssh::Error::TimedOut { .. }))
                        && start.elapsed() < check.timeout
                        && gone.get_or_insert_with(Instant::now).elapsed() < GONE =>
                {
                    well = None;
                    error.to_string()
                }
                Err(error) => return Err(error),
            };
            if said != last_said {
                let line = if said.is_empty() { "healthy" } else { said.as_str() };
                (self.log)(format!("{line}\n").as_bytes());
                last_said.clone_from(&said);
            }
            if !said.is_empty() && start.elapsed() >= check.timeout {
                return Err(self.unhealthy(check, start, said));
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.cancel.cancelled() => {} // the next look says so
            }
        }
    }

    fn unhealthy(&self, check: &Check<'_>, start: Instant, said: String) -> Error {
        let seconds = start.elapsed().as_secs();
        Error::Unhealthy { host: self.host.name.to_string(), sha: *check.sha, seconds, said }
    }

    async fn look(&mut self, call: &Call, subject: Subject<'_>) -> Result<Probe, Error> {
        let output = self.hosts.run(self.host, call, LOOK, self.cancel, &mut |_| ()).await?;
        Ok(self.read(call, subject, output)?.probe())
    }

    pub(super) async fn ask(&mut self, call: &Call, subject: Subject<'_>) -> Result<Answer, Error> {
        let output = self.hosts.run(self.host, call, self.timeout, self.cancel, self.log).await?;
        self.read(call, subject, output)
    }

    /// The answer, or the error that it is.
    pub(super) fn read(&self, call: &Call, subject: Subject<'_>, output: Output) -> Result<Answer, Error> {
        let text = output.text();
        let host = || self.host.name.to_string();
        let answer = match (output.status, Answer::parse(&text)) {
            (0 | REFUSED, Some(answer)) => answer,
            (0 | REFUSED, None) => {
                let end: String = text.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
                return Err(Error::Garbled { host: host(), what: call.what, text: end });
            }
            (status, _) => {
                let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(ssh::Error::Failed { host: host(), what: call.what, status, stderr }.into());
            }
        };
        match answer.get("refused") {
            None => Ok(answer),
            Some(kind) => Err(self.refusal(call, subject, kind, &answer, &output.stderr)),
        }
    }

    fn refusal(&self, call: &Call, subject: Subject<'_>, kind: &str, answer: &Answer, stderr: &[u8]) -> Error {
        let host = self.host.name.to_string();
        let path = subject.path.to_owned();
        let text = |key: &str| answer.get(key).unwrap_or_default().trim().to_owned();
        let said = text("said");
        let what = text("what");
        let more = install::words(kind, &host, &what, &said).or_else(|| setup::words(kind, &host, &what, &said));
        let more = more.or_else(|| instances::words(kind, &host, &what));
        if let Some(said) = more.or_else(|| migration::words(kind, &host, &what, &said)) {
            if ["old", "role", "not-included", "no-upstream", "migrating"].contains(&kind) {
                return Error::NotReady { said };
            }
            if ["no-program", "program-sudo", "foreign-unit"].contains(&kind) {
                return Error::NoProgram { said };
            }
            return Error::Install { said };
        }
        match (kind, subject.sha) {
            ("no-git", _) => Error::NoGit { host },
            ("no-systemd", _) => Error::NoSystemd { host },
            ("not-git", _) => Error::NotGit { host, path, said },
            ("owner", _) => Error::Owner { host, path, said },
            ("locked", _) => Error::Locked { host, path, said: holder(&said) },
            ("busy", _) => Error::Busy { host, path, said },
            ("changed", _) => Error::Changed { host, path, files: answer.list("file") },
            ("in-the-way", _) => Error::InTheWay { host, path, files: answer.list("file") },
            ("diverged", Some(sha)) => {
                Error::Diverged { host, path, head: text("head"), about: text("about"), sha: *sha }
            }
            ("wrong-sha", Some(sha)) => Error::WrongSha { host, path, head: text("head"), sha: *sha },
            ("no-commit", Some(sha)) => Error::NoCommit { host, path, origin: text("origin"), sha: *sha },
            ("fetch", _) => Error::Fetch { host, path, origin: text("origin"), said: last_words(stderr) },
            ("command", _) => {
                let how = format!("with exit code {}", text("code"));
                Error::Command { host, what: call.what, how, said: last_words(stderr) }
            }
            ("sudo", _) => Error::Sudo { host, user: self.host.user.clone(), unit: subject.unit.to_owned(), said },
            ("cut", _) => Error::Cut { host, path, said },
            ("unwritten", _) => Error::Unwritten { host, path, said },
            ("not-releases", _) => Error::NotReleases { host, path, said },
            ("no-release", _) => Error::NoRelease { host, path, said },
            ("no-sum", _) => Error::NoSum { host },
            ("no-tool", _) => Error::NoTool { host, said },
            _ => Error::Garbled { host, what: call.what, text: format!("refused {kind}") },
        }
    }
}

/// The last lines of what was said.
fn last_words(stderr: &[u8]) -> String {
    let words = String::from_utf8_lossy(stderr);
    let words: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    words[words.len().saturating_sub(4)..].join(" | ")
}

/// Who holds a lock, as their own note has it.
fn holder(said: &str) -> String {
    match serde_json::from_str::<super::lock::Holder>(said) {
        Ok(holder) => {
            let since = holder.since.strftime("%Y-%m-%d %H:%MZ");
            format!("{} since {since}: {}", holder.who, holder.why)
        }
        Err(_) => said.to_owned(),
    }
}

/// What an operation is about, for its errors.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) path: &'a str,
    pub(super) unit: &'a str,
    pub(super) sha: Option<&'a Sha>,
}

impl<'a> Subject<'a> {
    pub(super) fn path(path: &'a str) -> Self {
        Self { path, unit: "", sha: None }
    }
}

enum Judged {
    Well,
    /// Not now; why.
    Ill(String),
    /// Nor ever again by itself; why.
    Dead(String),
}

fn judge(check: &Check<'_>, probe: &Probe, host: &Host) -> Result<Judged, Error> {
    if probe.head != Some(*check.sha) {
        let head = probe.head.map_or("no commit".to_owned(), |head| head.to_string());
        let (host, path) = (host.name.to_string(), check.working_directory.to_owned());
        return Err(Error::WrongSha { host, path, head, sha: *check.sha });
    }
    if let Some(name) = check.unit {
        let Some(unit) = &probe.unit else {
            return Err(Error::NoSystemd { host: host.name.to_string() });
        };
        let mut said = format!("unit {name} is {} ({})", unit.active_state, unit.sub_state);
        if unit.n_restarts > 0 {
            said.push_str(&format!(", which systemd has restarted {} times", unit.n_restarts));
        }
        if unit.is_missing() {
            return Ok(Judged::Dead(format!("there is no unit {name}")));
        }
        if unit.active_state == "failed" {
            return Ok(Judged::Dead(said));
        }
        if !unit.is_active() {
            return Ok(Judged::Ill(said));
        }
    }
    match (check.health, &probe.health) {
        (Some(_), Some(Ok(()))) | (None, _) => Ok(Judged::Well),
        (Some(url), Some(Err(said))) => {
            let again = probe.unit.as_ref().filter(|unit| unit.n_restarts > 0);
            let again = again.map(|unit| format!("; systemd has restarted it {} times", unit.n_restarts));
            Ok(Judged::Ill(format!("{url}: {said}{}", again.unwrap_or_default())))
        }
        (Some(url), None) => Ok(Judged::Ill(format!("{url} was not asked"))),
    }
}

/// That it does not stay, in words.
fn restarts(probe: &Probe) -> String {
    let times = probe.unit.as_ref().map_or(0, |unit| unit.n_restarts);
    format!("it restarts again and again: systemd has restarted it {times} times")
}

/// Whether a unit has not been started anew between two looks.
fn same_start(one: &Option<UnitState>, other: &Option<UnitState>) -> bool {
    let start = |unit: &Option<UnitState>| unit.as_ref().map(|unit| (unit.invocation_id.clone(), unit.n_restarts));
    start(one) == start(other)
}
