//! Where a repository is (`RepoUrl`) and which repository that is (`RepoId`).
//!
//! Two urls are one repository if they agree without scheme, user, port, `.git` and trailing slash.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{InvalidName, is_one_word};

/// A url as git takes it, kept as it was written: `https://`, `ssh://`, `file://`, scp-like `git@host:path`, or a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoUrl(String);

/// How a remote is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `ssh://…` or `git@host:path`.
    Ssh,
    /// `https://…`, and `http://…` for hosts that have no more.
    Http,
    /// `git://…`: no authentication.
    Git,
    /// `file://…` or a path.
    File,
}

/// What git calls them in urls.
const SCHEMES: [(&str, Transport); 7] = [
    ("https", Transport::Http),
    ("ssh", Transport::Ssh),
    ("git", Transport::Git),
    ("http", Transport::Http),
    ("file", Transport::File),
    ("git+ssh", Transport::Ssh),
    ("ssh+git", Transport::Ssh),
];

/// A url taken apart. `path` has no leading slash for network urls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// How it is spoken to.
    pub transport: Transport,
    /// The user before `@`, without a password.
    pub user: Option<&'a str>,
    /// Empty for files.
    pub host: &'a str,
    /// Only where it is written.
    pub port: Option<u16>,
    /// As written, but for the leading slash of network urls.
    pub path: &'a str,
}

impl RepoUrl {
    /// Parses and validates. A password in the url is refused: it would end up in logs and in mirrors' configs.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        Self::check(&text)?;
        Ok(Self(text))
    }
    /// Validates, and gives nothing.
    pub fn check(text: &str) -> Result<(), InvalidName> {
        let bad = |why| Err(InvalidName::new("repository url", text, why));
        if text.is_empty() || text.len() > 2000 {
            return bad("it is empty or too long");
        }
        if text.starts_with('-') || !is_one_word(text) {
            return bad("it begins with `-` or holds white space");
        }
        let parts = match split(text) {
            Ok(parts) => parts,
            Err(why) => return bad(why),
        };
        if parts.host.starts_with('-') || parts.path.starts_with('-') || parts.user.is_some_and(|u| u.starts_with('-'))
        {
            return bad("its host, user or path begins with `-`");
        }
        Ok(())
    }
    /// The url as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The url taken apart.
    pub fn parts(&self) -> Parts<'_> {
        split(&self.0).unwrap_or(Parts { transport: Transport::File, user: None, host: "", port: None, path: &self.0 })
    }
    /// Stands where a url was lost and nothing may be fetched: no such file is there.
    pub(crate) fn unknown() -> Self {
        Self("/dev/null/unknown".to_owned())
    }
    /// Which repository this is.
    pub fn id(&self) -> RepoId {
        RepoId::of(self)
    }
}

fn split(text: &str) -> Result<Parts<'_>, &'static str> {
    if let Some((scheme, rest)) = split_at_first(text, b"://") {
        let transport = SCHEMES.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name)).map(|(_, t)| *t);
        let transport = transport.ok_or("its scheme is none of ssh, https, http, git, file")?;
        if transport == Transport::File {
            if !rest.starts_with('/') {
                return Err("a file url needs an absolute path: file:///srv/git/lib.git");
            }
            return Ok(Parts { transport, user: None, host: "", port: None, path: rest });
        }
        let (authority, path) = split_at_first(rest, b"/").ok_or("it has no path")?;
        let (user, host_port) = match split_at_last(authority, b'@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|u| u.contains(':')) {
            return Err("it holds a password; use :https-tokens in config.edn");
        }
        let (host, port) = split_port(host_port)?;
        if host.is_empty() || path.bytes().all(|byte| byte == b'/') {
            return Err("it has no host or no path");
        }
        return Ok(Parts { transport, user, host, port, path });
    }
    // scp-like: the colon comes before any slash, as git decides it.
    if let Some((authority, path)) = text.split_once(':')
        && !authority.contains('/')
    {
        let (user, host) = match split_at_last(authority, b'@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() || path.bytes().all(|byte| byte == b'/') {
            return Err("it has no host or no path");
        }
        return Ok(Parts { transport: Transport::Ssh, user, host, port: None, path: path.trim_start_matches('/') });
    }
    Ok(Parts { transport: Transport::File, user: None, host: "", port: None, path: text })
}

/// As `split_once`, which takes longer to set up than so short a text to look at.
fn split_at_first<'a, const N: usize>(text: &'a str, mark: &[u8; N]) -> Option<(&'a str, &'a str)> {
    let at = text.as_bytes().windows(N).position(|here| here == mark)?;
    Some((&text[..at], &text[at + N..]))
}

/// As `rsplit_once`, likewise.
fn split_at_last(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|byte| byte == mark)?;
    Some((&text[..at], &text[at + 1..]))
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("its [address] does not end")?;
            (host, after.strip_prefix(':'))
        }
        None => match split_at_first(text, b":") {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    match port {
        None | Some("") => Ok((host, None)),
        Some(port) => Ok((host, Some(port.parse().map_err(|_| "its port is not a number up to 65535")?))),
    }
}

/// A repository's identity across the forms of its url: `github.com/acme/snow`, `/srv/git/lib` for a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepoId(String);

/// Hosts whose paths mean the same in any case.
const CASELESS: [&str; 4] = ["github.com", "gitlab.com", "bitbucket.org", "codeberg.org"];

impl RepoId {
    /// The identity of the repository at `url`.
    pub fn of(url: &RepoUrl) -> Self {
        let parts = url.parts();
        let path = parts.path.trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
        if parts.host.is_empty() {
            return Self(path.to_owned());
        }
        let path = path.trim_start_matches('/');
        let mut id = String::with_capacity(parts.host.len() + 1 + path.len());
        id.push_str(parts.host);
        id.make_ascii_lowercase();
        let caseless = CASELESS.contains(&id.as_str());
        id.push('/');
        match caseless {
            true if path.is_ascii() => {
                id.push_str(path);
                id.make_ascii_lowercase();
            }
            true => id.push_str(&path.to_lowercase()),
            false => id.push_str(path),
        }
        Self(id)
    }
    /// As text, `host/path`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The last part of the path, for people: `snow`.
    pub fn short(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl TryFrom<String> for RepoUrl {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}
impl std::str::FromStr for RepoUrl {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}
impl From<RepoUrl> for String {
    fn from(url: RepoUrl) -> String {
        url.0
    }
}
impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_one_repository_have_one_identity() {
        let forms = [
            "git@github.com:acme/snow.git",
            "https://github.com/acme/snow",
            "https://github.com/acme/snow.git/",
            "ssh://git@github.com:22/acme/snow.git",
            "https://GitHub.com/Acme/snow",
            "git://github.com/acme/snow",
            "github.com:acme/snow",
            "git@github.com:/acme/snow.git",
        ];
        for form in forms {
            assert_eq!(RepoUrl::new(form).unwrap().id().as_str(), "github.com/acme/snow", "{form}");
        }
        assert_eq!(RepoUrl::new("file:///srv/git/lib.git").unwrap().id(), RepoUrl::new("/srv/git/lib").unwrap().id());
        assert_ne!(RepoUrl::new("/srv/git/lib").unwrap().id(), RepoUrl::new("/srv/git/lib-other").unwrap().id());
        assert_eq!(RepoUrl::new("https://git.sr.ht/~u/p").unwrap().id().as_str(), "git.sr.ht/~u/p");
        assert_eq!(RepoUrl::new("ssh://git@[::1]:2222/a/b").unwrap().parts().port, Some(2222));
    }

    #[test]
    fn urls_that_would_be_options_or_hold_a_password_are_refused() {
        for bad in [
            "--upload-pack=x",
            "ssh://-oProxyCommand=x/y",
            "https://u:p@h/x",
            "ext::sh -c x",
            "https://",
            "",
            "foo://x/y",
            "file://rel",
        ] {
            assert!(RepoUrl::new(bad).is_err(), "{bad}");
        }
    }
}
