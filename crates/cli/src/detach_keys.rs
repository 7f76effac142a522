//! The keys that leave a container running and give the terminal back: Docker's `ctrl-p,ctrl-q`.

/// The keys unless others are asked for.
pub(crate) const DEFAULT: &str = "ctrl-p,ctrl-q";

/// Reads a sequence: letters and signs, or `ctrl-` with a letter or one of `@[\]^_`, separated by commas. An empty
/// text asks for none.
///
/// # Errors
/// Docker's message.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(key).collect()
}

fn key(text: &str) -> Result<u8, String> {
    let err = || format!("Unknown character: '{text}'");
    if let Some(control) = text.strip_prefix("ctrl-") {
        return match control.as_bytes() {
            [c @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(c.to_ascii_uppercase() & 0x1f),
            [b'A'..=b'Z'] => Err(err()),
            _ => Err(err()),
        };
    }
    match text.as_bytes() {
        [c] if c.is_ascii() => Ok(*c),
        _ => Err(err()),
    }
}

/// Watches what is typed for the sequence.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: Vec<u8>,
    /// How many keys of the sequence were typed last; they are held back.
    matched: usize,
}

impl Watch {
    /// Watches for `keys`; for none, everything passes.
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Passes `typed` on into `out`, but for what belongs to the sequence. Returns whether the sequence is complete;
    /// what was typed after it is dropped.
    pub(crate) fn pass(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            // A mistyped sequence was meant for the container. Some of its end may begin the sequence anew.
            while self.matched > 0 && byte != self.keys[self.matched] {
                let next = self.restart();
                out.extend_from_slice(&self.keys[..self.matched - next]);
                self.matched = next;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                out.push(byte);
            }
        }
        false
    }

    /// The length of the longest beginning of the sequence that the matched keys also end with, short of all of them.
    fn restart(&self) -> usize {
        let matched = &self.keys[..self.matched];
        (0..self.matched)
            .rev()
            .find(|&n| matched.ends_with(&self.keys[..n]))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_read_as_docker_reads_them() {
        let check = |text: &str, expected: Option<&[u8]>| assert_eq!(parse(text).ok().as_deref(), expected, "{text}");
        check("ctrl-p,ctrl-q", Some(&[0x10, 0x11]));
        check("a", Some(b"a"));
        check(
            "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_",
            Some(&[0, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f]),
        );
        check("x,ctrl-a,y", Some(&[b'x', 1, b'y']));
        check("", Some(&[]));
        for bad in ["foo", "ctrl-", "ctrl-aa", "ctrl-1", "a,", ",", "é", "ctrl-A"] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_typed_passes_but_for_the_sequence() {
        let check = |keys: &[u8], typed: &[&[u8]], expected: &[u8], complete: bool| {
            let mut watch = Watch::new(keys.to_vec());
            let mut out = Vec::new();
            let done = typed.iter().any(|typed| watch.pass(typed, &mut out));
            assert_eq!((out.as_slice(), done), (expected, complete), "{typed:?}");
        };
        check(b"PQ", &[b"abc"], b"abc", false);
        check(b"PQ", &[b"aPQb"], b"a", true);
        check(b"PQ", &[b"aP", b"Qb"], b"a", true);
        check(b"PQ", &[b"aP", b"xQ"], b"aPxQ", false);
        check(b"PQ", &[b"PPQ"], b"P", true);
        check(b"PQ", &[b"P"], b"", false);
        check(b"PPQ", &[b"PPPQ"], b"P", true);
        check(b"PPQ", &[b"PPxPPQ"], b"PPx", true);
        check(b"ABAC", &[b"ABABAC"], b"AB", true);
        check(b"", &[b"PQ"], b"PQ", false);
    }
}
