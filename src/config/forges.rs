//! `:forges`: the git hosts whose APIs are called, for commit statuses and for pull requests.

use std::time::Duration;

use serde::Deserialize;

use super::diagnostic::Fault;
use super::prefix::ByPrefix;
use super::section::{Context, Section};
use super::settings::{prefixes, time, web_url};
use crate::edn::Span;
use crate::edn::de::Spanned;
use crate::model::{Forge, Secret};

/// What `:checks-within` is by itself.
const CHECKS_WITHIN: Duration = Duration::from_secs(300);

/// A git host's API, and how it lets us in.
#[derive(Debug, Clone)]
pub struct ForgeApi {
    /// `:kind`; by default what the host's name says.
    pub kind: ApiKind,
    /// `:api`, without a trailing slash; by default where that kind has it.
    pub api: String,
    /// `:token`
    pub token: Secret,
    /// `:statuses?`: whether commits get statuses; true.
    pub statuses: bool,
    /// `:checks-within`: how long others' checks may take to appear on a pull request whose branch demands none; five
    /// minutes.
    pub checks_within: Duration,
}

/// The APIs that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiKind {
    /// github.com or GitHub Enterprise.
    Github,
    /// gitlab.com or self-hosted.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
}

pub(super) fn read(root: &mut Section<'_>, context: &mut Context) -> ByPrefix<ForgeApi> {
    let Some(node) = root.node("forges") else { return ByPrefix::default() };
    let mut forges = Vec::new();
    for (prefix, node) in prefixes(node, ":forges", context) {
        let Some(section) = Section::of(node, format!(":forges {prefix}"), context) else { continue };
        let forge = forge(&prefix, section, context);
        forges.extend(forge.map(|forge| (prefix, forge)));
    }
    forges.into_iter().collect()
}

fn forge(prefix: &str, mut section: Section<'_>, context: &mut Context) -> Option<ForgeApi> {
    let head = Span { end: section.span.start + 1, ..section.span };
    let host = prefix.split('/').next().unwrap_or(prefix);
    let token = section.node("token").map(|node| context.secret(node, &format!(":forges {prefix} :token")));
    if token.is_none() {
        section.missing("token", "#credential NAME", context);
    }
    let named = section.node("kind").is_some();
    let kind = match (section.read::<ApiKind>("kind", context), Forge::of_host(host)) {
        (Some(kind), _) => Some(kind.value),
        (None, _) if named => None,
        (None, Some(Forge::Github)) => Some(ApiKind::Github),
        (None, Some(Forge::Gitlab)) => Some(ApiKind::Gitlab),
        (None, Some(Forge::Gitea)) => Some(ApiKind::Gitea),
        (None, Some(Forge::Bitbucket)) => {
            let message = "the API of Bitbucket is not supported yet";
            context.fault(Fault::new(head, message, "expected a host that runs GitHub, GitLab, Gitea or Forgejo"));
            None
        }
        (None, None) => {
            let message = format!("what runs {host} can't be told by its name");
            context.fault(Fault::new(head, message, "expected `:kind :github`, `:gitlab` or `:gitea` in this map"));
            None
        }
    };
    let api = section.read::<String>("api", context).map(|text| api(text, context));
    let statuses = section.read::<bool>("statuses?", context).is_none_or(|statuses| statuses.value);
    let within = section.node("checks-within").and_then(|node| time(node, ":checks-within", context));
    section.finish(context);
    let (kind, token) = (kind?, token??);
    let api = match (api, kind) {
        (Some(api), _) => api?,
        (None, ApiKind::Github) if host == "github.com" => "https://api.github.com".to_owned(),
        (None, ApiKind::Github) => format!("https://{host}/api/v3"),
        (None, ApiKind::Gitlab) => format!("https://{host}/api/v4"),
        (None, ApiKind::Gitea) => format!("https://{host}/api/v1"),
    };
    Some(ForgeApi { kind, api, token, statuses, checks_within: within.unwrap_or(CHECKS_WITHIN) })
}

/// Where an API is. The token goes there, so it is https, or this machine itself.
pub(super) fn api(text: Spanned<String>, context: &mut Context) -> Option<String> {
    let span = text.span;
    let url = web_url(text, ":api", context)?;
    let plain = url.strip_prefix("http://");
    let host = plain.map(|rest| rest.split('/').next().unwrap_or(rest));
    let host = host.map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']));
    let is_here = |host: &str| host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if host.is_some_and(|host| !is_here(host)) {
        let message = "`:api` would send the token in the clear";
        context.fault(Fault::new(span, message, "expected https://, or an address of this machine itself"));
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}
