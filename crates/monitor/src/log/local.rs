//! The `local` form: one line an entry, `oF 1767322984657664400 text`. The first letter is the stream (`o` or `e`), the
//! second says whether the text's line ends here (`F`) or goes on in the stream's next entry (`P`); then nineteen digits
//! of nanoseconds since 1970, and the text's own bytes, whatever they are.

use super::{LINE_MAX, Moment, Piece, Stream};

/// Bytes before the text.
pub(crate) const HEAD: usize = 23;

#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// What comes before the text of a whole line, of each stream: the same for all that is written at one time.
    heads: [[u8; HEAD]; 2],
    time: Option<Moment>,
}

impl Encoder {
    /// Appends one entry.
    #[inline]
    pub(super) fn entry(&mut self, out: &mut Vec<u8>, piece: &Piece<'_>) {
        if self.time != Some(piece.time) {
            self.set_time(piece.time);
        }
        out.reserve(HEAD + piece.text.len() + 1);
        out.extend_from_slice(&self.heads[piece.stream as usize]);
        if piece.text.last() != Some(&b'\n') {
            let kind = out.len() - HEAD + 1;
            out[kind] = b'P';
            out.extend_from_slice(piece.text);
            out.push(b'\n');
        } else {
            out.extend_from_slice(piece.text);
        }
    }

    /// Appends an entry for each of the whole lines at the beginning of `text` and tells how many bytes those are. Ends
    /// before one that is too long.
    pub(super) fn lines(&mut self, out: &mut Vec<u8>, stream: Stream, text: &[u8], time: Moment) -> usize {
        if self.time != Some(time) {
            self.set_time(time);
        }
        let head = &self.heads[stream as usize];
        let mut taken = 0;
        for at in memchr::memchr_iter(b'\n', text) {
            if at - taken >= LINE_MAX {
                break;
            }
            out.extend_from_slice(head);
            out.extend_from_slice(&text[taken..=at]);
            taken = at + 1;
        }
        taken
    }

    fn set_time(&mut self, time: Moment) {
        // A clock before 1970 has no business here.
        let digits = format!("{:019}", time.nanos.max(0));
        for (head, stream) in self.heads.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            let letter = if stream == Stream::Stdout { b'o' } else { b'e' };
            head[..3].copy_from_slice(&[letter, b'F', b' ']);
            head[3..22].copy_from_slice(digits.as_bytes());
            head[22] = b' ';
        }
        self.time = Some(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_lines() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        for (stream, text, nanos) in [
            (Stream::Stdout, &b"a\n"[..], 1_767_322_984_657_664_400),
            (Stream::Stderr, b"\xff<\0\n", 1_767_322_984_657_664_400),
            (Stream::Stderr, b"half", 7),
            (Stream::Stdout, b"\n", -1),
        ] {
            encoder.entry(&mut out, &Piece::whole(stream, text, Moment { nanos }));
        }
        let expected = b"oF 1767322984657664400 a\neF 1767322984657664400 \xff<\0\n\
                         eP 0000000000000000007 half\noF 0000000000000000000 \n";
        assert_eq!(out, expected);
    }

    #[test]
    fn many_lines_become_the_same_entries_as_each_alone() {
        for (text, expected) in [
            (b"".to_vec(), 0),
            (b"half".to_vec(), 0),
            (b"a\n\n\xff\0\nhalf".to_vec(), 6),
            ([&vec![b'x'; LINE_MAX - 1], &b"\nlast\n"[..]].concat(), LINE_MAX + 5),
            ([&b"a\n"[..], &vec![b'x'; LINE_MAX], b"\nlast\n"].concat(), 2),
        ] {
            let (mut encoder, mut many, mut alone) = (Encoder::default(), Vec::new(), Vec::new());
            let time = Moment { nanos: 5 };
            assert_eq!(encoder.lines(&mut many, Stream::Stderr, &text, time), expected);
            for line in text[..expected].split_inclusive(|b| *b == b'\n') {
                encoder.entry(&mut alone, &Piece::whole(Stream::Stderr, line, time));
            }
            assert_eq!(many, alone);
        }
    }
}
