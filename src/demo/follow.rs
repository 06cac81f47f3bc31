//! Follows jobs as anyone with the token can, over HTTP, and says what is new.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::error::DemoError;
use super::screen::{News, Tone};
use crate::model::api::{JobList, JobView};
use crate::model::{JobId, Outcome, Progress, Step};

/// The daemon's HTTP, with the operator's token.
pub(super) struct Api {
    pub client: reqwest::Client,
    /// `http://127.0.0.1:40123`
    pub url: String,
    pub token: String,
    pub log: PathBuf,
}

impl Api {
    /// The newest jobs, oldest first.
    pub async fn jobs(&self) -> Result<Vec<JobView>, DemoError> {
        let url = format!("{}/jobs?limit=20", self.url);
        let text = self.get(&url).await?;
        let list: JobList = serde_json::from_str(&text).map_err(|why| self.failed(&url, why.to_string()))?;
        let mut jobs = list.jobs;
        jobs.reverse();
        Ok(jobs)
    }

    /// A step's log so far.
    pub async fn log(&self, job: JobId, step: &str) -> Result<String, DemoError> {
        self.get(&format!("{}/jobs/{job}/logs/{step}", self.url)).await
    }

    /// What an app answers; no error, since an app that does not answer is something to show.
    pub async fn ask(&self, url: &str) -> Result<String, String> {
        let asked = self.client.get(url).timeout(Duration::from_secs(5)).send().await;
        match asked.and_then(reqwest::Response::error_for_status) {
            Ok(answer) => answer.text().await.map(|text| text.trim().to_owned()).map_err(|why| why.to_string()),
            Err(why) => Err(why.to_string()),
        }
    }

    async fn get(&self, url: &str) -> Result<String, DemoError> {
        let call = self.client.get(url).bearer_auth(&self.token).timeout(Duration::from_secs(10));
        let answer = call.send().await.map_err(|why| self.failed(url, why.to_string()))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|why| self.failed(url, why.to_string()))?;
        if status.is_success() { Ok(text) } else { Err(self.failed(url, format!("{status} {text}"))) }
    }

    fn failed(&self, url: &str, why: String) -> DemoError {
        DemoError::Http { url: url.to_owned(), why, log: self.log.clone() }
    }
}

/// What has been told of each job.
#[derive(Default)]
pub(super) struct Follower {
    told: BTreeMap<JobId, JobView>,
}

impl Follower {
    /// What is new since the last time.
    pub fn news(&mut self, jobs: &[JobView]) -> Vec<News> {
        let mut all = Vec::new();
        for job in jobs {
            all.extend(news(self.told.get(&job.id), job));
            self.told.insert(job.id, job.clone());
        }
        all
    }
}

/// What a job is doing just now.
pub(super) fn now(job: &JobView) -> String {
    if let Some(host) = job.hosts.iter().find(|host| host.state == Progress::Running) {
        return format!("{}: {}", job.app, host.name);
    }
    match job.steps.iter().find(|step| step.state == Progress::Running) {
        Some(step) => format!("{}: {}", job.app, step.name),
        None => format!("{}: {}", job.app, job.state),
    }
}

fn news(before: Option<&JobView>, job: &JobView) -> Vec<News> {
    let mut all = Vec::new();
    if before.is_none() {
        let why: Vec<String> = job.causes.iter().map(why).collect();
        all.push(News::new("job", format!("{} {}: {}", job.app, job.id, why.join("; ")), Tone::Plain));
    }
    for (i, step) in job.steps.iter().enumerate() {
        let was = before.and_then(|job| job.steps.get(i)).map(|step| step.state);
        // The hosts speak for a rollout.
        if was == Some(step.state) || (step.name == Step::Rollout && step.state == Progress::Done) {
            continue;
        }
        let error = step.error.clone().unwrap_or_default();
        let name = step.name.to_string();
        match step.state {
            Progress::Done => {
                let took = took(step.started_at, step.finished_at);
                let text = match step.name {
                    Step::Update => update(job),
                    Step::Publish => publish(job),
                    _ => "done".to_owned(),
                };
                all.push(News::new(name, format!("{text}{took}"), Tone::Good));
            }
            Progress::Failed => all.push(News::new(name, error, Tone::Bad)),
            Progress::Skipped if job.finished_at.is_none() => all.push(News::new(name, error, Tone::Plain)),
            _ => {}
        }
    }
    for (i, host) in job.hosts.iter().enumerate() {
        let was = before.and_then(|job| job.hosts.get(i)).map(|host| host.state);
        if was == Some(host.state) {
            continue;
        }
        let name = host.name.as_str();
        match (host.state, &host.error) {
            (Progress::Done, _) => {
                let sha = host.sha.map(|sha| sha.short()).unwrap_or_default();
                all.push(News::new(name, format!("restarted, healthy, at {sha}"), Tone::Good));
            }
            (Progress::Pending | Progress::Running, _) => {}
            (Progress::Skipped, _) => all.push(News::new(name, "its turn never came", Tone::Bad)),
            (_, error) => all.push(News::new(name, error.clone().unwrap_or_default(), Tone::Bad)),
        }
    }
    if job.has_ended() && before.is_none_or(|before| !before.has_ended()) {
        let well = Outcome::ALL.iter().any(|outcome| outcome.is_well() && outcome.as_str() == job.state);
        let tone = if well { Tone::Good } else { Tone::Bad };
        let reason = job.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        all.push(News::new(job.app.as_str(), format!("{}{reason}", job.state), tone));
    }
    all
}

fn why(cause: &crate::model::api::CauseView) -> String {
    let targets = cause.targets.iter().map(|target| format!("{} is at {}", target.repo.short(), target.after.short()));
    let targets: Vec<String> = targets.collect();
    if targets.is_empty() { cause.why.clone() } else { format!("{}, {}", cause.why, targets.join(", ")) }
}

fn update(job: &JobView) -> String {
    let short = |sha: &str| sha.chars().take(10).collect::<String>();
    let bumps = job
        .bumps
        .iter()
        .map(|bump| format!("{} {} -> {} in {}", bump.lib, short(&bump.from), short(&bump.to), bump.file));
    let bumps: Vec<String> = bumps.collect();
    if bumps.is_empty() { "nothing to bump".to_owned() } else { bumps.join(", ") }
}

fn publish(job: &JobView) -> String {
    let branch = job.branch.as_ref().map(|branch| branch.as_str()).unwrap_or_default();
    format!("{branch} is {}", job.sha.map(|sha| sha.short()).unwrap_or_default())
}

fn took(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!(" ({:.1} s)", to.duration_since(from).as_secs_f32()),
        _ => String::new(),
    }
}
