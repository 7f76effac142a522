//! The `local` form: one line an entry, `oF 1767322984657664400 text`. The first letter is the stream (`o` or `e`), the
//! second says whether the text's line ends here (`F`) or goes on in the stream's next entry (`P`); then nineteen digits
//! of nanoseconds since 1970, and the text's own bytes, whatever they are.

use super::{Moment, Piece, Stream};

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
}
