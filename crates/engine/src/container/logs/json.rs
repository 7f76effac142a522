//! Reads Docker's `json-file` form. Entries of its usual shape are read where they are; others by a JSON parser.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::entry::{Attributes, Entry, Stream, Time};

/// What was found at the beginning of some bytes.
pub(super) enum Found<'a> {
    /// An entry, and how long it is with its line feed.
    Entry(Entry<'a>, usize),
    /// Something else, or something unusual: its line must be looked at.
    Unusual,
}

const START: &[u8] = b"{\"log\":\"";

/// Reads an entry of the usual shape. Its text is unescaped into `text` where that is needed.
#[inline]
pub(super) fn usual<'a>(bytes: &'a [u8], text: &'a mut Vec<u8>) -> Found<'a> {
    read(bytes, text).unwrap_or(Found::Unusual)
}

#[inline]
fn read<'a>(bytes: &'a [u8], text: &'a mut Vec<u8>) -> Option<Found<'a>> {
    let mut rest = bytes.strip_prefix(START)?;
    text.clear();
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest)?;
        let (plain, tail) = rest.split_at(at);
        if tail[0] == b'"' {
            text.extend_from_slice(plain);
            rest = &tail[1..];
            break;
        }
        text.extend_from_slice(plain);
        let taken = unescape(tail, text)?;
        rest = &tail[taken..];
    }
    let (stream, rest) = if let Some(rest) = rest.strip_prefix(b",\"stream\":\"stdout\",") {
        (Stream::Stdout, rest)
    } else {
        (Stream::Stderr, rest.strip_prefix(b",\"stream\":\"stderr\",")?)
    };
    let rest = rest.strip_prefix(b"\"time\":\"")?;
    // RFC 3339 takes 20 to 35 bytes.
    let length = memchr::memchr2(b'"', b'\\', &rest[..rest.len().min(40)])?;
    let (time, rest) = rest.split_at(length);
    let rest = rest.strip_prefix(b"\"}\n")?;
    let entry = Entry {
        text,
        stream,
        time: Time::Text(time),
        attributes: Attributes::None,
    };
    Some(Found::Entry(entry, bytes.len() - rest.len()))
}

/// Appends what an escape stands for and gives its length. `None` for what is left to the parser.
#[inline]
fn unescape(bytes: &[u8], text: &mut Vec<u8>) -> Option<usize> {
    let byte = match bytes.get(1)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        other @ (b'"' | b'\\' | b'/') => *other,
        b'u' => {
            let digits = bytes.get(2..6)?;
            let value = digits.iter().try_fold(0, |value, digit| {
                char::from(*digit).to_digit(16).map(|digit| value * 16 + digit)
            })?;
            // A half of a pair is none.
            let character = char::from_u32(value)?;
            let mut buffer = [0; 4];
            text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            return Some(6);
        }
        _ => return None,
    };
    text.push(byte);
    Some(2)
}

/// An entry of any shape.
#[derive(Deserialize)]
pub(super) struct Whole<'a> {
    #[serde(default, borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(default, borrow)]
    attrs: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

impl<'a> Whole<'a> {
    /// Reads a line. `None` for what is no entry: what a killed monitor left torn, or what a disk has spoilt. An entry
    /// behind such is found: within a JSON text its first quotes would be escaped.
    pub(super) fn read(line: &'a [u8]) -> (Option<Self>, bool) {
        if let Some(whole) = Self::parse(line) {
            return (Some(whole), false);
        }
        let behind = memchr::memmem::rfind(line, START).filter(|at| *at > 0);
        (behind.and_then(|at| Self::parse(&line[at..])), true)
    }

    fn parse(line: &'a [u8]) -> Option<Self> {
        let whole: Self = serde_json::from_slice(line).ok()?;
        matches!(&*whole.stream, "stdout" | "stderr").then_some(whole)
    }

    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            text: self.log.as_bytes(),
            stream: if self.stream == "stdout" {
                Stream::Stdout
            } else {
                Stream::Stderr
            },
            time: Time::Text(self.time.as_bytes()),
            attributes: self
                .attrs
                .map_or(Attributes::None, |attrs| Attributes::Json(attrs.get().as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        entry.write(true, true, &mut out);
        format!("{:?} {}", entry.stream, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_short_way_reads_what_the_parser_reads() {
        for (log, short) in [
            ("a\n", true),
            ("", true),
            ("half", true),
            ("\"\\/\n\r\t\u{8}\u{c}\u{1}<>&", true),
            ("\u{e4}\u{2028}\u{1f600}\n", true),
            ("x {\"log\":\"", true),
        ] {
            for stream in ["stdout", "stderr"] {
                let escaped = serde_json::to_string(log).unwrap();
                let line =
                    format!("{{\"log\":{escaped},\"stream\":\"{stream}\",\"time\":\"2024-05-01T10:00:00.5Z\"}}\n");
                let (whole, damaged) = Whole::read(line.as_bytes());
                assert!(!damaged);
                let whole = show(&whole.unwrap().entry());
                let mut text = Vec::new();
                let followed = format!("{line}{{\"log\"");
                let Found::Entry(entry, length) = usual(followed.as_bytes(), &mut text) else {
                    assert!(!short, "{line}");
                    continue;
                };
                assert_eq!((show(&entry), length), (whole, line.len()));
                assert_eq!(entry.text, log.as_bytes());
            }
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_parser() {
        let attrs = br#"{"log":"a\n","stream":"stderr","attrs":{"b c":"d"},"time":"2024-05-01T10:00:00.5Z"}"#;
        let pair = br#"{"log":"\ud83d\ude00","stream":"stdout","time":"2024-05-01T10:00:00Z"}"#;
        for line in [&attrs[..], pair, b"{\"stream\":\"stdout\",\"time\":\"x\"}"] {
            let line = [line, b"\n"].concat();
            let mut text = Vec::new();
            assert!(matches!(usual(&line, &mut text), Found::Unusual));
            assert!(Whole::read(&line).0.is_some());
        }
        let whole = Whole::read(attrs).0.unwrap();
        assert_eq!(show(&whole.entry()), "Stderr 2024-05-01T10:00:00.500000000Z b+c=d a\n");
        assert_eq!(Whole::read(pair).0.unwrap().entry().text, "\u{1f600}".as_bytes());
    }

    #[test]
    fn torn_lines_are_passed_over() {
        let whole = r#"{"log":"x {\"log\":\"","stream":"stdout","time":"2024-05-01T10:00:00Z"}"#;
        let behind = format!(r#"{{"log":"to{whole}"#);
        let (found, damaged) = Whole::read(behind.as_bytes());
        assert!(damaged);
        assert_eq!(found.unwrap().entry().text, b"x {\"log\":\"");
        for torn in [
            &b""[..],
            b"\n",
            b"{\"log\":\"x",
            b"{}",
            b"[]",
            b"\xff\xff",
            b"{\"log\":\"x\",\"stream\":\"stdin\",\"time\":\"\"}",
        ] {
            let mut text = Vec::new();
            assert!(Whole::read(torn).0.is_none(), "{}", String::from_utf8_lossy(torn));
            assert!(matches!(usual(torn, &mut text), Found::Unusual));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fall(head in "(\\{\"log\":\")?", bytes: Vec<u8>) {
            let all = [head.as_bytes(), &bytes, b"\n"].concat();
            let mut text = Vec::new();
            let _ = usual(&all, &mut text);
            let _ = Whole::read(&all);
        }
    }
}
