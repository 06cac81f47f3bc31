//! From values with spans to typed structs, through serde; every error knows the place of the value it is about.
//!
//! Keywords, symbols and strings all deserialise as strings, field names and unit variants (`:git-url` is the field
//! `git-url`), `nil` as none, lists, vectors and sets as sequences. A tagged value is an error: whoever reads a file
//! with tags replaces them first, with [`Node::rewrite`](super::Node::rewrite). Wrap a field in [`Spanned`] to keep
//! its place; inside `#[serde(flatten)]` and untagged enums, which buffer, that doesn't work.

mod error;
mod spanned;
#[cfg(test)]
mod tests;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

pub use error::{Error, Problem};
pub use spanned::Spanned;

use super::{Node, SourceId, Span, Value};

/// Deserialises a value.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Error> {
    T::deserialize(Deserializer { node })
}

/// Reads a text of exactly one value and deserialises that.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let node = super::read_node(text, SourceId::default()).map_err(Error::reading)?;
    from_node(&node)
}

/// Deserialises a [`Node`].
#[derive(Debug, Clone, Copy)]
pub struct Deserializer<'n> {
    node: &'n Node,
}

impl<'n> Deserializer<'n> {
    /// Of this node.
    pub fn new(node: &'n Node) -> Self {
        Self { node }
    }
    fn at<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| error.or_at(self.node.span))
    }
    fn sequence(&self) -> Option<&'n [Node]> {
        match &self.node.value {
            Value::List(nodes) | Value::Vector(nodes) | Value::Set(nodes) => Some(nodes),
            _ => None,
        }
    }
    fn map<V: Visitor<'n>>(&self, entries: &'n [(Node, Node)], visitor: V) -> Result<V::Value, Error> {
        let mut access = Map { entries: entries.iter(), value: None };
        let value = visitor.visit_map(&mut access)?;
        match access.entries.next() {
            None => Ok(value),
            Some((key, _)) => Err(Error::at(key.span, Problem::Other("this key was not expected".to_owned()))),
        }
    }
    fn list<V: Visitor<'n>>(&self, nodes: &'n [Node], visitor: V) -> Result<V::Value, Error> {
        let mut access = Seq { nodes: nodes.iter() };
        let value = visitor.visit_seq(&mut access)?;
        match access.nodes.next() {
            None => Ok(value),
            Some(node) => Err(Error::at(node.span, Problem::Other("one element too many".to_owned()))),
        }
    }
}

impl<'n> de::Deserializer<'n> for Deserializer<'n> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.node.value {
            Value::Nil => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Number(text) => number(text, visitor),
            Value::Char(value) => visitor.visit_char(*value),
            Value::Str(text) | Value::Keyword(text) | Value::Symbol(text) => visitor.visit_borrowed_str(text),
            Value::List(nodes) | Value::Vector(nodes) | Value::Set(nodes) => self.list(nodes, visitor),
            Value::Map(entries) => self.map(entries, visitor),
            Value::Tagged(tag, _) => Err(Error::at(self.node.span, Problem::UnknownTag(tag.clone()))),
        };
        self.at(result)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Nil => self.at(visitor.visit_none()),
            _ => self.at(visitor.visit_some(self)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.at(visitor.visit_newtype_struct(self))
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == spanned::NAME {
            return self.at(visitor.visit_map(spanned::Access::new(self.node)));
        }
        match &self.node.value {
            Value::Map(_) => self.deserialize_any(visitor),
            _ => Err(self.mismatch("a map")),
        }
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Map(_) => self.deserialize_any(visitor),
            _ => Err(self.mismatch("a map")),
        }
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.sequence() {
            Some(_) => self.deserialize_any(visitor),
            None => Err(self.mismatch("a vector")),
        }
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let result = match &self.node.value {
            Value::Str(_) | Value::Keyword(_) | Value::Symbol(_) => {
                visitor.visit_enum(Enum { name: self.node, value: None })
            }
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(Enum { name: &entries[0].0, value: Some(&entries[0].1) })
            }
            _ => Err(self.mismatch("a keyword, or a map with one key")),
        };
        self.at(result)
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'n>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct identifier
    }
}

impl Deserializer<'_> {
    fn mismatch(&self, expected: &str) -> Error {
        if let Value::Tagged(tag, _) = &self.node.value {
            return Error::at(self.node.span, Problem::UnknownTag(tag.clone()));
        }
        let found = error::words(&self.node.value);
        Error::at(self.node.span, Problem::WrongType { found, expected: expected.to_owned() })
    }
}

/// A number that is neither a 64-bit integer nor a double.
fn number<'n, V: Visitor<'n>>(text: &'n str, visitor: V) -> Result<V::Value, Error> {
    let digits = text.trim_end_matches(['N', 'M']);
    if let Ok(value) = digits.parse::<u64>() {
        visitor.visit_u64(value)
    } else if let Ok(value) = digits.parse::<i64>() {
        visitor.visit_i64(value)
    } else if let Ok(value) = digits.parse::<f64>() {
        visitor.visit_f64(value)
    } else {
        Err(Error::unplaced(Problem::Other(format!("the number {text} can't be used here"))))
    }
}

impl<'n> IntoDeserializer<'n, Error> for &'n Node {
    type Deserializer = Deserializer<'n>;
    fn into_deserializer(self) -> Deserializer<'n> {
        Deserializer { node: self }
    }
}

struct Seq<'n> {
    nodes: std::slice::Iter<'n, Node>,
}

impl<'n> SeqAccess<'n> for &mut Seq<'n> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'n>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.nodes.next().map(|node| seed.deserialize(Deserializer { node })).transpose()
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len())
    }
}

struct Map<'n> {
    entries: std::slice::Iter<'n, (Node, Node)>,
    value: Option<&'n Node>,
}

impl<'n> MapAccess<'n> for &mut Map<'n> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'n>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let key_deserializer = Deserializer { node: key };
        key_deserializer.at(seed.deserialize(key_deserializer).map(Some))
    }
    fn next_value_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(node) => Deserializer { node }.at(seed.deserialize(Deserializer { node })),
            None => Err(Error::unplaced(Problem::Other("a value was asked for before its key".to_owned()))),
        }
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

struct Enum<'n> {
    name: &'n Node,
    value: Option<&'n Node>,
}

impl<'n> EnumAccess<'n> for Enum<'n> {
    type Error = Error;
    type Variant = Variant<'n>;
    fn variant_seed<V: DeserializeSeed<'n>>(self, seed: V) -> Result<(V::Value, Variant<'n>), Error> {
        let span = self.name.span;
        let Some(name) = self.name.as_text() else {
            return Err(Deserializer { node: self.name }.mismatch("a keyword"));
        };
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        let variant = seed.deserialize(name).map_err(|error| error.or_at(span))?;
        Ok((variant, Variant { span, value: self.value }))
    }
}

struct Variant<'n> {
    span: Span,
    value: Option<&'n Node>,
}

impl<'n> Variant<'n> {
    fn content(&self) -> Result<Deserializer<'n>, Error> {
        let missing = || Error::at(self.span, Problem::Other("expected a map from this word to a value".to_owned()));
        self.value.map(|node| Deserializer { node }).ok_or_else(missing)
    }
}

impl<'n> VariantAccess<'n> for Variant<'n> {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        match self.value {
            None => Ok(()),
            Some(node) => Err(Error::at(node.span, Problem::Other("this word takes no value".to_owned()))),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'n>>(self, seed: T) -> Result<T::Value, Error> {
        let content = self.content()?;
        content.at(seed.deserialize(content))
    }
    fn tuple_variant<V: Visitor<'n>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_seq(self.content()?, visitor)
    }
    fn struct_variant<V: Visitor<'n>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_map(self.content()?, visitor)
    }
}
