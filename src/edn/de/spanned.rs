//! A value together with its place, smuggled through serde as a struct with a name of its own.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};

use super::super::{Node, SourceId, Span};
use super::{Deserializer, Error};

pub(super) const NAME: &str = "airplanes::edn::Spanned";
const FIELDS: [&str; 4] = ["source", "start", "end", "value"];

/// A value and the place it was read from. Equality and order ignore the place. Works only with this module's
/// deserializer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spanned<T> {
    /// Where it stands.
    pub span: Span,
    /// The value.
    pub value: T,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub fn new(span: Span, value: T) -> Self {
        Self { span, value }
    }
    /// Its value borrowed, at the same place.
    pub fn as_ref(&self) -> Spanned<&T> {
        Spanned { span: self.span, value: &self.value }
    }
    /// Another value at the same place.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { span: self.span, value: f(self.value) }
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
impl<T: Eq> Eq for Spanned<T> {}
impl<T: PartialOrd> PartialOrd for Spanned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}
impl<T: Ord> Ord for Spanned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}
impl<T: std::hash::Hash> std::hash::Hash for Spanned<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(NAME, &FIELDS, Parts(PhantomData))
    }
}

struct Parts<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
    type Value = Spanned<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spanned<T>, A::Error> {
        let mut place = [0u32; 3];
        for (slot, field) in place.iter_mut().zip(FIELDS) {
            if map.next_key::<String>()?.as_deref() != Some(field) {
                return Err(de::Error::custom("a place can be kept only when reading EDN"));
            }
            *slot = map.next_value()?;
        }
        map.next_key::<String>()?;
        let value = map.next_value()?;
        let [source, start, end] = place;
        let source = SourceId(u16::try_from(source).unwrap_or_default());
        Ok(Spanned { span: Span { source, start, end }, value })
    }
}

/// The four fields of a `Spanned`, in order.
pub(super) struct Access<'n> {
    node: &'n Node,
    field: usize,
}

impl<'n> Access<'n> {
    pub(super) fn new(node: &'n Node) -> Self {
        Self { node, field: 0 }
    }
}

impl<'n> MapAccess<'n> for Access<'n> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'n>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(name) = FIELDS.get(self.field) else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }
    fn next_value_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.field += 1;
        let number = |value: u32| -> U32Deserializer<Error> { value.into_deserializer() };
        let span = self.node.span;
        match self.field {
            1 => seed.deserialize(number(u32::from(span.source.0))),
            2 => seed.deserialize(number(span.start)),
            3 => seed.deserialize(number(span.end)),
            _ => seed.deserialize(Deserializer::new(self.node)),
        }
    }
}
