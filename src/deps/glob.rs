//! Globs over paths in a repository: `*` and `?` in a name, `**` for any folders.

/// Whether a path matches. A glob without wildcards matches itself alone.
pub fn matches(glob: &str, path: &str) -> bool {
    let path: Vec<&str> = path.split('/').collect();
    // Which beginnings of the path what has been read of the glob can stand for.
    let mut at: Vec<bool> = (0..=path.len()).map(|n| n == 0).collect();
    for part in glob.split('/') {
        let mut next = vec![false; path.len() + 1];
        for n in 0..=path.len() {
            next[n] = match part {
                "**" => at[..=n].contains(&true),
                part => n > 0 && at[n - 1] && name_matches(part, path[n - 1]),
            };
        }
        at = next;
    }
    at[path.len()]
}

/// Whether a path or a folder that it lies in matches.
pub fn covers(glob: &str, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.into_iter().any(|end| matches(glob, &path[..end]))
}

fn name_matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut g, mut n) = (0, 0);
    // Where the last star stands, and up to where it has taken.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (g, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_in_its_folder_and_two_do_not() {
        for (glob, path) in [
            ("deps.edn", "deps.edn"),
            ("*/deps.edn", "shop/deps.edn"),
            ("**/deps.edn", "deps.edn"),
            ("**/deps.edn", "a/b/deps.edn"),
            ("mod-?/**", "mod-a/x/y"),
            ("mod*s/*.edn", "modules/de.ps.edn"),
            ("a/**/b", "a/b"),
            ("**", "a/b"),
            ("d*p*.edn", "deps.edn"),
        ] {
            assert!(matches(glob, path), "{glob} {path}");
        }
        for (glob, path) in [
            ("deps.edn", "shop/deps.edn"),
            ("*", "a/b"),
            ("*/deps.edn", "deps.edn"),
            ("*/deps.edn", "a/b/deps.edn"),
            ("a/**/b", "a/c"),
            ("mod-?", "mod-"),
            ("d*x.edn", "deps.edn"),
            ("shop", "shop/deps.edn"),
        ] {
            assert!(!matches(glob, path), "{glob} {path}");
        }
    }

    #[test]
    fn a_folder_covers_what_lies_in_it() {
        assert!(covers("shop", "shop/src/a.clj"));
        assert!(covers("shop/*", "shop/src/a.clj"));
        assert!(covers("shop/**", "shop/src/a.clj"));
        assert!(!covers("shop", "shopping/a.clj"));
        assert!(!covers("shop/src/b", "shop/src/a.clj"));
    }
}
