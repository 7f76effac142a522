//! Points in time as a person gives them: `10m` (ago), `2024-05-01`, `2024-05-01T10:00:00+02:00`, `1714557600.5`.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Reads a point in time. A duration is counted back from `now`; a date without a time zone is one of `zone`. `None`
/// where the text is neither.
#[must_use]
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if let Some(ago) = duration(text) {
        return now.checked_sub(ago).ok();
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return unix(text);
    }
    if !text.is_ascii() || text.len() > 64 {
        return None;
    }
    // A zone is what follows the time: `Z`, `+02:00`. Dates alone may carry one, too: `2024-05-01Z`.
    let (local, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, Some(0)),
        None => match text.get(10..).and_then(|rest| rest.rfind(['+', '-'])) {
            Some(at) => (&text[..10 + at], Some(offset(&text[10 + at..])?)),
            None => (text, None),
        },
    };
    let local = civil(local)?;
    match offset {
        Some(seconds) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?)
            .to_timestamp(local)
            .ok(),
        None => zone.to_timestamp(local).ok(),
    }
}

/// `2006-01-02`, `2006-01-02T15`, `2006-01-02T15:04` or `2006-01-02T15:04:05[.999]`.
fn civil(text: &str) -> Option<DateTime> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time),
        None => (text, "00:00"),
    };
    let time = if time.len() == 2 {
        format!("{time}:00")
    } else {
        time.to_owned()
    };
    if date.len() != 10 || time.len() < 5 || !time.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    format!("{date}T{time}").parse().ok()
}

/// Seconds of `+02:00`.
fn offset(text: &str) -> Option<i32> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    Some(sign * (hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60))
}

/// Seconds since 1970, with up to nine digits of a fraction.
fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

/// Go's durations: `1h30m`, `1.5s`, `-10ms`, `0`.
#[must_use]
pub fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let nanos: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 18 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut part: i128 = 0;
        let mut scale = nanos;
        for digit in fraction.bytes() {
            scale /= 10;
            part += i128::from(digit - b'0') * scale;
        }
        total = total.checked_add(whole.checked_mul(nanos)? + part)?;
        rest = next;
    }
    let nanos = i64::try_from(total).ok()?;
    Some(SignedDuration::from_nanos(if negative { -nanos } else { nanos }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let now = "2024-05-01T10:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(Offset::from_seconds(7200).unwrap());
        for (text, expected) in [
            ("10m", Some("2024-05-01T09:50:00Z")),
            ("1h30m", Some("2024-05-01T08:30:00Z")),
            ("-1h", Some("2024-05-01T11:00:00Z")),
            ("0", Some("2024-05-01T10:00:00Z")),
            ("2024-05-01", Some("2024-04-30T22:00:00Z")),
            ("2024-05-01Z", Some("2024-05-01T00:00:00Z")),
            ("2024-05-01T10", Some("2024-05-01T08:00:00Z")),
            ("2024-05-01T10:05", Some("2024-05-01T08:05:00Z")),
            ("2024-05-01T10:05:06.5", Some("2024-05-01T08:05:06.5Z")),
            ("2024-05-01T10:05:06.123456789Z", Some("2024-05-01T10:05:06.123456789Z")),
            ("2024-05-01T10:05:06-03:30", Some("2024-05-01T13:35:06Z")),
            ("1714557600", Some("2024-05-01T10:00:00Z")),
            ("1714557600.25", Some("2024-05-01T10:00:00.25Z")),
            ("foo", None),
            ("", None),
            ("10", Some("1970-01-01T00:00:10Z")),
            ("10x", None),
            ("1.2.3", None),
            ("2024-13-01", None),
            ("2024-05-01T", None),
            ("2024-05-01T25:00", None),
            ("99999999999999999999", None),
            ("999999999999999999h", None),
            ("2024-05-01T10:00:00+x", None),
        ] {
            let expected: Option<Timestamp> = expected.map(|e| e.parse().unwrap());
            assert_eq!(parse(text, now, &zone), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, nanos) in [
            ("1.5s", Some(1_500_000_000)),
            ("10ms", Some(10_000_000)),
            ("1h1m1s1ms1us1ns", Some(3_661_001_001_001)),
            (".5s", Some(500_000_000)),
            ("+2s", Some(2_000_000_000)),
            ("s", None),
            (".s", None),
            ("1", None),
            ("-", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_nanos()), nanos, "{text}");
        }
    }
}
