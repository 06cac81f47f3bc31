//! What is meant by a host on the command line: where it is, and which known_hosts files are to name it.

use std::path::{Path, PathBuf};

use crate::cli::error::CliError;
use crate::cli::kept;
use crate::cli::keys::{Entry, KNOWN_HOSTS};
use crate::config::Loaded;
use crate::git::known_hosts::{HostKey, KnownHosts, host_name, published};
use crate::model::url::Transport;
use crate::model::{HostName, RepoUrl};

/// A host, and the files that are to know it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Place {
    /// Its address or name.
    pub host: String,
    /// sshd's port.
    pub port: u16,
    /// The known_hosts files, mostly one.
    pub files: Vec<PathBuf>,
}

impl Place {
    /// As known_hosts names it.
    pub fn name(&self) -> String {
        host_name(&self.host, Some(self.port))
    }
    /// As `host trust` takes it.
    pub fn argument(&self) -> String {
        match self.port {
            22 => self.host.clone(),
            port if self.host.contains(':') => format!("[{}]:{port}", self.host),
            port => format!("{}:{port}", self.host),
        }
    }
    /// The keys that a large forge publishes for it; none for other hosts.
    pub fn published(&self) -> Vec<HostKey> {
        if self.port == 22 { published(&self.host) } else { Vec::new() }
    }
    /// Whether each of the files names it.
    pub fn is_known(&self) -> Result<bool, CliError> {
        let name = self.name();
        for file in &self.files {
            if read(file)?.keys_of(&name).is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
    /// Records keys, beside what is there.
    pub fn record(&self, keys: &[HostKey]) -> Result<(), CliError> {
        let name = self.name();
        for file in &self.files {
            let known = read(file)?;
            let there: Vec<HostKey> = known.keys_of(&name).into_iter().map(|(_, key)| key).collect();
            let new: Vec<HostKey> = keys.iter().filter(|key| !there.contains(key)).cloned().collect();
            if !new.is_empty() {
                write(file, &known.with(&name, &new))?;
            }
        }
        Ok(())
    }
    /// Forgets all keys of it that are on record.
    pub fn forget(&self) -> Result<(), CliError> {
        for file in &self.files {
            let known = read(file)?;
            let left = known.without(&self.name()).map_err(|shared| CliError::Refused {
                message: format!("{}: {shared}", file.display()),
                hint: Some("take that line out yourself, then run this again".to_owned()),
            })?;
            if left != known {
                write(file, &left)?;
            }
        }
        Ok(())
    }
}

pub(super) fn read(file: &Path) -> Result<KnownHosts, CliError> {
    KnownHosts::read(file).map_err(|e| CliError::io(&format!("{} can't be read", file.display()), &e))
}

fn write(file: &Path, known: &KnownHosts) -> Result<(), CliError> {
    kept::make_folder(file.parent().unwrap_or(Path::new("/")))?;
    kept::replace(file, known.text().as_bytes())
}

/// What was meant, and what config.edn lacks so that the files count.
pub(super) fn find(text: &str, loaded: &Loaded, folder: &Path) -> Result<(Place, Vec<Entry>), CliError> {
    let config = &loaded.config;
    let named = config.hosts.iter().find(|(name, _)| name.as_str() == text).map(|(_, host)| host);
    let (host, port) = match named {
        Some(host) => (host.address.to_string(), Some(host.port)),
        None => address(text)?,
    };
    let is = |other: &str| other.eq_ignore_ascii_case(&host);
    let hosts = config.hosts.values().chain(loaded.apps.values().flat_map(|app| &app.hosts));
    let as_host = hosts.filter(|other| is(other.address.as_str())).map(|other| other.port).collect::<Vec<_>>();
    let apps = loaded.apps.values().map(|app| app.git_url.parts());
    let apps = apps.filter(|parts| parts.transport == Transport::Ssh && is(parts.host));
    let mut as_git: Vec<u16> = apps.map(|parts| parts.port.unwrap_or(22)).collect();
    let prefixes = config.git.keys.iter().map(|(prefix, _)| prefix.split('/').next().unwrap_or_default());
    as_git.extend(
        prefixes
            .filter_map(|prefix| address(prefix).ok())
            .filter(|(host, _)| is(host))
            .map(|(_, port)| port.unwrap_or(22)),
    );
    as_git.extend((!published(&host).is_empty()).then_some(22));
    let port = port.or(as_host.first().copied()).or(as_git.first().copied()).unwrap_or(22);
    // One that is neither yet may become either.
    let neither = as_host.is_empty() && as_git.is_empty();
    let mut entries = Vec::new();
    let mut file = |configured: &Option<PathBuf>, section: &'static [&'static str]| {
        configured.clone().unwrap_or_else(|| {
            let (key, value) = ("known-hosts".to_owned(), KNOWN_HOSTS.to_owned());
            entries.push(Entry { path: section, key, is_text: false, value });
            folder.join(KNOWN_HOSTS)
        })
    };
    let mut files = Vec::new();
    if neither || !as_host.is_empty() {
        files.push(file(&config.ssh.known_hosts, &["ssh"]));
    }
    if neither || !as_git.is_empty() {
        files.push(file(&config.git.known_hosts, &["git"]));
    }
    files.dedup();
    Ok((Place { host: host.to_ascii_lowercase(), port, files }, entries))
}

/// `web-1.example.com`, `10.0.0.1:2222`, `::1`, `[::1]:2222`.
fn address(text: &str) -> Result<(String, Option<u16>), CliError> {
    let bad = |why: &str| {
        let hint = "name one of :hosts, a git host, or an address like 10.0.0.11 or 10.0.0.11:2222";
        CliError::usage(format!("`{}` is no host: {why}", text.escape_debug()), hint)
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') && host.ends_with(']') => (&host[1..host.len() - 1], Some(port)),
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (text.trim_start_matches('[').trim_end_matches(']'), None),
    };
    let port = port.map(|port| port.parse().map_err(|_| bad("its port is no number up to 65535"))).transpose()?;
    let host = HostName::new(host).map_err(|error| bad(error.why))?;
    // It has to be a host of a url too, since that is what git takes.
    RepoUrl::new(format!("ssh://[{host}]/x")).map_err(|error| bad(error.why))?;
    Ok((host.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_as_people_write_them() {
        let cases = [
            ("web-1", Some(("web-1", None))),
            ("10.0.0.1:2222", Some(("10.0.0.1", Some(2222)))),
            ("::1", Some(("::1", None))),
            ("[::1]:22", Some(("::1", Some(22)))),
            ("-oProxyCommand=x", None),
            ("h:99999", None),
            ("a b", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(address(text).ok(), expected, "{text}");
        }
    }
}
