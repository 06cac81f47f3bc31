//! Numbers: integers of any size and radix, ratios, floats and decimals, as Clojure's reader classes them.

/// A number's value, in a form in which equal numbers of a class are equal.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// A 64-bit integer.
    Int(i64),
    /// A larger integer, or one marked `N`: decimal digits, a leading `-`, no leading zeros.
    BigInt(String),
    /// A double.
    Float(f64),
    /// A decimal marked `M`: its digits as an integer (like a `BigInt`) and how many of them follow the point.
    Decimal {
        /// The digits, without the point.
        digits: String,
        /// Its power of ten, negated.
        scale: i64,
    },
    /// A ratio in lowest terms, as far as its parts have at most 38 digits.
    Ratio {
        /// Like a `BigInt`.
        numerator: String,
        /// Positive, at least 2.
        denominator: String,
    },
}

/// Why a text is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has no number's form.
    Form,
    /// A ratio's denominator is zero.
    DivideByZero,
}

impl Number {
    /// Whether two numbers are `=` in Clojure: integers with integers, doubles with doubles, decimals by value.
    pub fn same(&self, other: &Number) -> bool {
        match (self, other) {
            (Number::Int(a), Number::BigInt(b)) | (Number::BigInt(b), Number::Int(a)) => a.to_string() == *b,
            (Number::Decimal { digits: a, scale: i }, Number::Decimal { digits: b, scale: j }) => {
                let (x, y) = (a.trim_end_matches('0'), b.trim_end_matches('0'));
                let (lost_a, lost_b) = ((a.len() - x.len()) as i64, (b.len() - y.len()) as i64);
                x == y && (x.is_empty() || i - lost_a == j - lost_b)
            }
            (a, b) => a == b,
        }
    }
}

/// What a number is written as, before its value is worked out.
enum Form<'a> {
    Int { digits: &'a str, radix: u32, big: bool },
    Ratio(&'a str, &'a str),
    Float,
    Decimal { whole: &'a str, fraction: &'a str, exponent: i64 },
}

/// Whether `text`, which begins with a digit or a sign and a digit, is a number.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    // Most numbers: decimal digits with no leading zero.
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    if digits.iter().all(u8::is_ascii_digit) && (digits[0] != b'0' || digits.len() == 1) {
        return Ok(());
    }
    match form(text)? {
        Form::Ratio(_, denominator) if denominator.bytes().all(|b| b == b'0') => Err(Fault::DivideByZero),
        _ => Ok(()),
    }
}

/// The value of a number that `check` has let through; `None` for any other text.
pub(super) fn parse(text: &str) -> Option<Number> {
    let negative = text.starts_with('-');
    let signed = |digits: String| if negative && digits != "0" { format!("-{digits}") } else { digits };
    match form(text).ok()? {
        Form::Int { digits, radix, big } => {
            if !big && let Ok(value) = i128::from_str_radix(digits, radix) {
                let value = if negative { -value } else { value };
                if let Ok(value) = i64::try_from(value) {
                    return Some(Number::Int(value));
                }
            }
            Some(Number::BigInt(signed(decimal_digits(digits, radix))))
        }
        Form::Ratio(numerator, denominator) => {
            let (numerator, denominator) = (decimal_digits(numerator, 10), decimal_digits(denominator, 10));
            let (numerator, denominator) = match (numerator.parse::<u128>(), denominator.parse::<u128>()) {
                (Ok(n), Ok(d)) if d != 0 => {
                    let gcd = gcd(n, d);
                    ((n / gcd).to_string(), (d / gcd).to_string())
                }
                _ => (numerator, denominator),
            };
            if denominator != "1" {
                return Some(Number::Ratio { numerator: signed(numerator), denominator });
            }
            let whole = signed(numerator);
            Some(whole.parse().map_or(Number::BigInt(whole), Number::Int))
        }
        Form::Float => text.parse().ok().map(Number::Float),
        Form::Decimal { whole, fraction, exponent } => {
            let digits = signed(decimal_digits(&format!("{whole}{fraction}"), 10));
            Some(Number::Decimal { digits, scale: fraction.len() as i64 - exponent })
        }
    }
}

fn form(text: &str) -> Result<Form<'_>, Fault> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all = |text: &str, allowed: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(allowed);
    let digits = |text: &str| all(text, u8::is_ascii_digit);
    let (int, big) = body.strip_suffix('N').map_or((body, false), |int| (int, true));
    if digits(int) {
        return match int.strip_prefix('0') {
            Some("") => Ok(Form::Int { digits: "0", radix: 10, big }),
            // `08` and `09` look octal and are refused.
            Some(octal) if octal.bytes().all(|b| b < b'8') => Ok(Form::Int { digits: octal, radix: 8, big }),
            Some(_) => Err(Fault::Form),
            None => Ok(Form::Int { digits: int, radix: 10, big }),
        };
    }
    if let Some(hex) = int.strip_prefix("0x").or_else(|| int.strip_prefix("0X")) {
        return if all(hex, u8::is_ascii_hexdigit) {
            Ok(Form::Int { digits: hex, radix: 16, big })
        } else {
            Err(Fault::Form)
        };
    }
    // In `36rN` the N is a digit.
    if let Some((radix, value)) = body.split_once(['r', 'R'])
        && digits(radix)
    {
        let radix =
            radix.parse().ok().filter(|r| (2..=36).contains(r) && !radix.starts_with('0')).ok_or(Fault::Form)?;
        let good = !value.is_empty() && value.is_ascii() && value.chars().all(|c| c.is_digit(radix));
        return if good { Ok(Form::Int { digits: value, radix, big: false }) } else { Err(Fault::Form) };
    }
    if let Some((numerator, denominator)) = body.split_once('/') {
        let good = digits(numerator) && digits(denominator);
        return if good { Ok(Form::Ratio(numerator, denominator)) } else { Err(Fault::Form) };
    }
    let (float, decimal) = body.strip_suffix('M').map_or((body, false), |float| (float, true));
    let (mantissa, exponent) = match float.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (float, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let good_exponent = exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    if !digits(whole) || !(fraction.is_empty() || digits(fraction)) || !good_exponent {
        return Err(Fault::Form);
    }
    if !decimal {
        return Ok(Form::Float);
    }
    // Java's decimals keep the scale in 32 bits.
    let exponent: i64 = exponent.unwrap_or("0").parse().map_err(|_| Fault::Form)?;
    let scale = fraction.len() as i64 - exponent;
    if i32::try_from(scale).is_err() || i32::try_from(exponent).is_err() {
        return Err(Fault::Form);
    }
    Ok(Form::Decimal { whole, fraction, exponent })
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Digits of any radix as decimal digits without leading zeros.
fn decimal_digits(digits: &str, radix: u32) -> String {
    if radix == 10 {
        let trimmed = digits.trim_start_matches('0');
        return if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() };
    }
    // Limbs of nine decimal digits, the lowest first.
    const LIMB: u64 = 1_000_000_000;
    let mut limbs = vec![0u64];
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        let mut carry = u64::from(digit);
        for limb in &mut limbs {
            let value = *limb * u64::from(radix) + carry;
            *limb = value % LIMB;
            carry = value / LIMB;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let mut text = limbs.last().map_or_else(String::new, u64::to_string);
    for limb in limbs.iter().rev().skip(1) {
        text.push_str(&format!("{limb:09}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_clojure_makes_of_them() {
        let big = |text: &str| Some(Number::BigInt(text.to_owned()));
        assert_eq!(parse("-0x1F"), Some(Number::Int(-31)));
        assert_eq!(parse("010"), Some(Number::Int(8)));
        assert_eq!(parse("36rZZ"), Some(Number::Int(1295)));
        assert_eq!(parse("-9223372036854775808"), Some(Number::Int(i64::MIN)));
        assert_eq!(parse("9223372036854775808"), big("9223372036854775808"));
        assert_eq!(parse("0xFFFFFFFFFFFFFFFFFFFF"), big("1208925819614629174706175"));
        assert_eq!(parse("4/2"), Some(Number::Int(2)));
        assert_eq!(parse("-6/4"), Some(Number::Ratio { numerator: "-3".into(), denominator: "2".into() }));
        for bad in ["08", "1/0x", "1a", "2r12", "37r1", "1e", "1.5N", "0x", "1e99999999999M"] {
            assert_eq!(check(bad), Err(Fault::Form), "{bad}");
        }
        assert_eq!(check("1/0"), Err(Fault::DivideByZero));
    }

    #[test]
    fn decimals_are_equal_by_value() {
        let same = |a, b| parse(a).unwrap().same(&parse(b).unwrap());
        assert!(same("1.0M", "1.00M") && same("0M", "0.000M") && same("10M", "1e1M") && same("1", "1N"));
        assert!(!same("1.0M", "1.0") && !same("1", "1.0") && !same("1M", "10M"));
    }
}
