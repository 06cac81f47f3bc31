//! The log of writes before sled: each group of rows is one frame, on disk by one write and one fdatasync before
//! anyone is answered. sled takes the rows over later, many groups at a time (`merge`), and keeps the number of the
//! last frame that it has.
//!
//! Two files in turn, written over again and again: a sync of bytes that the file has room for is half as dear as one
//! that lengthens it. The file that is not written to keeps the frames before, so sled may lose its newest rows and
//! have them again from here. Frames are numbered without gaps: one that is missing is damage and is said, never
//! taken for the end. Only the very last may be torn: nobody was told of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::disk::in_place;
use super::folder::sync;
use super::table::Rows;

/// The names of the files, in sled's folder.
const NAMES: [&str; 2] = ["wal-0", "wal-1"];
/// How long a file may get before the other is begun, in bytes. Where there is little space it is a part of that: sled
/// needs as much again to take the rows over.
const FULL: std::ops::Range<u64> = 128 << 10..8 << 20;
/// What part.
const PART: u64 = 64;
/// By how much a file grows at once, in bytes.
const GROWTH: u64 = 128 << 10;
/// How many times as long as it should be it may stay.
const LOOSE: u64 = 4;
/// How much memory is kept for the next frame, in bytes.
const BUFFER: usize = 1 << 20;
/// What a frame begins with.
const MAGIC: [u8; 4] = *b"AiRw";
/// Magic, checksum, number, length of the rows.
const HEAD: usize = 4 + 4 + 8 + 8;
/// Frames begin at multiples of this many bytes.
const ALIGN: usize = 8;
/// The length of a value that was deleted.
const DELETED: u32 = u32::MAX;

/// The log, open for appending.
pub(super) struct Wal {
    file: File,
    name: PathBuf,
    /// The other file.
    other: PathBuf,
    /// Where the next frame goes.
    end: u64,
    /// How long the file is: up to there it only has to be written over.
    room: u64,
    /// How long it should get.
    full: u64,
    /// The number of the next frame.
    next: u64,
    buffer: Vec<u8>,
}

/// What the files hold.
pub(super) struct Logged {
    /// Rows of the frames after the one that was asked for, in the order in which they were written.
    pub rows: Rows,
    /// The number of the last frame.
    pub last: u64,
    /// The file that has it.
    newest: Option<usize>,
}

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalError {
    /// The system's words.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Something is missing.
    #[error("{0}")]
    Damaged(String),
}

impl Wal {
    /// Begins the log of a store that sled has all rows of, up to the frame that was found last. The file that does not
    /// hold that frame is written over; a first frame without rows shows that the disk takes it.
    pub fn begin(store: &Path, found: &Logged) -> io::Result<Self> {
        let which = found.newest.map_or(0, |newest| 1 - newest);
        let is_new = NAMES.iter().any(|name| !store.join(name).exists());
        let mut wal = Self::over(store.join(NAMES[which]), store.join(NAMES[1 - which]), found.last + 1)?;
        if is_new {
            File::options().write(true).create(true).truncate(false).open(&wal.other)?.sync_all()?;
            wal.file.sync_all()?;
            sync(store)?;
        }
        wal.append(std::iter::empty())?;
        Ok(wal)
    }
    /// Begins the other file. sled has to have all frames that are in it.
    pub fn turn(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.shrink_to(BUFFER);
        let was_there = self.other.exists();
        *self = Self { buffer, ..Self::over(self.other.clone(), self.name.clone(), self.next)? };
        match self.name.parent() {
            Some(store) if !was_there => sync(store),
            _ => Ok(()),
        }
    }
    fn over(name: PathBuf, other: PathBuf, next: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&name)?;
        let space = nix::sys::statvfs::fstatvfs(&file)?;
        let full = (space.blocks_available() * space.fragment_size() / PART).clamp(FULL.start, FULL.end);
        let mut room = file.metadata()?.len();
        if room > LOOSE * full {
            // Sled was slow once, or there was more space.
            file.set_len(full)?;
            room = full;
        }
        Ok(Self { file, name, other, end: 0, room, full, next, buffer: Vec::new() })
    }

    /// Appends a frame; it is on disk, where the next start looks for it, when this returns. After an error the log has
    /// to be begun again.
    pub fn append<'r>(&mut self, rows: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)>) -> io::Result<()> {
        self.buffer.clear();
        frame(&mut self.buffer, self.next, rows);
        let end = self.end + self.buffer.len() as u64;
        if end > self.room {
            self.room = end.next_multiple_of(GROWTH);
            self.buffer.resize((self.room - self.end) as usize, 0);
        }
        self.file.write_all_at(&self.buffer, self.end)?;
        self.file.sync_data()?;
        in_place(&self.file, &self.name)?;
        (self.end, self.next) = (end, self.next + 1);
        Ok(())
    }
    /// The number of the last frame.
    pub fn last(&self) -> u64 {
        self.next - 1
    }
    /// Whether there is so little space that sled should take the rows over at once.
    pub fn is_short(&self) -> bool {
        self.full == FULL.start
    }
    /// It is full at so many bytes, until it turns.
    #[cfg(test)]
    pub fn fill_at(&mut self, bytes: u64) {
        self.full = bytes;
    }
    /// How many times over the file is as long as it should get.
    pub fn fullness(&self) -> u64 {
        self.end / self.full
    }
}

impl Logged {
    /// Reads the log of a store whose sled has the frames up to `merged`: 0 in a store that never had a log.
    pub fn read(store: &Path, merged: u64) -> Result<Self, WalError> {
        let mut files = Vec::new();
        for name in NAMES {
            match synced(&store.join(name)) {
                Ok(bytes) => files.push(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound && merged == 0 => files.push(Vec::new()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(WalError::Damaged(format!("its file {name} is not there")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        // The one that sled has last says that this is its log, where no later one does.
        let mut frames: BTreeMap<u64, (usize, &[u8])> = BTreeMap::new();
        for (which, bytes) in files.iter().enumerate() {
            for (number, rows) in frames_of(bytes).filter(|(number, _)| *number >= merged) {
                frames.insert(number, (which, rows));
            }
        }
        let Some((&last, &(newest, _))) = frames.last_key_value() else {
            if merged == 0 {
                return Ok(Self { rows: Rows::new(), last: 0, newest: None });
            }
            return Err(WalError::Damaged(format!(
                "write {merged}, which sled has, and all later ones are not in its log"
            )));
        };
        let mut logged = Self { rows: Rows::new(), last, newest: Some(newest) };
        for number in merged + 1..=last {
            let Some((_, bytes)) = frames.get(&number) else {
                return Err(WalError::Damaged(format!(
                    "write {number} is neither in sled nor in its log, write {last} is"
                )));
            };
            rows_of(bytes, &mut logged.rows)
                .ok_or_else(|| WalError::Damaged(format!("write {number} can't be read")))?;
        }
        Ok(logged)
    }
}

/// A file's bytes, which are on disk when this returns: a process that was killed may have left some in memory only.
fn synced(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.sync_data()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn frame<'r>(to: &mut Vec<u8>, number: u64, rows: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)>) {
    to.extend_from_slice(&[0; HEAD]);
    for (key, value) in rows {
        to.extend_from_slice(&length(key).to_le_bytes());
        to.extend_from_slice(&value.map_or(DELETED, length).to_le_bytes());
        to.extend_from_slice(key);
        to.extend_from_slice(value.unwrap_or_default());
    }
    let rows = (to.len() - HEAD) as u64;
    to[..4].copy_from_slice(&MAGIC);
    to[8..16].copy_from_slice(&number.to_le_bytes());
    to[16..HEAD].copy_from_slice(&rows.to_le_bytes());
    let sum = crc32fast::hash(&to[8..]);
    to[4..8].copy_from_slice(&sum.to_le_bytes());
    to.resize(to.len().next_multiple_of(ALIGN), 0);
}

/// Keys and values are some KB long.
fn length(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

/// All frames of a file that are whole, wherever they are in it: what is torn or from an earlier turn hides none.
fn frames_of(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEAD) {
            if let Some((number, rows)) = whole(rest) {
                at += (HEAD + rows.len()).next_multiple_of(ALIGN);
                return Some((number, rows));
            }
            at += ALIGN;
        }
        None
    })
}

/// The frame that begins here, if there is one.
fn whole(bytes: &[u8]) -> Option<(u64, &[u8])> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let rows = usize::try_from(u64::from_le_bytes(bytes.get(16..HEAD)?.try_into().ok()?)).ok()?;
    let end = HEAD.checked_add(rows)?;
    let sum = crc32fast::hash(bytes.get(8..end)?);
    let number = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    (bytes.get(4..8)? == sum.to_le_bytes()).then(|| (number, &bytes[HEAD..end]))
}

fn rows_of(mut bytes: &[u8], to: &mut Rows) -> Option<()> {
    while !bytes.is_empty() {
        let (key_length, rest) = bytes.split_first_chunk()?;
        let (value_length, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
        let (value, rest) = match u32::from_le_bytes(*value_length) {
            DELETED => (None, rest),
            length => rest.split_at_checked(length as usize).map(|(value, rest)| (Some(value), rest))?,
        };
        to.insert(key.into(), value.map(Into::into));
        bytes = rest;
    }
    Some(())
}
