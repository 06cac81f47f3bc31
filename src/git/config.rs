//! How git reaches remotes: which key, which token, which known_hosts. Filled in from config.edn; decides the route to
//! a url and opens nothing itself. Must never put a token into a url.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::GitError;
use crate::config::ByPrefix;
use crate::model::url::Transport;
use crate::model::{RepoId, RepoUrl, Secret};

/// Who our commits are by: author and committer alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// `airplanes`.
    pub name: String,
    /// `airplanes@example.com`.
    pub email: String,
}

/// Everything that git needs to be told.
#[derive(Debug, Clone)]
pub struct GitConfig {
    /// The daemon's state directory; mirrors are in `mirrors/` under it.
    pub state: PathBuf,
    /// Who our commits are by.
    pub author: Author,
    /// known_hosts; `None` is `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`.
    pub known_hosts: Option<PathBuf>,
    /// ssh keys: a prefix of the repository's identity (`github.com/acme/snow`, `gitlab.com`) and the private key's
    /// file. The longest prefix wins. Without any that fits: the ssh agent, then `~/.ssh/id_*`.
    pub keys: ByPrefix<PathBuf>,
    /// https tokens by a prefix likewise. The secret is the token alone, or `user:token`. It never goes over plain
    /// http, but to this machine itself.
    pub https_tokens: ByPrefix<Secret>,
    /// Whether repositories may be paths on this machine: for those whose own apps are. Who may push to an app names
    /// what is fetched, and the daemon reads what they may not. Never one in the state directory.
    pub local: bool,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// How long a remote may say nothing.
    pub silence: Duration,
    /// How long one fetch, listing or push may take in all.
    pub deadline: Duration,
}

impl GitConfig {
    /// Defaults for everything but the state directory.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            author: Author { name: "airplanes".to_owned(), email: "airplanes@localhost".to_owned() },
            known_hosts: None,
            keys: ByPrefix::default(),
            https_tokens: ByPrefix::default(),
            local: true,
            connect_timeout: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            deadline: Duration::from_secs(600),
        }
    }

    /// As config.edn has it.
    pub fn of(state: impl Into<PathBuf>, git: &crate::config::Git) -> Self {
        Self {
            author: Author { name: git.name.clone(), email: git.email.clone() },
            known_hosts: git.known_hosts.clone(),
            keys: git.keys.iter().cloned().collect(),
            https_tokens: git.https_tokens.iter().cloned().collect(),
            ..Self::new(state)
        }
    }

    /// The key that is configured for a repository, and the prefix that it is configured under.
    pub fn key_for(&self, repo: &RepoId) -> Option<(&str, &Path)> {
        self.keys.longest(repo.as_str()).map(|(prefix, path)| (prefix, path.as_path()))
    }

    /// Whether a token is configured for a repository.
    pub fn has_token_for(&self, repo: &RepoId) -> bool {
        self.https_tokens.longest(repo.as_str()).is_some()
    }

    /// Refuses a repository that nobody may name.
    pub(super) fn admits(&self, url: &RepoUrl) -> Result<(), GitError> {
        let parts = url.parts();
        if parts.transport != Transport::File {
            return Ok(());
        }
        let closed = |words| Err(GitError::Closed { remote: url.as_str().to_owned(), words });
        if !self.local {
            return closed("no app of deploy.edn has its own repository on it: name a remote by ssh or https");
        }
        // libgit2 decodes it in urls.
        if parts.path.contains('%') {
            return closed("its path has a `%`, which hides where it leads");
        }
        let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_default();
        let state = real(&self.state);
        if real(Path::new(parts.path)).starts_with(&state) {
            return closed("it lies in the daemon's state directory");
        }
        Ok(())
    }

    /// The known_hosts files to ask.
    pub(super) fn known_hosts_files(&self) -> Vec<PathBuf> {
        match &self.known_hosts {
            Some(file) => vec![file.clone()],
            None => {
                let own = std::env::home_dir().map(|home| home.join(".ssh/known_hosts"));
                own.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect()
            }
        }
    }

    /// How to reach `url`, and as whom.
    pub(super) fn route(&self, url: &RepoUrl) -> Route {
        let id = url.id();
        let parts = url.parts();
        let user = parts.user.unwrap_or("git").to_owned();
        let key = self.keys.longest(id.as_str()).map(|(prefix, path)| (prefix.to_owned(), path.clone()));
        match parts.transport {
            Transport::File | Transport::Git => Route { url: url.as_str().to_owned(), login: Login::None },
            Transport::Http => {
                let plain = url.as_str().get(..7).is_some_and(|s| s.eq_ignore_ascii_case("http://"));
                let withheld = plain && !is_this_machine(parts.host);
                let token = self.https_tokens.longest(id.as_str()).map(|(_, secret)| secret.clone());
                match (token, key) {
                    (Some(secret), _) if withheld => Route {
                        url: url.as_str().to_owned(),
                        login: Login::Withheld { name: secret.name().to_owned() },
                    },
                    (Some(secret), _) => Route {
                        url: url.as_str().to_owned(),
                        login: Login::Token {
                            user: parts.user.map(str::to_owned),
                            host: parts.host.to_owned(),
                            secret,
                        },
                    },
                    (None, Some((prefix, path))) => {
                        let host =
                            if parts.host.contains(':') { format!("[{}]", parts.host) } else { parts.host.into() };
                        Route {
                            url: format!("ssh://git@{host}/{}", parts.path),
                            login: Login::Key { user: "git".to_owned(), prefix, path },
                        }
                    }
                    (None, None) => Route { url: url.as_str().to_owned(), login: Login::None },
                }
            }
            Transport::Ssh => Route {
                url: url.as_str().to_owned(),
                login: match key {
                    Some((prefix, path)) => Login::Key { user, prefix, path },
                    None => Login::Own { user },
                },
            },
        }
    }
}

/// Whether `host` is loopback, where nobody listens in between.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The way to a remote.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// The url to open: the ssh form where a key serves an https url.
    pub url: String,
    /// As whom.
    pub login: Login,
}

/// As whom a remote is spoken to.
#[derive(Debug, Clone)]
pub(super) enum Login {
    /// Nobody: a file, or a public repository.
    None,
    /// Nobody, since the token that fits would go over plain http.
    Withheld { name: String },
    /// By a token, as a password.
    Token { user: Option<String>, host: String, secret: Secret },
    /// By the key that is configured for the repository.
    Key { user: String, prefix: String, path: PathBuf },
    /// By what the daemon's own user has: the agent, `~/.ssh/id_*`.
    Own { user: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GitConfig {
        let mut config = GitConfig::new("/s");
        let keys = [
            ("github.com/acme", "/k/acme"),
            ("github.com/acme/snow.git", "/k/snow"),
            ("git.example.com:2222", "/k/own"),
        ];
        config.keys = keys.map(|(prefix, key)| (prefix.to_owned(), key.into())).into_iter().collect();
        let tokens = [("gitlab.com", "gl"), ("127.0.0.1:80", "local")];
        config.https_tokens =
            tokens.map(|(prefix, name)| (prefix.to_owned(), Secret::new(name, "t"))).into_iter().collect();
        config
    }

    fn key_of(url: &str) -> (String, String) {
        let route = config().route(&RepoUrl::new(url).unwrap());
        let login = match route.login {
            Login::None => "none".to_owned(),
            Login::Withheld { name } => format!("not {name}"),
            Login::Token { secret, .. } => secret.name().to_owned(),
            Login::Key { path, .. } => path.display().to_string(),
            Login::Own { user } => user,
        };
        (route.url, login)
    }

    #[test]
    fn the_longest_prefix_in_whole_segments_wins() {
        assert_eq!(key_of("git@github.com:acme/snow.git").1, "/k/snow");
        assert_eq!(key_of("git@github.com:Acme/Snow").1, "/k/snow");
        assert_eq!(key_of("git@github.com:acme/snowball").1, "/k/acme");
        assert_eq!(key_of("git@github.com:acme-two/x").1, "git");
        assert_eq!(key_of("ssh://me@git.example.com:2222/x/y").1, "/k/own");
        assert_eq!(key_of("file:///srv/x").1, "none");
    }

    #[test]
    fn an_https_url_takes_its_token_or_else_the_ssh_form_of_its_key() {
        assert_eq!(key_of("https://gitlab.com/a/b"), ("https://gitlab.com/a/b".into(), "gl".into()));
        assert_eq!(
            key_of("https://github.com/acme/snow.git"),
            ("ssh://git@github.com/acme/snow.git".into(), "/k/snow".into())
        );
        assert_eq!(key_of("https://codeberg.org/a/b").1, "none");
    }

    #[test]
    fn a_token_goes_over_plain_http_only_to_this_machine() {
        assert_eq!(key_of("http://gitlab.com/a/b").1, "not gl");
        assert_eq!(key_of("http://127.0.0.1:8080/a/b").1, "local");
    }
}
