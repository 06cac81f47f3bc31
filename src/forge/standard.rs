//! Standard Webhooks signatures (standardwebhooks.com), as GitLab's signing tokens make them: HMAC-SHA256 over
//! `ID.TIMESTAMP.BODY`, in a list of which any `v1` may fit, refused when older or newer than five minutes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;
use jiff::Timestamp;

use super::Refused;
use super::signature::{Call, hmac};
use crate::model::Secret;

pub(super) const SIGNATURE: &str = "webhook-signature";
pub(super) const ID: &str = "webhook-id";
pub(super) const TIMESTAMP: &str = "webhook-timestamp";

/// How far, in seconds, the sender's clock and ours may be apart.
const TOLERANCE: i64 = 5 * 60;

/// Checks a call that carries `webhook-signature`.
pub(super) fn verify(call: Call<'_, '_>, tokens: &[Secret], now: Timestamp) -> Result<(), Refused> {
    let tokens = call.usable(":signing-token", tokens)?;
    let header =
        |name: &'static str| match call.headers.get(name).map(|v| v.to_str()) {
            Some(Ok(value)) if !value.is_empty() => Ok(value),
            Some(_) => Err(call.refuse(format!("the header {name} is empty or not text"))),
            None => Err(call
                .refuse(format!("the header {name} is missing, though {SIGNATURE} is there: does a proxy drop it?"))),
        };
    let (signature, id, timestamp) = (header(SIGNATURE)?, header(ID)?, header(TIMESTAMP)?);
    let sent: i64 = match timestamp.parse() {
        Ok(seconds) => seconds,
        Err(_) => return Err(call.refuse(format!("the header {TIMESTAMP} is not a number of seconds"))),
    };
    let given: Vec<Vec<u8>> = signature
        .split(' ')
        .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok())
        .filter(|mac| mac.len() == 32)
        .collect();
    if given.is_empty() {
        return Err(call.refuse(format!("the header {SIGNATURE} holds no signature of the form v1,<base64>")));
    }
    let mut bad_token = None;
    let fits = tokens.iter().any(|token| match token.signing_key() {
        Ok(key) => {
            let mac = hmac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", call.body]);
            given.iter().any(|given| mac.clone().verify_slice(given).is_ok())
        }
        Err(why) => {
            bad_token.get_or_insert(format!("the signing token {} can't be used: {why}", token.name()));
            false
        }
    });
    if !fits {
        let cause = bad_token.unwrap_or_else(|| {
            "either the signing token on the gitlab side is another, or a proxy changed the body".into()
        });
        return Err(call.mismatch(SIGNATURE, Some(call.body.len()), &tokens, &cause));
    }
    // After the signature, so that the clock is only ever blamed for a true call.
    let apart = now.as_second().saturating_sub(sent);
    if apart.saturating_abs() > TOLERANCE {
        return Err(call.refuse(format!(
            "its signature fits, but {TIMESTAMP} is {} seconds {} this machine's clock and {TOLERANCE} are allowed: \
             a replay, or a clock that is wrong",
            apart.saturating_abs(),
            if apart > 0 { "behind" } else { "ahead of" }
        )));
    }
    Ok(())
}
