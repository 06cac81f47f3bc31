//! When two forms are `=` in Clojure, and which key of a map or element of a set stands twice.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use super::form::{Document, Form, Kind, Tag};
use super::number::Number;
use super::{instant_millis, uuid_bits};

/// Above this many keys they are hashed instead of compared each with each.
const FEW: usize = 12;

/// Two of `keys` that are equal, in source order: the first, and the later one that repeats it.
pub(super) fn duplicate(document: &Document<'_>, namespace: Option<&str>, keys: &[u32]) -> Option<(u32, u32)> {
    if keys.len() < 2 {
        return None;
    }
    if namespace.is_none()
        && let Some(found) = simple_duplicate(document, keys)
    {
        return found;
    }
    let form = |index: u32| Form::at(document, index);
    let equal = |a: u32, b: u32| match (simple(document, a), simple(document, b)) {
        // A namespace to add makes `:b` and `:a/b` equal.
        (Some(a), Some(b)) if namespace.is_none() => a == b,
        _ => same(form(a).in_namespace(namespace), form(b).in_namespace(namespace)),
    };
    if keys.len() <= FEW {
        return keys
            .iter()
            .enumerate()
            .skip(1)
            .find_map(|(i, &later)| keys[..i].iter().find(|&&first| equal(first, later)).map(|&first| (first, later)));
    }
    let state = RandomState::new();
    let mut hashed: Vec<(u64, u32)> = Vec::with_capacity(keys.len());
    for &index in keys {
        let mut hasher = state.build_hasher();
        match simple(document, index) {
            Some(text) if namespace.is_none() => hasher.write(text),
            _ => {
                let form = form(index).in_namespace(namespace);
                // As `simple` hashes it, should one key be simple and its equal not: "a" and "\u0061".
                match form.kind() {
                    Kind::Str => {
                        hasher.write(b"\"");
                        hasher.write(form.string().unwrap_or_default().as_bytes());
                        hasher.write(b"\"");
                    }
                    Kind::Keyword => hasher.write(format!(":{}", form.keyword()?).as_bytes()),
                    Kind::Symbol => hasher.write(form.symbol()?.to_string().as_bytes()),
                    Kind::Number => match form.number()? {
                        Number::Int(int) => hasher.write(int.to_string().as_bytes()),
                        Number::BigInt(digits) => hasher.write(digits.as_bytes()),
                        _ => hash(form, &state, &mut hasher),
                    },
                    _ => hash(form, &state, &mut hasher),
                }
            }
        }
        hashed.push((hasher.finish(), index));
    }
    hashed.sort_unstable();
    let mut found: Option<(u32, u32)> = None;
    for (i, &(code, later)) in hashed.iter().enumerate() {
        let twin =
            hashed[..i].iter().rev().take_while(|(other, _)| *other == code).find(|(_, first)| equal(*first, later));
        if let Some(&(_, first)) = twin
            && found.is_none_or(|(_, known)| later < known)
        {
            found = Some((first, later));
        }
    }
    found
}

/// As `duplicate`, if all of the keys are simple.
#[allow(clippy::option_option, reason = "the outer one is whether this could tell")]
fn simple_duplicate(document: &Document<'_>, keys: &[u32]) -> Option<Option<(u32, u32)>> {
    let apart = if keys.len() <= 16 { are_apart::<16>(document, keys) } else { are_apart::<256>(document, keys) };
    if apart? {
        return Some(None);
    }
    let mut sorted = Vec::with_capacity(keys.len());
    for &key in keys {
        let text = simple(document, key)?;
        sorted.push((print(text), text, key));
    }
    // Equal ones come to stand in the order that they have in the source.
    sorted.sort_unstable();
    let same = |a: &(u64, &[u8], u32), b: &(u64, &[u8], u32)| (a.0, a.1) == (b.0, b.1);
    let twins = sorted.chunk_by(same).filter(|twins| twins.len() > 1);
    Some(twins.map(|twins| (twins[0].2, twins[1].2)).min_by_key(|(_, later)| *later))
}

/// Whether all of the keys are surely different, if all are simple: each leaves a mark, and equal ones leave the same.
fn are_apart<const WORDS: usize>(document: &Document<'_>, keys: &[u32]) -> Option<bool> {
    let (mut marks, mut apart) = ([0u64; WORDS], true);
    for &key in keys {
        let mark = print(simple(document, key)?).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (word, bit) = (&mut marks[(mark >> 32) as usize % WORDS], 1 << (mark >> 58));
        apart &= *word & bit == 0;
        *word |= bit;
    }
    Some(apart)
}

/// A number that equal texts share and others seldom do: it spares looking at them.
#[inline]
fn print(bytes: &[u8]) -> u64 {
    let ends = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), bytes.last_chunk::<8>()) {
        (_, _, Some(last)) => u64::from_le_bytes(*last),
        (Some(first), Some(last), _) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
    };
    ends ^ (bytes.len() as u64).rotate_right(8)
}

/// The text of a keyword, a symbol, a string without escapes or a small integer in its shortest form. Two of these are
/// equal if, and only if, they are written alike: no two kinds begin alike.
#[inline(always)]
fn simple<'s>(document: &Document<'s>, index: u32) -> Option<&'s [u8]> {
    let raw = &document.nodes[index as usize];
    let text = &document.source.as_bytes()[raw.start as usize..raw.end as usize];
    match raw.tag {
        Tag::Keyword | Tag::Symbol => Some(text),
        Tag::Str if !raw.has_escapes() => Some(text),
        Tag::Number if text.len() < 18 => {
            let digits = text.strip_prefix(b"-").unwrap_or(text);
            let shortest = digits[0] != b'0' || text == b"0";
            (shortest && digits.iter().all(u8::is_ascii_digit)).then_some(text)
        }
        _ => None,
    }
}

/// Whether two forms are `=`.
pub(super) fn same(a: Form<'_>, b: Form<'_>) -> bool {
    use Kind::*;
    match (a.kind(), b.kind()) {
        (Nil, Nil) => true,
        (Bool, Bool) => a.boolean() == b.boolean(),
        (Number, Number) => match (a.number(), b.number()) {
            // The reader gives the one and same NaN each time, and what is identical is equal.
            (Some(a), Some(b)) => a.same(&b) || (is_nan(&a) && is_nan(&b)),
            _ => false,
        },
        (Char, Char) => a.character() == b.character(),
        (Str, Str) => a.string() == b.string(),
        (Keyword, Keyword) => a.keyword() == b.keyword(),
        (Symbol, Symbol) => a.symbol() == b.symbol(),
        (List | Vector, List | Vector) => {
            let (mut xs, mut ys) = (a.values(), b.values());
            loop {
                match (xs.next(), ys.next()) {
                    (None, None) => return true,
                    (Some(x), Some(y)) if same(x, y) => {}
                    _ => return false,
                }
            }
        }
        (Set, Set) => same_members(a.values().map(|v| (v, None)).collect(), b.values().map(|v| (v, None)).collect()),
        (Map, Map) => same_members(
            a.entries().map(|(k, v)| (k, Some(v))).collect(),
            b.entries().map(|(k, v)| (k, Some(v))).collect(),
        ),
        (Tagged, Tagged) if a.tag() == b.tag() => match (a.values().next(), b.values().next()) {
            (Some(x), Some(y)) => match (meaning(a, x), meaning(b, y)) {
                (Some(x), Some(y)) => x == y,
                _ => same(x, y),
            },
            _ => false,
        },
        _ => false,
    }
}

fn is_nan(number: &Number) -> bool {
    matches!(number, Number::Float(f) if f.is_nan())
}

/// What a tag with a meaning of its own stands for: `#inst` and `#uuid`.
fn meaning(tagged: Form<'_>, inner: Form<'_>) -> Option<u128> {
    match tagged.tag()? {
        "inst" => instant_millis(&inner.string()?).map(|millis| millis as u128),
        "uuid" => uuid_bits(&inner.string()?),
        _ => None,
    }
}

type Member<'d> = (Form<'d>, Option<Form<'d>>);

/// Whether two sets or maps hold the same: sorted by hash, so that large ones aren't compared each with each.
fn same_members(a: Vec<Member<'_>>, b: Vec<Member<'_>>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let state = RandomState::new();
    let code = |(key, _): &Member<'_>| {
        let mut hasher = state.build_hasher();
        hash(*key, &state, &mut hasher);
        hasher.finish()
    };
    let mut theirs: Vec<(u64, Member<'_>)> = b.into_iter().map(|member| (code(&member), member)).collect();
    theirs.sort_by_key(|(code, _)| *code);
    a.into_iter().all(|member| {
        let code = code(&member);
        let from = theirs.partition_point(|(other, _)| *other < code);
        theirs[from..].iter().take_while(|(other, _)| *other == code).any(|(_, (key, value))| {
            same(member.0, *key)
                && match (member.1, value) {
                    (Some(x), Some(y)) => same(x, *y),
                    (x, y) => x.is_none() && y.is_none(),
                }
        })
    })
}

/// A hash that equal forms share.
fn hash(form: Form<'_>, state: &RandomState, into: &mut impl Hasher) {
    let alone = |form: Form<'_>| {
        let mut hasher = state.build_hasher();
        hash(form, state, &mut hasher);
        hasher.finish()
    };
    let kind = form.kind();
    into.write_u8(if kind == Kind::List { Kind::Vector as u8 } else { kind as u8 });
    match kind {
        Kind::Nil => {}
        Kind::Bool => form.boolean().hash(into),
        Kind::Char => form.character().hash(into),
        Kind::Str => form.string().hash(into),
        Kind::Keyword => form.keyword().hash(into),
        Kind::Symbol => form.symbol().hash(into),
        Kind::Number => match form.number() {
            Some(Number::Int(int)) => int.to_string().hash(into),
            Some(Number::BigInt(digits)) => digits.hash(into),
            Some(Number::Float(float)) => (if float == 0.0 { 0 } else { float.to_bits() }).hash(into),
            Some(Number::Decimal { digits, .. }) => digits.trim_end_matches('0').hash(into),
            Some(Number::Ratio { numerator, denominator }) => (numerator, denominator).hash(into),
            None => {}
        },
        Kind::List | Kind::Vector => {
            for value in form.values() {
                hash(value, state, into);
            }
            into.write_u8(0xff);
        }
        // In any order.
        Kind::Set => into.write_u64(form.values().map(alone).fold(0, u64::wrapping_add)),
        Kind::Map => {
            let codes = form.entries().map(|(key, value)| alone(key).wrapping_mul(31) ^ alone(value));
            into.write_u64(codes.fold(0, u64::wrapping_add));
        }
        Kind::Tagged => {
            form.tag().hash(into);
            if let Some(inner) = form.values().next() {
                match meaning(form, inner) {
                    Some(meaning) => meaning.hash(into),
                    None => hash(inner, state, into),
                }
            }
        }
    }
}
