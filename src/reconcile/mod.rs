//! Remotes as they are: webhooks are a hint, heads are the truth. Each remote that somebody follows is listed once in a
//! while (`:poll`), and whenever a person asks (`airplanes sync`); a branch that moved or a tag that is new without a
//! webhook becomes an event like any push.
//!
//! In the flow it stands beside the door: it gives the store what a webhook would have given, and the planner does the
//! rest. Hosts that were away when their app was rolled out are tried at the same pace. A remote that fails is left
//! alone for longer and longer, and holds up no other. Must never decide what an app does, and keeps nothing that a
//! restart would need.
//!
//! What was there when a remote was first looked at is where it begins, and no push, unless somebody saw the branch
//! elsewhere since: an app that lives on it, or the mirror that its dependents were read with. Shas in deps.edn are no
//! such witness. Most apps stand behind a head for months before a daemon comes, and a push for each of them would be a
//! storm of builds at the first start that nobody asked for. Who is behind is told instead, by `sync`, `repos` and
//! `graph`, with the command that takes it.

mod doubts;
mod hosts;
mod look;
mod pace;
mod tags;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;
use crate::git::GitError;
use crate::model::graph::GraphView;
use crate::model::repo::{BehindView, LastSeenView, RepoFault, RepoView, SyncView, UnaskedView};
use crate::model::{AppName, Branch, RepoId};
use crate::pipeline::{Listed, Pipeline, Remote, Standing};
use crate::store::{Store, StoreError};
use doubts::Doubts;
use look::Looked;
use pace::{Pace, jittered};

/// Within what time of the start every remote is listed: pushes while the daemon was down are found then.
const FIRST: Duration = Duration::from_secs(60);
/// How often it is looked which remotes there are, at least and at most.
const REFRESH: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));
/// How often it is looked whether `:poll` is another, while it is false.
const IDLE: Duration = Duration::from_secs(10);

/// Why remotes could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A remote.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No url is known of it.
    #[error(
        "no url of {0} is known until an app that depends on it is read: `airplanes apps` says what is wrong there"
    )]
    NoUrl(RepoId),
    /// Its host failed, and is left alone for now.
    #[error("{host} is left alone after {fails} failures, for another {seconds} s: {why}")]
    LeftAlone {
        /// The host.
        host: String,
        /// How often it failed in a row.
        fails: u32,
        /// For how long.
        seconds: u64,
        /// The last failure.
        why: String,
    },
    /// The name is not in deploy.edn.
    #[error("there is no app `{0}` in deploy.edn; `airplanes apps` lists them")]
    NoSuchApp(AppName),
    /// The daemon is ending.
    #[error("the daemon is shutting down")]
    Ending,
}

/// A handle; clones share it.
#[derive(Clone)]
pub struct Reconcile {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    pipeline: Pipeline,
    in_force: Arc<ArcSwap<Loaded>>,
    stop: CancellationToken,
    pace: Pace,
    remotes: Arc<Mutex<BTreeMap<RepoId, Known>>>,
    doubts: Doubts,
}

/// A remote, and what was found at it.
struct Known {
    remote: Remote,
    /// When it is listed next.
    next: Instant,
    /// It is being listed.
    busy: bool,
    /// The branches that it does not have; none before its first listing.
    gone: Option<BTreeSet<Branch>>,
    error: Option<RepoFault>,
}

/// A remote that is being listed. It is no more when this is dropped, be it by a panic: one that stayed so would never
/// be listed again.
struct Busy {
    remotes: Arc<Mutex<BTreeMap<RepoId, Known>>>,
    remote: Remote,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = remotes.get_mut(&self.remote.repo) {
            known.busy = false;
        }
    }
}

impl Reconcile {
    /// What looks after the remotes, as the configuration in force wants it.
    pub fn new(store: Store, pipeline: Pipeline, in_force: Arc<ArcSwap<Loaded>>, stop: CancellationToken) -> Self {
        let (pace, remotes, doubts) = (Pace::default(), Arc::default(), Doubts::default());
        Self { inner: Arc::new(Inner { store, pipeline, in_force, stop, pace, remotes, doubts }) }
    }

    /// Begins to list remotes by itself, until `stop`.
    pub fn start(&self) -> JoinHandle<()> {
        let inner = self.inner.clone();
        tokio::spawn(async move {
            tokio::join!(inner.clone().run(), inner.watch_hosts());
        })
    }

    /// Lists all remotes now, or those of an app: its own and its dependencies'. In a dry run nothing is made of what
    /// is found. A person's word also tries hosts that are left alone, but none that has failed since.
    pub async fn sync(&self, app: Option<AppName>, dry_run: bool) -> Result<SyncView, ReconcileError> {
        if self.inner.stop.is_cancelled() {
            return Err(ReconcileError::Ending);
        }
        let asked_at = Instant::now();
        let remotes = self.inner.pipeline.remotes_now().await?;
        if let Some(app) = app.as_ref().filter(|app| !remotes.values().any(|remote| remote.apps.contains_key(*app))) {
            return Err(ReconcileError::NoSuchApp(app.clone()));
        }
        let wanted = |remote: &Remote| {
            app.as_ref().is_none_or(|app| remote.apps.contains_key(app) || remote.dependents.contains(app))
        };
        self.inner.take_in(&remotes, None);
        if !dry_run {
            self.inner.pipeline.look_at_requests(app.as_ref());
        }
        let mut looks = JoinSet::new();
        let asked: BTreeSet<RepoId> =
            remotes.values().filter(|remote| wanted(remote)).map(|remote| remote.repo.clone()).collect();
        for remote in remotes.values().filter(|remote| wanted(remote)).cloned() {
            let inner = self.inner.clone();
            looks.spawn(async move { (remote.repo.clone(), inner.look(&remote, dry_run, Some(asked_at)).await) });
        }
        let (moved, tags, behind, failed) = (vec![], vec![], vec![], vec![]);
        let mut view = SyncView { dry_run, asked: looks.len(), moved, tags, behind, failed };
        while let Some(look) = looks.join_next().await {
            // A task that panicked is told by the runtime.
            let Ok((repo, look)) = look else { continue };
            self.inner.note(&repo, &look);
            match look {
                Ok(looked) => {
                    view.moved.extend(looked.moved);
                    view.tags.extend(looked.tags);
                }
                Err(error) => view.failed.push(UnaskedView { repo, error: error.to_string() }),
            }
        }
        view.moved.sort_by(|a, b| (&a.repo, &a.branch).cmp(&(&b.repo, &b.branch)));
        view.tags.sort_by(|a, b| (&a.repo, &a.tag).cmp(&(&b.repo, &b.tag)));
        view.failed.sort_by(|a, b| a.repo.cmp(&b.repo));
        for stand in
            self.inner.pipeline.stands(asked, app.clone().map(|app| [app].into()), &self.inner.listed()).await?
        {
            let Standing::Behind(behind) = stand.what else { continue };
            let moves = view.moved.iter().any(|moved| (&moved.repo, &moved.branch) == (&behind.repo, &behind.branch));
            if behind.job.is_none() && !moves {
                view.behind.push(behind);
            }
        }
        Ok(view)
    }

    /// What a person should know of what depends on what: branches that are not there, heads that were not taken, and
    /// why nothing moves a coordinate. Asks no remote.
    pub async fn annotate(&self, view: &mut GraphView) -> Result<(), ReconcileError> {
        let places: BTreeMap<String, RepoId> =
            view.nodes.iter().map(|node| (node.name().to_owned(), node.repo.clone())).collect();
        let wanted: BTreeSet<RepoId> = places.values().cloned().collect();
        let apps = view.nodes.iter().filter_map(|node| node.app.clone()).collect();
        // Of several apps that live in a repository the first has it.
        let mut edges: HashMap<(AppName, RepoId), usize> = HashMap::new();
        for (at, edge) in view.edges.iter().enumerate() {
            if let Some(repo) = places.get(&edge.from) {
                edges.entry((edge.to.clone(), repo.clone())).or_insert(at);
            }
        }
        for stand in self.inner.pipeline.stands(wanted, Some(apps), &self.inner.listed()).await? {
            let note = match stand.what {
                Standing::Behind(behind) => behind.to_string(),
                Standing::Gone(_, words) | Standing::Stays(words) => words,
            };
            let edge = edges.get(&(stand.app, stand.repo));
            if let Some(edge) = edge.and_then(|at| view.edges.get_mut(*at))
                && !edge.notes.contains(&note)
            {
                edge.notes.push(note);
            }
        }
        Ok(())
    }

    /// Repositories with what is known of them. Asks no remote, and does nothing for those that are not wanted.
    pub async fn views(&self, is_wanted: impl Fn(&RepoId) -> bool) -> Result<Vec<RepoView>, ReconcileError> {
        let remotes = self.inner.pipeline.remotes_now().await?;
        let wanted: BTreeSet<RepoId> = remotes.keys().filter(|repo| is_wanted(repo)).cloned().collect();
        let polls = self.inner.in_force.load().config.poll.is_some();
        let (now, clock) = (Instant::now(), Timestamp::now());
        let mut views = Vec::with_capacity(wanted.len());
        let mut stands: BTreeMap<RepoId, (BTreeSet<Branch>, Vec<BehindView>)> = BTreeMap::new();
        for stand in self.inner.pipeline.stands(wanted.clone(), None, &self.inner.listed()).await? {
            let (gone, behind) = stands.entry(stand.repo).or_default();
            match stand.what {
                Standing::Behind(view) => behind.push(view),
                Standing::Gone(branch, _) => drop(gone.insert(branch)),
                Standing::Stays(_) => {}
            }
        }
        for remote in wanted.iter().filter_map(|repo| remotes.get(repo)).cloned() {
            let seen = self.inner.store.last_seen(&remote.repo)?;
            let known = self.inner.remotes();
            let known = known.get(&remote.repo);
            let next = known.filter(|_| polls && remote.url.is_some()).map(|known| {
                let left = known.next.saturating_duration_since(now);
                clock.saturating_add(SignedDuration::try_from(left).unwrap_or(SignedDuration::ZERO)).unwrap_or(clock)
            });
            let (mut gone, behind) = stands.remove(&remote.repo).unwrap_or_default();
            gone.extend(known.and_then(|known| known.gone.clone()).unwrap_or_default());
            views.push(RepoView {
                url: remote.url,
                apps: remote.apps.into_keys().collect(),
                dependents: remote.dependents.into_iter().collect(),
                last_seen: LastSeenView::of(seen.webhook, seen.poll),
                webhook_at: seen.webhook,
                poll_at: seen.poll,
                next,
                gone: gone.into_iter().collect(),
                behind,
                error: known.and_then(|known| known.error.clone()),
                repo: remote.repo,
            });
        }
        Ok(views)
    }
}

impl Inner {
    async fn run(self: Arc<Self>) {
        let mut looks: JoinSet<()> = JoinSet::new();
        let mut refresh = Instant::now();
        loop {
            let Some(poll) = self.in_force.load().config.poll else {
                tokio::select! {
                    () = tokio::time::sleep(IDLE) => continue,
                    () = self.stop.cancelled() => return,
                }
            };
            if Instant::now() >= refresh {
                match self.pipeline.remotes_now().await {
                    Ok(remotes) => self.take_in(&remotes, Some(poll)),
                    Err(error) => tracing::warn!(%error, "it is not known which remotes there are"),
                }
                refresh = Instant::now() + (poll / 10).clamp(REFRESH.0, REFRESH.1);
            }
            for busy in self.take_due(poll) {
                let inner = self.clone();
                looks.spawn(async move {
                    let look = inner.look(&busy.remote, false, None).await;
                    inner.note(&busy.remote.repo, &look);
                });
            }
            let next = self.remotes().values().filter(|known| !known.busy).map(|known| known.next).min();
            let next = next.map_or(refresh, |next| next.min(refresh));
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                Some(_) = looks.join_next() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// The remotes that there are, in place of those before. New ones get a time of their own soon, and none is listed
    /// later than `poll` from now, which may be another than it was.
    fn take_in(&self, remotes: &BTreeMap<RepoId, Remote>, poll: Option<Duration>) {
        let now = Instant::now();
        let mut known = self.remotes();
        known.retain(|repo, _| remotes.contains_key(repo));
        for (repo, remote) in remotes {
            let soon = || now + pace::share(poll.unwrap_or(FIRST).min(FIRST));
            match known.get_mut(repo) {
                Some(known) if known.remote == *remote => {}
                Some(known) => known.remote = remote.clone(),
                None => {
                    let (remote, gone, error) = (remote.clone(), None, None);
                    known.insert(repo.clone(), Known { remote, next: soon(), busy: false, gone, error });
                }
            }
        }
        if let Some(latest) = poll.map(|poll| now + poll + poll / 10) {
            for known in known.values_mut().filter(|known| known.next > latest) {
                known.next = latest;
            }
        }
    }

    /// The remotes whose time has come; their next one is set.
    fn take_due(&self, poll: Duration) -> Vec<Busy> {
        let now = Instant::now();
        let mut due = Vec::new();
        for known in self.remotes().values_mut().filter(|known| !known.busy && known.next <= now) {
            known.next = now + jittered(poll);
            if known.remote.url.is_some() {
                known.busy = true;
                due.push(Busy { remotes: self.remotes.clone(), remote: known.remote.clone() });
            }
        }
        due
    }

    /// Keeps what a look found, for those who ask. Only the first of many failures in a row is worth a line in the log.
    fn note(&self, repo: &RepoId, look: &Result<Looked, ReconcileError>) {
        let mut remotes = self.remotes();
        let Some(known) = remotes.get_mut(repo) else { return };
        match look {
            Ok(looked) => {
                let before = known.gone.replace(looked.gone.clone()).unwrap_or_default();
                for branch in looked.gone.difference(&before) {
                    tracing::warn!(%repo, %branch, "a branch that apps follow is not there (any more)");
                }
                if known.error.take().is_some() {
                    tracing::info!(%repo, "its branches can be listed again");
                }
            }
            Err(ReconcileError::Ending | ReconcileError::Git(GitError::Canceled { .. })) => {}
            Err(error) => {
                let since = known.error.as_ref().map_or_else(Timestamp::now, |fault| fault.since);
                if known.error.is_none() {
                    tracing::warn!(%repo, %error, "its branches can't be listed: pushes without a webhook are not seen");
                }
                known.error = Some(RepoFault { since, why: error.to_string() });
            }
        }
    }

    /// The branches that listings did not find.
    fn listed(&self) -> Listed {
        let remotes = self.remotes();
        remotes.iter().filter_map(|(repo, known)| Some((repo.clone(), known.gone.clone()?))).collect()
    }

    fn remotes(&self) -> MutexGuard<'_, BTreeMap<RepoId, Known>> {
        // A holder that panicked left whole data: each change is one field.
        self.remotes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_remote_whose_listing_panicked_is_listed_again() {
        let url = crate::model::RepoUrl::new("https://github.com/acme/snow").unwrap();
        let remote = Remote::of(url.id());
        let known = Known { remote: remote.clone(), next: Instant::now(), busy: true, gone: None, error: None };
        let remotes = Arc::new(Mutex::new(BTreeMap::from([(url.id(), known)])));
        let busy = Busy { remotes: remotes.clone(), remote };
        let look = tokio::spawn(async move {
            assert!(busy.remote.url.is_some(), "a listing that panics");
        });
        assert!(look.await.is_err());
        assert!(!remotes.lock().unwrap()[&url.id()].busy);
    }
}
