//! config.edn: the daemon's own settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::builds::{self, Builds};
use super::diagnostic::Fault;
use super::forges::{self, ForgeApi};
use super::notify::{self, Notify};
use super::prefix::ByPrefix;
use super::providers::{self, ProviderApi};
use super::section::{Context, Section};
use super::templates::Templates;
use super::values::{Size, Time};
use crate::edn::de::Spanned;
use crate::edn::{Node, Value};
use crate::model::{Forge, ForgeSecrets, Host, HostName, Provider, RepoUrl, Secret};

/// The daemon's settings, defaults filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// `:listen`, where HTTP is served; `127.0.0.1:8787`.
    pub listen: SocketAddr,
    /// `:url`, how people and forges reach it, without a trailing slash.
    pub url: Option<String>,
    /// `:state`, the folder of everything the daemon keeps; `/var/lib/airplanes`.
    pub state: PathBuf,
    /// `:webhooks`: a forge that is not here is not served.
    pub webhooks: BTreeMap<Forge, ForgeSecrets>,
    /// `:forges`: the APIs of git hosts, by prefixes of repositories' identities.
    pub forges: ByPrefix<ForgeApi>,
    /// `:git`
    pub git: Git,
    /// `:ssh`
    pub ssh: Ssh,
    /// `:providers`: who makes servers.
    pub providers: BTreeMap<Provider, ProviderApi>,
    /// `:hosts`
    pub hosts: BTreeMap<HostName, Host>,
    /// `:builds`
    pub builds: Builds,
    /// `:poll`, how often heads are listed for missed deliveries; `10m`. None if it is `false`.
    pub poll: Option<Duration>,
    /// `:keep`
    pub keep: Keep,
    /// `:disk {:min-free}` in bytes, below which no build starts; 2 GB.
    pub min_free: u64,
    /// `:notify`, `:smtp` and `:dead-man`
    pub notify: Notify,
    /// What is in the folder `:templates`.
    pub templates: Templates,
}

impl Config {
    /// Every secret in it, for masking logs.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let hooks = self.webhooks.values().flat_map(|forge| forge.secrets.iter().chain(&forge.signing_tokens));
        let tokens = self.git.https_tokens.iter().map(|(_, token)| token);
        let tokens = tokens.chain(self.forges.values().map(|forge| &forge.token));
        let tokens = tokens.chain(self.providers.values().map(|provider| &provider.token));
        hooks.chain(tokens).chain(self.notify.secrets())
    }
}

/// How git is spoken to, and who commits.
#[derive(Debug, Clone)]
pub struct Git {
    /// The author and committer of bumps.
    pub name: String,
    /// Their address.
    pub email: String,
    /// The known_hosts file for git over ssh.
    pub known_hosts: Option<PathBuf>,
    /// A prefix of a repository's identity (`github.com/acme/snow`, `gitlab.com`) and the private key for it.
    pub keys: Vec<(String, PathBuf)>,
    /// A prefix likewise, and the token for https.
    pub https_tokens: Vec<(String, Secret)>,
}

/// How hosts are logged in to.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// The user where the host names none; `root`.
    pub user: String,
    /// The private key.
    pub identity: Option<PathBuf>,
    /// The known_hosts file.
    pub known_hosts: Option<PathBuf>,
}

/// What of the past is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Of each app at most so many ended jobs, the newest; 1000.
    pub jobs: usize,
    /// And none that ended more days ago; 90.
    pub days: u32,
}

/// What `:deploy` says: a file, or the apps themselves.
pub(super) enum Deploy<'n> {
    File(Option<Spanned<String>>),
    Inline(&'n Node),
    /// Neither; the fault is told.
    Broken,
}

/// The settings, what `:deploy` says, and the folder that `:templates` names: it is not looked into here.
pub(super) fn read<'n>(mut root: Section<'n>, context: &mut Context) -> (Config, Deploy<'n>, Option<Spanned<PathBuf>>) {
    let listen = root.read::<String>("listen", context).and_then(|text| listen(text, context));
    let url = root.read::<String>("url", context).and_then(|text| web_url(text, ":url", context));
    let state = root.path("state", context);
    let deploy = match root.node("deploy") {
        Some(node) if matches!(node.value, Value::Map(_)) => Deploy::Inline(node),
        Some(node) if !matches!(node.value, Value::Str(_)) => {
            let label =
                format!("expected a path like \"deploy.edn\" or a map of apps, found {}", node.value.kind().words());
            context.fault(Fault::new(node.span, "`:deploy` has the wrong kind of value", label));
            Deploy::Broken
        }
        _ => Deploy::File(root.line("deploy", context)),
    };
    let webhooks = root.section("webhooks", context).map(|section| webhooks(section, context));
    let forges = forges::read(&mut root, context);
    let git = git(root.section("git", context), context);
    let ssh = ssh(root.section("ssh", context), context);
    let hosts = root.node("hosts").map(|node| hosts(node, &ssh, context));
    let providers = providers::read(&mut root, context);
    let builds = builds::read(root.section("builds", context), context);
    let poll = match root.node("poll") {
        Some(node) if node.value == Value::Bool(false) => None,
        Some(node) => time(node, ":poll", context),
        None => Some(Duration::from_secs(600)),
    };
    let keep = keep(root.section("keep", context), context);
    let min_free = root.section("disk", context).and_then(|mut disk| {
        let size = disk.read::<Size>("min-free", context);
        disk.finish(context);
        size
    });
    let notify = notify::read(&mut root, context);
    let templates = root.line("templates", context);
    let templates = templates.map(|folder| Spanned::new(folder.span, context.path(folder)));
    root.finish(context);
    let config = Config {
        listen: listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8787))),
        url: url.map(|url| url.trim_end_matches('/').to_owned()),
        state: state.unwrap_or_else(|| "/var/lib/airplanes".into()),
        webhooks: webhooks.unwrap_or_default(),
        forges,
        git,
        ssh,
        providers,
        hosts: hosts.unwrap_or_default(),
        builds,
        poll,
        keep,
        min_free: min_free.map_or(2_000_000_000, |size| size.value.0),
        notify,
        templates: Templates::default(),
    };
    (config, deploy, templates)
}

/// A time that is more than none.
pub(super) fn time(node: &Node, key: &str, context: &mut Context) -> Option<Duration> {
    let time: Spanned<Time> = context.value(node, key)?;
    if time.value.0.is_zero() {
        context.fault(Fault::new(time.span, format!("`{key}` is no time at all"), "expected more than 0"));
        return None;
    }
    Some(time.value.0)
}

/// An http or https url, as written.
pub(super) fn web_url(text: Spanned<String>, key: &str, context: &mut Context) -> Option<String> {
    let rest = text.value.strip_prefix("http://").or_else(|| text.value.strip_prefix("https://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/'))
        || text.value.contains(|c: char| c.is_whitespace() || c.is_control() || "'\"\\<>`".contains(c))
    {
        let label = "expected http:// or https://, a host and a path";
        context.fault(Fault::new(text.span, format!("`{key}` is no url"), label));
        return None;
    }
    Some(text.value)
}

fn listen(text: Spanned<String>, context: &mut Context) -> Option<SocketAddr> {
    let parsed = text.value.parse().ok();
    if parsed.is_none() {
        let label = "expected an address and a port like \"127.0.0.1:8787\" or \"[::1]:8787\"";
        let help = match text.value.rsplit_once(':') {
            _ if context.tag(text.span).is_some() => None,
            Some(("localhost", port)) => Some(format!("did you mean `127.0.0.1:{port}`?")),
            Some(("" | "*", port)) => Some(format!("did you mean `0.0.0.0:{port}`?")),
            _ => None,
        };
        context.fault(Fault::new(text.span, "`:listen` is no address", label).help_if(help));
    }
    parsed
}

fn webhooks(mut section: Section<'_>, context: &mut Context) -> BTreeMap<Forge, ForgeSecrets> {
    let mut webhooks = BTreeMap::new();
    for forge in Forge::ALL {
        let name = forge.as_str();
        let Some(mut one) = section.section(name, context) else { continue };
        let mut secrets = ForgeSecrets::default();
        let (secret, signing) = (one.node("secret"), (forge == Forge::Gitlab).then(|| one.node("signing-token")));
        if let Some(node) = secret {
            secrets.secrets = context.secrets(node, &format!(":webhooks :{name} :secret"));
        }
        if let Some(node) = signing.flatten() {
            let key = format!(":webhooks :{name} :signing-token");
            secrets.signing_tokens = context.secrets(node, &key);
            if secrets.signing_tokens.iter().any(|token| token.signing_key().is_err()) {
                let label = "expected `whsec_` and base64, as GitLab shows it";
                context.fault(Fault::new(node.span, format!("`{key}` is no signing token"), label));
            }
        }
        if secret.is_none() && signing.flatten().is_none() {
            one.missing("secret", "#env NAME", context);
        }
        one.finish(context);
        webhooks.insert(forge, secrets);
    }
    section.finish(context);
    webhooks
}

fn git(section: Option<Section<'_>>, context: &mut Context) -> Git {
    let mut git = Git {
        name: "airplanes".into(),
        email: "airplanes@localhost".into(),
        known_hosts: None,
        keys: Vec::new(),
        https_tokens: Vec::new(),
    };
    let Some(mut section) = section else { return git };
    let mut person = |key, slot: &mut String| {
        if let Some(text) = section.line(key, context) {
            if text.value.contains(['<', '>']) {
                context.fault(Fault::new(
                    text.span,
                    format!("`:{key}` can't be used"),
                    "git allows no `<` and `>` here",
                ));
            }
            *slot = text.value;
        }
    };
    person("name", &mut git.name);
    person("email", &mut git.email);
    git.known_hosts = section.path("known-hosts", context);
    for (prefix, node) in section.node("keys").map(|node| prefixes(node, ":keys", context)).unwrap_or_default() {
        if let Some(path) = context.value::<String>(node, ":keys") {
            git.keys.push((prefix, context.path(path)));
        }
    }
    let tokens = section.node("https-tokens").map(|node| prefixes(node, ":https-tokens", context));
    for (prefix, node) in tokens.unwrap_or_default() {
        let token = context.secret(node, &format!(":git :https-tokens {prefix}"));
        git.https_tokens.extend(token.map(|token| (prefix, token)));
    }
    section.finish(context);
    git
}

/// A map from prefixes of repositories' identities.
pub(super) fn prefixes<'n>(node: &'n Node, key: &str, context: &mut Context) -> Vec<(String, &'n Node)> {
    let Value::Map(entries) = &node.value else {
        let label = format!("expected a map like {{\"github.com/acme\" …}}, found {}", node.value.kind().words());
        context.fault(Fault::new(node.span, format!("`{key}` has the wrong kind of value"), label));
        return Vec::new();
    };
    let mut found = Vec::new();
    for (prefix, value) in entries {
        let Some(text) = context.value::<String>(prefix, key) else { continue };
        // A token goes over plain http only where that is written.
        let plain = text.value.strip_prefix("http://").filter(|_| key == ":https-tokens");
        let bare = plain.unwrap_or(&text.value);
        let slip = bare.contains("://") || text.value.contains('@') || text.value.ends_with(".git");
        if slip || bare.is_empty() || bare.starts_with('/') {
            let meant = RepoUrl::new(text.value).ok().filter(|_| slip);
            let meant = meant.map(|url| format!("did you mean `{}`?", url.id().as_str().trim_end_matches(".git")));
            let label = "expected a host, or a host and path, like \"github.com/acme/snow\"";
            context.fault(Fault::new(text.span, format!("a key of `{key}` is no such prefix"), label).help_if(meant));
        } else {
            found.push((text.value, value));
        }
    }
    found
}

fn ssh(section: Option<Section<'_>>, context: &mut Context) -> Ssh {
    let mut ssh = Ssh { user: "root".into(), identity: None, known_hosts: None };
    let Some(mut section) = section else { return ssh };
    if let Some(user) = user(&mut section, context) {
        ssh.user = user;
    }
    ssh.identity = section.path("identity", context);
    ssh.known_hosts = section.path("known-hosts", context);
    section.finish(context);
    ssh
}

/// A user's name, which ends up in ssh's argv.
fn user(section: &mut Section<'_>, context: &mut Context) -> Option<String> {
    let user: Spanned<HostName> = section.read("user", context)?;
    if user.value.as_str().contains(':') {
        context.fault(Fault::new(user.span, "`:user` is no user's name", "expected a name like \"deploy\""));
        return None;
    }
    Some(user.value.into())
}

fn hosts(node: &Node, ssh: &Ssh, context: &mut Context) -> BTreeMap<HostName, Host> {
    let mut hosts = BTreeMap::new();
    let Value::Map(entries) = &node.value else {
        let label =
            format!("expected a map like {{:web-1 {{:address \"10.0.0.11\"}}}}, found {}", node.value.kind().words());
        context.fault(Fault::new(node.span, "`:hosts` has the wrong kind of value", label));
        return hosts;
    };
    for (key, value) in entries {
        let Some(name) = context.value::<HostName>(key, ":hosts") else { continue };
        let what = format!("the host :{}", name.value);
        let Some(mut section) = Section::of(value, what, context) else { continue };
        let address = section.need::<HostName>("address", "\"10.0.0.11\"", context);
        let port = section.read::<u16>("port", context).map_or(22, |port| port.value);
        let user = user(&mut section, context).unwrap_or_else(|| ssh.user.clone());
        section.finish(context);
        if let Some(address) = address {
            hosts.insert(name.value.clone(), Host { name: name.value, address: address.value, port, user });
        }
    }
    hosts
}

fn keep(section: Option<Section<'_>>, context: &mut Context) -> Keep {
    let mut keep = Keep { jobs: 1000, days: 90 };
    let Some(mut section) = section else { return keep };
    keep.jobs = section.read("jobs", context).map_or(keep.jobs, |jobs| jobs.value);
    keep.days = section.read("days", context).map_or(keep.days, |days| days.value);
    section.finish(context);
    keep
}
