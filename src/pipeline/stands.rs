//! How apps stand to the branches that they follow: who has not what is at a head, and how it is taken; which branches
//! are not there; what nothing moves. As far as it was told, listed or fetched: must never ask a remote, or make
//! anything of what it finds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Inner, Pipeline, unpoison};
use crate::git::Mirrors;
use crate::model::api::JobView;
use crate::model::repo::BehindView;
use crate::model::{App, AppName, Branch, Follows, Outcome, RepoId, Sha, Trigger};
use crate::store::{DepRow, JobFilter, StoreError};

/// The branches that a listing of a repository did not find; repositories that nobody has listed are not there.
pub type Listed = BTreeMap<RepoId, BTreeSet<Branch>>;

/// How a coordinate of an app stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// The app.
    pub app: AppName,
    /// The repository of its library.
    pub repo: RepoId,
    /// What there is to know.
    pub what: Standing,
}

/// What there is to know of a coordinate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has not what is at the head of its branch.
    Behind(BehindView),
    /// The branch that it follows is not there: what to do about that, in words.
    Gone(Branch, String),
    /// Nothing moves it: why, in words.
    Stays(String),
}

/// What is known of a repository's branches.
struct Branches {
    /// As they were told or listed last.
    accepted: BTreeMap<Branch, Sha>,
    /// As its mirror has them, where there is one.
    mirror: Option<BTreeMap<Branch, Sha>>,
    /// The default branch, as its mirror has it.
    default: Option<Branch>,
}

impl Pipeline {
    /// How the coordinates stand that apps, all or some, have of some repositories, for as far as there is something to
    /// know.
    pub async fn stands(
        &self,
        of: BTreeSet<RepoId>,
        apps: Option<BTreeSet<AppName>>,
        listed: &Listed,
    ) -> Result<Vec<Stand>, StoreError> {
        let pipeline = self.clone();
        let read = tokio::task::spawn_blocking(move || pipeline.inner.coordinates(&of, apps.as_ref())).await;
        let rows = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let git = self.rooms().git.clone();
        let mut known: HashMap<RepoId, Branches> = HashMap::new();
        let mut stands = Vec::new();
        for (app, dep) in rows {
            if !known.contains_key(&dep.repo) {
                let accepted = self.inner.store.accepted_heads(&dep.repo)?;
                let mirror = git.known_heads(&dep.repo).await.ok();
                let (mirror, default) = mirror.map(|heads| (heads.branches, heads.head_branch)).unzip();
                known.insert(dep.repo.clone(), Branches { accepted, mirror, default: default.flatten() });
            }
            let Some(branches) = known.get(&dep.repo) else { continue };
            if let Some(what) = self.inner.standing(&git, &app, &dep, branches, listed.get(&dep.repo)).await? {
                stands.push(Stand { app: app.name.clone(), repo: dep.repo, what });
            }
        }
        Ok(stands)
    }
}

impl Inner {
    /// What apps that are bumped name of some repositories, but for their own. Reads a row of the store for each app that
    /// depends on one of these, and of no other.
    fn coordinates(
        &self,
        of: &BTreeSet<RepoId>,
        apps: Option<&BTreeSet<AppName>>,
    ) -> Result<Vec<(Arc<App>, DepRow)>, StoreError> {
        let is_meant = |app: &&App| app.update && apps.is_none_or(|apps| apps.contains(&app.name));
        let apps: Vec<App> = {
            let graph = unpoison(self.graph.read());
            let dependents = of.iter().flat_map(|repo| graph.dependents(repo)).filter(is_meant);
            let by_name: BTreeMap<&AppName, &App> = dependents.map(|app| (&app.name, app)).collect();
            by_name.into_values().cloned().collect()
        };
        let mut rows = Vec::new();
        for app in apps.into_iter().map(Arc::new) {
            let own = app.repo();
            let Some(index) = self.store.index(&app.name)?.filter(|index| index.repo == own) else { continue };
            let deps = index.deps.into_iter().filter(|dep| dep.repo != own && of.contains(&dep.repo));
            rows.extend(deps.map(|dep| (app.clone(), dep)));
        }
        Ok(rows)
    }

    async fn standing(
        &self,
        git: &Mirrors,
        app: &App,
        dep: &DepRow,
        branches: &Branches,
        listed: Option<&BTreeSet<Branch>>,
    ) -> Result<Option<Standing>, StoreError> {
        let DepRow { lib, repo, .. } = dep;
        let (branch, at) = match (&dep.follows, dep.at) {
            (Follows::Nothing, _) => {
                return Ok(dep.stays.as_ref().map(|why| Standing::Stays(format!("nothing moves {lib}: {why}"))));
            }
            (Follows::Branch(branch) | Follows::Seen(branch), at) => (branch, at),
            (Follows::Tags | Follows::Unknown, _) => return Ok(None),
        };
        let is_tracked = matches!(dep.follows, Follows::Branch(_));
        let lacks = branches.mirror.as_ref().is_some_and(|mirror| !mirror.contains_key(branch));
        let is_gone = match listed.filter(|_| is_tracked) {
            Some(gone) => gone.contains(branch),
            None => lacks,
        };
        // What was on a branch that is gone follows the default one, if that has it.
        let joined = match (&branches.default, at) {
            (Some(default), Some(at)) if is_gone && !is_tracked => {
                let head = head(git, repo, default, branches).await;
                let has = async |head| git.is_ancestor(repo, at, head).await.unwrap_or(false);
                if let Some(head) = head
                    && has(head).await
                {
                    Some(default)
                } else {
                    None
                }
            }
            _ => None,
        };
        let branch = joined.unwrap_or(branch);
        if is_gone && joined.is_none() {
            let words = match is_tracked {
                true => format!(
                    "{repo} has no branch {branch} (any more), which :track of {} names for {lib}: correct or delete it \
                     in deploy.edn",
                    app.name
                ),
                false => format!(
                    "the branch {branch} of {repo}, which {lib} of {} was on, was deleted: set its sha by hand, to a \
                     commit of a branch that is there",
                    app.name
                ),
            };
            return Ok(Some(Standing::Gone(branch.clone(), words)));
        }
        let Some(at) = at else { return Ok(None) };
        let Some(head) = head(git, repo, branch, branches).await.filter(|head| *head != at) else { return Ok(None) };
        // A mirror that lacks the head is older than what was told of it.
        let is_lost =
            git.contains(repo, head).await.unwrap_or(false) && !git.is_ancestor(repo, at, head).await.unwrap_or(false);
        if is_lost && !is_rewritten(git, repo, at, head).await {
            return Ok(None);
        }
        let job = self.store.open_jobs_of(&app.name).first().map(|job| job.id);
        let todo = match job {
            Some(job) => format!("job {job} is under way"),
            None if is_lost => format!(
                "its history was rewritten, and {} is not on it any more: set the sha by hand once, to {} if that is meant",
                at.short(),
                head.short()
            ),
            None => self.how_to_take(app, dep)?,
        };
        let (app, lib, repo, branch) = (app.name.clone(), lib.clone(), repo.clone(), branch.clone());
        Ok(Some(Standing::Behind(BehindView { app, lib, repo, branch, at, head, job, todo })))
    }

    fn how_to_take(&self, app: &App, dep: &DepRow) -> Result<String, StoreError> {
        let name = &app.name;
        if let Some(hold) = self.stopped_by(name) {
            return Ok(format!("airplanes hold {name} --release ({hold})"));
        }
        if let Some(held) = self.held_lib(name, &dep.lib) {
            let lib = self.store.holds().contains_key(&(name.clone(), Some(dep.lib.clone())));
            let lib = if lib { format!(" {}", dep.lib) } else { String::new() };
            return Ok(format!("airplanes hold {name}{lib} --release ({held})"));
        }
        let take = format!("airplanes deploy {name}");
        let by_hand = match app.trigger {
            Trigger::Manual => Some("its :trigger is :manual"),
            Trigger::Push => Some("its :trigger is :push"),
            Trigger::PushAny => None,
        };
        if let Some(why) = by_hand {
            return Ok(format!("{take} ({why})"));
        }
        let filter = JobFilter { app: Some(name.clone()), limit: 1, ..JobFilter::default() };
        let last = self.store.jobs(&filter)?.into_iter().next();
        let last =
            last.filter(|job| job.outcome().is_some_and(|outcome| !outcome.is_well() || outcome == Outcome::Parked));
        Ok(match last {
            Some(job) => format!("{take} (its last job, {}, is {})", job.id, JobView::of(&job).state),
            None => take,
        })
    }
}

/// Whether a commit that a mirror has is off the line of a branch's `head`: beside it, or before it on no branch.
async fn is_rewritten(git: &Mirrors, repo: &RepoId, at: Sha, head: Sha) -> bool {
    if !git.contains(repo, at).await.unwrap_or(false) {
        return false;
    }
    let is_ahead = git.is_ancestor(repo, head, at).await.unwrap_or(true);
    !is_ahead || git.branches_with(repo, at).await.is_ok_and(|on| on.is_empty())
}

/// The newest head that is known of a branch.
async fn head(git: &Mirrors, repo: &RepoId, branch: &Branch, branches: &Branches) -> Option<Sha> {
    let mirror = branches.mirror.as_ref().and_then(|mirror| mirror.get(branch)).copied();
    match (branches.accepted.get(branch).copied(), mirror) {
        (Some(accepted), Some(mirror)) if accepted != mirror => {
            // The mirror may have been fetched since.
            let newer = git.is_ancestor(repo, accepted, mirror).await.unwrap_or(false);
            Some(if newer { mirror } else { accepted })
        }
        (accepted, mirror) => accepted.or(mirror),
    }
}
