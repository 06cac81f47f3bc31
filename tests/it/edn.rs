//! The reader against the corpus: it accepts, refuses and means what Clojure does.

use std::fs;
use std::path::Path;

use airplanes::edn::{self, position};
use clojure_reader::edn::Edn;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{corpus, edn_json};

/// The lines of a `.jsonl` file.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:.200}: {e}"))).collect()
}

/// Reads `text` and says how the outcome differs from Clojure's, if it does.
fn difference(text: &str, clojure: Option<&Value>) -> Option<String> {
    match (edn::read_all(text), clojure) {
        (Ok(document), Some(forms)) => {
            let ours = Value::Array(edn_json::forms(&document));
            let theirs = edn_json::canonical(forms.clone());
            (ours != theirs).then(|| format!("read\n  {ours}\nwhere Clojure reads\n  {theirs}"))
        }
        (Err(_), None) => None,
        (Ok(document), None) => Some(format!("read {:?}, which Clojure refuses", edn_json::forms(&document))),
        (Err(error), Some(_)) => Some(format!("refused: {error}, at {}", position(text, error.span.start))),
    }
}

fn no_difference(found: Vec<(String, String)>) {
    for (what, difference) in &found {
        eprintln!("{what:?}: {difference}\n");
    }
    assert!(found.is_empty(), "{} inputs are read differently", found.len());
}

#[test]
fn the_inputs_of_seven_suites_are_read_as_clojure_reads_them() {
    let Some(corpus) = corpus() else { return };
    let rows = lines(&corpus.join("edn/inputs.clojure-1.11.1.jsonl"));
    assert!(rows.len() > 1400);
    let compared = rows.iter().filter_map(|row| {
        let input = row["input"].as_str()?;
        let clojure = (row["ok"] == true).then(|| &row["forms"]);
        Some((input.to_owned(), difference(input, clojure)?))
    });
    no_difference(compared.collect());
}

#[test]
fn the_files_of_the_corpus_are_read_as_clojure_reads_them() {
    let Some(corpus) = corpus() else { return };
    let folders = [
        "edn/edn-tests/valid-edn",
        "edn/edn-tests/invalid-edn",
        "deps-edn/dev",
        "deps-edn/no-git",
        "deps-edn/synthetic",
        "deps-edn/broken",
        "bb-edn/dev",
    ];
    let mut found = Vec::new();
    for folder in folders {
        let rows = lines(&corpus.join(format!("{folder}.clojure.jsonl")));
        assert!(!rows.is_empty(), "{folder}");
        for row in rows {
            let file = corpus.join(folder).join(row["file"].as_str().unwrap());
            let text = fs::read_to_string(&file).unwrap();
            let clojure = row.get("error").is_none().then(|| &row["value"]);
            if let Some(difference) = difference(&text, clojure) {
                found.push((file.display().to_string(), difference));
            }
        }
    }
    no_difference(found);
}

#[test]
fn the_data_files_of_benchmarks_hold_one_value_each() {
    let Some(corpus) = corpus() else { return };
    let mut count = 0;
    for folder in ["edn/edn-tests/performance", "edn/fast-edn/dev/data"] {
        for entry in fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            edn::read(&text).unwrap_or_else(|e| panic!("{}: {e} at {:?}", path.display(), e.span));
            count += 1;
        }
    }
    assert!(count > 30);
}

/// A value as text, with a choice of white space, comments and discards around it.
fn written() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("nil".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|i| i.to_string()),
        "[1-9][0-9]{20,40}N?",
        "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,6}(e-?[0-9]{1,2})?",
        ":[a-z][a-z0-9*!?-]{0,8}(/[a-z+.]{1,5})?",
        "[a-z][a-z0-9*!?#'-]{0,8}x(/[a-z+.]{1,5})?",
        "\"([ -!#-\\[\\]-~é🚀]|\\\\[tnr\\\\\"]){0,12}\"",
        "\\\\[a-zé(]",
    ];
    let gap = || {
        prop_oneof![
            Just(" "),
            Just(","),
            Just("\n\t"),
            Just(" ;; c ] \"\n"),
            Just(" #_ #{x} "),
            Just(" #_ #_ a \"b\" ")
        ]
    };
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let items = move || proptest::collection::vec((inner.clone(), gap()), 0..6);
        let joined = |items: Vec<(String, &str)>| items.into_iter().map(|(v, g)| format!("{v}{g}")).collect::<String>();
        let keyed = |items: Vec<(String, &str)>| {
            items.into_iter().enumerate().map(|(i, (v, g))| format!(":k{i}{g}{v}{g}")).collect::<String>()
        };
        prop_oneof![
            items().prop_map(move |items| format!("[{}]", joined(items))),
            items().prop_map(move |items| format!("({})", joined(items))),
            items().prop_map(move |items| format!("{{{}}}", keyed(items))),
            items().prop_map(move |items| format!("#{{{}}}", keyed(items).replace(":k", ":s"))),
            items().prop_map(move |items| format!("#my/tag {{{}}}", keyed(items))),
        ]
    })
}

/// What `clojure-reader` reads, in the corpus's JSON.
fn oracle(value: &Edn<'_>) -> Value {
    let all = |items: &[Edn<'_>]| items.iter().map(oracle).collect::<Vec<_>>();
    match value {
        Edn::Vector(items) => json!({"vec": all(items)}),
        Edn::List(items) => json!({"list": all(items)}),
        Edn::Set(items) => json!({"set": items.iter().map(oracle).collect::<Vec<_>>()}),
        Edn::Map(entries) => {
            json!({"map": entries.iter().map(|(k, v)| json!([oracle(k), oracle(v)])).collect::<Vec<_>>()})
        }
        Edn::Key(name) => json!({"kw": name}),
        Edn::Symbol(name) => json!({"sym": name}),
        Edn::Str(text) => json!({"str": text}),
        Edn::Int(int) => json!({"int": int.to_string()}),
        Edn::BigInt(int) => json!({"bigint": int.to_string()}),
        Edn::Double(double) => json!({"float": double.to_string()}),
        Edn::Char(c) => json!({"char": c.to_string()}),
        Edn::Bool(value) => json!(value),
        Edn::Nil => Value::Null,
        Edn::Tagged(tag, inner) => json!({"tag": tag, "form": oracle(inner)}),
        other => panic!("not generated: {other:?}"),
    }
}

/// `value` with every list as a vector, which is how Clojure compares them: `(= [] ())` is true.
fn as_compared(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(as_compared).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(kind, inner)| (if kind == "list" { "vec" } else { kind }.to_owned(), as_compared(inner)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Whether some set in `value` holds a list and a vector of the same: Clojure refuses it, `clojure-reader` does not.
fn has_a_list_beside_its_vector(value: &Value) -> bool {
    let in_set = |items: &Value| {
        let mut compared: Vec<String> =
            items.as_array().into_iter().flatten().map(|item| as_compared(item).to_string()).collect();
        compared.sort_unstable();
        compared.windows(2).any(|pair| pair[0] == pair[1])
    };
    match value {
        Value::Array(items) => items.iter().any(has_a_list_beside_its_vector),
        Value::Object(fields) => {
            fields.get("set").is_some_and(in_set) || fields.values().any(has_a_list_beside_its_vector)
        }
        _ => false,
    }
}

#[test]
fn a_set_with_a_list_beside_its_vector_is_refused_as_clojure_does() {
    for text in ["#{:s0 () :s1 [] }", "#{[1 (2)] ([1] [1 [2]]) (1 [2])}"] {
        edn::read(text).unwrap_err();
    }
    edn::read("#{[1] (2) [] {}}").unwrap();
}

proptest! {
    #[test]
    fn another_reader_reads_the_same_from_generated_texts(text in written()) {
        let Ok(document) = edn::read(&text) else {
            // A set may hold the same twice, of which the other reader misses one kind.
            if let Ok(theirs) = clojure_reader::edn::read_string(&text) {
                prop_assert!(has_a_list_beside_its_vector(&edn_json::canonical(oracle(&theirs))), "{}", text);
            }
            return Ok(());
        };
        let theirs = clojure_reader::edn::read_string(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e:?}")))?;
        prop_assert_eq!(edn_json::forms(&document), vec![edn_json::canonical(oracle(&theirs))]);
    }

    #[test]
    fn any_soup_of_tokens_is_read_or_refused_with_a_place_in_it(
        tokens in proptest::collection::vec(prop_oneof![
            Just("{"), Just("}"), Just("["), Just("]"), Just("("), Just(")"), Just("#{"), Just("#_"), Just("^"), Just("#:a{"),
            Just("#t "), Just("\""), Just("\\"), Just(":a"), Just("b/c"), Just("1"), Just("#"), Just("@"), Just(" "), Just(";"),
            Just("\n"), Just("é"), Just("\u{2003}"), Just("\u{a0}"), Just("٣"), Just("##"), Just("#inst"), Just("\\u00e9"), Just("/"),
        ], 0..24),
    ) {
        let text = tokens.concat();
        match edn::read_all(&text) {
            Ok(document) => {
                for form in document.forms() {
                    prop_assert!(text.get(form.outer_span().range()).is_some());
                }
            }
            Err(error) => {
                prop_assert!(text.get(error.span.range()).is_some(), "{}: {:?}", text, error);
                prop_assert!(error.related.is_none_or(|span| text.get(span.range()).is_some()), "{}: {:?}", text, error);
            }
        }
    }
}
