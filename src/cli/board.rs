//! A rollout as it goes, at a terminal: one line a host below all that is told, written over as things change. Where
//! standard error is no terminal nothing of it is written.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::output::{Paint, plain, say};
use super::show::word;
use super::{Color, Globals};
use crate::model::api::{HostView, JobView};
use crate::model::{HostName, Progress, Step};

/// So many hosts have a line; the others are counted.
const MOST: usize = 20;
/// How often the seconds move.
pub(super) const EVERY: Duration = Duration::from_millis(250);

/// The lines of a job's hosts.
pub(super) struct Board {
    paint: Paint,
    on: bool,
    /// How many lines stand there.
    drawn: usize,
    job: Option<JobView>,
    /// Since when each host does what it does.
    since: BTreeMap<HostName, (String, Instant)>,
}

impl Board {
    /// An empty one.
    pub fn new(globals: &Globals) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let on = io::stderr().is_terminal() && !is_dumb && globals.color != Color::Never;
        Self { paint: Paint::stderr(globals.color), on, drawn: 0, job: None, since: BTreeMap::new() }
    }
    /// A line that stays, above the hosts'.
    pub fn say(&mut self, line: &str) {
        self.clear();
        say(line);
    }
    /// The job as it is now.
    pub fn see(&mut self, job: &JobView) {
        for host in &job.hosts {
            let doing = doing(host);
            if self.since.get(&host.name).is_none_or(|(before, _)| *before != doing) {
                self.since.insert(host.name.clone(), (doing, Instant::now()));
            }
        }
        self.job = Some(job.clone());
    }
    /// Takes the hosts' lines away.
    pub fn clear(&mut self) {
        if self.drawn > 0 {
            // Up, and all below away.
            self.write(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }
    /// Writes the hosts' lines, in place of those before.
    pub fn draw(&mut self) {
        let Some(job) = self.job.as_ref().filter(|_| self.on) else { return };
        let is_rollout =
            |step: &crate::model::api::StepView| step.name == Step::Rollout && step.state == Progress::Running;
        if job.has_ended() || !job.steps.iter().any(is_rollout) {
            return self.clear();
        }
        let seconds = |host: &HostView| self.since.get(&host.name).map_or(0, |(_, since)| since.elapsed().as_secs());
        let lines = lines(self.paint, job, seconds);
        // A line that is too long is cut by the terminal.
        let mut text = String::from("\x1b[?7l");
        for line in &lines {
            text.push_str(&format!("{line}\n"));
        }
        text.push_str("\x1b[?7h");
        self.clear();
        self.drawn = lines.len();
        self.write(&text);
    }
    fn write(&self, text: &str) {
        let mut err = io::stderr().lock();
        // Who does not see it misses nothing that is not told otherwise.
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

/// What a host does, or how it stands.
fn doing(host: &HostView) -> String {
    host.doing.clone().unwrap_or_else(|| word(host.state).to_owned())
}

/// A line a host; those that wait are counted where there are too many.
fn lines(paint: Paint, job: &JobView, seconds: impl Fn(&HostView) -> u64) -> Vec<String> {
    let width = job.hosts.iter().map(|host| host.name.as_str().len()).max().unwrap_or(0);
    let mut shown: Vec<&HostView> = job.hosts.iter().collect();
    if shown.len() > MOST {
        let weight = |host: &&HostView| match host.state {
            Progress::Running => 0,
            Progress::Failed | Progress::Unreachable => 1,
            Progress::Pending => 3,
            _ => 2,
        };
        shown.sort_by_key(weight);
        shown.truncate(MOST);
        shown.sort_by_key(|host| job.hosts.iter().position(|other| other.name == host.name));
    }
    let mut lines: Vec<String> = shown
        .iter()
        .map(|host| {
            let mark = match host.state {
                Progress::Done | Progress::RolledBack => paint.green("✔"),
                Progress::Failed | Progress::Unreachable => paint.red("✘"),
                Progress::Running => paint.cyan("▸"),
                Progress::Pending | Progress::Skipped => paint.dim("·"),
            };
            let name = format!("{:width$}", host.name.as_str());
            let told = match (host.state, &host.error) {
                (Progress::Pending, None) if host.doing.is_some() => doing(host),
                (Progress::Running, _) => format!("{} {}", doing(host), paint.dim(&format!("{} s", seconds(host)))),
                (state, Some(error)) => {
                    let first = plain(error.lines().next().unwrap_or_default());
                    format!("{} {}", paint.state(word(state)), paint.dim(&first))
                }
                (state, None) => paint.state(word(state)),
            };
            format!("{mark} {name}  {told}")
        })
        .collect();
    if job.hosts.len() > shown.len() {
        let left = job.hosts.len() - shown.len();
        let done = job.hosts.iter().filter(|host| host.state == Progress::Done).count();
        lines.push(paint.dim(&format!("  and {left} more; {done} of {} done", job.hosts.len())));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_line_and_where_there_are_too_many_those_that_do_nothing_are_counted() {
        let host = |n: usize, state, doing: Option<&str>| HostView {
            name: format!("web-{n}").parse().unwrap(),
            environment: None,
            state,
            doing: doing.map(str::to_owned),
            sha: None,
            previous_sha: None,
            error: (state == Progress::Failed).then(|| "it died\nand its last lines".to_owned()),
            locked: false,
        };
        let mut job: JobView = serde_json::from_value(serde_json::json!({
            "id": "1m82rd0hh0000-000", "kind": "app", "app": "shop", "state": "running", "reason": null,
            "event": "1m82rd0hh0000", "causes": [], "wave": 0, "waits_for": [], "branch": null, "sha": null,
            "previous_sha": null, "created_at": "2026-11-22T10:00:00Z", "finished_at": null, "steps": [], "hosts": [],
            "bumps": [], "seq": 1
        }))
        .unwrap();
        job.hosts = vec![
            host(1, Progress::Done, None),
            host(2, Progress::Running, Some("restarting, until healthy")),
            host(3, Progress::Failed, None),
            host(10, Progress::Pending, None),
        ];
        let paint = Paint::stderr(Color::Never);
        let seen = lines(paint, &job, |_| 7);
        assert_eq!(
            seen,
            [
                "✔ web-1   done",
                "▸ web-2   restarting, until healthy 7 s",
                "✘ web-3   failed it died",
                "· web-10  pending"
            ]
        );
        job.hosts.extend((11..40).map(|n| host(n, Progress::Pending, None)));
        let seen = lines(paint, &job, |_| 7);
        assert_eq!((seen.len(), seen[MOST].as_str()), (MOST + 1, "  and 13 more; 1 of 33 done"));
    }
}
