//! Adding entries to maps of config.edn, as text: what is there stays as it is, byte for byte.

use std::collections::HashMap;

use crate::edn::{self, Child, Form, Kind, TextEdit, map_key, string_literal};

/// A text entry that is to stand in config.edn: `["git" "keys"]`, `"github.com/acme/shop"`, `"keys/shop"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition<'a> {
    /// The keywords of the maps that lead to it, from the outside in. Those that are missing are made.
    pub path: &'a [&'a str],
    /// Its key.
    pub key: Key<'a>,
    /// Its value, a string.
    pub value: &'a str,
}

/// The key of an [`Addition`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// `:known-hosts`
    Keyword(&'a str),
    /// `"github.com/acme/shop"`
    Text(&'a str),
}

/// Why an entry can't be added without changing what a person wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// The file is no EDN.
    #[error("{0}")]
    Unreadable(edn::Error),
    /// What should be a map of the file itself is made by a tag, as `#include` makes one, or is none.
    #[error("`{0}` is no map that is written there")]
    NoMap(String),
    /// There is one already, with another value.
    #[error("`{0}` is there already")]
    Taken(String),
}

impl Addition<'_> {
    /// As it is to be pasted: `:git {:keys {"github.com/acme/shop" "keys/shop"}}`.
    pub fn in_words(&self) -> String {
        nest(self.path, &self.pair())
    }

    fn pair(&self) -> String {
        let key = match self.key {
            Key::Keyword(name) => map_key(name),
            Key::Text(text) => string_literal(text),
        };
        format!("{key} {}", string_literal(self.value))
    }
}

/// `:a {:b {…}}` around what stands inside.
fn nest(path: &[&str], inside: &str) -> String {
    path.iter().rev().fold(inside.to_owned(), |inside, name| format!(":{name} {{{inside}}}"))
}

/// The text with the entries in it, and of each why it is not. An entry goes to the end of its map, on a line of its own
/// and under the map's first key. What is there already with the same value is left.
pub fn add(text: &str, additions: &[Addition<'_>]) -> (String, Vec<Result<(), NotAdded>>) {
    let (mut text, mut told) = (text.to_owned(), Vec::new());
    // Those of one map together, so that a text of many entries is not read for each of them.
    for group in additions.chunk_by(|one, next| one.path == next.path) {
        match add_to_map(&text, group) {
            Ok((edited, each)) => {
                text = edited;
                told.extend(each);
            }
            Err(why) => told.extend(group.iter().map(|_| Err(why.clone()))),
        }
    }
    (text, told)
}

/// The same for entries of one map; `Err` if none can be added.
fn add_to_map(text: &str, group: &[Addition<'_>]) -> Result<(String, Vec<Result<(), NotAdded>>), NotAdded> {
    let Some((first, rest)) = group.split_first() else { return Ok((text.to_owned(), Vec::new())) };
    let document = edn::read(text).map_err(NotAdded::Unreadable)?;
    let mut map = plain_map(document.root(), "config.edn")?;
    for (depth, name) in first.path.iter().enumerate() {
        match map.get(name) {
            Some(inner) => map = plain_map(inner, &format!(":{name}"))?,
            None => {
                let made = insert(text, map, &[nest(&first.path[depth..], &first.pair())])?;
                let (made, mut each) = add_to_map(&made, rest)?;
                each.insert(0, Ok(()));
                return Ok((made, each));
            }
        }
    }
    let mut texts = HashMap::new();
    for (key, value) in map.entries() {
        if let Some(text) = key.string() {
            texts.insert(text.into_owned(), (key.text(), value.string()));
        }
    }
    let mut pairs = Vec::new();
    let mut each = Vec::new();
    for addition in group {
        let there = match addition.key {
            Key::Text(text) => texts.get(text).cloned(),
            Key::Keyword(name) => {
                let is_key = |key: &Form<'_>| key.keyword().is_some_and(|key| key.is(name));
                map.entries().find(|(key, _)| is_key(key)).map(|(key, value)| (key.text(), value.string()))
            }
        };
        each.push(match there {
            None => {
                pairs.push(addition.pair());
                if let Key::Text(text) = addition.key {
                    texts.insert(text.to_owned(), (text, Some(addition.value.into())));
                }
                Ok(())
            }
            Some((_, value)) if value.as_deref() == Some(addition.value) => Ok(()),
            Some((key, _)) => Err(NotAdded::Taken(key.to_owned())),
        });
    }
    let text = if pairs.is_empty() { text.to_owned() } else { insert(text, map, &pairs)? };
    Ok((text, each))
}

fn plain_map<'d>(form: Form<'d>, what: &str) -> Result<Form<'d>, NotAdded> {
    match form.kind() {
        Kind::Map if form.map_namespace().is_none() => Ok(form),
        _ => Err(NotAdded::NoMap(what.to_owned())),
    }
}

fn insert(text: &str, map: Form<'_>, pairs: &[String]) -> Result<String, NotAdded> {
    let (start, end) = (map.span().start as usize, map.span().end as usize - 1);
    let place = |child: Child<'_>| match child {
        Child::Value(form) | Child::Discarded(form) => form.outer_span(),
    };
    let last = map.children().last().map(|child| place(child).end as usize);
    // What stands between the last form and the closing brace: white space and comments. The new line goes after a
    // comment, since that belongs to what is before it, and the brace stays where it is.
    let from = last.unwrap_or(start + 1);
    let at = from + text[from..end].trim_end_matches(|c: char| c.is_whitespace() || c == ',').len();
    let line = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let first = map.children().next().map(|child| place(child).start as usize);
    let column = match first {
        // Under the first key: as far from its line's start as that is.
        Some(first) => {
            let line = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
            text[line..first].chars().count()
        }
        None => text[line..start].chars().count() + 1,
    };
    let is_bare = at == start + 1;
    let lead = format!("\n{}", " ".repeat(column));
    let added = pairs.join(&lead);
    let mut edit = TextEdit::default();
    let edited = edit.replace(at..at, if is_bare { added } else { format!("{lead}{added}") });
    let added = edited.and_then(|()| edit.apply(text)).map_err(|_| NotAdded::NoMap(map.text().to_owned()))?;
    // The last word has the reader: the entry has to be there, whatever the comments around it.
    edn::read(&added).map_err(NotAdded::Unreadable)?;
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<String, NotAdded> {
        let addition = Addition { path: &["git", "keys"], key: Key::Text("h/a"), value: "keys/a" };
        let (text, each) = add(text, &[addition]);
        each.into_iter().next().unwrap().map(|()| text)
    }

    #[test]
    fn an_entry_goes_to_the_end_of_its_map_and_nothing_else_changes() {
        let cases = [
            ("{}", "{:git {:keys {\"h/a\" \"keys/a\"}}}"),
            ("{:a 1}\n", "{:a 1\n :git {:keys {\"h/a\" \"keys/a\"}}}\n"),
            ("{:git {:name \"x\"} :b 2}", "{:git {:name \"x\"\n       :keys {\"h/a\" \"keys/a\"}} :b 2}"),
            ("{:git {:keys {}}}", "{:git {:keys {\"h/a\" \"keys/a\"}}}"),
            (
                "{:git {:keys {\"h/b\" \"k\" ; why\n              }}}",
                "{:git {:keys {\"h/b\" \"k\" ; why\n              \"h/a\" \"keys/a\"\n              }}}",
            ),
            ("{:git {:keys {;; none yet\n }}}", "{:git {:keys {;; none yet\n              \"h/a\" \"keys/a\"\n }}}"),
            ("{:git {:keys { #_ \"x\" #_ 1 }}}", "{:git {:keys { #_ \"x\" #_ 1\n               \"h/a\" \"keys/a\" }}}"),
            (
                "; é\n{:é 1, :git ^:m {:keys {\"h/a\" \"keys/a\"}}}",
                "; é\n{:é 1, :git ^:m {:keys {\"h/a\" \"keys/a\"}}}",
            ),
        ];
        for (before, after) in cases {
            assert_eq!(key(before).as_deref(), Ok(after), "{before}");
            assert_eq!(key(after).as_deref(), Ok(after), "a second time");
        }
    }

    #[test]
    fn of_many_entries_each_goes_where_it_belongs_and_the_first_of_two_stays() {
        let text = |path: &'static [&'static str], key, value| Addition { path, key: Key::Text(key), value };
        let keys: &[&str] = &["git", "keys"];
        let additions = [
            text(&["git", "keys"], "h/a", "keys/a"),
            text(&["git", "keys"], "h/b", "keys/b"),
            text(&["git", "keys"], "h/a", "keys/c"),
            text(&["git", "keys"], "h/b", "keys/b"),
            Addition { path: &["ssh"], key: Key::Keyword("user"), value: "me" },
            Addition { path: keys, key: Key::Text("h/d"), value: "keys/d" },
        ];
        let (added, each) = add("{:ssh {:user \"deploy\"}}\n", &additions);
        let after = "{:ssh {:user \"deploy\"}\n :git {:keys {\"h/a\" \"keys/a\"\n              \"h/b\" \"keys/b\"\n              \"h/d\" \"keys/d\"}}}\n";
        assert_eq!(added, after);
        let taken = |key: &str| Err(NotAdded::Taken(key.to_owned()));
        assert_eq!(each, [Ok(()), Ok(()), taken("\"h/a\""), Ok(()), taken(":user"), Ok(())]);
    }

    #[test]
    fn what_a_tag_makes_or_a_person_chose_is_left_alone() {
        for (text, what) in [
            ("#include \"x.edn\"", "config.edn"),
            ("{:git #include \"git.edn\"}", ":git"),
            ("{:git {:keys #or [{} {}]}}", ":keys"),
            ("{:git #:x{:keys {}}}", ":git"),
        ] {
            assert_eq!(key(text), Err(NotAdded::NoMap(what.to_owned())), "{text}");
        }
        assert_eq!(key("{:git {:keys {\"h/a\" \"mine\"}}}"), Err(NotAdded::Taken("\"h/a\"".into())));
        assert!(matches!(key("{:git"), Err(NotAdded::Unreadable(_))));
    }

    #[test]
    fn an_entry_can_be_pasted_as_it_is_told() {
        let addition = Addition { path: &["git"], key: Key::Keyword("known-hosts"), value: "a \"b\"" };
        assert_eq!(addition.in_words(), ":git {:known-hosts \"a \\\"b\\\"\"}");
    }
}
