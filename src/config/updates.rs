//! How an app follows its dependencies: `:track` of an app in deploy.edn.

use std::collections::BTreeMap;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use crate::edn::{Node, Value};
use crate::model::{Branch, Lib, Track, Updates};

/// What an app's entry says of its dependencies.
pub(super) fn updates(section: &mut Section<'_>, context: &mut Context) -> Updates {
    let track = section.node("track").map(|node| track(node, context)).unwrap_or_default();
    Updates { track, ..Updates::default() }
}

fn track(node: &Node, context: &mut Context) -> BTreeMap<Lib, Track> {
    let mut found = BTreeMap::new();
    let Value::Map(entries) = &node.value else {
        let label =
            format!("expected a map like {{acme/snow {{:branch \"2.x\"}}}}, found {}", node.value.kind().words());
        context.fault(Fault::new(node.span, "`:track` has the wrong kind of value", label));
        return found;
    };
    for (key, value) in entries {
        let lib = match &key.value {
            Value::Symbol(text) => Lib::of_symbol(text).ok(),
            _ => None,
        };
        let Some(lib) = lib else {
            let label = "expected a library as deps.edn names it, like acme/snow";
            context.fault(Fault::new(key.span, "a key of `:track` is no library", label));
            continue;
        };
        let Some(mut section) = Section::of(value, format!("`:track` of {lib}"), context) else { continue };
        let known = context.faults.len();
        let branch = section.read::<Branch>("branch", context);
        let tags = section.read::<bool>("tags", context);
        section.finish(context);
        let track = match (branch, tags.map(|tags| tags.value)) {
            (Some(branch), None) => Track::Branch(branch.value),
            (None, Some(true)) => Track::Tags,
            _ if context.faults.len() > known => continue,
            _ => {
                let message = format!("`:track` of {lib} names not one thing to follow");
                context.fault(Fault::new(value.span, message, "expected {:branch \"2.x\"} or {:tags true}"));
                continue;
            }
        };
        if found.insert(lib, track).is_some() {
            context.fault(Fault::new(key.span, "this library is in `:track` twice", "expected every library once"));
        }
    }
    found
}
