//! The projects that `init` is pointed at: where each is from, what it depends on, and how it may be built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::deps;
use crate::git::{GitConfig, Mirrors, Rev, origin};
use crate::model::url::Transport;
use crate::model::{RepoId, RepoUrl};

/// A repository and what its files say.
#[derive(Debug)]
pub(in crate::cli) struct Project {
    pub url: RepoUrl,
    pub repo: RepoId,
    /// The repositories that it depends on, by a url of each.
    pub deps: BTreeMap<RepoId, RepoUrl>,
    pub deps_edn: Option<String>,
    pub bb_edn: Option<String>,
    pub build_clj: Option<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What was found, and what was passed over and why.
#[derive(Debug, Default)]
pub(in crate::cli) struct Found {
    pub projects: Vec<Project>,
    pub passed_over: Vec<String>,
}

/// The projects of checkouts, of folders with checkouts in them, and of urls. Each repository once.
pub(in crate::cli) async fn find(sources: &[String]) -> Found {
    let mut found = Found::default();
    for source in sources {
        let path = Path::new(source);
        if path.is_dir() {
            found.folder(path);
            continue;
        }
        match RepoUrl::new(source.as_str()) {
            Ok(url) if url.parts().transport != Transport::File || source.starts_with("file://") => {
                found.remote(url).await;
            }
            Ok(_) => found.passed_over.push(format!("{source} is no folder, and no url of a repository")),
            Err(error) => found.passed_over.push(error.to_string()),
        }
    }
    found
}

impl Found {
    fn folder(&mut self, folder: &Path) {
        let is_project = |folder: &Path| deps::FILES.iter().any(|name| folder.join(name).is_file());
        if is_project(folder) || folder.join(".git").exists() {
            return self.checkout(folder);
        }
        let inside = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut inside: Vec<PathBuf> = inside.filter(|path| path.is_dir() && is_project(path)).collect();
        inside.sort();
        if inside.is_empty() {
            self.passed_over.push(format!("{}: no deps.edn and no bb.edn, here or in its folders", folder.display()));
        }
        inside.iter().for_each(|path| self.checkout(path));
    }

    fn checkout(&mut self, folder: &Path) {
        let shown = folder.display();
        let folder = match folder.canonicalize() {
            Ok(folder) => folder,
            Err(error) => return self.passed_over.push(format!("{shown} can't be opened: {error}")),
        };
        let Some(origin) = origin(&folder) else {
            let why = "is in no git checkout, so its url is not known; give its url instead";
            return self.passed_over.push(format!("{shown} {why}"));
        };
        let Some(written) = origin.url else {
            return self.passed_over.push(format!("{shown} has no git remote, so its url is not known"));
        };
        let url = match usable(&written, &origin.root) {
            Ok(url) => url,
            // What is wrong with it is said without it: it may hold a password.
            Err(why) => {
                return self.passed_over.push(format!("{shown}: the url of its git remote can't be used: {why}"));
            }
        };
        let mut notes = Vec::new();
        if origin.root != folder {
            let below = folder.strip_prefix(&origin.root).unwrap_or(&folder).display();
            notes.push(format!("It is the whole repository's: for the folder alone give it :directory \"{below}\""));
        }
        let read = |name: &str| std::fs::read(origin.root.join(name)).ok();
        let texts = ["deps.edn", "bb.edn", "build.clj"].map(|name| read(name).and_then(|b| String::from_utf8(b).ok()));
        self.add(url, texts, notes);
    }

    /// A repository that is not here is fetched with the user's own keys, into a folder that goes again.
    async fn remote(&mut self, url: RepoUrl) {
        let url = match usable(url.as_str(), Path::new("/")) {
            Ok(url) => url,
            Err(why) => return self.passed_over.push(why.to_owned()),
        };
        match fetched(&url).await {
            Ok(texts) => self.add(url, texts, Vec::new()),
            Err(why) => {
                let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                let notes = vec![format!("It could not be read, so what it depends on is not known: {why}")];
                self.add(url, [None, None, None], notes);
            }
        }
    }

    fn add(&mut self, url: RepoUrl, texts: [Option<String>; 3], mut notes: Vec<String>) {
        let repo = url.id();
        if self.projects.iter().any(|project| project.repo == repo) {
            return;
        }
        let [deps_edn, bb_edn, build_clj] = texts;
        let mut deps = BTreeMap::new();
        for (name, text) in [("deps.edn", &deps_edn), ("bb.edn", &bb_edn)] {
            match text.as_deref().map(deps::scan) {
                None => {}
                Some(Ok(file)) => {
                    let urls = file.live().filter_map(|(_, coord)| coord.repo_url());
                    deps.extend(urls.map(|url| (url.id(), url)).filter(|(id, _)| *id != repo));
                }
                Some(Err(error)) => notes.push(format!("Its {name} can't be read: {error}")),
            }
        }
        self.projects.push(Project { url, repo, deps, deps_edn, bb_edn, build_clj, notes });
    }
}

async fn fetched(url: &RepoUrl) -> Result<[Option<String>; 3], String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let git = Mirrors::new(GitConfig::new(folder.path())).map_err(|e| e.to_string())?;
    let stop = CancellationToken::new();
    git.fetch(url, &stop).await.map_err(|e| e.to_string())?;
    let repo = url.id();
    let mut texts = [None, None, None];
    let branch = git.head_branch(&repo).await.map_err(|e| e.to_string())?;
    let Some(branch) = branch else { return Ok(texts) };
    if let Some(head) = git.resolve(&repo, Rev::Branch(branch)).await.map_err(|e| e.to_string())? {
        for (text, name) in texts.iter_mut().zip(["deps.edn", "bb.edn", "build.clj"]) {
            let bytes = git.read_file(&repo, head, name).await.map_err(|e| e.to_string())?;
            *text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        }
    }
    Ok(texts)
}

/// A remote's url as a daemon elsewhere can use it: without a login, and no path that is meant from the checkout.
pub(in crate::cli) fn usable(written: &str, root: &Path) -> Result<RepoUrl, &'static str> {
    let mut text = written.to_owned();
    for scheme in ["https://", "http://"] {
        if let Some(rest) = written.strip_prefix(scheme) {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            text = format!("{scheme}{host}/{path}");
        }
    }
    let url = RepoUrl::new(text).map_err(|error| error.why)?;
    if url.parts().transport == Transport::File && !written.starts_with("file://") && !written.starts_with('/') {
        let path = root.join(written).canonicalize().map_err(|_| "it is a path to nowhere")?;
        return RepoUrl::new(path.display().to_string()).map_err(|error| error.why);
    }
    Ok(url)
}
