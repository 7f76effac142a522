//! Reads the `local` form, a line an entry: `oF 1767322984657664400 text`.

use super::entry::{Attributes, Entry, Stream, Time};

/// Bytes before the text.
const HEAD: usize = 23;

/// Reads a line, which has its line feed. `None` for what is no entry.
#[inline]
pub(super) fn read(line: &[u8]) -> Option<Entry<'_>> {
    let (head, text) = line.split_at_checked(HEAD)?;
    let stream = match head[0] {
        b'o' => Stream::Stdout,
        b'e' => Stream::Stderr,
        _ => return None,
    };
    let text = match head[1] {
        b'F' => text,
        b'P' => text.strip_suffix(b"\n")?,
        _ => return None,
    };
    let time = &head[3..22];
    if head[2] != b' ' || head[22] != b' ' || !time.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(Entry {
        text,
        stream,
        time: Time::Digits(time),
        attributes: Attributes::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        for (line, expected) in [
            (
                &b"oF 1767322984657664400 a b\n"[..],
                Some((Stream::Stdout, &b"a b\n"[..])),
            ),
            (b"eF 1767322984657664400 \n", Some((Stream::Stderr, b"\n"))),
            (b"eP 1767322984657664400 half\n", Some((Stream::Stderr, b"half"))),
            (b"eP 1767322984657664400 half", None),
            (b"xF 1767322984657664400 a\n", None),
            (b"oX 1767322984657664400 a\n", None),
            (b"oF 176732298465766440x a\n", None),
            (b"oF 17673229846576644001a\n", None),
            (b"oF 1\n", None),
            (b"\n", None),
        ] {
            let found = read(line).map(|entry| (entry.stream, entry.text));
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(line));
        }
    }
}
