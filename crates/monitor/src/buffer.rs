//! What output is read into. It and the container's pipe are larger while the container writes at full speed, so that
//! both sides are woken less often, and small again when it rests: a monitor is to cost next to nothing.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice, tee};

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
    /// What it takes to look at what is in a pipe.
    glass: Option<Glass>,
}

/// A pipe that gets what another has, and a hole for what has been looked at.
#[derive(Debug)]
struct Glass {
    ends: (File, OwnedFd),
    size: usize,
    hole: OwnedFd,
}

impl Glass {
    fn new(size: usize) -> std::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let got = match size {
            PIPE => PIPE,
            size => rustix::pipe::fcntl_setpipe_size(&write, size).unwrap_or(PIPE),
        };
        Ok(Self {
            ends: (File::from(read), write),
            size: got,
            hole: rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?,
        })
    }
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; SMALL],
            widened: [false; 2],
            glass: None,
        }
    }

    /// Reads once from the output `at`; the result is how many bytes are [seen](Self::seen).
    pub(crate) fn read(&mut self, at: usize, output: &mut File) -> std::io::Result<usize> {
        let length = output.read(&mut self.bytes)?;
        self.grow(at, output, length);
        Ok(length)
    }

    /// The first bytes of what was read or looked at last.
    pub(crate) fn seen(&self, length: usize) -> &[u8] {
        &self.bytes[..length]
    }

    /// As [`Self::read`], but what is seen stays in the output's pipe until it is [discarded](Self::discard).
    ///
    /// # Errors
    /// `EINVAL` where it is no pipe.
    pub(crate) fn look(&mut self, at: usize, output: &File) -> std::io::Result<usize> {
        let glass = match &mut self.glass {
            Some(glass) => glass,
            none => none.insert(Glass::new(PIPE)?),
        };
        let wanted = self.bytes.len().min(glass.size);
        let length = rustix::io::retry_on_intr(|| tee(output, &glass.ends.1, wanted, SpliceFlags::NONBLOCK))?;
        let mut seen = 0;
        while seen < length {
            match glass.ends.0.read(&mut self.bytes[seen..length]) {
                // Never: it is in there.
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => seen += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.glass = None;
                    return Err(e);
                }
            }
        }
        self.grow(at, output, length);
        Ok(length)
    }

    /// Takes the first `length` bytes from a pipe, which are there.
    pub(crate) fn discard(&self, output: &File, length: usize) {
        let Some(glass) = &self.glass else { return };
        let mut left = length;
        while left > 0 {
            match splice(output, None, &glass.hole, None, left, SpliceFlags::NONBLOCK) {
                Ok(0) => return,
                Ok(n) => left -= n,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Makes room where a read has filled what there is.
    fn grow(&mut self, at: usize, output: &File, length: usize) {
        if length == self.bytes.len() && !self.widened[at] {
            self.widened[at] = true;
            // Fails for a terminal, and where the user has too many large pipes: it is as good without.
            let _ = rustix::pipe::fcntl_setpipe_size(output, LARGE_PIPE);
            if length < LARGE {
                // What was read stays where it is.
                self.bytes.resize(LARGE, 0);
            }
            if self.glass.is_some() {
                self.glass = Glass::new(LARGE).ok();
            }
        }
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
        self.glass = None;
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
            let length = buffer.read(0, &mut read).unwrap();
            got.extend_from_slice(buffer.seen(length));
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
        let length = buffer.read(0, &mut read).unwrap();
        assert_eq!(buffer.seen(length), b"end");
    }

    #[test]
    fn what_is_looked_at_stays_until_it_is_discarded() {
        let (read, mut write) = std::io::pipe().unwrap();
        let read = File::from(OwnedFd::from(read));
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        let mut buffer = Buffer::new();
        let kind = |e: std::io::Error| e.kind();
        assert_eq!(buffer.look(0, &read).map_err(kind), Err(std::io::ErrorKind::WouldBlock));
        write.write_all(b"one two").unwrap();
        for _ in 0..3 {
            assert_eq!(buffer.look(0, &read).unwrap(), 7);
            assert_eq!(buffer.seen(7), b"one two");
        }
        buffer.discard(&read, 4);
        assert_eq!(buffer.look(0, &read).unwrap(), 3);
        assert_eq!(buffer.seen(3), b"two");
        buffer.discard(&read, 3);
        // Much at once, so that everything grows on the way.
        let text: Vec<u8> = (0..65_536_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut got = Vec::new();
        write.write_all(&text).unwrap();
        while got.len() < text.len() {
            let length = buffer.look(0, &read).unwrap();
            got.extend_from_slice(buffer.seen(length));
            buffer.discard(&read, length);
        }
        assert!(got == text && buffer.bytes().len() == LARGE);
        drop(write);
        assert_eq!(buffer.look(0, &read).unwrap(), 0);
        let file = File::open("/proc/self/exe").unwrap();
        assert_eq!(
            buffer.look(1, &file).map_err(kind),
            Err(std::io::ErrorKind::InvalidInput)
        );
    }
}
