//! A connection: plain or TLS, with a limit to how long its peer may be silent, sending files without copying them.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::content::{Outbox, Parcel, is_hole};

/// Bytes of a file that TLS is given at once.
const TLS_PIECE: usize = 64 << 10;

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    outbox: Arc<Outbox>,
    /// How long a write may wait for a peer that does not read.
    patience: Duration,
    /// Counts what is sent.
    sent: Arc<AtomicU64>,
    /// Runs while a write waits.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Bytes of a file that TLS has not taken yet, and from where on.
    piece: Vec<u8>,
    taken: usize,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    pub(super) fn plain(stream: TcpStream, outbox: Arc<Outbox>, patience: Duration, sent: Arc<AtomicU64>) -> Self {
        Self::new(Stream::Plain(stream), outbox, patience, sent)
    }

    pub(super) fn tls(
        stream: TlsStream<TcpStream>,
        outbox: Arc<Outbox>,
        patience: Duration,
        sent: Arc<AtomicU64>,
    ) -> Self {
        Self::new(Stream::Tls(Box::new(stream)), outbox, patience, sent)
    }

    fn new(stream: Stream, outbox: Arc<Outbox>, patience: Duration, sent: Arc<AtomicU64>) -> Self {
        Self {
            stream,
            outbox,
            patience,
            sent,
            alarm: None,
            piece: Vec::new(),
            taken: 0,
        }
    }

    /// Passes a result of a write on, unless the peer has not taken anything for too long.
    fn patiently(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = &written {
            self.alarm = None;
            let count = written.as_ref().map_or(0, |count| *count as u64);
            self.sent.fetch_add(count, Ordering::Relaxed);
        }
        if written.is_ready() {
            return written;
        }
        let patience = self.patience;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read its answer",
        )))
    }

    /// Sends the next bytes of the file that is next in the outbox, `most` at most.
    fn poll_send(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let Some(parcel) = self.outbox.first() else {
            return Poll::Ready(Err(io::Error::other("no file is to be sent")));
        };
        let most = most.min(usize::try_from(parcel.left).unwrap_or(usize::MAX));
        let sent = match &mut self.stream {
            Stream::Plain(stream) => ready!(send_file(stream, cx, &parcel, most))?,
            Stream::Tls(stream) => {
                if self.taken == self.piece.len() {
                    self.piece.resize(most.min(TLS_PIECE), 0);
                    let read = parcel.file.read_at(&mut self.piece, parcel.offset)?;
                    self.piece.truncate(read);
                    self.taken = 0;
                }
                if self.piece.is_empty() {
                    return Poll::Ready(Err(shrunk()));
                }
                let sent = ready!(Pin::new(stream.as_mut()).poll_write(cx, &self.piece[self.taken..]))?;
                self.taken += sent;
                sent
            }
        };
        self.outbox.sent(sent as u64);
        Poll::Ready(Ok(sent))
    }
}

fn shrunk() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was")
}

fn send_file(stream: &TcpStream, cx: &mut Context<'_>, parcel: &Parcel, most: usize) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            let mut offset = parcel.offset;
            Ok(rustix::fs::sendfile(stream, &parcel.file, Some(&mut offset), most)?)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) => return Poll::Ready(Err(shrunk())),
            sent => return Poll::Ready(sent),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let bytes = slices.iter().take_while(|slice| !is_hole(slice)).count();
        let written = match slices.first() {
            Some(first) if bytes == 0 => this.poll_send(cx, first.len()),
            _ => match &mut this.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, &slices[..bytes]),
                Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, &slices[..bytes]),
            },
        };
        this.patiently(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => {
                let flushed = Pin::new(stream.as_mut()).poll_flush(cx).map_ok(|()| 0);
                self.patiently(cx, flushed).map_ok(|_| ())
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
