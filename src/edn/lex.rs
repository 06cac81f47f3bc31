//! Characters and tokens: what Clojure's EdnReader takes for white space, for a token's end, for a symbol.
//!
//! Java looks at UTF-16 units and Unicode classes; where that shows, the rule is spelled out here.

use super::eight;

/// ASCII white space and the comma.
pub(super) const SPACE: u8 = 1;
/// Ends any token: `" ; ^ ( ) [ ] { } \`.
pub(super) const MACRO: u8 = 2;
/// `#` ends a number but not a symbol.
pub(super) const HASH: u8 = 4;
/// `@`, `` ` `` and `~`: never in a token.
pub(super) const BANNED: u8 = 8;
/// `/`, which parts a namespace from a name.
pub(super) const SLASH: u8 = 16;
/// A byte of a character beyond ASCII.
pub(super) const HIGH: u8 = 32;
/// `0` to `9`.
pub(super) const DIGIT: u8 = 64;
/// `:`, which a token can begin with; another one is looked at closely.
pub(super) const COLON: u8 = 128;

/// The classes of each byte.
pub(super) static CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            9..=13 | 28..=32 | b',' => SPACE,
            b'"' | b';' | b'^' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'\\' => MACRO,
            b'#' => HASH,
            b'@' | b'`' | b'~' => BANNED,
            b'/' => SLASH,
            b':' => COLON,
            b'0'..=b'9' => DIGIT,
            128.. => HIGH,
            _ => 0,
        };
        byte += 1;
    }
    table
};

pub(super) fn class(byte: u8) -> u8 {
    CLASS[byte as usize]
}

/// The character that begins at byte `at`.
pub(super) fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..).and_then(|rest| rest.chars().next())
}

/// Java's `Character.isWhitespace` beyond ASCII: the separators, without the three that don't break.
pub(super) fn is_wide_space(c: char) -> bool {
    matches!(c, '\u{1680}' | '\u{2000}'..='\u{2006}' | '\u{2008}'..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{205f}' | '\u{3000}')
}

/// The zeros of the decimal digits beyond ASCII in Unicode's first plane; each has its nine followers.
const ZEROS: [u32; 36] = [
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0de6, 0x0e50,
    0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
];

/// Java's `Character.digit`: decimal digits of any script, Latin letters, full-width ones too.
pub(super) fn digit(c: char, radix: u32) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(radix);
    }
    let code = c as u32;
    let value = match code {
        0xff21..=0xff3a => code - 0xff21 + 10,
        0xff41..=0xff5a => code - 0xff41 + 10,
        _ => ZEROS.iter().find_map(|zero| code.checked_sub(*zero).filter(|d| *d < 10))?,
    };
    (value < radix).then_some(value)
}

/// Java's `Character.isDigit` of one UTF-16 unit.
pub(super) fn is_digit(c: char) -> bool {
    digit(c, 10).is_some()
}

/// Java's `Character.isLetter` below 256, which is all that can begin a tag.
pub(super) fn begins_tag(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, 'ª' | 'µ' | 'º' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ')
}

/// The end of the token that begins at `from`, whose first character is taken whatever it is, and the classes of its
/// bytes after the first together. An `Err` is the place of a character that no token may hold.
pub(super) fn token_end(text: &str, from: usize) -> Result<(usize, u8), usize> {
    let bytes = text.as_bytes();
    let mut at = from + char_at(text, from).map_or(1, char::len_utf8);
    let mut classes = 0;
    loop {
        let Some(&byte) = bytes.get(at) else { return Ok((at, classes)) };
        let class = class(byte);
        if class & (SPACE | MACRO | BANNED | HIGH) == 0 {
            classes |= class;
            at += 1;
        } else if class & HIGH != 0 {
            let Some(c) = char_at(text, at) else { return Ok((at, classes)) };
            if is_wide_space(c) {
                return Ok((at, classes));
            }
            classes |= HIGH;
            at += c.len_utf8();
        } else if class & BANNED != 0 {
            return Err(at);
        } else {
            return Ok((at, classes));
        }
    }
}

/// The end of the number that begins at `from`.
pub(super) fn number_end(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        let class = class(byte);
        if class & (SPACE | MACRO | HASH) != 0 {
            break;
        }
        if class & HIGH == 0 {
            at += 1;
            continue;
        }
        match char_at(text, at) {
            Some(c) if !is_wide_space(c) => at += c.len_utf8(),
            _ => break,
        }
    }
    at
}

/// Past white space and comments. One space or none is what stands between forms most of the time.
#[inline]
pub(super) fn past_space(text: &str, mut at: usize) -> usize {
    let bytes = text.as_bytes();
    if bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    match bytes.get(at) {
        Some(&byte) if class(byte) & (SPACE | HIGH) == 0 && byte != b';' => at,
        _ => past_more_space(text, at),
    }
}

fn past_more_space(text: &str, mut at: usize) -> usize {
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        let class = class(byte);
        if class & SPACE != 0 {
            at = eight::past_spaces(bytes, at + 1);
        } else if byte != b';' && class & HIGH == 0 {
            break;
        } else if let Some(end) = past_comment(text, at) {
            at = end;
        } else {
            break;
        }
    }
    at
}

/// Past a comment or a white space beyond ASCII, if one begins here.
#[inline(never)]
fn past_comment(text: &str, at: usize) -> Option<usize> {
    match char_at(text, at)? {
        ';' => Some(eight::find2(text.as_bytes(), at, b'\n', b'\r').unwrap_or(text.len())),
        c => is_wide_space(c).then_some(at + c.len_utf8()),
    }
}

/// The end of the word at `from`, if it is one that needs no closer look, as most do: ASCII, at most one slash inside,
/// and no digit where a name begins.
#[inline]
pub(super) fn plain_word(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + usize::from(bytes[from] == b':');
    if class(*bytes.get(at)?) != 0 {
        return None;
    }
    let mut slash = None;
    loop {
        let (length, slashes) = eight::name(bytes, at);
        if !slashes.is_none() {
            let before = slashes.only().filter(|_| slash.is_none())?;
            slash = Some(at + before);
        }
        at += length;
        if length == 8 {
            continue;
        }
        let Some(&byte) = bytes.get(at) else { break };
        let class = class(byte);
        if class & (SPACE | MACRO) != 0 {
            break;
        }
        if class & !HASH != 0 {
            return None;
        }
        at += 1;
    }
    let begins_name = |at: usize| bytes.get(at).is_some_and(|byte| class(*byte) & !HASH == 0);
    slash.is_none_or(|slash| begins_name(slash + 1)).then_some(at)
}

/// Whether `token` is a symbol or keyword, by the classes of its bytes after the first; most need no closer look.
pub(super) fn is_word(token: &str, classes: u8) -> bool {
    let bytes = token.as_bytes();
    let begins_well = |at: usize| bytes.get(at).is_some_and(|b| class(*b) & (DIGIT | SLASH | HIGH) == 0);
    let from = usize::from(bytes[0] == b':');
    if begins_well(from) && classes & (COLON | HIGH) == 0 {
        if classes & SLASH == 0 {
            return true;
        }
        let mut slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/');
        if let (Some((slash, _)), None) = (slashes.next(), slashes.next())
            && begins_well(slash + 1)
        {
            return true;
        }
    }
    is_symbol(token)
}

/// Whether Clojure takes `token` for a symbol or keyword. From its pattern
/// `[:]?([\D&&[^/]].*/)?(/|[\D&&[^/]][^/]*)` and the checks that follow it.
fn is_symbol(token: &str) -> bool {
    if token.contains("::") || token.ends_with(':') {
        return false;
    }
    let matches = |text: &str| {
        let good_first = |part: &str| !part.starts_with(|c: char| c.is_ascii_digit() || c == '/') && !part.is_empty();
        let (namespace, name) = match text.strip_suffix('/') {
            Some("") => return true,
            Some(namespace) => (namespace, "/"),
            None => match text.rsplit_once('/') {
                None => return good_first(text),
                Some((namespace, name)) => (namespace, name),
            },
        };
        // A trailing slash is the name `/` only if another stands before it: `foo//`.
        if name == "/" && !namespace.ends_with('/') {
            return false;
        }
        let namespace = if name == "/" { &namespace[..namespace.len() - 1] } else { namespace };
        // `.` stops at line ends, and NEL is the one that doesn't end a token.
        let one_line = !namespace.chars().skip(1).any(|c| c == '\u{85}');
        good_first(namespace) && !namespace.ends_with(':') && one_line && (name == "/" || good_first(name))
    };
    match token.strip_prefix(':') {
        Some(rest) => matches(rest) || matches(token),
        None => matches(token),
    }
}
