//! `:service` and `:postgres` of an app in deploy.edn: the unit that it runs as, and its database. The maps of the Clojure
//! airplanes are taken as they are: there `:environment` may be a text, and values are not always strings.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use super::values::Size;
use crate::edn::{Node, Span, Value};
use crate::model::{CredentialName, PgName, Postgres, RestartPolicy, Service, UnitName};

/// The least memory that anything can run in; less is a slip of the unit.
const LEAST_MEMORY: u64 = 16_000_000;

/// The unit, and where it is named: `:service`, or the old `:name`.
pub(super) fn service(section: &mut Section<'_>, context: &mut Context) -> Option<(Service, Span)> {
    let name = section.read::<UnitName>("name", context);
    let node = section.node("service");
    if let (Some(name), Some(node)) = (&name, node) {
        let fault = Fault::new(name.span, "both `:name` and `:service` name the unit", "expected `:service` alone");
        context.fault(fault.related(node.span, "it is named here too"));
    }
    let Some(mut section) = section.section("service", context) else {
        return name.map(|name| (Service::named(name.value), name.span));
    };
    let name = section.need::<UnitName>("name", "\"shop\"", context);
    let description = section.line("description", context).map(|text| text.value);
    let exec_start = section.line("exec-start", context).map(|text| {
        if text.value.ends_with('\\') {
            let label = "expected a command; systemd would take the next line in";
            context.fault(Fault::new(text.span, "`:exec-start` ends with a backslash", label));
        }
        text.value
    });
    let user = section.line("user", context).and_then(|user| {
        let good = user.value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && user.value.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
            && user.value.len() <= 31;
        if !good {
            let label = "expected a user's name like \"shop\"";
            context.fault(Fault::new(user.span, "`:user` can't be used", label));
        }
        good.then_some(user.value)
    });
    let working_directory = section.line("working-directory", context).map(|text| text.value);
    let environment = section.node("environment").map(|node| environment(node, context)).unwrap_or_default();
    let secrets = section.node("secrets").map(|node| each::<CredentialName>(node, ":secrets", context));
    let memory = section.read::<Size>("memory", context);
    if let Some(size) = memory.as_ref().filter(|size| size.value.0 < LEAST_MEMORY) {
        context.fault(Fault::new(size.span, "nothing can run with so little `:memory`", "expected \"16MB\" or more"));
    }
    let restart = section.read::<RestartPolicy>("restart", context);
    let write = section.node("write").map(|node| each::<String>(node, ":write", context)).unwrap_or_default();
    for (path, span) in &write {
        if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
            let label = "expected an absolute path without spaces like \"/srv/uploads\"";
            context.fault(Fault::new(*span, "`:write` names no folder", label));
        }
    }
    let span = section.span;
    if exec_start.is_none() {
        for key in ["secrets", "memory", "restart", "write"] {
            if let Some(node) = section.node(key) {
                let message = format!("without `:exec-start` the unit is not made, so its `:{key}` does nothing");
                let help = "give it `:exec-start \"/usr/bin/java -jar …\"`, or leave all but `:name` out";
                context.fault(Fault::new(node.span, message, "never used").help(help).warning());
            }
        }
    }
    section.finish(context);
    let name = name?.value;
    let service = Service {
        description,
        exec_start,
        user,
        working_directory,
        environment,
        secrets: secrets.unwrap_or_default().into_iter().map(|(name, _)| name).collect(),
        memory: memory.map(|size| size.value.0),
        restart: restart.map(|restart| restart.value).unwrap_or_default(),
        write: write.into_iter().map(|(path, _)| path).collect(),
        ..Service::named(name)
    };
    Some((service, span))
}

/// The app's database; its owner is named as it is, unless told otherwise.
pub(super) fn postgres(section: &mut Section<'_>, context: &mut Context) -> Option<(Postgres, Span)> {
    let mut section = section.section("postgres", context)?;
    let span = section.span;
    let database = section.need::<PgName>("database", "\"shop\"", context);
    let role = section.read::<PgName>("role", context);
    section.finish(context);
    let database = database?.value;
    let role = role.map_or_else(|| database.clone(), |role| role.value);
    Some((Postgres { database, role }, span))
}

/// A vector of names or texts, each once, with their places.
pub(super) fn each<T: DeserializeOwned + PartialEq>(node: &Node, key: &str, context: &mut Context) -> Vec<(T, Span)> {
    let (Value::Vector(nodes) | Value::List(nodes) | Value::Set(nodes)) = &node.value else {
        let label = format!("expected a vector of strings, found {}", node.value.kind().words());
        context.fault(Fault::new(node.span, format!("`{key}` has the wrong kind of value"), label));
        return Vec::new();
    };
    let mut all: Vec<(T, Span)> = Vec::new();
    for node in nodes {
        let Some(value) = context.value::<T>(node, key) else { continue };
        if all.iter().any(|(other, _)| *other == value.value) {
            context.fault(Fault::new(node.span, format!("`{key}` names this twice"), "expected every name once"));
            continue;
        }
        all.push((value.value, node.span));
    }
    all
}

/// A map of variables; or as the Clojure airplanes had it, `"A=1"` or a vector of such.
fn environment(node: &Node, context: &mut Context) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let (Some(name), Some(text)) = (key.as_text(), scalar(value)) else {
                    let label = "expected a variable's name, and a string, number or boolean for it";
                    context.fault(Fault::new(value.span, "this is no variable of `:environment`", label));
                    continue;
                };
                variable(name, &text, node.span, &mut all, context);
            }
        }
        Value::Str(_) => assignment(node, &mut all, context),
        Value::Vector(nodes) | Value::List(nodes) => nodes.iter().for_each(|node| assignment(node, &mut all, context)),
        value => {
            let label = format!("expected a map like {{\"PORT\" \"7000\"}}, found {}", value.kind().words());
            context.fault(Fault::new(node.span, "`:environment` has the wrong kind of value", label));
        }
    }
    all
}

fn assignment(node: &Node, all: &mut BTreeMap<String, String>, context: &mut Context) {
    match node.as_str().and_then(|text| text.split_once('=')) {
        Some((name, value)) => variable(name, value, node.span, all, context),
        None => {
            let label = "expected \"NAME=value\", or a map like {\"PORT\" \"7000\"}";
            context.fault(Fault::new(node.span, "this is no variable of `:environment`", label));
        }
    }
}

fn variable(name: &str, value: &str, span: Span, all: &mut BTreeMap<String, String>, context: &mut Context) {
    let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good || name.starts_with(|c: char| c.is_ascii_digit()) || value.contains(char::is_control) {
        let message = format!("the variable {} can't be set", name.escape_debug());
        let label = "expected names of letters, digits and `_`, and values of one line";
        context.fault(Fault::new(span, message, label));
        return;
    }
    if all.insert(name.to_owned(), value.to_owned()).is_some() {
        context.fault(Fault::new(span, format!("the variable {name} is set twice"), "expected every name once"));
    }
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Str(text) | Value::Number(text) | Value::Keyword(text) | Value::Symbol(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}
