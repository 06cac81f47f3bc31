//! Signed pushes as GitHub sends them: a real payload of the corpus, made 8 KiB long, each with a delivery id and a
//! head of its own, so that none is a duplicate. All is signed and written out before any clock starts.

use std::path::PathBuf;

use airplanes::forge;
use airplanes::model::{Forge, Secret};
use anyhow::{Context, Result};
use serde_json::Value;

use crate::load::Calls;
use crate::support::world::SECRET;

/// How long each body is, in bytes.
const LENGTH: usize = 8 << 10;

/// What makes pushes; it never makes the same one twice.
pub struct Pushes {
    payload: Value,
    made: u32,
}

impl Pushes {
    pub fn new() -> Result<Self> {
        let place = "../shared/corpus/webhooks/github/octokit/push.4.json";
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(place);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("the corpus is needed: {}", path.display()))?;
        Ok(Self { payload: serde_json::from_str(&text)?, made: 0 })
    }

    /// So many new pushes, to be posted to `path`.
    pub fn make(&mut self, count: usize, path: &str) -> Calls {
        (0..count).map(|_| self.one(path)).collect()
    }

    fn one(&mut self, path: &str) -> Vec<u8> {
        self.made += 1;
        // Told apart from those of other runs on the same store, of which there are none.
        let (sha, id) = (format!("{:040x}", self.made), format!("72d3162e-cc78-11e3-81ab-{:012x}", self.made));
        for place in ["/after", "/head_commit/id", "/commits/0/id"] {
            if let Some(value) = self.payload.pointer_mut(place) {
                *value = Value::from(sha.as_str());
            }
        }
        let mut body = self.payload.to_string();
        if body.len() != LENGTH
            && let Some(Value::String(message)) = self.payload.pointer_mut("/commits/0/message")
        {
            *message = format!("{message} {}", "x".repeat(LENGTH.saturating_sub(body.len() + 1)));
            body = self.payload.to_string();
        }
        let secret = Secret::new("bench", SECRET);
        let headers = forge::push_headers(Forge::Github, &id).into_iter();
        let headers = headers.chain(forge::sign(Forge::Github, &secret, body.as_bytes()));
        let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: GitHub-Hookshot/044aadd\r\nAccept: */*\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}
