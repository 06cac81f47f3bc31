//! How an app follows its dependencies, and where they stand: `:track`, `:bisect?`, `:directory`, `:deps-files` and
//! `:paths` of an app in deploy.edn.

use std::collections::BTreeMap;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use crate::edn::de::Spanned;
use crate::edn::{Node, Value};
use crate::model::{Branch, Lib, Track, Updates};

/// What an app's entry says of its dependencies.
pub(super) fn updates(section: &mut Section<'_>, context: &mut Context) -> Updates {
    let track = section.node("track").map(|node| track(node, context)).unwrap_or_default();
    let directory = directory(section, context);
    let deps_files = globs(section, "deps-files", context);
    let paths = globs(section, "paths", context);
    let bisect = section.read::<bool>("bisect?", context).is_some_and(|bisect| bisect.value);
    Updates { track, directory, deps_files, paths, bisect, ..Updates::default() }
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
            Value::Symbol(text) => Lib::new(text.as_str()).ok(),
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

/// A folder of the repository: relative, and not the repository itself.
fn directory(section: &mut Section<'_>, context: &mut Context) -> Option<String> {
    let path = section.line("directory", context)?;
    match relative(path.value.trim_end_matches('/')) {
        Ok(()) if path.value.contains(['*', '?']) => {
            context.fault(Fault::new(
                path.span,
                "`:directory` can't be used",
                "expected one folder, without wildcards",
            ));
            None
        }
        Ok(()) => Some(path.value.trim_end_matches('/').to_owned()),
        Err(label) => {
            context.fault(Fault::new(path.span, "`:directory` can't be used", label));
            None
        }
    }
}

/// Globs, from a folder of the repository on.
fn globs(section: &mut Section<'_>, key: &'static str, context: &mut Context) -> Vec<String> {
    let Some(globs) = section.read::<Vec<Spanned<String>>>(key, context) else { return Vec::new() };
    if globs.value.is_empty() {
        let help = "leave the key out for its default";
        context.fault(Fault::new(globs.span, format!("`:{key}` names nothing"), "expected a path or more").help(help));
    }
    if globs.value.len() > MOST {
        let label = format!("expected {MOST} at most: `*` `?` and `**` stand for many");
        context.fault(Fault::new(globs.span, format!("`:{key}` has too many entries"), label));
    }
    let mut found = Vec::new();
    for glob in globs.value {
        match relative(&glob.value) {
            Ok(()) => found.push(glob.value),
            Err(label) => {
                let message = format!("`{}` of `:{key}` can't be used", glob.value.escape_debug());
                context.fault(Fault::new(glob.span, message, label));
            }
        }
    }
    found
}

/// How many globs there may be, and how long each: they stand in rows of the store.
const MOST: usize = 20;
const LONGEST: usize = 200;

/// Whether a path stays in the repository, and means what it says.
pub(super) fn relative(path: &str) -> Result<(), &'static str> {
    match path {
        "" | "." => Err("expected a path below the repository's root; leave the key out for the root"),
        path if path.starts_with('/') => Err("expected a path from the repository's root on, without `/` before it"),
        path if path.starts_with('-') => Err("expected a path that does not begin with `-`"),
        path if path.len() > LONGEST => Err("expected at most 200 bytes"),
        path if path.contains(['[', ']', '{', '}', '\\', '\n', '\r', '\0']) => {
            Err("expected a path in which only `*` `?` and `**` are wildcards")
        }
        path if path.split('/').any(|part| matches!(part, "" | "." | "..")) => {
            Err("expected a path without `.`, `..` and empty parts")
        }
        path if path.split('/').any(|part| part.contains("**") && part != "**") => {
            Err("expected `**` to stand alone between slashes")
        }
        _ => Ok(()),
    }
}
