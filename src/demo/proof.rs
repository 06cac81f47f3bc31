//! Whether what was promised really is so: looked up where it matters, in the bare repository, on the hosts and over
//! HTTP, and not taken from the daemon's word.

use super::command::git;
use super::error::DemoError;
use super::follow::Api;
use super::stage::{BRANCH, Stage};
use crate::model::Sha;
use crate::model::api::JobView;

/// What the library's push was.
#[derive(Debug, Clone)]
pub(super) struct Pushed {
    /// The library's head before.
    pub before: String,
    /// The library's head now.
    pub after: String,
    /// What it says now.
    pub greeting: String,
}

/// What git has to show of the app after a job; blocks.
pub(super) struct Seen {
    /// `git diff` of deps.edn.
    pub diff: String,
    /// `git show --stat`.
    pub commit: String,
}

/// The diff and the commit that a job published.
pub(super) fn seen(stage: &Stage, before: Sha, after: Sha, color: &str) -> Result<Seen, DemoError> {
    let bare = stage.bare_hello();
    let after = after.to_string();
    let diff = git(&bare, &["diff", color, &before.to_string(), &after, "--", "deps.edn"])?;
    let commit = git(&bare, &["show", color, "--stat", "--format=fuller", &after])?;
    Ok(Seen { diff, commit })
}

/// Everything that is missing in git and on the hosts; blocks.
pub(super) fn missing_in_git(stage: &Stage, job: &JobView, pushed: &Pushed) -> Result<Vec<String>, DemoError> {
    let mut missing = Vec::new();
    let mut want = |so: bool, what: String| {
        if !so {
            missing.push(what);
        }
    };
    let bare = stage.bare_hello();
    let first = stage.first.to_string();
    let read = |at: &str| git(&bare, &["show", &format!("{at}:deps.edn")]);
    let head = git(&bare, &["rev-parse", BRANCH])?.trim().to_owned();
    want(job.state == "succeeded", format!("the job ended as {}, not as succeeded", job.state));
    want(
        job.sha.is_some_and(|sha| sha.to_string() == head),
        format!("hello's {BRANCH} is {head}, not the job's commit"),
    );
    let commits = git(&bare, &["rev-list", &format!("{first}..{BRANCH}")])?;
    want(commits.lines().count() == 1, format!("not one commit, but {}, was pushed", commits.lines().count()));
    let files = git(&bare, &["diff", "--name-only", &first, BRANCH])?;
    want(files.trim() == "deps.edn", format!("the commit changes {:?}, not deps.edn alone", files.trim()));
    // The first sha in the file is the dependency's; the second is in a discarded form, and has to stay.
    let expected = read(&first)?.replacen(&pushed.before, &pushed.after, 1);
    want(read(BRANCH)? == expected, "deps.edn differs in more, or other, than the one sha".to_owned());
    let message = git(&bare, &["log", "-1", "--format=%B", BRANCH])?;
    let trailer = format!("Airplanes-Job: {}", job.id);
    want(message.lines().any(|line| line == trailer), format!("the commit has no trailer `{trailer}`"));
    want(message.contains("Airplanes-Bump: acme/greeting"), "the commit has no trailer Airplanes-Bump".to_owned());
    for host in &stage.hosts {
        let at = stage.on(host, "git rev-parse HEAD")?.trim().to_owned();
        want(at == head, format!("{} is at {at}, not at {head}", host.name));
    }
    Ok(missing)
}

/// What the app answers on each host, by its name, as `curl` would see it.
pub(super) async fn answers(stage: &Stage, api: &Api) -> Vec<(&'static str, String, Result<String, String>)> {
    let mut all = Vec::new();
    for host in &stage.hosts {
        let url = stage.app_url(host);
        let answer = api.ask(&url).await;
        all.push((host.name, url, answer));
    }
    all
}

/// What the answers lack of the new version.
pub(super) fn missing_in_answers(
    answers: &[(&'static str, String, Result<String, String>)],
    pushed: &Pushed,
) -> Vec<String> {
    let new = |answer: &str| answer.contains(&pushed.greeting) && answer.contains(&pushed.after[..10]);
    let old = answers.iter().filter(|(_, _, answer)| !answer.as_ref().is_ok_and(|answer| new(answer)));
    old.map(|(name, url, answer)| match answer {
        Ok(answer) => format!("{name} does not answer with the new version: {url} says {answer:?}"),
        Err(why) => format!("{name} does not answer: {url}: {why}"),
    })
    .collect()
}

/// Whether the build found the private library with no key: in the daemon's mirror.
pub(super) async fn missing_in_build(api: &Api, job: &JobView) -> Result<Vec<String>, DemoError> {
    let log = api.log(job.id, "build/resolve").await?;
    let from_mirror = log.lines().any(|line| line.starts_with("greeting ") && line.contains(" from file://"));
    Ok(if from_mirror { Vec::new() } else { vec![format!("the build did not use the daemon's mirror: {log:?}")] })
}
