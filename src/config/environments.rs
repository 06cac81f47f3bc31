//! `:environments` of an app in deploy.edn, instead of its `:hosts`: which hosts are in which, in the order in which they
//! get a commit, and which of them wait for a person.

use serde::Deserialize;

use super::apps::{health, hosts};
use super::diagnostic::Fault;
use super::rollout::of_environment;
use super::section::{Context, Section};
use super::settings::Config;
use super::window::window;
use crate::edn::{Node, Value};
use crate::model::rollout::Rollout;
use crate::model::{EnvName, Environment, Health, Host, Window};

/// How many an app may have.
const MOST: usize = 20;

/// What a commit needs to get into an environment.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Promote {
    Auto,
    Manual,
}

/// The environments as they are written, and all their hosts in that order. What one does not say for itself is the app's.
/// `instances`: whether the app has two of them.
pub(super) fn environments(
    node: &Node,
    whole: (&Rollout, Option<&Health>, Option<&Window>),
    instances: bool,
    config: &Config,
    context: &mut Context,
) -> (Vec<Environment>, Vec<Host>) {
    let (mut environments, mut all): (Vec<Environment>, Vec<Host>) = (Vec::new(), Vec::new());
    let Value::Map(entries) = &node.value else {
        let found = node.value.kind().words();
        let label = format!("expected a map like {{:staging {{:hosts [:web-1]}}}}, found {found}");
        context.fault(Fault::new(node.span, "`:environments` has the wrong kind of value", label));
        return (environments, all);
    };
    if entries.is_empty() || entries.len() > MOST {
        let label = format!("expected one environment or more, and {MOST} at most");
        context.fault(Fault::new(node.span, "`:environments` can't be used", label));
    }
    for (key, value) in entries {
        let Some(name) = context.value::<EnvName>(key, "an environment's name") else { continue };
        let Some(mut section) = Section::of(value, format!("the environment :{}", name.value), context) else {
            continue;
        };
        let has_hosts = section.node("hosts").is_some() || section.node("ip").is_some();
        if !has_hosts {
            section.missing("hosts", "[:web-1]", context);
        }
        let hosts = hosts(&mut section, config, context);
        if let Some(node) = section.node("hosts").filter(|_| hosts.is_empty())
            && matches!(&node.value, Value::Vector(names) | Value::List(names) if names.is_empty())
        {
            let message = format!("the environment :{} has no hosts", name.value);
            context.fault(Fault::new(node.span, message, "expected one host or more"));
        }
        let promote = section.read::<Promote>("promote", context);
        let rollout = of_environment(whole.0, &mut section, context);
        let own = section.section("health", context).and_then(|section| health(section, instances, context));
        let its_window = window(&mut section, context);
        let manual = promote.as_ref().is_some_and(|promote| promote.value == Promote::Manual);
        if let Some(promote) = promote.as_ref().filter(|_| manual && environments.is_empty()) {
            let message = format!("the first environment, :{}, can't be promoted to", name.value);
            let help = "it gets what is built: with the app's `:trigger :manual` only when a person says so";
            context.fault(Fault::new(promote.span, message, "no environment is before it").help(help));
        }
        if let Some(before) = environments.last().filter(|before| before.manual && !manual) {
            let message = format!("what is built would get to :{} past :{}", name.value, before.name);
            let label = "expected `:promote :manual`, as in the one before it";
            context.fault(Fault::new(promote.map_or(key.span, |promote| promote.span), message, label));
        }
        if environments.iter().any(|other| other.name == name.value) {
            let message = format!("the environment :{} is there twice", name.value);
            context.fault(Fault::new(key.span, message, "expected every name once"));
        }
        for host in &hosts {
            let other = environments.iter().find(|other| other.hosts.contains(&host.name));
            if let (Some(other), Some(node)) = (other, section.node("hosts").or_else(|| section.node("ip"))) {
                let message = format!("the host :{} is in :{} and in :{}", host.name, other.name, name.value);
                context.fault(Fault::new(node.span, message, "expected every host in one environment"));
            }
        }
        section.finish(context);
        environments.push(Environment {
            name: name.value,
            hosts: hosts.iter().map(|host| host.name.clone()).collect(),
            manual,
            rollout,
            health: own.or_else(|| whole.1.cloned()),
            window: its_window.or_else(|| whole.2.cloned()),
        });
        all.extend(hosts);
    }
    (environments, all)
}
