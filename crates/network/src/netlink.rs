//! Netlink messages as bytes, and the two sockets (route, netfilter) that carry them.
//!
//! Encoded by hand: the hot path sends some four hundred bytes of a shape that never changes, and the netfilter half has
//! no encoder in the crates we use. One [`Batch`] is one `sendmsg`; the kernel works through it before that call
//! returns, so the answers are there to read at once.

use std::io;

use netlink_sys::{Socket, protocols};
use rustix::net::RecvFlags;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

pub(crate) const NLM_F_REQUEST: u16 = 1;
pub(crate) const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 0x8000;

/// Messages for one `sendmsg`. Sequence numbers count from 1 in the order of the messages.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    start: usize,
    count: u32,
    acks: u32,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(1024),
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Starts a message. `header` is the family's fixed part.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, header: &[u8]) {
        self.finish();
        self.start = self.bytes.len();
        self.count += 1;
        if flags & NLM_F_ACK != 0 {
            self.acks += 1;
        }
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.raw(header);
    }

    /// Bytes of a fixed part, padded.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    pub(crate) fn attribute(&mut self, kind: u16, payload: &[u8]) {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        debug_assert!(
            usize::from(length) == payload.len() + 4,
            "an attribute holds 64 KiB at the most"
        );
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(payload);
    }

    /// A string with its NUL.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - at).unwrap_or(u16::MAX);
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn finish(&mut self) {
        if self.count > 0 {
            let length = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
            self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }

    pub(crate) fn bytes(&mut self) -> &[u8] {
        self.finish();
        &self.bytes
    }
}

/// The kernel's answer to one message of a batch.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Which message, counted from 1.
    pub(crate) sequence: u32,
    /// `None` when it was done.
    pub(crate) error: Option<Refusal>,
}

/// Why the kernel refused a message.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) errno: rustix::io::Errno,
    /// The kernel's own words, where it has any.
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn into_io(self) -> io::Error {
        let error = io::Error::from(self.errno);
        if self.detail.is_empty() {
            return error;
        }
        io::Error::new(error.kind(), format!("{error}: {}", self.detail))
    }
}

/// A netlink socket of the network namespace that its opener is in.
pub(crate) struct Netlink(Socket);

impl Netlink {
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(protocols::NETLINK_ROUTE)
    }

    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(protocols::NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        // Answers carry the kernel's reason, and not the request again.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self(socket))
    }

    /// The index of a link of this socket's namespace, or `None` when there is none of that name.
    pub(crate) fn index(&self, name: &str) -> io::Result<Option<u32>> {
        match rustix::net::netdevice::name_to_index(&self.0, name) {
            Ok(index) => Ok(Some(index)),
            Err(rustix::io::Errno::NODEV) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Lets a batch of up to `bytes` be sent; needs `CAP_NET_ADMIN`.
    pub(crate) fn allow(&self, bytes: usize) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_send_buffer_size_force(&self.0, bytes)?)
    }

    /// Sends a batch of independent requests; returns an answer for each that asked for one.
    pub(crate) fn each(&self, batch: &mut Batch) -> io::Result<Vec<Answer>> {
        let expected = batch.acks;
        self.send(batch)?;
        let mut answers = Vec::with_capacity(expected as usize);
        while answers.len() < expected as usize {
            self.receive(|kind, sequence, flags, payload| {
                if kind == NLMSG_ERROR {
                    answers.push(Answer {
                        sequence,
                        error: refusal(flags, payload),
                    });
                }
                true
            })?;
        }
        Ok(answers)
    }

    /// Sends a batch that is done wholly or not at all and whose last message alone asks for an answer.
    pub(crate) fn atomically(&self, batch: &mut Batch) -> io::Result<Result<(), (u32, Refusal)>> {
        self.send(batch)?;
        let mut end = None;
        while end.is_none() {
            self.receive(|kind, sequence, flags, payload| {
                if kind == NLMSG_ERROR && end.is_none() {
                    end = Some(refusal(flags, payload).map_or(Ok(()), |r| Err((sequence, r))));
                }
                true
            })?;
        }
        Ok(end.unwrap_or(Ok(())))
    }

    /// Sends one request that asks for an answer; `each` sees the type and payload of every other message that comes.
    pub(crate) fn ask(&self, batch: &mut Batch, mut each: impl FnMut(u16, &[u8])) -> io::Result<Option<Refusal>> {
        self.send(batch)?;
        let mut end = None;
        while end.is_none() {
            self.receive(|kind, _, flags, payload| {
                match kind {
                    NLMSG_ERROR => end = Some(refusal(flags, payload)),
                    kind => each(kind, payload),
                }
                end.is_none()
            })?;
        }
        Ok(end.flatten())
    }

    /// Sends one request that dumps; `each` sees the type and payload of every message of the answer.
    pub(crate) fn dump(&self, batch: &mut Batch, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.send(batch)?;
        let mut end = None;
        while end.is_none() {
            self.receive(|kind, _, flags, payload| {
                match kind {
                    NLMSG_DONE => end = Some(Ok(())),
                    NLMSG_ERROR => end = Some(refusal(flags, payload).map_or(Ok(()), Err)),
                    kind => each(kind, payload),
                }
                end.is_none()
            })?;
        }
        end.unwrap_or(Ok(())).map_err(Refusal::into_io)
    }

    fn send(&self, batch: &mut Batch) -> io::Result<()> {
        let bytes = batch.bytes();
        let sent = self.0.send(bytes, 0)?;
        if sent != bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// One datagram; `each` gets type, sequence, flags and payload of its messages and says whether to go on.
    fn receive(&self, mut each: impl FnMut(u16, u32, u16, &[u8]) -> bool) -> io::Result<()> {
        // The kernel fills dumps in pages of up to 32 KiB, if the reader's buffer is as large.
        let mut buffer = [0u8; 32 * 1024];
        let length = rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty()))?.0;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let total = u32_at(rest, 0) as usize;
            if total < HEADER || total > rest.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if !each(u16_at(rest, 4), u32_at(rest, 8), u16_at(rest, 6), &rest[HEADER..total]) {
                break;
            }
            rest = rest.get(total.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

fn refusal(flags: u16, payload: &[u8]) -> Option<Refusal> {
    let code = payload
        .get(..4)
        .map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    if code == 0 {
        return None;
    }
    // Codes are -1 to -4095; rustix makes no others.
    let errno = match code.saturating_neg() {
        code @ 1..=4095 => rustix::io::Errno::from_raw_os_error(code),
        _ => rustix::io::Errno::PROTO,
    };
    let mut detail = String::new();
    if flags & NLM_F_ACK_TLVS != 0 {
        // Behind the code stands the request's header, and the rest of the request unless it was capped.
        let echoed = if flags & NLM_F_CAPPED == 0 {
            u32_at(payload.get(4..).unwrap_or_default(), 0) as usize
        } else {
            HEADER
        };
        for (kind, value) in attributes(payload.get((4 + echoed).next_multiple_of(4)..).unwrap_or_default()) {
            if kind == NLMSGERR_ATTR_MSG {
                detail = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
            }
        }
    }
    Some(Refusal { errno, detail })
}

/// The attributes in `bytes`, by type and value; stops at the first malformed one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if bytes.len() < 4 {
            return None;
        }
        let length = usize::from(u16_at(bytes, 0));
        let kind = u16_at(bytes, 2) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_laid_out_as_the_kernel_reads_it() {
        let mut batch = Batch::new();
        batch.message(16, NLM_F_ACK, &[7]);
        batch.text(3, "ab");
        batch.nest(18, |b| b.attribute(1, &[9]));
        batch.message(17, 0, &[]);
        let bytes = batch.bytes();
        assert_eq!(bytes.len(), 16 + 4 + 8 + 12 + 16);
        assert_eq!(
            (u32_at(bytes, 0), u16_at(bytes, 4), u16_at(bytes, 6), u32_at(bytes, 8)),
            (40, 16, 5, 1)
        );
        assert_eq!(
            (
                u32_at(bytes, 40),
                u16_at(bytes, 44),
                u16_at(bytes, 46),
                u32_at(bytes, 48)
            ),
            (16, 17, 1, 2)
        );
        let read: Vec<_> = attributes(&bytes[20..40]).collect();
        assert_eq!(read[0], (3, &b"ab\0"[..]));
        assert_eq!(read[1].0, 18);
        assert_eq!(attributes(read[1].1).collect::<Vec<_>>(), [(1, &[9][..])]);
    }

    proptest! {
        #[test]
        fn damaged_attributes_end_the_walk(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4);
            let _ = refusal(NLM_F_ACK_TLVS, &bytes);
            let _ = refusal(NLM_F_ACK_TLVS | NLM_F_CAPPED, &bytes);
        }
    }
}
