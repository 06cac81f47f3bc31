//! What came of it, as a status on the commit that was asked about. A git host that does not take it is told in the
//! notes, and changes nothing.

use std::time::Duration;

use super::{Inner, Question};
use crate::forge::api::{Mark, Status, description};
use crate::model::impact::{ImpactView, TrialState};
use crate::pipeline::requests::api;

/// Whose the status is.
const CONTEXT: &str = "airplanes/impact";
/// How often it is tried, with a pause in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

impl Inner {
    pub(super) async fn report_begin(&self, asked: &Question) {
        self.report(asked, Mark::Running, "those that depend on it are being built with it".to_owned()).await;
    }

    pub(super) async fn report_end(&self, asked: &Question, done: &Result<(), String>) {
        let (mark, words) = match done {
            // The next daemon knows nothing of it.
            _ if self.ending.is_cancelled() => (Mark::Error, "broken off: the daemon was stopped".to_owned()),
            _ if asked.stop.is_cancelled() => (Mark::Error, "broken off by a person".to_owned()),
            Err(error) => (Mark::Error, error.clone()),
            Ok(()) => verdict(&asked.view.borrow()),
        };
        self.report(asked, mark, words).await;
    }

    async fn report(&self, asked: &Question, mark: Mark, words: String) {
        let sha = asked.view.borrow().sha;
        let Some(sha) = sha.filter(|_| asked.query.report) else { return };
        let status = Status { sha, mark, context: CONTEXT.to_owned(), description: description(&words), url: None };
        let (rooms, repo) = (self.rooms.load_full(), asked.url.id());
        for tried in 1..=TRIES {
            let why = match api(&rooms, &repo) {
                Ok(api) => match rooms.http.call(&api.status(&status)).await {
                    Ok(reply) => match api.status_taken(&reply) {
                        Ok(()) => return,
                        Err(error) => error.to_string(),
                    },
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            if tried == TRIES || self.ending.is_cancelled() {
                tracing::warn!(%repo, commit = %sha.short(), %why, "a commit's status can't be told");
                asked.note(format!("its status could not be told: {why}"));
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.ending.cancelled() => {}
            }
        }
    }
}

/// What all of it comes to.
fn verdict(view: &ImpactView) -> (Mark, String) {
    let names = |state| view.of(state).map(|app| app.app.to_string()).collect::<Vec<_>>();
    let (breaks, builds) = (names(TrialState::Breaks), names(TrialState::Builds));
    let unknown = names(TrialState::Unknown);
    if !breaks.is_empty() {
        return (Mark::Failure, format!("would break {}", breaks.join(", ")));
    }
    if !unknown.is_empty() {
        return (Mark::Error, format!("could not be tried: {}", unknown.join(", ")));
    }
    match builds.as_slice() {
        [] => (Mark::Success, "nobody who depends on it would break".to_owned()),
        builds => (Mark::Success, format!("builds: {}", builds.join(", "))),
    }
}
