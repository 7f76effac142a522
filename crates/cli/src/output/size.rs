//! Sizes as Docker prints them.

/// Bytes in powers of 1000, with three digits: `437MB`, `2.03MB`.
pub(crate) fn short(bytes: u64) -> String {
    human(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// Bytes in powers of 1000, with four digits: `437.1MB`.
pub(crate) fn long(bytes: u64) -> String {
    human(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 4)
}

/// Bytes in powers of 1024: `23.54GiB`.
pub(crate) fn binary(bytes: u64) -> String {
    human(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

#[expect(clippy::cast_precision_loss, reason = "at most four digits are shown")]
fn human(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut size = bytes as f64;
    let mut at = 0;
    while size >= base && at + 1 < units.len() {
        size /= base;
        at += 1;
    }
    format!("{}{}", general(size, digits), units[at])
}

/// Go's `%.Ng`: so many significant digits, without trailing zeros. What rounds up beyond them is written with an
/// exponent: 999.9 with three digits is `1e+03`.
fn general(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match exponent.parse::<usize>() {
        Ok(exponent) if exponent < digits => trim(&format!("{value:.*}", digits - 1 - exponent)),
        Ok(exponent) => format!("{}e+{exponent:02}", trim(mantissa)),
        // Below one: sizes are whole numbers, so this is zero.
        Err(_) => trim(&format!("{value:.*}", digits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_dockers() {
        for (bytes, expected_short, expected_long, expected_binary) in [
            (0, "0B", "0B", "0B"),
            (1, "1B", "1B", "1B"),
            (999, "999B", "999B", "999B"),
            (1000, "1kB", "1kB", "1000B"),
            (1023, "1.02kB", "1.023kB", "1023B"),
            (1024, "1.02kB", "1.024kB", "1KiB"),
            (2_026_481, "2.03MB", "2.026MB", "1.933MiB"),
            (437_100_000, "437MB", "437.1MB", "416.9MiB"),
            (999_900, "1e+03kB", "999.9kB", "976.5KiB"),
            (25_276_514_304, "25.3GB", "25.28GB", "23.54GiB"),
            (u64::MAX, "18.4EB", "18.45EB", "16EiB"),
        ] {
            assert_eq!(
                (short(bytes).as_str(), long(bytes).as_str(), binary(bytes).as_str()),
                (expected_short, expected_long, expected_binary)
            );
        }
    }
}
