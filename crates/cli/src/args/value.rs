//! Values of flags, read as Go reads them, with its words for what is wrong.

pub(crate) use hull_spec::value::{parse_bool, parse_bytes, quote};

/// Go's complaint about a text that [`parse_bool`] does not read.
pub(crate) fn bool_error(text: &str) -> String {
    format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))
}

/// Go's `strconv.ParseInt(text, 0, 64)`: the base is in the prefix, and `_` may separate digits after one.
///
/// # Errors
/// Go's message.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    let err = |what: &str| format!("strconv.ParseInt: parsing {}: {what}", quote(text));
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_magnitude(digits).map_err(err)?;
    let value = if negative {
        -i128::from(magnitude)
    } else {
        i128::from(magnitude)
    };
    i64::try_from(value).map_err(|_| err("value out of range"))
}

/// Go's `strconv.ParseUint(text, 0, bits)`.
///
/// # Errors
/// Go's message.
pub(crate) fn parse_uint(text: &str, bits: u32) -> Result<u64, String> {
    let err = |what: &str| format!("strconv.ParseUint: parsing {}: {what}", quote(text));
    let value = parse_magnitude(text).map_err(err)?;
    if bits < 64 && value >> bits != 0 {
        return Err(err("value out of range"));
    }
    Ok(value)
}

fn parse_magnitude(digits: &str) -> Result<u64, &'static str> {
    let bytes = digits.as_bytes();
    let (radix, body) = match bytes {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let mut clean = body.to_owned();
    if radix != 10 {
        clean.retain(|c| c != '_');
    }
    if clean.is_empty() || !clean.chars().all(|c| c.is_digit(radix)) {
        return Err("invalid syntax");
    }
    u64::from_str_radix(&clean, radix).map_err(|_| "value out of range")
}

/// As [`parse_bytes`], but `-1` stands for no limit.
///
/// # Errors
/// go-units' message.
pub(crate) fn parse_swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { parse_bytes(text) }
}

/// Docker's `--cpus`: a decimal or `a/b`, in billionths of a CPU.
///
/// # Errors
/// Docker's message.
pub(crate) fn parse_cpus(text: &str) -> Result<i64, String> {
    let err = || format!("failed to parse {text} as a rational number");
    let (numerator, denominator) = match text.split_once('/') {
        Some((a, b)) => (a, b.parse::<u64>().ok().filter(|b| *b > 0).ok_or_else(err)?),
        None => (text, 1),
    };
    let (negative, digits) = match numerator.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, numerator.strip_prefix('+').unwrap_or(numerator)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || !(whole.to_owned() + fraction).bytes().all(|b| b.is_ascii_digit()) {
        return Err(err());
    }
    if denominator != 1 && digits.contains('.') {
        return Err(err());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let units = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<i128>() };
    let nanos = units(whole)
        .map_err(|_| err())?
        .checked_mul(1_000_000_000)
        .ok_or_else(err)?
        + units(&format!("{fraction:0<9}")).map_err(|_| err())?;
    if nanos % i128::from(denominator) != 0 {
        return Err("value is too precise".to_owned());
    }
    let nanos = nanos / i128::from(denominator) * if negative { -1 } else { 1 };
    i64::try_from(nanos).map_err(|_| err())
}

pub(crate) fn check_int(text: &str) -> Result<(), String> {
    parse_int(text).map(drop)
}

pub(crate) fn check_bytes(text: &str) -> Result<(), String> {
    parse_bytes(text).map(drop)
}

pub(crate) fn check_swap(text: &str) -> Result<(), String> {
    parse_swap(text).map(drop)
}

pub(crate) fn check_cpus(text: &str) -> Result<(), String> {
    parse_cpus(text).map(drop)
}

pub(crate) fn check_uint16(text: &str) -> Result<(), String> {
    parse_uint(text, 16).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_has_no_limit_where_it_is_minus_one() {
        assert_eq!((parse_swap("-1"), parse_swap("1k")), (Ok(-1), Ok(1024)));
    }

    #[test]
    fn whole_numbers_read_as_go_reads_them() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse_int(text).ok(), expected, "{text:?}");
        check("10", Some(10));
        check("-1", Some(-1));
        check("+5", Some(5));
        check("0x1F", Some(31));
        check("017", Some(15));
        check("0o17", Some(15));
        check("0b11", Some(3));
        check("-9223372036854775808", Some(i64::MIN));
        check("9223372036854775808", None);
        for bad in ["", "-", "a", "1a", "1.0", "0x", "08", "--1", "- 1"] {
            check(bad, None);
        }
        assert!(parse_uint("70000", 16).unwrap_err().ends_with("value out of range"));
    }

    #[test]
    fn cpus_are_exact() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse_cpus(text).ok(), expected, "{text:?}");
        check("1", Some(1_000_000_000));
        check("0.5", Some(500_000_000));
        check(".5", Some(500_000_000));
        check("1/4", Some(250_000_000));
        check("1.000000001", Some(1_000_000_001));
        check("0.5000000000000", Some(500_000_000));
        check("-1", Some(-1_000_000_000));
        for bad in [
            "",
            ".",
            "a",
            "1/0",
            "1/3",
            "1.0000000001",
            "1.5/2",
            "9999999999999999999999",
        ] {
            check(bad, None);
        }
    }
}
