//! Durations as Go's `time.ParseDuration` reads them, with its words for what is wrong.

use crate::value::quote;

/// Units and their nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds of `1h2m3.5s`, `-1s` or `0`.
///
/// # Errors
/// Go's message.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!(
                "time: unknown unit {} in duration {}",
                quote(unit),
                quote(text)
            ));
        };
        let whole = if whole.is_empty() { Ok(0) } else { whole.parse::<u64>() };
        let part = whole
            .ok()
            .and_then(|n| n.checked_mul(*nanos))
            .and_then(|n| n.checked_add(fraction_of(fraction, *nanos)));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        rest = next;
    }
    let total = i128::from(total) * if negative { -1 } else { 1 };
    i64::try_from(total).map_err(|_| invalid())
}

/// The nanoseconds of the digits behind a decimal point; those beyond what counts are dropped.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let (mut sum, mut scale) = (0u128, 1u128);
    for digit in digits.bytes().take(18) {
        sum = sum * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    u64::try_from(sum * u128::from(unit) / scale).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        let check = |text: &str, expected: i64| assert_eq!(parse_duration(text), Ok(expected), "{text:?}");
        check("0", 0);
        check("-0", 0);
        check("5s", 5_000_000_000);
        check("1h2m3.5s", 3_723_500_000_000);
        check("-1.5us", -1500);
        check(".5s", 500_000_000);
        check("1.s", 1_000_000_000);
        check("0.1234567899999999999999s", 123_456_789);
        check("\u{b5}s".replace('\u{b5}', "3\u{b5}").as_str(), 3000);
        check("2562047h47m16.854775807s", i64::MAX);
        check("-2562047h47m16.854775808s", i64::MIN);
        let wrong = |text: &str, expected: &str| assert_eq!(parse_duration(text).unwrap_err(), expected, "{text:?}");
        wrong("", "time: invalid duration \"\"");
        wrong("-", "time: invalid duration \"-\"");
        wrong("x", "time: invalid duration \"x\"");
        wrong(".s", "time: invalid duration \".s\"");
        wrong("1..5s", "time: invalid duration \"1..5s\"");
        wrong("5", "time: missing unit in duration \"5\"");
        wrong("5x", "time: unknown unit \"x\" in duration \"5x\"");
        wrong("1h 5s", "time: unknown unit \"h \" in duration \"1h 5s\"");
        wrong(
            "2562047h47m16.854775808s",
            "time: invalid duration \"2562047h47m16.854775808s\"",
        );
        wrong(
            "99999999999999999999s",
            "time: invalid duration \"99999999999999999999s\"",
        );
    }
}
