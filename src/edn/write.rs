//! EDN for what the API and the command line give out, made of the same JSON value as their JSON.
//!
//! The value and its writer are edn-rs's. That writer prints a string as Rust's `Debug` does, a number as Rust
//! prints it and any text as a key, so this module gives it strings, floats and keys that already are EDN.

use std::collections::BTreeMap;

use edn_rs::edn::{Edn, Map, Vector};
use serde_json::Value;

/// A JSON value as EDN: the keys of objects become keywords (`{:id "…"}`) where they can be one and stay strings
/// where not (`"web 1"`); all else keeps its type. Maps come out sorted by key.
pub fn to_edn(value: &Value) -> String {
    edn(value).to_string()
}

fn edn(value: &Value) -> Edn {
    match value {
        Value::Null => Edn::Nil,
        Value::Bool(value) => Edn::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), _, _) => Edn::Int(int),
            // Beyond 64 bits with a sign, Clojure reads a big integer: nothing to mark.
            (_, Some(uint), _) => Edn::UInt(uint),
            // `{:?}` always has a point or an exponent, so it is read as a double again.
            (_, _, Some(float)) => Edn::Symbol(format!("{float:?}")),
            _ => Edn::Nil,
        },
        Value::String(text) => string(text),
        Value::Array(items) => Edn::Vector(Vector::new(items.iter().map(edn).collect())),
        Value::Object(fields) => {
            let entries: BTreeMap<String, Edn> =
                fields.iter().map(|(name, value)| (map_key(name), edn(value))).collect();
            Edn::Map(Map::new(entries))
        }
    }
}

/// A string that edn-rs prints right by itself, or its literal.
fn string(text: &str) -> Edn {
    if text.chars().all(|c| !c.is_control() && !matches!(c, '"' | '\\') && c.is_ascii()) {
        return Edn::Str(text.to_owned());
    }
    Edn::Symbol(string_literal(text))
}

/// A text as an EDN string, with its quotes. On one line, whatever it holds.
pub fn string_literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name as the key of a map: `:name` where that reads back as the same name, everywhere, without a doubt, and a
/// string where not.
pub fn map_key(name: &str) -> String {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.?!*+".contains(c))
    };
    let keyword = match name.split_once('/') {
        Some((namespace, name)) => plain(namespace) && plain(name),
        None => plain(name),
    };
    if keyword { format!(":{name}") } else { string_literal(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edn::{Kind, read};
    use serde_json::json;

    #[test]
    fn names_are_keywords_and_values_strings() {
        let job = json!({"id": "01j", "state": "rolled-back", "wave": 2, "sha": null, "hosts": [{"name": "web 1", "ok?": true}]});
        assert_eq!(
            to_edn(&job),
            r#"{:hosts [{:name "web 1", :ok? true}], :id "01j", :sha nil, :state "rolled-back", :wave 2}"#
        );
    }

    #[test]
    fn nasty_texts_and_numbers_read_back_as_they_were() {
        let texts = ["\"\\\n\r\t\0\u{1b}[31m1", "é🚀\u{301}\u{200b}\u{feff}\u{85}", "'", "{{x}}", "", "\u{7f}\\u0041"];
        for text in texts {
            let written = to_edn(&json!({text: [text]}));
            let document = read(&written).unwrap_or_else(|e| panic!("{written}: {e}"));
            let (key, value) = document.root().entries().next().unwrap();
            assert_eq!(key.string().unwrap(), text, "{written}");
            assert_eq!(value.values().next().unwrap().string().unwrap(), text, "{written}");
        }
        for (value, text) in [(json!(1.0), "1.0"), (json!(1e300), "1e300"), (json!(u64::MAX), "18446744073709551615")] {
            assert_eq!(to_edn(&value), text);
            assert_eq!(read(text).unwrap().root().kind(), Kind::Number);
        }
    }

    #[test]
    fn a_key_that_can_be_no_keyword_stays_a_string() {
        for name in ["web 1", "1a", "", "a/b/c", "a:b", "/", "a,b", "#x", "10.0.0.1", "ключ"] {
            assert!(to_edn(&json!({name: 1})).starts_with("{\""), "{name}");
        }
        assert_eq!(to_edn(&json!({"git/sha": 1})), "{:git/sha 1}");
    }
}
