//! How the folder of a repository's mirror is named.

use sha2::{Digest, Sha256};

use crate::model::RepoId;

/// A folder's name for a repository: readable, safe, and no two repositories share one. `/` becomes `++`, and any
/// byte but letters, digits, `.`, `_`, `-` becomes `+` and two hex digits. Very long ones end in a digest instead.
pub(super) fn folder_name(repo: &RepoId) -> String {
    let mut name = String::new();
    for (i, byte) in repo.as_str().bytes().enumerate() {
        match byte {
            b'/' => name.push_str("++"),
            b'.' if i == 0 => name.push_str("+2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("+{byte:02X}")),
        }
    }
    if name.len() > 200 {
        let digest = crate::model::hex(&Sha256::digest(repo.as_str())[..16]);
        name.truncate(150);
        name.push_str("+++");
        name.push_str(&digest);
    }
    name.push_str(".git");
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::RepoUrl;

    #[test]
    fn no_two_repositories_share_a_folder_and_none_leaves_the_mirrors() {
        let id = |url: &str| folder_name(&RepoUrl::new(url).unwrap().id());
        assert_eq!(id("git@github.com:acme/snow.git"), "github.com++acme++snow.git");
        let urls =
            ["/a/b", "/a++b", "/a+2Fb", "/a/b.new", "/a//b", "/a/.b", "/a/ü", "./a", "../a", "https://a/b/../../c"];
        let names: BTreeSet<String> = urls.iter().map(|url| id(url)).collect();
        assert_eq!(names.len(), urls.len(), "{names:?}");
        assert!(names.iter().all(|name| !name.contains(['/', '%']) && !name.starts_with('.')));
        let long = format!("/{}", "x".repeat(900));
        assert!(id(&long).len() < 255);
        assert_ne!(id(&long), id(&format!("{long}y")));
    }
}
