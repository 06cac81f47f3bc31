//! The tagged values of config.edn and deploy.edn: aero's `#env #include #or #profile`, and `#file #credential`.
//!
//! A value that a tag gave keeps the tag's span, so that a fault points at `#env NAME` and a secret is named by it.

use std::io;
use std::path::{Path, PathBuf};

use super::diagnostic::Fault;
use super::secrecy;
use super::source::{Source, Texts};
use super::suggest::closest;
use crate::edn::{Node, Rewrite, Span, Value, read_node};

/// All of them.
pub(super) const TAGS: [&str; 6] = ["env", "include", "or", "profile", "file", "credential"];
/// Those whose inside is a name.
pub(super) const LEAVES: [&str; 4] = ["env", "include", "file", "credential"];
/// The variable that chooses in `#profile`.
const PROFILE: &str = "AIRPLANES_PROFILE";
/// How deep files may include files.
const MAX_DEPTH: usize = 16;
/// How many, so that a few that include each other twice don't become a million.
const MAX_FILES: usize = 500;

/// Reads files and resolves the tags in them.
pub(super) struct Files<'s> {
    source: &'s dyn Source,
    /// The texts as they are.
    pub texts: Texts,
    /// The same without their secrets, for diagnostics.
    pub shown: Texts,
    pub faults: Vec<Fault>,
    /// Everything that was read or looked for.
    pub files: Vec<PathBuf>,
    /// The files that are being read now, the outermost first.
    open: Vec<PathBuf>,
    /// Inside `#or`, what is not there is no fault.
    in_or: bool,
}

impl<'s> Files<'s> {
    pub fn new(source: &'s dyn Source) -> Self {
        let (texts, shown, faults, files, open) = Default::default();
        Self { source, texts, shown, faults, files, open, in_or: false }
    }

    /// A file's value with its tags resolved. `at` is where it is asked for. `None` if a fault was found.
    pub fn read(&mut self, path: &Path, at: Option<Span>) -> Option<Node> {
        let fault = |message: String, expected: &str| match at {
            Some(span) => Fault::new(span, message, expected),
            None => Fault::placeless(message),
        };
        self.saw(path);
        let bytes = match self.source.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let help = match error.kind() {
                    io::ErrorKind::NotFound => "create it, or correct the path",
                    _ => "see that it is a file which the daemon's user may read",
                };
                let message = format!("{} could not be read: {error}", path.display());
                self.faults.push(fault(message, "expected a readable file").help(help));
                return None;
            }
        };
        let Ok(text) = String::from_utf8(bytes) else {
            let message = format!("{} is not UTF-8 text", path.display());
            self.faults.push(fault(message, "expected a text file").help("save it as UTF-8"));
            return None;
        };
        let id = self.texts.add(path, text.clone());
        self.shown.add(path, text.clone());
        let place = usize::from(id.0);
        let node = match read_node(&text, id) {
            Ok(node) => node,
            Err(error) => {
                let shown = &mut self.shown.0[place];
                secrecy::hide_unreadable(shown);
                let mut message = error.to_string();
                if secrecy::quotes_hidden(&message, error.span, &text, shown) {
                    message = "this can't be read; it may be a secret, so it is not shown".to_owned();
                }
                self.faults.push(match error.related {
                    // The end of a text has nothing to put a caret under.
                    Some(span) if error.span.start as usize >= text.trim_end().len() => {
                        Fault::new(span, message, error.related_label())
                    }
                    Some(span) => Fault::new(error.span, message, "here").related(span, error.related_label()),
                    None => Fault::new(error.span, message, "here"),
                });
                return None;
            }
        };
        secrecy::hide_values(&node, &mut self.shown.0);
        secrecy::hide_notes(&mut self.shown.0[place]);
        self.open.push(path.to_owned());
        let was = std::mem::replace(&mut self.in_or, false);
        let Ok(node) = node.rewrite(self);
        self.in_or = was;
        self.open.pop();
        secrecy::hide_resolved(&node, &mut self.shown.0);
        Some(node)
    }

    /// A file's text as it is; none where there is no such file. `at` is where it is asked for.
    pub fn text(&mut self, path: &Path, at: Span) -> Option<String> {
        self.saw(path);
        match self.source.read(path).map(String::from_utf8) {
            Ok(Ok(text)) => return Some(text),
            Ok(Err(_)) => {
                let message = format!("{} is not UTF-8 text", path.display());
                self.faults.push(Fault::new(at, message, "expected text files in there"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let message = format!("{} could not be read: {error}", path.display());
                let help = "see that it is a file which the daemon's user may read";
                self.faults.push(Fault::new(at, message, "needed here").help(help));
            }
        }
        None
    }

    /// A path as it is meant in the file that `span` points into.
    pub fn resolve(&self, path: &str, span: Span) -> PathBuf {
        let folder = self.texts.path(span.source).parent().unwrap_or(Path::new(""));
        folder.join(path)
    }

    fn saw(&mut self, path: &Path) {
        if !self.files.iter().any(|known| known == path) {
            self.files.push(path.to_owned());
        }
    }

    fn absent(&mut self, span: Span, message: String, expected: &str, help: String) -> Node {
        if !self.in_or {
            self.faults.push(Fault::new(span, message, expected).help(help));
        }
        Node::new(span, Value::Nil)
    }

    fn wrong(&mut self, span: Span, tag: &str, expected: &str) -> Node {
        self.faults.push(Fault::new(span, format!("`#{tag}` is followed by something else"), expected));
        Node::new(span, Value::Nil)
    }

    fn env(&mut self, name: &str, span: Span) -> Node {
        match self.source.env(name) {
            Some(text) => Node::new(span, Value::Str(text)),
            None => {
                let help = format!("set {name}, or give a default: #or [#env {name} \"…\"]");
                self.absent(span, format!("the environment variable {name} is not set"), "needed here", help)
            }
        }
    }

    fn include(&mut self, path: &str, span: Span) -> Node {
        let path = self.resolve(path, span);
        if self.open.contains(&path) {
            let message = format!("{} includes itself", path.display());
            let mut chain: Vec<String> = self.open.iter().map(|path| path.display().to_string()).collect();
            chain.push(path.display().to_string());
            self.faults.push(Fault::new(span, message, "this closes the circle").help(chain.join(" includes ")));
        } else if self.open.len() > MAX_DEPTH || self.texts.0.len() > MAX_FILES {
            let message = format!("files include files more than {MAX_DEPTH} deep, or more than {MAX_FILES} in all");
            self.faults.push(Fault::new(span, message, "here"));
        } else if let Some(node) = self.read(&path, Some(span)) {
            return node;
        }
        Node::new(span, Value::Nil)
    }

    fn file(&mut self, path: &Path, span: Span) -> Node {
        self.saw(path);
        match self.source.read(path).map(String::from_utf8) {
            Ok(Ok(text)) => {
                // An editor or `echo` put it there; it is no part of the secret.
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                return Node::new(span, Value::Str(text.to_owned()));
            }
            Ok(Err(_)) => {
                let message = format!("{} is not UTF-8 text", path.display());
                self.faults.push(Fault::new(span, message, "expected a text file"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("{} does not exist", path.display());
                return self.absent(span, message, "needed here", "create it, or correct the path".into());
            }
            Err(error) => {
                let message = format!("{} could not be read: {error}", path.display());
                let help = "see that it is a file which the daemon's user may read";
                self.faults.push(Fault::new(span, message, "needed here").help(help));
            }
        }
        Node::new(span, Value::Nil)
    }

    fn credential(&mut self, name: &str, span: Span) -> Node {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return self.wrong(span, "credential", "expected the name of a credential, without a path");
        }
        match self.source.env("CREDENTIALS_DIRECTORY") {
            Some(folder) => self.file(&Path::new(&folder).join(name), span),
            None => {
                let message = format!("there is no credential {name}: CREDENTIALS_DIRECTORY is not set");
                let help = format!("systemd sets it for a unit with LoadCredential={name}:/path/to/the/file");
                self.absent(span, message, "needed here", help)
            }
        }
    }

    fn or(&mut self, inner: Node, span: Span) -> Node {
        let (Value::Vector(nodes) | Value::List(nodes)) = inner.value else {
            return self.wrong(span, "or", "expected a vector like #or [#env NAME \"default\"]");
        };
        let ends_with_nil = nodes.last().is_some_and(|last| last.value == Value::Nil);
        for node in nodes {
            let was = std::mem::replace(&mut self.in_or, true);
            let Ok(node) = node.rewrite(self);
            self.in_or = was;
            if node.value != Value::Nil {
                return node;
            }
        }
        if ends_with_nil {
            return Node::new(span, Value::Nil);
        }
        let help = "end it with a default, or with nil if it may be absent".to_owned();
        self.absent(span, "none of these is there".into(), "expected one of them to have a value", help)
    }

    fn profile(&mut self, inner: Node, span: Span) -> Node {
        let Value::Map(entries) = inner.value else {
            return self.wrong(span, "profile", "expected a map like #profile {:dev \"…\" :default \"…\"}");
        };
        let profile = self.source.env(PROFILE).unwrap_or_else(|| "default".into());
        let names: Vec<String> = entries.iter().filter_map(|(key, _)| key.as_text().map(str::to_owned)).collect();
        let chosen = [profile.as_str(), "default"].into_iter().find_map(|name| names.iter().position(|n| n == name));
        if let Some((_, node)) = chosen.and_then(|at| entries.into_iter().nth(at)) {
            let Ok(node) = node.rewrite(self);
            return node;
        }
        let help = format!("add :default, or set {PROFILE} to one of: {}", names.join(" "));
        self.absent(span, format!("there is no profile :{profile} here, and no :default"), "needed here", help)
    }
}

impl Rewrite for Files<'_> {
    /// Faults are collected instead: what could not be resolved is nil, and the load ends before that is looked at.
    type Error = std::convert::Infallible;

    fn tagged(&mut self, tag: &str, inner: Node, span: Span) -> Result<Node, Self::Error> {
        let name = inner.as_text().map(str::to_owned);
        Ok(match (tag, name) {
            ("or", _) => self.or(inner, span),
            ("profile", _) => self.profile(inner, span),
            ("env", Some(name)) => self.env(&name, span),
            ("include", Some(path)) => self.include(&path, span),
            ("file", Some(path)) => {
                let path = self.resolve(&path, span);
                self.file(&path, span)
            }
            ("credential", Some(name)) => self.credential(&name, span),
            ("env", None) => self.wrong(span, tag, "expected the name of a variable: #env NAME"),
            ("include" | "file", None) => self.wrong(span, tag, "expected a path in quotes"),
            ("credential", None) => self.wrong(span, tag, "expected the name of a credential: #credential name"),
            _ => {
                let known: Vec<String> = TAGS.iter().map(|tag| format!("#{tag}")).collect();
                let meant = closest(tag, TAGS).map(|tag| format!("did you mean `#{tag}`?"));
                let head = Span { end: span.start + 1 + tag.len() as u32, ..span };
                let expected = format!("expected one of {}", known.join(" "));
                self.faults.push(Fault::new(head, format!("unknown tag `#{tag}`"), expected).help_if(meant));
                Node::new(span, Value::Nil)
            }
        })
    }
}
