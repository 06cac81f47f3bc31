//! A server made ready: packages, the user that airplanes logs in as, its key, what sudo lets it do, and the program by
//! which units and sites are installed. Also what a host says of itself, and its units started and stopped by hand.
//!
//! What differs between Debian and Ubuntu stands in one table of `scripts/setup_as_root.sh`. Idempotent: each thing is
//! looked at first, and what is as it is to be is said to be the same.

use serde::Serialize;

use super::calls;
use super::error::Error;
use super::install::PROGRAM;
use super::ops::{Remote, Subject};
use super::state::UnitState;
use crate::model::UnitName;

/// What `host setup --install` knows.
pub const WORDS: [&str; 5] = ["java", "postgresql", "nginx", "clojure", "certbot"];

/// What a set-up did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SetUp {
    /// `Debian GNU/Linux 12 (bookworm)`
    pub system: String,
    /// Each thing, in order.
    pub steps: Vec<SetUpStep>,
}

/// One thing of a set-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetUpStep {
    /// What became of it.
    pub state: SetUpState,
    /// What it is.
    pub what: String,
}

/// What became of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SetUpState {
    /// It was so already.
    Unchanged,
    /// It was done.
    Done,
    /// It would be done, were this no dry run.
    Would,
}

/// What a host is and has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct HostStatus {
    /// Its system and version.
    pub system: String,
    /// Its kernel.
    pub kernel: String,
    /// Who we are there.
    pub user: String,
    /// For how many seconds it has been up.
    pub up_seconds: u64,
    /// Each tool that is asked about, and what it says of its version; none if it is not there.
    pub tools: Vec<(String, Option<String>)>,
    /// Whether airplanes-host is there: `same`, `differs` (another version) or `absent`.
    pub program: String,
    /// Its memory, and how much of it is free, in bytes.
    pub memory: (u64, u64),
    /// Its disks: where, how large, and how much is free, in bytes.
    pub disks: Vec<(String, u64, u64)>,
}

/// What is done with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitVerb {
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// It reads its configuration again.
    Reload,
    /// It is stopped and started.
    Restart,
    /// It starts with the system.
    Enable,
}

impl UnitVerb {
    /// As systemctl has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::Enable => "enable",
        }
    }
}

impl Remote<'_> {
    /// Makes the host ready for `user`, who is let in by `key`; `words` of [`WORDS`] are installed.
    pub async fn set_up(&mut self, user: &str, key: Option<&str>, words: &[&str], dry: bool) -> Result<SetUp, Error> {
        let call = calls::setup(user, key, words, dry, PROGRAM.trim_end());
        let answer = self.ask(&call, Subject::path("")).await?;
        let system = answer.get("system").unwrap_or_default();
        let system = system.split_once(' ').map_or(system, |(_, name)| name).to_owned();
        let step = |(key, what): (&str, &str)| {
            let state = match key {
                "same" => SetUpState::Unchanged,
                "did" => SetUpState::Done,
                "would" => SetUpState::Would,
                _ => return None,
            };
            Some(SetUpStep { state, what: what.to_owned() })
        };
        Ok(SetUp { system, steps: answer.lines().filter_map(step).collect() })
    }

    /// What the host is and has. Changes nothing.
    pub async fn status(&mut self) -> Result<HostStatus, Error> {
        let answer = self.ask(&calls::host_status(PROGRAM.trim_end()), Subject::path("")).await?;
        let text = |key: &str| answer.get(key).unwrap_or_default().trim().to_owned();
        let numbers = |line: &str| -> Vec<u64> {
            line.split(' ').map_while(|n| n.parse::<f64>().ok()).map(|n| n as u64).collect()
        };
        let tools = answer.all("tool").map(|line| match line.split_once(' ') {
            Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
            None => (line.to_owned(), None),
        });
        let disks = answer.all("disk").filter_map(|line| {
            let sizes = numbers(line);
            let place = line.rsplit(' ').next().unwrap_or_default().to_owned();
            Some((place, *sizes.first()?, *sizes.get(1)?))
        });
        let memory = numbers(&text("memory"));
        Ok(HostStatus {
            system: text("system"),
            kernel: text("kernel"),
            user: text("user"),
            up_seconds: text("up").parse().unwrap_or(0),
            tools: tools.collect(),
            program: text("program"),
            memory: (memory.first().copied().unwrap_or(0), memory.get(1).copied().unwrap_or(0)),
            disks: disks.collect(),
        })
    }

    /// Starts a unit, stops it, and so on; how it is then.
    pub async fn act_on_unit(&mut self, verb: UnitVerb, unit: &UnitName) -> Result<Option<UnitState>, Error> {
        let answer = self.ask(&calls::unit_verb(verb.as_str(), unit), Subject::path("")).await?;
        Ok(answer.unit())
    }

    /// How a unit is, and as systemd shows it to people, with its last lines.
    pub async fn unit_status(
        &mut self,
        unit: &UnitName,
        lines: u32,
    ) -> Result<(Option<UnitState>, Vec<String>), Error> {
        let answer = self.ask(&calls::unit_status(unit, lines), Subject::path("")).await?;
        Ok((answer.unit(), answer.list("line")))
    }
}

/// Why a set-up did not go on, in words for a person; none if that is no word of its.
pub(super) fn words(kind: &str, host: &str, what: &str, said: &str) -> Option<String> {
    Some(match kind {
        "setup-root" => format!(
            "{host} can't be set up: {said}; log in as root, or as somebody with sudo: `airplanes host setup {host} --login root`"
        ),
        "setup-system" => format!("{host} can't be set up: {said}; only Debian and Ubuntu are known"),
        "setup-word" => format!("it is not known how to install {said}; known are {}", WORDS.join(", ")),
        "setup-failed" => format!("{host} could not {what}: {said}"),
        _ => return None,
    })
}
