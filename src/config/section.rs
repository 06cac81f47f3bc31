//! A map of the user's, read key by key: each key is asked for once, and what nobody asked for is unknown.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::diagnostic::Fault;
use super::secrecy::login;
use super::source::Texts;
use super::suggest::closest;
use super::tags::TAGS;
use crate::edn::de::{Error, Problem, Spanned, from_node};
use crate::edn::{Node, Span, Value};
use crate::model::Secret;

/// What is shared while the files' values are looked at: the texts they are from, and what was wrong so far.
pub(super) struct Context {
    pub texts: Texts,
    pub faults: Vec<Fault>,
}

impl Context {
    pub fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// The tag that gave the value at this span, as it is written: `#env NAME`.
    pub fn tag(&self, span: Span) -> Option<&str> {
        let text = self.texts.slice(span);
        let rest = text.strip_prefix('#')?;
        TAGS.iter().any(|tag| rest.starts_with(tag)).then_some(text)
    }

    /// A path as it is meant in the file that names it.
    pub fn path(&self, path: Spanned<String>) -> PathBuf {
        self.texts.path(path.span.source).parent().map(|folder| folder.join(&path.value)).unwrap_or_default()
    }

    /// A value as a type, or a fault that says what `key` should have been.
    pub fn value<T: DeserializeOwned>(&mut self, node: &Node, key: &str) -> Option<Spanned<T>> {
        match from_node::<T>(node) {
            Ok(value) => Some(Spanned::new(node.span, value)),
            Err(error) => {
                let fault = self.misfit(error, node, key);
                self.fault(fault);
                None
            }
        }
    }

    fn misfit(&self, error: Error, node: &Node, key: &str) -> Fault {
        let span = error.span.unwrap_or(node.span);
        match error.problem {
            Problem::UnknownVariant { variant, expected } => {
                let known: Vec<String> = expected.iter().map(|word| format!(":{word}")).collect();
                let meant = closest(&variant, expected.iter().copied()).map(|word| format!("did you mean `:{word}`?"));
                let label = format!("expected one of {}", known.join(" "));
                let colon = if matches!(node.value, Value::Keyword(_)) { ":" } else { "" };
                Fault::new(span, format!("unknown value `{colon}{variant}` for `{key}`"), label).help_if(meant)
            }
            Problem::WrongType { found, expected } => {
                let expected = match expected.as_str() {
                    "u16" => "a whole number up to 65535",
                    "u32" | "u64" | "usize" => "a whole number, 0 or more",
                    "a boolean" => "true or false",
                    other => other,
                };
                let label = format!("expected {expected}, found {found}");
                Fault::new(span, format!("`{key}` has the wrong kind of value"), label)
            }
            problem => {
                let mut message = problem.to_string();
                // What a tag gave may be a secret that strayed.
                if let (Some(tag), Some(text)) = (self.tag(node.span), node.as_str()) {
                    message = message.replace(&format!("`{}`", text.escape_debug()), &format!("the value of `{tag}`"));
                }
                if let Some(login) = node.as_str().and_then(|text| text.get(login(text)?)) {
                    message = message.replace(login, "***");
                }
                match message.split_once(": ") {
                    _ if message.starts_with("expected") => {
                        Fault::new(span, format!("`{key}` can't be understood"), message)
                    }
                    Some((what, why)) => Fault::new(span, what, why),
                    None => Fault::new(span, message, format!("in `{key}`")),
                }
            }
        }
    }

    /// A secret, which must hold something. It is named by the tag that gave it, or else by its key.
    pub fn secret(&mut self, node: &Node, key: &str) -> Option<Secret> {
        let Value::Str(text) = &node.value else {
            // What stands here is not quoted: it may be the secret.
            let message = format!("`{key}` has the wrong kind of value");
            self.fault(Fault::new(node.span, message, "expected a string in quotes, or a tag like `#env NAME`"));
            return None;
        };
        if text.trim().is_empty() {
            let message = format!("the secret `{key}` is empty");
            let help = "an empty secret would let anyone in; give it a value or leave the key out";
            self.fault(Fault::new(node.span, message, "expected at least one character").help(help));
            return None;
        }
        let name = self.tag(node.span).unwrap_or(key).to_owned();
        Some(Secret::new(name, text.as_bytes()))
    }

    /// One secret, or a vector of them.
    pub fn secrets(&mut self, node: &Node, key: &str) -> Vec<Secret> {
        match &node.value {
            Value::Vector(nodes) if nodes.is_empty() => {
                let help = "give one, or leave the key out";
                self.fault(
                    Fault::new(node.span, format!("`{key}` holds no secret"), "expected one or more").help(help),
                );
                Vec::new()
            }
            Value::Vector(nodes) => nodes.iter().filter_map(|node| self.secret(node, key)).collect(),
            _ => self.secret(node, key).into_iter().collect(),
        }
    }
}

/// A map with keywords for keys.
pub(super) struct Section<'n> {
    /// What it is, in messages: `:git`, `the app :shop`.
    pub what: String,
    /// All of it.
    pub span: Span,
    entries: Vec<(&'n str, Span, &'n Node)>,
    known: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// The section that `node` is. If it is no map, says so.
    pub fn of(node: &'n Node, what: impl Into<String>, context: &mut Context) -> Option<Self> {
        let what = what.into();
        let Value::Map(pairs) = &node.value else {
            let found = node.value.kind().words();
            let label = format!("expected a map, found {found}");
            context.fault(Fault::new(node.span, format!("`{what}` has the wrong kind of value"), label));
            return None;
        };
        let mut entries = Vec::new();
        for (key, value) in pairs {
            match &key.value {
                Value::Keyword(name) => entries.push((name.as_str(), key.span, value)),
                _ => {
                    let message = format!("a key of `{what}` is no keyword");
                    context.fault(Fault::new(key.span, message, "expected a keyword like `:name`"));
                }
            }
        }
        Some(Self { what, span: node.span, entries, known: Vec::new() })
    }

    /// The value under a key; nil is as good as absent.
    pub fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let found = self.entries.iter().find(|(name, ..)| *name == key).map(|(_, _, node)| *node);
        found.filter(|node| node.value != Value::Nil)
    }

    /// Whether a key is there. Says nothing of which are known.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _, node)| *name == key && node.value != Value::Nil)
    }

    /// The value under a key as a type.
    pub fn read<T: DeserializeOwned>(&mut self, key: &'static str, context: &mut Context) -> Option<Spanned<T>> {
        let node = self.node(key)?;
        context.value(node, &format!(":{key}"))
    }

    /// The same, and a fault if it is not there.
    pub fn need<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        example: &str,
        context: &mut Context,
    ) -> Option<Spanned<T>> {
        if self.node(key).is_none() {
            self.missing(key, example, context);
            return None;
        }
        self.read(key, context)
    }

    /// A fault because the key is not there; unless it is there mistyped, which is a fault of its own.
    pub fn missing(&self, key: &str, example: &str, context: &mut Context) {
        if self.entries.iter().any(|(name, ..)| closest(name, [key]).is_some()) {
            return;
        }
        let head = Span { end: (self.span.start + 1).min(self.span.end), ..self.span };
        let message = format!("{} has no `:{key}`", self.what);
        context.fault(Fault::new(head, message, format!("expected `:{key} {example}` in this map")));
    }

    /// A string without line breaks that holds something.
    pub fn line(&mut self, key: &'static str, context: &mut Context) -> Option<Spanned<String>> {
        let text: Spanned<String> = self.read(key, context)?;
        let label = match text.value.as_str() {
            text if text.trim().is_empty() => "expected at least one character",
            text if text.contains(['\n', '\r', '\0']) => "expected one line",
            _ => return Some(text),
        };
        context.fault(Fault::new(text.span, format!("`:{key}` can't be used"), label));
        None
    }

    /// A path, relative ones from the file that names them.
    pub fn path(&mut self, key: &'static str, context: &mut Context) -> Option<PathBuf> {
        self.line(key, context).map(|path| context.path(path))
    }

    /// The section under a key.
    pub fn section(&mut self, key: &'static str, context: &mut Context) -> Option<Section<'n>> {
        let node = self.node(key)?;
        Section::of(node, format!(":{key}"), context)
    }

    /// Keys that nobody asked for are faults.
    pub fn finish(self, context: &mut Context) {
        for (name, span, _) in &self.entries {
            if !self.known.contains(name) {
                let known: Vec<String> = self.known.iter().map(|key| format!(":{key}")).collect();
                let meant = closest(name, self.known.iter().copied()).map(|key| format!("did you mean `:{key}`?"));
                let message = format!("unknown key `:{name}` in {}", self.what);
                let (label, help) = match meant {
                    Some(meant) => (meant, format!("known here: {}", known.join(" "))),
                    None => ("expected a known key".to_owned(), format!("known here: {}", known.join(" "))),
                };
                context.fault(Fault::new(*span, message, label).help(help));
            }
        }
    }
}
