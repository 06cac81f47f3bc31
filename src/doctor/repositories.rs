//! The apps' repositories: may they be fetched, and where a bump has to be published, pushed to? Asked with the keys,
//! tokens and host keys of a job; nothing is pushed.
//!
//! What a remote decides only when it sees a commit (protected branches, hooks) can't be seen here.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{CHECK, Patient, too_slow};
use crate::forge::api::Api;
use crate::git::{GitError, Heads, Right};
use crate::model::{App, Check};
use crate::net::Http;

/// An app's repository.
pub(super) fn of_app(patient: &Arc<Patient>, app: &App) -> BoxFuture<'static, Vec<Check>> {
    let (patient, app) = (patient.clone(), app.clone());
    Box::pin(async move {
        let group = format!("git {}", app.repo());
        let read = async {
            let asked = patient.git.ask(&app.git_url, Right::Read, &patient.stop);
            match tokio::time::timeout(CHECK, asked).await {
                Ok(Ok(heads)) => branch(&group, &app, &heads),
                Ok(Err(error)) => refused(&patient, &group, "fetch", &app, &error),
                Err(_) => too_slow(&group, "fetch", CHECK),
            }
        };
        let write = async {
            if !app.update {
                return Check::skipped(
                    &group,
                    "push",
                    "not needed: the app has no :update? true, so nothing is pushed",
                );
            }
            let asked = patient.git.ask(&app.git_url, Right::Write, &patient.stop);
            match tokio::time::timeout(CHECK, asked).await {
                Ok(Ok(_)) => {
                    let said = "may push (asked as `git push --dry-run` does; rules of the branch show only at a push)";
                    Check::ok(&group, "push", said)
                }
                Ok(Err(error)) => refused(&patient, &group, "push", &app, &error),
                Err(_) => too_slow(&group, "push", CHECK),
            }
        };
        let (read, write, api) = tokio::join!(read, write, api(&patient, &group, &app));
        [read, write].into_iter().chain(api).collect()
    })
}

/// Whether its git host's API lets us in, where `:forges` has one for it.
async fn api(patient: &Patient, group: &str, app: &App) -> Option<Check> {
    let repo = app.repo();
    let (prefix, forge) = patient.loaded.config.forges.longest(repo.as_str())?;
    let asked = async {
        let api = Api::of(forge, &repo).ok_or_else(|| format!("{repo} is not a project's path"))?;
        let http = Http::new().map_err(|error| error.to_string())?;
        let reply = http.call(&api.project()).await.map_err(|error| error.to_string())?;
        api.done(&reply).map_err(|error| error.to_string())
    };
    let asked = tokio::time::timeout(CHECK, asked).await;
    Some(match asked {
        Ok(Ok(())) => Check::ok(group, "api", "lets us in (what the token may write shows only when it is done)"),
        Ok(Err(said)) => {
            let mend = format!("correct :forges {{\"{prefix}\" …}} in {}", patient.config.display());
            Check::failed(group, "api", said, mend)
        }
        Err(_) => too_slow(group, "api", CHECK),
    })
}

fn branch(group: &str, app: &App, heads: &Heads) -> Check {
    let Some(branch) = app.branch.as_ref().or(heads.head_branch.as_ref()) else {
        let said = format!("{} has no default branch", app.git_url);
        return Check::failed(group, "fetch", said, format!("name one in :branch of {} in deploy.edn", app.name));
    };
    match heads.branches.get(branch) {
        Some(head) => Check::ok(group, "fetch", format!("{branch} of {} is at {}", app.git_url, head.short())),
        None => {
            let names: Vec<&str> = heads.branches.keys().take(10).map(|branch| branch.as_str()).collect();
            let said = format!("{} has no branch {branch}; it has: {}", app.git_url, names.join(", "));
            Check::failed(group, "fetch", said, format!("correct :branch of {} in deploy.edn", app.name))
        }
    }
}

fn refused(patient: &Patient, group: &str, name: &str, app: &App, error: &GitError) -> Check {
    Check::failed(group, name, error.to_string(), mend(patient, error, &format!(":git-url of {}", app.name)))
}

/// What mends an error of git. `from` says where the url stands.
pub(super) fn mend(patient: &Patient, error: &GitError, from: &str) -> String {
    match error {
        GitError::HostUnknown { host, .. } => format!("airplanes host trust {host}"),
        GitError::HostChanged { host, .. } => {
            format!("only if its owner confirms it: airplanes host trust {host} --replace")
        }
        GitError::Auth { .. } => "airplanes keys   (prints the key to paste, and where)".to_owned(),
        GitError::NotFound { .. } => format!("correct {from} in deploy.edn, or let its key in: airplanes keys"),
        GitError::Config(_) => format!("airplanes check --config {}", patient.config.display()),
        GitError::Disk { path, .. } => format!("df -h {}", path.display()),
        _ => format!("see that its host is up and reachable from here: {}", reach(error)),
    }
}

fn reach(error: &GitError) -> String {
    let (GitError::Network { remote, .. } | GitError::NotFound { remote, .. }) = error else {
        return "run this again when it is".to_owned();
    };
    format!("git ls-remote {remote}")
}
