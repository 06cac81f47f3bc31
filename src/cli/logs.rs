//! `logs`: bytes as the steps wrote them to standard output, what they belong to on standard error.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use super::Globals;
use super::board::Board;
use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::follow::Absence;
use super::output::{Paint, print_bytes, say};
use crate::model::api::JobView;
use crate::model::{JobId, Progress, Step};

/// How often a log that goes on is asked for more.
const EVERY: Duration = Duration::from_millis(300);

/// `logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The job's id, `last`, or an app's name for its newest job.
    #[arg(value_name = "JOB|APP")]
    id: String,
    /// One step only: update, build, build/NAME, publish, rollout/HOST.
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// Go on until the job ends, and end with its exit code.
    #[arg(long, short = 'f')]
    follow: bool,
    /// An earlier attempt of the step.
    #[arg(long, value_name = "N", requires = "step")]
    attempt: Option<u32>,
}

pub(super) async fn logs(client: &Client, globals: &Globals, args: LogsArgs) -> Result<Exit, CliError> {
    let id = client.job_named(&args.id).await?;
    let paint = Paint::stderr(globals.color);
    let mut tail =
        Tail { client, paint, id, only: args.step, attempt: args.attempt, logs: BTreeMap::new(), is_whole: true };
    if let (Some(_), false) = (&tail.only, args.follow) {
        tail.one().await?;
        return Ok(Exit::Done);
    }
    let mut absence = Absence::default();
    let mut board = Board::new(globals);
    loop {
        board.clear();
        let round = tail.round().await;
        // What is half a line goes on.
        if let (Ok(round), true, true) = (&round, args.follow, tail.is_whole) {
            board.see(&round.job);
            board.draw();
        }
        match round {
            Ok(Round { read_on: false, .. }) => return Ok(Exit::Done),
            Ok(Round { job, .. }) if job.has_ended() && args.follow => return Ok(Exit::of_job(&job)),
            Ok(_) if !args.follow => return Ok(Exit::Done),
            Ok(_) => absence.over(),
            Err(error @ CliError::Unreachable { .. }) if args.follow && !tail.logs.is_empty() => {
                absence.goes_on(error)?;
            }
            Err(error) => return Err(error),
        }
        sleep(EVERY).await;
    }
}

struct Tail<'c> {
    client: &'c Client,
    paint: Paint,
    id: JobId,
    only: Option<String>,
    attempt: Option<u32>,
    /// How far each attempt's log was read, and whether that was all of it.
    logs: BTreeMap<(String, u32), (u64, bool)>,
    /// Whether what was printed last ended with its line.
    is_whole: bool,
}

struct Round {
    job: JobView,
    /// Whether anyone still reads what we print.
    read_on: bool,
}

impl Tail<'_> {
    /// One step's log as it stands.
    async fn one(&mut self) -> Result<(), CliError> {
        let step = self.only.clone().unwrap_or_default();
        let mut offset = 0;
        loop {
            let part = self.client.log(self.id, &step, self.attempt, offset).await?;
            if !print_bytes(&part.bytes)? || part.bytes.is_empty() || part.complete {
                return Ok(());
            }
            offset = part.next;
        }
    }

    /// Prints what is new in every log that has begun. The job is asked first: if it had ended then, this is all.
    async fn round(&mut self) -> Result<Round, CliError> {
        let job = self.client.job(self.id).await?;
        for (step, attempt) in begun(&job) {
            if self.only.as_ref().is_some_and(|only| *only != step) {
                continue;
            }
            let attempt = self.attempt.unwrap_or(attempt);
            if !self.drain(step, attempt).await? {
                return Ok(Round { job, read_on: false });
            }
        }
        Ok(Round { job, read_on: true })
    }

    async fn drain(&mut self, step: String, attempt: u32) -> Result<bool, CliError> {
        let key = (step, attempt);
        loop {
            let (offset, complete) = self.logs.get(&key).copied().unwrap_or_default();
            if complete {
                return Ok(true);
            }
            let part = self.client.log(self.id, &key.0, Some(attempt), offset).await?;
            if offset == 0 && !part.bytes.is_empty() && self.only.is_none() {
                let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                say(&self.paint.bold(&format!("==> {}{again}", key.0)));
            }
            if !print_bytes(&part.bytes)? {
                return Ok(false);
            }
            if let Some(last) = part.bytes.last() {
                self.is_whole = *last == b'\n';
            }
            self.logs.insert(key.clone(), (part.next, part.complete));
            if part.bytes.is_empty() || part.complete {
                return Ok(true);
            }
        }
    }
}

/// The logs that have begun, in order, each with its newest attempt.
fn begun(job: &JobView) -> Vec<(String, u32)> {
    let mut logs = Vec::new();
    for step in job.steps.iter().filter(|step| step.attempt > 0) {
        logs.push((step.name.to_string(), step.attempt));
        if step.name == Step::Rollout {
            let hosts = job.hosts.iter().filter(|h| h.state != Progress::Pending);
            logs.extend(hosts.map(|host| (format!("rollout/{}", host.name), step.attempt)));
        }
    }
    logs
}
