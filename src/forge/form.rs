//! Form posts: the `payload` field of an `application/x-www-form-urlencoded` body, decoded to bytes.

use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

/// Whether the request says that it is a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The decoded value of the first `payload` field.
pub(super) fn payload(body: &[u8]) -> Option<Vec<u8>> {
    body.split(|b| *b == b'&').find_map(|field| field.strip_prefix(b"payload=")).map(decode)
}

/// `+` is a space, `%41` a byte; anything else, a broken escape too, stands for itself (WHATWG URL, urlencoded parser).
fn decode(value: &[u8]) -> Vec<u8> {
    let hex = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16));
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        at += 1;
        match (byte, hex(value.get(at)), hex(value.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) => out.push(b' '),
            (byte, _, _) => out.push(byte),
        }
    }
    out
}
