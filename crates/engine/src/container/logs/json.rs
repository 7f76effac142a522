//! Reads Docker's `json-file` form. Entries of its usual shape are read where they are; others by a JSON parser.

use std::borrow::Cow;
use std::ops::Range;

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

/// What follows the text of a line in its entry: mostly the same as for the line before it, since what was written at one
/// time has one time.
#[derive(Default)]
pub(super) struct Ending {
    /// From the escaped line feed to the end of the entry; empty where there was no line yet.
    bytes: Vec<u8>,
    is_stderr: bool,
    time: Range<usize>,
}

impl Ending {
    /// Reads an entry that ends as the last one did and in which nothing else is escaped. Its text is made whole where it
    /// is.
    #[inline]
    pub(super) fn entry<'a>(&'a self, bytes: &'a mut [u8]) -> Option<(Entry<'a>, usize)> {
        let from = START.len();
        let rest = bytes.strip_prefix(START)?;
        let at = memchr::memchr2(b'"', b'\\', rest)?;
        if self.bytes.is_empty() || !rest[at..].starts_with(&self.bytes) {
            return None;
        }
        bytes[from + at] = b'\n';
        let entry = Entry {
            text: &bytes[from..=from + at],
            stream: if self.is_stderr { Stream::Stderr } else { Stream::Stdout },
            time: Time::Text(&self.bytes[self.time.clone()]),
            attributes: Attributes::None,
        };
        Some((entry, from + at + self.bytes.len()))
    }

    /// Remembers how an entry ended, which is the whole of `bytes` and was read by [`usual`].
    pub(super) fn learn(&mut self, entry: &Entry<'_>, bytes: &[u8]) {
        let Time::Text(time) = entry.time else { return };
        self.is_stderr = entry.stream == Stream::Stderr;
        self.bytes.clear();
        self.bytes.extend_from_slice(b"\\n\",\"stream\":\"");
        self.bytes
            .extend_from_slice(if self.is_stderr { b"stderr" } else { b"stdout" });
        self.bytes.extend_from_slice(b"\",\"time\":\"");
        self.time = self.bytes.len()..self.bytes.len() + time.len();
        self.bytes.extend_from_slice(time);
        self.bytes.extend_from_slice(b"\"}\n");
        if !bytes.ends_with(&self.bytes) {
            self.bytes.clear();
        }
    }
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
    fn what_ends_alike_is_read_alike() {
        let line = |log: &str, stream: &str, time: &str| {
            let log = serde_json::to_string(log).unwrap();
            format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
        };
        let (one, two) = ("2024-05-01T10:00:00.5Z", "2024-05-01T10:00:00.25Z");
        // After the line on the left, is the one on the right read the shortest way?
        let check = |first: &str, then: &str, short: bool| {
            let mut ending = Ending::default();
            assert!(ending.entry(&mut then.as_bytes().to_vec()).is_none());
            let mut text = Vec::new();
            let Found::Entry(entry, length) = usual(first.as_bytes(), &mut text) else {
                panic!("{first}");
            };
            ending.learn(&entry, &first.as_bytes()[..length]);
            let mut followed = format!("{then}{{\"log\"").into_bytes();
            let Found::Entry(expected, length) = usual(then.as_bytes(), &mut text) else {
                panic!("{then}");
            };
            match ending.entry(&mut followed) {
                Some((entry, taken)) => {
                    assert!(short, "{first}{then}");
                    assert_eq!((show(&entry), taken), (show(&expected), length));
                    assert_eq!(entry.text, expected.text);
                }
                None => {
                    assert!(!short, "{first}{then}");
                    assert!(followed.starts_with(then.as_bytes()), "nothing is changed");
                }
            }
        };
        check(&line("a\n", "stdout", one), &line("bc\n", "stdout", one), true);
        check(&line("a\"\n", "stderr", one), &line("\n", "stderr", one), true);
        check(&line("a\n", "stdout", one), &line("bc\n", "stderr", one), false);
        check(&line("a\n", "stdout", one), &line("bc\n", "stdout", two), false);
        check(&line("a\n", "stdout", one), &line("b\"c\n", "stdout", one), false);
        check(&line("a\n", "stdout", one), &line("bc", "stdout", one), false);
        check(&line("a", "stdout", one), &line("bc\n", "stdout", one), false);
        check(&line("a\n", "stdout", one), &line("b\\n", "stdout", one), false);
        check(&line("a\\n", "stdout", one), &line("bc\n", "stdout", one), true);
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
