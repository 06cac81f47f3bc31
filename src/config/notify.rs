//! `:notify`, `:smtp` and `:dead-man`: who is told when something is wrong, and who notices when nothing is told.

use std::time::Duration;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use super::settings::{time, web_url};
use crate::edn::de::Spanned;
use crate::edn::{Node, Value};
use crate::model::Secret;

/// How people are told.
#[derive(Debug, Clone, Default)]
pub struct Notify {
    /// `:notify`, in order.
    pub ways: Vec<Way>,
    /// `:smtp`; there if a way is `:email`.
    pub smtp: Option<Smtp>,
    /// `:dead-man`
    pub dead_man: Option<DeadMan>,
}

/// One entry of `:notify`.
#[derive(Debug, Clone)]
pub enum Way {
    /// A POST of JSON.
    Webhook {
        /// Where to. Chat services put a secret into it.
        url: Secret,
        /// What it is signed with.
        secret: Option<Secret>,
    },
    /// A mail.
    Email {
        /// Who gets it.
        to: String,
    },
    /// A program that reads JSON.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
    },
}

/// The mail server.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// `:host`
    pub host: String,
    /// `:port`; 587, with `:implicit` 465, with `:none` 25.
    pub port: u16,
    /// `:user` and `:password`, where it wants them.
    pub login: Option<(String, Secret)>,
    /// `:from`
    pub from: String,
    /// `:tls`; `:starttls`.
    pub tls: Tls,
}

/// How the connection to the mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// It begins in the clear and must change to TLS before anything is said.
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// None.
    None,
}

/// A url that is called while all is well.
#[derive(Debug, Clone)]
pub struct DeadMan {
    /// `:url`; who knows it can call it.
    pub url: Secret,
    /// `:every`; 5 minutes.
    pub every: Duration,
}

impl Notify {
    /// Every secret in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let ways = self.ways.iter().flat_map(|way| match way {
            Way::Webhook { url, secret } => [Some(url), secret.as_ref()],
            Way::Email { .. } | Way::Command { .. } => [None, None],
        });
        let login = self.smtp.iter().filter_map(|smtp| smtp.login.as_ref().map(|(_, password)| password));
        ways.flatten().chain(login).chain(self.dead_man.iter().map(|dead_man| &dead_man.url))
    }
}

pub(super) fn read(root: &mut Section<'_>, context: &mut Context) -> Notify {
    let entries = root.node("notify");
    let smtp_span = root.node("smtp").map(|node| node.span);
    let smtp = root.section("smtp", context).and_then(|section| smtp(section, context));
    let mut ways = Vec::new();
    if let Some(node) = entries {
        let Value::Vector(entries) = &node.value else {
            let label = format!("expected a vector like [{{:webhook \"…\"}}], found {}", node.value.kind().words());
            context.fault(Fault::new(node.span, "`:notify` has the wrong kind of value", label));
            return Notify::default();
        };
        for entry in entries {
            let read = way(entry, context);
            if let Some(Way::Email { .. }) = read
                && smtp_span.is_none()
            {
                let help = "add :smtp {:host \"mail.example.com\" :from \"airplanes@example.com\"} beside :notify";
                let message = "`:email` needs a mail server, and there is no `:smtp`";
                context.fault(Fault::new(entry.span, message, "expected `:smtp` in config.edn").help(help));
            }
            ways.extend(read);
        }
    }
    let dead_man = root.section("dead-man", context).and_then(|section| dead_man(section, context));
    Notify { ways, smtp, dead_man }
}

fn way(node: &Node, context: &mut Context) -> Option<Way> {
    let mut section = Section::of(node, "an entry of :notify", context)?;
    let webhook = section.node("webhook");
    let email = section.node("email");
    let command = section.node("command");
    let secret = section.node("secret");
    if [webhook, email, command].iter().flatten().count() > 1 {
        let label = "expected one of :webhook, :email and :command";
        let help = "give each an entry of its own: [{:webhook \"…\"} {:email \"…\"}]";
        context.fault(Fault::new(node.span, "an entry of `:notify` is one way", label).help(help));
        return None;
    }
    if let (Some(secret), None) = (secret, webhook) {
        let label = "it signs webhooks";
        context.fault(Fault::new(secret.span, "`:secret` has no `:webhook` beside it", label));
    }
    let way = if let Some(node) = webhook {
        let url = secret_url(node, ":webhook", context);
        let secret = secret.and_then(|node| signing(node, context));
        url.map(|url| Way::Webhook { url, secret })
    } else if email.is_some() {
        section.line("email", context).and_then(|text| address(text, ":email", context)).map(|to| Way::Email { to })
    } else if let Some(node) = command {
        argv(node, context).map(|argv| Way::Command { argv })
    } else {
        section.missing("webhook", "\"https://…\"` or `:email \"…\"` or `:command [\"…\"]", context);
        None
    };
    section.finish(context);
    way
}

/// What signs webhooks: any text, or a key as Standard Webhooks writes it.
fn signing(node: &Node, context: &mut Context) -> Option<Secret> {
    let secret = context.secret(node, ":notify :secret")?;
    if secret.expose().starts_with(b"whsec_") && secret.signing_key().is_err() {
        let label = "expected base64 after `whsec_`, or a secret that does not begin so";
        context.fault(Fault::new(node.span, "`:secret` is no key of Standard Webhooks", label));
        return None;
    }
    Some(secret)
}

/// A url that may hold a secret: a fault about it does not quote it.
fn secret_url(node: &Node, key: &'static str, context: &mut Context) -> Option<Secret> {
    let text = context.value::<String>(node, key)?;
    let url = web_url(text, key, context)?;
    Some(Secret::new(key, url))
}

/// A mail address: one `@`, nothing that would end a header or begin another address.
fn address(text: Spanned<String>, key: &str, context: &mut Context) -> Option<String> {
    let halves = text.value.rsplit_once('@');
    let good = halves.is_some_and(|(user, host)| {
        let plain = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"@".contains(c);
        let host_char = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        let dots = |part: &str| part.split('.').all(|label| !label.is_empty());
        user.chars().all(plain) && host.chars().all(host_char) && dots(user) && dots(host)
    });
    if !good {
        let message = format!("`{key}` is no mail address");
        context.fault(Fault::new(text.span, message, "expected an address like \"ops@example.com\""));
        return None;
    }
    Some(text.value)
}

/// A program and its arguments.
fn argv(node: &Node, context: &mut Context) -> Option<Vec<String>> {
    let fault = |found: &str| {
        let label = format!("expected a vector of strings like [\"/usr/local/bin/page\" \"--app\"], found {found}");
        Fault::new(node.span, "`:command` has the wrong kind of value", label)
    };
    let Value::Vector(nodes) = &node.value else {
        context.fault(fault(node.value.kind().words()).help("it is run as it is, without a shell"));
        return None;
    };
    let words: Vec<String> =
        nodes.iter().filter_map(|n| context.value::<String>(n, ":command")).map(|w| w.value).collect();
    if words.len() != nodes.len() {
        return None;
    }
    if words.first().is_none_or(|program| program.trim().is_empty()) {
        context.fault(fault("none"));
        return None;
    }
    if words.iter().any(|word| word.contains('\0')) {
        context.fault(fault("a string with a NUL in it"));
        return None;
    }
    Some(words)
}

fn smtp(mut section: Section<'_>, context: &mut Context) -> Option<Smtp> {
    if section.node("host").is_none() {
        section.missing("host", "\"mail.example.com\"", context);
    }
    let host = section.line("host", context).and_then(|host| {
        if host.value.contains(|c: char| !c.is_ascii_alphanumeric() && !"-.:".contains(c)) {
            let label = "expected a host's name or address, like \"mail.example.com\"";
            context.fault(Fault::new(host.span, "`:host` is no host", label));
            return None;
        }
        Some(host.value)
    });
    if section.node("from").is_none() {
        section.missing("from", "\"airplanes@example.com\"", context);
    }
    let from = section.line("from", context).and_then(|text| address(text, ":from", context));
    let tls = section.read::<Tls>("tls", context);
    let port = section.read::<u16>("port", context).map(|port| port.value);
    let user = section.line("user", context);
    let password = section.node("password").map(|node| (node.span, context.secret(node, ":smtp :password")));
    let login = match (user, password) {
        (Some(user), Some((_, Some(password)))) => Some((user.value, password)),
        (Some(user), None) => {
            let label = "expected `:password` beside it";
            context.fault(Fault::new(user.span, "`:user` has no `:password`", label));
            None
        }
        (None, Some((span, _))) => {
            context.fault(Fault::new(span, "`:password` has no `:user`", "expected `:user` beside it"));
            None
        }
        _ => None,
    };
    if let Some(tls) = tls.as_ref().filter(|tls| tls.value == Tls::None && login.is_some()) {
        let help = "leave :tls out for :starttls";
        let message = "with `:tls :none` the password is sent in the clear";
        context.fault(Fault::new(tls.span, message, "expected `:starttls` or `:implicit`").warning().help(help));
    }
    section.finish(context);
    let tls = tls.map_or(Tls::Starttls, |tls| tls.value);
    let usual = match tls {
        Tls::Starttls => 587,
        Tls::Implicit => 465,
        Tls::None => 25,
    };
    Some(Smtp { host: host?, port: port.unwrap_or(usual), login, from: from?, tls })
}

fn dead_man(mut section: Section<'_>, context: &mut Context) -> Option<DeadMan> {
    let url = match section.node("url") {
        Some(node) => secret_url(node, ":dead-man :url", context),
        None => {
            section.missing("url", "\"https://…\"", context);
            None
        }
    };
    let every = section.node("every").map(|node| (node.span, time(node, ":every", context)));
    if let Some((span, Some(every))) = every
        && every < Duration::from_secs(1)
    {
        context.fault(Fault::new(span, "`:every` is too short", "expected 1s or more"));
    }
    section.finish(context);
    Some(DeadMan { url: url?, every: every.and_then(|(_, every)| every).unwrap_or(Duration::from_secs(300)) })
}
