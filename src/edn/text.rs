//! What strings and characters hold: escapes checked at reading, decoded when asked for.

use std::borrow::Cow;

use super::lex::{self, MACRO, SPACE};

/// Checks the escape whose backslash is at `at` and gives the place after it. An `Err` is the place of the character
/// that is wrong.
pub(super) fn check_escape(text: &str, at: usize) -> Result<usize, usize> {
    escape(text, at).map(|(_, end)| end)
}

/// The UTF-16 unit of an escape and the place after it.
fn escape(text: &str, at: usize) -> Result<(u32, usize), usize> {
    let letter_at = at + 1;
    let letter = lex::char_at(text, letter_at).ok_or(letter_at)?;
    let simple = match letter {
        't' => 9,
        'r' => 13,
        'n' => 10,
        'b' => 8,
        'f' => 12,
        '\\' => 92,
        '"' => 34,
        'u' => {
            let (unit, end, count) = digits(text, letter_at + 1, 16, 4)?;
            return if count == 4 { Ok((unit, end)) } else { Err(end) };
        }
        c if lex::is_digit(c) => {
            let (unit, end, _) = digits(text, letter_at, 8, 3)?;
            return if unit <= 0o377 { Ok((unit, end)) } else { Err(end) };
        }
        _ => return Err(letter_at),
    };
    Ok((simple, letter_at + 1))
}

/// Up to `max` digits: white space or a macro character ends them, anything else that is no digit is a fault.
fn digits(text: &str, from: usize, radix: u32, max: usize) -> Result<(u32, usize, usize), usize> {
    let (mut value, mut at, mut count) = (0, from, 0);
    while count < max {
        let Some(c) = lex::char_at(text, at) else { break };
        let ends =
            if c.is_ascii() { lex::class(c as u8) & (SPACE | MACRO) != 0 || c == '#' } else { lex::is_wide_space(c) };
        if ends && count > 0 {
            break;
        }
        value = value * radix + lex::digit(c, radix).ok_or(at)?;
        at += c.len_utf8();
        count += 1;
    }
    if count == 0 { Err(at) } else { Ok((value, at, count)) }
}

/// The content of a string literal, given without its quotes. Half a surrogate pair becomes U+FFFD: Java's strings can
/// hold one and Rust's can't.
pub(super) fn unescape(body: &str) -> Cow<'_, str> {
    let Some(mut backslash) = body.find('\\') else { return Cow::Borrowed(body) };
    let mut out = String::with_capacity(body.len());
    let mut pending: Vec<u16> = Vec::new();
    let mut at = 0;
    loop {
        if backslash > at {
            flush(&mut pending, &mut out);
            out.push_str(&body[at..backslash]);
        }
        // The reader has checked every escape, so an error here can only be a text it never saw: keep it as it is.
        match escape(body, backslash) {
            Ok((unit, end)) => {
                pending.push(unit as u16);
                at = end;
            }
            Err(_) => {
                flush(&mut pending, &mut out);
                out.push('\\');
                at = backslash + 1;
            }
        }
        match body[at..].find('\\') {
            Some(next) => backslash = at + next,
            None => break,
        }
    }
    flush(&mut pending, &mut out);
    out.push_str(&body[at..]);
    Cow::Owned(out)
}

fn flush(units: &mut Vec<u16>, out: &mut String) {
    out.extend(char::decode_utf16(units.drain(..)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

/// The character that `token`, what follows the backslash, names; `None` if Clojure refuses it.
pub(super) fn character(token: &str) -> Option<char> {
    let mut chars = token.chars();
    let first = chars.next()?;
    if chars.next().is_none() {
        // One UTF-16 unit: an astral character is two.
        return (first.len_utf16() == 1).then_some(first);
    }
    let number = |radix: u32| token[1..].chars().try_fold(0u32, |value, c| Some(value * radix + lex::digit(c, radix)?));
    match token {
        "newline" => Some('\n'),
        "space" => Some(' '),
        "tab" => Some('\t'),
        "backspace" => Some('\u{8}'),
        "formfeed" => Some('\u{c}'),
        "return" => Some('\r'),
        _ if first == 'u' && token.chars().count() == 5 => number(16).and_then(char::from_u32),
        _ if first == 'o' && token.chars().count() <= 4 => number(8).filter(|n| *n <= 0o377).and_then(char::from_u32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_what_they_stand_for() {
        assert_eq!(unescape(r"\ud83d\ude80 \12\t\u0041 \0"), "🚀 \n\tA \0");
        assert_eq!(unescape(r"a\ud83db"), "a\u{fffd}b");
        assert!(matches!(unescape("plain"), Cow::Borrowed("plain")));
        for bad in [r"\x", r"\u12", r"\u00g0", r"\8", r"\400", r"\"] {
            assert!(check_escape(bad, 0).is_err(), "{bad}");
        }
    }
}
