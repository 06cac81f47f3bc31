//! Eight bytes at a time: where a run ends is computed, not found by a loop whose end no processor can guess.
//!
//! A word holds eight bytes, the first of the text lowest. Masks have the top bit set in each byte they mean, so the
//! lowest set bit tells which is first. `lex` and `reader` skip what is plain by these and look closely at where they stop.
//!
//! Must never skip a byte that Clojure could mind.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const TOPS: u64 = u64::from_le_bytes([0x80; 8]);

const fn each(byte: u8) -> u64 {
    ONES * byte as u64
}

/// The eight bytes at `at`, if the text has as many.
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight))
}

/// How many bytes stand before the first that a mask means.
fn first(mask: u64) -> usize {
    mask.trailing_zeros() as usize / 8
}

/// The bytes of `word` from `low` to `high`, both below 128. Right for bytes below 128 only.
const fn within(word: u64, low: u8, high: u8) -> u64 {
    (word + each(0x80 - low)) & !(word + each(0x7f - high)) & TOPS
}

/// The place from `from` on of the first byte that is one of two.
pub(super) fn find2(bytes: &[u8], from: usize, a: u8, b: u8) -> Option<usize> {
    // Those that are zero; the lowest is right, those above it may not be.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut at = from;
    while let Some(word) = word(bytes, at) {
        let found = zeros(word ^ each(a)) | zeros(word ^ each(b));
        if found != 0 {
            return Some(at + first(found));
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| *byte == a || *byte == b).map(|step| at + step)
}

/// Past spaces and line feeds: with the indentation they are a quarter of what people write.
pub(super) fn past_blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word(bytes, at) {
        let not = |byte: u8| {
            let other = word ^ each(byte);
            ((other & !TOPS) + !TOPS) | other
        };
        let others = not(b' ') & not(b'\n') & TOPS;
        if others != 0 {
            return at + first(others);
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\n')) {
        at += 1;
    }
    at
}

/// Past ASCII letters, digits, `-` and `.`, which may stand anywhere in a name but at its beginning.
pub(super) fn past_letters(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word(bytes, at) {
        let low = word & !TOPS;
        let letters = within(low | each(0x20), b'a', b'z');
        let others = (!(letters | within(low, b'0', b'9') | within(low, b'-', b'.')) | word) & TOPS;
        if others != 0 {
            return at + first(others);
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        at += 1;
    }
    at
}
