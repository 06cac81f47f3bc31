//! Preflight: every host of an environment is asked, all at once, before anything is changed on any. One whose folder will not be touched
//! since somebody else's work is in it is known then, and one that can't be reached where that fails the rollout; where
//! such a host is passed by it is tried again in its turn.

use std::collections::HashMap;
use std::sync::Mutex;

use super::super::{StepError, Work};
use super::side_by_side::{Met, each};
use super::turn::{AT_ONCE, Turn, close_log, open_log};
use super::{batches, installs};
use crate::host::{Error, HostState, MarkerState};
use crate::model::{Entry, Host, HostName, HostResult, Sha};
use crate::pipeline::unpoison;
use crate::ssh::Hosts;

/// The hosts that were asked a moment ago whether their turns can come: their conversations, which still have the lock, and
/// what was seen.
#[derive(Default)]
pub(in crate::pipeline) struct Asked(Mutex<HashMap<HostName, (Hosts, HostState)>>);

impl Asked {
    fn keep(&self, name: &HostName, hosts: &Hosts, seen: &HostState) {
        unpoison(self.0.lock()).insert(name.clone(), (hosts.clone(), seen.clone()));
    }
    pub(super) fn take(&self, name: &HostName) -> Option<(Hosts, HostState)> {
        unpoison(self.0.lock()).remove(name)
    }
    /// Lets go of those whose turns did not come.
    pub(super) fn clear(&self) {
        unpoison(self.0.lock()).clear();
    }
}

/// Journals how hosts ended whose turn can't come, and gives them. `names` are those of an environment, of which no turn
/// has begun.
pub(super) async fn run(work: &mut Work, to: Sha, names: &[HostName]) -> Result<Vec<(Host, HostResult)>, StepError> {
    let mut hosts = super::hosts(&work.job);
    hosts.retain(|host| names.contains(&host.name));
    // A secret that nobody has set, or that can't be opened, is told before a host is asked anything.
    for host in &hosts {
        installs::wanted(work, host)?;
    }
    // One alone is looked at in its turn, before anything is changed.
    if names.len() < 2 {
        return Ok(Vec::new());
    }
    let soon = soon(work);
    let (looked_at, stopped) = {
        let work: &Work = work;
        let act = |host: &Host| {
            let (host, is_soon) = (host.clone(), soon.contains(&host.name));
            async move { Ok((look(work, &host, to, is_soon).await?, host)) }
        };
        each(None, &hosts, AT_ONCE, |_| Ok(Some(String::new())), act, |_| None).await
    };
    stopped?;
    if work.stop.is_cancelled() {
        return Err(work.stopped());
    }
    let mut found = Vec::new();
    for (met, host) in looked_at {
        match met {
            Met::Fit => {}
            Met::Away(_) => work.away.push(host.name),
            Met::Ends(result) => found.push((host, result)),
        }
    }
    found.sort_by_key(|(host, _)| hosts.iter().position(|other| other.name == host.name));
    let entry =
        |(host, result): &(Host, HostResult)| Entry::HostFinished { host: host.name.clone(), result: result.clone() };
    work.append(found.iter().map(entry).collect()).await?;
    Ok(found)
}

/// The hosts whose turns begin as soon as all are asked: what is seen of them counts there too.
fn soon(work: &Work) -> Vec<HostName> {
    let Some(batch) = batches::next(&work.job) else { return Vec::new() };
    let rollout = batch.hosts.first().map(|host| work.job.app.rollout_on(host));
    let Some(rollout) = rollout.filter(|rollout| rollout.prepare.is_none() && rollout.migrate.is_none()) else {
        return Vec::new();
    };
    batch.hosts.into_iter().take(usize::try_from(rollout.parallel).unwrap_or(1).max(1)).collect()
}

/// Whether a host's turn can come.
async fn look(work: &Work, host: &Host, to: Sha, is_soon: bool) -> Result<Met, StepError> {
    let looked = async {
        let wanted = installs::wanted(work, host)?;
        let log = open_log(work, host).await?;
        let turn = Turn::new(work, host, to, &log)?;
        log.line(&format!("looking at {} before anything is changed anywhere", turn.folder));
        let looked = match (turn.observe().await, &wanted) {
            // Without the program, or a site that follows, there is no switch.
            (Ok(seen), Some(wanted)) if turn.instances().is_some() => turn.look_at(wanted).await.map(|_| seen),
            (seen, _) => seen,
        };
        let looked = looked.and_then(|seen| unfit(&turn, &seen).map_or(Ok(seen), Err));
        match &looked {
            Ok(seen) if is_soon => work.asked.keep(&host.name, &turn.hosts, seen),
            _ => turn.hosts.hang_up().await,
        }
        if let Err(error) = &looked {
            log.line(&work.masked(&error.to_string()));
        }
        close_log(work, host, log).await;
        Ok(looked.map(drop)?)
    };
    Met::of(work, host, looked.await)
}

/// Why its folder can't be worked on: somebody changed files there (a move of ours that was cut off leaves such files too,
/// and ends itself), or it is of the other kind.
fn unfit(turn: &Turn<'_>, seen: &HostState) -> Option<Error> {
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
    is_changed.then_some(Error::Changed { host, path, files: seen.changed.clone() })
}
