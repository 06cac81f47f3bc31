//! What didn't fit, and where.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::super::{Span, Value};

/// Why a value can't become the type that was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct Error {
    /// Where: of an unknown field the key, of a missing one the map, otherwise the value.
    pub span: Option<Span>,
    /// What.
    pub problem: Problem,
}

/// What didn't fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// The text is no EDN. `related` and its label explain it.
    #[error("{0}")]
    Syntax(super::super::Error),
    /// A key that the struct doesn't have.
    #[error("unknown key :{field}; expected {}", listed(expected, ":"))]
    UnknownField {
        /// The key without its colon.
        field: String,
        /// The keys there are.
        expected: &'static [&'static str],
    },
    /// A word that the enum doesn't have.
    #[error("unknown value `{variant}`; expected {}", listed(expected, ":"))]
    UnknownVariant {
        /// The word.
        variant: String,
        /// The words there are.
        expected: &'static [&'static str],
    },
    /// A key that must be there.
    #[error("the key :{0} is missing")]
    MissingField(&'static str),
    /// A key that stands twice, as `:a` and `"a"`.
    #[error("the key :{0} stands twice")]
    DuplicateField(&'static str),
    /// A value of another kind.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What stands there.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A tag that nobody has replaced.
    #[error("the tag #{0} has no meaning here")]
    UnknownTag(String),
    /// What the type itself has to say.
    #[error("{0}")]
    Other(String),
}

fn listed(words: &[&str], sigil: &str) -> String {
    match words {
        [] => "none".to_owned(),
        [one] => format!("{sigil}{one}"),
        words => {
            let words: Vec<String> = words.iter().map(|word| format!("{sigil}{word}")).collect();
            format!("one of {}", words.join(" "))
        }
    }
}

/// A value in a few words, never a string's content: it may be a secret.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Keyword(name) => format!("the keyword :{name}"),
        Value::Symbol(name) => format!("the symbol {name}"),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => format!("the number {value}"),
        value => value.kind().words().to_owned(),
    }
}

impl Error {
    /// Of the value at `span`.
    pub fn at(span: Span, problem: Problem) -> Self {
        Self { span: Some(span), problem }
    }
    pub(super) fn unplaced(problem: Problem) -> Self {
        Self { span: None, problem }
    }
    pub(super) fn or_at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }
    pub(super) fn reading(error: super::super::Error) -> Self {
        Self::at(error.span, Problem::Syntax(error))
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::unplaced(Problem::Other(message.to_string()))
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(value) => value.to_string(),
            Unexpected::Unsigned(value) => format!("the number {value}"),
            Unexpected::Signed(value) => format!("the number {value}"),
            Unexpected::Float(value) => format!("the number {value}"),
            Unexpected::Char(_) => "a character".to_owned(),
            // The content may be a secret.
            Unexpected::Str(_) | Unexpected::Bytes(_) => "a string".to_owned(),
            Unexpected::Unit | Unexpected::Option => "nil".to_owned(),
            Unexpected::Seq => "a vector".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            other => other.to_string(),
        };
        Self::unplaced(Problem::WrongType { found, expected: expected.to_string() })
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unplaced(Problem::UnknownField { field: field.to_owned(), expected })
    }
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unplaced(Problem::UnknownVariant { variant: variant.to_owned(), expected })
    }
    fn missing_field(field: &'static str) -> Self {
        Self::unplaced(Problem::MissingField(field))
    }
    fn duplicate_field(field: &'static str) -> Self {
        Self::unplaced(Problem::DuplicateField(field))
    }
}
