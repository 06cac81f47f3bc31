//! Secrets in a type of their own: no Display, no serialisation, and a Debug that says nothing. Wiped when dropped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::names::{AppName, CredentialName};

/// A secret's bytes with the name by which a log may speak of it. Cheap to clone is not wanted; share it in an `Arc`.
#[derive(Clone)]
pub struct Secret {
    name: String,
    bytes: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// `name` tells where it is from (`#env GITHUB_SECRET`), and may be logged; `bytes` may not.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: Zeroizing::new(bytes.into()) }
    }
    /// Where it is from: safe to log.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its length in bytes: safe to log, and what finds the trailing newline that was pasted with it.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
    /// Whether it has no bytes: never acceptable as a key.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    /// The bytes themselves. Call it where they are used, and keep nothing.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
    /// The HMAC key in a signing token of Standard Webhooks: the bytes that `whsec_<base64>` stands for.
    pub fn signing_key(&self) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let Some(encoded) = self.bytes.trim_ascii().strip_prefix(b"whsec_") else {
            return Err("it does not begin with whsec_");
        };
        match STANDARD.decode(encoded) {
            Ok(key) if !key.is_empty() => Ok(Zeroizing::new(key)),
            Ok(_) => Err("there is nothing after whsec_"),
            Err(_) => Err("what follows whsec_ is not base64"),
        }
    }
    /// Whether `other` is the same, in time that does not depend on where they differ.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.bytes.as_slice().ct_eq(other).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({}, {} bytes)", self.name, self.len())
    }
}

/// What sets an app's secret, on its way to the daemon.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// Its bytes in base64.
    pub value: String,
}

impl Drop for NewSecret {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// A secret that was set or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSet {
    /// Whose.
    pub app: AppName,
    /// Which.
    pub name: CredentialName,
    /// Whether there was one.
    pub replaced: bool,
}

/// The secrets of an app, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretList {
    /// Each.
    pub secrets: Vec<SecretView>,
    /// Always null: they are few.
    pub next: Option<String>,
}

/// What is told of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Its name.
    pub name: CredentialName,
    /// When it was set; none if it was not.
    pub set_at: Option<Timestamp>,
    /// Whether the app's unit gets it.
    pub used: bool,
}

/// What authenticates one forge's webhooks: `:webhooks {:gitlab {:secret … :signing-token …}}`. Several of each, so
/// that one can be rotated: any that matches will do.
#[derive(Debug, Clone, Default)]
pub struct ForgeSecrets {
    /// `:secret`: the HMAC key, or GitLab's plain token.
    pub secrets: Vec<Secret>,
    /// `:signing-token`: GitLab's Standard Webhooks keys, `whsec_<base64>`.
    pub signing_tokens: Vec<Secret>,
}
