//! Preflight: every host of an environment is asked, all at once, before anything is changed on any. One whose folder will not be touched
//! since somebody else's work is in it is known then, and one that can't be reached where that fails the rollout; where
//! such a host is passed by it is tried again in its turn.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::super::{StepError, Work};
use super::installs;
use super::turn::{Turn, close_log, open_log};
use crate::host::{Error, HostState, MarkerState};
use crate::model::rollout::Unreachable;
use crate::model::{Entry, Host, HostName, HostResult, Sha};

/// So many hosts are asked at once.
const AT_ONCE: usize = 32;

/// Journals how hosts ended whose turn can't come, and gives them. `names` are those of an environment, of which no turn
/// has begun.
pub(super) async fn run(work: &mut Work, to: Sha, names: &[HostName]) -> Result<Vec<(Host, HostResult)>, StepError> {
    // One alone is looked at in its turn, before anything is changed.
    if names.len() < 2 {
        return Ok(Vec::new());
    }
    let mut hosts = super::hosts(&work.job);
    hosts.retain(|host| names.contains(&host.name));
    let mut looked_at = Vec::new();
    {
        let work: &Work = work;
        let mut hosts = hosts.iter();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(host) = hosts.next()
            {
                under_way.push(look(work, host, to));
            }
            let Some(looked) = under_way.next().await else { break };
            looked_at.extend(looked?);
        }
    }
    if work.stop.is_cancelled() {
        return Err(work.stopped());
    }
    let mut found = Vec::new();
    for (host, result) in looked_at {
        match result {
            Some(result) => found.push((host, result)),
            None => work.away.push(host.name),
        }
    }
    found.sort_by_key(|(host, _)| hosts.iter().position(|other| other.name == host.name));
    let entry =
        |(host, result): &(Host, HostResult)| Entry::HostFinished { host: host.name.clone(), result: result.clone() };
    work.append(found.iter().map(entry).collect()).await?;
    Ok(found)
}

/// A host, and why its turn can't come; nothing if it can. Without a reason it is away now, and tried once in its turn.
async fn look(work: &Work, host: &Host, to: Sha) -> Result<Option<(Host, Option<HostResult>)>, StepError> {
    // What nobody has set is said before anything is changed.
    let wanted = installs::wanted(work, host)?;
    let log = open_log(work, host).await?;
    let turn = Turn::new(work, host, to, &log)?;
    log.line(&format!("looking at {} before anything is changed anywhere", turn.folder));
    let looked = match turn.lock().await {
        Ok(_freed) => match (turn.observe().await, &wanted) {
            // Without the program, or a site that follows, there is no switch.
            (Ok(seen), Some(wanted)) if turn.instances().is_some() => turn.look_at(wanted).await.map(|_| seen),
            (seen, _) => seen,
        },
        Err(error) => Err(error),
    };
    let result = match looked {
        Ok(seen) => unfit(&turn, seen).map(|error| HostResult::Refused { error: error.to_string(), locked: false }),
        Err(error) if error.is_unreachable() && turn.app.rollout_on(&host.name).unreachable == Unreachable::Skip => {
            log.line(&work.inner.masked(&error.to_string()));
            close_log(work, host, log).await;
            return Ok(Some((host.clone(), None)));
        }
        Err(error) if error.is_unreachable() => Some(HostResult::Unreachable { error: error.to_string() }),
        Err(error) => {
            Some(HostResult::Refused { error: error.to_string(), locked: matches!(error, Error::Locked { .. }) })
        }
    };
    let result = result.map(|result| match result {
        HostResult::Unreachable { error } => HostResult::Unreachable { error: work.inner.masked(&error) },
        HostResult::Refused { error, locked } => HostResult::Refused { error: work.inner.masked(&error), locked },
        other => other,
    });
    if let Some(HostResult::Unreachable { error } | HostResult::Refused { error, .. }) = &result {
        log.line(error);
    }
    close_log(work, host, log).await;
    Ok(result.map(|result| (host.clone(), Some(result))))
}

/// Why its folder can't be worked on: somebody changed files there (a move of ours that was cut off leaves such files too,
/// and ends itself), or it is of the other kind.
fn unfit(turn: &Turn<'_>, seen: HostState) -> Option<Error> {
    let (host, path) = (turn.host.name.to_string(), turn.folder.clone());
    let is_artifact = turn.app.rollout.ship.artifact().is_some();
    if is_artifact && seen.is_git {
        return Some(Error::NotReleases { host, path, said: "it is a clone".to_owned() });
    }
    if !is_artifact && seen.is_releases {
        return Some(Error::NotGit { host, path, said: "it holds the releases of an :artifact".to_owned() });
    }
    let is_moving = seen.marker.as_ref().is_some_and(|marker| marker.state == MarkerState::Moving);
    let is_changed = !seen.changed.is_empty() && !is_moving;
    is_changed.then_some(Error::Changed { host, path, files: seen.changed })
}
