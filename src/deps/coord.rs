//! One git coordinate: what stands in it, and whether it can be used and moved.

use std::borrow::Cow;

use super::url::inferred_url;
use crate::edn::Span;
use crate::model::{InvalidName, Lib, RepoId, RepoUrl, Sha};

/// A git coordinate of a deps.edn or bb.edn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coord<'s> {
    /// The library as it is written, with the namespace of its map and without metadata. None for a discarded coordinate that stands alone.
    pub lib_text: Option<Cow<'s, str>>,
    /// The library; an unqualified `snow` is `snow/snow`. None if there is none or its name is not valid.
    pub lib: Option<Lib>,
    /// The keys that lead to it: `[":aliases", ":dev", ":extra-deps"]`.
    pub path: Vec<Cow<'s, str>>,
    /// Whether a `#_` takes it out.
    pub discarded: bool,
    /// What says that it should be left alone.
    pub pin: Option<Pin>,
    /// Its keywords with their values, in the order they are written.
    pub fields: Vec<Field<'s>>,
    /// Where its map stands.
    pub span: Span,
}

/// A key of a coordinate and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'s> {
    /// The key with its colon and its namespace, which `#:git{…}` may have given it: `:git/sha`.
    pub key: Cow<'s, str>,
    /// Where the value stands, its quotes and its metadata included.
    pub span: Span,
    /// The value as it is written.
    pub text: &'s str,
    /// Its content, if it is a string.
    pub string: Option<Cow<'s, str>>,
}

impl Field<'_> {
    /// Where a string's content stands, between its quotes. None for other values.
    pub fn content_span(&self) -> Option<Span> {
        self.string.as_ref()?;
        Some(Span { start: self.span.start + 1, end: self.span.end - 1, ..self.span })
    }
}

/// A person's word that a dependency should be left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// `antq/exclude`, `neil/pinned` or `airplanes/hold`.
    pub by: &'static str,
    /// The versions it names, if it excludes only these: `^{:antq/exclude ["v2.0"]}`. Empty: all.
    pub only: Vec<String>,
}

/// Why a coordinate can't be used or moved. The messages of errors that tools.deps would give say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A key that is no library's name.
    #[error("`{0}` is not the name of a library; expected a symbol like acme/snow")]
    BadLib(String),
    /// Git and another kind at once.
    #[error("the coordinate of {lib} is git and has {key} too; remove one of them")]
    Ambiguous {
        /// The library.
        lib: Lib,
        /// `:mvn/version` or `:local/root`.
        key: &'static str,
    },
    /// `:sha` and `:git/sha`, or `:tag` and `:git/tag`.
    #[error("git coord has both :{key} and :git/{key} for {lib}; tools.deps refuses that: keep :git/{key}")]
    BothSpellings {
        /// The library.
        lib: Lib,
        /// `sha` or `tag`.
        key: &'static str,
    },
    /// A value that should be a string.
    #[error("{key} of {lib} is {text}; expected a string")]
    NotAString {
        /// The library.
        lib: Lib,
        /// The key.
        key: String,
        /// What stands there.
        text: String,
    },
    /// Neither `:git/url` nor a name that stands for one.
    #[error("{0} has no :git/url, and none can be inferred from its name; add one")]
    NoUrl(Lib),
    /// A url we don't take.
    #[error("the :git/url of {lib}: {why}")]
    BadUrl {
        /// The library.
        lib: Lib,
        /// What is wrong with it.
        why: InvalidName,
    },
    /// No sha.
    #[error("Library {0} has coord with missing sha; add :git/sha")]
    NoSha(Lib),
    /// A template's placeholder, white space, anything but hex digits.
    #[error("the sha of {lib}, \"{}\", is not made of hex digits", .text.escape_debug())]
    BadSha {
        /// The library.
        lib: Lib,
        /// The content.
        text: String,
    },
    /// A short sha without a tag.
    #[error("Library {lib} has prefix sha {text}, use full sha or add tag")]
    PrefixSha {
        /// The library.
        lib: Lib,
        /// The content.
        text: String,
    },
    /// More than 40 digits.
    #[error("the sha of {0} has more than 40 digits; repositories with SHA-256 names are not supported")]
    LongSha(Lib),
}

impl<'s> Coord<'s> {
    /// The value under a key, written with its colon.
    pub fn field(&self, key: &str) -> Option<&Field<'s>> {
        self.fields.iter().find(|field| field.key == key)
    }
    /// `:git/sha`, or the older `:sha`.
    pub fn sha_field(&self) -> Option<&Field<'s>> {
        self.field(":git/sha").or_else(|| self.field(":sha"))
    }
    /// `:git/tag`, or the older `:tag`.
    pub fn tag_field(&self) -> Option<&Field<'s>> {
        self.field(":git/tag").or_else(|| self.field(":tag"))
    }
    /// The sha as it is written; a prefix where a tag stands beside it.
    pub fn sha(&self) -> Option<&str> {
        self.sha_field()?.string.as_deref()
    }
    /// The sha, if it is a full one.
    pub fn full_sha(&self) -> Option<Sha> {
        self.sha()?.parse().ok()
    }
    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag_field()?.string.as_deref()
    }
    /// `:deps/root`: the directory of the repository that the library is in.
    pub fn deps_root(&self) -> Option<&str> {
        self.field(":deps/root")?.string.as_deref()
    }
    /// Where its repository is: `:git/url`, or what its library's name stands for. None if [`Coord::problem`] says why.
    pub fn repo_url(&self) -> Option<RepoUrl> {
        match self.field(":git/url") {
            Some(field) => RepoUrl::new(field.string.as_deref()?).ok(),
            None => inferred_url(self.lib.as_ref()?),
        }
    }
    /// Which repository that is.
    pub fn repo(&self) -> Option<RepoId> {
        self.repo_url().map(|url| url.id())
    }
    /// Whether it may be moved: it is in force, nobody pinned it altogether and it has no problem.
    pub fn is_movable(&self) -> bool {
        !self.discarded && !self.pin.as_ref().is_some_and(|pin| pin.only.is_empty()) && self.problem().is_none()
    }
    /// Why nothing moves it, in words; none if something may.
    pub fn stays(&self) -> Option<String> {
        let pinned = self.pin.as_ref().filter(|pin| pin.only.is_empty());
        let pinned = || pinned.map(|pin| format!("it is pinned (^:{})", pin.by));
        self.problem().map(|problem| problem.to_string()).or_else(pinned)
    }
    /// What keeps it from being used. A discarded coordinate has no say and so no problem.
    pub fn problem(&self) -> Option<Problem> {
        if self.discarded {
            return None;
        }
        let Some(lib) = &self.lib else {
            return Some(Problem::BadLib(self.lib_text.as_deref().unwrap_or_default().to_owned()));
        };
        let named = || lib.clone();
        // Each key once: this is asked of every coordinate of every file.
        let (mut url, mut sha, mut tag) = (None, [None; 2], [None; 2]);
        for field in &self.fields {
            match field.key.as_ref() {
                ":git/url" => url = Some(field),
                ":git/sha" => sha[0] = Some(field),
                ":sha" => sha[1] = Some(field),
                ":git/tag" => tag[0] = Some(field),
                ":tag" => tag[1] = Some(field),
                ":mvn/version" => return Some(Problem::Ambiguous { lib: named(), key: ":mvn/version" }),
                ":local/root" => return Some(Problem::Ambiguous { lib: named(), key: ":local/root" }),
                _ => {}
            }
        }
        for (key, spellings) in [("sha", sha), ("tag", tag)] {
            if spellings.iter().all(Option::is_some) {
                return Some(Problem::BothSpellings { lib: named(), key });
            }
        }
        let (sha, tag) = (sha[0].or(sha[1]), tag[0].or(tag[1]));
        if let Some(field) = [url, sha, tag].into_iter().flatten().find(|field| field.string.is_none()) {
            return Some(Problem::NotAString { lib: named(), key: field.key.to_string(), text: field.text.to_owned() });
        }
        if let Some(url) = url.and_then(|field| field.string.as_deref()) {
            if let Err(why) = RepoUrl::check(url) {
                return Some(Problem::BadUrl { lib: named(), why });
            }
        } else if inferred_url(lib).is_none() {
            return Some(Problem::NoUrl(named()));
        }
        let Some(sha) = sha.and_then(|field| field.string.as_deref()) else { return Some(Problem::NoSha(named())) };
        let bad = |sha: &str| Some(Problem::BadSha { lib: named(), text: sha.to_owned() });
        if sha.is_empty() || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return bad(sha);
        }
        match sha.len() {
            41.. => Some(Problem::LongSha(named())),
            // The zero sha, which means none.
            40 if sha.bytes().all(|b| b == b'0') => bad(sha),
            40 => None,
            _ if tag.is_some() => None,
            _ => Some(Problem::PrefixSha { lib: named(), text: sha.to_owned() }),
        }
    }
}
