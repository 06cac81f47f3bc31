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

/// Hides what looks like a secret in a text that could not be read, by its words alone: from a telling key to the end
/// of its line, and on until a line begins with another key. `notes_only` looks only at comments and discards.
pub(super) fn hide_words(text: &mut Text, notes_only: bool) {
    let mut bytes = std::mem::take(&mut text.text).into_bytes();
    let (mut from, mut hiding) = (0, false);
    while from < bytes.len() {
        let to = bytes[from..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| from + at + 1);
        let line = String::from_utf8_lossy(&bytes[from..to]).into_owned();
        let first = line.trim_start().bytes().next();
        hiding &= !matches!(first, Some(b':' | b'}' | b';')) && !notes_only;
        let note = line.find(';').into_iter().chain(line.find("#_")).min();
        let start = if notes_only { note } else { Some(0) };
        let word = start.and_then(|start| telling_word(&line, start));
        if hiding || word.is_some() {
            let start = if hiding { 0 } else { word.unwrap_or(0) };
            // Lossy text can be longer than the bytes; then all of the line goes.
            let start = if line.len() == to - from { start } else { 0 };
            bytes[from + start..to].iter_mut().filter(|b| !b.is_ascii_whitespace()).for_each(|b| *b = STAR);
            hiding = true;
        }
        from = to;
    }
    // Only whole words and lines became stars, so this is still UTF-8.
    text.text = String::from_utf8_lossy(&bytes).into_owned();
}

/// The end of the first word from `start` on that names a secret.
fn telling_word(line: &str, start: usize) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || "-_?".contains(c);
    let mut at = start;
    while let Some(found) = line[at..].find(is_word) {
        let begin = at + found;
        let end = line[begin..].find(|c| !is_word(c)).map_or(line.len(), |len| begin + len);
        let key = line[..begin].ends_with([':', '"']);
        if key && is_secret_key(&line[begin..end]) {
            return Some(end);
        }
        at = end;
    }
    None
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
