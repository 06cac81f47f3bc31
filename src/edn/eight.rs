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

/// The eight bytes at `at`. Zeros, at which every run ends, stand for those that the text doesn't have.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(eight) => u64::from_le_bytes(*eight),
        None => last_word(bytes, at),
    }
}

#[cold]
#[inline(never)]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    bytes.iter().skip(at).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// How many bytes stand before the first that a mask means; all eight if it means none.
fn first(mask: u64) -> usize {
    mask.trailing_zeros() as usize / 8
}

/// The bytes of `word` from `low` to `high`, both below 128. Right for bytes below 128 only.
const fn within(word: u64, low: u8, high: u8) -> u64 {
    (word + each(0x80 - low)) & !(word + each(0x7f - high)) & TOPS
}

/// The place from `from` on of the first byte that is one of two, of which none is zero.
pub(super) fn find2(bytes: &[u8], from: usize, a: u8, b: u8) -> Option<usize> {
    // Those that are zero; the lowest is right, those above it may not be.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut at = from;
    while at < bytes.len() {
        let word = word(bytes, at);
        let found = zeros(word ^ each(a)) | zeros(word ^ each(b));
        if found != 0 {
            return Some(at + first(found));
        }
        at += 8;
    }
    None
}

/// Past spaces: with the indentation they are a quarter of what people write.
pub(super) fn past_spaces(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let others = word(bytes, at) ^ each(b' ');
        if others != 0 {
            return at + first(others);
        }
        at += 8;
    }
}

/// How many of the eight bytes at `at`, from the first on, are ASCII letters, digits, `-`, `.` or `/`, which most names
/// are made of, and which of them are slashes.
#[inline]
pub(super) fn name(bytes: &[u8], at: usize) -> (usize, Slashes) {
    let word = word(bytes, at);
    let low = word & !TOPS;
    let named = within(low | each(0x20), b'a', b'z') | within(low, b'-', b'9');
    let others = (!named | word) & TOPS;
    let mut slashes = !((low ^ each(b'/')) + !TOPS) & TOPS;
    if slashes != 0 {
        slashes &= !others & others.wrapping_sub(1);
    }
    (first(others), Slashes(slashes))
}

/// Slashes among eight bytes.
pub(super) struct Slashes(u64);

impl Slashes {
    /// Whether there are none.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.0 == 0
    }
    /// How many bytes stand before the only one.
    #[inline]
    pub(super) fn only(&self) -> Option<usize> {
        (self.0 & (self.0.wrapping_sub(1)) == 0).then(|| first(self.0))
    }
}
