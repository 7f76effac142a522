//! Values as Go's and Docker's libraries read them, with their words for what is wrong.

pub use crate::duration::parse_duration;

/// Go's `strconv.ParseBool`.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's `%q`, as far as messages need it.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("{text:?}")
}

/// Docker's sizes (go-units `RAMInBytes`): a decimal number and an optional unit, `b k m g t p` in powers of 1024, also
/// written `kb` or `kib`.
///
/// # Errors
/// go-units' message.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let err = || format!("invalid size: '{text}'");
    let end = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.')
        .map(|at| at + 1)
        .ok_or_else(err)?;
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    if number.starts_with('+') || number.contains(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-')) {
        return Err(err());
    }
    let size: f64 = number.parse().map_err(|_| err())?;
    if size < 0.0 {
        return Err(err());
    }
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(format!("invalid suffix: '{unit}'")),
    };
    let bytes = size * 1024f64.powi(power);
    if bytes >= 9.2e18 {
        return Err(err());
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked above")]
    Ok(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_reads_them() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse_bytes(text).ok(), expected, "{text:?}");
        check("512m", Some(512 << 20));
        check("512M", Some(512 << 20));
        check("1g", Some(1 << 30));
        check("1.5g", Some(3 << 29));
        check("64", Some(64));
        check("64b", Some(64));
        check("64 kb", Some(65536));
        check("64KiB", Some(65536));
        check("0", Some(0));
        for bad in [
            "",
            "x",
            "-1",
            "1x",
            "1mm",
            "m",
            "1..5g",
            "1e5",
            "+1",
            "1  k",
            "99999999999p",
            "١",
        ] {
            check(bad, None);
        }
    }
}
