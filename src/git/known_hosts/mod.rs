//! OpenSSH's known_hosts, read strictly: plain, wildcard and hashed names, `[host]:port`, several key types, markers.
//!
//! A host that is not there is never accepted, and nothing here decides to trust one: [`KnownHosts`] makes the text of
//! a file with what a person has trusted, and [`published`] is what the large forges publish.

mod edit;
mod forges;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::sha1::hmac_sha1;

pub use edit::{KnownHosts, SharedLine};
pub use forges::published;

/// A host's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    blob: Vec<u8>,
}

impl HostKey {
    /// From a line of known_hosts' form, with the name that stands before the key. None for comments and what is no key.
    pub fn of_line(line: &str) -> Option<(String, Self)> {
        let entry = Entry::parse(line).filter(|entry| entry.marker.is_none())?;
        let name = entry.names.to_owned();
        let right = !entry.kind.is_empty() && entry.kind == key_type(&entry.key);
        right.then_some((name, Self { blob: entry.key }))
    }
    /// `ssh-ed25519`
    pub fn kind(&self) -> &str {
        key_type(&self.blob)
    }
    /// `SHA256:…`, as `ssh-keygen -l` and the forges' pages write it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }
    fn to_line(&self, name: &str) -> String {
        format!("{name} {} {}\n", self.kind(), STANDARD.encode(&self.blob))
    }
}

/// What the files say of a host and the key it showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) enum Verdict {
    /// The very key is there.
    Known,
    /// No line names the host with a key of this type. `others` are the types it is known by.
    Unknown {
        /// Key types of other lines for the host.
        others: Vec<String>,
    },
    /// A line names the host with another key of this type, or revokes this one.
    Changed {
        /// `file:line`.
        at: String,
    },
}

/// A host as known_hosts names it: the bare name for port 22, `[name]:port` otherwise.
pub fn host_name(host: &str, port: Option<u16>) -> String {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    match port {
        None | Some(22) => host,
        Some(port) => format!("[{host}]:{port}"),
    }
}

/// Asks the `files` in order about `host` (see [`host_name`]) which showed `key`, a public key's blob.
/// A file that is not there is an empty one.
pub(in crate::git) fn check(files: &[PathBuf], host: &str, key: &[u8]) -> Result<Verdict, (PathBuf, std::io::Error)> {
    let shown = key_type(key);
    let mut others = Vec::new();
    let mut changed = None;
    let mut known = false;
    for file in files {
        let text = match std::fs::read(file) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err((file.clone(), e)),
        };
        for (number, line) in text.lines().enumerate() {
            let Some(entry) = Entry::parse(line) else { continue };
            if !entry.names(host) {
                continue;
            }
            let at = || format!("{}:{}", file.display(), number + 1);
            match (entry.marker, entry.key == key) {
                (Some("@revoked"), true) => return Ok(Verdict::Changed { at: format!("{} (@revoked)", at()) }),
                (Some(_), _) => {}
                (None, true) => known = true,
                (None, false) if key_type(&entry.key) == shown => changed = changed.or_else(|| Some(at())),
                (None, false) => others.push(entry.kind.to_owned()),
            }
        }
    }
    Ok(match (known, changed) {
        (true, _) => Verdict::Known,
        (false, Some(at)) => Verdict::Changed { at },
        (false, None) => Verdict::Unknown { others },
    })
}

/// The key's type as its blob says it: `ssh-ed25519`. Empty if the blob is none.
pub(in crate::git) fn key_type(blob: &[u8]) -> &str {
    let length = match blob.first_chunk::<4>() {
        Some(bytes) => u32::from_be_bytes(*bytes) as usize,
        None => return "",
    };
    blob.get(4..4usize.saturating_add(length)).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("")
}

/// `ssh-ed25519 SHA256:…`, as `ssh-keygen -l` and the forges' pages write it.
pub(in crate::git) fn fingerprint(blob: &[u8]) -> String {
    format!("{} SHA256:{}", key_type(blob), STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// The files in words.
pub(in crate::git) fn files_in_words(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|f: &PathBuf| Path::display(f).to_string()).collect();
    if names.is_empty() { "no known_hosts file".to_owned() } else { names.join(" or ") }
}

struct Entry<'a> {
    marker: Option<&'a str>,
    names: &'a str,
    kind: &'a str,
    key: Vec<u8>,
}

impl<'a> Entry<'a> {
    /// None for blank lines, comments and lines that are no entry: OpenSSH skips those too.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().peekable();
        let marker = words.next_if(|w| w.starts_with('@'));
        let names = words.next().filter(|w| !w.starts_with('#'))?;
        let kind = words.next()?;
        let key = STANDARD.decode(words.next()?).ok()?;
        Some(Self { marker, names, kind, key })
    }

    fn names(&self, host: &str) -> bool {
        if let Some(hashed) = self.names.strip_prefix("|1|") {
            let Some((salt, hash)) = hashed.split_once('|') else { return false };
            return match (STANDARD.decode(salt), STANDARD.decode(hash)) {
                (Ok(salt), Ok(hash)) => hmac_sha1(&salt, host.as_bytes()).as_slice() == hash,
                _ => false,
            };
        }
        let mut named = false;
        for pattern in self.names.split(',') {
            match pattern.strip_prefix('!') {
                Some(pattern) if matches(pattern, host) => return false,
                Some(_) => {}
                None => named |= matches(pattern, host),
            }
        }
        named
    }
}

/// OpenSSH's patterns: `*` is any run of characters, `?` is one. Names compare without case.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let (p, t) = (pattern.as_bytes(), text.as_bytes());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        if i < p.len() && p[i] == b'*' {
            star = Some((i, j));
            i += 1;
        } else if i < p.len() && (p[i] == b'?' || p[i] == t[j]) {
            i += 1;
            j += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            i = at + 1;
            j = from + 1;
        } else {
            return false;
        }
    }
    p[i..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(kind: &str, body: u8) -> Vec<u8> {
        let mut blob = (kind.len() as u32).to_be_bytes().to_vec();
        blob.extend_from_slice(kind.as_bytes());
        blob.extend_from_slice(&[body; 32]);
        blob
    }

    fn ask(text: &str, host: &str, key: &[u8]) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        std::fs::write(&file, text).unwrap();
        check(&[dir.path().join("absent"), file], host, key).unwrap()
    }

    #[test]
    fn plain_wildcard_and_port_names_are_found() {
        let key = blob("ssh-ed25519", 1);
        let b64 = STANDARD.encode(&key);
        for names in ["git.example.com", "other,git.example.com", "*.example.com", "GIT.example.com", "git.exampl?.com"]
        {
            let text = format!("# a comment\n\n{names} ssh-ed25519 {b64} me@here\n");
            assert_eq!(ask(&text, "git.example.com", &key), Verdict::Known, "{names}");
        }
        let port = format!("[git.example.com]:2222 ssh-ed25519 {b64}\n");
        assert_eq!(ask(&port, &host_name("git.example.com", Some(2222)), &key), Verdict::Known);
        assert_eq!(ask(&port, "git.example.com", &key), Verdict::Unknown { others: vec![] });
        let not = format!("*.example.com,!git.example.com ssh-ed25519 {b64}\n");
        assert_eq!(ask(&not, "git.example.com", &key), Verdict::Unknown { others: vec![] });
    }

    #[test]
    fn another_key_of_the_same_type_is_a_change_and_of_another_type_is_not() {
        let (key, other, rsa) = (blob("ssh-ed25519", 1), blob("ssh-ed25519", 2), blob("ssh-rsa", 3));
        let line = |key: &[u8]| format!("h {} {}\n", key_type(key), STANDARD.encode(key));
        assert!(matches!(ask(&line(&other), "h", &key), Verdict::Changed { at } if at.ends_with(":1")));
        assert_eq!(ask(&line(&rsa), "h", &key), Verdict::Unknown { others: vec!["ssh-rsa".into()] });
        assert_eq!(ask(&(line(&other) + &line(&key)), "h", &key), Verdict::Known, "two keys during a rotation");
        let revoked = format!("{}@revoked h ssh-ed25519 {}\n", line(&key), STANDARD.encode(&key));
        assert!(matches!(ask(&revoked, "h", &key), Verdict::Changed { .. }));
        let authority = format!("@cert-authority * ssh-ed25519 {}\n", STANDARD.encode(&key));
        assert_eq!(ask(&authority, "h", &key), Verdict::Unknown { others: vec![] });
    }

    #[test]
    fn a_hashed_name_is_found() {
        let key = blob("ssh-ed25519", 1);
        let salt = [7u8; 20];
        let hash = STANDARD.encode(hmac_sha1(&salt, b"[127.0.0.1]:2222"));
        let text = format!("|1|{}|{hash} ssh-ed25519 {}\n", STANDARD.encode(salt), STANDARD.encode(&key));
        assert_eq!(ask(&text, "[127.0.0.1]:2222", &key), Verdict::Known);
        assert_eq!(ask(&text, "127.0.0.1", &key), Verdict::Unknown { others: vec![] });
    }
}
