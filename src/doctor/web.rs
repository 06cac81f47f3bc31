//! What forges see of the daemon: its public url, and whether their webhooks come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Deserialize;

use super::{CHECK, DoctorError, Patient};
use crate::forge::pages;
use crate::model::check::RefusalView;
use crate::model::url::Transport;
use crate::model::{App, Check, Forge, RepoId, RepoUrl, Trigger};
use crate::store::{Store, StoreError};

const GROUP: &str = "web";
/// How many of the last deliveries are looked through.
const DELIVERIES: usize = 5000;
/// How much of an answer is read; a daemon says less.
const LONGEST: usize = 64 << 10;
/// What the ids of deliveries begin with that are our own tests: no forge sent them.
pub(super) const TEST_ID: &str = "airplanes-hook-test-";

/// One that follows no redirect: forges don't either. One for this machine alone goes through no proxy.
pub(super) fn client(here: bool) -> Result<reqwest::Client, DoctorError> {
    // Another part of the process may have installed it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(CHECK)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("airplanes-doctor/", env!("CARGO_PKG_VERSION")));
    Ok(if here { client.no_proxy() } else { client }.build()?)
}

/// What `/status` says to anyone: the time of the start is no other daemon's.
#[derive(Deserialize)]
struct Status {
    up_since: Timestamp,
}

/// Whether `:url` leads here.
pub(super) async fn public_url(patient: Arc<Patient>) -> Vec<Check> {
    let name = "public url";
    let Some(url) = patient.loaded.config.url.clone() else {
        return vec![Check::skipped(GROUP, name, "config.edn has no :url, so there is none to look at")];
    };
    vec![match patient.http.get(format!("{url}/status")).send().await {
        Err(error) => {
            let (said, mend) = broken(&error, &url);
            Check::failed(GROUP, name, format!("{said} (asked from here; forges may see it otherwise)"), mend)
        }
        Ok(answer) => {
            let status = answer.status();
            let told = serde_json::from_str::<Status>(&said(answer).await).ok();
            match (told, &patient.alive) {
                (Some(told), Some(alive)) if told.up_since == alive.started_at => {
                    Check::ok(GROUP, name, format!("{url} leads to this daemon"))
                }
                (Some(told), Some(_)) => {
                    let said = format!("{url} leads to another daemon, one that is up since {}", told.up_since);
                    Check::failed(GROUP, name, said, format!("correct :url, or the proxy of {url}"))
                }
                (Some(_), None) => Check::ok(GROUP, name, format!("{url} leads to a daemon")),
                // A proxy need not let anything but the hooks through.
                (None, _) => hooks_only(&patient, &url, status).await,
            }
        }
    }]
}

async fn hooks_only(patient: &Patient, url: &str, status: reqwest::StatusCode) -> Check {
    let name = "public url";
    let forge = patient.loaded.config.webhooks.keys().next().copied().unwrap_or(Forge::Github);
    let hook = format!("{url}/hooks/{}", forge.as_str());
    let answer = patient.http.get(&hook).send().await;
    let text = match answer {
        Ok(answer) if answer.status() == 405 => said(answer).await,
        _ => String::new(),
    };
    if text.contains("method-not-allowed") {
        let said =
            format!("{url} lets webhooks through to a daemon; `airplanes hook test APP` shows whether to this one");
        return Check::ok(GROUP, name, said);
    }
    let said = format!("{url}/status is answered {status}, and not by a daemon: the proxy leads elsewhere");
    let listen = patient.alive.as_ref().and_then(|alive| alive.address).unwrap_or(patient.loaded.config.listen);
    Check::failed(GROUP, name, said, format!("let the proxy of {url} pass everything to http://{listen}"))
}

/// What was answered, or its beginning: it may be anybody who answers there.
pub(super) async fn said(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST
        && let Ok(Some(more)) = answer.chunk().await
    {
        bytes.extend_from_slice(&more);
    }
    bytes.truncate(LONGEST);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A call that got no answer: what happened, and what to do.
pub(super) fn broken(error: &reqwest::Error, url: &str) -> (String, String) {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let cause = if error.is_timeout() { format!("no answer within {} s", CHECK.as_secs()) } else { cause.to_string() };
    let low = cause.to_ascii_lowercase();
    let mend = if low.contains("certificate") || low.contains("tls") || low.contains("handshake") {
        format!("curl -v {url}/healthz   (its certificate: name, date, chain)")
    } else if low.contains("dns") || low.contains("lookup") {
        format!("correct the name in :url, or its DNS entry: getent hosts {}", host(url))
    } else {
        format!("curl -v {url}/healthz   (is the proxy up, and does the firewall let it in?)")
    };
    (format!("{url} does not answer: {cause}"), mend)
}

fn host(url: &str) -> String {
    reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// The webhook calls that were refused after the last good one of their forge.
pub(super) async fn refusals(patient: Arc<Patient>) -> Vec<Check> {
    let Some(alive) = &patient.alive else { return Vec::new() };
    let refusals = (alive.refusals)();
    if refusals.is_empty() {
        return Vec::new();
    }
    let store = alive.store.clone();
    let last = tokio::task::spawn_blocking(move || store.deliveries(None, DELIVERIES)).await;
    let last = last.ok().and_then(Result::ok).unwrap_or_default();
    let good_since = |refusal: &RefusalView| {
        last.iter().find(|delivery| delivery.forge == refusal.forge).is_some_and(|good| good.at > refusal.last_at)
    };
    let check = |refusal: &RefusalView| {
        let said = format!(
            "{} refused since the start, the last at {}: {}",
            refusal.count,
            refusal.last_at.strftime("%Y-%m-%d %H:%M:%SZ"),
            refusal.last_reason
        );
        let name = format!("{} signature", refusal.forge.as_str());
        let mend = "set the same secret at the forge and in config.edn, then redeliver the call there";
        Check::warning(GROUP, name, said, mend)
    };
    refusals.iter().filter(|refusal| !good_since(refusal)).map(check).collect()
}

/// When each repository was last heard of, newest first; our own tests don't count.
fn heard(store: &Store) -> Result<HashMap<RepoId, Timestamp>, StoreError> {
    let mut heard = HashMap::new();
    for delivery in store.deliveries(None, DELIVERIES)? {
        let is_test = delivery.forge_id.as_deref().is_some_and(|id| id.starts_with(TEST_ID));
        if let (Some(repo), false) = (delivery.repo, is_test) {
            heard.entry(repo).or_insert(delivery.at);
        }
    }
    Ok(heard)
}

/// When the webhook of an app's repository last came.
pub(super) fn last_seen(patient: &Arc<Patient>, app: &App) -> BoxFuture<'static, Vec<Check>> {
    let (patient, app) = (patient.clone(), app.clone());
    Box::pin(async move {
        if app.trigger == Trigger::Manual {
            let said = "not needed: the app's :trigger is :manual";
            return vec![Check::skipped(format!("git {}", app.repo()), "webhook", said)];
        }
        seen(&patient, &app.git_url).await.into_iter().collect()
    })
}

/// When a repository's webhook last came, or where to add it. Nothing without a daemon, which alone knows.
pub(super) async fn seen(patient: &Patient, url: &RepoUrl) -> Option<Check> {
    let store = patient.alive.as_ref()?.store.clone();
    let (group, name) = (format!("git {}", url.id()), "webhook");
    let heard = tokio::task::spawn_blocking(move || heard(&store));
    let heard = patient.heard.get_or_init(|| async { heard.await.ok().and_then(Result::ok) }).await;
    let Some(heard) = heard else {
        return Some(Check::skipped(group, name, "the store can't be read"));
    };
    if let Some(at) = heard.get(&url.id()) {
        return Some(Check::ok(group, name, format!("last came at {}", at.strftime("%Y-%m-%d %H:%M:%SZ"))));
    }
    let config = &patient.loaded.config;
    let Some(forge) = forge_of(patient, url) else {
        let paths: Vec<String> = config.webhooks.keys().map(|forge| format!("/hooks/{}", forge.as_str())).collect();
        let said = match paths.is_empty() || url.parts().transport == Transport::File {
            true => "never came; its forge can't be told by the url, so `airplanes deploy` is the way".to_owned(),
            false => format!("never came; its forge can't be told by the url: its webhook's is {}", paths.join(" or ")),
        };
        return Some(Check::skipped(group, name, said));
    };
    let word = forge.as_str();
    if !config.webhooks.contains_key(&forge) {
        let mend = format!("add :webhooks {{:{word} {{:secret …}}}} to {}", patient.config.display());
        return Some(Check::warning(group, name, format!("never came: config.edn has no secret for {word}"), mend));
    }
    let public = config.url.as_deref().unwrap_or("https://YOURS");
    let (page, choices) = (pages::hook_page(&url.id(), forge), pages::hook_choices(forge));
    let mend = format!("add it: {page}   (url {public}/hooks/{word}, {choices}, the secret of config.edn)");
    Some(Check::warning(group, name, "never came, so pushes are not noticed", mend))
}

/// The forge that a repository is at: by its host's name, or the only one that config.edn has.
pub(super) fn forge_of(patient: &Patient, url: &RepoUrl) -> Option<Forge> {
    let parts = url.parts();
    if parts.transport == Transport::File {
        return None;
    }
    let by_name = Forge::of_host(&parts.host.to_ascii_lowercase());
    by_name.or_else(|| {
        let mut configured = patient.loaded.config.webhooks.keys();
        configured.next().filter(|_| configured.next().is_none()).copied()
    })
}
