//! The backup's file: one stream of parts, readable with `less`, checked as a whole.
//!
//! ```text
//! airplanes backup 1
//! about 87 .                       a part: its kind, its length in bytes, its name; then its bytes and a line end
//! {"format":2,"daemon":"0.1.0","at":"2026-11-22T13:15:00Z","logs":true}
//! row 412 e%00%06%3F…              a row of the store: its key, with what is not plain ASCII as %XX, and its value
//! {"event":{…},"state":"closed"}
//! token 65 operator-token
//! …
//! log 8192 1jq3m8x2k4a0c-000/build.1   a piece of a log; its pieces follow each other
//! …
//! end 120 .
//! {"sha256":"…","rows":1034,"logs":12}     of all bytes before this part
//! ```
//! Must never pass for whole what was cut off or altered.

use std::io::{self, BufRead, Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StoreError;

/// The first line.
const MAGIC: &str = "airplanes backup 1\n";
/// How long a part's first line may be, in bytes.
const LONGEST_HEAD: u64 = 64 << 10;
/// How long a part may be, in bytes.
const LONGEST_PART: u64 = 64 << 20;
/// How long a piece of a log is at the most, in bytes.
pub(super) const PIECE: u64 = 256 << 10;

/// What can go wrong with a backup or with putting one back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackupError {
    /// A file can't be read or written.
    #[error("{what} {path}: {why}")]
    Disk {
        /// What was tried: "can't write".
        what: &'static str,
        /// The file or folder.
        path: String,
        /// The system's words.
        why: String,
    },
    /// The backup can't be used.
    #[error("{path} can't be used: {why}. Nothing was changed; take another backup")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A newer daemon made the backup.
    #[error(
        "{path} has format {found}, and this airplanes knows {known}: restore it with the newer one. Nothing was changed"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// There is a store already.
    #[error("there is a store in {path} already; nothing was changed")]
    NotEmpty {
        /// The store's folder.
        path: String,
    },
    /// A daemon has the store open.
    #[error("the store in {path} is in use: stop the daemon first. Nothing was changed")]
    InUse {
        /// The store's folder.
        path: String,
    },
    /// Whoever takes the backup is too slow, or went away.
    #[error("the backup could not be handed on: {0}")]
    Out(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    pub(super) fn disk(what: &'static str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::Disk { what, path: path.display().to_string(), why: error.to_string() }
    }
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The format of its rows.
    pub format: u32,
    /// The version of the daemon that made it.
    pub daemon: String,
    /// The moment that its rows are of.
    pub at: Timestamp,
    /// Whether the jobs' logs are in it.
    pub logs: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    sha256: String,
    rows: u64,
    logs: u64,
}

/// A part of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A row of the store.
    Row { key: Vec<u8>, value: Vec<u8> },
    /// The operator's token.
    Token(Vec<u8>),
    /// A piece of a log, by its path in the folder of logs.
    Log { name: String, piece: Vec<u8> },
}

/// Writes a backup.
pub(super) struct Writer<W> {
    out: W,
    hash: Sha256,
    rows: u64,
    /// The log whose pieces are being written, and how many there were.
    log: String,
    logs: u64,
}

impl<W: Write> Writer<W> {
    pub fn begin(out: W, about: &About) -> Result<Self, BackupError> {
        let mut writer = Self { out, hash: Sha256::new(), rows: 0, log: String::new(), logs: 0 };
        writer.bytes(MAGIC.as_bytes())?;
        writer.part("about", ".", &json(about)?)?;
        Ok(writer)
    }
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        self.rows += 1;
        self.part("row", &escape(key), value)
    }
    pub fn token(&mut self, token: &[u8]) -> Result<(), BackupError> {
        self.part("token", "operator-token", token)
    }
    pub fn log(&mut self, name: &str, piece: &[u8]) -> Result<(), BackupError> {
        if self.log != name {
            self.log = name.to_owned();
            self.logs += 1;
        }
        self.part("log", &escape(name.as_bytes()), piece)
    }
    /// The last part; gives back what was written to, flushed.
    pub fn end(mut self) -> Result<W, BackupError> {
        let end = End { sha256: hex(&self.hash.clone().finalize()), rows: self.rows, logs: self.logs };
        self.part("end", ".", &json(&end)?)?;
        self.out.flush().map_err(|e| BackupError::Out(e.to_string()))?;
        Ok(self.out)
    }

    fn part(&mut self, kind: &str, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.bytes(format!("{kind} {} {name}\n", bytes.len()).as_bytes())?;
        self.bytes(bytes)?;
        self.bytes(b"\n")
    }
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.hash.update(bytes);
        self.out.write_all(bytes).map_err(|e| BackupError::Out(e.to_string()))
    }
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, BackupError> {
    serde_json::to_vec(value).map_err(|e| BackupError::Out(e.to_string()))
}

/// Reads a backup, part by part. What it gives is known to be whole only once it has given none.
pub(super) struct Reader<R> {
    input: R,
    path: String,
    hash: Sha256,
    read: u64,
    about: About,
    rows: u64,
    log: String,
    logs: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// `path` is for its errors.
    pub fn begin(input: R, path: &str) -> Result<Self, BackupError> {
        let about = About { format: 0, daemon: String::new(), at: Timestamp::UNIX_EPOCH, logs: false };
        let (hash, path) = (Sha256::new(), path.to_owned());
        let mut reader = Self { input, path, hash, read: 0, about, rows: 0, log: String::new(), logs: 0, ended: false };
        let mut first = Vec::new();
        let read = (&mut reader.input).take(MAGIC.len() as u64).read_to_end(&mut first);
        reader.read += read.map_err(|e| reader.fault(e.to_string()))? as u64;
        reader.hash.update(&first);
        match MAGIC.as_bytes().strip_prefix(first.as_slice()) {
            Some([]) => {}
            Some(_) => return Err(reader.cut()),
            None if first.starts_with(b"airplanes backup ") => {
                let why = "a newer airplanes made it, in a way that this one does not know";
                return Err(reader.fault(why.to_owned()));
            }
            None => return Err(reader.fault("it is no backup of airplanes".to_owned())),
        }
        let (kind, _, bytes) = reader.part()?;
        if kind != "about" {
            return Err(reader.fault("it does not say what it is".to_owned()));
        }
        reader.about = serde_json::from_slice(&bytes).map_err(|e| reader.fault(e.to_string()))?;
        Ok(reader)
    }
    pub fn about(&self) -> &About {
        &self.about
    }
    /// How many logs were read.
    pub fn logs(&self) -> u64 {
        self.logs
    }

    /// The next part; none after the last, if all of them were as they were written.
    pub fn next(&mut self) -> Result<Option<Part>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let before = self.hash.clone();
        let (kind, name, bytes) = self.part()?;
        let plain = unescape(&name).ok_or_else(|| self.fault(format!("`{name}` is no name")));
        Ok(Some(match kind.as_str() {
            "row" => {
                self.rows += 1;
                Part::Row { key: plain?, value: bytes }
            }
            "token" => Part::Token(bytes),
            "log" => {
                if self.log != name {
                    self.log = name.clone();
                    self.logs += 1;
                }
                let name = String::from_utf8(plain?).map_err(|_| self.fault(format!("`{name}` is no log's name")))?;
                Part::Log { name, piece: bytes }
            }
            "end" => {
                self.close(before, &name, &bytes)?;
                return Ok(None);
            }
            other => return Err(self.fault(format!("nobody knows what a part `{other}` is"))),
        }))
    }

    /// What is not in the digest is compared with what would have been written.
    fn close(&mut self, before: Sha256, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let end: End = serde_json::from_slice(bytes).map_err(|e| self.fault(e.to_string()))?;
        let is_so = end.sha256 == hex(&before.finalize()) && (end.rows, end.logs) == (self.rows, self.logs);
        if !is_so || name != "." || json(&end)? != bytes {
            return Err(self.fault("its bytes are not those that were written: it was altered or damaged".to_owned()));
        }
        let more = self.input.fill_buf().map(|more| !more.is_empty());
        if more.map_err(|e| self.fault(e.to_string()))? {
            return Err(self.fault("something follows its end".to_owned()));
        }
        self.ended = true;
        Ok(())
    }

    fn part(&mut self) -> Result<(String, String, Vec<u8>), BackupError> {
        let line = self.line()?;
        let mut words = line.trim_end_matches('\n').splitn(3, ' ');
        let (Some(kind), Some(length), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(self.altered());
        };
        let length: u64 = length.parse().map_err(|_| self.altered())?;
        if length > LONGEST_PART || line != format!("{kind} {length} {name}\n") {
            return Err(self.altered());
        }
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(length + 1).read_to_end(&mut bytes).map_err(|e| self.fault(e.to_string()))?;
        self.read += read as u64;
        if read as u64 != length + 1 {
            return Err(self.cut());
        }
        self.hash.update(&bytes);
        match bytes.pop() {
            Some(b'\n') => Ok((kind, name, bytes)),
            _ => Err(self.altered()),
        }
    }

    fn line(&mut self) -> Result<String, BackupError> {
        let mut line = Vec::new();
        let read = (&mut self.input).take(LONGEST_HEAD).read_until(b'\n', &mut line);
        let read = read.map_err(|e| self.fault(e.to_string()))?;
        self.read += read as u64;
        if line.last() != Some(&b'\n') {
            return Err(if (read as u64) < LONGEST_HEAD { self.cut() } else { self.altered() });
        }
        self.hash.update(&line);
        String::from_utf8(line).map_err(|_| self.altered())
    }

    fn cut(&self) -> BackupError {
        self.fault(format!("it is cut off after {} bytes", self.read))
    }
    fn altered(&self) -> BackupError {
        self.fault(format!("what stands there after {} bytes is no part of a backup: it was altered", self.read))
    }
    pub fn fault(&self, why: String) -> BackupError {
        BackupError::Unusable { path: self.path.clone(), why }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes as plain ASCII: what is not a visible character, and `%`, as `%XX`.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'!'..=b'$' | b'&'..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok())?;
            bytes.push(u8::from_str_radix(code, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_comes_back_from_its_name() {
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&every)).unwrap(), every);
        assert!(escape(&every).bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(unescape("a%2"), None);
    }
}
