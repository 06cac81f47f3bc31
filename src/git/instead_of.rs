//! The `GIT_CONFIG_GLOBAL` of a build: its git finds each dependency in the daemon's mirror, whatever form of url it
//! asks for, needs no key and no network for it, and finds everything else where it really is.
//!
//! `insteadOf` matches prefixes and the longest wins, so `…/lib` would catch `…/lib-other` as well. There is no way to
//! say "and here it ends". Therefore every character that a longer name could go on with has an entry of its own that
//! leads back to itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::mirror::Mirrors;
use crate::model::url::Transport;
use crate::model::{RepoId, RepoUrl};

/// What a longer repository name may go on with after a shorter one.
const GOES_ON: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~+%/";

impl Mirrors {
    /// The text of a git configuration under which the repositories' urls, in the forms given and in the usual ones,
    /// lead to their mirrors. Repositories whose names only begin alike are left alone.
    pub fn build_git_config(&self, repos: &[(RepoId, Vec<RepoUrl>)]) -> String {
        let mut text = String::from(
            "# Written by airplanes for one build: git dependencies come from the daemon's mirrors.\n\
             [safe]\n\tdirectory = *\n[protocol \"file\"]\n\tallow = always\n[gc]\n\tauto = 0\n",
        );
        let mut ends: BTreeSet<(String, String)> = BTreeSet::new();
        for (repo, urls) in repos {
            let mirror = file_url(&self.path(repo));
            for end in urls.iter().flat_map(forms) {
                ends.insert((end, mirror.clone()));
            }
        }
        let taken: BTreeSet<&str> = ends.iter().map(|(end, _)| end.as_str()).collect();
        let mut apart: BTreeSet<String> = BTreeSet::new();
        for end in &taken {
            for next in GOES_ON.chars() {
                let longer = format!("{end}{next}");
                if !taken.contains(longer.as_str()) {
                    apart.insert(longer);
                }
            }
        }
        for (end, mirror) in &ends {
            section(&mut text, mirror, end);
        }
        for same in &apart {
            section(&mut text, same, same);
        }
        text
    }
}

fn section(text: &mut String, base: &str, instead_of: &str) {
    let quoted = |s: &str| s.replace('\\', "\\\\").replace('"', "\\\"");
    let _ = write!(text, "[url \"{}\"]\n\tinsteadOf = \"{}\"\n", quoted(base), quoted(instead_of));
}

/// All the ways to write a repository's url that git might be asked for: as it is given, and for networks every
/// transport with and without `.git`.
fn forms(url: &RepoUrl) -> Vec<String> {
    let parts = url.parts();
    let mut forms = vec![url.as_str().to_owned()];
    if parts.transport == Transport::File {
        let path = bare(parts.path);
        forms.extend([path.to_owned(), format!("file://{path}")].into_iter().filter(|f| !f.contains("file://.")));
    } else {
        let path = bare(parts.path).trim_start_matches('/');
        let host = if parts.host.contains(':') { format!("[{}]", parts.host) } else { parts.host.to_owned() };
        let port = parts.port.map(|port| format!(":{port}")).unwrap_or_default();
        let user = parts.user.unwrap_or("git");
        match parts.transport {
            Transport::Http if !port.is_empty() => {
                forms.extend(["https", "http"].map(|scheme| format!("{scheme}://{host}{port}/{path}")));
            }
            Transport::Ssh if !port.is_empty() => forms.push(format!("ssh://{user}@{host}{port}/{path}")),
            _ => {}
        }
        forms.extend(["https", "http", "git"].map(|scheme| format!("{scheme}://{host}/{path}")));
        let users: BTreeSet<&str> = [user, "git"].into();
        for user in users {
            forms.extend([format!("ssh://{user}@{host}/{path}"), format!("{user}@{host}:{path}")]);
        }
    }
    let dotted: Vec<String> = forms.iter().map(|form| format!("{}.git", bare(form))).collect();
    forms.extend(dotted);
    forms
}

/// Without `.git` and trailing slashes.
fn bare(text: &str) -> &str {
    let text = text.trim_end_matches('/');
    text.strip_suffix(".git").unwrap_or(text).trim_end_matches('/')
}

/// A path as a file url: git decodes `%` in urls.
fn file_url(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut url = String::from("file://");
    for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'+' | b'~' => {
                url.push(char::from(*byte));
            }
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
    url
}
