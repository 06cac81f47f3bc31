//! Adding an entry to a map of config.edn, as text: what is there stays as it is, byte for byte.

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

/// The text with the entry in it. It goes to the end of its map, on a line of its own and under the map's first key.
/// What is there already with the same value is left, and the text is the same.
pub fn add(text: &str, addition: &Addition<'_>) -> Result<String, NotAdded> {
    let document = edn::read(text).map_err(NotAdded::Unreadable)?;
    let mut map = plain_map(document.root(), "config.edn")?;
    for (depth, name) in addition.path.iter().enumerate() {
        match map.get(name) {
            Some(inner) => map = plain_map(inner, &format!(":{name}"))?,
            None => return insert(text, map, &nest(&addition.path[depth..], &addition.pair())),
        }
    }
    let same_key = |form: Form<'_>| match addition.key {
        Key::Keyword(name) => form.keyword().is_some_and(|key| key.is(name)),
        Key::Text(text) => form.string().is_some_and(|key| key == text),
    };
    match map.entries().find(|(key, _)| same_key(*key)) {
        None => insert(text, map, &addition.pair()),
        Some((_, value)) if value.string().is_some_and(|value| value == addition.value) => Ok(text.to_owned()),
        Some((key, _)) => Err(NotAdded::Taken(key.text().to_owned())),
    }
}

fn plain_map<'d>(form: Form<'d>, what: &str) -> Result<Form<'d>, NotAdded> {
    match form.kind() {
        Kind::Map if form.map_namespace().is_none() => Ok(form),
        _ => Err(NotAdded::NoMap(what.to_owned())),
    }
}

fn insert(text: &str, map: Form<'_>, pair: &str) -> Result<String, NotAdded> {
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
    let lead = if is_bare { String::new() } else { format!("\n{}", " ".repeat(column)) };
    let mut edit = TextEdit::default();
    let added = edit.replace(at..at, format!("{lead}{pair}")).and_then(|()| edit.apply(text));
    let added = added.map_err(|_| NotAdded::NoMap(pair.to_owned()))?;
    // The last word has the reader: the entry has to be there, whatever the comments around it.
    edn::read(&added).map_err(NotAdded::Unreadable)?;
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<String, NotAdded> {
        add(text, &Addition { path: &["git", "keys"], key: Key::Text("h/a"), value: "keys/a" })
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
