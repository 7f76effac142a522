//! What clients and the monitor say to each other on a container's attach socket: frames of one byte of kind, four of
//! length (little endian) and the payload.

/// Standard input.
pub const STDIN: u8 = 0;
/// The end of standard input.
pub const STDIN_END: u8 = 1;
/// The terminal's new size: rows, then columns, 16 bits each, little endian.
pub const RESIZE: u8 = 2;
/// Standard output.
pub const STDOUT: u8 = 16;
/// Standard error.
pub const STDERR: u8 = 17;
/// The container has ended and everything is cleaned up: its exit code, 32 bits, little endian.
pub const EXIT: u8 = 18;

/// Bytes before the payload.
pub const HEADER: usize = 5;
/// The longest payload that either side sends.
pub const PAYLOAD_MAX: usize = 64 << 10;

/// The header of a frame.
#[must_use]
pub fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [kind, a, b, c, d]
}

/// Takes frames out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
}

/// A frame that is longer than allowed: the other side does not speak this protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes on the attach socket")]
pub struct Oversized(pub usize);

impl Reader {
    /// Adds what was read from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > PAYLOAD_MAX {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The bytes that make no whole frame yet.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Takes the next whole frame, if there is one: its kind and payload.
    ///
    /// # Errors
    /// [`Oversized`] where the header makes no sense.
    pub fn next_frame(&mut self) -> Result<Option<(u8, &[u8])>, Oversized> {
        let rest = &self.buffer[self.start..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, a, b, c, d] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > PAYLOAD_MAX {
            return Err(Oversized(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.start + HEADER;
        self.start = from + length;
        Ok(Some((kind, &self.buffer[from..from + length])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn frames_survive_any_split(frames in proptest::collection::vec((0u8..20, proptest::collection::vec(0u8.., 0..300)), 0..8), cut in 1usize..50) {
            let mut stream = Vec::new();
            for (kind, payload) in &frames {
                stream.extend_from_slice(&header(*kind, payload.len()));
                stream.extend_from_slice(payload);
            }
            let mut reader = Reader::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(cut) {
                reader.push(chunk);
                while let Some((kind, payload)) = reader.next_frame().unwrap() {
                    got.push((kind, payload.to_vec()));
                }
            }
            proptest::prop_assert_eq!(got, frames);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut reader = Reader::default();
        reader.push(b"GET / HTTP/1.1\r\n");
        assert!(reader.next_frame().is_err());
    }
}
