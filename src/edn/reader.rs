//! The reader: one pass, a stack of open forms, no recursion.

use super::form::{Document, Form, Kind, Raw, Tag, behind_metadata};
use super::lex::{self, BANNED, COLON, DIGIT, HASH, HIGH, MACRO, SPACE};
use super::number::{self, Fault};
use super::{Error, ErrorKind, Span, equality, instant_millis, text, uuid_bits};

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
    let nodes = Vec::with_capacity(source.len() / 8 + 4);
    let document = Document { source, nodes, roots: Vec::with_capacity(1) };
    let (open, keys) = (Vec::with_capacity(16), Vec::with_capacity(64));
    let mut reader = Reader { source, bytes: source.as_bytes(), at: 0, document, open, keys };
    reader.run()?;
    Ok(reader.document)
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
    at: usize,
    document: Document<'s>,
    open: Vec<Open>,
    /// The keys of the open maps and the elements of the open sets, the innermost last.
    keys: Vec<u32>,
}

type Read<T = ()> = Result<T, Error>;

impl<'s> Reader<'s> {
    fn run(&mut self) -> Read {
        while let Some(byte) = self.skip_space() {
            match byte {
                b'(' => self.push(Tag::List, 1)?,
                b'[' => self.push(Tag::Vector, 1)?,
                b'{' => self.push(Tag::Map, 1)?,
                b')' | b']' | b'}' => self.close(byte)?,
                b'"' => self.string()?,
                b':' => self.word()?,
                b'^' => self.push(Tag::Meta, 1)?,
                b'#' => self.dispatch()?,
                b'\\' => self.character()?,
                b'0'..=b'9' => self.number()?,
                b'+' | b'-' if self.digit_follows() => self.number()?,
                _ if lex::class(byte) & HIGH != 0 && lex::char_at(self.source, self.at).is_some_and(lex::is_digit) => {
                    self.number()?;
                }
                _ => self.word()?,
            }
        }
        match self.open.last() {
            None => Ok(()),
            Some(open) => Err(self.unfinished(open)),
        }
    }

    /// The first byte of the next form, past white space and comments.
    fn skip_space(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            let class = lex::class(byte);
            if class & SPACE != 0 {
                self.at = lex::past_spaces(self.bytes, self.at + 1);
            } else if byte == b';' {
                self.at = lex::find2(self.bytes, self.at, b'\n', b'\r').unwrap_or(self.bytes.len());
            } else if class & HIGH != 0 {
                match lex::char_at(self.source, self.at) {
                    Some(c) if lex::is_wide_space(c) => self.at += c.len_utf8(),
                    _ => return Some(byte),
                }
            } else {
                return Some(byte);
            }
        }
    }

    fn digit_follows(&self) -> bool {
        match self.bytes.get(self.at + 1) {
            Some(byte) if lex::class(*byte) & HIGH != 0 => {
                lex::char_at(self.source, self.at + 1).is_some_and(lex::is_digit)
            }
            Some(byte) => byte.is_ascii_digit(),
            None => false,
        }
    }

    /// Opens a form whose first `width` bytes are here.
    fn push(&mut self, tag: Tag, width: usize) -> Read {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.error(self.at, self.at + width, ErrorKind::TooDeep));
        }
        let (node, keys) = (self.document.nodes.len() as u32, self.keys.len() as u32);
        self.open.push(Open { node, tag, values: 0, keys });
        self.node(tag, self.at, self.at + width);
        self.at += width;
        Ok(())
    }

    fn node(&mut self, tag: Tag, start: usize, end: usize) -> u32 {
        let index = self.document.nodes.len() as u32;
        let raw = Raw { start: start as u32, end: end as u32, next: index + 1, name_end: 0, tag };
        self.document.nodes.push(raw);
        index
    }

    /// Adds a form that is complete.
    fn leaf(&mut self, tag: Tag, end: usize) -> Read {
        let index = self.node(tag, self.at, end);
        self.at = end;
        self.complete(index)
    }

    /// A value is complete: what it completes in turn is finished here.
    fn complete(&mut self, mut index: u32) -> Read {
        loop {
            let Some(open) = self.open.last_mut() else {
                self.document.roots.push(index);
                return Ok(());
            };
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

    fn close(&mut self, byte: u8) -> Read {
        let found = char::from(byte);
        let here = Span::new(self.at, self.at + 1);
        let unmatched = |expected| Error::new(here, ErrorKind::Unmatched { found, expected });
        let Some(open) = self.open.last() else { return Err(unmatched(None)) };
        let (node, tag, values) = (open.node, open.tag, open.values);
        if let Some(expected) = wanted(tag, values) {
            return Err(Error::new(here, ErrorKind::MissingForm { found, expected }));
        }
        let (_, expected) = brackets(tag);
        if found != expected {
            return Err(unmatched(Some(expected)).relating(self.opening(node)));
        }
        let keys_from = open.keys as usize;
        if matches!(tag, Tag::Map | Tag::NsMap) && values % 2 == 1 {
            let key = self.keys.last().map_or(node, |key| *key);
            let form = Form::at(self.source, &self.document.nodes, key);
            return Err(
                Error::new(form.outer_span(), ErrorKind::OddMap(short(form.text()))).relating(self.opening(node))
            );
        }
        if keys_from < self.keys.len() {
            self.check_duplicates(node, keys_from)?;
            self.keys.truncate(keys_from);
        }
        self.at += 1;
        let index = self.finish(self.at as u32);
        self.complete(index)
    }

    fn check_duplicates(&self, node: u32, keys_from: usize) -> Read {
        let document = &self.document;
        let form = |index| Form::at(self.source, &document.nodes, index);
        let holder = form(node);
        let Some((first, later)) = equality::duplicate(document, holder.map_namespace(), &self.keys[keys_from..])
        else {
            return Ok(());
        };
        let later = form(later);
        let text = short(later.text());
        let kind =
            if holder.kind() == Kind::Set { ErrorKind::DuplicateElement(text) } else { ErrorKind::DuplicateKey(text) };
        Err(Error::new(later.outer_span(), kind).relating(form(first).outer_span()))
    }

    fn check_metadata(&self, index: u32, is_metadata: bool) -> Read {
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

    fn check_tagged(&self, node: u32, index: u32) -> Read {
        let inner = Form::at(self.source, &self.document.nodes, index);
        let raw = &self.document.nodes[node as usize];
        let fault = match &self.source[raw.start as usize + 1..raw.name_end as usize] {
            "inst" if inner.string().and_then(|text| instant_millis(&text)).is_none() => ErrorKind::BadInst,
            "uuid" if inner.string().and_then(|text| uuid_bits(&text)).is_none() => ErrorKind::BadUuid,
            _ => return Ok(()),
        };
        Err(Error::new(inner.outer_span(), fault))
    }

    fn string(&mut self) -> Read {
        let mut at = self.at + 1;
        let mut escapes = 0;
        loop {
            match lex::find2(self.bytes, at, b'"', b'\\') {
                None => {
                    let end = self.source.len();
                    let kind = ErrorKind::Unclosed { open: "\"", close: '"' };
                    return Err(self.error(end, end, kind).relating(Span::new(self.at, self.at + 1)));
                }
                Some(quote) if self.bytes[quote] == b'"' => {
                    at = quote + 1;
                    break;
                }
                Some(from) => {
                    escapes = 1;
                    at = text::check_escape(self.source, from).map_err(|bad| {
                        let end = bad + lex::char_at(self.source, bad).map_or(0, char::len_utf8);
                        self.error(from, end, ErrorKind::BadEscape(short(&self.source[from..end])))
                    })?;
                }
            }
        }
        let index = self.node(Tag::Str, self.at, at);
        // Marks a string whose text is not its content; see `equality`.
        self.document.nodes[index as usize].name_end = escapes;
        self.at = at;
        self.complete(index)
    }

    fn number(&mut self) -> Read {
        let end = lex::number_end(self.source, self.at);
        let text = &self.source[self.at..end];
        match number::check(text) {
            Ok(()) => self.leaf(Tag::Number, end),
            Err(Fault::Form) => Err(self.error(self.at, end, ErrorKind::BadNumber(short(text)))),
            Err(Fault::DivideByZero) => Err(self.error(self.at, end, ErrorKind::DivideByZero(short(text)))),
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

    fn word(&mut self) -> Read {
        if let Some(end) = lex::plain_word(self.bytes, self.at) {
            let tag = word_tag(&self.bytes[self.at..end]);
            return self.leaf(tag, end);
        }
        let (end, classes) = self.token(self.at, true)?;
        let tag = self.check_word(self.at, end, classes)?;
        self.leaf(tag, end)
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

    fn character(&mut self) -> Read {
        let from = self.at + 1;
        if from >= self.source.len() {
            return Err(self.error(from, from, ErrorKind::UnexpectedEnd("a character after `\\`")));
        }
        let (end, _) = self.token(from, false)?;
        let token = &self.source[from..end];
        if text::character(token).is_none() {
            return Err(self.error(self.at, end, ErrorKind::BadChar(short(token))));
        }
        self.leaf(Tag::Char, end)
    }

    fn dispatch(&mut self) -> Read {
        let Some(next) = lex::char_at(self.source, self.at + 1) else {
            return Err(self.error(self.at + 1, self.at + 1, ErrorKind::UnexpectedEnd("a tag, `{` or `_` after `#`")));
        };
        match next {
            '{' => self.push(Tag::Set, 2),
            '_' => self.push(Tag::Discard, 2),
            '^' => self.push(Tag::Meta, 2),
            ':' => self.namespaced_map(),
            '#' => self.symbolic_value(),
            c if lex::begins_tag(c) => {
                let from = self.at + 1;
                let (end, classes) = self.token(from, true)?;
                if self.check_word(from, end, classes)? != Tag::Symbol {
                    return Err(self.error(self.at, end, ErrorKind::BadTag(short(&self.source[from..end]))));
                }
                self.push(Tag::Tagged, end - self.at)?;
                self.name_end(end);
                Ok(())
            }
            c => Err(self.error(self.at, self.at + 1 + c.len_utf8(), ErrorKind::BadDispatch(c))),
        }
    }

    fn name_end(&mut self, end: usize) {
        if let Some(raw) = self.document.nodes.last_mut() {
            raw.name_end = end as u32;
        }
    }

    /// Past ASCII white space.
    fn past_space(&self, mut at: usize) -> usize {
        while self.bytes.get(at).is_some_and(|b| lex::class(*b) & SPACE != 0) {
            at += 1;
        }
        at
    }

    fn namespaced_map(&mut self) -> Read {
        let from = self.past_space(self.at + 2);
        let begins_word = |b: &u8| lex::class(*b) & (MACRO | HASH | BANNED | DIGIT | COLON) == 0;
        let bad = |end: usize| self.error(self.at, end, ErrorKind::BadMapNamespace);
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
            return Err(self.error(self.at, end, ErrorKind::MapExpected(short(name))));
        }
        self.push(Tag::NsMap, brace + 1 - self.at)?;
        self.name_end(end);
        Ok(())
    }

    fn symbolic_value(&mut self) -> Read {
        let from = self.past_space(self.at + 2);
        if from >= self.source.len() {
            return Err(self.error(from, from, ErrorKind::UnexpectedEnd("Inf, -Inf or NaN after `##`")));
        }
        let (end, _) = self.token(from, false)?;
        match &self.source[from..end] {
            "Inf" | "-Inf" | "NaN" => self.leaf(Tag::Symbolic, end),
            other => Err(self.error(self.at, end, ErrorKind::BadSymbolicValue(short(other)))),
        }
    }

    fn unfinished(&self, open: &Open) -> Error {
        let end = self.source.trim_end().len().max(self.document.nodes[open.node as usize].start as usize + 1);
        let end = end.min(self.source.len());
        let kind = match wanted(open.tag, open.values) {
            Some(expected) => ErrorKind::UnexpectedEnd(expected),
            None => {
                let (open, close) = brackets(open.tag);
                ErrorKind::Unclosed { open, close }
            }
        };
        self.error(end, end, kind).relating(self.opening(open.node))
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

    fn error(&self, start: usize, end: usize, kind: ErrorKind) -> Error {
        Error::new(Span::new(start, end), kind)
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
