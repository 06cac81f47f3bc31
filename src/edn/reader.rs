//! The reader: one pass, a stack of open forms, no recursion.

use super::form::{Document, Form, Kind, Raw, Tag, behind_metadata};
use super::lex::{self, BANNED, COLON, DIGIT, HASH, MACRO, SPACE};
use super::number::{self, Fault};
use super::{Error, ErrorKind, Span, eight, equality, instant_millis, text, uuid_bits};

/// How deep forms may nest; a tag, `#_` and metadata count too.
pub const MAX_DEPTH: usize = 128;
/// How large a text may be.
pub const MAX_BYTES: usize = 16 << 20;

/// Reads a text that holds exactly one value.
pub fn read(source: &str) -> Result<Document<'_>, Error> {
    let document = match read_all(source) {
        Err(_) if source.starts_with('\u{feff}') => return Err(Error::new(Span::new(0, 3), ErrorKind::ByteOrderMark)),
        result => result?,
    };
    let mut forms = document.forms();
    let (first, second) = (forms.next(), forms.next());
    match (first, second) {
        (Some(_), None) => {}
        _ if source.starts_with('\u{feff}') => return Err(Error::new(Span::new(0, 3), ErrorKind::ByteOrderMark)),
        (None, _) => return Err(Error::new(Span::new(source.len(), source.len()), ErrorKind::Empty)),
        (Some(first), Some(second)) => {
            return Err(Error::new(second.outer_span(), ErrorKind::Trailing).relating(first.outer_span()));
        }
    }
    drop(forms);
    Ok(document)
}

/// Reads a text that holds any number of values.
pub fn read_all(source: &str) -> Result<Document<'_>, Error> {
    if source.len() > MAX_BYTES {
        return Err(Error::new(Span::new(0, 0), ErrorKind::TooLarge(source.len())));
    }
    let nodes = Vec::with_capacity(source.len() / 12 + 8);
    let document = Document { source, nodes };
    let (open, keys) = (Vec::with_capacity(16), Vec::with_capacity(64));
    let mut reader = Reader { source, bytes: source.as_bytes(), document, open, keys };
    match reader.run() {
        Ok(()) => Ok(reader.document),
        Err(error) => Err(*error),
    }
}

/// A form that is not yet complete.
struct Open {
    node: u32,
    tag: Tag,
    /// How many values it holds so far.
    values: u32,
    /// Where its keys begin in `Reader::keys`.
    keys: u32,
}

struct Reader<'s> {
    source: &'s str,
    bytes: &'s [u8],
    document: Document<'s>,
    open: Vec<Open>,
    /// The keys of the open maps and the elements of the open sets, the innermost last.
    keys: Vec<u32>,
}

/// What was read at a place.
struct Step {
    /// The node that this completes, if it does.
    complete: Option<u32>,
    /// The place after it.
    end: usize,
}

/// An error is boxed: it is large, and it is seldom.
type Read<T = Step> = Result<T, Box<Error>>;

impl<'s> Reader<'s> {
    fn run(&mut self) -> Read<()> {
        let mut at = 0;
        loop {
            at = lex::past_space(self.source, at);
            let Some(&byte) = self.bytes.get(at) else { break };
            let step = match byte {
                b'(' | b'[' | b'{' | b'^' => self.push(opened(byte), at, at + 1)?,
                b')' | b']' | b'}' => self.close(at, byte)?,
                b'"' => self.string(at)?,
                b'#' => self.dispatch(at)?,
                b'\\' => self.character(at)?,
                b'0'..=b'9' => self.number(at)?,
                b'+' | b'-' if self.is_digit(at + 1) => self.number(at)?,
                128.. if self.is_digit(at) => self.number(at)?,
                _ => self.word(at)?,
            };
            if let Some(index) = step.complete {
                self.complete(index)?;
            }
            at = step.end;
        }
        match self.open.last() {
            None => Ok(()),
            Some(open) => Err(self.unfinished(open)),
        }
    }

    fn is_digit(&self, at: usize) -> bool {
        lex::char_at(self.source, at).is_some_and(lex::is_digit)
    }

    /// Opens a form whose first bytes are those from `start` to `end`.
    #[inline]
    fn push(&mut self, tag: Tag, start: usize, end: usize) -> Read {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.error(start, end, ErrorKind::TooDeep));
        }
        let (node, keys) = (self.document.nodes.len() as u32, self.keys.len() as u32);
        self.open.push(Open { node, tag, values: 0, keys });
        self.node(tag, start, end, 0);
        Ok(Step { complete: None, end })
    }

    /// Opens a form that begins with a name, whose end it keeps.
    fn push_named(&mut self, tag: Tag, start: usize, name_end: usize, end: usize) -> Read {
        let step = self.push(tag, start, end)?;
        if let Some(raw) = self.document.nodes.last_mut() {
            raw.name_end = name_end as u32;
        }
        Ok(step)
    }

    fn node(&mut self, tag: Tag, start: usize, end: usize, name_end: u32) -> u32 {
        let index = self.document.nodes.len() as u32;
        let raw = Raw { start: start as u32, end: end as u32, next: index + 1, name_end, tag };
        self.document.nodes.push(raw);
        index
    }

    /// Adds a form that is complete.
    fn leaf(&mut self, tag: Tag, start: usize, end: usize) -> Read {
        Ok(Step { complete: Some(self.node(tag, start, end, 0)), end })
    }

    /// A value is complete: what it completes in turn is finished here.
    fn complete(&mut self, mut index: u32) -> Read<()> {
        loop {
            let Some(open) = self.open.last_mut() else { return Ok(()) };
            open.values += 1;
            match open.tag {
                Tag::Map | Tag::NsMap if open.values % 2 == 1 => {
                    self.keys.push(index);
                    return Ok(());
                }
                Tag::Set => {
                    self.keys.push(index);
                    return Ok(());
                }
                Tag::Discard => {
                    self.finish(self.document.nodes[index as usize].end);
                    return Ok(());
                }
                Tag::Meta => {
                    let first = open.values == 1;
                    self.check_metadata(index, first)?;
                    if first {
                        return Ok(());
                    }
                    index = self.finish(self.document.nodes[index as usize].end);
                }
                Tag::Tagged => {
                    let node = open.node;
                    self.check_tagged(node, index)?;
                    index = self.finish(self.document.nodes[index as usize].end);
                }
                _ => return Ok(()),
            }
        }
    }

    /// Ends the innermost open form.
    fn finish(&mut self, end: u32) -> u32 {
        let next = self.document.nodes.len() as u32;
        let Some(open) = self.open.pop() else { return 0 };
        let raw = &mut self.document.nodes[open.node as usize];
        (raw.end, raw.next) = (end, next);
        open.node
    }

    fn close(&mut self, at: usize, byte: u8) -> Read {
        let Some(&Open { node, tag, values, keys }) = self.open.last() else { return Err(self.misplaced(at, None)) };
        if byte != closing(tag) {
            return Err(self.misplaced(at, self.open.last()));
        }
        if matches!(tag, Tag::Map | Tag::NsMap) && values % 2 == 1 {
            let key = Form::at(&self.document, self.keys.last().map_or(node, |key| *key));
            let error = Error::new(key.outer_span(), ErrorKind::OddMap(short(key.text())));
            return Err(Box::new(error.relating(self.opening(node))));
        }
        let keys_from = keys as usize;
        // One alone has no twin.
        if keys_from + 1 < self.keys.len() {
            self.check_duplicates(node, keys_from)?;
        }
        self.keys.truncate(keys_from);
        Ok(Step { complete: Some(self.finish(at as u32 + 1)), end: at + 1 })
    }

    /// A closing bracket that `open` doesn't wait for.
    fn misplaced(&self, at: usize, open: Option<&Open>) -> Box<Error> {
        let found = char::from(self.bytes[at]);
        let here = Span::new(at, at + 1);
        let unmatched = |expected| Error::new(here, ErrorKind::Unmatched { found, expected });
        Box::new(match open {
            None => unmatched(None),
            Some(open) => match wanted(open.tag, open.values) {
                Some(expected) => Error::new(here, ErrorKind::MissingForm { found, expected }),
                None => unmatched(Some(brackets(open.tag).1)).relating(self.opening(open.node)),
            },
        })
    }

    fn check_duplicates(&self, node: u32, keys_from: usize) -> Read<()> {
        let document = &self.document;
        let form = |index| Form::at(document, index);
        let holder = form(node);
        let Some((first, later)) = equality::duplicate(document, holder.map_namespace(), &self.keys[keys_from..])
        else {
            return Ok(());
        };
        let later = form(later);
        let text = short(later.text());
        let kind =
            if holder.kind() == Kind::Set { ErrorKind::DuplicateElement(text) } else { ErrorKind::DuplicateKey(text) };
        Err(Box::new(Error::new(later.outer_span(), kind).relating(form(first).outer_span())))
    }

    fn check_metadata(&self, index: u32, is_metadata: bool) -> Read<()> {
        let index = behind_metadata(&self.document.nodes, index);
        let raw = &self.document.nodes[index as usize];
        let kind = match raw.tag {
            Tag::Symbol | Tag::Map | Tag::NsMap => return Ok(()),
            Tag::Keyword | Tag::Str if is_metadata => return Ok(()),
            Tag::List | Tag::Vector | Tag::Set if !is_metadata => return Ok(()),
            _ if is_metadata => ErrorKind::BadMetadata,
            _ => ErrorKind::NoMetadataHere,
        };
        Err(self.error(raw.start as usize, raw.end as usize, kind))
    }

    fn check_tagged(&self, node: u32, index: u32) -> Read<()> {
        let inner = Form::at(&self.document, index);
        let raw = &self.document.nodes[node as usize];
        let fault = match &self.source[raw.start as usize + 1..raw.name_end as usize] {
            "inst" if inner.string().and_then(|text| instant_millis(&text)).is_none() => ErrorKind::BadInst,
            "uuid" if inner.string().and_then(|text| uuid_bits(&text)).is_none() => ErrorKind::BadUuid,
            _ => return Ok(()),
        };
        Err(Box::new(Error::new(inner.outer_span(), fault)))
    }

    fn string(&mut self, start: usize) -> Read {
        let (mut at, mut escapes) = (start + 1, 0);
        let end = loop {
            match eight::find2(self.bytes, at, b'"', b'\\') {
                None => {
                    let end = self.source.len();
                    let error = Error::new(Span::new(end, end), ErrorKind::Unclosed { open: "\"", close: '"' });
                    return Err(Box::new(error.relating(Span::new(start, start + 1))));
                }
                Some(quote) if self.bytes[quote] == b'"' => break quote + 1,
                Some(from) => {
                    escapes += 1;
                    at = text::check_escape(self.source, from).map_err(|bad| {
                        let end = bad + lex::char_at(self.source, bad).map_or(0, char::len_utf8);
                        self.error(from, end, ErrorKind::BadEscape(short(&self.source[from..end])))
                    })?;
                }
            }
        };
        Ok(Step { complete: Some(self.node(Tag::Str, start, end, escapes)), end })
    }

    fn number(&mut self, start: usize) -> Read {
        let end = lex::number_end(self.source, start);
        let text = &self.source[start..end];
        match number::check(text) {
            Ok(()) => self.leaf(Tag::Number, start, end),
            Err(Fault::Form) => Err(self.error(start, end, ErrorKind::BadNumber(short(text)))),
            Err(Fault::DivideByZero) => Err(self.error(start, end, ErrorKind::DivideByZero(short(text)))),
        }
    }

    /// The end of the token here; `lead` is whether its first character must be one a token may hold.
    fn token(&self, from: usize, lead: bool) -> Read<(usize, u8)> {
        let banned = |at: usize| {
            let c = char::from(self.bytes[at]);
            self.error(at, at + 1, ErrorKind::BadCharacter(c))
        };
        if lead && lex::class(self.bytes[from]) & BANNED != 0 {
            return Err(banned(from));
        }
        lex::token_end(self.source, from).map_err(banned)
    }

    fn word(&mut self, start: usize) -> Read {
        if let Some(end) = lex::plain_word(self.bytes, start) {
            return self.leaf(word_tag(&self.bytes[start..end]), start, end);
        }
        let (end, classes) = self.token(start, true)?;
        let tag = self.check_word(start, end, classes)?;
        self.leaf(tag, start, end)
    }

    /// What the token is: a symbol, a keyword, `nil`, `true` or `false`.
    fn check_word(&self, from: usize, end: usize, classes: u8) -> Read<Tag> {
        let text = &self.source[from..end];
        if lex::is_word(text, classes) {
            return Ok(word_tag(text.as_bytes()));
        }
        let what = if text.starts_with(':') { "keyword" } else { "symbol" };
        Err(self.error(from, end, ErrorKind::BadToken { text: short(text), what }))
    }

    fn character(&mut self, start: usize) -> Read {
        let from = start + 1;
        if from >= self.source.len() {
            return Err(self.error(from, from, ErrorKind::UnexpectedEnd("a character after `\\`")));
        }
        let (end, _) = self.token(from, false)?;
        let token = &self.source[from..end];
        if text::character(token).is_none() {
            return Err(self.error(start, end, ErrorKind::BadChar(short(token))));
        }
        self.leaf(Tag::Char, start, end)
    }

    fn dispatch(&mut self, start: usize) -> Read {
        let from = start + 1;
        let Some(next) = lex::char_at(self.source, from) else {
            return Err(self.error(from, from, ErrorKind::UnexpectedEnd("a tag, `{` or `_` after `#`")));
        };
        match next {
            '{' => self.push(Tag::Set, start, start + 2),
            '_' => self.push(Tag::Discard, start, start + 2),
            '^' => self.push(Tag::Meta, start, start + 2),
            ':' => self.namespaced_map(start),
            '#' => self.symbolic_value(start),
            c if lex::begins_tag(c) => {
                let (end, classes) = self.token(from, true)?;
                if self.check_word(from, end, classes)? != Tag::Symbol {
                    return Err(self.error(start, end, ErrorKind::BadTag(short(&self.source[from..end]))));
                }
                self.push_named(Tag::Tagged, start, end, end)
            }
            c => Err(self.error(start, from + c.len_utf8(), ErrorKind::BadDispatch(c))),
        }
    }

    /// Past ASCII white space.
    fn past_space(&self, mut at: usize) -> usize {
        while self.bytes.get(at).is_some_and(|b| lex::class(*b) & SPACE != 0) {
            at += 1;
        }
        at
    }

    fn namespaced_map(&mut self, start: usize) -> Read {
        let from = self.past_space(start + 2);
        let begins_word = |b: &u8| lex::class(*b) & (MACRO | HASH | BANNED | DIGIT | COLON) == 0;
        let bad = |end: usize| self.error(start, end, ErrorKind::BadMapNamespace);
        if !self.bytes.get(from).is_some_and(begins_word) {
            return Err(bad(from));
        }
        let (end, classes) = self.token(from, true)?;
        let name = &self.source[from..end];
        if self.check_word(from, end, classes)? != Tag::Symbol || (name.contains('/') && name != "/") {
            return Err(bad(end));
        }
        let mut brace = end;
        while let Some(c) = lex::char_at(self.source, brace) {
            let space = if c.is_ascii() { lex::class(c as u8) & SPACE != 0 } else { lex::is_wide_space(c) };
            if !space {
                break;
            }
            brace += c.len_utf8();
        }
        if self.bytes.get(brace) != Some(&b'{') {
            return Err(self.error(start, end, ErrorKind::MapExpected(short(name))));
        }
        self.push_named(Tag::NsMap, start, end, brace + 1)
    }

    fn symbolic_value(&mut self, start: usize) -> Read {
        let from = self.past_space(start + 2);
        if from >= self.source.len() {
            return Err(self.error(from, from, ErrorKind::UnexpectedEnd("Inf, -Inf or NaN after `##`")));
        }
        let (end, _) = self.token(from, false)?;
        match &self.source[from..end] {
            "Inf" | "-Inf" | "NaN" => self.leaf(Tag::Symbolic, start, end),
            other => Err(self.error(start, end, ErrorKind::BadSymbolicValue(short(other)))),
        }
    }

    fn unfinished(&self, open: &Open) -> Box<Error> {
        let end = self.source.trim_end().len().max(self.document.nodes[open.node as usize].start as usize + 1);
        let end = end.min(self.source.len());
        let kind = match wanted(open.tag, open.values) {
            Some(expected) => ErrorKind::UnexpectedEnd(expected),
            None => {
                let (open, close) = brackets(open.tag);
                ErrorKind::Unclosed { open, close }
            }
        };
        Box::new(Error::new(Span::new(end, end), kind).relating(self.opening(open.node)))
    }

    /// The bracket or prefix that opened a form.
    fn opening(&self, node: u32) -> Span {
        let raw = &self.document.nodes[node as usize];
        let start = raw.start as usize;
        let width = match raw.tag {
            Tag::Set | Tag::Discard => 2,
            Tag::Tagged | Tag::NsMap => raw.name_end as usize - start,
            _ => 1,
        };
        Span::new(start, start + width)
    }

    fn error(&self, start: usize, end: usize, kind: ErrorKind) -> Box<Error> {
        Box::new(Error::new(Span::new(start, end), kind))
    }
}

/// What a word is.
fn word_tag(word: &[u8]) -> Tag {
    match word {
        [b':', ..] => Tag::Keyword,
        b"nil" => Tag::Nil,
        b"true" => Tag::True,
        b"false" => Tag::False,
        _ => Tag::Symbol,
    }
}

/// What a byte opens.
fn opened(byte: u8) -> Tag {
    match byte {
        b'(' => Tag::List,
        b'[' => Tag::Vector,
        b'{' => Tag::Map,
        _ => Tag::Meta,
    }
}

/// The byte that closes a form; of a prefix none does.
fn closing(tag: Tag) -> u8 {
    match tag {
        Tag::List => b')',
        Tag::Vector => b']',
        Tag::Map | Tag::NsMap | Tag::Set => b'}',
        _ => 0,
    }
}

fn brackets(tag: Tag) -> (&'static str, char) {
    match tag {
        Tag::List => ("(", ')'),
        Tag::Vector => ("[", ']'),
        Tag::Set => ("#{", '}'),
        _ => ("{", '}'),
    }
}

/// What a prefix still waits for.
fn wanted(tag: Tag, values: u32) -> Option<&'static str> {
    match tag {
        Tag::Discard => Some("the form that `#_` discards"),
        Tag::Tagged => Some("the value of the tag before it"),
        Tag::Meta if values == 0 => Some("metadata after `^`"),
        Tag::Meta => Some("the value that the metadata belongs to"),
        _ => None,
    }
}

/// At most 60 characters of `text`, on one line.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut cut: String = line.chars().take(60).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
