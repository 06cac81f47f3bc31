//! `:zero-downtime` of an app in deploy.edn: the ports of its two instances, and how long an old one may end what it was
//! asked. With what the rest of the entry has to be like for it.

use std::time::Duration;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use super::service::each;
use super::settings::time;
use crate::edn::{Node, Span};
use crate::model::{Health, Service, Site, ZeroDowntime};

/// How long an old instance may take without a word.
const DRAIN: Duration = Duration::from_secs(30);
/// The longest; more is a slip of the unit.
const LONGEST: Duration = Duration::from_secs(3600);

/// The key, and its place.
pub(super) fn zero_downtime(section: &mut Section<'_>, context: &mut Context) -> Option<(ZeroDowntime, Span)> {
    let mut zero = section.section("zero-downtime", context)?;
    let span = zero.span;
    if zero.node("ports").is_none() {
        zero.missing("ports", "[7000 7001]", context);
    }
    let ports = zero.node("ports").and_then(|node| ports(node, context));
    let drain = zero.node("drain").and_then(|node| {
        let drain = time(node, ":drain", context)?;
        if drain > LONGEST {
            context.fault(Fault::new(node.span, "`:drain` is too long", "expected \"1h\" at the most"));
        }
        Some(drain)
    });
    zero.finish(context);
    Some((ZeroDowntime { ports: ports?, drain: drain.unwrap_or(DRAIN) }, span))
}

fn ports(node: &Node, context: &mut Context) -> Option<[u16; 2]> {
    match each::<u16>(node, ":ports", context).as_slice() {
        [(first, _), (second, _)] if *first > 0 && *second > 0 => Some([*first, *second]),
        _ => {
            let label = "expected two of 1 to 65535, like [7000 7001]";
            context.fault(Fault::new(node.span, "`:ports` can't be used", label));
            None
        }
    }
}

/// What an app with two instances needs besides.
pub(super) fn check(
    what: &str,
    span: Span,
    service: Option<&(Service, Span)>,
    healths: (&[Option<&Health>], Span),
    sites: &[Site],
    context: &mut Context,
) {
    let mut lacks = |key: &str, why: &str, example: &str| {
        let message = format!("{what} has `:zero-downtime` and no `:{key}`");
        context.fault(Fault::new(span, message, why.to_owned()).help(format!("give it `:{key} {example}`")));
    };
    if service.is_none() {
        lacks("service", "its instances are instances of a unit", "{:name \"shop\" :exec-start \"… {port}\"}");
    }
    if sites.is_empty() {
        lacks("nginx", "nginx is what sends requests from the old instance to the new", "{:host \"example.com\"}");
    }
    if healths.0.iter().any(Option::is_none) {
        let example = "{:url \"http://127.0.0.1:{port}/health\"}";
        lacks("health", "nobody would know when the new instance can take requests", example);
    }
    if healths.0.iter().flatten().any(|health| !health.url.contains("{port}")) {
        let message = "this `:health` asks the old instance and the new one alike".to_owned();
        let fault = Fault::new(healths.1, message, "expected `{port}` in its `:url`, which is the new one's");
        context.fault(fault.help("like \"http://127.0.0.1:{port}/health\""));
    }
    if let Some((service, span)) = service {
        // Room for `@65535` besides.
        if service.name.as_str().contains('@') || service.name.as_str().len() > 190 {
            let message = format!("instances of {} can't be made", service.name);
            context.fault(Fault::new(*span, message, "expected a name without `@`: instances are NAME@PORT"));
        }
        let takes_port = |text: &String| text.contains("{port}") || text.contains("%i");
        if let Some(exec_start) = &service.exec_start
            && !takes_port(exec_start)
            && service.environment.get("PORT").is_some_and(|port| !takes_port(port))
        {
            let message = "both instances would listen on one port".to_owned();
            let label = "expected `{port}` in `:exec-start`, or in what `:environment` has for \"PORT\"";
            context.fault(Fault::new(*span, message, label));
        }
    }
}
