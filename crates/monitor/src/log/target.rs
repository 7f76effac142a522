//! Another program that takes the log. It may be slow, stopped or gone; the monitor never waits for it, and the
//! container only where it is to.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with, sockopt,
};

use serde::{Deserialize, Serialize};

use super::plan::{LogTarget, SyslogAddress};
use super::{Moment, Piece, Stream, journald, syslog};
use crate::error::{Error, Result};

/// Messages that may wait for a target before the container does, in bytes.
const QUEUE_MAX: usize = 256 << 10;

/// How long a new connection may take at the container's start, and how long what waits is waited for at its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a target that is gone is left alone.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Encoder {
    Journald(journald::Encoder),
    Syslog(syslog::Encoder),
}

#[derive(Debug)]
enum Link {
    Up(OwnedFd),
    Connecting(OwnedFd),
    Down { since: Instant, retry: Instant },
}

#[derive(Debug)]
pub(super) struct Target {
    encoder: Encoder,
    /// Where it may be; the first that answers is taken.
    addresses: Vec<SyslogAddress>,
    /// Which of them it is.
    address: usize,
    link: Link,
    queue: Queue,
    /// What may wait, in bytes, before what is new is dropped; `None` where the container waits instead.
    buffer: Option<usize>,
    lost: u64,
}

/// Messages that wait, one after the other.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Where the first message begins.
    start: usize,
    /// Where each ends.
    ends: std::collections::VecDeque<usize>,
    /// Bytes of the first that are sent.
    sent: usize,
}

impl Queue {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn first(&self) -> Option<&[u8]> {
        self.ends.front().map(|&end| &self.bytes[self.start..end])
    }

    /// The bytes that a stream has not taken yet.
    fn rest(&self) -> &[u8] {
        &self.bytes[self.start + self.sent..]
    }

    fn close(&mut self) {
        self.ends.push_back(self.bytes.len());
    }

    /// The first message is gone.
    fn pop(&mut self) {
        if let Some(end) = self.ends.pop_front() {
            self.start = end;
        }
        self.sent = 0;
        if self.ends.is_empty() {
            self.bytes.clear();
            self.start = 0;
            if self.bytes.capacity() > 4 << 10 {
                self.bytes = Vec::new();
            }
        } else if self.start > self.bytes.len() / 2 && self.start > 64 << 10 {
            self.bytes.drain(..self.start);
            for end in &mut self.ends {
                *end -= self.start;
            }
            self.start = 0;
        }
    }

    /// A stream took so many bytes more.
    fn took(&mut self, mut taken: usize) {
        while let Some(first) = self.first().map(<[u8]>::len) {
            let left = first - self.sent;
            if taken < left {
                self.sent += taken;
                return;
            }
            taken -= left;
            self.pop();
        }
    }
}

/// What waits for a target, and the connection to it, on the way to another program image of the monitor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) socket: Option<RawFd>,
    address: usize,
    messages: Vec<Vec<u8>>,
    sent: usize,
    lost: u64,
}

impl Target {
    /// A target that another monitor had. That it cannot be reached now does not end the container's monitor.
    pub(super) fn resume(plan: &LogTarget, buffer: Option<usize>, waiting: Waiting) -> Self {
        let (encoder, addresses) = encoder(plan);
        let mut queue = Queue::default();
        for message in &waiting.messages {
            queue.bytes.extend_from_slice(message);
            queue.close();
        }
        queue.sent = waiting.sent.min(queue.first().map_or(0, <[u8]>::len));
        let inherited = waiting.socket.and_then(|fd| hull_sys::exec::inherited(fd).ok());
        let mut target = Self {
            encoder,
            address: waiting.address.min(addresses.len().saturating_sub(1)),
            addresses,
            link: inherited.map_or_else(|| down(Duration::ZERO), Link::Connecting),
            queue,
            buffer,
            lost: waiting.lost,
        };
        target.pump();
        target
    }

    /// What [`Target::resume`] goes on with.
    pub(super) fn waiting(&self) -> Waiting {
        let Queue {
            bytes,
            start,
            ends,
            sent,
        } = &self.queue;
        let mut from = *start;
        let message = |&end: &usize| bytes[std::mem::replace(&mut from, end)..end].to_vec();
        Waiting {
            socket: match &self.link {
                Link::Up(fd) | Link::Connecting(fd) => Some(fd.as_raw_fd()),
                Link::Down { .. } => None,
            },
            address: self.address,
            messages: ends.iter().map(message).collect(),
            sent: *sent,
            lost: self.lost,
        }
    }

    /// Connects to the target.
    pub(super) fn open(plan: &LogTarget, buffer: Option<usize>) -> Result<Self> {
        let (encoder, addresses) = encoder(plan);
        let mut failure = Error::Log {
            target: "no address".to_owned(),
            errno: Errno::DESTADDRREQ,
        };
        for (address, place) in addresses.iter().enumerate() {
            match open_link(place).and_then(|link| established(link, PATIENCE)) {
                Ok(fd) => {
                    return Ok(Self {
                        encoder,
                        address,
                        addresses,
                        link: Link::Up(fd),
                        queue: Queue::default(),
                        buffer,
                        lost: 0,
                    });
                }
                Err(errno) => {
                    failure = Error::Log {
                        target: match &encoder {
                            Encoder::Journald(_) => format!("journald is not enabled on this host: {}", name(place)),
                            Encoder::Syslog(_) => name(place),
                        },
                        errno,
                    };
                }
            }
        }
        Err(failure)
    }

    /// Takes a piece, to be sent by [`Target::pump`].
    pub(super) fn send(&mut self, piece: &Piece<'_>) {
        let full = match (self.buffer, &self.link) {
            (Some(most), _) => self.queue.len() + piece.text.len() > most && !self.queue.ends.is_empty(),
            // Who is gone does not stop the container, who is slow does.
            (None, Link::Down { .. }) => self.queue.len() > QUEUE_MAX,
            (None, _) => false,
        };
        if full {
            self.lost += 1;
            return;
        }
        self.encode(piece);
        if self.queue.len() > QUEUE_MAX {
            self.pump();
        }
    }

    fn encode(&mut self, piece: &Piece<'_>) {
        match &mut self.encoder {
            Encoder::Journald(encoder) => encoder.entry(&mut self.queue.bytes, piece),
            Encoder::Syslog(encoder) => encoder.entry(&mut self.queue.bytes, piece),
        }
        self.queue.close();
    }

    pub(super) fn is_congested(&self) -> bool {
        self.buffer.is_none() && !matches!(self.link, Link::Down { .. }) && self.queue.len() > QUEUE_MAX
    }

    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        match &self.link {
            Link::Up(fd) | Link::Connecting(fd) if !self.queue.ends.is_empty() => Some(fd.as_fd()),
            _ => None,
        }
    }

    pub(super) fn patience(&self) -> Option<Timespec> {
        match &self.link {
            Link::Down { retry, .. } if !self.queue.ends.is_empty() => retry
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1))
                .try_into()
                .ok(),
            _ => None,
        }
    }

    /// Sends what waits, as far as the target takes it.
    pub(super) fn pump(&mut self) {
        let mut failures = 0;
        while !self.queue.ends.is_empty() {
            let link = std::mem::replace(&mut self.link, down(Duration::ZERO));
            self.link = match link {
                Link::Up(fd) => match self.give(&fd) {
                    Ok(()) => {
                        self.link = Link::Up(fd);
                        self.confess();
                        continue;
                    }
                    Err(Errno::AGAIN) => {
                        self.link = Link::Up(fd);
                        return;
                    }
                    // A server that was started anew is reached at once.
                    Err(_) if failures == 0 => {
                        failures += 1;
                        down(Duration::ZERO)
                    }
                    // Perhaps it is this message that it cannot stand.
                    Err(_) => {
                        self.queue.pop();
                        self.lost += 1;
                        down(RETRY)
                    }
                },
                Link::Connecting(fd) => match state(&fd) {
                    None => {
                        self.link = Link::Connecting(fd);
                        return;
                    }
                    Some(Ok(())) => Link::Up(fd),
                    Some(Err(_)) => down(RETRY),
                },
                Link::Down { since, retry } if Instant::now() >= retry => self.again(since == retry),
                waiting @ Link::Down { .. } => {
                    self.link = waiting;
                    return;
                }
            };
        }
    }

    /// Tries the addresses again. What was sent in part is sent whole.
    fn again(&mut self, first: bool) -> Link {
        self.queue.sent = 0;
        if !first {
            self.address = (self.address + 1) % self.addresses.len().max(1);
        }
        match self.addresses.get(self.address).map(open_link) {
            Some(Ok(fd)) => Link::Connecting(fd),
            _ => down(RETRY),
        }
    }

    /// Sends all that waits.
    fn give(&mut self, fd: &OwnedFd) -> Result<(), Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let stream = matches!(
            self.addresses[self.address],
            SyslogAddress::Tcp(_) | SyslogAddress::Unix(_)
        );
        while let Some(first) = self.queue.first() {
            let message = if stream { self.queue.rest() } else { first };
            match rustix::io::retry_on_intr(|| send(fd, message, flags)) {
                Ok(n) if stream => self.queue.took(n),
                Ok(_) => self.queue.pop(),
                Err(Errno::MSGSIZE | Errno::NOBUFS) if !stream => {
                    let large = matches!(self.encoder, Encoder::Journald(_));
                    match large.then(|| journald::send_large(fd, message)) {
                        Some(Err(Errno::AGAIN)) => return Err(Errno::AGAIN),
                        Some(Ok(())) => {}
                        _ => self.lost += 1,
                    }
                    self.queue.pop();
                }
                // Nobody was there for an earlier datagram: the word comes with the next one, which is not sent.
                Err(Errno::CONNREFUSED) if matches!(self.addresses[self.address], SyslogAddress::Udp(_)) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Says that something is missing, once it can be said.
    fn confess(&mut self) {
        if self.lost > 0 {
            let note = format!(
                "hull: {} messages of this log were lost: it was not taken in time\n",
                self.lost
            );
            self.lost = 0;
            self.encode(&Piece::whole(Stream::Stderr, note.as_bytes(), Moment::now()));
        }
    }

    /// Sends what waits as long as that is taken, but not for ever.
    pub(super) fn drain(&mut self) {
        let end = Instant::now() + PATIENCE;
        self.pump();
        while !self.queue.ends.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            // Who is gone is not waited for.
            let (Some(fd), false, Ok(left)) = (self.waits_for(), left.is_zero(), Timespec::try_from(left)) else {
                return;
            };
            if poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&left)) == Ok(0) {
                return;
            }
            self.pump();
        }
    }
}

fn encoder(plan: &LogTarget) -> (Encoder, Vec<SyslogAddress>) {
    match plan {
        LogTarget::Journald(plan) => (
            Encoder::Journald(journald::Encoder::new(plan)),
            vec![SyslogAddress::Unixgram(plan.socket.clone())],
        ),
        LogTarget::Syslog(plan) => (Encoder::Syslog(syslog::Encoder::new(plan)), plan.addresses.clone()),
    }
}

fn down(pause: Duration) -> Link {
    let since = Instant::now();
    Link::Down {
        since,
        retry: since + pause,
    }
}

/// An address as people write it.
fn name(address: &SyslogAddress) -> String {
    match address {
        SyslogAddress::Unixgram(path) => format!("unixgram://{}", path.display()),
        SyslogAddress::Unix(path) => format!("unix://{}", path.display()),
        SyslogAddress::Udp(address) => format!("udp://{address}"),
        SyslogAddress::Tcp(address) => format!("tcp://{address}"),
    }
}

/// Begins a connection.
fn open_link(address: &SyslogAddress) -> Result<OwnedFd, Errno> {
    match address {
        SyslogAddress::Unixgram(path) => open_unix(path, SocketType::DGRAM),
        SyslogAddress::Unix(path) => open_unix(path, SocketType::STREAM),
        SyslogAddress::Udp(address) => open_inet(address, SocketType::DGRAM),
        SyslogAddress::Tcp(address) => open_inet(address, SocketType::STREAM),
    }
}

fn open_unix(path: &Path, kind: SocketType) -> Result<OwnedFd, Errno> {
    let fd = socket_with(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    connect(&fd, &SocketAddrUnix::new(path)?)?;
    Ok(fd)
}

fn open_inet(address: &SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&fd, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(errno) => Err(errno),
    }
}

/// Whether a connection was made; `None` while that is open.
fn state(fd: &OwnedFd) -> Option<Result<(), Errno>> {
    match poll(&mut [PollFd::new(fd, PollFlags::OUT)], Some(&Timespec::default())) {
        Ok(0) | Err(Errno::INTR) => None,
        Ok(_) => Some(sockopt::socket_error(fd).and_then(|pending| pending)),
        Err(errno) => Some(Err(errno)),
    }
}

/// Waits until a connection is made.
fn established(fd: OwnedFd, patience: Duration) -> Result<OwnedFd, Errno> {
    let patience = Timespec::try_from(patience).map_err(|_| Errno::INVAL)?;
    match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&patience)) {
        Ok(0) => Err(Errno::TIMEDOUT),
        Ok(_) => sockopt::socket_error(&fd).and_then(|pending| pending).map(|()| fd),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests;
