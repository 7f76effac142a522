//! What output is read into. It and the container's pipe are larger while the container writes at full speed, so that
//! both sides are woken less often, and small again when it rests: a monitor is to cost next to nothing.

use std::fs::File;
use std::io::Read;

/// What a resting container's monitor has.
const SMALL: usize = 16 << 10;
/// What a busy one's has: more no longer makes it faster.
const LARGE: usize = 256 << 10;
/// A pipe's capacity, as the kernel makes it and for a busy container.
const PIPE: usize = 64 << 10;
const LARGE_PIPE: usize = 512 << 10;

#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// The outputs whose pipes were made larger.
    widened: [bool; 2],
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; SMALL],
            widened: [false; 2],
        }
    }

    /// Reads once from the output `at`.
    pub(crate) fn read(&mut self, at: usize, output: &mut File) -> std::io::Result<&[u8]> {
        let length = output.read(&mut self.bytes)?;
        if length == self.bytes.len() && !self.widened[at] {
            self.widened[at] = true;
            // Fails for a terminal, and where the user has too many large pipes: it is as good without.
            let _ = rustix::pipe::fcntl_setpipe_size(&output, LARGE_PIPE);
            if length < LARGE {
                // What was read stays where it is.
                self.bytes.resize(LARGE, 0);
            }
        }
        Ok(&self.bytes[..length])
    }

    /// Room for what clients say.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Gives back what a resting container does not need.
    pub(crate) fn rest(&mut self, outputs: &[Option<File>; 2]) {
        for (widened, output) in self.widened.iter_mut().zip(outputs) {
            if std::mem::take(widened)
                && let Some(output) = output
            {
                let _ = rustix::pipe::fcntl_setpipe_size(output, PIPE);
            }
        }
        if self.bytes.len() > SMALL {
            self.bytes = vec![0; SMALL];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn it_grows_while_there_is_much_and_shrinks_again() {
        let (read, mut write) = std::io::pipe().unwrap();
        let mut read = File::from(std::os::fd::OwnedFd::from(read));
        let size = |pipe: &File| rustix::pipe::fcntl_getpipe_size(pipe).unwrap();
        let mut buffer = Buffer::new();
        let text: Vec<u8> = (0..60_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut got = Vec::new();
        write.write_all(&text).unwrap();
        while got.len() < text.len() {
            got.extend_from_slice(buffer.read(0, &mut read).unwrap());
        }
        assert_eq!(got, text);
        assert_eq!((buffer.bytes().len(), size(&read)), (LARGE, LARGE_PIPE));
        let outputs = [Some(read), None];
        buffer.rest(&outputs);
        assert_eq!(
            (buffer.bytes().len(), size(outputs[0].as_ref().unwrap())),
            (SMALL, PIPE)
        );
        write.write_all(b"end").unwrap();
        let [Some(mut read), None] = outputs else { panic!() };
        assert_eq!(buffer.read(0, &mut read).unwrap(), b"end");
    }
}
