//! Which repositories want a key: the apps', those that `:git :keys` names, and what they depend on as far as that is
//! to be found out here.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::Globals;
use crate::cli::address::Address;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::init::find;
use crate::config::Loaded;
use crate::forge::pages;
use crate::git::GitConfig;
use crate::model::api::AppView;
use crate::model::inbox::AppList;
use crate::model::url::Transport;
use crate::model::{RepoId, RepoUrl};

/// A repository, and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub repo: RepoId,
    /// Where it is, if a url is known.
    pub url: Option<RepoUrl>,
    /// Whether it is pushed to.
    pub write: bool,
}

impl Wanted {
    /// The host and port that git speaks ssh to.
    pub fn ssh_host(&self) -> (String, u16) {
        match self.url.as_ref().map(|url| url.parts()) {
            Some(parts) if parts.transport == Transport::Ssh => {
                (parts.host.to_ascii_lowercase(), parts.port.unwrap_or(22))
            }
            _ => (pages::host_of(&self.repo).to_owned(), 22),
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Those that are spoken to over ssh.
    pub by_ssh: Vec<Wanted>,
    /// What a person should know of the others.
    pub remarks: Vec<String>,
}

/// Of a configuration, what `sources` name beside it, and a daemon that may run.
pub(super) async fn wanted(loaded: &Loaded, sources: &[String], globals: &Globals) -> Result<Sorted, CliError> {
    let git = GitConfig::of("/", &loaded.config.git);
    let mut all: BTreeMap<RepoId, Wanted> = BTreeMap::new();
    let mut sorted = Sorted::default();
    for app in loaded.apps.values() {
        add(&mut all, app.repo(), Some(&app.git_url), true);
    }
    let daemons = asked(globals).await;
    for url in daemons.iter().flat_map(|app| &app.depends_on_ssh) {
        add(&mut all, url.id(), Some(url), false);
    }
    if !sources.is_empty() {
        let found = find(sources).await;
        if let Some(why) = found.passed_over.into_iter().next() {
            return Err(CliError::usage(why, "name a checkout, a folder of checkouts, or a repository's url"));
        }
        for project in &found.projects {
            add(&mut all, project.repo.clone(), Some(&project.url), false);
            for (repo, url) in project.deps.iter().filter(|(_, url)| is_ssh(url)) {
                add(&mut all, repo.clone(), Some(url), false);
            }
        }
    }
    // A whole identity is a repository; `github.com`, `github.com/acme` and what others are below are keys for many.
    let mut known: BTreeSet<String> = all.keys().map(|repo| repo.as_str().to_owned()).collect();
    for (prefix, _) in &loaded.config.git.keys {
        let below = format!("{}/", prefix.trim_end_matches('/'));
        if let Ok(url) = RepoUrl::new(format!("ssh://git@{prefix}"))
            && prefix.matches('/').count() >= 2
            && !known.range(below.clone()..).next().is_some_and(|repo| repo.starts_with(&below))
        {
            known.insert(url.id().as_str().to_owned());
            add(&mut all, url.id(), None, false);
        }
    }
    let unsure: BTreeSet<RepoId> =
        daemons.into_iter().flat_map(|app| app.depends_on).filter(|repo| !all.contains_key(repo)).collect();
    for wanted in all.into_values() {
        match &wanted.url {
            // A key makes git speak ssh, also where the url says https.
            _ if git.key_for(&wanted.repo).is_some() && !is_file(wanted.url.as_ref()) => sorted.by_ssh.push(wanted),
            Some(url) if is_ssh(url) => sorted.by_ssh.push(wanted),
            Some(url)
                if url.parts().transport == Transport::Http && wanted.write && !git.has_token_for(&wanted.repo) =>
            {
                let repo = &wanted.repo;
                sorted.remarks.push(format!(
                    "{repo} is spoken to over https without a token, so it can be read if it is public, and not pushed \
                     to; give :https-tokens one for it, or write its :git-url as git@{}",
                    repo.as_str().replacen('/', ":", 1)
                ));
            }
            _ => {}
        }
    }
    let hosts: BTreeSet<&str> = sorted.by_ssh.iter().map(|other| pages::host_of(&other.repo)).collect();
    for repo in unsure.iter().filter(|repo| git.key_for(repo).is_none() && !git.has_token_for(repo)) {
        if hosts.contains(pages::host_of(repo)) {
            let url = repo.as_str().replacen('/', ":", 1);
            sorted.remarks.push(format!("apps also depend on {repo}; if it is private: airplanes keys git@{url}"));
        }
    }
    Ok(sorted)
}

fn add(all: &mut BTreeMap<RepoId, Wanted>, repo: RepoId, url: Option<&RepoUrl>, write: bool) {
    let wanted = all.entry(repo.clone()).or_insert(Wanted { repo, url: None, write });
    wanted.write |= write;
    if wanted.url.is_none() {
        wanted.url = url.cloned();
    }
}

fn is_ssh(url: &RepoUrl) -> bool {
    url.parts().transport == Transport::Ssh
}

fn is_file(url: Option<&RepoUrl>) -> bool {
    url.is_some_and(|url| url.parts().transport == Transport::File)
}

/// The daemon's apps; none if none runs here.
async fn asked(globals: &Globals) -> Vec<AppView> {
    let Ok(client) = Address::find(globals).and_then(Client::new) else { return Vec::new() };
    client.get::<AppList>(&["apps"], &[]).await.map(|list| list.apps).unwrap_or_default()
}
