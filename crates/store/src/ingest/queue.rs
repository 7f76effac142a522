//! Short queues of buffers between the pipeline's threads.
//!
//! A stage that fails drops its ends. Its neighbours then find a queue closed without an end mark and stop without an
//! error of their own: the one that failed has it.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// A neighbour is gone.
#[derive(Debug)]
pub(super) struct Closed;

impl Closed {
    /// What a reader of a closed queue gets.
    pub(super) fn error(&self) -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, "the stage before this one stopped")
    }
}

/// Whether `error` only says that another stage has failed.
pub(super) fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

enum Item {
    Data(Arc<Vec<u8>>),
    End,
}

/// The sending ends: each buffer goes to every receiver.
pub(super) struct Outlet {
    outlets: Vec<SyncSender<Item>>,
    used: Receiver<Vec<u8>>,
    size: usize,
}

/// One receiving end.
pub(super) struct Inlet {
    items: Receiver<Item>,
    used: Sender<Vec<u8>>,
    current: Option<Arc<Vec<u8>>>,
    at: usize,
    ended: bool,
}

/// A queue of at most `depth` buffers of `size` bytes each, with `N` receivers.
pub(super) fn queue<const N: usize>(size: usize, depth: usize) -> (Outlet, [Inlet; N]) {
    let (used_in, used_out) = channel();
    let mut outlets = Vec::with_capacity(N);
    let inlets = std::array::from_fn(|_| {
        let (sender, items) = sync_channel(depth);
        outlets.push(sender);
        Inlet {
            items,
            used: used_in.clone(),
            current: None,
            at: 0,
            ended: false,
        }
    });
    let outlet = Outlet {
        outlets,
        used: used_out,
        size,
    };
    (outlet, inlets)
}

impl Outlet {
    /// A buffer to fill: a used one, or a new one while the queue is not full yet.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let mut buffer = self.used.try_recv().unwrap_or_default();
        buffer.resize(self.size, 0);
        buffer
    }

    /// Sends a buffer to all receivers.
    pub(super) fn send(&self, buffer: Vec<u8>) -> Result<(), Closed> {
        let buffer = Arc::new(buffer);
        for outlet in &self.outlets {
            outlet.send(Item::Data(Arc::clone(&buffer))).map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Marks the end, without which the receivers take the stream for broken off.
    pub(super) fn end(self) -> Result<(), Closed> {
        for outlet in &self.outlets {
            outlet.send(Item::End).map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Copies all of `input`, in buffers as full as they get.
    pub(super) fn pump(&self, input: &mut dyn Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let mut buffer = self.buffer();
            fill(input, &mut buffer)?;
            if buffer.is_empty() {
                return Ok(());
            }
            each(&buffer)?;
            self.send(buffer).map_err(|closed| closed.error())?;
        }
    }
}

/// Reads until `buffer` is full or `input` ends, and cuts it to what was read, also where reading fails.
pub(super) fn fill(input: &mut dyn Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut filled = 0;
    let outcome = loop {
        if filled == buffer.len() {
            break Ok(());
        }
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break Ok(()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    buffer.truncate(filled);
    outcome
}

impl BufRead for Inlet {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while !self.ended && self.current.as_ref().is_none_or(|c| self.at == c.len()) {
            if let Some(buffer) = self.current.take().and_then(Arc::into_inner) {
                // The sender may be gone; then nobody needs the buffer.
                let _ = self.used.send(buffer);
            }
            match self.items.recv() {
                Ok(Item::Data(buffer)) => (self.current, self.at) = (Some(buffer), 0),
                Ok(Item::End) => self.ended = true,
                Err(_) => return Err(Closed.error()),
            }
        }
        Ok(self.current.as_ref().map_or(&[], |c| &c[self.at..]))
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Inlet {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
