//! Secrets out of output, also where one comes in pieces. Pure.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::model::Secret;

/// Shorter ones are not masked: they would be found in every other word.
const SHORTEST: usize = 4;
const STARS: &[u8] = b"***";

/// Replaces secrets by `***` in a stream that comes in chunks.
///
/// A secret of several lines (a key) is masked line by line, since tools indent and number what they print. White
/// space around a line is no part of the secret.
#[derive(Default)]
pub struct Masker {
    patterns: Vec<Zeroizing<Vec<u8>>>,
    /// What may be the beginning of a secret.
    held: Zeroizing<Vec<u8>>,
    /// How many bytes at the start of `held` belong to a secret that is already masked.
    inside: usize,
}

impl Masker {
    /// A masker for all of these.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut patterns: Vec<Zeroizing<Vec<u8>>> = secrets
            .into_iter()
            .flat_map(|secret| secret.expose().split(|byte| *byte == b'\n'))
            .map(|line| line.trim_ascii())
            .filter(|line| line.len() >= SHORTEST)
            .map(|line| Zeroizing::new(line.to_vec()))
            .collect();
        patterns.sort_by(|one, other| one.as_slice().cmp(other.as_slice()));
        patterns.dedup();
        Self { patterns, ..Self::default() }
    }

    /// What of the stream so far, with `chunk` at its end, is certain.
    pub fn push<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        if self.patterns.is_empty() {
            return Cow::Borrowed(chunk);
        }
        self.held.extend_from_slice(chunk);
        Cow::Owned(self.take(false))
    }

    /// The rest, since the stream is over.
    pub fn finish(&mut self) -> Vec<u8> {
        self.take(true)
    }

    /// Lets go of what may be the beginning of a secret, since nobody will see the rest.
    pub fn forget(&mut self) {
        (self.held, self.inside) = (Zeroizing::default(), 0);
    }

    fn take(&mut self, last: bool) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(held.len());
        let (mut at, mut secret_until) = (0, self.inside);
        while at < held.len() {
            let rest = &held[at..];
            let mut longest = 0;
            let mut undecided = false;
            for pattern in self.patterns.iter().filter(|pattern| pattern[0] == rest[0]) {
                if rest.starts_with(pattern) {
                    longest = longest.max(pattern.len());
                } else if pattern.starts_with(rest) {
                    undecided = true;
                }
            }
            if undecided && !last {
                break;
            }
            if longest > 0 {
                if at >= secret_until {
                    out.extend_from_slice(STARS);
                }
                secret_until = secret_until.max(at + longest);
            } else if at >= secret_until {
                out.push(rest[0]);
            }
            at += 1;
        }
        self.inside = secret_until.saturating_sub(at);
        self.held = Zeroizing::new(held[at..].to_vec());
        out
    }
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} secrets)", self.patterns.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &[&str], text: &[u8], cut: impl Fn(usize) -> bool) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new("s", *text)).collect();
        let mut masker = Masker::new(&secrets);
        let (mut out, mut from) = (Vec::new(), 0);
        for to in 1..=text.len() {
            if to == text.len() || cut(to) {
                out.extend_from_slice(&masker.push(&text[from..to]));
                from = to;
            }
        }
        out.extend(masker.finish());
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn of_a_secret_whose_end_is_cut_off_nothing_is_shown() {
        let mut masker = Masker::new(&[Secret::new("s", "hunter22")]);
        assert_eq!(&*masker.push(b"pw=hunter2"), b"pw=");
        masker.forget();
        assert_eq!(&*masker.push(b"2 is not kept"), b"2 is not kept");
    }

    #[test]
    fn a_secret_is_masked_wherever_the_stream_is_cut() {
        let secrets = ["hunter22", "aaab", "hunt", "abc", "ter22xy", "line one\n  line two\n"];
        for (text, want) in [
            ("pw=hunter22.", "pw=***."),
            ("aaaaaab aab", "aaa*** aab"),
            ("hunter22xyz", "***z"),
            ("hun ter hunter22hunt", "hun ter ******"),
            ("abc", "abc"),
            ("1: line one\n2: line two\n", "1: ***\n2: ***\n"),
            ("hunter2", "***er2"),
        ] {
            for width in 1..=text.len() {
                assert_eq!(masked(&secrets, text.as_bytes(), |at| at % width == 0), want, "{text} in {width}s");
            }
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_not_held_back() {
        let mut masker = Masker::new([&Secret::new("s", "hunter22")]);
        assert_eq!(&*masker.push(b"password: "), b"password: ");
        assert_eq!(&*masker.push(b"hunt"), b"");
        assert_eq!(&*masker.push(b"ing"), b"hunting");
    }

    proptest! {
        #[test]
        fn chunks_change_nothing_and_no_secret_is_left(text in "[ab]{0,40}", secret in "[ab]{4,6}", other in "[ab]{4,6}", cuts: u64) {
            let secrets = [secret.as_str(), other.as_str()];
            let whole = masked(&secrets, text.as_bytes(), |_| false);
            prop_assert_eq!(masked(&secrets, text.as_bytes(), |at| cuts >> at & 1 == 1), whole.clone());
            prop_assert!(!whole.contains(&secret) && !whole.contains(&other));
        }
    }
}
