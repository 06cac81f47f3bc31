//! What people call things: a repository by a url of any form, an identity, a library or an app; a commit by its first
//! digits or a tag. Every command that takes one asks here.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Inner, Pipeline, PipelineError, unpoison};
use crate::git::{Begins, Mirrors, Rev};
use crate::model::{AppName, Branch, Lib, RepoId, RepoUrl, Sha};
use crate::store::DepRow;

/// How long a remote may take to say whether it has a commit.
const WITHIN: Duration = Duration::from_secs(20);
/// How many digits of a commit are asked for at the least.
const DIGITS: usize = 7;

impl Pipeline {
    /// The repository that somebody means.
    pub fn repo_named(&self, text: &str) -> Result<RepoId, PipelineError> {
        self.inner.place_of(text).map(|(url, _)| url.id())
    }
}

impl Inner {
    /// The repository that is named by an app, a url, an identity or a library that some app has; and the branch of the
    /// app's entry.
    pub(super) fn place_of(&self, text: &str) -> Result<(RepoUrl, Option<Branch>), PipelineError> {
        let unknown = || PipelineError::NoSuchRepo(text.to_owned());
        {
            let graph = unpoison(self.graph.read());
            if let Some(app) = AppName::new(text).ok().and_then(|name| graph.app(&name)) {
                return Ok((app.git_url.clone(), app.branch.clone()));
            }
            let is_known = |id: &RepoId| graph.apps_in(id).next().is_some() || graph.dependents(id).next().is_some();
            // An identity is a url without its scheme.
            let forms = [text.to_owned(), format!("https://{text}"), format!("file://{text}")];
            let urls = forms.into_iter().filter_map(|form| RepoUrl::new(form).ok());
            if let Some(url) = urls.into_iter().find(|url| is_known(&url.id())) {
                return Ok((url, None));
            }
        }
        if let Some(lib) = Lib::new(text).ok()
            && let Some(url) = self.url_of_lib(&lib)?
        {
            return Ok((url, None));
        }
        // One that nobody has yet may be asked for all the same.
        let is_url = text.contains(':') || text.starts_with('/');
        RepoUrl::new(text).ok().filter(|_| is_url).map(|url| (url, None)).ok_or_else(unknown)
    }

    fn url_of_lib(&self, lib: &Lib) -> Result<Option<RepoUrl>, PipelineError> {
        let apps: Vec<AppName> = unpoison(self.graph.read()).apps().map(|app| app.name.clone()).collect();
        for app in apps {
            let deps = self.store.index(&app)?.map(|index| index.deps).unwrap_or_default();
            if let Some(dep) = deps.into_iter().find(|dep| dep.lib == *lib) {
                return Ok(self.url_of(&dep.repo).or(dep.url));
            }
        }
        Ok(None)
    }

    /// The library of an app that somebody means by its own name, or by its repository.
    pub(super) fn lib_named(&self, app: &AppName, text: &str, deps: &[DepRow]) -> Result<Lib, PipelineError> {
        let known: BTreeSet<&Lib> = deps.iter().map(|dep| &dep.lib).collect();
        let lib = Lib::new(text);
        if let Some(lib) = lib.ok().filter(|lib| known.contains(lib)) {
            return Ok(lib);
        }
        let repo = self.place_of(text).ok().map(|(url, _)| url.id());
        let its: BTreeSet<&Lib> =
            deps.iter().filter(|dep| Some(&dep.repo) == repo.as_ref()).map(|dep| &dep.lib).collect();
        let names = |libs: BTreeSet<&Lib>| libs.into_iter().map(Lib::as_str).take(20).collect::<Vec<_>>().join(", ");
        match its.first() {
            Some(lib) if its.len() == 1 => Ok((*lib).clone()),
            Some(_) => Err(PipelineError::Senseless(format!(
                "{text} is several libraries of {app}: say which, {}",
                names(its)
            ))),
            None => Err(PipelineError::Senseless(format!(
                "{app} has no git dependency {text}; it has {}",
                if known.is_empty() { "none".to_owned() } else { names(known) }
            ))),
        }
    }

    /// The commit that somebody means: its digits, the first of them, or a tag. Its remote is asked for it where its
    /// mirror does not have it.
    pub(super) async fn commit_of(&self, git: &Mirrors, url: &RepoUrl, rev: &str) -> Result<Sha, PipelineError> {
        let repo = url.id();
        let is_digits = (4..=40).contains(&rev.len()) && rev.bytes().all(|b| b.is_ascii_hexdigit());
        let look = async || match git.resolve(&repo, Rev::Tag(rev.to_owned())).await.ok().flatten() {
            Some(sha) => Begins::One(sha),
            None if is_digits => git.begins_with(&repo, &rev.to_ascii_lowercase()).await.unwrap_or(Begins::None),
            None => Begins::None,
        };
        let refuse = |why: String| Err(PipelineError::Senseless(why));
        let ambiguous = || refuse(format!("`{rev}` is ambiguous in {repo}: give more digits"));
        match look().await {
            Begins::One(sha) => return Ok(sha),
            Begins::Many => return ambiguous(),
            Begins::None => {}
        }
        let url = self.url_of(&repo).unwrap_or_else(|| url.clone());
        match tokio::time::timeout(WITHIN, git.fetch(&url, &self.ending)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return refuse(format!("whether {repo} has `{rev}` is not known: {error}")),
            Err(_) => {
                return refuse(format!("whether {repo} has `{rev}` is not known: it did not answer in {WITHIN:?}"));
            }
        }
        match look().await {
            Begins::One(sha) => Ok(sha),
            Begins::Many => ambiguous(),
            Begins::None => refuse(format!("{repo} has no commit and no tag `{rev}`: is it pushed?")),
        }
    }

    /// The commits of mirrors whose first digits these are, of all repositories.
    pub(super) async fn commits_named(
        &self,
        git: &Mirrors,
        repos: BTreeSet<RepoId>,
        digits: &str,
    ) -> Result<BTreeSet<Sha>, PipelineError> {
        let mut found = BTreeSet::new();
        for repo in repos {
            match git.begins_with(&repo, digits).await.unwrap_or(Begins::None) {
                Begins::One(sha) => drop(found.insert(sha)),
                Begins::Many => {
                    let why = format!("`{digits}` is ambiguous in {repo}: give more digits");
                    return Err(PipelineError::Senseless(why));
                }
                Begins::None => {}
            }
        }
        if found.len() > 1 {
            let found: Vec<String> = found.iter().map(Sha::to_string).collect();
            let why = format!("`{digits}` is ambiguous, it may be {}: give more digits", found.join(" or "));
            return Err(PipelineError::Senseless(why));
        }
        Ok(found)
    }
}

/// The digits of a commit, in small letters, if they are some.
pub(super) fn digits(text: &str) -> Result<String, PipelineError> {
    let sha = text.to_ascii_lowercase();
    let refuse = |why: String| Err(PipelineError::Senseless(why));
    if sha.len() > 40 || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        return refuse(format!("`{sha}` is no commit: give its first digits, 0 to 9 and a to f, {DIGITS} to 40"));
    }
    if sha.len() < DIGITS {
        return refuse(format!("`{sha}` is too short for a commit: give {DIGITS} digits at the least"));
    }
    Ok(sha)
}
