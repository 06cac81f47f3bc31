//! Owned values with spans: what config files become before they are deserialised.

use super::form::Kind;
use super::{SourceId, Span};

/// A value and the place it stands at.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where, and in which text.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// A value. Metadata and discards are gone; keywords and symbols are written `namespace/name`, without the colon.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// A double.
    Float(f64),
    /// Any other number (a larger integer, a ratio, a decimal) as it is written.
    Number(String),
    /// A character.
    Char(char),
    /// A string.
    Str(String),
    /// A keyword without its colon.
    Keyword(String),
    /// A symbol.
    Symbol(String),
    /// A list.
    List(Vec<Node>),
    /// A vector.
    Vector(Vec<Node>),
    /// A set.
    Set(Vec<Node>),
    /// A map in the order it is written; no key stands twice.
    Map(Vec<(Node, Node)>),
    /// A tag without `#`, and its value.
    Tagged(String, Box<Node>),
}

impl Value {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Nil => Kind::Nil,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) | Value::Float(_) | Value::Number(_) => Kind::Number,
            Value::Char(_) => Kind::Char,
            Value::Str(_) => Kind::Str,
            Value::Keyword(_) => Kind::Keyword,
            Value::Symbol(_) => Kind::Symbol,
            Value::List(_) => Kind::List,
            Value::Vector(_) => Kind::Vector,
            Value::Set(_) => Kind::Set,
            Value::Map(_) => Kind::Map,
            Value::Tagged(..) => Kind::Tagged,
        }
    }
}

/// Replaces tagged values, as `#env` and `#include` need. The outermost tag is met first, its inside as it was read:
/// an implementation calls [`Node::rewrite`] on the parts it uses, and leaves the others alone.
pub trait Rewrite {
    /// Why a tag couldn't be replaced.
    type Error;
    /// The node to stand in place of `#tag inner`. It is taken as it is, not rewritten again. `span` is the tagged
    /// value's own: give it to a node made of nothing, and keep the spans of nodes that come from a text.
    fn tagged(&mut self, tag: &str, inner: Node, span: Span) -> Result<Node, Self::Error>;
}

impl Node {
    /// A node that stands at `span`.
    pub fn new(span: Span, value: Value) -> Self {
        Self { span, value }
    }
    pub(super) fn nil() -> Self {
        Self::new(Span::within(SourceId::default(), 0, 0), Value::Nil)
    }
    /// The tree with every tagged value replaced by what `by` makes of it. Recurses as deep as the tree is, which the
    /// reader caps; an `#include` must cap its own depth.
    pub fn rewrite<R: Rewrite>(self, by: &mut R) -> Result<Node, R::Error> {
        let span = self.span;
        let mut all = |nodes: Vec<Node>| nodes.into_iter().map(|node| node.rewrite(by)).collect::<Result<Vec<_>, _>>();
        let value = match self.value {
            Value::List(nodes) => Value::List(all(nodes)?),
            Value::Vector(nodes) => Value::Vector(all(nodes)?),
            Value::Set(nodes) => Value::Set(all(nodes)?),
            Value::Map(entries) => {
                let entries = entries.into_iter().map(|(key, value)| Ok((key.rewrite(by)?, value.rewrite(by)?)));
                Value::Map(entries.collect::<Result<Vec<_>, _>>()?)
            }
            Value::Tagged(tag, inner) => return by.tagged(&tag, *inner, span),
            value => value,
        };
        Ok(Node { span, value })
    }
    /// A map's value under the keyword `name`.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| matches!(&key.value, Value::Keyword(k) if k == name)).map(|(_, value)| value)
    }
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::Str(text) = &self.value { Some(text) } else { None }
    }
    /// The text of a string, keyword or symbol.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) | Value::Keyword(text) | Value::Symbol(text) => Some(text),
            _ => None,
        }
    }
}
