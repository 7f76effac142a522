//! Bodies of answers.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Buf, Bytes, Frame, SizeHint};
use tokio::sync::mpsc::Receiver;

/// What stands for a file's bytes on their way through hyper: memory that is mapped and never touched. The connection
/// knows it by its address and sends the file itself instead ([`super::wire`]), so that no byte of a blob is copied into
/// this process.
static HOLE: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; 1 << 20].into_boxed_slice());

/// Whether `slice` stands for a file's bytes.
pub(super) fn is_hole(slice: &[u8]) -> bool {
    std::ptr::eq(slice.as_ptr(), HOLE.as_ptr()) && !slice.is_empty()
}

/// Files that a connection is to send, in the order of the holes that stand for them.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<VecDeque<Parcel>>);

/// A part of a file.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) left: u64,
}

impl Outbox {
    fn put(&self, parcel: Parcel) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(parcel);
    }

    /// What is to be sent next.
    pub(super) fn first(&self) -> Option<Parcel> {
        let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.front().cloned()
    }

    /// Notes that the first `sent` bytes of it are sent.
    pub(super) fn sent(&self, sent: u64) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = queue.front_mut() {
            first.offset += sent;
            first.left = first.left.saturating_sub(sent);
            if first.left == 0 {
                queue.pop_front();
            }
        }
    }
}

/// A body.
pub(super) enum Content {
    Empty,
    Bytes(Bytes),
    /// A part of a file, sent by the connection with this outbox.
    File(Parcel, Arc<Outbox>),
    /// Bytes that are still arriving: how many are to come, and where from.
    Stream(u64, Receiver<io::Result<Bytes>>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.len())
    }
}

impl Content {
    /// Bytes that are to come.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(parcel, _) => parcel.left,
            Self::Stream(left, _) => *left,
        }
    }
}

/// Bytes, or a hole of that many.
pub(super) enum Chunk {
    Bytes(Bytes),
    Hole(u64),
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Hole(left) => usize::try_from(*left).unwrap_or(usize::MAX),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Hole(_) => &HOLE[..self.remaining().min(HOLE.len())],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Hole(left) => *left -= count as u64,
        }
    }
}

impl Body for Content {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        if let Self::Stream(left, receiver) = &mut *self {
            return receiver.poll_recv(cx).map(|received| {
                received.map(|bytes| {
                    let bytes = bytes?;
                    *left = left.saturating_sub(bytes.len() as u64);
                    Ok(Frame::data(Chunk::Bytes(bytes)))
                })
            });
        }
        Poll::Ready(match std::mem::replace(&mut *self, Self::Empty) {
            Self::Bytes(bytes) if !bytes.is_empty() => Some(Ok(Frame::data(Chunk::Bytes(bytes)))),
            Self::File(parcel, outbox) if parcel.left > 0 => {
                let left = parcel.left;
                outbox.put(parcel);
                Some(Ok(Frame::data(Chunk::Hole(left))))
            }
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.len() == 0 && !matches!(self, Self::Stream(..))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
