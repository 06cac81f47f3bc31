//! The lossless tree: a flat list of nodes in source order, and [`Form`], a cursor into it.
//!
//! Nodes stand in preorder, and each knows where the next after its subtree is. So a document is one allocation, and
//! dropping it recurses nowhere.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use super::node::{Node, Value};
use super::number::{self, Number};
use super::{SourceId, Span, lex, text};

/// What a node is, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Nil,
    True,
    False,
    Number,
    Symbolic,
    Char,
    Str,
    Keyword,
    Symbol,
    List,
    Vector,
    Map,
    NsMap,
    Set,
    Tagged,
    Discard,
    Meta,
}

/// A node of the flat tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw {
    pub start: u32,
    pub end: u32,
    /// The node after this one's subtree.
    pub next: u32,
    /// The end of a tag's or a namespaced map's name. Of a string: how many escapes it holds.
    pub name_end: u32,
    pub tag: Tag,
}

impl Raw {
    /// Whether it is a string whose text is not its content.
    pub fn has_escapes(&self) -> bool {
        self.tag == Tag::Str && self.name_end != 0
    }
}

/// A text that was read: its values, discards and metadata, each with its place.
#[derive(Debug, Clone)]
pub struct Document<'s> {
    pub(super) source: &'s str,
    pub(super) nodes: Vec<Raw>,
}

impl<'s> Document<'s> {
    /// The text that was read.
    pub fn source(&self) -> &'s str {
        self.source
    }
    /// The first value. [`super::read`] gives documents that have exactly one; of an empty one this is `nil`.
    pub fn root(&self) -> Form<'_> {
        self.forms().next().unwrap_or_else(|| Form::at(&NIL, 0))
    }
    /// The top-level values.
    pub fn forms(&self) -> impl Iterator<Item = Form<'_>> {
        let mut children = Children { document: self, at: 0, end: self.nodes.len() as u32 };
        std::iter::from_fn(move || children.next_value())
    }
}

static NIL: LazyLock<Document<'static>> = LazyLock::new(|| {
    let nil = Raw { start: 0, end: 3, next: 1, name_end: 0, tag: Tag::Nil };
    Document { source: "nil", nodes: vec![nil] }
});

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `nil`
    Nil,
    /// `true` or `false`
    Bool,
    /// Any number, `##Inf` too.
    Number,
    /// `\a`
    Char,
    /// `"text"`
    Str,
    /// `:keyword`
    Keyword,
    /// `symbol`
    Symbol,
    /// `(…)`
    List,
    /// `[…]`
    Vector,
    /// `{…}` or `#:ns{…}`
    Map,
    /// `#{…}`
    Set,
    /// `#tag form`
    Tagged,
}

impl Kind {
    /// With its article, for messages.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Nil => "nil",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::Char => "a character",
            Kind::Str => "a string",
            Kind::Keyword => "a keyword",
            Kind::Symbol => "a symbol",
            Kind::List => "a list",
            Kind::Vector => "a vector",
            Kind::Map => "a map",
            Kind::Set => "a set",
            Kind::Tagged => "a tagged value",
        }
    }
}

/// A keyword's or symbol's name, without a keyword's colon. Written out it is `namespace/name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name<'d> {
    /// What stands before the first slash.
    pub namespace: Option<&'d str>,
    /// The rest.
    pub name: &'d str,
}

impl<'d> Name<'d> {
    pub(super) fn of(text: &'d str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) if text.len() > 1 => Self { namespace: Some(namespace), name },
            _ => Self { namespace: None, name: text },
        }
    }
    /// Whether it is `text`, as in `git/sha`.
    pub fn is(&self, text: &str) -> bool {
        *self == Name::of(text)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// A value in a document, behind whatever metadata stands before it.
#[derive(Clone, Copy)]
pub struct Form<'d> {
    document: &'d Document<'d>,
    /// The node with its metadata.
    outer: u32,
    /// The node itself.
    index: u32,
    /// What a namespaced map gives to this key.
    namespace: Option<&'d str>,
}

impl fmt::Debug for Form<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind(), self.text())
    }
}

impl<'d> Form<'d> {
    /// The value at a node.
    pub(super) fn at(document: &'d Document<'d>, outer: u32) -> Self {
        Form { document, outer, index: behind_metadata(&document.nodes, outer), namespace: None }
    }
    /// A node that is no value, or one without what stands behind its metadata.
    fn bare(document: &'d Document<'d>, index: u32) -> Self {
        Form { document, outer: index, index, namespace: None }
    }
    pub(super) fn raw(&self) -> &'d Raw {
        &self.document.nodes[self.index as usize]
    }
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.raw().tag {
            Tag::Nil | Tag::Discard => Kind::Nil,
            Tag::True | Tag::False => Kind::Bool,
            Tag::Number | Tag::Symbolic => Kind::Number,
            Tag::Char => Kind::Char,
            Tag::Str => Kind::Str,
            Tag::Keyword => Kind::Keyword,
            Tag::Symbol | Tag::Meta => Kind::Symbol,
            Tag::List => Kind::List,
            Tag::Vector => Kind::Vector,
            Tag::Map | Tag::NsMap => Kind::Map,
            Tag::Set => Kind::Set,
            Tag::Tagged => Kind::Tagged,
        }
    }
    /// Where it stands, without its metadata.
    pub fn span(&self) -> Span {
        Span::new(self.raw().start as usize, self.raw().end as usize)
    }
    /// Where it stands with its metadata.
    pub fn outer_span(&self) -> Span {
        Span::new(self.document.nodes[self.outer as usize].start as usize, self.raw().end as usize)
    }
    /// As it is written, without its metadata.
    pub fn text(&self) -> &'d str {
        &self.document.source[self.span().range()]
    }
    /// Whether metadata stands before it.
    pub fn has_metadata(&self) -> bool {
        self.outer != self.index
    }
    /// The metadata forms before it, the outermost first.
    pub fn metadata(&self) -> impl Iterator<Item = Form<'d>> + use<'d> {
        let (document, mut outer, index) = (self.document, self.outer, self.index);
        std::iter::from_fn(move || {
            if outer == index {
                return None;
            }
            let mut values = Form::bare(document, outer).values();
            let (meta, target) = (values.next()?, values.next()?);
            outer = target.outer;
            Some(meta)
        })
    }
    /// What a collection or tag holds, discards included.
    pub fn children(&self) -> Children<'d> {
        Children { document: self.document, at: self.index + 1, end: self.raw().next }
    }
    /// What a collection or tag holds, without discards. Of a map: keys and values in turn.
    pub fn values(&self) -> impl Iterator<Item = Form<'d>> + use<'d> {
        let mut children = self.children();
        std::iter::from_fn(move || children.next_value())
    }
    /// A map's keys with their values, the keys with the namespace that `#:ns{…}` gives them. Empty for others.
    pub fn entries(&self) -> impl Iterator<Item = (Form<'d>, Form<'d>)> + use<'d> {
        let mut children = self.children();
        let namespace = match self.raw().tag {
            Tag::Map => None,
            Tag::NsMap => self.map_namespace(),
            _ => {
                children.at = children.end;
                None
            }
        };
        std::iter::from_fn(move || {
            let (key, value) = (children.next_value()?, children.next_value()?);
            Some((key.in_namespace(namespace), value))
        })
    }
    /// A map's value under the keyword `name`, as in `git/sha`.
    pub fn get(&self, name: &str) -> Option<Form<'d>> {
        self.entries().find(|(key, _)| key.is_keyword(name)).map(|(_, value)| value)
    }
    /// The `git` of `#:git{…}`.
    pub fn map_namespace(&self) -> Option<&'d str> {
        let raw = self.raw();
        let written =
            (raw.tag == Tag::NsMap).then(|| &self.document.source[raw.start as usize + 2..raw.name_end as usize])?;
        Some(written.trim_start_matches(|c: char| c.is_ascii() && lex::class(c as u8) == lex::SPACE))
    }
    /// The same form as a key of a map with that namespace.
    pub fn in_namespace(mut self, namespace: Option<&'d str>) -> Self {
        self.namespace = namespace;
        self
    }
    /// Whether it is a key whose map may give it a namespace.
    pub fn is_given_namespace(&self) -> bool {
        self.namespace.is_some()
    }
    /// A tag's name, without `#`.
    pub fn tag(&self) -> Option<&'d str> {
        let raw = self.raw();
        (raw.tag == Tag::Tagged).then(|| &self.document.source[raw.start as usize + 1..raw.name_end as usize])
    }
    /// A keyword's name.
    pub fn keyword(&self) -> Option<Name<'d>> {
        (self.raw().tag == Tag::Keyword).then(|| self.resolve(&self.text()[1..]))
    }
    /// A key as it is meant: as it is written, without its metadata, but with the namespace that its map gives it.
    #[inline]
    pub fn spelled(&self) -> Cow<'d, str> {
        if self.namespace.is_none() { Cow::Borrowed(self.text()) } else { self.spelled_out() }
    }
    fn spelled_out(&self) -> Cow<'d, str> {
        match (self.keyword(), self.symbol()) {
            (Some(keyword), _) => format!(":{keyword}").into(),
            (_, Some(symbol)) => symbol.to_string().into(),
            _ => Cow::Borrowed(self.text()),
        }
    }
    /// Whether it is the keyword `name`, as in `git/sha`.
    pub fn is_keyword(&self, name: &str) -> bool {
        self.raw().tag == Tag::Keyword
            && match self.namespace {
                // As it is written: two names are equal if, and only if, their texts are.
                None => &self.text()[1..] == name,
                Some(_) => self.keyword().is_some_and(|keyword| keyword.is(name)),
            }
    }
    /// A symbol's name.
    pub fn symbol(&self) -> Option<Name<'d>> {
        (self.raw().tag == Tag::Symbol).then(|| self.resolve(self.text()))
    }
    fn resolve(&self, text: &'d str) -> Name<'d> {
        let name = Name::of(text);
        match (self.namespace, name.namespace) {
            (Some(_), Some("_")) => Name { namespace: None, ..name },
            (Some(namespace), None) => Name { namespace: Some(namespace), ..name },
            _ => name,
        }
    }
    /// A string's content.
    pub fn string(&self) -> Option<Cow<'d, str>> {
        let (raw, text) = (self.raw(), self.text());
        (raw.tag == Tag::Str).then(|| match (&text[1..text.len() - 1], raw.has_escapes()) {
            (body, true) => text::unescape(body),
            (body, false) => Cow::Borrowed(body),
        })
    }
    /// A character.
    pub fn character(&self) -> Option<char> {
        if self.raw().tag == Tag::Char { text::character(&self.text()[1..]) } else { None }
    }
    /// A boolean.
    pub fn boolean(&self) -> Option<bool> {
        match self.raw().tag {
            Tag::True => Some(true),
            Tag::False => Some(false),
            _ => None,
        }
    }
    /// A number's value.
    pub fn number(&self) -> Option<Number> {
        match self.raw().tag {
            Tag::Number => number::parse(self.text()),
            Tag::Symbolic if self.text().ends_with("-Inf") => Some(Number::Float(f64::NEG_INFINITY)),
            Tag::Symbolic if self.text().ends_with("Inf") => Some(Number::Float(f64::INFINITY)),
            Tag::Symbolic => Some(Number::Float(f64::NAN)),
            _ => None,
        }
    }
    /// An owned copy, without discards and metadata, whose spans point into `source`.
    pub fn to_node(&self, source: SourceId) -> Node {
        let all = |form: &Form<'d>| form.values().map(|v| v.to_node(source)).collect();
        let value = match self.kind() {
            Kind::Nil => Value::Nil,
            Kind::Bool => Value::Bool(self.boolean() == Some(true)),
            Kind::Number => match self.number() {
                Some(Number::Int(int)) => Value::Int(int),
                Some(Number::Float(float)) => Value::Float(float),
                _ => Value::Number(self.text().to_owned()),
            },
            Kind::Char => self.character().map_or(Value::Nil, Value::Char),
            Kind::Str => Value::Str(self.string().unwrap_or_default().into_owned()),
            Kind::Keyword => self.keyword().map_or(Value::Nil, |name| Value::Keyword(name.to_string())),
            Kind::Symbol => self.symbol().map_or(Value::Nil, |name| Value::Symbol(name.to_string())),
            Kind::List => Value::List(all(self)),
            Kind::Vector => Value::Vector(all(self)),
            Kind::Set => Value::Set(all(self)),
            Kind::Map => Value::Map(self.entries().map(|(k, v)| (k.to_node(source), v.to_node(source))).collect()),
            Kind::Tagged => {
                let inner = self.values().next().map_or_else(Node::nil, |form| form.to_node(source));
                Value::Tagged(self.tag().unwrap_or_default().to_owned(), Box::new(inner))
            }
        };
        Node { span: self.span().in_source(source), value }
    }
}

/// The value that a node's metadata stands before; for a node without metadata the node.
pub(super) fn behind_metadata(nodes: &[Raw], mut index: u32) -> u32 {
    while nodes[index as usize].tag == Tag::Meta {
        let mut child = index + 1;
        let mut values = 0;
        // The first value is the metadata, the second what bears it.
        loop {
            if nodes[child as usize].tag != Tag::Discard {
                values += 1;
            }
            if values == 2 {
                break;
            }
            child = nodes[child as usize].next;
        }
        index = child;
    }
    index
}

/// What stands inside a collection.
#[derive(Debug, Clone, Copy)]
pub enum Child<'d> {
    /// A value.
    Value(Form<'d>),
    /// A `#_`: its children are the form it discards and the discards before that.
    Discarded(Form<'d>),
}

/// The children of a form in source order.
#[derive(Clone)]
pub struct Children<'d> {
    document: &'d Document<'d>,
    at: u32,
    end: u32,
}

impl<'d> Children<'d> {
    /// The next node, and whether it is a value.
    fn next_node(&mut self) -> Option<(u32, bool)> {
        let index = self.at;
        if index >= self.end {
            return None;
        }
        let raw = &self.document.nodes[index as usize];
        self.at = raw.next;
        Some((index, raw.tag != Tag::Discard))
    }
    /// The next value, past discards.
    fn next_value(&mut self) -> Option<Form<'d>> {
        loop {
            if let (index, true) = self.next_node()? {
                return Some(Form::at(self.document, index));
            }
        }
    }
}

impl<'d> Iterator for Children<'d> {
    type Item = Child<'d>;
    fn next(&mut self) -> Option<Child<'d>> {
        Some(match self.next_node()? {
            (index, true) => Child::Value(Form::at(self.document, index)),
            (index, false) => Child::Discarded(Form::bare(self.document, index)),
        })
    }
}
