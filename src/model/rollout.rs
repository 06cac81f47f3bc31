//! How a commit is brought to an app's hosts: so many at a time, and what is done when one of them fails. Plain data, with
//! the one rule that is the same in plans, pages and rollouts: which host is in which batch.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::JobId;
use super::names::{Branch, EnvName, FileSum, HostName, Sha};
use super::progress::Progress;

/// `:rollout` of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// How many more hosts each batch takes in; the last is repeated until all are done. Never empty.
    pub batches: Vec<Batch>,
    /// So many hosts may fail, and the rollout goes on.
    pub max_failures: u32,
    /// How long it waits between two batches.
    pub pause: Duration,
    /// What becomes of the changed hosts when more fail.
    pub on_failure: OnFailure,
    /// What becomes of the rollout where a host can't be reached.
    pub unreachable: Unreachable,
    /// How many hosts of a batch are worked on at once; at least one.
    pub parallel: u32,
    /// Where a host has the commit from.
    #[serde(default)]
    pub ship: Ship,
    /// What runs on every host before any is touched, by the host's shell in the new commit's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare: Option<String>,
    /// What runs then, once and on one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<String>,
    /// Whether what ran before runs well with what that has changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reversible: bool,
}

/// Where a host has a commit from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ship {
    /// It fetches from the app's repository, with access of its own.
    #[default]
    Pull,
    /// It is sent what it lacks, and needs no access to the repository.
    Push,
    /// It is sent one file that the build made, and has neither clone nor git.
    Artifact(Artifact),
}

/// `:artifact`: what a host is sent instead of commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The file, from the folder on in which the build's commands begin.
    pub path: String,
    /// How many releases before the one in force stay on a host.
    pub keep: u32,
}

impl Artifact {
    /// The file's name in a release.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl Ship {
    /// The file that hosts are sent, if it is one.
    pub fn artifact(&self) -> Option<&Artifact> {
        match self {
            Ship::Artifact(artifact) => Some(artifact),
            Ship::Pull | Ship::Push => None,
        }
    }
}

/// How many more hosts: a number, or a share of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Batch {
    /// So many.
    Hosts(u32),
    /// So many percent of all, rounded up.
    Percent(u8),
}

/// What is done about the hosts that were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They go back to what they ran.
    Rollback,
    /// All stay as they are, for a person to look at.
    Halt,
}

/// What a host that can't be reached does to the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unreachable {
    /// It has failed; before anything was changed nothing is.
    Fail,
    /// It is passed by, and catches up when it is back.
    Skip,
}

/// A rollout without a build: of a commit that another job built and published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The job that built it.
    pub of: JobId,
    /// The commit.
    pub commit: Sha,
    /// Where hosts are sent a file: which of those that were built of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<FileSum>,
    /// The branch that it is on.
    pub branch: Branch,
    /// Only these hosts; all of the app's if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostName>,
    /// What for.
    #[serde(flatten)]
    pub because: Because,
    /// Who wants it.
    pub by: String,
}

/// What a rollout without a build is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Because {
    /// Somebody took a commit back.
    Rollback {
        /// It.
        bad: Sha,
    },
    /// Its hosts were away when the others got the commit.
    CatchUp,
    /// An environment gets what the one before it runs.
    Promote {
        /// Where it comes from.
        from: EnvName,
        /// Where it goes.
        to: EnvName,
    },
}

/// How long `:migrate` may take: it is ended half-way then, and an index on a big table takes its time.
pub const MIGRATION: Duration = Duration::from_secs(2 * 3600);

impl Because {
    /// Its word in pages.
    pub fn word(&self) -> &'static str {
        match self {
            Because::Rollback { .. } => "rollback",
            Because::CatchUp => "catch-up",
            Because::Promote { .. } => "promote",
        }
    }
}

impl Rollout {
    /// How a commit that was live before gets to hosts: one that fails is left for a person and keeps the others from
    /// nothing, one that is away is passed by, nobody waits between batches, and nothing is migrated; prepared is what `is_new` to them.
    pub fn of_carried(self, is_new: bool) -> Self {
        let (on_failure, unreachable) = (OnFailure::Halt, Unreachable::Skip);
        Self {
            max_failures: u32::MAX,
            pause: Duration::ZERO,
            on_failure,
            unreachable,
            prepare: self.prepare.filter(|_| is_new),
            migrate: None,
            ..self
        }
    }
}

impl Default for Rollout {
    /// Without a `:rollout`: one host after the other, until one fails.
    fn default() -> Self {
        Self {
            batches: vec![Batch::Hosts(1)],
            max_failures: 0,
            pause: Duration::ZERO,
            on_failure: OnFailure::Halt,
            unreachable: Unreachable::Skip,
            parallel: 10,
            ship: Ship::Pull,
            prepare: None,
            migrate: None,
            reversible: false,
        }
    }
}

impl Rollout {
    /// Whether it is what an app has without a word.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
    /// What it waits for, what ends it, and what is done then. `holds` says whether a way back holds the app.
    pub fn words(&self, holds: bool) -> Vec<String> {
        let mut words =
            vec![format!("{} of a batch at once; a batch begins once the one before is healthy", self.parallel)];
        if !self.pause.is_zero() {
            words.push(format!("{} s between two batches", self.pause.as_secs_f32()));
        }
        let stays = self.migrate.is_some() && !self.reversible;
        let then = match self.on_failure {
            OnFailure::Rollback if stays => "the changed hosts stay as they are, since :migrate is not :reversible?",
            OnFailure::Rollback if holds => "the changed hosts go back to what they ran, and the app is held",
            OnFailure::Rollback => "the changed hosts go back to what they ran",
            OnFailure::Halt => "nothing more is begun",
        };
        words.push(match self.max_failures {
            u32::MAX => "a host that fails keeps the others from nothing".to_owned(),
            0 => format!("when a host fails, {then}"),
            most => format!("when more than {most} fail, {then}"),
        });
        if let Ship::Artifact(Artifact { path, keep }) = &self.ship {
            words.push(format!(
                "each host is sent {path} into releases/SHA-SUM, and `current` leads to it; {keep} older releases stay"
            ));
        }
        if let Some(prepare) = &self.prepare {
            words.push(format!("before any host is touched, all run `{prepare}`"));
        }
        if let Some(migrate) = &self.migrate {
            let after = match self.reversible {
                true => "",
                false => "; after it no host goes back by itself",
            };
            words.push(format!("before any host is touched, the first runs `{migrate}`, once{after}"));
        }
        words.push(match self.unreachable {
            Unreachable::Skip => "a host that can't be reached is passed by, and catches up when it is back".to_owned(),
            Unreachable::Fail => "a host that can't be reached has failed".to_owned(),
        });
        words
    }
    /// Whether a host that ended so counts as one that failed. One that is back before the others are was put back when it
    /// failed.
    pub fn counts_as_failed(&self, state: Progress) -> bool {
        match state {
            Progress::Failed | Progress::RolledBack => true,
            Progress::Unreachable => self.unreachable == Unreachable::Fail,
            _ => false,
        }
    }
    /// Whether more of an environment's hosts, as they stand, have failed than may: nothing more is begun.
    pub fn is_over(&self, hosts: impl IntoIterator<Item = Progress>) -> bool {
        let failed = hosts.into_iter().filter(|state| self.counts_as_failed(*state)).count();
        u32::try_from(failed).unwrap_or(u32::MAX) > self.max_failures
    }
    /// How large each batch of so many hosts is, in order: together all of them.
    pub fn sizes(&self, hosts: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        let mut left = hosts;
        let mut batches = self.batches.iter();
        let mut batch = Batch::Hosts(1);
        while left > 0 {
            batch = batches.next().copied().unwrap_or(batch);
            let size = match batch {
                Batch::Hosts(count) => usize::try_from(count).unwrap_or(hosts),
                Batch::Percent(share) => (hosts * usize::from(share)).div_ceil(100),
            };
            let size = size.clamp(1, left);
            sizes.push(size);
            left -= size;
        }
        sizes
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Batch::Hosts(count) => write!(f, "{count}"),
            Batch::Percent(share) => write!(f, "{share}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_number_or_a_share_of_all_rounded_up_and_the_last_goes_on_until_all_are_done() {
        use Batch::{Hosts, Percent};
        let table: [(&[Batch], usize, &[usize]); 10] = [
            (&[Hosts(1)], 3, &[1, 1, 1]),
            (&[Hosts(1), Percent(25), Percent(100)], 10, &[1, 3, 6]),
            (&[Hosts(1), Percent(25), Percent(100)], 1, &[1]),
            (&[Hosts(1), Percent(25)], 10, &[1, 3, 3, 3]),
            (&[Percent(10)], 4, &[1, 1, 1, 1]),
            (&[Percent(34)], 3, &[2, 1]),
            (&[Hosts(99)], 4, &[4]),
            (&[Hosts(0)], 2, &[1, 1]),
            (&[], 2, &[1, 1]),
            (&[Percent(100)], 0, &[]),
        ];
        for (batches, hosts, sizes) in table {
            let rollout = Rollout { batches: batches.to_vec(), ..Rollout::default() };
            assert_eq!(rollout.sizes(hosts), sizes, "{batches:?} of {hosts}");
        }
    }
}
