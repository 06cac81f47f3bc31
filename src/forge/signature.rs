//! HMAC-SHA256 signatures in headers, and what to tell the operator when one does not fit.

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha2::Sha256;

use super::{NOT_AUTHENTIC, Refused, form};
use crate::model::{Forge, Secret};

/// The headers by which any forge signs.
const SIGNING: [&str; 7] = [
    "X-Hub-Signature-256",
    "X-Hub-Signature",
    "X-Gitlab-Token",
    "webhook-signature",
    "X-Gitea-Signature",
    "X-Forgejo-Signature",
    "X-Gogs-Signature",
];
/// Up to which size of a body a slip is looked for.
const NEAR_MISS_LIMIT: usize = 1 << 20;

/// A request as it came.
#[derive(Clone, Copy)]
pub(super) struct Call<'a, 'b> {
    pub forge: Forge,
    pub headers: &'a HeaderMap,
    pub body: &'b [u8],
}

/// HMAC-SHA256 of the parts, one after the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac
}

impl Call<'_, '_> {
    /// Checks that `header` holds `prefix` and the hex HMAC of `signed` by one of the secrets.
    pub fn check_hex(
        &self,
        header: &'static str,
        prefix: &str,
        signed: &[u8],
        secrets: &[Secret],
    ) -> Result<(), Refused> {
        let secrets = self.usable(":secret", secrets)?;
        let Some(value) = self.headers.get(header) else {
            return Err(self.missing(header));
        };
        let value = value.as_bytes();
        let Some(digits) = value.strip_prefix(prefix.as_bytes()) else {
            return Err(
                self.refuse(format!("the header {header} does not begin with `{prefix}`; {}", self.why_shape()))
            );
        };
        if digits.is_empty() {
            return Err(self.refuse(format!(
                "the header {header} holds an empty signature; the webhook has no secret on the {} side: \
                 set the same one there",
                self.forge.as_str()
            )));
        }
        let Some(given) = sha256_of_hex(digits) else {
            return Err(self.refuse(format!(
                "the header {header} does not hold 64 hex digits but {} bytes; {}",
                digits.len(),
                self.why_shape()
            )));
        };
        let fits = |key: &[u8]| hmac(key, &[signed]).verify_slice(&given).is_ok();
        if secrets.iter().any(|secret| fits(secret.expose())) {
            return Ok(());
        }
        let cause = self.near_miss(signed, &given, &secrets).unwrap_or_else(|| self.why_mismatch());
        Err(self.mismatch(header, Some(signed.len()), &secrets, &cause))
    }

    /// The secrets that are more than white space; a refusal if there is none.
    pub fn usable<'s>(&self, key: &str, secrets: &'s [Secret]) -> Result<Vec<&'s Secret>, Refused> {
        let usable: Vec<&Secret> = secrets.iter().filter(|s| !s.expose().trim_ascii().is_empty()).collect();
        let forge = self.forge.as_str();
        match (usable.is_empty(), secrets.first()) {
            (false, _) => Ok(usable),
            (true, Some(empty)) => Err(self.refuse(format!(
                "the secret {} is empty, which protects nothing: give {key} of :webhooks :{forge} in config.edn a value",
                empty.name()
            ))),
            (true, None) => Err(self.refuse(format!(
                "config.edn has no secret for it: add :webhooks {{:{forge} {{{key} …}}}} with the one set there"
            ))),
        }
    }

    /// The refusal, whose operator's message begins with what was called.
    pub fn refuse(&self, what: String) -> Refused {
        let operator = format!("{} webhook of {} bytes refused: {what}", self.forge.as_str(), self.body.len());
        Refused::Signature { caller: NOT_AUTHENTIC, operator }
    }

    /// The refusal for a signature of so many bytes that is well-formed and wrong; or for a token, which signs none.
    pub fn mismatch(&self, header: &str, signed: Option<usize>, secrets: &[&Secret], cause: &str) -> Refused {
        let of = secrets.len();
        let tried = secrets.iter().enumerate().map(|(n, secret)| {
            // Several that stand in the file itself have the name of their key.
            let alike = secrets.iter().filter(|other| other.name() == secret.name()).count();
            let place = if alike > 1 { format!("number {} of {of}, ", n + 1) } else { String::new() };
            format!("{place}{} ({} bytes)", secret.name(), secret.len())
        });
        let tried: Vec<String> = tried.collect();
        let over = signed.map(|signed| format!(" over {signed} bytes")).unwrap_or_default();
        self.refuse(format!("the header {header}{over} fits none of the secrets tried: {}; {cause}", tried.join(", ")))
    }

    /// The refusal for a signature that is not there, with what is there instead.
    pub fn missing(&self, header: &str) -> Refused {
        let came: Vec<&str> = SIGNING.into_iter().filter(|name| self.headers.contains_key(*name)).collect();
        let came = match came.as_slice() {
            [] => "no header that signs came".to_owned(),
            names => format!("of headers that sign only {} came", names.join(", ")),
        };
        self.refuse(format!("{came}: {header} is missing; {}", self.why_missing()))
    }

    /// The slip by which a signature would fit, among those that are usual. Large bodies are not tried on: whoever
    /// calls with a wrong signature is not worth that work.
    fn near_miss(&self, signed: &[u8], given: &[u8; 32], secrets: &[&Secret]) -> Option<String> {
        if signed.len() > NEAR_MISS_LIMIT {
            return None;
        }
        let fits = |key: &[u8], body: &[u8]| hmac(key, &[body]).verify_slice(given).is_ok();
        let forge = self.forge.as_str();
        for secret in secrets {
            let (key, name) = (secret.expose(), secret.name());
            let trimmed = key.trim_ascii();
            if trimmed != key && fits(trimmed, signed) {
                return Some(white_space(secret));
            }
            if ["\n", "\r\n", " "].iter().any(|end| fits(&[trimmed, end.as_bytes()].concat(), signed)) {
                return Some(format!(
                    "it fits {name} with a line end or space after it: on the {forge} side the secret was pasted with \
                     one, so enter it there again"
                ));
            }
            let bare = trimmed.strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\""));
            let bare = bare.or_else(|| trimmed.strip_prefix(b"'").and_then(|key| key.strip_suffix(b"'")));
            if bare.is_some_and(|key| fits(key, signed)) {
                return Some(format!(
                    "it would fit {name} without the quotes around it: they have become a part of the value"
                ));
            }
            let payload = form::payload(self.body).filter(|_| self.forge != Forge::Gitea);
            if payload.as_deref().is_some_and(|payload| payload != signed && fits(key, payload)) {
                return Some(format!(
                    "it signs the form's field `payload`, where {forge} signs the whole body: set the webhook's content \
                     type to application/json"
                ));
            }
            if self.body != signed && fits(key, self.body) {
                return Some(format!(
                    "it signs the whole body, where {forge} signs the form's field `payload`: set the webhook's content \
                     type to application/json"
                ));
            }
            let end = signed.trim_ascii_end();
            let changed = end != signed && fits(key, end) || fits(key, &[signed, b"\n"].concat());
            if changed {
                return Some(
                    "the secret is right, and the body came with another end than was signed: a proxy changed \
                             it"
                    .to_owned(),
                );
            }
        }
        None
    }

    /// The likely cause of a missing signature.
    pub fn why_missing(&self) -> String {
        let forge = self.forge.as_str();
        match looks_like(self.headers) {
            Some(other) if other != self.forge => {
                format!("its headers are those of {0}, whose url ends in /hooks/{0}", other.as_str())
            }
            _ if self.forge == Forge::Github && self.headers.contains_key("x-hub-signature") => {
                "only the old SHA-1 header X-Hub-Signature came, which is not accepted: does a proxy drop the other?"
                    .into()
            }
            _ => format!("either the webhook has no secret on the {forge} side, or a proxy drops the header"),
        }
    }

    fn why_shape(&self) -> String {
        match looks_like(self.headers) {
            Some(other) if other != self.forge => {
                format!("its headers are those of {0}, whose url ends in /hooks/{0}", other.as_str())
            }
            _ => format!(
                "that is not how {} signs: does something else call, or a proxy change headers?",
                self.forge.as_str()
            ),
        }
    }

    fn why_mismatch(&self) -> String {
        if let Some(other) = looks_like(self.headers).filter(|other| *other != self.forge) {
            return format!("its headers are those of {0}, whose url ends in /hooks/{0}", other.as_str());
        }
        if self.body.starts_with(b"payload=") && !form::is_form(self.headers) {
            return "the body is a form but its Content-Type does not say so: does a proxy change it?".into();
        }
        format!("either the secret on the {} side is another, or a proxy changed the body", self.forge.as_str())
    }
}

/// The cause that is met most: a secret pasted or saved with its line end.
pub(super) fn white_space(secret: &Secret) -> String {
    format!(
        "it would fit {} without the white space around it: is there a line end in the file or variable?",
        secret.name()
    )
}

/// Whose headers these are. Gitea before GitHub, whose headers it sends too.
fn looks_like(headers: &HeaderMap) -> Option<Forge> {
    [
        ("x-gitea-event", Forge::Gitea),
        ("x-forgejo-event", Forge::Gitea),
        ("x-gogs-event", Forge::Gitea),
        ("x-gitlab-event", Forge::Gitlab),
        ("x-event-key", Forge::Bitbucket),
        ("x-github-event", Forge::Github),
    ]
    .into_iter()
    .find(|(header, _)| headers.contains_key(*header))
    .map(|(_, forge)| forge)
}

fn sha256_of_hex(digits: &[u8]) -> Option<[u8; 32]> {
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |b: u8| (b as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(out)
}
