//! A job for people: as a row, as a page, and as lines while it goes on.

use jiff::Timestamp;

use super::output::{Paint, ago, columns, plain, table, took, within};
use crate::model::api::{HostView, JobView, StepView};
use crate::model::inbox::JobEvent;
use crate::model::{Bump, Entry, HostResult, Outcome, Progress, Sha, StepResult};

/// How much of a long text is said again.
const BRIEF: usize = 100;

/// Jobs as a table.
pub(super) fn job_table(paint: Paint, jobs: &[JobView], now: Timestamp) -> String {
    let row = |job: &JobView| {
        vec![
            job.id.to_string(),
            within(&job.environments, job.app.to_string()),
            paint.state(&job.state),
            job.sha.map_or_else(String::new, |sha| sha.short()),
            ago(now, job.created_at),
            job.finished_at.map_or_else(String::new, |end| took(job.created_at, end)),
            plain(&beginning(job.reason.as_deref().unwrap_or_default())),
        ]
    };
    let head = ["JOB", "APP", "STATE", "COMMIT", "MADE", "TOOK", "WHY"];
    table(paint, &head, &jobs.iter().map(row).collect::<Vec<_>>())
}

/// One job as a page.
pub(super) fn job_page(paint: Paint, job: &JobView, now: Timestamp) -> String {
    let mut out = format!(
        "{} {} {} {}",
        paint.bold(&job.id.to_string()),
        paint.bold(job.app.as_str()),
        paint.state(&job.state),
        paint.dim(&ago(now, job.created_at))
    );
    if let Some(end) = job.finished_at {
        out.push_str(&paint.dim(&format!(", took {}", took(job.created_at, end))));
    }
    out.push('\n');
    let mut facts: Vec<Vec<String>> = Vec::new();
    let mut fact = |name: &str, text: String| facts.push(vec![paint.dim(name), text]);
    let (of_hosts, of_steps) = errors(job);
    let of_both: Vec<&str> = of_hosts.iter().chain(&of_steps).copied().collect();
    if let Some(reason) = &job.reason {
        fact("reason", brief(reason, &of_both));
    }
    for cause in &job.causes {
        let targets: Vec<String> =
            cause.targets.iter().map(|t| format!("{} {} at {}", t.repo, t.branch, t.after.short())).collect();
        let dropped = cause.dropped.as_ref().map(|why| format!(" (no longer: {})", plain(why))).unwrap_or_default();
        fact("cause", format!("{} {}{dropped}", cause.why, targets.join(", ")).trim().to_owned());
    }
    if !job.waits_for.is_empty() {
        let ids: Vec<String> = job.waits_for.iter().map(ToString::to_string).collect();
        fact("waits for", ids.join(", "));
    }
    if let Some(branch) = &job.branch {
        let from = job.previous_sha.map(|sha| sha.short()).unwrap_or_default();
        let moved = job.sha.filter(|sha| Some(*sha) != job.previous_sha).map(|sha| format!(" -> {}", sha.short()));
        fact("commit", format!("{branch} {from}{}", moved.unwrap_or_default()));
    }
    for bump in &job.bumps {
        fact("bump", bump_line(bump));
    }
    for narrowed in &job.narrowed {
        fact("first bad", plain(&narrowed.to_string()));
    }
    out.push_str(&columns(&facts, "  "));
    out.push_str(&format!("\n{}\n", paint.dim("steps")));
    out.push_str(&columns(&job.steps.iter().map(|step| step_row(paint, step, &of_hosts)).collect::<Vec<_>>(), "  "));
    if !job.hosts.is_empty() {
        out.push_str(&format!("\n{}\n", paint.dim("hosts")));
        out.push_str(&columns(&job.hosts.iter().map(|host| host_row(paint, host)).collect::<Vec<_>>(), "  "));
    }
    out
}

fn step_row(paint: Paint, step: &StepView, of_hosts: &[&str]) -> Vec<String> {
    let time = match (step.started_at, step.finished_at) {
        (Some(start), Some(end)) if step.state != Progress::Skipped => took(start, end),
        _ => String::new(),
    };
    let attempt = if step.attempt > 1 { format!("attempt {}", step.attempt) } else { String::new() };
    let error = step.error.as_deref().map(|error| brief(error, of_hosts)).unwrap_or_default();
    vec![step.name.to_string(), paint.state(word(step.state)), time, format!("{attempt} {error}").trim().to_owned()]
}

fn host_row(paint: Paint, host: &HostView) -> Vec<String> {
    let moved = match (host.previous_sha, host.sha) {
        (Some(from), Some(to)) if from != to => format!("{} -> {}", from.short(), to.short()),
        (from, to) => to.or(from).map_or_else(String::new, |sha| sha.short()),
    };
    vec![
        within(&host.environment, host.name.to_string()),
        paint.state(word(host.state)),
        moved,
        host.error.as_deref().map(plain).unwrap_or_default(),
    ]
}

/// `snow/snow 2455d6ab12 -> 9f1c… in deps.edn`.
pub(super) fn bump_line(bump: &Bump) -> String {
    let short = |text: &str| text.parse::<Sha>().map_or_else(|_| plain(text), |sha| sha.short());
    format!("{} {} -> {} in {}", bump.lib, short(&bump.from), short(&bump.to), plain(&bump.file))
}

/// A text, where what is said in full elsewhere has only its beginning.
fn brief(text: &str, elsewhere: &[&str]) -> String {
    let mut text = text.to_owned();
    for full in elsewhere.iter().filter(|full| full.chars().count() > BRIEF) {
        text = text.replace(*full, &beginning(full));
    }
    plain(&text)
}

/// As much of a text as a line has room for.
fn beginning(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let begin: String = line.chars().take(BRIEF).collect();
    if begin.len() == text.len() { begin } else { format!("{} …", begin.trim_end()) }
}

/// The errors of a job's hosts, and of its steps.
fn errors(job: &JobView) -> (Vec<&str>, Vec<&str>) {
    let hosts = job.hosts.iter().filter_map(|host| host.error.as_deref());
    let steps = job.steps.iter().filter_map(|step| step.error.as_deref());
    (hosts.collect(), steps.collect())
}

/// The API's word.
pub(super) fn word(state: Progress) -> &'static str {
    match state {
        Progress::Pending => "pending",
        Progress::Running => "running",
        Progress::Done => "done",
        Progress::Failed => "failed",
        Progress::Unreachable => "unreachable",
        Progress::RolledBack => "rolled-back",
        Progress::Skipped => "skipped",
    }
}

/// What a journal's entry tells someone who watches. None for what the next line says better.
pub(super) fn event_lines(paint: Paint, event: &JobEvent) -> Vec<String> {
    let job = &event.job;
    let (begun, done, failed, passed) = (paint.cyan("▸"), paint.green("✔"), paint.red("✘"), paint.dim("–"));
    match &event.entry {
        Entry::Created { .. } => vec![format!("{begun} job {} of {}: {}", job.id, job.app, job.state)],
        Entry::Joined { .. } => vec![format!("{begun} a newer event joins it")],
        Entry::CauseDropped { reason, .. } => {
            vec![format!("{passed} no longer for one of its events: {}", plain(reason))]
        }
        Entry::Started => vec![format!("{begun} its turn came")],
        Entry::Resumed => vec![format!("{begun} taken up again after the daemon was stopped")],
        Entry::StepStarted { step } => vec![format!("{begun} {step}")],
        Entry::StepFinished { step, result } => {
            let view = job.steps.iter().find(|s| s.name == *step);
            let time = view.and_then(|s| Some(took(s.started_at?, s.finished_at?))).unwrap_or_default();
            match result {
                StepResult::Done => vec![format!("{done} {step}  {}", paint.dim(&time))],
                StepResult::Skipped { reason } => vec![format!("{passed} {step}  {}", plain(reason))],
                StepResult::Failed { error, retry, .. } => {
                    let again = if *retry { " (will be tried again)" } else { "" };
                    let error = brief(error, &errors(job).0);
                    vec![format!("{failed} {step}  {} {error}{again}", paint.dim(&time))]
                }
            }
        }
        Entry::Based { branch, sha } => vec![format!("  {branch} at {}", sha.short())],
        Entry::Bumped { bumps } | Entry::Updated { bumps, .. } => {
            bumps.iter().map(|bump| format!("  {}", bump_line(bump))).collect()
        }
        Entry::LeftAlone { why } => vec![format!("{begun} {}", plain(why))],
        Entry::Narrowed(narrowed) => vec![format!("{begun} {}", plain(&narrowed.to_string()))],
        Entry::Raced { head } => vec![format!("{begun} someone pushed {} first: once more on top of it", head.short())],
        Entry::Publishing { .. } => Vec::new(),
        Entry::Requested(request) => vec![format!("  pull request {}: {}", request.number, plain(&request.url))],
        Entry::Merged { commit } => vec![format!("  the pull request is merged, as {}", commit.short())],
        Entry::Published { commit } => vec![format!("  the remote has {}", commit.short())],
        Entry::HostStarted { host, .. } => vec![format!("{begun} {host}")],
        Entry::HostRestarting { host, .. } => vec![format!("  {host} restarts")],
        Entry::HostInstalling { host } => vec![format!("  {host} gets what the app runs by there")],
        Entry::HostPreparing { host } => vec![format!("  {host} runs :prepare")],
        Entry::HostPrepared { host } => vec![format!("  {host} is prepared")],
        Entry::Migrating { host } => vec![format!("{begun} :migrate, on {host}")],
        Entry::Migrated { host } => vec![format!("{done} :migrate, on {host}")],
        Entry::RollingBack { reason } => vec![format!("{failed} rolling back: {}", brief(reason, &errors(job).0))],
        Entry::HostReturning { host } => vec![format!("{begun} {host} goes back")],
        Entry::HostFinished { host, result } => match result {
            HostResult::Done { changed: true } => vec![format!("{done} {host}")],
            HostResult::Done { changed: false } => vec![format!("{done} {host}  {}", paint.dim("had it already"))],
            HostResult::RolledBack => vec![format!("{done} {host}  {}", paint.dim("is back at what it ran"))],
            HostResult::Failed { error } | HostResult::Refused { error, .. } | HostResult::PutBack { error } => {
                // The last lines of its unit stand below.
                let mut lines = error.lines().map(plain);
                let first = format!("{failed} {host}  {}", lines.next().unwrap_or_default());
                [first].into_iter().chain(lines.map(|line| format!("    {line}"))).collect()
            }
            HostResult::Unreachable { error } => vec![format!("{failed} {host}  unreachable: {}", plain(error))],
            HostResult::Skipped { reason } => vec![format!("{passed} {host}  {}", plain(reason))],
        },
        Entry::Artifact { sum } => vec![format!("  the file for its hosts is sha256 {}", sum.short())],
        Entry::Waiting(waiting) => vec![format!("{begun} waits {waiting}")],
        Entry::Canceling { by } => vec![format!("{begun} {} cancels it", plain(by))],
        Entry::Ended { outcome, reason } => {
            let mark = match outcome {
                outcome if outcome.is_well() => done,
                Outcome::Skipped | Outcome::Canceled => passed,
                _ => failed,
            };
            let time = took(job.created_at, event.at);
            vec![format!(
                "{mark} {}: {} {}",
                paint.state(outcome.as_str()),
                brief(reason, &[errors(job).0, errors(job).1].concat()),
                paint.dim(&format!("({time})"))
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_told_elsewhere_there_is_its_beginning_and_of_what_comes_after_it_all() {
        let error = format!("unit shop is failed\n{}", "12:00:00 shop[7]: no\n".repeat(9));
        let text = format!("rollout: web-1: {error}; not begun: web-2; the hosts stay as they are");
        let told = "rollout: web-1: unit shop is failed …; not begun: web-2; the hosts stay as they are";
        assert_eq!(brief(&text, &[&error]), told);
        assert_eq!((brief("no", &["no"]), beginning("no"), beginning("")), ("no".into(), "no".into(), String::new()));
        assert_eq!(beginning(&"n".repeat(101)), format!("{} …", "n".repeat(100)));
    }
}
