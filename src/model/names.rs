//! Validated names. Each is parsed once where it enters and can then stand in an argv, a path or a log line:
//! none is empty, begins with `-`, or holds a control character.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name from outside was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a valid {what}: {why}", .text.escape_debug())]
pub struct InvalidName {
    /// What the text was to be, in the field's words: `branch`, `sha`.
    pub what: &'static str,
    /// The text as it came, cut to 120 characters.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl InvalidName {
    pub(super) fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        let text = text.chars().take(120).collect();
        Self { what, text, why }
    }
}

/// Whether it holds neither white space nor control characters.
pub(super) fn is_one_word(text: &str) -> bool {
    // All of them are looked at, many at once: stopping at the first would take longer.
    let plain = text.bytes().fold(true, |plain, byte| plain & byte.is_ascii_graphic());
    plain || !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr $(, $whole:expr)?) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses and validates.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(&text) {
                    Ok(()) => {
                        $(let text: String = $whole(text);)?
                        Ok(Self(text))
                    }
                    Err(why) => Err(InvalidName::new($what, &text, why)),
                }
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

/// Letters, digits, `.`, `_`, `-`; no leading `-` or `.`; 1 to `max` bytes.
fn simple(text: &str, max: usize, also: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > max {
        return Err("it is too long");
    }
    if text.starts_with(['-', '.']) {
        return Err("it begins with `-` or `.`");
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c) || also.contains(c)) {
        return Err("it may hold letters, digits and `.` `_` `-`");
    }
    Ok(())
}

name!(
    /// An app of deploy.edn (`NAME`) or of a user (`OWNER/NAME`).
    AppName, "app name", |text| match text.split_once('/') {
        None => simple(text, 100, ""),
        Some((owner, name)) => simple(owner, 100, "").and_then(|()| simple(name, 100, "")),
    }
);
name!(
    /// A host's key in config.edn's `:hosts`, an IP address or a DNS name.
    HostName, "host name", |text| simple(text, 253, ":")
);
name!(
    /// An environment of an app: its key in `:environments`.
    EnvName, "environment's name", |text| simple(text, 40, "")
);
name!(
    /// A server's name: its host name, and its key in `:hosts`. Each provider takes it for a label.
    ServerName, "server name", |text| {
        if !(3..=60).contains(&text.len()) {
            return Err("it has to have 3 to 60 characters");
        }
        if !text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            return Err("it may hold small letters, digits and `-`");
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.ends_with('-') || text.contains("--") {
            return Err("it begins with a letter, does not end with `-` and holds no `--`");
        }
        Ok(())
    }
);
name!(
    /// A provider's word for a region, a type of server or an image: `eu-central`, `g6-nanode-1`, `linode/debian12`.
    CloudName, "region, type or image", |text| simple(text, 100, "/")
);
/// The kinds of units, as their names end.
const KINDS: [&str; 10] =
    ["target", "socket", "timer", "path", "mount", "automount", "swap", "slice", "scope", "device"];
name!(
    /// A systemd unit's name without `.service`, as it stands in `:name`.
    UnitName, "unit name", |text| match text.rsplit_once('.') {
        // systemctl would take it for another kind of unit: to restart `poweroff.target` is to power off.
        Some((_, kind)) if KINDS.contains(&kind) => Err("it is the name of a service, without its kind"),
        _ => simple(text, 200, "@:\\"),
    }
);
name!(
    /// A secret of an app, as the file's name that the unit finds it under in `$CREDENTIALS_DIRECTORY`.
    CredentialName, "secret's name", |text| simple(text, 64, "")
);
name!(
    /// A database or a role of PostgreSQL. It may be one of SQL's words.
    PgName, "PostgreSQL name", |text| {
        if text.is_empty() || text.len() > 63 {
            return Err("it has 1 to 63 characters");
        }
        if text.starts_with(|c: char| c.is_ascii_digit())
            || !text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        {
            return Err("it may hold lower-case letters, digits and `_`, and begins with no digit");
        }
        if text.starts_with("pg_") || ["postgres", "template0", "template1", "public"].contains(&text) {
            return Err("it is PostgreSQL's own");
        }
        Ok(())
    }
);
name!(
    /// The sha256 of a file that a build made for hosts, or its first digits where a host knows no more of it.
    FileSum, "sha256", |text| {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match (FileSum::SHORT..=64).contains(&text.len()) && is_hex {
            true => Ok(()),
            false => Err("it has 12 to 64 digits, of 0 to 9 and a to f"),
        }
    }
);
impl FileSum {
    /// So many digits of it are in the name of a release on a host.
    pub const SHORT: usize = 12;
    /// Those.
    pub fn short(&self) -> &str {
        &self.0[..Self::SHORT]
    }
    /// Whether both may be of one file: one begins as the other.
    pub fn is(&self, other: &FileSum) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}
name!(
    /// A library's name in deps.edn as `group/artifact`. An unqualified `snow` is `snow/snow` and is made so here.
    Lib, "library name", |text| {
        if text.is_empty() || text.len() > 400 {
            return Err("it is empty or too long");
        }
        if text.starts_with('-') || !is_one_word(text) {
            return Err("it begins with `-` or holds white space");
        }
        Ok(())
    },
    |text: String| if text.contains('/') { text } else { format!("{text}/{text}") }
);
name!(
    /// A branch without `refs/heads/`, by the rules of `git check-ref-format --branch`.
    Branch, "branch", |text| {
        if text.is_empty() || text == "@" {
            return Err("it is empty or `@`");
        }
        if text.len() > 250 {
            return Err("it is too long");
        }
        if text.starts_with(['-', '/']) || text.ends_with(['/', '.']) {
            return Err("it begins with `-` or `/`, or ends with `/` or `.`");
        }
        if text.contains("..") || text.contains("//") || text.contains("@{") {
            return Err("it holds `..`, `//` or `@{`");
        }
        if text.chars().any(|c| c.is_control() || " ~^:?*[\\\u{7f}".contains(c)) {
            return Err("it holds white space, a control character or one of `~^:?*[\\`");
        }
        if text.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock")) {
            return Err("a part of it begins with `.` or ends with `.lock`");
        }
        Ok(())
    }
);

/// A full commit id: 40 lower-case hex digits, never the zero sha.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha([u8; 20]);

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Sha {
    /// From git's own 20 bytes.
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
    /// Git's own 20 bytes.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
    /// The first ten digits, for people. Never for identity.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }
}

impl std::str::FromStr for Sha {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return Err(InvalidName::new("sha", text, "it is not 40 hex digits"));
        }
        let mut bytes = [0u8; 20];
        for (i, byte) in bytes.iter_mut().enumerate() {
            let digit = |c: u8| (c as char).to_digit(16);
            match (digit(digits[2 * i]), digit(digits[2 * i + 1])) {
                (Some(hi), Some(lo)) => *byte = (hi * 16 + lo) as u8,
                _ => return Err(InvalidName::new("sha", text, "it is not 40 hex digits")),
            }
        }
        if bytes == [0; 20] {
            return Err(InvalidName::new("sha", text, "it is the zero sha, which means none"));
        }
        Ok(Self(bytes))
    }
}
impl TryFrom<String> for Sha {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}
impl From<Sha> for String {
    fn from(sha: Sha) -> String {
        sha.to_string()
    }
}
impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 40];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        f.pad(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}
impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_an_option_or_a_path_is_refused() {
        assert!(AppName::new("-rf").is_err());
        assert!(AppName::new("../etc").is_err());
        assert!(AppName::new("a/b/c").is_err());
        assert!(AppName::new("anna/shop").is_ok());
        assert!(HostName::new("-oProxyCommand=x").is_err());
        assert!(HostName::new("fe80::1").is_ok());
        assert!(UnitName::new("ep;reboot").is_err());
        assert!(CloudName::new("linode/debian12").is_ok() && CloudName::new("../account").is_err());
        for bad in ["w", "Web-1", "web--1", "web-", "1-web", "web.1", "wéb"] {
            assert!(ServerName::new(bad).is_err(), "{bad}");
        }
        assert!(ServerName::new("web-1").is_ok());
    }

    #[test]
    fn a_library_without_a_group_is_its_own() {
        assert_eq!(Lib::new("snow").unwrap().as_str(), "snow/snow");
        assert_eq!(serde_json::from_str::<Lib>("\"snow\"").unwrap(), Lib::new("snow/snow").unwrap());
        assert_eq!(Lib::new("acme/snow").unwrap().as_str(), "acme/snow");
        assert!(Lib::new("").is_err() && Lib::new("-x").is_err() && Lib::new("a b").is_err());
    }

    #[test]
    fn branches_follow_check_ref_format() {
        for good in ["master", "feature/x", "release-1.2", "ünïcode", "a@b"] {
            assert!(Branch::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "a..b", "a b", "x.lock", "a/.b", "a//b", "/a", "a/", "@", "a@{b", "a^", "a\u{1}"] {
            assert!(Branch::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sha_is_forty_hex_digits_and_not_zero() {
        let text = "2455d6AB00000000000000000000000000000001";
        assert_eq!(text.parse::<Sha>().unwrap().to_string(), text.to_lowercase());
        assert!("0".repeat(40).parse::<Sha>().is_err());
        assert!("+a".repeat(20).parse::<Sha>().is_err());
        assert!("abc".parse::<Sha>().is_err());
    }
}
