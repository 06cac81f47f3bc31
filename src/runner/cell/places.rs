//! Which places stay open beside those that are hidden: arithmetic on paths, given what lies in a folder.
//!
//! Landlock only allows, and what it allows on a folder holds for all below. So a place is hidden by allowing every
//! neighbour on the way down to it, and not the folders of that way themselves: those can be passed through, but not
//! listed, and nothing new can be made in them. Must never open a folder that has a hidden place below it.

use std::path::{Path, PathBuf};

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    /// What it leads to is open or hidden where it really lies.
    Link,
}

/// All of `top` but `hidden`: the fewest places that hold everything else. A hidden place need not exist yet.
pub(super) fn beside(top: &Path, hidden: &[PathBuf], list: &dyn Fn(&Path) -> Vec<Entry>) -> Vec<Entry> {
    let mut open = Vec::new();
    let mut ways = vec![Entry { path: top.to_owned(), kind: Kind::Folder }];
    while let Some(entry) = ways.pop() {
        if hidden.iter().any(|hidden| entry.path.starts_with(hidden)) || entry.kind == Kind::Link {
            continue;
        }
        if entry.kind == Kind::Folder && hidden.iter().any(|hidden| hidden.starts_with(&entry.path)) {
            ways.extend(list(&entry.path));
        } else {
            open.push(entry);
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small machine. A folder's name ends with `/`, a link's with `@`.
    const MACHINE: [(&str, &[&str]); 7] = [
        ("/", &["bin@", "etc/", "home/", "usr/", "var/", "vmlinuz"]),
        ("/etc", &["airplanes/", "hosts", "ssl/"]),
        ("/home", &["deploy/", "else/"]),
        ("/home/deploy", &[".profile", ".ssh/", "bin/", "key@"]),
        ("/var", &["lib/", "log/"]),
        ("/var/lib", &["airplanes/", "dpkg/"]),
        ("/var/lib/airplanes", &["store/", "work/"]),
    ];

    fn list(folder: &Path) -> Vec<Entry> {
        let (_, names) = MACHINE.iter().find(|(name, _)| Path::new(name) == folder).expect("not to be listed");
        let entry = |name: &&str| {
            let kind = match name.chars().last() {
                Some('/') => Kind::Folder,
                Some('@') => Kind::Link,
                _ => Kind::File,
            };
            Entry { path: folder.join(name.trim_end_matches(['/', '@'])), kind }
        };
        names.iter().map(entry).collect()
    }

    fn open(hidden: &[&str]) -> Vec<String> {
        let hidden: Vec<PathBuf> = hidden.iter().map(PathBuf::from).collect();
        let open = beside(Path::new("/"), &hidden, &list);
        let mut open: Vec<String> = open.into_iter().map(|entry| entry.path.display().to_string()).collect();
        open.sort();
        open
    }

    #[test]
    fn where_nothing_is_hidden_everything_is_open() {
        assert_eq!(open(&[]), ["/"]);
    }

    #[test]
    fn beside_what_is_hidden_everything_is_open() {
        assert_eq!(open(&["/var/lib/airplanes"]), ["/etc", "/home", "/usr", "/var/lib/dpkg", "/var/log", "/vmlinuz"]);
        assert_eq!(
            open(&["/var/lib/airplanes", "/var/lib/airplanes/store", "/etc/airplanes", "/home/deploy/.ssh"]),
            [
                "/etc/hosts",
                "/etc/ssl",
                "/home/deploy/.profile",
                "/home/deploy/bin",
                "/home/else",
                "/usr",
                "/var/lib/dpkg",
                "/var/log",
                "/vmlinuz"
            ]
        );
    }

    #[test]
    fn what_is_not_there_yet_is_hidden_as_well() {
        assert_eq!(open(&["/home/deploy/.netrc"]), open(&["/home/deploy/nothing"]));
        assert!(!open(&["/home/deploy/.netrc"]).contains(&"/home/deploy".to_owned()));
    }

    #[test]
    fn a_name_that_only_begins_alike_is_open() {
        assert!(open(&["/etc/ss"]).contains(&"/etc/ssl".to_owned()));
    }

    #[test]
    fn a_link_opens_nothing() {
        assert!(!open(&["/home/deploy/.ssh"]).iter().any(|path| path.ends_with("key") || path == "/bin"));
    }
}
