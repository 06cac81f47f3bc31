//! `:nginx` of an app in deploy.edn: the sites that its hosts serve it as. One map, or a vector of them as the Clojure
//! airplanes had it.

use serde::Deserialize;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use super::service::each;
use super::values::Size;
use crate::edn::{Node, Value};
use crate::model::{Certificate, HostName, Site};

/// `instances`: whether the app has two, so that no site says where it listens.
pub(super) fn nginx(section: &mut Section<'_>, instances: bool, context: &mut Context) -> Vec<Site> {
    let Some(node) = section.node("nginx") else { return Vec::new() };
    let nodes = match &node.value {
        Value::Vector(nodes) | Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut sites: Vec<Site> = Vec::new();
    for node in nodes {
        let Some(site) = site(node, instances, context) else { continue };
        let names = || std::iter::once(&site.host).chain(&site.aliases);
        let taken = sites.iter().flat_map(|site| std::iter::once(&site.host).chain(&site.aliases));
        if let Some(twice) = taken.clone().find(|name| names().any(|other| other == *name)) {
            let message = format!("two sites are called {twice}");
            context.fault(Fault::new(node.span, message, "expected every name once"));
        }
        sites.push(site);
    }
    sites
}

fn site(node: &Node, instances: bool, context: &mut Context) -> Option<Site> {
    let mut section = Section::of(node, ":nginx", context)?;
    let host = section.need::<HostName>("host", "\"example.com\"", context);
    let port = match instances {
        true => section.read::<u16>("port", context),
        false => section.need::<u16>("port", "7000", context),
    };
    let ip = section.read::<HostName>("ip", context);
    let aliases = section.node("aliases").map(|node| each::<HostName>(node, ":aliases", context)).unwrap_or_default();
    let websocket = section.read::<bool>("websocket?", context);
    let max_body = section.read::<Size>("max-body", context);
    let tls = section.node("tls").and_then(|node| tls(node, context));
    if let Some(port) = port.as_ref().filter(|port| port.value == 0) {
        context.fault(Fault::new(port.span, "nothing listens on `:port 0`", "expected 1 to 65535"));
    }
    for key in ["port", "ip"] {
        if let Some(node) = section.node(key).filter(|_| instances) {
            let message = format!("`:zero-downtime` says where the app listens, and so does this `:{key}`");
            let label = "expected neither `:port` nor `:ip` here: it is 127.0.0.1 and one of `:ports`";
            context.fault(Fault::new(node.span, message, label));
        }
    }
    section.finish(context);
    let port = port.map(|port| port.value);
    let local = || HostName::new("127.0.0.1").ok();
    Some(Site {
        host: host?.value,
        aliases: aliases.into_iter().map(|(name, _)| name).collect(),
        port: if instances { None } else { Some(port?) },
        ip: ip.map(|ip| ip.value).or_else(local)?,
        websocket: websocket.is_some_and(|websocket| websocket.value),
        max_body: max_body.map(|size| size.value.0),
        tls,
    })
}

/// `true` or `{:email …}` for certbot, `{:certificate … :key …}` for files on the host; `false` is as good as absent.
fn tls(node: &Node, context: &mut Context) -> Option<Certificate> {
    #[derive(Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Named {
        Certbot,
    }
    match &node.value {
        Value::Bool(false) => return None,
        Value::Bool(true) => return Some(Certificate::Certbot { email: None }),
        Value::Keyword(_) => {
            return context.value::<Named>(node, ":tls").map(|_| Certificate::Certbot { email: None });
        }
        _ => {}
    }
    let mut section = Section::of(node, ":tls", context)?;
    let email = section.line("email", context);
    let mut path = |key| {
        let path = section.line(key, context)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        if path.value.starts_with('/') && path.value.chars().all(plain) {
            return Some(path.value);
        }
        let label = "expected an absolute path without spaces like \"/etc/ssl/shop.pem\"";
        context.fault(Fault::new(path.span, format!("`:{key}` names no file"), label));
        None
    };
    let (certificate, key) = (path("certificate"), path("key"));
    let span = section.span;
    section.finish(context);
    if let Some(email) = &email {
        let plain = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
        if !email.value.contains('@') || email.value.starts_with('-') || !email.value.chars().all(plain) {
            context.fault(Fault::new(email.span, "`:email` is no address", "expected one like \"ops@example.com\""));
        }
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) if email.is_none() => Some(Certificate::Files { certificate, key }),
        (None, None) => Some(Certificate::Certbot { email: email.map(|email| email.value) }),
        _ => {
            let label = "expected `:email` for certbot, or `:certificate` and `:key` for files of the host";
            context.fault(Fault::new(span, "`:tls` is neither certbot's nor files", label));
            None
        }
    }
}
