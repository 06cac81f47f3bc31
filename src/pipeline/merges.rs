//! Merging pull requests of our own, where `:auto-merge?` says so: once all checks of others are good, and all that its
//! branch demands are there. A host that names no demands may have checks that take a while to appear: it has
//! `:checks-within` (config.edn) for them.
//!
//! Must never merge what somebody else has pushed, or what would bring a held app or library on.

use std::time::Duration;

use super::Inner;
use super::requests::{RequestError, api};
use crate::forge::api::{Api, ApiError, Check, Checks, Demanded, Life, NotYet, PullRequest};
use crate::model::{Branch, JobState, Request, Sha};
use crate::net::Http;

/// How many pages of checks are read at the most.
const PAGES: usize = 50;

impl Inner {
    /// Merges a pull request whose checks are good; else says why not yet: that its branch has left it behind only where
    /// nothing else is in the way. `waited` is how long it has been open at the
    /// least.
    pub(super) async fn merge_request(
        &self,
        job: &JobState,
        request: &Request,
        seen: &PullRequest,
        waited: Duration,
    ) -> Result<Result<(), NotYet>, RequestError> {
        let because = |words: String| Ok(Err(NotYet::Because(words)));
        let is_behind = match &seen.state {
            Life::Open(Err(NotYet::Because(why))) => return because(why.clone()),
            Life::Open(Err(NotYet::Behind)) => true,
            Life::Open(Ok(())) | Life::Merged(_) | Life::Closed => false,
        };
        let merges =
            |by: &JobState| by.waits_for_merge() && by.requested.as_ref().map(|r| r.number) == Some(request.number);
        if let Some(by) = request.by.map(|by| self.store.job(by)).transpose()?.flatten().filter(|by| merges(by)) {
            return because(format!("job {} made it, and merges it", by.id));
        }
        let Some(offered) = self.offers_ours(request, seen)? else {
            return because("somebody has pushed to its branch, so it is theirs to merge".to_owned());
        };
        let (rooms, repo) = (self.rooms.load_full(), job.app.repo());
        let api = api(&rooms, &repo)?;
        let checks = all_checks(&api, &rooms.http, offered).await?;
        match Checks::of(&checks) {
            Checks::Good | Checks::None => {}
            Checks::Waiting(name) => return because(format!("its check {name} is under way")),
            Checks::Bad(name) => return because(format!("its check {name} failed")),
        }
        let Some((base, _)) = &job.base else { return because("the branch that it is for is not known".to_owned()) };
        let demanded = demanded(&api, &rooms.http, base).await?;
        if let Some(lacks) = demanded.lacks(&checks) {
            return because(lacks);
        }
        let within = api.checks_within();
        if demanded == Demanded::Unsaid && waited < within {
            return because(format!(
                "{base} demands no checks, so those that run by themselves have {} s to begin",
                within.as_secs()
            ));
        }
        // Last: whoever holds it now may have waited for an answer of the host's.
        if let Some(hold) = self.hold_of_request(job, request).await? {
            return because(hold);
        }
        if is_behind {
            return Ok(Err(NotYet::Behind));
        }
        Ok(api.merged(&rooms.http.call(&api.merge(request.number, offered)).await?)?)
    }

    /// The hold of an app that would go on, or of a library that would move in a file of whatever app, by a merge.
    async fn hold_of_request(&self, job: &JobState, request: &Request) -> Result<Option<String>, RequestError> {
        let holds = self.store.holds();
        let jobs = self.open_jobs_in(&job.app.repo());
        let shares = |other: &JobState| {
            let its = other.requested.as_ref().filter(|_| other.waits_for_merge());
            its.is_some_and(|its| its.number == request.number)
        };
        let mut all = std::iter::once(job).chain(jobs.iter().map(|other| &**other).filter(|other| shares(other)));
        let held = all.find_map(|job| holds.get(&(job.app.name.clone(), None)).filter(|hold| hold.stops(job)));
        if let Some(held) = held {
            return Ok(Some(held.to_string()));
        }
        let (Some((_, base)), Some(updated)) = (&job.base, &job.updated) else { return Ok(None) };
        let git = self.rooms.load().git.clone();
        let held = self.held_libs(&git, &job.app, *base).await?;
        Ok(updated.bumps.iter().find_map(|bump| held.why(&bump.lib, &bump.file)))
    }
}

/// All checks of a commit.
async fn all_checks(api: &Api<'_>, http: &Http, sha: Sha) -> Result<Vec<Check>, RequestError> {
    let mut all = Vec::new();
    for list in 0..api.check_lists() {
        let mut before = 0;
        for page in 1.. {
            if page > PAGES {
                return Err(ApiError::Odd {
                    host: api.host().to_owned(),
                    why: format!("over {PAGES} pages of checks"),
                }
                .into());
            }
            let found = api.checked(before, &http.call(&api.checks(list, sha, page)).await?)?;
            before += found.checks.len();
            all.extend(found.checks);
            if !found.more {
                break;
            }
        }
    }
    Ok(all)
}

async fn demanded(api: &Api<'_>, http: &Http, base: &Branch) -> Result<Demanded, RequestError> {
    let mut replies = Vec::new();
    for call in api.demanded(base) {
        replies.push(http.call(&call).await?);
    }
    Ok(api.demands(&replies)?)
}
