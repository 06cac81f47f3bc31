//! Whether a host is ready for a rollout: looked at beforehand, without changing anything there. `doctor` asks.

use crate::model::{App, Branch, RepoUrl, Sha, UnitName};
use crate::ssh::Output;

use super::calls;
use super::error::Error;
use super::instances::instance_of;
use super::ops::{Remote, Subject};
use super::state::UnitState;

/// What a host says of itself after the login.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Its clock, in seconds since 1970.
    pub now: Option<i64>,
    /// Who we are there.
    pub user: String,
    /// `git version 2.47.3`; none if it has no git.
    pub git: Option<String>,
}

/// What a rollout of one app would meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// What the working directory is.
    pub folder: Folder,
    /// Whether we may write there, or, where it is absent, make it.
    pub writable: bool,
    /// Tracked files that differ from HEAD.
    pub changed: Vec<String>,
    /// The commit there.
    pub head: Option<Sha>,
    /// The unit, where one was asked for and there is systemd.
    pub unit: Option<UnitState>,
    /// Whether the unit could be restarted: sudo's words if not. None where it was not asked.
    pub sudo: Option<Result<(), String>>,
    /// Whether there is systemd, where a unit was asked for.
    pub has_systemd: bool,
    /// What can ask the health url.
    pub asks: Option<String>,
}

/// What a working directory is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Folder {
    /// Not there yet: the first rollout makes it, in the nearest folder that is there.
    #[default]
    Absent,
    /// As `Absent`, and the nearest folder that is there.
    AbsentIn(String),
    /// There and empty.
    Empty,
    /// A clone that git works with.
    Clone,
    /// Releases of an artifact.
    Releases,
    /// A clone whose git folder we may not write.
    ReadOnlyClone,
    /// A clone that git refuses to touch, and its words.
    Refused(String),
    /// Something else.
    Other(&'static str),
}

impl Remote<'_> {
    /// Who and when the host is.
    pub async fn facts(&mut self) -> Result<HostFacts, Error> {
        let answer = self.ask(&calls::facts(), Subject::path("")).await?;
        Ok(HostFacts {
            now: answer.get("now").and_then(|text| text.parse().ok()),
            user: answer.get("user").unwrap_or_default().to_owned(),
            git: answer.get("version").map(str::to_owned),
        })
    }

    /// What a rollout of `app` would meet, with the unit that it would restart. Changes nothing.
    pub async fn readiness(
        &mut self,
        working_directory: &str,
        unit: Option<&UnitName>,
        health: Option<&str>,
    ) -> Result<Readiness, Error> {
        let call = calls::readiness(working_directory, unit, health);
        let answer = self.ask(&call, Subject::path(working_directory)).await?;
        let has = |key: &str| answer.get(key).is_some();
        let folder = match answer.get("exists") {
            None => answer.get("parent").map_or(Folder::Absent, |parent| Folder::AbsentIn(parent.to_owned())),
            Some("file") => Folder::Other("it is a file"),
            Some(_) if has("empty") => Folder::Empty,
            Some(_) if has("git") && has("readonly") => Folder::ReadOnlyClone,
            Some(_) if has("git") => Folder::Clone,
            Some(_) if has("releases") => Folder::Releases,
            Some(_) => match answer.get("said") {
                Some(said) => Folder::Refused(said.trim().to_owned()),
                None => Folder::Other("it holds files and no .git"),
            },
        };
        let said = answer.get("sudo-said").map(|said| Err(said.trim().to_owned()));
        Ok(Readiness {
            folder,
            writable: has("writable"),
            changed: answer.list("changed"),
            head: answer.sha("head"),
            unit: answer.unit(),
            sudo: said.or_else(|| has("sudo").then_some(Ok(()))),
            has_systemd: !has("systemd"),
            asks: answer.get("asks").map(str::to_owned),
        })
    }

    /// Whether the host itself can fetch the app's repository; git's words if not.
    pub async fn reach(
        &mut self,
        working_directory: &str,
        url: &RepoUrl,
        branch: Option<&Branch>,
    ) -> Result<Result<(), String>, Error> {
        let call = calls::reach(working_directory, url, branch);
        let output = self.hosts.run(self.host, &call, self.timeout, self.cancel, self.log).await?;
        if output.status == 0 || output.status == super::ops::REFUSED {
            return self.read(&call, Subject::path(working_directory), output).map(|_| Ok(()));
        }
        Ok(Err(words(&output)))
    }
}

/// The last lines of what git printed.
fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        // git's own code where the branch is not there.
        [] if output.status == 2 => "the branch is not there".to_owned(),
        [] => format!("git ended with {}", output.status),
        lines => lines[lines.len().saturating_sub(4)..].join(" | "),
    }
}

/// The unit that a rollout of the app would restart, the first of two instances; none where it has a command of its own.
pub fn unit_of(app: &App) -> Option<UnitName> {
    let service = app.service.as_ref().filter(|_| app.restart.is_none())?;
    Some(match &app.zero_downtime {
        Some(zero) => instance_of(&service.name, zero.ports[0]),
        None => service.name.clone(),
    })
}
