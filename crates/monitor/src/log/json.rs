//! Docker's `json-file`: one JSON object a line,
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}`.

use std::collections::BTreeMap;

use super::{LINE_MAX, Moment, Piece, Stream};

/// Writes entries, escaped as Go's encoder does it (`<`, `>`, `&`, U+2028 and U+2029 too; what is no UTF-8 becomes
/// U+FFFD), so that a file of ours and one of Docker's cannot be told apart.
#[derive(Debug)]
pub(super) struct Encoder {
    /// `"attrs":{...},` or nothing.
    attributes: Vec<u8>,
    /// What follows an entry's text, of each stream: the same for all that is written at one time.
    ends: [Vec<u8>; 2],
    /// What stands between the texts of two whole lines.
    joints: [Vec<u8>; 2],
    time: Option<Moment>,
}

/// How an entry begins.
const START: &[u8] = b"{\"log\":\"";

/// How much text is looked at before it is copied: it is still in the processor's first cache then.
const BLOCK: usize = 8 << 10;

impl Encoder {
    pub(super) fn new(attributes: &BTreeMap<String, String>) -> Self {
        let mut text = Vec::new();
        if !attributes.is_empty() {
            text.extend_from_slice(b"\"attrs\":{");
            for (at, (name, value)) in attributes.iter().enumerate() {
                text.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
                escape(&mut text, name.as_bytes());
                text.extend_from_slice(b"\":\"");
                escape(&mut text, value.as_bytes());
                text.push(b'"');
            }
            text.extend_from_slice(b"},");
        }
        Self {
            attributes: text,
            ends: [Vec::new(), Vec::new()],
            joints: [Vec::new(), Vec::new()],
            time: None,
        }
    }

    /// Appends one entry.
    #[inline]
    pub(super) fn entry(&mut self, out: &mut Vec<u8>, piece: &Piece<'_>) {
        if self.time != Some(piece.time) {
            self.set_time(piece.time);
        }
        let end = &self.ends[piece.stream as usize];
        out.reserve(piece.text.len() + end.len() + 16);
        out.extend_from_slice(START);
        match piece.text.split_last() {
            Some((b'\n', line)) => {
                escape(out, line);
                out.extend_from_slice(b"\\n");
            }
            _ => escape(out, piece.text),
        }
        out.extend_from_slice(end);
    }

    /// Appends an entry for each of the whole lines at the beginning of `text` and tells how many bytes those are. Ends
    /// before one that is too long.
    pub(super) fn lines(&mut self, out: &mut Vec<u8>, stream: Stream, text: &[u8], time: Moment) -> usize {
        if self.time != Some(time) {
            self.set_time(time);
        }
        let joint = &self.joints[stream as usize];
        let mut taken = 0;
        // Each line finds the beginning of its entry there and leaves that of the next.
        out.extend_from_slice(START);
        loop {
            let rest = &text[taken..];
            let last = |length: usize| memchr::memrchr(b'\n', &rest[..rest.len().min(length)]);
            let Some(end) = last(BLOCK).or_else(|| last(LINE_MAX)) else {
                break;
            };
            let block = &rest[..=end];
            let plain = all_plain_lines(block);
            let mut from = 0;
            for at in memchr::memchr_iter(b'\n', block) {
                let line = &block[from..at];
                if plain {
                    out.extend_from_slice(line);
                } else {
                    escape(out, line);
                }
                out.extend_from_slice(joint);
                from = at + 1;
            }
            taken += block.len();
        }
        out.truncate(out.len() - START.len());
        taken
    }

    fn set_time(&mut self, time: Moment) {
        let text = time.rfc3339();
        let streams = [Stream::Stdout, Stream::Stderr];
        for ((end, joint), stream) in self.ends.iter_mut().zip(&mut self.joints).zip(streams) {
            end.clear();
            end.extend_from_slice(b"\",\"stream\":\"");
            end.extend_from_slice(stream.name().as_bytes());
            end.extend_from_slice(b"\",");
            end.extend_from_slice(&self.attributes);
            end.extend_from_slice(b"\"time\":\"");
            end.extend_from_slice(text.as_bytes());
            end.extend_from_slice(b"\"}\n");
            joint.clear();
            joint.extend_from_slice(b"\\n");
            joint.extend_from_slice(end);
            joint.extend_from_slice(START);
        }
        self.time = Some(time);
    }
}

/// Bytes that stand for themselves, whatever is around them.
const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte < 0x80 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

/// [`is_plain`] of all bytes.
#[inline]
fn all_plain(text: &[u8]) -> bool {
    all_plain_lines(text) && memchr::memchr(b'\n', text).is_none()
}

/// [`is_plain`] of all bytes of lines, whose ends do not count. Done with whole words of the machine, since the compiler
/// makes nothing wider of a loop over bytes where it builds for size.
#[inline]
fn all_plain_lines(text: &[u8]) -> bool {
    memchr::memchr3(b'"', b'\\', b'&', text).is_none()
        && memchr::memchr2(b'<', b'>', text).is_none()
        && is_ascii_text(text)
}

/// Whether there are only printable characters of ASCII, DEL and line feeds.
#[inline]
fn is_ascii_text(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The high bit of each byte says whether that one is odd. No byte borrows from its neighbour or carries into it.
    let odd = |word: u64| {
        let control = !((word | HIGH) - ONES * 0x20);
        let no_feed = ((word ^ (ONES * 0x0a)) & !HIGH) + ONES * 0x7f;
        word | (control & no_feed)
    };
    let (blocks, rest) = text.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        let any = words.iter().fold(0, |any, word| any | odd(u64::from_ne_bytes(*word)));
        if any & HIGH != 0 {
            return false;
        }
    }
    rest.iter().all(|&b| (0x20..0x80).contains(&b) || b == b'\n')
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    if all_plain(text) {
        out.extend_from_slice(text);
    } else if std::str::from_utf8(text).is_ok() {
        escape_valid(out, text);
    } else {
        for chunk in text.utf8_chunks() {
            escape_valid(out, chunk.valid().as_bytes());
            for _ in chunk.invalid() {
                out.extend_from_slice(b"\\ufffd");
            }
        }
    }
}

/// Escapes UTF-8.
fn escape_valid(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut from = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if is_plain(byte) || (byte >= 0x80 && byte != 0xe2) {
            at += 1;
            continue;
        }
        let mut length = 1;
        let mut long = [b'\\', b'u', b'0', b'0', 0, 0];
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            0xe2 => {
                length = 3;
                match bytes.get(at..at + 3) {
                    Some([_, 0x80, 0xa8]) => b"\\u2028",
                    Some([_, 0x80, 0xa9]) => b"\\u2029",
                    _ => {
                        at += 3;
                        continue;
                    }
                }
            }
            _ => {
                let hex = |n: u8| b"0123456789abcdef"[usize::from(n)];
                long[4] = hex(byte >> 4);
                long[5] = hex(byte & 15);
                &long
            }
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(escaped);
        at += length;
        from = at;
    }
    out.extend_from_slice(&bytes[from.min(bytes.len())..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_dockers_byte_for_byte() {
        let attributes = [("a", "b"), ("cd", "e&f,g"), ("tag", "web")];
        let attributes = attributes.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let mut encoder = Encoder::new(&attributes);
        let mut bare = Encoder::new(&BTreeMap::new());
        let time = Moment {
            nanos: 1_795_527_144_627_509_536,
        };
        let long = "x".repeat(100);
        for (text, expected) in [
            (&b"short\n"[..], "short\\n"),
            (b"end", "end"),
            (b"", ""),
            (b"\n", "\\n"),
            (b"a\"b\\c\td\re\x01\x7f\n", "a\\\"b\\\\c\\u0009d\\re\\u0001\u{7f}\\n"),
            (b"<a>&\n", "\\u003ca\\u003e\\u0026\\n"),
            (
                "\u{e4}\u{20ac}\u{2028}\u{2029}\u{2027}\u{1f600}\n".as_bytes(),
                "\u{e4}\u{20ac}\\u2028\\u2029\u{2027}\u{1f600}\\n",
            ),
            (b"\xff\xe2\x80\n", "\\ufffd\\ufffd\\ufffd\\n"),
            (b"a\xe2", "a\\ufffd"),
            (long.as_bytes(), long.as_str()),
        ] {
            let mut out = Vec::new();
            let mut piece = Piece::whole(Stream::Stdout, text, time);
            encoder.entry(&mut out, &piece);
            piece.stream = Stream::Stderr;
            bare.entry(&mut out, &piece);
            let expected = format!(
                concat!(
                    r#"{{"log":"{text}","stream":"stdout","attrs":{{"a":"b","cd":"e\u0026f,g","tag":"web"}},"time":"2026-11-24T13:32:24.627509536Z"}}"#,
                    "\n",
                    r#"{{"log":"{text}","stream":"stderr","time":"2026-11-24T13:32:24.627509536Z"}}"#,
                    "\n"
                ),
                text = expected
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn every_byte_is_judged_alike_alone_and_in_a_crowd() {
        for byte in 0..=255u8 {
            let crowd = [[b'x'; 40].as_slice(), &[byte], &[b'x'; 40]].concat();
            assert_eq!(all_plain(&[byte]), is_plain(byte), "{byte}");
            assert_eq!(all_plain(&crowd), is_plain(byte), "{byte}");
            for crowd in [&crowd[..], &crowd.repeat(7)] {
                assert_eq!(all_plain_lines(crowd), is_plain(byte) || byte == b'\n', "{byte}");
            }
        }
    }

    #[test]
    fn many_lines_become_the_same_entries_as_each_alone() {
        let check = |text: &[u8], expected: usize| {
            let attributes = [("a".to_owned(), "b".to_owned())].into();
            for stream in [Stream::Stdout, Stream::Stderr] {
                let time = Moment { nanos: 5 };
                let mut encoder = Encoder::new(&attributes);
                let mut many = b"before\n".to_vec();
                assert_eq!(encoder.lines(&mut many, stream, text, time), expected);
                let mut alone = b"before\n".to_vec();
                for line in text[..expected].split_inclusive(|b| *b == b'\n') {
                    encoder.entry(&mut alone, &Piece::whole(stream, line, time));
                }
                assert!(many == alone, "{}", String::from_utf8_lossy(&many));
            }
        };
        check(b"", 0);
        check(b"half", 0);
        check(b"\n", 1);
        check(b"a\nb\n\nhalf", 5);
        check(b"<a>\n\xff\xe2\n\x80\xa8\n\"\n", 12);
        let text: Vec<u8> = (0..5000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        check(&text, text.len());
        let mut odd = text.clone();
        odd[30_000] = b'&';
        check(&odd, text.len());
        // Lines that are longer than what is looked at once, up to the longest that is not split.
        for (length, fits) in [
            (BLOCK, true),
            (LINE_MAX - 1, true),
            (LINE_MAX, false),
            (3 * LINE_MAX, false),
        ] {
            let long = [&b"first\n"[..], &vec![b'x'; length], b"\nlast\n"].concat();
            check(&long, if fits { long.len() } else { 6 });
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "\\PC*|[\\x00-\\x7f]*|\\s*") {
            let mut out = Vec::new();
            Encoder::new(&BTreeMap::new()).entry(&mut out, &Piece::whole(Stream::Stdout, text.as_bytes(), Moment::default()));
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            proptest::prop_assert_eq!(value["log"].as_str().unwrap(), text);
        }
    }
}
