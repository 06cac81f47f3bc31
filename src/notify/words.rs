//! Notices in words: a title of one line, what happened to what, what to do next. No secret gets past here.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::decide::{Group, ROLLOUT_IN};
use crate::model::notice::{NoticeApp, NoticePush};
use crate::model::rollout::Carried;
use crate::model::{
    AppName, EventKind, Happening, HostState, JobState, NOTICE_VERSION, Notice, Outcome, Progress, Secret, Step, Topic,
    Trouble,
};
use crate::process::Masker;

/// How many apps a notice lists.
const APPS: usize = 20;
/// How much of an error, or of a log's end, is told of one app; of many apps each has less.
const ERROR: usize = 1200;
/// How much of all errors and logs.
const ALL: usize = 8000;
/// How many lines of each.
const LINES: usize = 15;
/// How long a notice's JSON may be: the store keeps 16 KB, with the ways that it goes.
const LONGEST: usize = 12 << 10;

/// What all notices of a moment share.
pub(super) struct Writer<'c> {
    /// `:url`
    pub url: Option<&'c str>,
    /// What must not be told.
    pub secrets: Vec<&'c Secret>,
    pub now: Timestamp,
}

/// A job that a notice is about, as it ended.
pub(super) struct Case {
    pub job: std::sync::Arc<JobState>,
    /// The step that failed.
    pub cause: String,
    /// The end of its log.
    pub log: Option<String>,
}

impl Writer<'_> {
    /// A notice with what every notice has.
    pub fn notice(&self, event: Happening, title: impl Into<String>, next: impl Into<String>) -> Notice {
        Notice {
            version: NOTICE_VERSION,
            id: new_id(),
            at: self.now,
            event,
            title: self.clean(&title.into(), 300, 1),
            detail: None,
            next: next.into(),
            url: self.url.map(|url| format!("{url}/status")),
            push: None,
            apps: Vec::new(),
            more_apps: 0,
            held_back: Vec::new(),
            earlier: Vec::new(),
        }
    }

    /// Of jobs that one event set in motion.
    pub fn of_jobs(
        &self,
        group: &Group,
        cases: &[Case],
        what: Option<&EventKind>,
        held_back: Vec<AppName>,
        troubles: &BTreeMap<Topic, Trouble>,
    ) -> Notice {
        let names: Vec<&str> = cases.iter().take(3).map(|case| case.job.app.name.as_str()).collect();
        let names = match cases.len().saturating_sub(names.len()) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        };
        let mut causes: Vec<&str> = cases.iter().map(|case| case.cause.as_str()).collect();
        causes.sort_unstable();
        causes.dedup();
        let first = cases.first();
        let went_on = cases.iter().all(|case| case.job.outcome().is_some_and(Outcome::is_well));
        let mut notice = if let (true, true, Some(case)) = (group.failed, went_on, first) {
            let narrowed = case.job.narrowed.first().map(ToString::to_string).unwrap_or_default();
            let next = format!(
                "tell its author; {} takes what is newer by itself once its build no longer fails with it",
                case.job.app.name
            );
            self.notice(Happening::AppNarrowed, format!("{names}: {narrowed}"), next)
        } else if group.failed {
            let partly = cases.iter().all(|case| case.job.outcome() == Some(Outcome::Partial));
            let verb = if partly { "went live on some hosts only" } else { "failed" };
            let step = if causes.len() == 1 { format!(" in {}", causes[0]) } else { String::new() };
            let next = first.map_or_else(String::new, |case| {
                let job = case.job.id;
                let app = &case.job.app.name;
                format!(
                    "`airplanes logs {job}` shows it all; push a correction, or `airplanes deploy {app}` tries again"
                )
            });
            self.notice(Happening::AppFailed, format!("{names} {verb}{step}"), next)
        } else {
            let next = "nothing is left to be done";
            self.notice(Happening::AppRecovered, format!("{names} recovered"), next)
        };
        let each = (ALL / cases.len().clamp(1, APPS)).min(ERROR);
        notice.apps = cases.iter().take(APPS).map(|case| self.app(case, group.failed, each)).collect();
        notice.more_apps = cases.len().saturating_sub(APPS);
        if let [app] = notice.apps.as_slice() {
            notice.url.clone_from(&app.url);
        }
        notice.push = what.map(|what| self.push(group, what));
        notice.held_back = held_back.into_iter().take(50).collect();
        let told = group.jobs.iter().filter_map(|(topic, ..)| troubles.get(topic));
        notice.earlier = told.flat_map(|trouble| trouble.notices.iter().cloned()).collect();
        notice.earlier.sort();
        notice.earlier.dedup();
        notice.earlier.truncate(50);
        fit(notice)
    }

    fn app(&self, case: &Case, failed: bool, each: usize) -> NoticeApp {
        let job = &case.job;
        let (error, step) = if failed { failure(job, &case.cause) } else { (None, None) };
        let log = case.log.as_deref().filter(|_| failed).map(|log| self.clean_end(log, each));
        NoticeApp {
            app: job.app.name.clone(),
            job: job.id,
            state: job.outcome().map_or("running", Outcome::as_str).to_owned(),
            step,
            error: error.map(|error| self.clean(&error, each, LINES)),
            log: log.filter(|log| !log.is_empty()),
            commit: job.commit(),
            url: self.url.map(|url| format!("{url}/jobs/{}", job.id)),
        }
    }

    fn push(&self, group: &Group, what: &EventKind) -> NoticePush {
        let none = NoticePush { event: group.event, repo: None, branch: None, sha: None, by: None, subject: None };
        match what {
            EventKind::Push(push) => NoticePush {
                repo: push.repos().into_iter().next(),
                branch: Some(push.branch.clone()),
                sha: Some(push.after),
                by: push.pusher.as_deref().map(|by| self.clean(by, 100, 1)),
                subject: push.subject.as_deref().map(|subject| self.clean(subject, 200, 1)),
                ..none
            },
            EventKind::Tag(tag) => NoticePush {
                repo: tag.repos().into_iter().next(),
                sha: Some(tag.after),
                by: tag.pusher.as_deref().map(|by| self.clean(by, 100, 1)),
                subject: Some(self.clean(&format!("tag {}", tag.tag), 200, 1)),
                ..none
            },
            EventKind::Deploy { by, .. } | EventKind::Rollout { carried: Carried { by, .. }, .. } => {
                NoticePush { by: Some(self.clean(by, 100, 1)), ..none }
            }
        }
    }

    /// A text's first lines, without secrets and control characters.
    pub fn clean(&self, text: &str, bytes: usize, lines: usize) -> String {
        let text = self.masked(text);
        let mut kept: String = text.trim().lines().take(lines).collect::<Vec<_>>().join("\n");
        let cut = kept.len() > bytes || text.trim().lines().nth(lines).is_some();
        while kept.len() > bytes || !kept.is_char_boundary(kept.len()) {
            kept.pop();
        }
        if cut && lines > 1 {
            kept.push_str(" […]");
        }
        kept
    }

    /// A text's last lines, likewise.
    fn clean_end(&self, text: &str, bytes: usize) -> String {
        let text = self.masked(text);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let mut from = lines.len().saturating_sub(LINES);
        while from < lines.len() && lines[from..].iter().map(|line| line.len() + 1).sum::<usize>() > bytes {
            from += 1;
        }
        lines[from..].join("\n")
    }

    fn masked(&self, text: &str) -> String {
        let mut masker = Masker::new(self.secrets.iter().copied());
        let mut bytes = masker.push(text.as_bytes()).into_owned();
        bytes.extend(masker.finish());
        let text = String::from_utf8_lossy(&bytes).replace('\t', "    ");
        text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
    }
}

/// A notice that the store can keep: logs go first, from the last app's on, then errors, then apps.
fn fit(mut notice: Notice) -> Notice {
    let is_long = |notice: &Notice| serde_json::to_vec(notice).map_or(0, |json| json.len()) > LONGEST;
    for place in (1..notice.apps.len()).rev() {
        if is_long(&notice) {
            notice.apps[place].log = None;
        }
    }
    for place in (0..notice.apps.len()).rev() {
        if is_long(&notice) {
            notice.apps[place].error = None;
        }
    }
    while is_long(&notice) && notice.apps.pop().is_some() {
        notice.more_apps += 1;
    }
    notice
}

/// What went wrong in a job, and where: the host's error says more than its step's.
fn failure(job: &JobState, cause: &str) -> (Option<String>, Option<String>) {
    let is_bad = |state: Progress| matches!(state, Progress::Failed | Progress::Unreachable);
    if job.outcome().is_some_and(Outcome::is_well) {
        let narrowed: Vec<String> = job.narrowed.iter().map(ToString::to_string).collect();
        return (Some(narrowed.join("\n")), None);
    }
    if cause == "rollout"
        && let Some(host) = job.hosts.iter().find(|host| is_bad(host.state))
    {
        let error = host.error.clone().unwrap_or_default();
        return (Some(format!("{}: {error}", host.name)), Some(format!("rollout/{}", host.name)));
    }
    let step = job.steps.iter().find(|step| step.state == Progress::Failed);
    let reason = job.ended.as_ref().map(|(_, _, reason)| reason.clone());
    match step {
        Some(step) => (step.error.clone().or(reason), Some(step.step.to_string())),
        None => (reason, None),
    }
}

/// The step that a job failed in, or what it went on without: what makes one failure another than the last.
pub(super) fn cause(job: &JobState) -> String {
    if job.outcome().is_some_and(Outcome::is_well) {
        let without: Vec<String> = job.narrowed.iter().map(|n| format!("{} {}", n.lib, n.bad)).collect();
        return without.join(", ");
    }
    let failed = job.steps.iter().find(|step| step.state == Progress::Failed);
    let Some(failed) = failed else { return "the job".to_owned() };
    let is_ill = |host: &&HostState| !matches!(host.state, Progress::Done | Progress::Skipped);
    let ill: Vec<_> = job.hosts.iter().filter(is_ill).map(|host| &host.name).collect();
    let there =
        job.app.environments_of(if ill.is_empty() { job.hosts.iter().map(|host| &host.name).collect() } else { ill });
    let there: Vec<&str> = there.iter().map(|environment| environment.name.as_str()).collect();
    match (&failed.step, there.is_empty()) {
        (Step::Rollout, false) => format!("{ROLLOUT_IN}{}", there.join(", ")),
        (step, _) => step.to_string(),
    }
}

/// All of a notice as plain text, without its title.
pub(super) fn body(notice: &Notice) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    if let Some(detail) = &notice.detail {
        line(detail.clone());
    }
    if let Some(push) = &notice.push {
        let mut words = Vec::new();
        if let Some(repo) = &push.repo {
            words.push(format!("push to {repo}"));
        }
        words.extend(push.branch.as_ref().map(|branch| branch.to_string()));
        words.extend(push.sha.map(|sha| format!("at {}", sha.short())));
        let verb = if push.repo.is_some() { "by" } else { "asked for by" };
        words.extend(push.by.as_ref().map(|by| format!("{verb} {by}")));
        let subject = push.subject.as_ref().map(|subject| format!(": {subject}")).unwrap_or_default();
        line(format!("{}{subject}", words.join(" ")));
    }
    for app in &notice.apps {
        let step = app.step.as_ref().map(|step| format!(" in {step}")).unwrap_or_default();
        let commit = app.commit.map(|sha| format!(" at {}", sha.short())).unwrap_or_default();
        line(format!("\n{} {}{step}{commit}, job {}", app.app, app.state, app.job));
        let indent = |text: &str| text.lines().map(|l| format!("    {l}")).collect::<Vec<_>>().join("\n");
        if let Some(error) = &app.error {
            line(indent(error));
        }
        if let Some(log) = &app.log {
            line(format!("  the end of its log:\n{}", indent(log)));
        }
        if let Some(url) = app.url.as_ref().filter(|_| notice.apps.len() > 1) {
            line(format!("  {url}"));
        }
    }
    if notice.more_apps > 0 {
        line(format!("\nand {} more apps", notice.more_apps));
    }
    if !notice.held_back.is_empty() {
        let names: Vec<&str> = notice.held_back.iter().map(AppName::as_str).collect();
        line(format!("\nnot begun, since they depend on it: {}", names.join(", ")));
    }
    line(format!("\nWhat to do: {}", notice.next));
    if let Some(url) = &notice.url {
        line(url.clone());
    }
    out.trim().to_owned()
}

/// 128 random bits: the same in every attempt, and in no other notice.
fn new_id() -> String {
    let mut bytes = [0u8; 16];
    // Without random bytes an id of zeros still tells; only a receiver that drops repeats would be misled.
    let _ = getrandom::fill(&mut bytes);
    format!("msg_{}", crate::model::hex(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_of_many_apps_stays_short_enough_for_the_store() {
        let writer =
            Writer { url: Some("https://deploy.example.com"), secrets: Vec::new(), now: Timestamp::UNIX_EPOCH };
        let mut notice = writer.notice(Happening::AppFailed, "twenty failed", "look");
        let one = NoticeApp {
            app: "a-name-as-people-give-them".parse().unwrap(),
            job: crate::model::JobId::NONE,
            state: "failed".into(),
            step: Some("build/test".into()),
            // JSON writes each of these as two.
            error: Some("\"".repeat(400)),
            log: Some("\\".repeat(400)),
            commit: Some("c".repeat(40).parse().unwrap()),
            url: None,
        };
        notice.apps = vec![one; APPS];
        notice.held_back = vec!["another-name".parse().unwrap(); 50];
        notice.earlier = vec![new_id(); 50];
        let fitted = fit(notice.clone());
        assert!(serde_json::to_vec(&fitted).unwrap().len() <= LONGEST);
        assert_eq!(fitted.apps.len() + fitted.more_apps, APPS, "each is named or counted");
        assert!(fitted.apps.len() > APPS / 2 && fitted.apps[0].error.is_some(), "{}", fitted.apps.len());
        notice.apps.truncate(2);
        assert_eq!(fit(notice.clone()), notice);
    }

    #[test]
    fn what_is_told_holds_no_secret_and_is_short() {
        let secret = Secret::new("s", "hunter22");
        let writer = Writer { url: None, secrets: vec![&secret], now: Timestamp::UNIX_EPOCH };
        assert_eq!(writer.clean("pw=hunter22\u{7}\nnext", 100, 5), "pw=***\nnext");
        let long = writer.clean(&"é\n".repeat(100), 100, 5);
        assert_eq!(long, "é\né\né\né\né […]");
        assert!(writer.clean(&"é".repeat(100), 33, 5).starts_with(&"é".repeat(16)));
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        assert!(writer.clean_end(&text, 1000).starts_with("line 85\n"));
        assert_eq!(writer.clean_end(&text, 16), "line 98\nline 99");
        let notice = writer.notice(Happening::Test, "a\nb", "nothing");
        assert_eq!(notice.title, "a");
        assert_eq!(notice.id.len(), 36);
        assert_ne!(notice.id, writer.notice(Happening::Test, "a", "nothing").id);
    }
}
