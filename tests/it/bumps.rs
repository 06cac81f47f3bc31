//! Where dependencies may move to, asked of the room that decides it, against real repositories.

mod branches;
mod files;
mod preflight;
mod tags;
mod tools_deps;
mod trees;

use std::collections::{BTreeMap, HashMap};

use airplanes::bumps::{Asking, BumpsError, Due, File, Rules, Want};
use airplanes::git::Mirrors;
use airplanes::model::{Branch, Lib, RepoId, Sha, Track};
use tokio_util::sync::CancellationToken;

use crate::support::git_remote::{Repo, Scene, git};

/// A deps.edn and what decides beside it. By default nothing is named and all that is due moves.
struct Ask {
    scene: Scene,
    mirrors: Mirrors,
    wants: HashMap<RepoId, Vec<Want>>,
    all: bool,
    track: BTreeMap<Lib, Track>,
    lives_on: Vec<Option<Branch>>,
    had: BTreeMap<Branch, Sha>,
    seen: Option<(Branch, Sha)>,
}

fn branch(name: &str) -> Branch {
    Branch::new(name).unwrap()
}

impl Ask {
    fn new() -> Self {
        let scene = Scene::new();
        let mirrors = scene.mirrors();
        let (wants, had) = (HashMap::new(), BTreeMap::new());
        Self { scene, mirrors, wants, all: true, track: BTreeMap::new(), lives_on: Vec::new(), had, seen: None }
    }
    /// As a job asks that runs since this commit was pushed.
    fn pushed(&mut self, repo: &Repo, name: &str, sha: Sha) {
        self.all = false;
        let want = Want::Commit { sha, branch: Some(branch(name)) };
        self.wants.entry(repo.url().id()).or_default().insert(0, want);
    }
    async fn files(&self, files: &[(&str, &str)]) -> Result<Due, BumpsError> {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        let files: Vec<File> = files.iter().map(file).collect();
        let stop = CancellationToken::new();
        let asking = Asking { git: &self.mirrors, url_of: &|_| None, stop: &stop };
        let lives_on = |_: &RepoId| self.lives_on.clone();
        asking
            .due(
                &files,
                &Rules {
                    wants: &self.wants,
                    all: self.all,
                    apart: &BTreeMap::new(),
                    track: &self.track,
                    held: &|_, _| None,
                    own: None,
                    lives_on: &lives_on,
                    had: &|_| self.had.clone(),
                    seen: &|_, _, at| self.seen.clone().filter(|(_, seen)| *seen == at).map(|(branch, _)| branch),
                },
            )
            .await
    }
    async fn due(&self, text: &str) -> Due {
        self.files(&[("deps.edn", text)]).await.unwrap()
    }
    /// Where a sha of a library moves to, or why it stays; none if it is where it should be.
    async fn of(&self, repo: &Repo, sha: &str) -> Option<Result<String, String>> {
        let text = format!("{{:deps {{acme/lib {{:git/url \"{}\" :git/sha \"{sha}\"}}}}}}", repo.url());
        let due = self.due(&text).await;
        assert!(due.bumps.len() + due.kept.len() <= 1, "{due:?}");
        let moved = due.bumps.into_iter().next().map(|bump| Ok(bump.to));
        moved.or_else(|| due.kept.into_iter().next().map(|kept| Err(kept.why.to_string())))
    }
}

/// The person pushes to another branch, which begins where they stand.
fn pushes_to(repo: &Repo, name: &str, path: &str) -> Sha {
    git(&repo.person, &["checkout", "-q", "-B", name]);
    repo.pushes(path, path)
}

fn goes_to(repo: &Repo, name: &str) {
    git(&repo.person, &["checkout", "-q", name]);
}

fn force(repo: &Repo, sha: &Sha, name: &str) {
    git(&repo.person, &["push", "-q", "--force", "origin", &format!("{sha}:refs/heads/{name}")]);
    git(&repo.person, &["fetch", "-q", "origin"]);
    git(&repo.person, &["checkout", "-q", "-B", name, &sha.to_string()]);
}
