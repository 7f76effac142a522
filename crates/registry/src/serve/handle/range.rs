//! Byte ranges: of downloads (RFC 9110, 14.2), and of chunks of uploads.

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: there is no range, or one that is not understood, or several.
    All,
    /// From this byte, so many.
    Part(u64, u64),
    /// Nothing that is there.
    Nothing,
}

/// Reads a `Range` header for something of `size` bytes.
pub(super) fn wanted(value: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = value.and_then(|value| value.trim().strip_prefix("bytes=")) else {
        return Wanted::All;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Wanted::All;
    };
    let number = |text: &str| {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), last) => {
            if !(last.is_some() || spec.trim_end().ends_with('-')) || last.is_some_and(|last| last < first) {
                return Wanted::All;
            }
            if first >= size {
                return Wanted::Nothing;
            }
            let end = last.map_or(size, |last| last.saturating_add(1).min(size));
            Wanted::Part(first, end - first)
        }
        (None, Some(count)) if first.trim().is_empty() => match count.min(size) {
            0 => Wanted::Nothing,
            count => Wanted::Part(size - count, count),
        },
        _ => Wanted::All,
    }
}

/// Reads the `Content-Range` of a chunk, `FIRST-LAST`, as the specification writes it; with `bytes` before and `/SIZE`
/// behind, as RFC 9110 does.
pub(super) fn chunk(value: &str) -> Option<(u64, u64)> {
    let value = value.trim();
    let value = value.strip_prefix("bytes").map_or(value, str::trim_start);
    let value = value.split('/').next().unwrap_or(value);
    let (first, last) = value.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return None;
    }
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_downloads() {
        let check = |value: &str, expected: Wanted| assert_eq!(wanted(Some(value), 10), expected, "{value}");
        check("bytes=0-", Wanted::Part(0, 10));
        check("bytes=3-5", Wanted::Part(3, 3));
        check("bytes=3-99", Wanted::Part(3, 7));
        check("bytes=-4", Wanted::Part(6, 4));
        check("bytes=-99", Wanted::Part(0, 10));
        check("bytes=-0", Wanted::Nothing);
        check("bytes=10-", Wanted::Nothing);
        check("bytes=99999999999999999999999-", Wanted::Nothing);
        check("bytes=5-3", Wanted::All);
        check("bytes=0-1,3-4", Wanted::All);
        check("bytes=a-b", Wanted::All);
        check("items=0-1", Wanted::All);
        check("bytes=-", Wanted::All);
        check("bytes=0-18446744073709551615", Wanted::Part(0, 10));
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(wanted(None, 10), Wanted::All);
    }

    #[test]
    fn ranges_of_chunks() {
        let check = |value: &str, expected: Option<(u64, u64)>| assert_eq!(chunk(value), expected, "{value}");
        check("0-9", Some((0, 9)));
        check("bytes 5-9/10", Some((5, 9)));
        check("9-0", None);
        check("0", None);
        check("-5", None);
        check("0-18446744073709551615", None);
        check("+1-2", None);
        check("0-99999999999999999999999", None);
    }
}
