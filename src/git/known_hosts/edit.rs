//! A known_hosts file as text: what it says of a host, and the text with a host added or taken out.

use std::io;
use std::path::Path;

use super::{Entry, HostKey};

/// The content of a known_hosts file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownHosts {
    text: String,
}

/// A line that names the host by a pattern that may mean others too, so it is not for a program to take out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} names {host} by a pattern or with a marker (`{names}`), which may mean other hosts too")]
pub struct SharedLine {
    /// Its number, from 1.
    pub line: usize,
    /// The host, as known_hosts names it.
    pub host: String,
    /// What stands before the key.
    pub names: String,
}

impl KnownHosts {
    /// A file's content; one that is not there is empty.
    pub fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self { text: String::from_utf8_lossy(&bytes).into_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys that are there for `host` (see [`super::host_name`]), and the lines they stand in, from 1.
    pub fn keys_of(&self, host: &str) -> Vec<(usize, HostKey)> {
        let plain = self.entries(host).filter(|(_, entry)| entry.marker.is_none());
        plain.map(|(number, entry)| (number, HostKey { blob: entry.key })).collect()
    }

    /// The line that says of `key` that it is to be refused, whoever shows it.
    pub fn revoked(&self, host: &str, key: &HostKey) -> Option<usize> {
        let mut entries = self.entries(host);
        entries.find(|(_, e)| e.marker == Some("@revoked") && e.key == key.blob).map(|(number, _)| number)
    }

    fn entries(&self, host: &str) -> impl Iterator<Item = (usize, Entry<'_>)> {
        let lines = self.text.lines().enumerate().map(|(i, line)| (i + 1, Entry::parse(line)));
        lines.filter_map(move |(number, entry)| Some((number, entry.filter(|entry| entry.names(host))?)))
    }

    /// With these keys for `host` at its end. What is there stays.
    pub fn with(mut self, host: &str, keys: &[HostKey]) -> Self {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        for key in keys {
            self.text.push_str(&key.to_line(host));
        }
        self
    }

    /// Without any key for `host`. Where a line names others too, only this host's name goes.
    pub fn without(&self, host: &str) -> Result<Self, SharedLine> {
        let mut text = String::with_capacity(self.text.len());
        for (i, line) in self.text.split_inclusive('\n').enumerate() {
            let Some(entry) = Entry::parse(line).filter(|entry| entry.names(host)) else {
                text.push_str(line);
                continue;
            };
            let others: Vec<&str> = entry.names.split(',').filter(|name| !name.eq_ignore_ascii_case(host)).collect();
            let named_otherwise =
                Entry { names: &others.join(","), marker: None, kind: "", key: Vec::new() }.names(host);
            let hashed = entry.names.starts_with("|1|");
            if entry.marker.is_some() || (named_otherwise && !hashed) || others.iter().any(|n| n.starts_with('!')) {
                return Err(SharedLine { line: i + 1, host: host.to_owned(), names: entry.names.to_owned() });
            }
            if !hashed && !others.is_empty() {
                text.push_str(&line.replacen(entry.names, &others.join(","), 1));
            }
        }
        Ok(Self { text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::known_hosts::published;

    fn keys() -> Vec<HostKey> {
        published("github.com")
    }
    fn line(names: &str) -> String {
        keys()[0].to_line(names)
    }
    fn file(text: &str) -> KnownHosts {
        KnownHosts { text: text.to_owned() }
    }

    #[test]
    fn what_is_added_is_found_again_and_the_rest_stays() {
        let before = file("# mine\n\nother ssh-rsa AAAA\nno newline");
        let after = before.clone().with("[h]:2222", &keys());
        assert!(after.text().starts_with("# mine\n\nother ssh-rsa AAAA\nno newline\n[h]:2222 ssh-ed25519 "));
        let found: Vec<HostKey> = after.keys_of("[h]:2222").into_iter().map(|(_, key)| key).collect();
        assert_eq!(found, keys());
        assert_eq!(after.keys_of("[h]:2222")[0].0, 5);
        assert!(after.keys_of("h").is_empty());
        assert_eq!(after.without("[h]:2222").unwrap().text(), format!("{}\n", before.text()));
    }

    #[test]
    fn a_host_is_taken_out_alone() {
        let text = format!("{}{}{}", line("a,h,b"), line("H"), line("x"));
        assert_eq!(file(&text).without("h").unwrap().text(), format!("{}{}", line("a,b"), line("x")));
        assert_eq!(file(&text).without("nobody").unwrap().text(), text);
    }

    #[test]
    fn a_pattern_or_a_marker_is_left_to_a_person() {
        for names in ["*.example.com", "h?.example.com,h1.example.com", "@revoked h1.example.com", "h1.example.com,!x"]
        {
            let error = file(&format!("\n{}", line(names))).without("h1.example.com").unwrap_err();
            assert_eq!(error.line, 2, "{names}");
        }
        let revoked = file(&line("@revoked *"));
        assert_eq!(revoked.revoked("h", &keys()[0]), Some(1));
        assert!(revoked.keys_of("h").is_empty());
    }
}
