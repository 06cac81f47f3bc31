//! From projects to the content of config.edn and deploy.edn.

use std::collections::BTreeSet;
use std::path::Path;

use super::project::Project;
use crate::cli::keys::file_name;
use crate::deps::guess_build;
use crate::forge::pages::host_of;
use crate::model::url::Transport;
use crate::model::{AppName, Forge, RepoId};
use crate::render::{AppEntry, BuildGuess, ConfigFile, DeployFile, EdnKey, LibraryNote, RepoKey};

/// What holds for the pair beside the projects.
pub(super) struct Setting<'a> {
    /// The folder that the pair goes to.
    pub folder: &'a Path,
    /// How the daemon is reached.
    pub url: Option<String>,
    /// The forges that were named.
    pub forges: &'a [Forge],
}

/// deploy.edn's folder, where the daemon of the package keeps its state elsewhere.
const USUAL_FOLDER: &str = "/etc/airplanes";

/// The content of both files.
pub(super) fn pair(projects: &[Project], setting: &Setting<'_>) -> (ConfigFile, DeployFile) {
    let names = names(projects);
    let used_by = |repo: &RepoId| -> Vec<String> {
        let users = projects.iter().zip(&names).filter(|(project, _)| project.deps.contains_key(repo));
        users.map(|(_, name)| name.clone()).collect()
    };
    let repos: BTreeSet<&RepoId> = projects.iter().map(|project| &project.repo).collect();
    let is_own = |project: &Project, dep: &RepoId| {
        let same_owner = owner_of(dep).is_some() && owner_of(dep) == owner_of(&project.repo);
        same_owner || repos.contains(dep)
    };
    let (mut apps, mut libraries) = (Vec::new(), Vec::new());
    for (project, name) in projects.iter().zip(&names) {
        let users = used_by(&project.repo);
        let (own, foreign): (Vec<RepoId>, Vec<RepoId>) =
            project.deps.keys().cloned().partition(|dep| is_own(project, dep));
        let library = !users.is_empty();
        if library && own.is_empty() && project.notes.is_empty() {
            libraries.push(LibraryNote { repo: project.repo.clone(), used_by: users });
            continue;
        }
        let [deps, bb, clj] = [&project.deps_edn, &project.bb_edn, &project.build_clj].map(|text| text.as_deref());
        let build = guess_build(deps, bb, clj, library).map(|(command, why)| BuildGuess { command, why });
        apps.push(AppEntry {
            key: EdnKey::new(name),
            name: name.clone(),
            git_url: project.url.clone(),
            is_library: library,
            update: !own.is_empty(),
            own,
            foreign,
            build,
            notes: project.notes.clone(),
        });
    }
    // What runs is what people look for: apps before the libraries that they are made of.
    apps.sort_by_key(|app| app.is_library);
    (config(projects, setting), DeployFile { apps, libraries })
}

fn config(projects: &[Project], setting: &Setting<'_>) -> ConfigFile {
    let mut keys: Vec<RepoKey> = Vec::new();
    let (mut with_key, mut files): (BTreeSet<RepoId>, BTreeSet<String>) = Default::default();
    let over_ssh = |url: &crate::model::RepoUrl| url.parts().transport == Transport::Ssh;
    let mut key = |repo: &RepoId, note: &str| {
        if with_key.insert(repo.clone()) {
            let file = file_name(repo, |file| files.contains(file));
            files.insert(file.clone());
            keys.push(RepoKey { repo: repo.clone(), file, note: note.to_owned() });
        }
    };
    let is_library = |repo: &RepoId| projects.iter().any(|project| project.deps.contains_key(repo));
    for project in projects.iter().filter(|project| over_ssh(&project.url)) {
        key(&project.repo, if is_library(&project.repo) { "a library" } else { "an app" });
    }
    for project in projects {
        for (repo, _) in project.deps.iter().filter(|(_, url)| over_ssh(url)) {
            key(repo, "a library");
        }
    }
    let hosts = |transport| -> BTreeSet<String> {
        let of = |project: &&Project| project.url.parts().transport == transport;
        projects.iter().filter(of).map(|project| host_of(&project.repo).to_owned()).collect()
    };
    let told: BTreeSet<Forge> = setting.forges.iter().copied().collect();
    let seen = projects.iter().filter_map(|project| Forge::of_host(host_of(&project.repo)));
    let is_untold = projects.iter().any(|project| {
        project.url.parts().transport != Transport::File && Forge::of_host(host_of(&project.repo)).is_none()
    });
    // A host of one's own may be any of these; all of them want the same secret.
    let possible: &[Forge] = match told.is_empty() && is_untold {
        true => &[Forge::Github, Forge::Gitlab, Forge::Gitea],
        false => &[],
    };
    let mut forges: BTreeSet<Forge> = told.into_iter().chain(seen).chain(possible.iter().copied()).collect();
    if forges.is_empty() {
        forges.insert(Forge::Github);
    }
    let host = setting.url.as_deref().and_then(|url| url.split("://").nth(1));
    let host = host.map(|rest| rest.split(['/', ':']).next().unwrap_or(rest));
    let email = host.filter(|host| host.contains('.') && !host.contains(['<', '>', '@', '[']));
    ConfigFile {
        url: setting.url.clone(),
        email: email.map(|host| format!("airplanes@{host}")),
        state: (setting.folder != Path::new(USUAL_FOLDER)).then(|| "state".to_owned()),
        forges: forges.into_iter().map(Forge::as_str).collect(),
        secret_file: super::SECRET_FILE,
        secret_credential: super::SECRET_CREDENTIAL,
        known_hosts: crate::cli::keys::KNOWN_HOSTS,
        identity: crate::cli::keys::IDENTITY,
        keys,
        https_hosts: hosts(Transport::Http).into_iter().collect(),
    }
}

/// The part of an identity before the repository's own name: `github.com/acme`.
fn owner_of(repo: &RepoId) -> Option<&str> {
    repo.as_str().rsplit_once('/').map(|(owner, _)| owner).filter(|owner| owner.contains('/'))
}

/// A name for each project: its repository's, with its owner's before it where two are called the same.
fn names(projects: &[Project]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for project in projects {
        let short = clean(project.repo.short());
        let twins = projects.iter().filter(|other| clean(other.repo.short()) == short).count();
        let owner = project.repo.as_str().rsplit('/').nth(1).unwrap_or_default();
        let first = if twins > 1 { clean(&format!("{owner}-{short}")) } else { short };
        let mut name = first.clone();
        for number in 2.. {
            if !names.contains(&name) {
                break;
            }
            name = format!("{first}-{number}");
        }
        names.push(name);
    }
    names
}

/// What is left of a text as an app's name.
fn clean(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = text.chars().map(plain).take(80).collect();
    let name = name.trim_matches(['-', '.']);
    if AppName::new(name).is_ok() { name.to_owned() } else { "app".to_owned() }
}
