//! Git coordinates against the corpus: found exactly, edited byte for byte.

use std::fs;
use std::path::Path;

use airplanes::deps::{Change, Coord, To, bump, plan_update, scan};
use airplanes::edn::{TextEdit, position};
use airplanes::model::Sha;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::edn::lines;
use crate::support::corpus;

/// A coordinate as `*.spans.jsonl` writes it.
fn as_json(coord: &Coord) -> Value {
    let fields: serde_json::Map<String, Value> = coord
        .fields
        .iter()
        .map(|field| (field.key.to_string(), json!({"text": field.text, "span": [field.span.start, field.span.end]})))
        .collect();
    json!({"lib": coord.lib_text, "path": coord.path, "discarded": coord.discarded, "coord": fields})
}

/// The corpus keeps a library's metadata in its name; we don't.
fn without_metadata(mut dep: Value) -> Value {
    if let Some(lib) = dep["lib"].as_str().filter(|lib| lib.starts_with('^')) {
        dep["lib"] = json!(lib.rsplit(' ').next().unwrap());
    }
    dep
}

fn place(dep: &Value) -> u64 {
    dep["coord"].as_object().unwrap().values().map(|field| field["span"][0].as_u64().unwrap()).min().unwrap()
}

#[test]
fn exactly_the_coordinates_of_the_corpus_are_found() {
    let Some(corpus) = corpus() else { return };
    let (mut files, mut refused) = (0, Vec::new());
    for folder in ["deps-edn/dev", "deps-edn/synthetic", "bb-edn/dev"] {
        for row in lines(&corpus.join(format!("{folder}.spans.jsonl"))) {
            let name = row["file"].as_str().unwrap();
            let source = fs::read_to_string(corpus.join(folder).join(name)).unwrap();
            let Ok(found) = scan(&source) else {
                refused.push(name.to_owned());
                continue;
            };
            let mut ours: Vec<Value> = found.coords.iter().map(as_json).collect();
            let mut theirs: Vec<Value> =
                row["deps"].as_array().unwrap().iter().cloned().map(without_metadata).collect();
            // The corpus lists a map's discards after what is in force; we list all as they stand.
            ours.sort_by_key(place);
            theirs.sort_by_key(place);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "{folder}/{name}");
            }
            assert_eq!(ours.len(), theirs.len(), "{folder}/{name}");
            files += 1;
        }
    }
    assert!(files > 340, "{files}");
    // Clojure refuses these three too.
    assert_eq!(refused, ["bom.deps.edn", "metadata-on-string-invalid.deps.edn", "two-top-forms.deps.edn"]);
}

#[test]
fn files_without_git_coordinates_have_none() {
    let Some(corpus) = corpus() else { return };
    for row in lines(&corpus.join("deps-edn/no-git.clojure.jsonl")) {
        let name = row["file"].as_str().unwrap();
        let source = fs::read_to_string(corpus.join("deps-edn/no-git").join(name)).unwrap();
        if row.get("error").is_some() {
            assert!(scan(&source).is_err(), "{name}");
            continue;
        }
        assert!(scan(&source).unwrap().live().next().is_none(), "{name}");
        let update = plan_update(&source, name, |_| unreachable!("nothing to look up")).unwrap();
        assert_eq!(update.edit.apply(&source).unwrap(), source, "{name}");
    }
}

#[test]
fn broken_files_are_refused_with_a_place() {
    let Some(corpus) = corpus() else { return };
    let mut count = 0;
    for row in lines(&corpus.join("deps-edn/broken.clojure.jsonl")) {
        let name = row["file"].as_str().unwrap();
        let source = fs::read_to_string(corpus.join("deps-edn/broken").join(name)).unwrap();
        let error = scan(&source).unwrap_err();
        let place = position(&source, error.span.start);
        assert!(place.line >= 1 && error.span.range().end <= source.len() && !error.to_string().is_empty(), "{name}");
        count += 1;
    }
    assert!(count > 25);
}

/// The coordinate that a row of `bumps/` speaks of.
fn the_one<'a, 's>(coords: &'a [Coord<'s>], dep: &Value, edits: &[Value]) -> (usize, &'a Coord<'s>) {
    let same = |coord: &Coord| {
        coord.lib_text.as_deref() == dep["lib"].as_str()
            && json!(coord.path) == dep["path"]
            && edits.iter().all(|e| coord.field(e["key"].as_str().unwrap()).is_some())
    };
    let mut found = coords.iter().enumerate().filter(|(_, coord)| same(coord));
    let one = found.next().unwrap_or_else(|| panic!("no coordinate for {dep}"));
    assert!(found.next().is_none(), "two coordinates for {dep}");
    one
}

fn before_and_after(folder: &Path, row: &Value) -> (String, String) {
    let file = row["file"].as_str().unwrap();
    let read = |which: &str| fs::read_to_string(folder.join(format!("{file}.{which}.edn"))).unwrap();
    (read("before"), read("after"))
}

#[test]
fn every_bump_of_the_corpus_comes_out_byte_for_byte() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("deps-edn/bumps/dev");
    let mut by_rule = 0;
    for row in lines(&corpus.join("deps-edn/bumps/dev.jsonl")) {
        let (before, after) = before_and_after(&folder, &row);
        let coords = scan(&before).unwrap().coords;
        let mut edit = TextEdit::default();
        let mut changes = Vec::new();
        for dep in row["deps"].as_array().unwrap() {
            let edits = dep["changes"].as_array().unwrap();
            let (index, coord) = the_one(&coords, dep, edits);
            let to = |key: &str| edits.iter().find(|e| e["key"] == key).and_then(|e| e["new"].as_str());
            for e in edits {
                let field = coord.field(e["key"].as_str().unwrap()).unwrap();
                let content = field.content_span().unwrap();
                assert_eq!(
                    (field.string.as_deref(), json!(field.span.start)),
                    (e["old"].as_str(), e["old_byte_offset"].clone())
                );
                edit.replace(content.range(), e["new"].as_str().unwrap()).unwrap();
            }
            // Where a person did what we would do, our own rule gives the same file.
            let sha = to(":git/sha").or(to(":sha"));
            let keeps_length = sha.map(str::len) == coord.sha().map(str::len);
            if let (Some(sha), true) = (sha, keeps_length && coord.is_movable()) {
                let full: Sha = format!("{sha}{}", "0".repeat(40 - sha.len())).parse().unwrap();
                let tag = to(":git/tag").or(to(":tag")).or(coord.tag()).map(str::to_owned);
                changes.push(Change { coord: index, to: To { sha: full, tag, unique: 0 } });
            }
        }
        assert_eq!(edit.apply(&before).unwrap(), after, "{}", row["file"]);
        if changes.len() == row["deps"].as_array().unwrap().len() {
            assert_eq!(bump(&before, &changes).unwrap(), after, "{}", row["file"]);
            by_rule += 1;
        }
    }
    assert!(by_rule > 125, "{by_rule}");
}

#[test]
fn a_file_of_the_corpus_where_nothing_is_new_stays_as_it_is() {
    let Some(corpus) = corpus() else { return };
    for row in lines(&corpus.join("deps-edn/dev.spans.jsonl")) {
        let source = fs::read_to_string(corpus.join("deps-edn/dev").join(row["file"].as_str().unwrap())).unwrap();
        let same = |coord: &Coord| {
            let sha = coord.sha()?;
            let sha = format!("{sha}{}", "1".repeat(40 - sha.len())).parse().ok()?;
            Some(To { sha, tag: coord.tag().map(str::to_owned), unique: 0 })
        };
        let update = plan_update(&source, "deps.edn", same).unwrap();
        assert!(update.edit.is_empty() && update.bumps.is_empty(), "{}", row["file"]);
    }
}

/// One file with everything that has bitten an updater: the same sha in comments and other libraries, discards,
/// templates, both spellings, escapes, namespaced maps, pins, CRLF beside LF.
const NASTY: &str = include_str!("support/nasty.deps.edn");

fn sha(digit: char) -> Sha {
    digit.to_string().repeat(40).parse().unwrap()
}

#[test]
fn in_a_nasty_file_only_what_may_move_moves() {
    let lookup = |coord: &Coord| {
        let tag = coord.tag().map(|_| "v9.9.9".to_owned());
        Some(To { sha: sha('e'), tag, unique: 0 })
    };
    let update = plan_update(NASTY, "deps.edn", lookup).unwrap();
    let after = update.edit.apply(NASTY).unwrap();
    let moved: Vec<&str> = update.bumps.iter().map(|bump| bump.lib.as_str()).collect();
    let expected =
        ["snow/snow", "io.github.acme/tagged", "acme/ns", "acme/escaped", "acme/except", "acme/mono", "acme/mono"];
    assert_eq!(moved, expected);
    let changed = |before: &str, after: &str| {
        similar::TextDiff::from_lines(before, after)
            .iter_all_changes()
            .filter(|change| change.tag() == similar::ChangeTag::Insert)
            .map(|change| change.value().trim().to_owned())
            .collect::<Vec<_>>()
    };
    let lines = [
        r#"{snow {:git/url "https://github.com/entranceplus/snow" :sha "NEW"} ; was 1111111111111111111111111111111111111111"#,
        r#"io.github.acme/tagged {:git/tag "v9.9.9""#,
        r#":git/sha "eeeeeee"} ; v1.0.0 1111111"#,
        r#"acme/ns #:git{:url "https://example.com/ns.git" :sha "NEW" :_/exclusions [x/y]}"#,
        r#"acme/escaped {:git/url "https:\u002f\u002fexample.com/esc" :git/sha "NEW"}"#,
        r#"acme/except ^{:antq/exclude ["v2"]} {:git/url "https://example.com/except" :git/sha "NEW"}"#,
        r#":extra-deps {acme/mono {:git/url "git@example.com:acme/mono.git" :deps/root "a" :git/sha "NEW"}}"#,
        r#":override-deps {acme/mono {:git/url "git@example.com:acme/mono.git" :deps/root "b" :git/sha "NEW"}}}"#,
    ];
    assert_eq!(changed(NASTY, &after), lines.map(|line| line.replace("NEW", &"e".repeat(40))));
    // A second time there is nothing to do.
    assert!(plan_update(&after, "deps.edn", lookup).unwrap().edit.is_empty());
}

#[test]
fn what_can_not_be_used_is_told_in_words() {
    let file = scan(NASTY).unwrap();
    let problems: Vec<String> = file.live().filter_map(|(_, coord)| Some(coord.problem()?.to_string())).collect();
    assert_eq!(
        problems,
        [
            "git coord has both :sha and :git/sha for acme/both; tools.deps refuses that: keep :git/sha",
            "the sha of acme/template, \"{{sha}}\", is not made of hex digits",
            "Library acme/short has prefix sha 111111, use full sha or add tag",
            "the sha of acme/space, \"1111111111111111111111111111111111111111 \", is not made of hex digits",
            "Library acme/head has coord with missing sha; add :git/sha",
            "acme/nourl has no :git/url, and none can be inferred from its name; add one",
            "the coordinate of acme/two-kinds is git and has :mvn/version too; remove one of them",
            "the sha of acme/long has more than 40 digits; repositories with SHA-256 names are not supported",
            "the :git/url of acme/option: `--upload-pack=x` is not a valid repository url: it begins with `-` or holds white space",
            ":git/sha of acme/symbol is LATEST; expected a string",
            "`\"acme/string\"` is not the name of a library; expected a symbol like acme/snow",
        ]
    );
    let pinned: Vec<&str> = file.coords.iter().filter_map(|c| c.pin.as_ref().map(|pin| pin.by)).collect();
    assert_eq!(pinned, ["antq/exclude", "neil/pinned", "airplanes/hold", "antq/exclude"]);
    assert_eq!(file.locals.iter().map(|local| local.root.as_ref()).collect::<Vec<_>>(), ["../here"]);
}

#[test]
fn changes_that_would_break_a_file_are_refused() {
    let file = scan(NASTY).unwrap();
    let change = |lib: &str, tag: Option<&str>| {
        let coord = file.coords.iter().position(|coord| coord.lib_text.as_deref() == Some(lib)).unwrap();
        bump(NASTY, &[Change { coord, to: To { sha: sha('e'), tag: tag.map(str::to_owned), unique: 0 } }])
    };
    let refused = |result: Result<String, airplanes::deps::Error>| result.unwrap_err().to_string();
    assert!(refused(change("io.github.acme/tagged", None)).contains("sha and tag must change together"));
    assert!(refused(change("acme/pinned", None)).contains("left alone"));
    assert!(refused(change("acme/gone", None)).contains("left alone"));
    assert!(refused(change("acme/short", None)).contains("prefix sha"));
    assert!(change("snow", None).is_ok());
    assert!(bump(NASTY, &[Change { coord: 999, to: To { sha: sha('e'), tag: None, unique: 0 } }]).is_err());
    let twice = Change { coord: 0, to: To { sha: sha('e'), tag: None, unique: 0 } };
    assert!(bump(NASTY, &[twice.clone(), twice]).is_err());
}

#[test]
fn a_short_sha_grows_only_if_it_would_be_ambiguous() {
    let source = "{:deps {io.github.acme/lib {:git/tag \"v1\" :git/sha \"1111111\"}}}";
    let to = |unique| To { sha: sha('e'), tag: Some("v2\"".into()), unique };
    let short = bump(source, &[Change { coord: 0, to: to(4) }]).unwrap();
    assert_eq!(short, "{:deps {io.github.acme/lib {:git/tag \"v2\\\"\" :git/sha \"eeeeeee\"}}}");
    assert_eq!(scan(&short).unwrap().coords[0].tag(), Some("v2\""));
    assert!(bump(source, &[Change { coord: 0, to: to(9) }]).unwrap().contains("\"eeeeeeeee\""));
}

proptest! {
    #[test]
    fn an_edit_changes_the_bytes_of_shas_and_tags_and_nothing_else(
        picks in proptest::collection::vec((0usize..400, any::<[u8; 20]>(), "[a-z0-9.\"\\\\é-]{1,12}"), 1..6),
    ) {
        let Some(corpus) = corpus() else { return Ok(()) };
        let rows = fs::read_to_string(corpus.join("deps-edn/dev.spans.jsonl")).unwrap();
        let rows: Vec<&str> = rows.lines().collect();
        for (pick, bytes, tag) in picks {
            let row: Value = serde_json::from_str(rows[pick % rows.len()]).unwrap();
            let source = fs::read_to_string(corpus.join("deps-edn/dev").join(row["file"].as_str().unwrap())).unwrap();
            let before = scan(&source).unwrap().coords;
            let movable: Vec<usize> = (0..before.len()).filter(|i| before[*i].is_movable()).collect();
            let Some(&chosen) = movable.get(pick % movable.len().max(1)) else { continue };
            let to = To { sha: Sha::from_bytes(bytes), tag: before[chosen].tag().map(|_| tag.clone()), unique: 0 };
            let after_text = bump(&source, &[Change { coord: chosen, to: to.clone() }]).unwrap();
            let after = scan(&after_text).unwrap().coords;
            prop_assert_eq!(before.len(), after.len());
            // What stands between the values is the same, byte for byte.
            prop_assert_eq!(skeleton(&source, &before, chosen), skeleton(&after_text, &after, chosen));
            for (index, (old, new)) in before.iter().zip(&after).enumerate() {
                if index != chosen {
                    prop_assert_eq!((old.sha(), old.tag()), (new.sha(), new.tag()));
                }
            }
            let new = &after[chosen];
            prop_assert_eq!(new.tag().map(str::to_owned), to.tag);
            prop_assert_eq!(new.sha().map(str::len), before[chosen].sha().map(str::len));
            prop_assert!(to.sha.to_string().starts_with(new.sha().unwrap()));
        }
    }
}

/// The text without the contents of one coordinate's sha and tag.
fn skeleton(source: &str, coords: &[Coord], chosen: usize) -> String {
    let mut edit = TextEdit::default();
    for field in [coords[chosen].sha_field(), coords[chosen].tag_field()].into_iter().flatten() {
        edit.replace(field.content_span().unwrap().range(), "").unwrap();
    }
    edit.apply(source).unwrap()
}
