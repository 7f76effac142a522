//! One client of the attach socket.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::frame::{self, Reader};

/// A client may be this far behind before the container's output waits for it.
pub(crate) const BEHIND_MAX: usize = 1 << 20;

/// What a client says.
pub(crate) enum Word<'a> {
    Input(&'a [u8]),
    InputEnd,
    Resize { rows: u16, columns: u16 },
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    reader: Reader,
    queue: VecDeque<u8>,
    /// Bytes of output that it was not sent because it reads too slowly.
    dropped: u64,
    /// Gone, or speaking nonsense: to be dropped.
    pub(crate) gone: bool,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            reader: Reader::default(),
            queue: VecDeque::new(),
            dropped: 0,
            gone: false,
        })
    }

    /// A client that another program image of this monitor had: what waits for it, and what of its words was not whole yet.
    pub(crate) fn resume(stream: UnixStream, queue: Vec<u8>, heard: &[u8]) -> std::io::Result<Self> {
        let mut client = Self::new(stream)?;
        client.queue = queue.into();
        client.reader.push(heard);
        Ok(client)
    }

    /// What waits for the client, and what of its words is not whole yet.
    pub(crate) fn pending(&self) -> (Vec<u8>, Vec<u8>) {
        (self.queue.iter().copied().collect(), self.reader.rest().to_vec())
    }

    /// Bytes that wait for the client to read.
    pub(crate) fn behind(&self) -> usize {
        self.queue.len()
    }

    /// Sends a frame: at once as far as the socket takes it, the rest later.
    pub(crate) fn send(&mut self, kind: u8, payload: &[u8]) {
        for part in payload.chunks(frame::PAYLOAD_MAX) {
            self.queue.extend(frame::header(kind, part.len()));
            self.queue.extend(part);
        }
        self.flush();
    }

    /// Sends output to a client that may not make the container wait: one that is too far behind gets less of it, and is
    /// told how much it missed once it has caught up.
    pub(crate) fn offer(&mut self, kind: u8, payload: &[u8]) {
        self.flush();
        if self.behind() > BEHIND_MAX || (self.dropped > 0 && self.behind() > 0) {
            self.dropped += payload.len() as u64;
            return;
        }
        self.confess();
        self.send(kind, payload);
    }

    /// Says how much is missing.
    pub(crate) fn confess(&mut self) {
        if self.dropped > 0 {
            let note = format!(
                "hull: {} bytes of output were not shown: they were read too slowly\n",
                self.dropped
            );
            self.dropped = 0;
            self.send(frame::STDERR, note.as_bytes());
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        while !self.queue.is_empty() && !self.gone {
            let (front, _) = self.queue.as_slices();
            match self.stream.write(front) {
                Ok(0) => self.gone = true,
                Ok(n) => drop(self.queue.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        if self.queue.is_empty() && self.queue.capacity() > 64 << 10 {
            self.queue = VecDeque::new();
        }
    }

    /// Reads what the client says and hands each word to `hear`.
    pub(crate) fn read(&mut self, buffer: &mut [u8], mut hear: impl FnMut(Word<'_>)) {
        match self.stream.read(buffer) {
            Ok(0) => self.gone = true,
            Ok(n) => self.reader.push(&buffer[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.gone = true,
        }
        loop {
            match self.reader.next_frame() {
                Ok(Some((frame::STDIN, bytes))) => hear(Word::Input(bytes)),
                Ok(Some((frame::STDIN_END, _))) => hear(Word::InputEnd),
                Ok(Some((frame::RESIZE, &[a, b, c, d]))) => {
                    hear(Word::Resize {
                        rows: u16::from_le_bytes([a, b]),
                        columns: u16::from_le_bytes([c, d]),
                    });
                }
                // A newer client may say more than this monitor understands.
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
    }

    /// Sends all that waits, waiting for the client as long as it reads at all. The last act of a monitor.
    pub(crate) fn finish(mut self) {
        if self.queue.is_empty() || self.gone || self.stream.set_nonblocking(false).is_err() {
            return;
        }
        let _ = self.stream.set_write_timeout(Some(std::time::Duration::from_secs(10)));
        let (a, b) = self.queue.as_slices();
        let _ = self.stream.write_all(a).and_then(|()| self.stream.write_all(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_be_waited_for_misses_output_and_is_told() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours).unwrap();
        let chunk = [b'x'; 10_000];
        let mut offered = 0;
        while client.dropped < 1_000_000 {
            client.offer(frame::STDOUT, &chunk);
            offered += chunk.len() as u64;
        }
        assert!(client.behind() < BEHIND_MAX + 2 * chunk.len());
        let dropped = client.dropped;
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).unwrap();
            bytes
        });
        hull_testkit::wait::until("it catches up", || {
            client.flush();
            (client.behind() == 0).then_some(())
        });
        client.offer(frame::STDOUT, b"end");
        client.finish();
        let mut frames = Reader::default();
        frames.push(&reader.join().unwrap());
        let (mut shown, mut notes) = (Vec::new(), Vec::new());
        while let Some((kind, payload)) = frames.next_frame().unwrap() {
            match kind {
                frame::STDOUT => shown.extend_from_slice(payload),
                _ => notes.extend_from_slice(payload),
            }
        }
        assert_eq!(shown.len() as u64, offered - dropped + 3);
        assert!(shown.ends_with(b"xend"));
        let note = format!("hull: {dropped} bytes of output were not shown: they were read too slowly\n");
        assert_eq!(String::from_utf8(notes).unwrap(), note);
    }
}
