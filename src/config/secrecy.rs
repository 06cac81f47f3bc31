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
const KEYS: [&str; 6] = ["webhooks", "https-tokens", "secret", "secrets", "signing-token", "password"];

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
    let originals = texts.to_vec();
    visit(node, false, &originals, texts);
}

/// The same for a tree whose tags are resolved: a secret key may stand in one file, its value in another.
pub(super) fn hide_resolved(node: &Node, texts: &mut [Text]) {
    fn resolved(node: &Node, secret: bool, originals: &[Text], texts: &mut [Text]) {
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    let secret = secret || key.as_text().is_some_and(is_secret_key);
                    resolved(value, secret, originals, texts);
                }
            }
            Value::List(nodes) | Value::Vector(nodes) | Value::Set(nodes) => {
                nodes.iter().for_each(|node| resolved(node, secret, originals, texts));
            }
            value if secret && !is_tag(node.span, originals) => {
                fill(node.span, texts);
                if matches!(value, Value::Str(_)) {
                    edges(node.span, originals, texts);
                }
            }
            _ => {}
        }
    }
    let originals = texts.to_vec();
    resolved(node, false, &originals, texts);
}

fn visit(node: &Node, secret: bool, originals: &[Text], texts: &mut [Text]) {
    match &node.value {
        Value::Map(entries) => {
            for (index, (key, value)) in entries.iter().enumerate() {
                let here = secret || key.as_text().is_some_and(is_secret_key);
                // Comments and discards on the way to the next key may be the secret of yesterday.
                let end = entries.get(index + 1).map_or(node.span.end.saturating_sub(1), |(next, _)| next.span.start);
                if here && key.span.source == node.span.source && key.span.end <= end {
                    fill(Span { end, start: key.span.end, ..node.span }, texts);
                }
                visit(value, here, originals, texts);
            }
            edges(node.span, originals, texts);
        }
        Value::List(nodes) | Value::Vector(nodes) | Value::Set(nodes) => {
            for node in nodes {
                visit(node, secret, originals, texts);
            }
            edges(node.span, originals, texts);
        }
        Value::Tagged(tag, _) if LEAVES.contains(&tag.as_str()) => restore(node.span, originals, texts),
        Value::Tagged(tag, inner) => {
            visit(inner, secret, originals, texts);
            if TAGS.contains(&tag.as_str()) {
                let end = node.span.start + 1 + tag.len() as u32;
                restore(Span { end, ..node.span }, originals, texts);
            }
        }
        // What a tag gave stands where the tag stands: `#env NAME` is no secret.
        _ if secret && !is_tag(node.span, originals) => {
            fill(node.span, texts);
            if matches!(node.value, Value::Str(_)) {
                edges(node.span, originals, texts);
            }
        }
        Value::Str(_) => {
            restore_tag(node.span, originals, texts);
            let written =
                originals.get(usize::from(node.span.source.0)).and_then(|text| text.text.get(node.span.range()));
            if let Some(range) = written.and_then(login) {
                let start = node.span.start + range.start as u32;
                fill(Span { start, end: start + range.len() as u32, ..node.span }, texts);
            }
        }
        _ => restore_tag(node.span, originals, texts),
    }
    if let Value::Map(entries) = &node.value {
        for (key, _) in entries {
            restore(key.span, originals, texts);
        }
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

fn is_tag(span: Span, originals: &[Text]) -> bool {
    let text = originals.get(usize::from(span.source.0)).and_then(|text| text.text.get(span.range()));
    text.is_some_and(|text| text.strip_prefix('#').is_some_and(|rest| TAGS.iter().any(|tag| rest.starts_with(tag))))
}

fn restore_tag(span: Span, originals: &[Text], texts: &mut [Text]) {
    if is_tag(span, originals) {
        restore(span, originals, texts);
    }
}

fn fill(span: Span, texts: &mut [Text]) {
    edit(span, texts, |bytes| bytes.iter_mut().filter(|b| !b.is_ascii_whitespace()).for_each(|b| *b = STAR));
}

/// Puts back what was there: names and brackets are no secrets.
fn restore(span: Span, originals: &[Text], texts: &mut [Text]) {
    let original = originals.get(usize::from(span.source.0)).and_then(|text| text.text.as_bytes().get(span.range()));
    if let Some(original) = original {
        edit(span, texts, |bytes| bytes.copy_from_slice(original));
    }
}

fn edges(span: Span, originals: &[Text], texts: &mut [Text]) {
    if span.end > span.start {
        restore(Span { end: span.start + 1, ..span }, originals, texts);
        restore(Span { start: span.end - 1, ..span }, originals, texts);
    }
}

fn edit(span: Span, texts: &mut [Text], change: impl FnOnce(&mut [u8])) {
    let Some(text) = texts.get_mut(usize::from(span.source.0)) else { return };
    let mut bytes = std::mem::take(&mut text.text).into_bytes();
    if let Some(range) = bytes.get_mut(span.range()) {
        change(range);
    }
    // Spans begin and end between characters, so whole characters became stars.
    text.text = String::from_utf8_lossy(&bytes).into_owned();
}
