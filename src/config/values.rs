//! Times and sizes as people write them: `"30m"`, `"2GB"`. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A length of time: `"500ms"`, `"10s"`, `"30m"`, `"1h"`, `"2d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub Duration);

/// A number of bytes: `"500MB"`, `"2GB"`, and in powers of two `"2GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub u64);

const TIME: &str = "a time like \"30m\": a whole number and one of ms, s, m, h, d";
const SIZE: &str = "a size like \"2GB\": a whole number and one of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB";

impl Time {
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let millis = number.checked_mul(millis)?;
        // A hundred years: longer than anything meant, and short enough to add to any clock.
        (millis <= 100 * 366 * 86_400_000).then_some(Self(Duration::from_millis(millis)))
    }
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let (base, power) = match unit {
            "B" => (1, 1),
            "KB" => (1000, 1),
            "MB" => (1000, 2),
            "GB" => (1000, 3),
            "TB" => (1000, 4),
            "KiB" => (1024, 1),
            "MiB" => (1024, 2),
            "GiB" => (1024, 3),
            "TiB" => (1024, 4),
            _ => return None,
        };
        number.checked_mul(u64::pow(base, power)).map(Self)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.strip_prefix(' ').unwrap_or(unit)))
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written { parse: Self::parse, expected: TIME })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written { parse: Self::parse, expected: SIZE })
    }
}

/// A string that is written in a form of its own.
struct Written<T> {
    parse: fn(&str) -> Option<T>,
    expected: &'static str,
}

impl<T> de::Visitor<'_> for Written<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::custom(format!("expected {}", self.expected)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_a_number_and_a_unit() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("30m", 1_800_000), ("1 h", 3_600_000), ("0s", 0)] {
            assert_eq!(Time::parse(text), Some(Time(Duration::from_millis(millis))), "{text}");
        }
        assert_eq!(Time::parse("2d"), Some(Time(Duration::from_secs(172_800))));
        for bad in ["", "30", "m", "-1s", "1.5h", "30 min", "1h30m", "99999999999999999999s", "400000d"] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
        assert_eq!(Size::parse("2GB"), Some(Size(2_000_000_000)));
        assert_eq!(Size::parse("1 KiB"), Some(Size(1024)));
        assert_eq!(Size::parse("2gb"), None);
    }
}
