//! Entries for systemd's journal, in its native protocol: fields of `NAME=value` lines in one datagram, or in a sealed
//! memory file where they are too large for one.

use std::io::IoSlice;
use std::mem::MaybeUninit;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::plan::JournaldPlan;
use super::{Piece, Stream, hex, random};

#[derive(Debug)]
pub(super) struct Encoder {
    /// The fields that every entry has, ready to be sent.
    fields: Vec<u8>,
    ordinal: u64,
}

impl Encoder {
    pub(super) fn new(plan: &JournaldPlan) -> Self {
        let mut fields = Vec::new();
        for (name, value) in &plan.fields {
            field(&mut fields, name, value.as_bytes());
        }
        field(&mut fields, "CONTAINER_LOG_EPOCH", hex(&random()).as_bytes());
        Self { fields, ordinal: 0 }
    }

    /// Appends one entry.
    pub(super) fn entry(&mut self, out: &mut Vec<u8>, piece: &Piece<'_>) {
        self.ordinal += 1;
        // The priorities of syslog: an error, an information.
        let priority = if piece.stream == Stream::Stderr { "3" } else { "6" };
        field(out, "PRIORITY", priority.as_bytes());
        field(out, "MESSAGE", piece.text.strip_suffix(b"\n").unwrap_or(piece.text));
        out.extend_from_slice(&self.fields);
        field(out, "CONTAINER_LOG_ORDINAL", self.ordinal.to_string().as_bytes());
        field(out, "SYSLOG_TIMESTAMP", piece.time.rfc3339().as_bytes());
        if let Some((parts, last)) = piece.part {
            field(out, "CONTAINER_PARTIAL_ID", hex(&parts.id).as_bytes());
            field(out, "CONTAINER_PARTIAL_ORDINAL", parts.ordinal.to_string().as_bytes());
            field(out, "CONTAINER_PARTIAL_LAST", last.to_string().as_bytes());
            if !last {
                field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
    }
}

/// Appends a field. A value with line feeds is told by its length.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Sends an entry that is too large for a datagram.
pub(super) fn send_large(socket: &OwnedFd, entry: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::memfd_create(c"journal-entry", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = entry;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(&[])], &mut ancillary, flags).map(drop)
}
