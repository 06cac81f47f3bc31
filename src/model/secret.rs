//! Secrets in a type of their own: no Display, no serialisation, and a Debug that says nothing. Wiped when dropped.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

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

/// What authenticates one forge's webhooks: `:webhooks {:gitlab {:secret … :signing-token …}}`. Several of each, so
/// that one can be rotated: any that matches will do.
#[derive(Debug, Clone, Default)]
pub struct ForgeSecrets {
    /// `:secret`: the HMAC key, or GitLab's plain token.
    pub secrets: Vec<Secret>,
    /// `:signing-token`: GitLab's Standard Webhooks keys, `whsec_<base64>`.
    pub signing_tokens: Vec<Secret>,
}
