//! The version that a tag's name tells: what stands before its number, the number, and what follows.
//!
//! Tags of other modules of a repository (`a-v1`, `b-v1`) are other lines: versions compare only behind the same
//! beginning. The order is that of semver, for as many numbers as there are, dates too.

use std::cmp::Ordering;

/// A version as a tag names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    line: String,
    numbers: Vec<u128>,
    pre: Vec<Part>,
}

/// A word or a number of what follows a version's number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u128),
    /// By how far it is from done, then by its letters.
    Word(u8, String),
}

/// What says that a version is done.
const DONE: [&str; 4] = ["final", "ga", "release", "stable"];

impl Version {
    /// The version in a tag's name. None if it tells none.
    pub fn of(tag: &str) -> Option<Self> {
        let start = number_at(tag)?;
        let (line, rest) = tag.split_at(start);
        let mut numbers = Vec::new();
        let mut rest = rest;
        loop {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            numbers.push(rest[..end].parse().ok()?);
            rest = &rest[end..];
            match rest.strip_prefix('.') {
                Some(more) if more.starts_with(|c: char| c.is_ascii_digit()) => rest = more,
                _ => break,
            }
        }
        // What a build adds says nothing of the version.
        let rest = rest.split('+').next().unwrap_or_default();
        // Behind all three numbers of a version a dash means by semver.org that it is not done, also before a number.
        let is_semver = numbers.len() == 3 && rest.starts_with('-');
        if !is_semver && !rest.chars().any(char::is_alphabetic) {
            // 2024-01-15, 1.2-3
            let more = rest.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
            numbers.extend(more.filter_map(|part| part.parse::<u128>().ok()));
            return Some(Self { line: line.to_owned(), numbers, pre: Vec::new() });
        }
        let pre = parts(rest);
        let done = pre.iter().all(|part| matches!(part, Part::Word(_, word) if DONE.contains(&word.as_str())));
        Some(Self { line: line.to_owned(), numbers, pre: if done { Vec::new() } else { pre } })
    }

    /// What stands before the number: `v`, `release-`, `lib-v`.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Whether it is one before it is done: `-alpha`, `-rc1`, `-SNAPSHOT`.
    pub fn is_pre_release(&self) -> bool {
        !self.pre.is_empty()
    }

    /// Whether it may come after `ours`: it is higher in the same line, and before it is done only if `ours` is too.
    pub fn may_follow(&self, ours: &Self) -> bool {
        self.order(ours) == Some(Ordering::Greater) && (ours.is_pre_release() || !self.is_pre_release())
    }

    /// How it stands to another of the same line; none for one of another line.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        if self.line != other.line {
            return None;
        }
        let longest = self.numbers.len().max(other.numbers.len());
        let at = |numbers: &[u128], i: usize| numbers.get(i).copied().unwrap_or(0);
        let numbers = (0..longest).map(|i| at(&self.numbers, i).cmp(&at(&other.numbers, i)));
        Some(numbers.fold(Ordering::Equal, Ordering::then).then_with(|| match (&self.pre, &other.pre) {
            (mine, theirs) if mine.is_empty() || theirs.is_empty() => mine.is_empty().cmp(&theirs.is_empty()),
            (mine, theirs) => mine.cmp(theirs),
        }))
    }
}

/// Where the number begins: a dotted one before others, and one that begins a word (after `v` too) before one inside.
fn number_at(tag: &str) -> Option<usize> {
    let bytes = tag.as_bytes();
    let mut found: [Option<usize>; 3] = [None; 3];
    let mut i = 0;
    while i < bytes.len() {
        if !bytes[i].is_ascii_digit() {
            i += 1;
            continue;
        }
        let start = i;
        while i < bytes.len() && bytes[i].is_ascii_digit() {
            i += 1;
        }
        let dotted = bytes.get(i) == Some(&b'.') && bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
        let begins = |at: usize| at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        let marked = start > 0 && matches!(bytes[start - 1], b'v' | b'V' | b'r' | b'R') && begins(start - 1);
        let slot = match (dotted, begins(start) || marked) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => continue,
        };
        found[slot].get_or_insert(start);
        // The other numbers of a dotted one begin nothing.
        while dotted && i < bytes.len() && (bytes[i].is_ascii_digit() || bytes[i] == b'.') {
            i += 1;
        }
    }
    found.into_iter().flatten().next()
}

/// The words and numbers of `-rc.1`, `RC1`, `-alpha-2`.
fn parts(rest: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut word = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        let ends = chars.peek().is_none_or(|next| {
            !next.is_alphanumeric() || !c.is_alphanumeric() || next.is_ascii_digit() != c.is_ascii_digit()
        });
        if ends && !word.is_empty() {
            let whole = std::mem::take(&mut word);
            parts.push(whole.parse().map_or_else(|_| Part::Word(rank(&whole), whole), Part::Number));
        }
    }
    parts
}

fn rank(word: &str) -> u8 {
    match word {
        "snapshot" | "dev" | "pre" | "preview" => 0,
        "alpha" | "a" => 1,
        "beta" | "b" => 2,
        "milestone" | "m" => 3,
        "rc" | "cr" => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tag: &str) -> Version {
        Version::of(tag).unwrap_or_else(|| panic!("{tag} tells no version"))
    }

    #[test]
    fn versions_stand_in_the_order_that_people_mean() {
        let rising = [
            &["v1.9", "v1.10", "v1.10.1", "v2"][..],
            &["1.0.0-SNAPSHOT", "1.0.0-alpha", "1.0.0-alpha2", "1.0.0-alpha10", "1.0.0-beta1", "1.0.0-M1", "1.0.0-RC1"],
            &["1.0.0-rc1", "1.0.0-rc.2", "1.0.0", "1.0.1-rc1", "1.0.1"],
            &["1.0.0-0.3.7", "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-x.7.z.92", "1.0.0", "1.0.1-1"],
            &["v2.0.0-1", "v2.0.0-rc1", "v2.0.0"],
            &["1.2-3", "1.2-4"],
            &["release-1.2", "release-1.2.1", "release-3"],
            &["2023.12.31", "2024.01.15", "2024.2"],
            &["2024-01-15", "2024-02-01"],
            &["tools.deps.alpha-0.5.317", "tools.deps.alpha-0.8.599"],
            &["lib-v1.2", "lib-v1.3"],
            &["r1234", "r1235"],
            &["0.2.62", "0.2.340282366920938463463374607431768211455"],
        ];
        for tags in rising {
            for pair in tags.windows(2) {
                assert_eq!(of(pair[0]).order(&of(pair[1])), Some(Ordering::Less), "{pair:?}");
                assert_eq!(of(pair[1]).order(&of(pair[0])), Some(Ordering::Greater), "{pair:?}");
            }
        }
        for (one, other) in [("v1.2", "v1.2.0"), ("1.0.Final", "1.0"), ("1.0+build.5", "1.0+build.6")] {
            assert_eq!(of(one).order(&of(other)), Some(Ordering::Equal), "{one} {other}");
        }
    }

    #[test]
    fn lines_are_kept_apart_and_pre_releases_known() {
        for (one, other) in [("a-v1", "b-v2"), ("v1", "1"), ("log4j-1.2", "log4j2-1.2")] {
            assert_eq!(of(one).order(&of(other)), None, "{one} {other}");
        }
        for tag in ["1.0-alpha", "v2.0.0-rc1", "1.0-SNAPSHOT", "1.0.0-beta.3", "1.0RC1", "v2.0.0-1", "1.0.0-0.3.7"] {
            assert!(of(tag).is_pre_release(), "{tag}");
        }
        for tag in ["1.0", "v2", "2024-01-15", "1.0.Final", "1.2.3+sha.abc", "1.2-3", "2024-01-15-2", "1.0.0-final"] {
            assert!(!of(tag).is_pre_release(), "{tag}");
        }
        for (after, before, may) in [
            ("v2", "v1", true),
            ("v1", "v2", false),
            ("v2-rc1", "v1", false),
            ("v2-rc2", "v2-rc1", true),
            ("v2", "v2-rc1", true),
            ("v2.0.1-1", "v2.0.0", false),
            ("b-v2", "a-v1", false),
        ] {
            assert_eq!(of(after).may_follow(&of(before)), may, "{after} after {before}");
        }
    }

    #[test]
    fn a_name_without_a_number_tells_no_version() {
        for tag in
            ["HEAD", "stable", "", "main", "s3x", "v", "ürsprung", "x99999999999999999999999999999999999999999.1"]
        {
            assert_eq!(Version::of(tag), None, "{tag}");
        }
    }
}
