//! What upkeep does and what room there is, as HTTP gives it and the command line reads it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A number of bytes, for people: `1.2 GB`, in powers of a thousand as `:min-free` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
        let (mut value, mut unit) = (self.0 as f64, 0);
        // What would be written as 1000 of a unit is 1 of the next.
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0 && value < 99.95 && (value * 10.0).round() % 10.0 != 0.0);
        f.pad(&format!("{value:.digits$} {}", UNITS[unit]))
    }
}

/// How much room the disk of the state directory has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskView {
    /// The state directory.
    pub path: String,
    /// Bytes that the daemon can still write.
    pub free: u64,
    /// Bytes that the disk has.
    pub total: u64,
    /// `:disk {:min-free}`: no build begins below that.
    pub min_free: u64,
    /// Why no build begins, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<String>,
}

/// One round of upkeep, as far as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcView {
    /// Whether it only looks.
    pub dry_run: bool,
    /// `operator`, or `timer`.
    pub by: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it is under way.
    pub finished_at: Option<Timestamp>,
    /// What it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    /// What went, or in a dry run would go, kind by kind.
    pub kinds: Vec<GcKind>,
    /// What could not be done, and why. It is tried again the next time.
    pub faults: Vec<String>,
    /// The disk before.
    pub disk_before: Option<DiskView>,
    /// The disk after.
    pub disk_after: Option<DiskView>,
}

/// One kind of what upkeep sees to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcKind {
    /// `jobs`, `events`, `deliveries`, `logs`, `work`, `leftovers`, `artifacts`, `mirrors`, `maintenance`.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// How many bytes that frees; what leaves the store is used again by it, and given back when it is compacted.
    pub bytes: u64,
}

impl GcView {
    /// All bytes together.
    pub fn bytes(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_people_read_them() {
        let said = |n: u64| Bytes(n).to_string();
        let all = [0, 999, 1000, 1234, 99_949, 999_499, 999_500, 2_000_000_000, 1_250_000_000, 3_000_000_000_000];
        let all: Vec<String> = all.into_iter().map(said).collect();
        assert_eq!(all, ["0 B", "999 B", "1 KB", "1.2 KB", "99.9 KB", "999 KB", "1 MB", "2 GB", "1.2 GB", "3 TB"]);
    }
}
