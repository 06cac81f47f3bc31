//! Blacks secrets out of the texts that diagnostics show. Bytes are replaced one for one, so every span stays right.
//!
//! It looks at keys, not at types: a mistyped `:secert` hides its value too.

use std::ops::Range;

use super::source::Text;
use super::suggest::closest;
use super::tags::{LEAVES, TAGS};
use crate::edn::{Node, Span, Value};

const STAR: u8 = b'*';
/// Keys whose values, however deep, are secrets.
const KEYS: [&str; 8] =
    ["forges", "providers", "webhooks", "https-tokens", "secret", "secrets", "signing-token", "password"];

/// Whether what stands under this key is not to be shown.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    ["secret", "token", "passw", "credential"].iter().any(|part| key.contains(part)) || closest(&key, KEYS).is_some()
}

/// The part of a url that logs in, `user:password` or a token, if it has one.
pub(super) fn login(text: &str) -> Option<Range<usize>> {
    let start = text.find("://")? + 3;
    let authority = &text[start..start + text[start..].find('/').unwrap_or(text.len() - start)];
    let login = &authority[..authority.rfind('@')?];
    (login.contains(':') || text[..start].contains("http")).then_some(start..start + login.len())
}

/// Hides the secrets of a tree. `texts` are those its spans point into.
pub(super) fn hide_values(node: &Node, texts: &mut [Text]) {
    Cover::over(texts, |cover| visit(node, false, cover));
}

/// The same for a tree whose tags are resolved: a secret key may stand in one file, its value in another.
pub(super) fn hide_resolved(node: &Node, texts: &mut [Text]) {
    fn resolved(node: &Node, secret: bool, cover: &mut Cover) {
        match &node.value {
            Value::Map(entries) => {
                let mut announced = false;
                for (key, value) in entries {
                    if is_shifted(key, announced) {
                        resolved(key, secret || announced, cover);
                    }
                    let secret = secret || key.as_text().is_some_and(is_secret_key);
                    resolved(value, secret, cover);
                    announced = announces(value);
                }
            }
            Value::List(nodes) | Value::Vector(nodes) | Value::Set(nodes) => {
                let mut announced = false;
                for node in nodes {
                    resolved(node, secret || announced, cover);
                    announced = announces(node);
                }
            }
            value if secret && !cover.is_tag(node.span) => {
                cover.fill(node.span);
                if matches!(value, Value::Str(_)) {
                    cover.edges(node.span);
                }
            }
            _ => {}
        }
    }
    Cover::over(texts, |cover| resolved(node, false, cover));
}

fn visit(node: &Node, secret: bool, cover: &mut Cover) {
    match &node.value {
        Value::Map(entries) => {
            let mut announced = false;
            for (index, (key, value)) in entries.iter().enumerate() {
                if is_shifted(key, announced) {
                    visit(key, secret || announced, cover);
                }
                let here = secret || key.as_text().is_some_and(is_secret_key);
                // Comments and discards on the way to the next key may be the secret of yesterday.
                let end = entries.get(index + 1).map_or(node.span.end.saturating_sub(1), |(next, _)| next.span.start);
                if here && key.span.source == node.span.source && key.span.end <= end {
                    cover.fill(Span { end, start: key.span.end, ..node.span });
                }
                visit(value, here, cover);
                announced = announces(value);
            }
            cover.edges(node.span);
        }
        Value::List(nodes) | Value::Vector(nodes) | Value::Set(nodes) => {
            let mut announced = false;
            for node in nodes {
                visit(node, secret || announced, cover);
                announced = announces(node);
            }
            cover.edges(node.span);
        }
        // Only a name is none of the secret; what else follows by a slip may be.
        Value::Tagged(tag, name) if LEAVES.contains(&tag.as_str()) && is_name(name) => cover.restore(node.span),
        Value::Tagged(tag, inner) => {
            visit(inner, secret, cover);
            if TAGS.contains(&tag.as_str()) {
                let end = node.span.start + 1 + tag.len() as u32;
                cover.restore(Span { end, ..node.span });
            }
        }
        // What a tag gave stands where the tag stands: `#env NAME` is no secret.
        _ if secret && !cover.is_tag(node.span) => {
            cover.fill(node.span);
            if matches!(node.value, Value::Str(_)) {
                cover.edges(node.span);
            }
        }
        Value::Str(_) => {
            cover.restore_tag(node.span);
            if let Some(range) = cover.written(node.span).and_then(login) {
                let start = node.span.start + range.start as u32;
                cover.fill(Span { start, end: start + range.len() as u32, ..node.span });
            }
        }
        _ => cover.restore_tag(node.span),
    }
    if let Value::Map(entries) = &node.value {
        let mut announced = false;
        for (key, value) in entries {
            if !is_shifted(key, announced) {
                cover.restore(key.span);
            }
            announced = announces(value);
        }
    }
}

fn is_name(node: &Node) -> bool {
    matches!(node.value, Value::Symbol(_) | Value::Str(_))
}

/// Whether a keyword says that what follows is secret. Where it should be a key, it is; a word too many in a map makes
/// values of keys and keys of values.
fn announces(node: &Node) -> bool {
    matches!(node.value, Value::Keyword(_)) && node.as_text().is_some_and(is_secret_key)
}

/// Whether a key is one only by such a slip.
fn is_shifted(key: &Node, announced: bool) -> bool {
    match key.value {
        Value::Map(_) | Value::List(_) | Value::Vector(_) | Value::Set(_) | Value::Tagged(..) => true,
        Value::Keyword(_) => false,
        _ => announced,
    }
}

/// Hides what may be a secret in a text that could not be read. Where strings begin and end is not known then, so if
/// the text speaks of secrets at all, every word but keywords and tags goes.
pub(super) fn hide_unreadable(text: &mut Text) {
    let speaks = words(&text.text).any(|word| is_secret_key(&text.text[word])) || login(&text.text).is_some();
    if !speaks {
        return;
    }
    let hidden: Vec<Range<usize>> = words(&text.text).filter(|word| !is_structure(&text.text, word)).collect();
    stars(text, &hidden);
}

/// Hides the secrets of yesterday in comments and discards: from a telling word to the end of its line.
pub(super) fn hide_notes(text: &mut Text) {
    let mut hidden = Vec::new();
    let mut from = 0;
    for line in text.text.split_inclusive('\n') {
        if let Some(note) = line.find(';').into_iter().chain(line.find("#_")).min() {
            let telling = |word: &Range<usize>| is_secret_key(line[note..][word.clone()].trim_start_matches(':'));
            if let Some(word) = words(&line[note..]).find(telling) {
                hidden.push(from + note + word.end..from + line.len());
            }
        }
        from += line.len();
    }
    stars(text, &hidden);
}

/// Whether `message` quotes what is hidden in the text at `span`.
pub(super) fn quotes_hidden(message: &str, span: Span, original: &str, shown: &Text) -> bool {
    let Some(text) = original.get(span.range()) else { return false };
    let start = span.start as usize;
    words(text).any(|word| {
        let hidden = shown.text.get(start + word.start..start + word.end) != Some(&text[word.clone()]);
        hidden && word.len() > 2 && message.contains(&text[word])
    })
}

/// The runs of a text between white space, brackets, quotes and commas.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let between = |c: char| c.is_whitespace() || "{}[]()\",;".contains(c);
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(|c| !between(c))?;
        at = text[start..].find(between).map_or(text.len(), |len| start + len);
        Some(start..at)
    })
}

/// A keyword or tag that doesn't begin a string.
fn is_structure(text: &str, word: &Range<usize>) -> bool {
    let written = &text[word.clone()];
    let keyword = written.strip_prefix(':').is_some_and(|name| {
        name.len() <= 24 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-?/.:".contains(c))
    });
    let tag = written.strip_prefix('#').is_some_and(|name| name == "_" || TAGS.contains(&name));
    (keyword || tag) && !text[..word.start].ends_with('"')
}

fn stars(text: &mut Text, ranges: &[Range<usize>]) {
    let mut bytes = std::mem::take(&mut text.text).into_bytes();
    for range in ranges {
        bytes[range.clone()].iter_mut().filter(|b| !b.is_ascii_whitespace()).for_each(|b| *b = STAR);
    }
    // Ranges begin and end between characters, so whole characters became stars.
    text.text = String::from_utf8_lossy(&bytes).into_owned();
}

/// Texts as they are, and as bytes that are changed in place.
struct Cover {
    originals: Vec<String>,
    shown: Vec<Vec<u8>>,
}

impl Cover {
    fn over(texts: &mut [Text], hide: impl FnOnce(&mut Self)) {
        let originals: Vec<String> = texts.iter().map(|text| text.text.clone()).collect();
        let shown = texts.iter_mut().map(|text| std::mem::take(&mut text.text).into_bytes()).collect();
        let mut cover = Self { originals, shown };
        hide(&mut cover);
        for (text, shown) in texts.iter_mut().zip(&cover.shown) {
            // Spans begin and end between characters, so whole characters became stars.
            text.text = String::from_utf8_lossy(shown).into_owned();
        }
    }

    /// What is written at a span.
    fn written(&self, span: Span) -> Option<&str> {
        self.originals.get(usize::from(span.source.0)).and_then(|text| text.get(span.range()))
    }
    fn is_tag(&self, span: Span) -> bool {
        let rest = self.written(span).and_then(|text| text.strip_prefix('#'));
        rest.is_some_and(|rest| TAGS.iter().any(|tag| rest.starts_with(tag)))
    }
    fn shown(&mut self, span: Span) -> Option<&mut [u8]> {
        self.shown.get_mut(usize::from(span.source.0)).and_then(|bytes| bytes.get_mut(span.range()))
    }
    fn fill(&mut self, span: Span) {
        let bytes = self.shown(span).into_iter().flatten();
        bytes.filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = STAR);
    }
    /// Puts back what was there: names and brackets are no secrets.
    fn restore(&mut self, span: Span) {
        let of = usize::from(span.source.0);
        let original = self.originals.get(of).and_then(|text| text.as_bytes().get(span.range()));
        let shown = self.shown.get_mut(of).and_then(|bytes| bytes.get_mut(span.range()));
        if let (Some(original), Some(shown)) = (original, shown) {
            shown.copy_from_slice(original);
        }
    }
    fn restore_tag(&mut self, span: Span) {
        if self.is_tag(span) {
            self.restore(span);
        }
    }
    fn edges(&mut self, span: Span) {
        if span.end > span.start {
            self.restore(Span { end: span.start + 1, ..span });
            self.restore(Span { start: span.end - 1, ..span });
        }
    }
}
