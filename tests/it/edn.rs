//! The reader against the corpus: it accepts, refuses and means what Clojure does.

use std::fs;
use std::path::Path;

use airplanes::edn::{self, position};
use serde_json::Value;

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
