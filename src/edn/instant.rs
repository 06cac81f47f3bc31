//! `#inst` and `#uuid` as Clojure's default readers take them.

/// The milliseconds since 1970 of an `#inst` string, `yyyy-mm-ddThh:mm:ss.fffZ` cut off anywhere after the year and
/// with an optional offset; `None` if Clojure refuses it.
pub fn instant_millis(text: &str) -> Option<i64> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    let mut month = 1;
    let mut day = 1;
    let (mut hour, mut minute, mut second, mut millis) = (0, 0, 0, 0);
    // Each part can only follow the one before it.
    'parts: {
        for (mark, part) in
            [("-", &mut month), ("-", &mut day), ("T", &mut hour), (":", &mut minute), (":", &mut second)]
        {
            let Some(mut after) = rest.strip_prefix(mark) else { break 'parts };
            let Some(value) = digits(&mut after, 2) else { break 'parts };
            (*part, rest) = (value, after);
        }
        if let Some(after) = rest.strip_prefix('.') {
            let count = after.bytes().take_while(u8::is_ascii_digit).count();
            if count > 0 {
                let padded = format!("{:0<3}", &after[..count]);
                millis = padded[..3].parse().ok()?;
                rest = &after[count..];
            }
        }
    }
    let mut offset = 0;
    if let Some(after) = rest.strip_prefix('Z') {
        rest = after;
    } else if let Some(sign) = rest.chars().next().filter(|c| matches!(c, '+' | '-')) {
        let mut after = &rest[1..];
        let hours = digits(&mut after, 2)?;
        after = after.strip_prefix(':')?;
        let minutes = digits(&mut after, 2)?;
        if hours > 23 || minutes > 59 {
            return None;
        }
        offset = (hours * 60 + minutes) * if sign == '-' { -60 } else { 60 };
        rest = after;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let last_second = if minute == 59 { 60 } else { 59 };
    let valid = (1..=12).contains(&month) && (1..=month_days).contains(&day) && hour <= 23 && minute <= 59;
    if !rest.is_empty() || !valid || second > last_second {
        return None;
    }
    // Days from the civil calendar, the year beginning in March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = y.div_euclid(400);
    let day_of_era =
        y.rem_euclid(400) * 365 + y.rem_euclid(400) / 4 - y.rem_euclid(400) / 100 + (153 * m + 2) / 5 + day - 1;
    let days = era * 146_097 + day_of_era - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second - offset) * 1000 + millis)
}

fn digits(rest: &mut &str, count: usize) -> Option<i64> {
    let taken = rest.get(..count).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    *rest = &rest[count..];
    taken.parse().ok()
}

/// The 128 bits of a `#uuid` string; lenient as Java is (`f-7-1-a-8`). `None` if it is refused.
pub fn uuid_bits(text: &str) -> Option<u128> {
    if text.len() > 36 {
        return None;
    }
    let mut bits = 0u128;
    let mut parts = text.split('-');
    for width in [32, 16, 16, 16, 48] {
        let part = parts.next()?;
        let value = i64::from_str_radix(part, 16).ok()? as u128;
        bits = bits << width | (value & ((1 << width) - 1));
    }
    parts.next().is_none().then_some(bits)
}
