//! Exit codes: a contract with scripts, so all of them stand here and none ever changes its meaning.

use std::process::ExitCode;

use crate::model::api::JobView;
use crate::model::{Outcome, Progress, Step};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done, or was done already.
    Done = 0,
    /// It is not, for a reason without a code of its own.
    Error = 1,
    /// The command line or the configuration can't be understood. clap's own code too.
    Usage = 2,
    /// The job's build failed.
    BuildFailed = 3,
    /// The job's hosts are back at what they ran.
    RolledBack = 4,
    /// Some hosts run the new commit, and some do not.
    Partial = 5,
    /// Held, locked, ended already, or not allowed.
    Refused = 6,
    /// The daemon does not answer.
    Unreachable = 7,
}

impl Exit {
    /// The code of a job's end; of a job under way, `Done`.
    pub fn of_job(job: &JobView) -> Self {
        let outcome = Outcome::ALL.into_iter().find(|o| o.as_str() == job.state);
        match outcome {
            None | Some(Outcome::Succeeded | Outcome::Unchanged) => Self::Done,
            Some(Outcome::Partial) => Self::Partial,
            Some(Outcome::RolledBack) => Self::RolledBack,
            Some(Outcome::Failed) if job.steps.iter().any(is_failed_build) => Self::BuildFailed,
            Some(Outcome::Failed) if is_locked_out(job) => Self::Refused,
            Some(Outcome::Failed | Outcome::Canceled | Outcome::Skipped | Outcome::Parked) => Self::Error,
        }
    }
}

/// Whether nothing but other people's locks kept it from its hosts.
fn is_locked_out(job: &JobView) -> bool {
    let mut failed =
        job.hosts.iter().filter(|host| !matches!(host.state, Progress::Done | Progress::Skipped)).peekable();
    failed.peek().is_some() && failed.all(|host| host.locked)
}

fn is_failed_build(step: &crate::model::api::StepView) -> bool {
    matches!(step.name, Step::Build(_)) && step.state == Progress::Failed
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
