//! An app's `:migrate` on a host. It runs there on its own, so that neither a lost connection nor the daemon's end is its
//! end: as a unit of its own where the app's unit is ours (with that one's user, environment and secrets, and the app's
//! database made before), else by a shell of the login user's. The host keeps what it says and how it ended, for whoever
//! looks.
//!
//! It is begun once for each job, however often that is asked for: the host notes that it begins before it does.

use std::time::Duration;

use super::calls;
use super::error::Error;
use super::install::{Wanted, call};
use super::ops::{Remote, Subject};
use super::state::Answer;
use crate::model::rollout::MIGRATION;
use crate::model::{App, JobId};

/// How a job's `:migrate` is on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrating {
    /// It has not begun.
    Not,
    /// It runs.
    Running,
    /// It did well.
    Done,
    /// It did not: how it ended, and its last words.
    Failed {
        /// `exit code 1`
        how: String,
        /// Its last lines.
        said: String,
    },
    /// It has begun and runs no more, and nobody saw its end: the machine went down.
    Lost,
}

/// What one look at it has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// How it is.
    pub migrating: Migrating,
    /// How much of its log has been told.
    pub at: u64,
    /// Whether there was more of that when it was looked.
    pub more: bool,
}

/// What runs it.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// A unit beside the app's own.
    Unit(&'a App),
    /// A shell, in the app's working directory.
    Shell {
        /// That.
        working_directory: &'a str,
        /// The app's own command.
        command: &'a str,
    },
}

impl Remote<'_> {
    /// Makes what a `:migrate` that runs as a unit needs, and the unit; it does not begin. Idempotent: one of the same job
    /// that has begun stays as it is.
    pub async fn place_migration(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let call = call("migrate", "migrate", wanted.unit.as_str());
        self.give(&call, Subject::path(""), wanted.input()).await.map(drop)
    }

    /// How a job's `:migrate` is; what it has said since `from` goes to the log. With `begin`, the folder of the commit's
    /// files, it is begun first, if that has not been. Refuses while another job's runs there.
    pub async fn migration(&mut self, by: By<'_>, job: JobId, begin: Option<&str>, from: u64) -> Result<Looked, Error> {
        let answer = match by {
            By::Unit(app) => {
                let wanted = Wanted::look_at_migration(app, job, begin.is_some(), from);
                let Some(wanted) = wanted else { return Ok(Looked { migrating: Migrating::Not, at: 0, more: false }) };
                let call = call("migrate", "migrate", wanted.unit.as_str());
                self.give(&call, Subject::path(""), wanted.input()).await?
            }
            By::Shell { working_directory, command } => {
                let call = calls::migrate(working_directory, begin, command, job, from);
                self.ask(&call, Subject::path(working_directory)).await?
            }
        };
        Ok(looked(&answer, from))
    }
}

fn looked(answer: &Answer, from: u64) -> Looked {
    let number = |key: &str| answer.get(key).and_then(|text| text.parse().ok()).unwrap_or(from);
    let migrating = match answer.get("migration") {
        Some("running") => Migrating::Running,
        Some("lost") => Migrating::Lost,
        Some("ended") => ended(answer),
        _ => Migrating::Not,
    };
    let (at, size) = (number("at"), number("size"));
    Looked { migrating, at, more: size > at }
}

/// As systemd has it, or as our shell does: what came of it, `exited`, `killed` or `dumped`, and the code or the signal.
fn ended(answer: &Answer) -> Migrating {
    let mut words = answer.get("how").unwrap_or_default().split(' ');
    let how = match (words.next(), words.next(), words.next()) {
        (_, Some("exited"), Some("0")) => return Migrating::Done,
        (Some("timeout"), ..) => format!("after {} hours, which is as long as it may take", hours(MIGRATION)),
        (Some("oom-kill"), ..) => "for want of memory".to_owned(),
        (_, Some("exited"), Some(code)) => format!("with exit code {code}"),
        (_, Some(_), Some(signal)) => format!("by the signal {signal}"),
        (result, ..) => format!("with {}", result.unwrap_or("nothing")),
    };
    let said: Vec<&str> = answer.all("word").map(str::trim).filter(|line| !line.is_empty()).collect();
    Migrating::Failed { how, said: said.join(" | ") }
}

fn hours(time: Duration) -> u64 {
    time.as_secs() / 3600
}

/// Why it is not begun, in words for a person; none if that is no word of ours.
pub(super) fn words(kind: &str, host: &str, what: &str, said: &str) -> Option<String> {
    (kind == "migrating").then(|| {
        let job = if said.is_empty() { "an earlier job".to_owned() } else { format!("job {said}") };
        format!(
            "the :migrate of {job} still runs on {host}, as {what}; wait for its end there, or end it, and deploy again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_systemd_or_a_shell_saw_it() {
        let table = [
            ("success exited 0", None),
            ("exit-code exited 3", Some("with exit code 3")),
            ("success killed TERM", Some("by the signal TERM")),
            ("success exited 143", Some("with exit code 143")),
            ("timeout killed TERM", Some("after 2 hours, which is as long as it may take")),
            ("timeout exited 124", Some("after 2 hours, which is as long as it may take")),
            ("oom-kill killed KILL", Some("for want of memory")),
        ];
        for (how, told) in table {
            let text = format!("begin\nhow {how}\nword one\nword \nword two\nmigration ended\nat 7\nsize 9\nend\n");
            let looked = looked(&Answer::parse(&text).unwrap(), 0);
            let failed = told.map(|how| Migrating::Failed { how: how.to_owned(), said: "one | two".to_owned() });
            assert_eq!(looked, Looked { migrating: failed.unwrap_or(Migrating::Done), at: 7, more: true }, "{how}");
        }
    }
}
