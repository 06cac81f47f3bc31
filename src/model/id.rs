//! Ids that sort by time, whatever the clock does: the store gives each a number larger than the last.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::InvalidName;

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn encode(mut value: u64, width: usize) -> String {
    let mut out = vec![b'0'; width];
    for slot in out.iter_mut().rev() {
        *slot = DIGITS[(value & 31) as usize];
        value >>= 5;
    }
    out.into_iter().map(char::from).collect()
}

fn decode(text: &str) -> Option<u64> {
    text.bytes().try_fold(0u64, |value, byte| {
        let digit = DIGITS.iter().position(|d| *d == byte)? as u64;
        value.checked_mul(32)?.checked_add(digit)
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&encode(self.0, 13))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                match decode(text) {
                    Some(value) if text.len() == 13 => Ok(Self(value)),
                    _ => Err(InvalidName::new($what, text, "it is not 13 of the digits 0-9 a-z without i l o u")),
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

id!(
    /// One webhook call.
    DeliveryId, "delivery id"
);
id!(
    /// One hold.
    HoldId, "hold id"
);
id!(
    /// One server that was asked for.
    ServerId, "server id"
);
id!(
    /// One question of who would break.
    ImpactId, "impact id"
);
id!(
    /// One event: milliseconds since 1970 shifted by 20 bits, plus a count.
    EventId, "event id"
);

/// A plan has the id of the event that it answers.
pub type PlanId = EventId;

/// A job: the event that made it, and its place in that event's plan. Written `EVENT-nnn`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId {
    /// The event whose plan made the job.
    pub event: EventId,
    /// Its place in that plan, from 0.
    pub index: u16,
}

impl JobId {
    /// No job's: what the daemon runs for itself.
    pub const NONE: Self = Self { event: EventId(0), index: 0 };

    /// Its key in the store: ten bytes that sort as the ids do.
    pub fn to_key(self) -> [u8; 10] {
        let mut key = [0; 10];
        key[..8].copy_from_slice(&self.event.0.to_be_bytes());
        key[8..].copy_from_slice(&self.index.to_be_bytes());
        key
    }
    /// From its key in the store.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let event = EventId(u64::from_be_bytes(key.get(..8)?.try_into().ok()?));
        let index = u16::from_be_bytes(key.get(8..10)?.try_into().ok()?);
        Some(Self { event, index })
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.event, encode(self.index.into(), 3)))
    }
}
impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl std::str::FromStr for JobId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = || InvalidName::new("job id", text, "it looks like 1jq3m8x2k4a0c-000; `airplanes jobs` lists them");
        let (event, index) = text.split_once('-').ok_or_else(bad)?;
        let event = event.parse().map_err(|_| bad())?;
        let index = decode(index).filter(|_| index.len() == 3).and_then(|i| u16::try_from(i).ok()).ok_or_else(bad)?;
        Ok(Self { event, index })
    }
}
impl TryFrom<String> for JobId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}
impl From<JobId> for String {
    fn from(id: JobId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text_and_sort_as_numbers() {
        let early = JobId { event: EventId(1_790_000_000_000 << 20), index: 9 };
        let late = JobId { event: EventId((1_790_000_000_000 << 20) + 1), index: 0 };
        assert!(early.to_string() < late.to_string());
        assert!(early.to_key() < late.to_key());
        assert_eq!(early.to_string().parse::<JobId>().unwrap(), early);
        assert_eq!(JobId::from_key(&late.to_key()), Some(late));
        assert!("xyz".parse::<JobId>().is_err());
        assert!("zzzzzzzzzzzzzz-000".parse::<JobId>().is_err());
    }
}
