//! One talk with a remote: logging in, checking its host key, listing its refs, and putting into words what went
//! wrong. `git2::Remote` is not `Send`: all of this lives and dies on one blocking thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;

use git2::{CertificateCheckStatus, Cred, CredentialType, Direction, ErrorClass, ErrorCode, Oid, RemoteCallbacks};

use super::config::{GitConfig, Login, Route};
use super::error::GitError;
use super::known_hosts::{self, Verdict};
use super::task::Halt;
use crate::model::url::Transport;
use crate::model::{Branch, RepoUrl, Sha};

/// What a remote has, as it lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads {
    /// The branch that its HEAD names: its default branch.
    pub head_branch: Option<Branch>,
    /// Its branches and their heads. A branch whose name we would not pass on (`-x`) is left out.
    pub branches: BTreeMap<Branch, Sha>,
    /// Its tags and the commits they lead to; annotated tags are peeled.
    pub tags: BTreeMap<String, Sha>,
}

/// A remote's refs as they are, before any is judged.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    /// Full names under `refs/heads/` and `refs/tags/`, tags not peeled.
    pub refs: BTreeMap<String, Oid>,
    /// Where annotated tags lead.
    pub peeled: BTreeMap<String, Oid>,
    /// The full name that HEAD names.
    pub head: Option<String>,
}

impl Listing {
    /// From an open connection. Panics inside git2 if a name is not UTF-8; `task::run` makes an error of that.
    pub fn of(list: &[git2::RemoteHead<'_>]) -> Self {
        let mut listing = Self::default();
        let mut head_oid = None;
        for head in list {
            let name = head.name();
            if name == "HEAD" {
                listing.head = head.symref_target().map(str::to_owned);
                head_oid = Some(head.oid());
            } else if let Some(tag) = name.strip_suffix("^{}") {
                listing.peeled.insert(tag.to_owned(), head.oid());
            } else if name.starts_with("refs/heads/") || name.starts_with("refs/tags/") {
                listing.refs.insert(name.to_owned(), head.oid());
            }
        }
        if listing.head.is_none()
            && let Some(oid) = head_oid
        {
            // A server too old to say: main or master at that commit, else any branch there.
            let at = |name: &str| (listing.refs.get(name) == Some(&oid)).then(|| name.to_owned());
            listing.head = at("refs/heads/main").or_else(|| at("refs/heads/master")).or_else(|| {
                let mut there = listing.refs.iter().filter(|(n, o)| n.starts_with("refs/heads/") && **o == oid);
                there.next().map(|(name, _)| name.clone())
            });
        }
        listing
    }

    /// As the rest of the program sees it.
    pub fn heads(&self) -> Heads {
        let mut heads = Heads::default();
        let branch = |name: &str| name.strip_prefix("refs/heads/").and_then(|b| Branch::new(b).ok());
        for (name, oid) in &self.refs {
            let peeled = self.peeled.get(name).unwrap_or(oid);
            let Some(sha) = sha(*peeled) else { continue };
            if let Some(tag) = name.strip_prefix("refs/tags/") {
                heads.tags.insert(tag.to_owned(), sha);
            } else if let Some(branch) = branch(name) {
                heads.branches.insert(branch, sha);
            } else {
                tracing::warn!(name, "left out a branch whose name is not a valid one");
            }
        }
        heads.head_branch = self.head.as_deref().and_then(branch);
        heads
    }
}

/// Git's id as ours; none for the zero id.
pub(super) fn sha(oid: Oid) -> Option<Sha> {
    let bytes: [u8; 20] = oid.as_bytes().try_into().ok()?;
    (bytes != [0; 20]).then(|| Sha::from_bytes(bytes))
}

/// Our id as git's.
pub(super) fn oid(sha: &Sha) -> Oid {
    Oid::from_bytes(sha.as_bytes()).unwrap_or(Oid::ZERO_SHA1)
}

/// What one talk needs and what it leaves behind.
pub(super) struct Talk {
    /// The url as it was asked for, for messages.
    pub name: String,
    /// The url that is opened.
    pub url: String,
    login: Login,
    known_hosts: Vec<PathBuf>,
    halt: Halt,
    /// The login attempts so far: libgit2 would ask for a wrong password 15 times.
    attempts: Cell<usize>,
    /// The reason, in our own words, for which a callback ended the talk.
    trouble: RefCell<Option<GitError>>,
    /// What the remote printed.
    printed: RefCell<Vec<u8>>,
}

/// How much of a remote's words is kept.
const PRINTED_MAX: usize = 16 * 1024;

impl Talk {
    /// A talk with `url` by the route that the configuration gives, if it admits it.
    pub fn new(config: &GitConfig, url: &RepoUrl, halt: &Halt) -> Result<Self, GitError> {
        config.admits(url)?;
        let Route { url: opened, login } = config.route(url);
        Ok(Self {
            name: url.as_str().to_owned(),
            url: opened,
            login,
            known_hosts: config.known_hosts_files(),
            halt: halt.clone(),
            attempts: Cell::new(0),
            trouble: RefCell::new(None),
            printed: RefCell::new(Vec::new()),
        })
    }

    /// Lists the remote's refs without any repository. libgit2 follows redirects to other hosts then, and sends them the
    /// token: where there may be one, [`Talk::list_by`] is for.
    pub fn list(&self) -> Result<Listing, GitError> {
        self.list_of(git2::Remote::create_detached(self.url.as_str()))
    }

    /// Lists the remote's refs by the settings of `repo`.
    pub fn list_by(&self, repo: &git2::Repository) -> Result<Listing, GitError> {
        self.list_of(repo.remote_anonymous(&self.url))
    }

    fn list_of(&self, remote: Result<git2::Remote<'_>, git2::Error>) -> Result<Listing, GitError> {
        self.attempts.set(0);
        let mut remote = remote.map_err(|e| self.fail(e))?;
        let connection =
            remote.connect_auth(Direction::Fetch, Some(self.callbacks()), Some(proxy())).map_err(|e| self.fail(e))?;
        Ok(Listing::of(connection.list().map_err(|e| self.fail(e))?))
    }

    /// Whether the caller has gone.
    pub fn is_halted(&self) -> bool {
        self.halt.is_set()
    }

    /// The callbacks of a connection, a fetch or a push.
    pub fn callbacks(&self) -> RemoteCallbacks<'_> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(|_, user, allowed| self.log_in(user, allowed));
        callbacks.certificate_check(|cert, host| match cert.as_hostkey() {
            Some(key) => self.check_host(host, key.hostkey().unwrap_or_default()),
            None => Ok(CertificateCheckStatus::CertificatePassthrough),
        });
        callbacks.transfer_progress(|_| !self.halt.is_set());
        callbacks.sideband_progress(|bytes| {
            let mut printed = self.printed.borrow_mut();
            let room = PRINTED_MAX.saturating_sub(printed.len());
            printed.extend_from_slice(&bytes[..bytes.len().min(room)]);
            !self.halt.is_set()
        });
        callbacks
    }

    /// What the remote printed, as lines of text without progress meters.
    pub fn printed(&self) -> String {
        let printed = self.printed.borrow();
        let text = String::from_utf8_lossy(&printed);
        let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join("\n")
    }

    fn check_host(&self, host: &str, key: &[u8]) -> Result<CertificateCheckStatus, git2::Error> {
        let port = RepoUrl::new(self.url.as_str()).ok().and_then(|url| url.parts().port);
        let host = known_hosts::host_name(host, port);
        let shown = known_hosts::fingerprint(key);
        let remote = self.name.clone();
        let files = known_hosts::files_in_words(&self.known_hosts);
        let trouble = match known_hosts::check(&self.known_hosts, &host, key) {
            Ok(Verdict::Known) => return Ok(CertificateCheckStatus::CertificateOk),
            Ok(Verdict::Changed { at }) => GitError::HostChanged { host, remote, at, shown },
            Ok(Verdict::Unknown { others }) if others.is_empty() => {
                GitError::HostUnknown { host, remote, files, shown }
            }
            Ok(Verdict::Unknown { others }) => {
                let files = format!("{files} (which has only its {})", others.join(", "));
                GitError::HostUnknown { host, remote, files, shown }
            }
            Err((file, e)) => GitError::Config(format!(
                "known_hosts {} can't be read ({e}), so {remote} is not spoken to; make it readable for the daemon's user",
                file.display()
            )),
        };
        Err(self.end(trouble))
    }

    fn log_in(&self, user: Option<&str>, allowed: CredentialType) -> Result<Cred, git2::Error> {
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(match &self.login {
                Login::Key { user, .. } | Login::Own { user } => user,
                _ => "git",
            });
        }
        let attempt = self.attempts.replace(self.attempts.get() + 1);
        match &self.login {
            Login::None => Err(self.no_login(
                "it asks for a login and none is configured; add a key for it under :git :keys, or a token under \
                 :git :https-tokens, in config.edn",
            )),
            Login::Withheld { name } => Err(self.no_login(&format!(
                "it asks for a login, and the token {name} is not sent over plain http, where it could be read; use \
                 its https url"
            ))),
            Login::Token { secret, .. } if attempt > 0 => Err(self.no_login(&format!(
                "the token {} was not accepted; it may have expired, or lack the right to read and write this \
                 repository",
                secret.name()
            ))),
            Login::Token { user, host, secret } => {
                let token = String::from_utf8_lossy(secret.expose());
                let (named, token) = match token.trim().split_once(':') {
                    Some((named, token)) => (Some(named.to_owned()), token.to_owned()),
                    None => (None, token.trim().to_owned()),
                };
                let default = if host == "bitbucket.org" { "x-token-auth" } else { "oauth2" };
                let user = named.or_else(|| user.clone()).unwrap_or_else(|| default.to_owned());
                Cred::userpass_plaintext(&user, &token)
            }
            Login::Key { path, .. } if attempt > 0 => Err(self.no_login(&format!(
                "the key {} was not accepted; add its public half to the repository as a deploy key with write access",
                path.display()
            ))),
            Login::Key { user: own, path, .. } => {
                if let Err(e) = std::fs::File::open(path) {
                    return Err(self.end(GitError::Config(format!(
                        "the ssh key {} for {} can't be read: {e}; put it there, readable for the daemon's user",
                        path.display(),
                        self.name
                    ))));
                }
                Cred::ssh_key(user.unwrap_or(own), None, path, None)
            }
            Login::Own { user: own } => {
                let user = user.unwrap_or(own);
                match own_keys().into_iter().nth(attempt) {
                    Some(OwnKey::Agent) => Cred::ssh_key_from_agent(user),
                    Some(OwnKey::File(path)) => Cred::ssh_key(user, None, &path, None),
                    None => Err(self.no_login(&format!(
                        "no key is configured for it, and {attempt} of the daemon user's own (agent, ~/.ssh) were not \
                         accepted; add one under :git :keys in config.edn, and its public half to the repository as a \
                         deploy key with write access"
                    ))),
                }
            }
        }
    }

    fn no_login(&self, words: &str) -> git2::Error {
        self.end(GitError::Auth { remote: self.name.clone(), words: words.to_owned() })
    }

    /// Keeps the reason and gives libgit2 an error to end with.
    fn end(&self, trouble: GitError) -> git2::Error {
        let words = trouble.to_string();
        *self.trouble.borrow_mut() = Some(trouble);
        git2::Error::new(ErrorCode::User, ErrorClass::Callback, words)
    }

    /// An error of libgit2 in our words.
    pub fn fail(&self, error: git2::Error) -> GitError {
        if let Some(trouble) = self.trouble.borrow_mut().take() {
            return trouble;
        }
        let remote = self.name.clone();
        if self.halt.is_set() {
            return GitError::Canceled { what: format!("the talk with {remote}") };
        }
        let said = error.message().trim().to_owned();
        let words = match self.printed() {
            printed if printed.is_empty() => said,
            printed => format!("{said}; it printed: {printed}"),
        };
        let low = words.to_ascii_lowercase();
        let has = |needles: &[&str]| needles.iter().any(|needle| low.contains(needle));
        if has(&["no space left", "quota exceeded"]) {
            let what = format!("the talk with {remote}");
            return GitError::Other { what, words: format!("{words}; make room on the daemon's disk") };
        }
        if has(&["timed out", "timeout"]) {
            return GitError::Network { remote, words };
        }
        if error.code() == ErrorCode::Certificate && error.class() != ErrorClass::Ssh {
            let words = format!("its TLS certificate is not valid ({words}); nothing was sent");
            return GitError::Auth { remote, words };
        }
        let talking = matches!(error.class(), ErrorClass::Net | ErrorClass::Http | ErrorClass::Ssh | ErrorClass::Ssl);
        if talking && has(&["status code: 404", "not found", "not appear to be", "does not exist", "no such repo"]) {
            return GitError::NotFound { remote, words };
        }
        let denied =
            ["status code: 401", "status code: 403", "read only", "read-only", "denied", "not allowed", "unauthor"];
        let keys = ["authenticat", "public key", "private key", "passphrase", "credential"];
        if error.code() == ErrorCode::Auth || (talking && (has(&denied) || has(&keys))) {
            return GitError::Auth { remote, words: format!("{words} ({})", self.login_in_words()) };
        }
        if talking || matches!(error.class(), ErrorClass::Os) || error.code() == ErrorCode::Eof {
            let file = RepoUrl::new(self.url.as_str()).is_ok_and(|url| url.parts().transport == Transport::File);
            return match file {
                true => GitError::NotFound { remote, words },
                false => GitError::Network { remote, words },
            };
        }
        if error.code() == ErrorCode::NotFound {
            return GitError::NotFound { remote, words };
        }
        if error.code() == ErrorCode::Owner {
            let words = format!("{words}; let the daemon's user own it, or add it to safe.directory in git's config");
            return GitError::Auth { remote, words };
        }
        GitError::Other { what: format!("the talk with {remote}"), words }
    }

    fn login_in_words(&self) -> String {
        match &self.login {
            Login::None | Login::Withheld { .. } => {
                "without a login; add a key or a token for it in config.edn".to_owned()
            }
            Login::Token { secret, .. } => format!("with the token {}; it needs the right to write", secret.name()),
            Login::Key { path, prefix, .. } => format!(
                "with the key {} of {prefix}, which must have no passphrase; as a deploy key it needs write access",
                path.display()
            ),
            Login::Own { .. } => {
                "with the daemon user's own keys; add one for it under :git :keys in config.edn".to_owned()
            }
        }
    }
}

/// The proxy that git's own configuration or the environment names.
pub(super) fn proxy<'a>() -> git2::ProxyOptions<'a> {
    let mut proxy = git2::ProxyOptions::new();
    proxy.auto();
    proxy
}

enum OwnKey {
    Agent,
    File(PathBuf),
}

/// What the daemon's user has to log in with, in the order it is tried.
fn own_keys() -> Vec<OwnKey> {
    let mut keys = Vec::new();
    if std::env::var_os("SSH_AUTH_SOCK").is_some_and(|path| std::os::unix::net::UnixStream::connect(path).is_ok()) {
        keys.push(OwnKey::Agent);
    }
    let home = std::env::home_dir().unwrap_or_default();
    for name in ["id_ed25519", "id_ecdsa", "id_rsa"] {
        let path = home.join(".ssh").join(name);
        if path.is_file() {
            keys.push(OwnKey::File(path));
        }
    }
    keys
}
