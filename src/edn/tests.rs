//! The reader on what no corpus holds: depth, size, messages, places, and forms seen through the cursor.

use super::*;

fn fault(text: &str) -> (String, String) {
    let error = read(text).unwrap_err();
    (error.to_string(), position(text, error.span.start).to_string())
}

#[test]
fn a_hundred_thousand_open_forms_are_an_error_and_no_crash() {
    for opening in ["[", "(", "{", "#{", "#_", "^", "#x ", "#:a{", "{:a ", "^:a ", "[#_ #x ^:a {:a "] {
        let text = opening.repeat(100_000);
        assert_eq!(read(&text).unwrap_err().kind, ErrorKind::TooDeep, "{opening}");
    }
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(read(&deep(MAX_DEPTH)).is_ok());
    assert_eq!(read(&deep(MAX_DEPTH + 1)).unwrap_err().kind, ErrorKind::TooDeep);
    let metadata = format!("{}x", "^:a ".repeat(MAX_DEPTH));
    assert_eq!(read(&metadata).unwrap().root().metadata().count(), MAX_DEPTH);
}

#[test]
fn a_text_that_is_too_large_is_refused() {
    assert_eq!(read(&" ".repeat(MAX_BYTES + 1)).unwrap_err().kind, ErrorKind::TooLarge(MAX_BYTES + 1));
}

#[test]
fn a_map_of_many_or_of_large_keys_takes_no_quadratic_time() {
    let many: String = (0..50_000).map(|i| format!(":k{i} {i} ")).collect();
    assert_eq!(read(&format!("{{{many}}}")).unwrap().root().entries().count(), 50_000);
    let twice = format!("{{{many} :k7 0}}");
    assert_eq!(read(&twice).unwrap_err().kind, ErrorKind::DuplicateKey(":k7".to_owned()));
    let large: String = (0..20_000).map(|i| format!("{i} ")).collect();
    let sets = format!("#{{ #{{{large}}} #{{{large}}} }}");
    assert!(matches!(read(&sets).unwrap_err().kind, ErrorKind::DuplicateElement(_)));
}

#[test]
fn a_bracket_left_open_is_reported_with_the_place_it_was_opened() {
    let text = "{:a 1\n :b [1 2\n";
    let error = read(text).unwrap_err();
    assert_eq!(error.to_string(), "`[` is never closed; expected `]` before the end");
    assert_eq!(position(text, error.span.start), Position { line: 2, column: 9 });
    assert_eq!(position(text, error.related.unwrap().start), Position { line: 2, column: 5 });
    let text = "{:a (1 2]}";
    let error = read(text).unwrap_err();
    assert_eq!(error.to_string(), "`]` does not match; expected `)`");
    assert_eq!(&text[error.related.unwrap().range()], "(");
    assert_eq!(read("\"abc").unwrap_err().related, Some(Span::new(0, 1)));
}

#[test]
fn messages_say_what_was_expected_and_where() {
    let cases = [
        ("", "there is no value here; expected exactly one", "1:1"),
        ("1 2", "a second value; expected the end, since a file holds exactly one value", "1:3"),
        ("{:a}", "the key `:a` has no value; a map needs an even number of forms", "1:2"),
        ("{:a 1\r\n:a 2}", "the key `:a` stands twice in this map", "2:1"),
        ("#{é 1 1}", "the element `1` stands twice in this set", "1:7"),
        ("[1 #_]", "`]` comes too early; expected the form that `#_` discards", "1:6"),
        ("[#inst \"x\"]", "`#inst` needs a string like \"2024-01-31T23:59:59.999Z\"", "1:8"),
        ("\u{feff}{}", "the text begins with a byte order mark (U+FEFF); save it as UTF-8 without one", "1:1"),
        ("^:a :b", "metadata can stand only before a symbol, list, vector, map or set", "1:5"),
        ("#tag", "the text ends here; expected the value of the tag before it", "1:5"),
        ("1)", "`)` closes nothing; expected a value or the end", "1:2"),
    ];
    for (text, message, place) in cases {
        assert_eq!(fault(text), (message.to_owned(), place.to_owned()), "{text}");
    }
}

#[test]
fn every_cut_of_a_text_is_read_or_refused_with_a_place_inside_it() {
    let text =
        "#:a{:b #_ [^{:c \\u03bb} d \"\\u00e9\\12\" #inst \"2020-01-01\"] #{1 2/3 -0x1F 1.5e3M ##Inf} :_/é 'x} ; end";
    assert!(read(text).is_ok());
    for (at, _) in text.char_indices() {
        for part in [&text[..at], &text[at..]] {
            if let Err(error) = read_all(part) {
                assert!(error.span.start <= error.span.end && error.span.range().end <= part.len(), "{part}: {error}");
                position(part, error.span.end);
            }
        }
    }
}

#[test]
fn columns_count_characters_and_a_lone_return_ends_a_line() {
    let text = "é🚀x\r\ry\r\nz";
    let place = |c: char| position(text, text.find(c).unwrap() as u32);
    assert_eq!(place('x'), Position { line: 1, column: 3 });
    assert_eq!(place('y'), Position { line: 3, column: 1 });
    assert_eq!(place('z'), Position { line: 4, column: 1 });
    assert_eq!(position(text, 1), Position { line: 1, column: 1 });
    assert_eq!(position(text, 999), Position { line: 4, column: 2 });
}

#[test]
fn what_is_equal_in_clojure_cannot_stand_twice() {
    let twice = [
        "#{[1] (1)}",
        "#{1 1N}",
        "#{0x10 16}",
        "#{\"a\" \"\\u0061\"}",
        "#{\\a \\u0061}",
        "#{1.0M 1.00M}",
        "#{{1 2, 3 4} {3 4, 1 2}}",
        "#{#{1 2} #{2 1}}",
        "#{a ^:x a}",
        "#{##NaN ##NaN}",
        "{#:a{:b 1} 1 {:a/b 1} 2}",
        "#:a{:b 1 :a/b 2}",
        "#:a{:_/b 1 :_/b 2}",
        "#{#inst \"2020\" #inst \"2020-01-01T00:00:00Z\"}",
        "#{4/2 2}",
        "#{nil nil}",
        "#{0.0 -0.0}",
    ];
    for text in twice {
        assert!(read(text).is_err(), "{text}");
        // The same among many others, where keys are hashed.
        let inner = text.strip_prefix("#{").and_then(|t| t.strip_suffix('}'));
        if let Some(inner) = inner {
            let many: String = (100..120).map(|i| format!("{i} ")).collect();
            assert!(read(&format!("#{{{many} {inner}}}")).is_err(), "{text} among many");
        }
    }
    for text in [
        "#{1 1.0}",
        "#{1.0 1.0M}",
        "#{a :a \"a\" \\a}",
        "#{[1] #{1}}",
        "{:b 1 :a/b 2}",
        "#{[] {} nil false}",
        "#{#a 1 #b 1}",
    ] {
        assert!(read(text).is_ok(), "{text}");
    }
}

#[test]
fn discards_and_metadata_stay_in_the_tree() {
    let text = "{:a ^:x ^{:y 1} [1 #_ #_ b c] #_:gone}";
    let document = read(text).unwrap();
    let vector = document.root().get("a").unwrap();
    assert_eq!((vector.text(), &text[vector.outer_span().range()]), ("[1 #_ #_ b c]", "^:x ^{:y 1} [1 #_ #_ b c]"));
    let metadata: Vec<&str> = vector.metadata().map(|form| form.text()).collect();
    assert_eq!(metadata, [":x", "{:y 1}"]);
    assert_eq!(vector.values().count(), 1);
    let discards = |form: Form<'_>| form.children().filter(|child| matches!(child, Child::Discarded(_))).count();
    assert_eq!((discards(vector), discards(document.root())), (1, 1));
    let Some(Child::Discarded(discard)) = vector.children().nth(1) else { panic!("no discard") };
    assert_eq!((discard.text(), discards(discard), discard.values().next().unwrap().text()), ("#_ #_ b c", 1, "c"));
}
